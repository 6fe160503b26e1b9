"""The MRR schedule as people read it: entries with their lines and the customer's MRR before and after."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Sum

from mrr.engine.money import shown
from mrr.models import LedgerEntry
from mrr.selectors.months import parts_shown
from mrr.selectors.scope import day_start, sources_or_live
from mrr.selectors.segment import Segment, of_customers
from mrr.waterfalls import Basis


@dataclass(frozen=True, slots=True)
class Line:
    """What one subscription item contributed; `before` and `after` are its terms, None where it was not there."""

    subscription: str
    item: str
    price: str
    product: str
    reason: str
    micros: int
    minor: int
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Movement:
    """One entry of the MRR schedule.

    `before_micros` and `after_micros` are the customer's MRR in this currency around a standing entry; None for an
    entry that was taken back and for a reversal. A standing entry shows the difference of the balances shown.
    """

    pk: int
    key: str
    source_pk: int
    source: str
    customer_pk: int
    customer_id: str
    customer_name: str
    customer_email: str
    type: str
    reason: str
    currency: str
    amount_micros: int
    paying_delta: int
    before_micros: int | None
    after_micros: int | None
    effective_at: datetime
    posted_at: datetime
    book_month: date
    event_ids: tuple[str, ...]
    lines: tuple[Line, ...]
    days_lapsed: int | None
    is_live: bool
    backdated_from: date | None
    policy_version: int
    reverses: str | None
    reversed_by: str | None

    @property
    def amount_minor(self) -> int:
        if self.before_micros is None or self.after_micros is None:
            return shown(self.amount_micros)
        return shown(self.after_micros) - shown(self.before_micros)

    @property
    def arr_micros(self) -> int:
        return 12 * self.amount_micros

    @property
    def arr_minor(self) -> int:
        if self.before_micros is None or self.after_micros is None:
            return shown(self.arr_micros)
        return shown(12 * self.after_micros) - shown(12 * self.before_micros)

    @property
    def after_minor(self) -> int | None:
        return None if self.after_micros is None else shown(self.after_micros)


@dataclass(frozen=True, slots=True)
class MovementFilter:
    """Which movements; what is None or empty does not restrict. Days of the reporting zone, both ends included.

    With the closed basis days are compared with the month an entry is booked in. Unless `has_reversed`, an entry that
    was taken back and its reversal are left out. `learned_after` leaves only what came too late for its own month and
    for this one, and is booked in a later one. `segment` leaves only entries of the customers in it. `reasons` are
    those of the movement, as its largest line names them.
    """

    sources: Sequence[int] | None = None
    first: date | None = None
    last: date | None = None
    types: Sequence[str] = ()
    customer_pks: Sequence[int] | None = None
    currency: str | None = None
    basis: Basis = Basis.RESTATED
    has_reversed: bool = False
    learned_after: date | None = None
    segment: Segment | None = None
    reasons: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the list of movements, between an entry and its neighbour."""

    effective_at: datetime
    pk: int


@dataclass(frozen=True, slots=True)
class MovementPage:
    """Movements oldest first, and whether the list goes on at either end."""

    movements: tuple[Movement, ...]
    has_earlier: bool
    has_later: bool


@dataclass(frozen=True, slots=True)
class MovementTotal:
    """What the movements of a filter add up to in one currency, exactly."""

    currency: str
    count: int
    micros: int


def movements(
    chosen: MovementFilter, *, limit: int, after: Place | None = None, before: Place | None = None
) -> MovementPage:
    """Return a page of movements by effective time, oldest first: what follows `after`, or leads up to `before`."""
    rows = filtered(chosen)
    if before is not None:
        past = Q(effective_at__lt=before.effective_at) | Q(effective_at=before.effective_at, pk__lt=before.pk)
        found = as_movements(
            rows.filter(past, effective_at__lte=before.effective_at).order_by("-effective_at", "-pk")[: limit + 1]
        )
        return MovementPage(tuple(reversed(found[:limit])), has_earlier=len(found) > limit, has_later=True)
    if after is not None:
        ahead = Q(effective_at__gt=after.effective_at) | Q(effective_at=after.effective_at, pk__gt=after.pk)
        rows = rows.filter(ahead, effective_at__gte=after.effective_at)
    found = as_movements(rows.order_by("effective_at", "pk")[: limit + 1])
    return MovementPage(tuple(found[:limit]), has_earlier=after is not None, has_later=len(found) > limit)


