"""Subscriptions whose Opportunity a person must choose: the question, the candidates, and the last choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.db.models import Q, QuerySet

from crm.models import Match, OpportunityChoice, RecordKind, SyncRecord, WorkState
from crm.opportunities import QUESTIONS
from mrr import selectors as mrr

# Of held records: those for which a person must choose the Opportunity.
ASKED = Q(kind=RecordKind.OPPORTUNITY, error_code__in=list(QUESTIONS), choice__isnull=False)


@dataclass(frozen=True, slots=True)
class OpportunityRow:
    """An Opportunity as Salesforce held it when it was asked. `amount` is its own text, `currency` too."""

    id: str
    name: str
    stage: str
    close_on: date | None
    amount: str
    currency: str
    is_won: bool
    is_closed: bool
    owner: str
    has_products: bool


@dataclass(frozen=True, slots=True)
class QuestionRow:
    """One subscription that looks for its Opportunity; `mrr_micros` is what it is worth now, in `currency`."""

    record_pk: int
    subscription_id: str
    code: str
    text: str
    asked_at: datetime
    customer_pk: int
    customer_id: str
    customer_name: str
    account_id: str
    account_name: str
    owner_name: str
    candidates: Sequence[OpportunityRow]
    began_at: datetime | None
    mrr_micros: int
    currency: str

    @property
    def words(self) -> str:
        return QUESTIONS.get(self.code, self.code)


@dataclass(frozen=True, slots=True)
class QuestionPage:
    """Questions, the oldest first, and the key after which the list goes on, None at the end."""

    rows: tuple[QuestionRow, ...]
    following: int | None


def opportunity_questions(*, limit: int, after_pk: int | None = None, record_pk: int | None = None) -> QuestionPage:
    """Return the subscriptions for which a person must choose, the oldest question first, or one of them alone."""
    rows = _asked() if record_pk is None else _asked().filter(pk=record_pk)
    if after_pk is not None:
        rows = rows.filter(pk__gt=after_pk)
    found = list(rows.select_related("customer", "choice").order_by("pk")[: limit + 1])
    shown = found[:limit]
    pks = {row.customer_id for row in shown if row.customer_id is not None}
    matches = Match.objects.filter(customer_id__in=pks, undone_at__isnull=True).select_related("account")
    match_of = {one.customer_id: one for one in matches}
    movements = mrr.movements_of(sorted(pks)) if pks else {}
    page = tuple(
        _row(row, match_of.get(row.customer_id or 0), movements.get(row.customer_id or 0, [])) for row in shown
    )
    return QuestionPage(page, shown[-1].pk if len(found) > limit else None)


@dataclass(frozen=True, slots=True)
class ChoiceRow:
    """The choice that a person made last, to be undone."""

    record_pk: int
    subscription_id: str
    chosen_name: str
    chosen_at: datetime


def last_choice(username: str, *, since: datetime) -> ChoiceRow | None:
    """Return the last standing choice that a person made since a moment."""
    row = (
        OpportunityChoice.objects.filter(chosen_by=username, chosen_at__gte=since)
        .select_related("record")
        .order_by("-chosen_at")
        .first()
    )
    if row is None or row.chosen_at is None:
        return None
    names = {one["id"]: one["name"] for one in row.candidates}
    chosen = names.get(row.chosen_id, row.chosen_id) if row.chosen_id else "a new Opportunity"
    return ChoiceRow(row.record_id, row.record.key, chosen, row.chosen_at)


def _asked() -> QuerySet[SyncRecord]:
    return SyncRecord.objects.filter(ASKED, state=WorkState.HELD)


def _row(row: SyncRecord, match: Match | None, movements: Sequence[mrr.Movement]) -> QuestionRow:
    assert row.customer is not None
    of_it = [
        (one.effective_at, one.currency, line.micros)
        for one in movements
        for line in one.lines
        if line.subscription == row.key
    ]
    return QuestionRow(
        record_pk=row.pk,
        subscription_id=row.key,
        code=row.choice.code,
        text=row.choice.text,
        asked_at=row.choice.asked_at,
        customer_pk=row.customer.pk,
        customer_id=row.customer.stripe_id,
        customer_name=row.customer.name,
        account_id=match.account.salesforce_id if match else "",
        account_name=match.account.name if match else "",
        owner_name=match.account.owner_name if match else "",
        candidates=tuple(_candidate(one) for one in row.choice.candidates),
        began_at=min((at for at, _, _ in of_it), default=None),
        mrr_micros=sum(micros for _, _, micros in of_it),
        currency=of_it[0][1] if of_it else row.customer.currency or "usd",
    )


def _candidate(one: Mapping[str, Any]) -> OpportunityRow:
    return OpportunityRow(
        id=one["id"],
        name=one["name"],
        stage=one["stage"],
        close_on=date.fromisoformat(one["close_on"]) if one["close_on"] else None,
        amount=one["amount"],
        currency=one.get("currency", ""),
        is_won=one["is_won"],
        is_closed=one["is_closed"],
        owner=one["owner"],
        has_products=one["has_products"],
    )
