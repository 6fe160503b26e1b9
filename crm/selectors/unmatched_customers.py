"""Customers that wait for an Account: the queue, how much of MRR it is, and what is held for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any

from django.conf import settings
from django.db.models import Count, IntegerField, Max, Min, Q, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Coalesce

from crm import codes
from crm.models import (
    Match,
    SyncRecord,
    Unmatched,
    WorkState,
)
from crm.selectors.lists import Largest, Member, counted, cut, largest_of, members_of
from crm.selectors.notes import assigned_to
from mrr import selectors as mrr
from mrr.engine.money import shown

REASONS = {code: title for code, (title, _, _) in codes.UNMATCHED.items()}


@dataclass(frozen=True, slots=True)
class CandidateRow:
    account_id: str
    name: str
    score: int
    reasons: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class UnmatchedRow:
    """A customer that waits for an Account: its largest balance, in `currency`, and how many records are held."""

    customer_pk: int
    source: str
    customer_id: str
    name: str
    email: str
    currency: str
    mrr_micros: int
    since: datetime
    reason: str
    status: str
    candidates: Sequence[CandidateRow]
    held: int
    snoozed_until: datetime | None = None
    waits_for: str = ""
    waits_until: datetime | None = None
    waits_by: str = ""
    ignored_because: str = ""
    ignored_by: str = ""
    ignored_at: datetime | None = None
    ignored_note: str = ""
    news_at: datetime | None = None

    @property
    def mrr_minor(self) -> int:
        return shown(self.mrr_micros)

    @property
    def reason_text(self) -> str:
        return REASONS.get(self.reason, self.reason)


@dataclass(frozen=True, slots=True)
class UnmatchedPlace:
    """A place in the list of unmatched customers."""

    mrr_micros: int
    customer_pk: int


@dataclass(frozen=True, slots=True)
class UnmatchedPage:
    """Unmatched customers, the largest MRR first; the list goes on after `following` and before `preceding`, if set."""

    rows: tuple[UnmatchedRow, ...]
    following: UnmatchedPlace | None
    preceding: UnmatchedPlace | None = None


def unmatched(
    *,
    limit: int,
    after: UnmatchedPlace | None = None,
    before: UnmatchedPlace | None = None,
    reason: str = "",
    search: str = "",
    searches_people: bool = True,
    sources: Sequence[int] | None = None,
    customer_pk: int | None = None,
    is_ignored: bool = False,
    snoozed_at: datetime | None = None,
    awake_at: datetime | None = None,
    assignee_pk: int | None = None,
) -> UnmatchedPage:
    """Return customers that wait for an Account, the largest MRR first. Three queries.

    `awake_at` leaves out those that a person put to rest beyond that moment or that wait for something, `snoozed_at`
    keeps only the first; `is_ignored` returns those that were left out instead of those that wait; `assignee_pk` keeps
    those that this person looks after.

    Unless `searches_people`, only ids are searched: a hit by name would tell the name.
    """
    rows = _without_account(sources) if is_ignored or customer_pk else _unmatched(sources)
    rows = rows.exclude(ignored_because="") if is_ignored else rows
    rows = rows.annotate(mrr=Coalesce(Max("customer__balances__mrr_micros"), Value(0)))
    if reason:
        rows = rows.filter(reason=reason)
    if customer_pk is not None:
        rows = rows.filter(customer_id=customer_pk)
    if snoozed_at is not None:
        rows = rows.filter(snoozed_until__gt=snoozed_at)
    if awake_at is not None:
        rows = rows.filter(Q(snoozed_until__isnull=True) | Q(snoozed_until__lte=awake_at)).exclude(is_away(awake_at))
    if assignee_pk is not None:
        rows = rows.filter(customer__in=assigned_to(assignee_pk).values("customer"))
    if search:
        fits = Q(customer__stripe_id__startswith=search)
        if searches_people:
            fits |= Q(customer__name__icontains=search) | Q(customer__email__icontains=search)
        rows = rows.filter(fits)
    if after is not None:
        rows = rows.filter(Q(mrr__lt=after.mrr_micros) | Q(mrr=after.mrr_micros, customer_id__gt=after.customer_pk))
    if before is not None:
        rows = rows.filter(Q(mrr__gt=before.mrr_micros) | Q(mrr=before.mrr_micros, customer_id__lt=before.customer_pk))
    order = ("mrr", "-customer_id") if before else ("-mrr", "customer_id")
    found: list[Any] = list(rows.select_related("customer__source").order_by(*order)[: limit + 1])
    shown_rows, first, last = cut(found, limit, after, before)
    pks = [row.customer_id for row in shown_rows]
    balances = mrr.balances(pks)
    held = dict(
        SyncRecord.objects.filter(customer_id__in=pks, state=WorkState.HELD)
        .values_list("customer_id")
        .annotate(count=Count("pk"))
    )
    page = tuple(_unmatched_row(row, balances[row.customer_id], held.get(row.customer_id, 0)) for row in shown_rows)
    return UnmatchedPage(
        page,
        following=UnmatchedPlace(last.mrr, last.customer_id) if last else None,
        preceding=UnmatchedPlace(first.mrr, first.customer_id) if first else None,
    )


def unmatched_assigned_to(user_pk: int, *, sources: Sequence[int] | None = None) -> int:
    """Count the customers that wait for an Account and that a person looks after. One query."""
    return _unmatched(sources).filter(customer__in=assigned_to(user_pk).values("customer")).count()


def unmatched_reasons(*, sources: Sequence[int] | None = None) -> dict[str, int]:
    """Return how many customers wait for each reason, the commonest first."""
    rows = _unmatched(sources).values_list("reason").annotate(count=Count("pk")).order_by("-count", "reason")
    return dict(rows)


@dataclass(frozen=True, slots=True)
class MatchedMrr:
    """MRR and paying customers of one currency, matched and not; of those not matched, some are ignored."""

    matched_micros: int = 0
    matched_customers: int = 0
    unmatched_micros: int = 0
    unmatched_customers: int = 0
    ignored_micros: int = 0
    ignored_customers: int = 0


@dataclass(frozen=True, slots=True)
class MatchTotals:
    """How much of MRR is matched. `customers` counts all that wait, paying or not, and none that is ignored."""

    customers: int
    currencies: Mapping[str, MatchedMrr]

    def share(self, currency: str) -> Fraction | None:
        """Matched MRR ÷ MRR in a currency; None while there is none."""
        found = self.currencies.get(currency, MatchedMrr())
        total = found.matched_micros + found.unmatched_micros
        return Fraction(found.matched_micros, total) if total else None

    def customer_share(self, currency: str) -> Fraction | None:
        """Matched customers ÷ customers that pay in a currency; None while there are none."""
        found = self.currencies.get(currency, MatchedMrr())
        total = found.matched_customers + found.unmatched_customers
        return Fraction(found.matched_customers, total) if total else None


def unmatched_totals(*, sources: Sequence[int] | None = None) -> MatchTotals:
    """Return how much of MRR is matched, per currency. One query."""
    matches = Match.objects.filter(undone_at__isnull=True)
    kept = matches if sources is None else matches.filter(customer__source_id__in=sources)
    pays = Q(customer__balances__mrr_micros__gt=0)
    columns = {
        "micros": Sum("customer__balances__mrr_micros", filter=pays),
        "count": Count("customer_id", filter=pays),
    }
    everybody = Subquery(counted(_unmatched(sources)))
    ignored = Q(ignored_at__isnull=False)
    of_ignored = {
        "its": Sum("customer__balances__mrr_micros", filter=pays & ignored),
        "their": Count("customer_id", filter=pays & ignored),
    }
    nobody = {name: Value(None, IntegerField()) for name in ("its", "their", "everybody")}
    by_currency = "customer__balances__currency"
    rows = (
        _without_account(sources).values_list(by_currency).annotate(**columns, **of_ignored, everybody=everybody),
        kept.filter(pays).values_list(by_currency).annotate(**columns, **nobody),
    )
    found: list[Any] = list(rows[0].order_by().union(rows[1].order_by(), all=True))
    paying = [row for row in found if row[2]]
    waiting = {currency: said for currency, *said, all_ in paying if all_ is not None}
    matched = {currency: said[:2] for currency, *said, all_ in paying if all_ is None}
    return MatchTotals(
        customers=max((row[-1] or 0 for row in found), default=0),
        currencies={
            currency: MatchedMrr(
                *matched.get(currency, (0, 0)), *(one or 0 for one in waiting.get(currency, (0, 0, 0, 0)))
            )
            for currency in sorted({*matched, *waiting})
        },
    )


def is_away(at: datetime) -> Q:
    """Return the condition that a customer waits for something a person named, and neither its day nor news came."""
    rests = Q(waits_until__isnull=True) | Q(waits_until__gt=at)
    return ~Q(waits_for="") & rests & Q(news_at__isnull=True)


def _unmatched(sources: Sequence[int] | None) -> QuerySet[Unmatched]:
    """Return who waits for an Account."""
    return _without_account(sources).filter(ignored_because="")


def _without_account(sources: Sequence[int] | None) -> QuerySet[Unmatched]:
    """Return who has no Account, the ignored too."""
    rows = Unmatched.objects.all()
    return rows if sources is None else rows.filter(customer__source_id__in=sources)


def _unmatched_row(row: Unmatched, balances: Sequence[mrr.Balance], held: int) -> UnmatchedRow:
    largest = max(balances, key=lambda one: one.mrr_micros, default=None)
    customer = row.customer
    return UnmatchedRow(
        customer_pk=row.customer_id,
        source=customer.source.slug,
        customer_id=customer.stripe_id,
        name=customer.name,
        email=customer.email,
        currency=largest.currency if largest else customer.currency or settings.REPORTING_CURRENCY,
        mrr_micros=largest.mrr_micros if largest else 0,
        since=row.since,
        reason=row.reason,
        status="snoozed" if row.snoozed_until else "waiting",
        candidates=[CandidateRow(**one) for one in row.candidates],
        held=held,
        snoozed_until=row.snoozed_until,
        waits_for=row.waits_for,
        waits_until=row.waits_until,
        waits_by=row.waits_by,
        ignored_because=row.ignored_because,
        ignored_by=row.ignored_by,
        ignored_at=row.ignored_at,
        ignored_note=row.ignored_note,
        news_at=row.news_at,
    )


def largest_unmatched(currency: str, *, sources: Sequence[int] | None = None) -> Largest | None:
    """Return the unmatched customer with the most MRR in a currency."""
    return largest_of(_without_account(sources), currency)


@dataclass(frozen=True, slots=True)
class Resting:
    """Customers that a person put to rest, and the Salesforce records that are held for all who wait."""

    snoozed: int = 0
    held: int = 0
    held_since: datetime | None = None


def resting(*, now: datetime) -> Resting:
    """Return what the workbench shows above its queue. Two queries."""
    held = SyncRecord.objects.filter(state=WorkState.HELD).aggregate(count=Count("pk"), since=Min("created_at"))
    snoozed = Unmatched.objects.filter(snoozed_until__gt=now).count()
    return Resting(snoozed, held["count"], held["since"])


def unmatched_members(currency: str, *, sources: Sequence[int] | None = None) -> list[Member]:
    """Return whose MRR is unmatched, the largest first. One query."""
    return members_of(_without_account(sources), currency)