def movement_totals(chosen: MovementFilter) -> list[MovementTotal]:
    """Return what all movements of a filter add up to, per currency."""
    rows = filtered(chosen).values_list("currency").annotate(count=Count("pk"), micros=Sum("amount_micros"))
    return [MovementTotal(*row) for row in rows.order_by("currency")]


def latest_movements(*, limit: int, sources: Sequence[int] | None = None) -> list[Movement]:
    """Return the newest standing movements, newest first."""
    return as_movements(filtered(MovementFilter(sources)).order_by("-effective_at", "-pk")[:limit])


def movement(key: str) -> Movement | None:
    """Return one entry by its key, standing or not."""
    return next(iter(as_movements(LedgerEntry.objects.filter(key=key))), None)


def movements_of(customer_pks: Sequence[int], *, has_reversed: bool = False) -> dict[int, list[Movement]]:
    """Return all movements of customers, oldest first."""
    rows = LedgerEntry.objects.filter(customer_id__in=customer_pks)
    found: dict[int, list[Movement]] = {pk: [] for pk in customer_pks}
    for row in as_movements((rows if has_reversed else _standing(rows)).order_by("effective_at", "pk")):
        found[row.customer_pk].append(row)
    return found


@dataclass(frozen=True, slots=True)
class Step:
    """A standing entry in short: whose, what it was, and by how much."""

    customer_pk: int
    type: str
    currency: str
    micros: int
    effective_at: datetime


def steps_of(customer_pks: Collection[int]) -> list[Step]:
    """Return the standing entries of customers in short, oldest first. One query."""
    rows = _standing(LedgerEntry.objects.filter(customer_id__in=customer_pks)).order_by("effective_at", "pk")
    return [Step(*row) for row in rows.values_list("customer_id", "type", "currency", "amount_micros", "effective_at")]


def movements_of_event(event_id: str, customer_pk: int) -> list[Movement]:
    """Return the entries of a customer that an event had a part in, oldest first, reversed ones too."""
    rows = movements_of([customer_pk], has_reversed=True)[customer_pk]
    return [row for row in rows if event_id in row.event_ids]


def mrr_by_subscription(customer_pk: int) -> dict[str, int]:
    """Return what each subscription of a customer is worth now, in micros: the sum of its lines that stand."""
    found: dict[str, int] = {}
    rows = _standing(LedgerEntry.objects.filter(customer_id=customer_pk))
    for lines in rows.values_list("lines", flat=True):
        for line in lines:
            found[line["subscription"]] = found.get(line["subscription"], 0) + line["micros"]
    return found


def filtered(chosen: MovementFilter) -> QuerySet[LedgerEntry]:
    """Return the entries that a filter lets through, in no order."""
    rows = LedgerEntry.objects.filter(of_customers(chosen.segment), source_id__in=sources_or_live(chosen.sources))
    if chosen.basis is Basis.CLOSED:
        if chosen.first is not None:
            rows = rows.filter(book_month__gte=chosen.first.replace(day=1))
        if chosen.last is not None:
            rows = rows.filter(book_month__lte=chosen.last)
    else:
        if chosen.first is not None:
            rows = rows.filter(effective_at__gte=day_start(chosen.first))
        if chosen.last is not None:
            rows = rows.filter(effective_at__lt=day_start(chosen.last + timedelta(days=1)))
    if chosen.types:
        rows = rows.filter(type__in=chosen.types)
    if chosen.reasons:
        rows = rows.filter(reason__in=chosen.reasons)
    if chosen.customer_pks is not None:
        rows = rows.filter(customer_id__in=chosen.customer_pks)
    if chosen.currency:
        rows = rows.filter(currency=chosen.currency)
    if chosen.learned_after is not None:
        rows = rows.filter(backdated_from__isnull=False, book_month__gt=chosen.learned_after)
    return rows if chosen.has_reversed else _standing(rows)


