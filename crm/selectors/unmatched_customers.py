"""Customers that wait for an Account: the queue, how much of MRR it is, and what is held for them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from typing import Any

from django.conf import settings
from django.db.models import Count, F, IntegerField, Max, Min, Q, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Cast, Coalesce

from crm import codes
from crm.models import (
    Match,
    SyncRecord,
    Unmatched,
    WorkState,
)
from crm.outbox.owing import IGNORED
from crm.selectors.lists import Largest, Member, counted, cut, largest_of, members_of
from crm.selectors.notes import assigned_to
from crm.selectors.questions import ASKED
from mrr import selectors as mrr
from mrr.engine.money import shown

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
REASONS = {code: title for code, (title, _, _) in codes.UNMATCHED.items()}


@dataclass(frozen=True, slots=True)
class CandidateRow:
    account_id: str
    name: str
    score: int
    reasons: Sequence[Mapping[str, Any]]
    hints: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class UnmatchedRow:
    """A customer that waits for an Account: its largest balance, in `currency`, and which records are held.

    Holds personal data.
    """

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
    balances: Sequence[mrr.Balance]
    held_kinds: Mapping[str, int]
    phone: str = ""
    postal_code: str = ""
    country: str = ""
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
    def held(self) -> int:
        return sum(self.held_kinds.values())

    @property
    def reason_text(self) -> str:
        return REASONS.get(self.reason, self.reason)


class UnmatchedList(StrEnum):
    """Which of those without an Account: who waits for a decision, how a person set the others aside, or all."""

    WAITING = "waiting"
    EXPECTED = "expected"
    SNOOZED = "snoozed"
    IGNORED = "ignored"
    NOT_IGNORED = "not_ignored"
    ANY = "any"


class UnmatchedOrder(StrEnum):
    """How the list is sorted: the most MRR, the longest waiting or the best candidate first."""

    MRR = "mrr"
    AGE = "age"
    SCORE = "score"


@dataclass(frozen=True, slots=True)
class UnmatchedPlace:
    """A place in the list of unmatched customers: what it is sorted by (micros, microseconds or points) and whose."""

    value: int
    customer_pk: int


@dataclass(frozen=True, slots=True)
class UnmatchedFilter:
    """Which unmatched customers; what is None or empty does not restrict.

    `at` is the moment at which the lists by day are asked for. `currency` is one that the customer pays in. Scores are
    the best candidate's, both ends included: 0 is without any. Ids alone are searched unless `searches_people`: a hit
    by name would tell the name.
    """

    listed: UnmatchedList = UnmatchedList.NOT_IGNORED
    at: datetime = _LONG_AGO
    sources: Sequence[int] | None = None
    reason: str = ""
    currency: str = ""
    assignee_pk: int | None = None
    lowest_score: int | None = None
    highest_score: int | None = None
    since_before: datetime | None = None
    search: str = ""
    searches_people: bool = True
    customer_pks: Collection[int] | None = None


@dataclass(frozen=True, slots=True)
class UnmatchedPage:
    """Unmatched customers in their order; the list goes on after `following` and before `preceding`, if set."""

    rows: tuple[UnmatchedRow, ...]
    following: UnmatchedPlace | None
    preceding: UnmatchedPlace | None = None


def unmatched(
    chosen: UnmatchedFilter | None = None,
    *,
    limit: int,
    order: UnmatchedOrder = UnmatchedOrder.MRR,
    after: UnmatchedPlace | None = None,
    before: UnmatchedPlace | None = None,
) -> UnmatchedPage:
    """Return customers that wait for an Account. Three queries.

    Which they are is found among few columns, and only those are read whole: sorted whole, twenty thousand rows take
    three times as long.
    """
    column, rises = _COLUMNS[order], order is UnmatchedOrder.AGE
    rows: Any = _sortable(_filtered(chosen or UnmatchedFilter()).values("pk"), order)
    if after is not None:
        rows = rows.filter(_beyond(column, after, above=rises, is_later=True))
    if before is not None:
        rows = rows.filter(_beyond(column, before, above=not rises, is_later=False))
    is_rising = rises if before is None else not rises
    sorted_by = (column if is_rising else f"-{column}", "-customer_id" if before else "customer_id")
    here = Unmatched.objects.filter(pk__in=rows.order_by(*sorted_by).values("pk")[: limit + 1])
    found: list[Any] = list(_sortable(here, order).select_related("customer__source").order_by(*sorted_by))
    shown_rows, first, last = cut(found, limit, after, before)
    pks = [row.customer_id for row in shown_rows]
    balances = mrr.balances(pks)
    held = held_kinds(pks)
    page = tuple(_unmatched_row(row, balances[row.customer_id], held[row.customer_id]) for row in shown_rows)
    return UnmatchedPage(
        page,
        following=_place(last, column) if last else None,
        preceding=_place(first, column) if first else None,
    )


def _sortable(rows: Any, order: UnmatchedOrder) -> Any:
    """Add the column that an order sorts by, where a row has none."""
    if order is UnmatchedOrder.MRR:
        return rows.annotate(mrr=_MRR)
    return rows.annotate(score=_SCORE) if order is UnmatchedOrder.SCORE else rows


# A customer that pays in several currencies stands where its largest balance does.
_MRR = Coalesce(Max("customer__balances__mrr_micros"), Value(0))
_SCORE = Coalesce(Cast(F("candidates__0__score"), IntegerField()), Value(0))
_COLUMNS = {UnmatchedOrder.MRR: "mrr", UnmatchedOrder.AGE: "since", UnmatchedOrder.SCORE: "score"}


def _beyond(column: str, place: UnmatchedPlace, *, above: bool, is_later: bool) -> Q:
    """Return what lies beyond a place: larger values or smaller ones, and of equal ones later or earlier customers."""
    value = _LONG_AGO + timedelta(microseconds=place.value) if column == "since" else place.value
    beyond = Q(**{f"{column}__{'gt' if above else 'lt'}": value})
    among_equals = {column: value, f"customer_id__{'gt' if is_later else 'lt'}": place.customer_pk}
    return beyond | Q(**among_equals)


def _place(row: Any, column: str) -> UnmatchedPlace:
    value = getattr(row, column)
    return UnmatchedPlace(
        (value - _LONG_AGO) // timedelta(microseconds=1) if column == "since" else value, row.customer_id
    )


def _filtered(chosen: UnmatchedFilter) -> QuerySet[Unmatched]:
    rows = _without_account(chosen.sources).filter(_listed(chosen.listed, chosen.at))
    if chosen.reason:
        rows = rows.filter(reason=chosen.reason)
    if chosen.currency:
        pays = {"customer__balances__currency": chosen.currency, "customer__balances__mrr_micros__gt": 0}
        rows = rows.filter(pk__in=Unmatched.objects.filter(**pays).values("pk"))
    if chosen.customer_pks is not None:
        rows = rows.filter(customer_id__in=chosen.customer_pks)
    if chosen.assignee_pk is not None:
        rows = rows.filter(customer__in=assigned_to(chosen.assignee_pk).values("customer"))
    if chosen.lowest_score is not None:
        rows = rows.annotate(low=_SCORE).filter(low__gte=chosen.lowest_score)
    if chosen.highest_score is not None:
        rows = rows.annotate(high=_SCORE).filter(high__lte=chosen.highest_score)
    if chosen.since_before is not None:
        rows = rows.filter(since__lt=chosen.since_before)
    if chosen.search:
        fits = Q(customer__stripe_id__startswith=chosen.search)
        if chosen.searches_people:
            fits |= Q(customer__name__icontains=chosen.search) | Q(customer__email__icontains=chosen.search)
        rows = rows.filter(fits)
    return rows


def _listed(listed: UnmatchedList, at: datetime) -> Q:
    is_snoozed = Q(snoozed_until__isnull=False, snoozed_until__gt=at)
    match listed:
        case UnmatchedList.ANY:
            return Q()
        case UnmatchedList.IGNORED:
            return ~Q(ignored_because="")
        case UnmatchedList.NOT_IGNORED:
            return Q(ignored_because="")
        case UnmatchedList.EXPECTED:
            return Q(ignored_because="") & is_away(at)
        case UnmatchedList.SNOOZED:
            return Q(ignored_because="") & is_snoozed & ~is_away(at)
    return Q(ignored_because="") & ~is_snoozed & ~is_away(at)


@dataclass(frozen=True, slots=True)
class UnmatchedCounts:
    """How long the lists are, and how many of those that wait do so for each reason, the commonest first.

    `mine` are those that the reader looks after and that are not ignored.
    """

    waiting: int = 0
    expected: int = 0
    snoozed: int = 0
    ignored: int = 0
    mine: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)


def unmatched_counts(
    *, at: datetime, sources: Sequence[int] | None = None, assignee_pk: int | None = None
) -> UnmatchedCounts:
    """Count the lists at a moment. One query."""
    lists = (UnmatchedList.WAITING, UnmatchedList.EXPECTED, UnmatchedList.SNOOZED, UnmatchedList.IGNORED)
    columns = {one.value: Count("pk", filter=_listed(one, at)) for one in lists}
    if assignee_pk is not None:
        of_reader = Q(ignored_because="", customer__in=assigned_to(assignee_pk).values("customer"))
        columns["mine"] = Count("pk", filter=of_reader)
    rows: list[Any] = list(_without_account(sources).values("reason").annotate(**columns).order_by())
    by_reason = sorted(
        ((row["waiting"], row["reason"]) for row in rows if row["waiting"]), key=lambda one: (-one[0], one[1])
    )
    totals = {name: sum(row[name] for row in rows) for name in columns}
    return UnmatchedCounts(**totals, reasons={reason: count for count, reason in by_reason})


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


def _unmatched_row(row: Unmatched, balances: Sequence[mrr.Balance], held: Mapping[str, int]) -> UnmatchedRow:
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
        balances=balances,
        held_kinds=held,
        phone=customer.phone,
        postal_code=customer.postal_code,
        country=customer.country,
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
class HeldWork:
    """The Salesforce records that are held for a decision, since when, and how many of them ask for an Opportunity.

    Those of ignored customers are left out.
    """

    count: int = 0
    since: datetime | None = None
    questions: int = 0


def held_work() -> HeldWork:
    """Return what waits in the outbox for the workbench. One query."""
    rows = SyncRecord.objects.filter(state=WorkState.HELD).exclude(error_code=IGNORED)
    held = rows.aggregate(count=Count("pk"), since=Min("created_at"), questions=Count("pk", filter=ASKED))
    return HeldWork(held["count"], held["since"], held["questions"])


def held_kinds(customer_pks: Collection[int]) -> dict[int, dict[str, int]]:
    """Return by customer how many records of each kind are held: what a match would release. One query."""
    found: dict[int, dict[str, int]] = {pk: {} for pk in customer_pks}
    rows = SyncRecord.objects.filter(customer_id__in=customer_pks, state=WorkState.HELD)
    for pk, kind, count in rows.values_list("customer_id", "kind").annotate(count=Count("pk")).order_by("kind"):
        if pk is not None:
            found[pk][kind] = count
    return found


def unmatched_members(currency: str, *, sources: Sequence[int] | None = None) -> list[Member]:
    """Return whose MRR is unmatched, the largest first. One query."""
    return members_of(_without_account(sources), currency)
