"""Notes on findings: what colleagues say about each. They stay when a finding goes, and are there when it returns."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from crm import selectors as crm
from dashboard import help
from dashboard.findings import split
from dashboard.pages import health, notes, shared
from dashboard.pages.health import FindingLine
from dashboard.roles import Ability, requires

SHOWN = 100
TONES = {"danger": "bad", "warn": "warn", "remark": "n"}


@dataclass(frozen=True)
class NotedFinding:
    """A finding that has notes: what it is, the last that was said, and how it stands, None when it has gone."""

    title: str
    about: str
    url: str
    said: crm.FindingNotes
    assigned: str
    standing: FindingLine | None

    @property
    def tone(self) -> str:
        return TONES[self.standing.finding.severity] if self.standing else "n"


@requires(Ability.SEE_PEOPLE)
@require_GET
def findings(request: HttpRequest) -> HttpResponse:
    """Show the findings that have notes, the last said first: those that stand and those that have gone."""
    now = shared.now_of(request)
    standing = _standing(request)
    noted = [_noted(one, standing.get(one.finding)) for one in crm.latest_on_findings(limit=SHOWN)]
    found = {"noted": noted, "shown": SHOWN, "is_cut": len(noted) == SHOWN}
    return shared.page(request, "dashboard/findings.html", found, name="Notes on findings", now=now)


@requires(Ability.SEE_PEOPLE)
@require_GET
def finding(request: HttpRequest, key: str) -> HttpResponse:
    """Show one finding with its notes."""
    now = shared.now_of(request)
    standing, lines = _standing(request).get(key), crm.notes_of(key)
    if standing is None and not lines:
        raise Http404("There is no such finding, and there are no notes on one.")
    title, about = _named(key)
    url = reverse("dashboard:finding_notes", args=[key])
    card = notes.card(request, lines, url, "this finding", today=shared.today(now))
    told = {"line": standing, "title": title, "about": about, "code": split(key)[0], "notes": card}
    return shared.page(request, "dashboard/finding.html", told, name=title, now=now)


@requires(Ability.ANNOTATE)
@require_POST
def add_note(request: HttpRequest, key: str) -> HttpResponse:
    """Add a line to the notes on a finding that stands, or that has some."""
    if crm.newest_note(key) is None and key not in _standing(request):
        raise Http404("There is no such finding, and there are no notes on one.")
    notes.write(request, key)
    return redirect(f"{reverse('dashboard:finding', args=[key])}#notes")


def _standing(request: HttpRequest) -> dict[str, FindingLine]:
    """Return the findings that stand now by their keys; of those with the same key the worst."""
    now = shared.now_of(request)
    lines = health.finding_lines(request, health.findings_now(now), today=shared.today(now))
    return {line.finding.key: line for line in reversed(lines)}


def _noted(said: crm.FindingNotes, standing: FindingLine | None) -> NotedFinding:
    url = reverse("dashboard:finding", args=[said.finding])
    return NotedFinding(*_named(said.finding), url, said, notes.words(said.newest), standing)


def _named(key: str) -> tuple[str, str]:
    """Return what a finding is called, and what it is about in words."""
    code, about = split(key)
    topic = help.topic(code)
    return topic.title if topic else code, about.replace(":", " · ")
