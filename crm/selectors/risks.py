"""Customers at risk as judged last: their signals, the totals, and who was lost lately."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q, QuerySet

from crm import risk
from crm.models import (
    CustomerRisk,
)
from crm.selectors.lists import Largest, Member, cut, members_of
from crm.selectors.matches import MatchRow, matches_of
from mrr import selectors as mrr
from mrr.engine.money import shown

MEDIUM_FROM, HIGH_FROM = risk.DEFAULT.medium_from, risk.DEFAULT.high_from


@dataclass(frozen=True, slots=True)
class RiskPart:
    """One signal: its points, what shows it, and since when (None where that is not known)."""

    signal: str
    points: int
    evidence: str
    at: datetime | None

    @property
    def label(self) -> str:
        return SIGNALS.get(self.signal, self.signal)

    @property
    def family(self) -> str:
        """Which colour of the bar it has: payment or cancel, past due or contraction, dispute or usage, the rest."""
        return FAMILIES.get(self.signal, "other")


SIGNALS = {
    "failed_payment": "Payment failed again",
    "no_further_attempt": "No further attempt",
    "past_due": "Past due",
    "open_invoice": "Invoice overdue",
    "scheduled_cancel": "Cancels",
    "contraction": "Contraction",
    "dispute_open": "Dispute open",
    "card_expires": "Card expires",
    "collection_paused": "Collection paused",
    "discount_ends": "Discount ends",
    "usage_down": "Usage down",
    "refund": "Refund",
    "annual_renewal": "Renews",
}
FAMILIES = {
    "failed_payment": "payment",
    "no_further_attempt": "payment",
    "open_invoice": "payment",
    "scheduled_cancel": "payment",
    "past_due": "past_due",
    "contraction": "past_due",
    "collection_paused": "past_due",
    "dispute_open": "dispute",
    "usage_down": "dispute",
    "refund": "dispute",
}


@dataclass(frozen=True, slots=True)
class RiskRow:
    """A paying customer with at least one signal. `mrr_micros` is its largest balance, in `currency`."""

    customer_pk: int
    source: str
    customer_id: str
    name: str
    account_id: str
    account_name: str
    owner_name: str
    currency: str
    mrr_micros: int
    score: int
    severity: str
    payment_severity: str
    parts: tuple[RiskPart, ...]
    since: datetime | None
    past_due_since: datetime | None
    assessed_at: datetime

    @property
    def mrr_minor(self) -> int:
        return shown(self.mrr_micros)


@dataclass(frozen=True, slots=True)
class RiskPlace:
    """A place in the list of customers at risk."""

    score: int
    customer_pk: int


@dataclass(frozen=True, slots=True)
class RiskPage:
    """Customers at risk, the highest score first; the list goes on after `following` and before `preceding`, if set."""

    rows: tuple[RiskRow, ...]
    following: RiskPlace | None
    preceding: RiskPlace | None = None


def at_risk_rows(
    *,
    limit: int,
    after: RiskPlace | None = None,
    before: RiskPlace | None = None,
    severity: str = "",
    signal: str = "",
    sources: Sequence[int] | None = None,
) -> RiskPage:
    """Return customers at risk as judged last, the highest score first. Three queries."""
    rows = _risks(sources)
    if severity:
        rows = rows.filter(severity=severity)
    if signal:
        rows = rows.filter(parts__icontains=f'"{signal}"')
    if after is not None:
        rows = rows.filter(Q(score__lt=after.score) | Q(score=after.score, customer_id__gt=after.customer_pk))
    if before is not None:
        rows = rows.filter(Q(score__gt=before.score) | Q(score=before.score, customer_id__lt=before.customer_pk))
    order = ("score", "-customer_id") if before else ("-score", "customer_id")
    found = list(rows.select_related("customer__source").order_by(*order)[: limit + 1])
    shown_rows, first, last = cut(found, limit, after, before)
    return RiskPage(
        _risk_rows(shown_rows),
        following=RiskPlace(last.score, last.customer_id) if last else None,
        preceding=RiskPlace(first.score, first.customer_id) if first else None,
    )


def risk_of(customer_pk: int) -> RiskRow | None:
    """Return one customer's risk; None when nothing speaks against it."""
    return next(iter(_risk_rows(list(CustomerRisk.objects.filter(customer_id=customer_pk)))), None)


@dataclass(frozen=True, slots=True)
class RiskAmount:
    """MRR of so many customers in one currency."""

    micros: int = 0
    customers: int = 0

    @property
    def minor(self) -> int:
        return shown(self.micros)


