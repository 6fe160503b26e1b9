"""Accepting many at once: a step of its own that shows who, how much and to which Account, and asks for the count."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from django.contrib import messages
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from billing import selectors as billing
from crm import matching
from crm import selectors as crm
from dashboard import formats
from dashboard.pages import shared
from dashboard.pages.explain import counted
from dashboard.parts import Choice
from dashboard.roles import Ability, requires
from mrr.engine.money import shown

SCORES = (95, 90, 80, 70, 60)
DEFAULT_SCORE = 90
MOST = 500  # as many as a person can look over and a request can do
SHOWN = 100
SHOWN_REFUSED = 5


@dataclass(frozen=True)
class BulkLine:
    """One customer that would be matched, and to which Account."""

    pk: int
    who: str
    customer_id: str
    minor: int
    currency: str
    account: str
    score: int


@requires(Ability.MATCH)
@require_GET
def bulk(request: HttpRequest) -> HttpResponse:
    """Show what accepting all above a score would do."""
    now, scope = shared.now_of(request), shared.read_scope(request)
    score = _score(request.GET.get("score", ""))
    found = crm.acceptable(score, sources=scope.sources, limit=MOST)
    return shared.page(
        request,
        "dashboard/unmatched/bulk.html",
        {
            "score": score,
            "scores": [Choice(f"{one} and more", shared.link(request, score=one), one == score) for one in SCORES],
            "found": found,
            "amounts": [
                formats.money(shown(micros), currency)
                for currency, micros in sorted(found.mrr_micros.items())
                if micros
            ],
            "lines": _lines(request, found.pairs[:SHOWN]),
            "more": max(0, found.count - SHOWN),
            "is_cut": found.count == MOST,
            "pairs": " ".join(f"{pk}:{account_id}" for pk, account_id in found.pairs),
        },
        name="Accept many",
        now=now,
        scope=scope,
    )


@requires(Ability.MATCH)
@require_POST
def accept_many(request: HttpRequest) -> HttpResponse:
    """Accept exactly what the page showed, if its count was typed; what changed since is refused one by one."""
    pairs = _pairs(request.POST.get("pairs", ""))
    score = _score(request.POST.get("score", ""))
    if request.POST.get("count", "").replace(",", "").strip() != str(len(pairs)):
        messages.error(request, f"Nothing was matched. Type {len(pairs)} to say that you mean all of them.")
        return redirect(f"{reverse('dashboard:unmatched_bulk')}?score={score}")
    done = matching.accept_many(pairs, by=request.user.get_username(), now=shared.now_of(request))
    messages.success(request, f"{counted(done.matched, 'customer')} matched.")
    if done.refused:
        first = done.refused[:SHOWN_REFUSED]
        named = _named(request, [pk for pk, _ in first])
        listed = "; ".join(f"{named.get(pk, pk)}: {words}" for pk, words in first)
        more = len(done.refused) - SHOWN_REFUSED
        rest = f"; and {formats.count(more)} more" if more > 0 else ""
        messages.error(request, f"{counted(len(done.refused), 'customer')} not matched. {listed}{rest}")
    return redirect("dashboard:unmatched")


def _lines(request: HttpRequest, pairs: Sequence[tuple[int, str]]) -> list[BulkLine]:
    chosen = crm.UnmatchedFilter(customer_pks=[pk for pk, _ in pairs])
    return [
        BulkLine(
            row.customer_pk,
            shared.who(request, name=row.name, email=row.email, stripe_id=row.customer_id),
            row.customer_id,
            row.mrr_minor,
            row.currency,
            row.candidates[0].name,
            row.candidates[0].score,
        )
        for row in crm.unmatched(chosen, limit=SHOWN).rows
    ]


def _named(request: HttpRequest, pks: Collection[int]) -> dict[int, str]:
    return {
        pk: shared.who(request, name=row.name, email=row.email, stripe_id=row.stripe_id)
        for pk, row in billing.customers(pks).items()
    }


def _pairs(text: str) -> list[tuple[int, str]]:
    pairs = []
    for word in text.split()[:MOST]:
        pk, _, account_id = word.partition(":")
        if not pk.isdecimal():
            raise BadRequest("This list is not one that the page gave out.")
        pairs.append((int(pk), account_id))
    return pairs


def _score(text: str) -> int:
    if not text:
        return DEFAULT_SCORE
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise BadRequest("A score is a number from 1 to 100.")
    return int(text)
