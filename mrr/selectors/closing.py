"""Which months are closed, what is booked in them, who did what with them, and what was learned about them since."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import TruncMonth

from mrr.models import ActionKind, BookAction, BookState, Departure, LedgerEntry
from mrr.selectors.proof import incomplete_balances
from mrr.selectors.schedule import Movement, as_movements
from mrr.selectors.scope import day_start, month_after, reporting_zone, sources_or_live

NOTICE: Final = timedelta(hours=24)
ADJUSTMENT: Final = "adjustment"
ZONE_MARGIN: Final = timedelta(days=2)  # the reporting zone may have been another one when they were booked


@dataclass(frozen=True, slots=True)
class ClosedMonth:
    """A month as it was closed; `figures` per source and currency, in micros. `is_open_again` after a reopening."""

    month: date
    number: int
    closed_at: datetime
    closed_by: str
    policy_version: int
    entries: int
    entries_digest: str
    seal_number: int
    seal_digest: str
    figures: Sequence[dict[str, Any]]
    notes: dict[str, Any]
    digest: str
    is_open_again: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to reopen the last closed month, not granted yet. From `alone_at` on the asker may carry it out alone,
    if nobody else is in finance."""

    month: date
    asked_by: str
    asked_at: datetime
    reason: str
    number: int = 0

    @property
    def alone_at(self) -> datetime:
        return self.asked_at + NOTICE


@dataclass(frozen=True, slots=True)
class Restated:
    """One entry about a closed month that was posted after the close, and the month that carries it."""

    key: str
    source: str
    customer_pk: int
    customer_id: str
    type: str
    reason: str
    currency: str
    micros: int
    effective_at: datetime
    posted_at: datetime
    book_month: date
    reverses: str
    event_ids: tuple[str, ...]
    policy_version: int


@dataclass(frozen=True, slots=True)
class Restatement:
    """What was learned about a closed month: the entries, oldest first, and what they come to per currency."""

    month: date
    entries: tuple[Restated, ...]
    micros: dict[str, int]


@dataclass(frozen=True, slots=True)
class Carried:
    """What a month carries for another one that was closed: how many entries, and what they come to."""

    about: date
    currency: str
    entries: int
    micros: int


@dataclass(frozen=True, slots=True)
class Departed:
    """The last closed month, whose closing MRR is by now another than was signed, and since when people know."""

    month: date
    currency: str
    signed_micros: int
    restated_micros: int
    since: datetime


@dataclass(frozen=True, slots=True)
class BookStep:
    """One thing done with a month: closed, asked to be reopened or reopened; by whom, when, why and in which manner."""

    number: int
    kind: str
    month: date
    made_by: str
    made_at: datetime
    reason: str
    manner: str
    seconded_by: str
    policy_version: int | None
    entries: int | None
    entries_digest: str
    digest: str


@dataclass(frozen=True, slots=True)
class BookedPart:
    """The entries behind one part of a month as closed: so many of them as were asked for, and what all come to."""

    movements: tuple[Movement, ...]
    count: int
    micros: int


@dataclass(frozen=True, slots=True)
class Learned:
    """What was learned about a closed month since: how many entries, what they come to."""

    month: date
    currency: str
    entries: int
    micros: int


def closed_through() -> date | None:
    """Return the first day of the last closed month, None when nothing is closed."""
    return BookState.objects.values_list("closed_through", flat=True).first()


def closed_month(month: date) -> ClosedMonth | None:
    """Return the close of a month that is in force."""
    return next((row for row in closed_months(month=month) if not row.is_open_again), None)


def closed_months(*, month: date | None = None) -> list[ClosedMonth]:
    """Return every close there was, or those of a month, the newest first.

    A month that was reopened and closed again stands twice.
    """
    rows = BookAction.objects.filter(kind=ActionKind.CLOSED).select_related("made_by", "seal").order_by("-number")
    rows = rows.annotate(through=Subquery(BookState.objects.values("closed_through")[:1]))
    if month is not None:
        rows = rows.filter(month=month)
    found: list[ClosedMonth] = []
    seen: set[date] = set()
    for row in rows:
        is_in_force = row.month not in seen and row.through is not None and row.month <= row.through
        seen.add(row.month)
        assert row.seal is not None
        found.append(
            ClosedMonth(
                row.month,
                row.number,
                row.made_at,
                row.made_by.get_username(),
                row.policy_version or 0,
                row.entries or 0,
                row.entries_digest,
                row.seal.number,
                row.seal.digest,
                row.figures or [],
                row.notes or {},
                row.digest,
                not is_in_force,
            )
        )
    return found


def book_steps(*, limit: int, month: date | None = None) -> list[BookStep]:
    """Return what was done with months, or with one, the newest first."""
    rows = BookAction.objects.order_by("-number")
    if month is not None:
        rows = rows.filter(month=month)
    columns = "number kind month made_by__username made_at reason manner seconded_by__username policy_version entries"
    found = rows.values_list(*columns.split(), "entries_digest", "digest")[:limit]
    return [BookStep(*[*row[:7], row[7] or "", *row[8:]]) for row in found]