def _standing(rows: QuerySet[LedgerEntry]) -> QuerySet[LedgerEntry]:
    """Keep entries that are neither reversals nor reversed. Said as an anti-join over the small index of reversals."""
    reversals = LedgerEntry.objects.filter(reverses__isnull=False, reverses=OuterRef("pk"))
    return rows.filter(~Exists(reversals), reverses__isnull=True)


def as_movements(rows: QuerySet[LedgerEntry]) -> list[Movement]:
    """Return the rows of an ordered query. Keys come first: with all the joins, a long list would be read whole."""
    pks = list(rows.values_list("pk", flat=True))
    found = {row.pk: row for row in whole(LedgerEntry.objects.filter(pk__in=pks))}
    return [found[pk] for pk in pks]


def whole(rows: QuerySet[LedgerEntry]) -> list[Movement]:
    """Return a few entries with all that people read of them, in no order. Two queries."""
    found = list(
        rows.annotate(
            source_slug=F("source__slug"),
            customer_stripe_id=F("customer__stripe_id"),
            customer_name=F("customer__name"),
            customer_email=F("customer__email"),
            reverses_key=F("reverses__key"),
            reversed_by_key=F("reversed_by__key"),
        ).values()
    )
    balances = _running_balances(found)
    return [_movement(row, balances) for row in found]


def _running_balances(rows: Sequence[Mapping[str, Any]]) -> dict[int, tuple[int, int]]:
    """Return the customer's MRR in the entry's currency before and after each standing entry of these rows."""
    if not rows:
        return {}
    entries = list(
        LedgerEntry.objects.filter(
            customer_id__in={row["customer_id"] for row in rows},
            effective_at__lte=max(row["effective_at"] for row in rows),
        )
        .order_by("effective_at", "pk")
        .values_list("pk", "customer_id", "currency", "amount_micros", "reverses_id")
    )
    taken_back = {reverses for *_, reverses in entries if reverses is not None}
    totals: dict[tuple[int, str], int] = {}
    found: dict[int, tuple[int, int]] = {}
    for pk, customer_pk, currency, micros, reverses in entries:
        if reverses is None and pk not in taken_back:
            before = totals.get((customer_pk, currency), 0)
            totals[customer_pk, currency] = before + micros
            found[pk] = before, before + micros
    return found


def _movement(row: Mapping[str, Any], balances: Mapping[int, tuple[int, int]]) -> Movement:
    before, after = balances.get(row["id"], (None, None))
    micros = row["amount_micros"]
    minor = shown(micros) if before is None or after is None else shown(after) - shown(before)
    return Movement(
        pk=row["id"],
        key=row["key"],
        source_pk=row["source_id"],
        source=row["source_slug"],
        customer_pk=row["customer_id"],
        customer_id=row["customer_stripe_id"],
        customer_name=row["customer_name"],
        customer_email=row["customer_email"],
        type=row["type"],
        reason=row["reason"],
        currency=row["currency"],
        amount_micros=micros,
        paying_delta=row["paying_delta"],
        before_micros=before,
        after_micros=after,
        effective_at=row["effective_at"],
        posted_at=row["posted_at"],
        book_month=row["book_month"],
        event_ids=tuple(row["event_ids"]),
        lines=_lines(row["lines"], minor),
        days_lapsed=row["days_lapsed"],
        is_live=row["is_live"],
        backdated_from=row["backdated_from"],
        policy_version=row["policy_version"],
        reverses=row["reverses_key"],
        reversed_by=row["reversed_by_key"],
    )


def _lines(kept: Sequence[Mapping[str, Any]], total_minor: int) -> tuple[Line, ...]:
    minors = parts_shown(total_minor, [line["micros"] for line in kept])
    return tuple(
        Line(
            line["subscription"],
            line["item"],
            line["price"],
            line["product"],
            line["reason"],
            line["micros"],
            minor,
            line.get("before"),
            line.get("after"),
        )
        for line, minor in zip(kept, minors, strict=True)
    )
