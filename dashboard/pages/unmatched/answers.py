"""What a decision about a customer answers: the parts of the page that it changed, or the way back."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from billing import selectors as billing
from dashboard.pages import shared
from dashboard.pages.unmatched import asked as asking
from dashboard.pages.unmatched import page, parts
from dashboard.pages.unmatched.parts import Outcome
from dashboard.roles import Ability, may


def answer(
    request: HttpRequest, outcome: Outcome, customer_pk: int, *, refused: str = "", done: str = ""
) -> HttpResponse:
    """Answer a decision. `refused` says why nothing was done, `done` what was, where the last line does not."""
    if not parts.is_script(request):
        # To the next customer, or to this one where it stays.
        following = request.POST.get("next", "") if outcome is Outcome.GONE else str(customer_pk or "")
        view = {**request.GET.dict(), "customer": following}
        return parts.way_back(request, view, refused=refused, done=done)
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