def booked_in(month: date) -> QuerySet[LedgerEntry]:
    """Return all entries booked in a month, reversals too.

    They are looked for where they must be: among those effective around the month and among the late ones.
    """
    first, end = day_start(month) - ZONE_MARGIN, day_start(month_after(month)) + ZONE_MARGIN
    near = Q(effective_at__gte=first, effective_at__lt=end)
    return LedgerEntry.objects.filter(near | Q(backdated_from__isnull=False), book_month=month)


def booked_part(
    month: date, part: str, *, currency: str, limit: int, sources: Sequence[int] | None = None
) -> BookedPart:
    """Return the entries behind a part of a month as closed, oldest first: a type of movement, opening or adjustment.

    A reversal stands under the type that it takes back. What was taken back in the very same month never was.
    """
    rows = booked_in(month).filter(source_id__in=sources_or_live(sources), currency=currency)
    rows = rows.exclude(reverses__book_month=month).exclude(reversed_by__book_month=month)
    if part == ADJUSTMENT:
        rows = rows.filter(backdated_from__isnull=False)
    else:
        rows = rows.filter(Q(type=part) | Q(reverses__type=part), backdated_from__isnull=True)
    total = rows.aggregate(count=Count("pk"), micros=Sum("amount_micros"))
    found = as_movements(rows.order_by("effective_at", "pk")[:limit])
    return BookedPart(tuple(found), total["count"], total["micros"] or 0)


def learned(*, sources: Sequence[int] | None = None) -> list[Learned]:
    """Return what was learned about closed months after their close, by month and currency, the newest month first."""
    rows = LedgerEntry.objects.filter(source_id__in=sources_or_live(sources), backdated_from__isnull=False)
    by_month = (
        rows.annotate(month=TruncMonth("effective_at", tzinfo=reporting_zone()))
        .values_list("month", "currency")
        .annotate(count=Count("pk"), micros=Sum("amount_micros"))
        .order_by("-month", "currency")
    )
    return [Learned(at.date(), *rest) for at, *rest in by_month]


def marks() -> QuerySet[BookState]:
    """Return the one row that says what every page must tell of the books, for a selector to ask more within it.

    `asked`: somebody wants a month open again; `departed`: the last one is not as signed; `lacks`: prices are unknown.
    """
    return BookState.objects.annotate(
        asked=Exists(waiting_reopening()),
        departed=Exists(waiting_departure()),
        lacks=Exists(incomplete_balances()),
    )


def waiting_reopening() -> QuerySet[BookAction]:
    """Return the request that waits for a second person, if there is one: to be asked for inside another query."""
    newer = BookAction.objects.filter(number__gt=OuterRef("number"))
    return BookAction.objects.filter(~Exists(newer), kind=ActionKind.REOPEN_ASKED)


def reopening_asked() -> Asked | None:
    """Return the request to reopen the last closed month that waits for a second person: one query."""
    found = waiting_reopening().values_list("month", "made_by__username", "made_at", "reason", "number").first()
    return Asked(*found) if found else None


def waiting_departure() -> QuerySet[Departure]:
    """Return the departure of the last closed month, if people are to know of it: to be asked for in another query."""
    newer = Departure.objects.filter(pk__gt=OuterRef("pk"))
    later = BookAction.objects.filter(number__gt=OuterRef("close__number"), kind=ActionKind.CLOSED)
    last = BookState.objects.filter(closed_through=OuterRef("close__month"))
    return Departure.objects.filter(~Exists(newer), ~Exists(later), Exists(last), departs=True)


def departed() -> Departed | None:
    """Return how far the last closed month is from what was signed, where that is more than is tolerated: one query."""
    columns = ("close__month", "currency", "signed_micros", "restated_micros", "at")
    found = waiting_departure().values_list(*columns).first()
    return Departed(*found) if found else None


def restatements(month: date, *, sources: Sequence[int] | None = None) -> Restatement:
    """Return what was learned about a month after it was closed, wherever it was booked."""
    rows = (
        LedgerEntry.objects.filter(
            source_id__in=sources_or_live(sources),
            backdated_from__isnull=False,
            effective_at__gte=day_start(month),
            effective_at__lt=day_start(month_after(month)),
        )
        .order_by("posted_at", "pk")
        .values_list(
            "key",
            "source__slug",
            "customer_id",
            "customer__stripe_id",
            "type",
            "reason",
            "currency",
            "amount_micros",
            "effective_at",
            "posted_at",
            "book_month",
            "reverses__key",
            "event_ids",
            "policy_version",
        )
    )
    entries = tuple(Restated(*row[:11], row[11] or "", tuple(row[12]), row[13]) for row in rows)
    micros: dict[str, int] = defaultdict(int)
    for entry in entries:
        micros[entry.currency] += entry.micros
    return Restatement(month, entries, dict(micros))


def carried(month: date, *, sources: Sequence[int] | None = None) -> list[Carried]:
    """Return what a month carries for months that were closed before it was known, by month and currency."""
    zone = reporting_zone()
    rows = LedgerEntry.objects.filter(
        source_id__in=sources_or_live(sources), backdated_from__isnull=False, book_month=month
    ).values_list("effective_at", "currency", "amount_micros")
    found: dict[tuple[date, str], list[int]] = defaultdict(list)
    for effective_at, currency, micros in rows:
        found[effective_at.astimezone(zone).date().replace(day=1), currency].append(micros)
    return [
        Carried(about, currency, len(amounts), sum(amounts)) for (about, currency), amounts in sorted(found.items())
    ]
