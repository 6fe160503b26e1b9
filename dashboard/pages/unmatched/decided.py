"""The reader's last decisions, newest last, each to be undone by one key; kept with the session, without names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.http import HttpRequest
from django.urls import reverse

from billing import selectors as billing
from crm import selectors as crm
from dashboard import formats
from dashboard.pages import shared
from dashboard.pages.explain import plural
from dashboard.roles import Ability, may

MATCHED, SNOOZED, EXPECTED, IGNORED = "matched", "snoozed", "expected", "ignored"
CHIPS = {
    MATCHED: ("ok", "circle-check", "Matched"),
    SNOOZED: ("n", "clock", "Snoozed"),
    EXPECTED: ("n", "hourglass", "Expected"),
    IGNORED: ("n", "ban", "Ignored"),
}
_KEY: Final = "decided"
_MOST: Final = 50


@dataclass(frozen=True)
class Last:
    """The last decision that stands: a chip, words, and the address that takes it back for a customer."""

    tone: str
    glyph: str
    chip: str
    words: str
    undo_url: str
    customer_pk: int


def keep(request: HttpRequest, kind: str, customer_pk: int, *, match_pk: int = 0, released: int = 0) -> None:
    """Remember a decision, to be undone."""
    forget(request, customer_pk)
    request.session[_KEY] = [*request.session.get(_KEY, []), [kind, customer_pk, match_pk, released]][-_MOST:]


def forget(request: HttpRequest, customer_pk: int) -> None:
    """Forget what was decided about a customer: it was undone."""
    kept: list[Any] = request.session.get(_KEY, [])
    if any(one[1] == customer_pk for one in kept):
        request.session[_KEY] = [one for one in kept if one[1] != customer_pk]


def last(request: HttpRequest) -> Last | None:
    """Return the newest decision that still stands; what somebody else took back since is passed over."""
    if not may(request, Ability.MATCH):
        return None
    for kind, customer_pk, match_pk, released in reversed(request.session.get(_KEY, [])):
        tone, glyph, chip = CHIPS[kind]
        if kind == MATCHED:
            match = crm.matches_of([customer_pk]).get(customer_pk)
            if match is None or match.pk != match_pk:
                continue
            who = shared.who(request, name=match.customer_name, email=match.customer_email, stripe_id=match.customer_id)
            account = match.account_name if shared.sees_people(request) else match.account_id
            freed = f", {formats.count(released)} {plural(released, 'record')} released" if released else ""
            url = reverse("dashboard:match_delete", args=[match_pk])
            return Last(tone, glyph, chip, f"{who} to {account}{freed}.", url, customer_pk)
        customer = billing.customers([customer_pk]).get(customer_pk)
        if customer is not None:
            who = shared.who(request, name=customer.name, email=customer.email, stripe_id=customer.stripe_id)
            return Last(tone, glyph, chip, f"{who}.", reverse("dashboard:unmatched_back", args=[kind]), customer_pk)
    return None
