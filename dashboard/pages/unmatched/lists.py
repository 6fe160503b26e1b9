"""The lists of the workbench and how long they are, for its own page and for the Opportunity tab."""

from __future__ import annotations

from datetime import datetime

from django.http import HttpRequest

from crm import selectors as crm
from dashboard import formats
from dashboard.pages import shared
from dashboard.pages.shared import Scope
from dashboard.pages.unmatched.asked import MINE, OPPORTUNITIES
from dashboard.parts import Choice
from dashboard.roles import Ability, may

NAMES = {
    "": "Waiting",
    MINE: "Mine",
    "expected": "Expected",
    "snoozed": "Snoozed",
    "ignored": "Ignored",
    OPPORTUNITIES: "Opportunities",
}
ELSEWHERE = ("after", "customer", "record", "find", "like", "candidate")  # words of one list that no other knows


def counts(request: HttpRequest, scope: Scope, *, now: datetime) -> crm.UnmatchedCounts:
    """Return how long the lists are, read once a request."""
    if not hasattr(request, "_unmatched_counts"):
        reader = request.user.pk if may(request, Ability.ANNOTATE) else None
        found = crm.unmatched_counts(at=now, sources=scope.sources, assignee_pk=reader)
        request._unmatched_counts = found  # type: ignore[attr-defined]
    return request._unmatched_counts  # type: ignore[attr-defined,no-any-return]


def lengths(counts: crm.UnmatchedCounts) -> dict[str, int]:
    return {
        "": counts.waiting,
        MINE: counts.mine,
        "expected": counts.expected,
        "snoozed": counts.snoozed,
        "ignored": counts.ignored,
    }


def tabs(request: HttpRequest, counts: crm.UnmatchedCounts, held: crm.HeldWork, tab: str) -> list[Choice]:
    """Return the lists as links; who can be assigned nothing has none of its own."""
    found = {**lengths(counts), OPPORTUNITIES: held.questions}
    gone = dict.fromkeys(ELSEWHERE)
    return [
        Choice(NAMES[code], shared.link(request, **{**gone, "tab": code or None}), code == tab, formats.count(length))
        for code, length in found.items()
        if code != MINE or may(request, Ability.ANNOTATE)
    ]


def of_opportunities(request: HttpRequest, *, now: datetime) -> list[Choice]:
    """Return the lists as the Opportunity tab shows them."""
    scope = shared.read_scope(request)
    return tabs(request, counts(request, scope, now=now), crm.held_work(), OPPORTUNITIES)