@dataclass(frozen=True, slots=True)
class RiskTotals:
    """MRR at risk (medium and high), MRR at high risk, and past due MRR, by currency; `customers` counts all listed.

    `largest_high` is who has the most MRR of those at high risk, by currency.
    """

    customers: int
    at_risk: Mapping[str, RiskAmount]
    high: Mapping[str, RiskAmount]
    past_due: Mapping[str, RiskAmount]
    largest_high: Mapping[str, Largest] = field(default_factory=dict)


def at_risk(*, now: datetime, sources: Sequence[int] | None = None) -> RiskTotals:
    """Return the totals of risk as judged last. One query."""
    rows = _risks(sources).values_list(
        "customer_id",
        "customer__stripe_id",
        "customer__name",
        "severity",
        "past_due",
        "customer__balances__currency",
        "customer__balances__mrr_micros",
    )
    risky: dict[str, RiskAmount] = {}
    high: dict[str, RiskAmount] = {}
    largest: dict[str, Largest] = {}
    past_due: dict[int, Mapping[str, int]] = {}
    for customer_pk, stripe_id, name, severity, amounts, currency, micros in rows:
        past_due[customer_pk] = amounts
        if micros and severity in ("medium", "high"):
            risky[currency] = _plus(risky.get(currency), micros, 1)
        if micros and severity == "high":
            high[currency] = _plus(high.get(currency), micros, 1)
            if currency not in largest or micros > largest[currency].micros:
                largest[currency] = Largest(customer_pk, stripe_id, name, micros)
    late: dict[str, RiskAmount] = {}
    for amounts in past_due.values():
        for currency, micros in amounts.items():
            late[currency] = _plus(late.get(currency), micros, 1)
    return RiskTotals(len(past_due), risky, high, late, largest)


def lost_lately(*, now: datetime, sources: Sequence[int] | None = None, days: int = 30) -> list[mrr.Movement]:
    """Return what was lost lately because a customer went unpaid or was paused, newest first."""
    first = (now - timedelta(days=days)).astimezone(mrr.reporting_zone()).date()
    chosen = mrr.MovementFilter(sources=sources, types=("churn", "contraction"), first=first)
    found = mrr.movements(chosen, limit=1000).movements
    return [one for one in reversed(found) if one.reason in ("payment_failed", "paused")]


def _risks(sources: Sequence[int] | None) -> QuerySet[CustomerRisk]:
    if sources is None:
        return CustomerRisk.objects.filter(customer__source__livemode=True)
    return CustomerRisk.objects.filter(customer__source_id__in=sources)


def _risk_rows(found: Sequence[CustomerRisk]) -> tuple[RiskRow, ...]:
    pks = [row.customer_id for row in found]
    balances = mrr.balances(pks) if pks else {}
    matches = matches_of(pks) if pks else {}
    return tuple(_risk_row(row, balances[row.customer_id], matches.get(row.customer_id)) for row in found)


def _risk_row(row: CustomerRisk, balances: Sequence[mrr.Balance], match: MatchRow | None) -> RiskRow:
    largest = max(balances, key=lambda one: one.mrr_micros, default=None)
    return RiskRow(
        customer_pk=row.customer_id,
        source=row.customer.source.slug,
        customer_id=row.customer.stripe_id,
        name=row.customer.name,
        account_id=match.account_id if match else "",
        account_name=match.account_name if match else "",
        owner_name=match.owner_name if match else "",
        currency=largest.currency if largest else settings.REPORTING_CURRENCY,
        mrr_micros=largest.mrr_micros if largest else 0,
        score=row.score,
        severity=row.severity,
        payment_severity=row.payment_severity,
        parts=tuple(
            RiskPart(
                part["signal"],
                part["points"],
                part["evidence"],
                datetime.fromisoformat(part["at"]) if part["at"] else None,
            )
            for part in row.parts
        ),
        since=row.since,
        past_due_since=row.past_due_since,
        assessed_at=row.assessed_at,
    )


def _plus(amount: RiskAmount | None, micros: int, customers: int) -> RiskAmount:
    amount = amount or RiskAmount()
    return RiskAmount(amount.micros + micros, amount.customers + customers)


def risk_members(
    currency: str, *, severities: Collection[str] = (), sources: Sequence[int] | None = None
) -> list[Member]:
    """Return whose MRR is at risk of these severities (none: whose is past due), the largest first. One query."""
    rows = _risks(sources)
    if not severities:
        late = rows.filter(past_due_since__isnull=False).values_list(
            "customer_id", "customer__stripe_id", "customer__name", "past_due"
        )
        found = [Member(pk, stripe_id, name, due[currency]) for pk, stripe_id, name, due in late if due.get(currency)]
        return sorted(found, key=lambda one: (-one.micros, one.customer_pk))
    return members_of(rows.filter(severity__in=severities), currency)
