"""Imports: a CSV file of one kind, looked at before it is applied, and what was imported so far, with undo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from dashboard.imports import applying
from dashboard.imports.form import MOST_BYTES, Bad, Kind, WrongFile
from dashboard.imports.kinds import KINDS, NEEDS
from dashboard.imports.working import NotDone
from dashboard.models import Import, Work
from dashboard.pages import shared
from dashboard.parts import Choice
from dashboard.roles import Ability, may, requires

SHOWN = 50


class FileForm(forms.Form):
    """The file alone: what is in it is looked at row by row."""

    file = forms.FileField(
        label="CSV file",
        help_text=f"UTF-8, commas between columns, at most {MOST_BYTES >> 20} MB.",
        widget=forms.FileInput(attrs={"accept": ".csv,text/csv"}),
    )


@dataclass(frozen=True)
class ImportLine:
    """One import of the list: what came of it, in words and a tone."""

    row: Import
    label: str
    url: str
    tone: str
    icon: str
    state: str


@requires(Ability.IMPORT)
@require_http_methods(["GET", "POST"])
def imports(request: HttpRequest) -> HttpResponse:
    """Show the chosen kind with its columns and what was imported so far; take a file and show what it would do."""
    open_kinds = [kind for kind, needed in NEEDS.items() if may(request, needed)]
    kind = _kind(request, request.GET.get("kind", open_kinds[0].key))
    form = FileForm(request.POST, request.FILES) if request.method == "POST" else FileForm()
    if form.is_bound and form.is_valid():
        given = form.cleaned_data["file"]
        try:
            if given.size > MOST_BYTES:
                raise WrongFile(f"It is larger than {MOST_BYTES >> 20} MB. Divide it into several files.")
            brought = applying.bring(
                kind,
                PurePath(given.name).name,
                given.read(),
                by=request.user.get_username(),
                now=shared.now_of(request),
            )
        except WrongFile as error:
            form.add_error("file", str(error))
        else:
            return redirect("dashboard:import", brought.pk)
    page = reverse("dashboard:imports")
    answer = shared.page(
        request,
        "dashboard/imports.html",
        {
            "kind": kind,
            "kinds": [Choice(one.label, f"{page}?kind={one.key}", one == kind) for one in open_kinds],
            "form": form,
            "lines": [_line(row) for row in applying.newest(limit=SHOWN)],
        },
        name="Imports",
        now=shared.now_of(request),
    )
    answer.status_code = 422 if form.errors else 200
    return answer


@requires(Ability.IMPORT)
@require_GET
def one(request: HttpRequest, pk: int) -> HttpResponse:
    """Show what a file would do, row by row where it is wrong; or what it did, with the button that undoes it."""
    row = _row(request, pk)
    return shared.page(
        request,
        "dashboard/import.html",
        {
            "line": _line(row),
            "one": row,
            "kind": KINDS[row.kind],
            "good": row.rows - row.bad,
            "faults": [Bad(*fault) for fault in row.faults],
            "more_faults": row.bad - len(row.faults) if row.faults else 0,
            "of": _of(row),
        },
        name="Import",
        now=shared.now_of(request),
    )


@requires(Ability.IMPORT)
@require_POST
def apply(request: HttpRequest, pk: int) -> HttpResponse:
    """Do what the file says."""
    _row(request, pk)
    try:
        done = applying.apply(
            pk,
            skips_bad=request.POST.get("skip_bad") == "1",
            by=request.user.get_username(),
            now=shared.now_of(request),
        )
    except NotDone as error:
        messages.error(request, str(error))
    else:
        if not done.work:
            said = f"Applied: {done.added} added, {done.changed} changed, {done.already} as they were."
            messages.success(request, said)
    return redirect("dashboard:import", pk)


@requires(Ability.IMPORT)
@require_POST
def undo(request: HttpRequest, pk: int) -> HttpResponse:
    """Put back what an import added or changed."""
    _row(request, pk)
    try:
        done = applying.undo(pk, by=request.user.get_username(), now=shared.now_of(request))
    except NotDone as error:
        messages.error(request, f"Not undone. {error}")
    else:
        if not done.work:
            messages.success(request, "Undone: everything stands as it did before this import.")
    return redirect("dashboard:import", pk)


@requires(Ability.IMPORT)
@require_POST
def throw_away(request: HttpRequest, pk: int) -> HttpResponse:
    """Forget a file that was not applied."""
    row = _row(request, pk)
    applying.throw_away(pk)
    messages.info(request, "The file was thrown away. Nothing was changed.")
    return redirect(f"{reverse('dashboard:imports')}?kind={row.kind}")


@requires(Ability.IMPORT)
@require_GET
def sample(request: HttpRequest, key: str) -> HttpResponse:
    """Give a file that shows a kind's columns."""
    kind = _kind(request, key)
    answer = HttpResponse(kind.sample, content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{kind.key}-sample.csv"'
    return answer


def _kind(request: HttpRequest, key: str) -> Kind:
    if key not in KINDS:
        raise Http404
    if not may(request, NEEDS[KINDS[key]]):
        raise PermissionDenied(f"This needs the ability '{NEEDS[KINDS[key]]}'. Ask somebody who has it.")
    return KINDS[key]


def _row(request: HttpRequest, pk: int) -> Import:
    row = Import.objects.defer("body").filter(pk=pk).first()
    if row is None:
        raise Http404
    _kind(request, row.kind)
    return row


def _of(row: Import) -> int:
    """Return how many rows the work on a file has in all."""
    if row.work == Work.UNDOING:
        return row.added + row.changed
    return row.rows - row.bad


def _line(row: Import) -> ImportLine:
    state: dict[str, Any]
    if row.work:
        state = {"tone": "n", "icon": "hourglass", "state": Work(row.work).label}
    elif row.undone_at:
        state = {"tone": "n", "icon": "arrow-back-up", "state": "Undone"}
    elif row.applied_at:
        state = {"tone": "ok", "icon": "circle-check", "state": "Applied"}
    else:
        state = {"tone": "warn", "icon": "hourglass", "state": "Not applied"}
    return ImportLine(row=row, label=KINDS[row.kind].label, url=reverse("dashboard:import", args=[row.pk]), **state)
