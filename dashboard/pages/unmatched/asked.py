"""What the workbench's address asks for: which list of customers, filtered and sorted how, and which one is chosen."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.exceptions import BadRequest
from django.http import HttpRequest

from crm import selectors as crm
from dashboard.pages import shared
from dashboard.pages.shared import Scope
from dashboard.roles import Ability, may

OPPORTUNITIES, MINE = "opportunities", "mine"
LISTS = {
    "": crm.UnmatchedList.WAITING,
    "expected": crm.UnmatchedList.EXPECTED,
    "snoozed": crm.UnmatchedList.SNOOZED,
    "ignored": crm.UnmatchedList.IGNORED,
    MINE: crm.UnmatchedList.NOT_IGNORED,
}
SCORES = {  # lowest and highest score of the best candidate
    "80": ("80 and more", 80, None),
    "40": ("40 to 79", 40, 79),
    "1": ("Below 40", 1, 39),
    "0": ("No candidate", 0, 0),
}
AGES = {"1": ("Longer than a day", 1), "7": ("Longer than a week", 7), "30": ("Longer than a month", 30)}
ORDERS = {one.value: one for one in crm.UnmatchedOrder}


@dataclass(frozen=True)
class Asked:
    """One view of the queue; `tab` is a key of LISTS, the other words those of the address."""

    tab: str
    reason: str
    score: str
    age: str
    assignee: str
    currency: str
    chosen: crm.UnmatchedFilter
    order: crm.UnmatchedOrder
    after: crm.UnmatchedPlace | None
    customer_pk: int | None

    @property
    def is_filtered(self) -> bool:
        return bool(self.reason or self.score or self.age or self.assignee or self.currency)


def read(request: HttpRequest, scope: Scope, *, now: datetime) -> Asked:
    """Read the address; raises BadRequest for words that a page never wrote."""
    tab = request.GET.get("tab", "")
    if tab not in LISTS or (tab == MINE and not may(request, Ability.ANNOTATE)):
        tab = ""
    reason = _known(request, "reason", crm.REASONS)
    score, age = _known(request, "score", SCORES), _known(request, "age", AGES)
    assignee = request.GET.get("assignee", "") if shared.sees_people(request) else ""
    currency = scope.currency if request.GET.get("currency") else ""
    _, lowest, highest = SCORES.get(score, ("", None, None))
    chosen = crm.UnmatchedFilter(
        listed=LISTS[tab],
        at=now,
        sources=scope.sources,
        reason=reason,
        currency=currency,
        assignee_pk=request.user.pk if tab == MINE else _number(assignee),
        lowest_score=lowest,
        highest_score=highest,
        since_before=now - timedelta(days=AGES[age][1]) if age else None,
    )
    order = ORDERS[_known(request, "order", ORDERS) or crm.UnmatchedOrder.MRR.value]
    asked_pk = _number(request.GET.get("customer", ""))
    return Asked(
        tab, reason, score, age, assignee, currency, chosen, order, _place(request.GET.get("after", "")), asked_pk
    )


def only(asked: Asked, customer_pk: int) -> crm.UnmatchedFilter:
    """Return the filter for one customer, wherever it stands now."""
    return crm.UnmatchedFilter(listed=crm.UnmatchedList.ANY, sources=asked.chosen.sources, customer_pks=(customer_pk,))


def _known(request: HttpRequest, name: str, known: Container[str]) -> str:
    told = request.GET.get(name, "")
    if told and told not in known:
        raise BadRequest(f"There is no {name} '{told}'.")
    return told


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 19 else None


def _place(cursor: str) -> crm.UnmatchedPlace | None:
    if not cursor:
        return None
    value, _, pk = cursor.partition(".")
    if not (value.isdecimal() and pk.isdecimal()):
        raise BadRequest("This place in the list is not one that a page gave out.")
    return crm.UnmatchedPlace(int(value), int(pk))
