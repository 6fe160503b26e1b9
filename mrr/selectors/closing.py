"""Which months are closed, who asks to reopen one, and what was learned about closed months since."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from django.db.models import Exists, OuterRef, QuerySet

from mrr.models import ActionKind, BookAction, BookState, LedgerEntry
from mrr.selectors.scope import day_start, month_after, reporting_zone, sources_or_live

NOTICE: Final = timedelta(hours=24)


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


def closed_through() -> date | None:
    """Return the first day of the last closed month, None when nothing is closed."""
    return BookState.objects.values_list("closed_through", flat=True).first()


def closed_months() -> list[ClosedMonth]:
    """Return every close there was, the newest first; a month that was reopened and closed again stands twice."""
    through = closed_through()
    rows = BookAction.objects.filter(kind=ActionKind.CLOSED).select_related("made_by", "seal").order_by("-number")
    found: list[ClosedMonth] = []
    seen: set[date] = set()
    for row in rows:
        is_in_force = row.month not in seen and through is not None and row.month <= through
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


def waiting_reopening() -> QuerySet[BookAction]:
    """Return the request that waits for a second person, if there is one: to be asked for inside another query."""
    newer = BookAction.objects.filter(number__gt=OuterRef("number"))
    return BookAction.objects.filter(~Exists(newer), kind=ActionKind.REOPEN_ASKED)


def reopening_asked() -> Asked | None:
    """Return the request to reopen the last closed month that waits for a second person: one query."""
    found = waiting_reopening().values_list("month", "made_by__username", "made_at", "reason").first()
    return Asked(*found) if found else None


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
