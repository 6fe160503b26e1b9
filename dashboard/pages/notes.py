"""Notes: what colleagues say about a customer or a finding, who looks after it and until when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from billing import selectors as billing
from crm import notes
from crm import selectors as crm
from dashboard import formats, people
from dashboard.pages import shared
from dashboard.roles import Ability, may, requires


@dataclass(frozen=True)
class NotesCard:
    """The notes about one thing, the newest first, and the form for one more where the reader may write.

    `url` takes the form; `thing` says what the notes are about: this customer.
    """

    url: str
    thing: str
    lines: Sequence[crm.NoteRow]
    assignee_pk: int | None
    assignee: str
    due_on: date | None
    is_overdue: bool
    may_write: bool
    people: Sequence[tuple[int, str]]
    most: int = notes.MOST_CHARACTERS


def card_of_customer(request: HttpRequest, pk: int, *, today: date) -> NotesCard | None:
    """Return a customer's notes; None for who sees no people. At most two queries."""
    if not shared.sees_people(request):
        return None
    return card(request, crm.notes_of(pk), reverse("dashboard:customer_notes", args=[pk]), "this customer", today=today)


def card(request: HttpRequest, lines: Sequence[crm.NoteRow], url: str, thing: str, *, today: date) -> NotesCard:
    """Return notes, for who may see people. At most one query."""
    writes = may(request, Ability.ANNOTATE)
    newest = lines[0] if lines else None
    due_on = newest.due_on if newest else None
    return NotesCard(
        url,
        thing,
        lines,
        newest.assignee_pk if newest else None,
        newest.assignee if newest else "",
        due_on,
        due_on is not None and due_on < today,
        writes,
        tuple(_choices(newest).items()) if writes else (),
    )


def able(request: HttpRequest) -> dict[int, str]:
    """Return who may look after something, read once a request."""
    if not hasattr(request, "_able_to_annotate"):
        request._able_to_annotate = people.able_to(Ability.ANNOTATE)  # type: ignore[attr-defined]
    return request._able_to_annotate  # type: ignore[attr-defined,no-any-return]


def words(line: crm.NoteRow | None) -> str:
    """Say in a few words to whom something is assigned: ada, due 3 Dec 2026."""
    if line is None:
        return ""
    due = f"due {formats.day(line.due_on)}" if line.due_on else ""
    return ", ".join(part for part in (line.assignee, due) if part)


@requires(Ability.ANNOTATE)
@require_POST
def add_note(request: HttpRequest, pk: int) -> HttpResponse:
    """Add a line to a customer's notes."""
    if pk not in billing.customers([pk]):
        raise Http404("There is no such customer.")
    write(request, pk)
    return redirect(f"{reverse('dashboard:customer', args=[pk])}#notes")


def write(request: HttpRequest, about: crm.About) -> None:
    """Add the posted line: a text, another assignee, another due date, or all of them. What is wrong is said."""
    try:
        notes.add(
            about,
            request.POST.get("text", ""),
            assignee_pk=_assignee(request.POST.get("assignee", ""), about),
            due_on=_day(request.POST.get("due_on", "")),
            by=request.user.get_username(),
            now=shared.now_of(request),
        )
    except ValueError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "Written down.")


def assign(customer_pk: int, text: str, *, request: HttpRequest) -> str:
    """Assign a customer to somebody of the list, "" to nobody, and return who that is; raises ValueError.

    A due date stays as it was.
    """
    if customer_pk not in billing.customers([customer_pk]):
        raise Http404("There is no such customer.")
    assignee_pk = _assignee(text, customer_pk)
    newest = crm.newest_note(customer_pk)
    notes.add(
        customer_pk,
        "",
        assignee_pk=assignee_pk,
        due_on=newest.due_on if newest else None,
        by=request.user.get_username(),
        now=shared.now_of(request),
    )
    return _choices(newest)[assignee_pk] if assignee_pk is not None else ""


def _assignee(text: str, about: crm.About) -> int | None:
    if not text:
        return None
    known = _choices(crm.newest_note(about))
    chosen = next((pk for pk in known if str(pk) == text), None)
    if chosen is None:
        raise ValueError("Nobody by this name may look after it. Choose somebody of the list.")
    return chosen


def _choices(newest: crm.NoteRow | None) -> dict[int, str]:
    """Return who may be chosen: whoever may write notes, and who it is now, though that person may do so no more."""
    found = people.able_to(Ability.ANNOTATE)
    if newest and newest.assignee_pk is not None:
        found.setdefault(newest.assignee_pk, newest.assignee)
    return found


def _day(text: str) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError("The due date is not a day. Write it as 2026-12-31.") from None
