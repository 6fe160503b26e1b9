"""What a decision on the workbench answers: a few parts of the page to the script, the way back to everybody else."""

from __future__ import annotations

from enum import StrEnum

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from billing import selectors as billing
from dashboard.pages import shared
from dashboard.pages.unmatched import asked as asking
from dashboard.pages.unmatched import page
from dashboard.roles import Ability, may


class Outcome(StrEnum):
    """What becomes of the customer's row: it goes, stays as it was, comes back, or says something else."""

    GONE = "gone"
    STAYS = "stays"
    BACK = "back"
    CHANGED = "changed"


def answer(
    request: HttpRequest, outcome: Outcome, customer_pk: int, *, refused: str = "", done: str = ""
) -> HttpResponse:
    """Answer a decision. `refused` says why nothing was done, `done` what was, where the last line does not."""
    if request.headers.get("HX-Request") != "true":
        return _way_back(request, outcome, customer_pk, refused=refused, done=done)
    now = shared.now_of(request)
    scope = shared.read_scope(request)
    asked = asking.read(request, scope, now=now)
    shows_row = outcome in (Outcome.BACK, Outcome.CHANGED)
    return render(
        request,
        "dashboard/unmatched/answer.html",
        {
            **page.standing(request, scope, asked, now=now),
            "outcome": outcome.value,
            "refused": refused,
            "about": _about(request, customer_pk) if refused else "",
            "done": done,
            "row": page.row_of(request, asked, customer_pk, now=now) if shows_row else None,
            "may_match": may(request, Ability.MATCH),
            "now": now,
        },
    )


def _about(request: HttpRequest, customer_pk: int) -> str:
    """Name whom a refusal is about: the reader may be two customers on by now."""
    row = billing.customers([customer_pk]).get(customer_pk)
    return shared.who(request, name=row.name, email=row.email, stripe_id=row.stripe_id) if row else ""


def _way_back(request: HttpRequest, outcome: Outcome, customer_pk: int, *, refused: str, done: str) -> HttpResponse:
    """Go back to the queue as it was filtered: to the next customer, or to this one where it stays."""
    if refused:
        messages.error(request, refused)
    elif done:
        messages.success(request, done)
    kept = request.GET.copy()
    following = request.POST.get("next", "")
    kept.pop("customer", None)
    if outcome is not Outcome.GONE:
        kept["customer"] = str(customer_pk)
    elif following.isdecimal():
        kept["customer"] = following
    query = f"?{kept.urlencode()}" if kept else ""
    return redirect(f"{reverse('dashboard:unmatched')}{query}")
