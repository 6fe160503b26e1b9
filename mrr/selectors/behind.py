"""Whose MRR stands behind a figure: a balance or a cohort's cell by customer, counted from the entries themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from django.db.models import Count, QuerySet, Sum

from mrr.engine.money import shown
from mrr.models import CustomerBalance, LedgerEntry
from mrr.selectors.scope import day_start, month_after, sources_or_live


@dataclass(frozen=True, slots=True)
class Share:
    """One customer's part of a balance, from `entries` standing entries. `acquired_micros` is what it began with."""

    customer_pk: int
    source: str
    customer_id: str
    name: str
    email: str
    micros: int
    entries: int
    acquired_micros: int = 0

    @property
    def minor(self) -> int:
        return shown(self.micros)

    @property
    def acquired_minor(self) -> int:
        return shown(self.acquired_micros)


@dataclass(frozen=True, slots=True)
class Shares:
    """The largest parts of a figure, and what all come to: `customers` that pay, `entries`, exact `micros`."""

    largest: tuple[Share, ...]
    parts: int
    customers: int
    entries: int
    micros: int
    acquired_micros: int = 0

    @property
    def others(self) -> int:
        return self.parts - len(self.largest)

    @property
    def others_micros(self) -> int:
        return self.micros - sum(share.micros for share in self.largest)

    @property
    def others_acquired_micros(self) -> int:
        return self.acquired_micros - sum(share.acquired_micros for share in self.largest)


def balance_shares(day: date, *, currency: str, limit: int, sources: Sequence[int] | None = None) -> Shares:
    """Return who makes up the MRR of one currency at the end of a day in the reporting zone, largest first."""
    rows = _standing(day, currency).filter(source_id__in=sources_or_live(sources))
    found = rows.values_list("customer_id").annotate(micros=Sum("amount_micros"), count=Count("pk")).order_by()
    paying = sorted((row for row in found if row[1]), key=lambda row: (-row[1], row[0]))
    return Shares(
        _named(paying[:limit], currency),
        parts=len(paying),
        customers=sum(micros > 0 for _, micros, _ in paying),
        entries=sum(count for *_, count in found),
        micros=sum(micros for _, micros, _ in paying),
    )


def cohort_shares(
    cohort: date, month: date, *, currency: str, limit: int, sources: Sequence[int] | None = None
) -> Shares:
    """Return the customers of a cohort with what they began with and their MRR at the end of a month, largest first."""
    last = month_after(month) - timedelta(days=1)
    members = CustomerBalance.objects.filter(
        source_id__in=sources_or_live(sources),
        currency=currency,
        cohort_month=cohort,
        first_paid_at__lt=day_start(month_after(month)),
    )
    acquired = dict(members.values_list("customer_id", "acquired_micros"))
    entries = _standing(last, currency).filter(customer_id__in=members.values("customer_id"))
    sums = {
        pk: (micros, count)
        for pk, micros, count in entries.values_list("customer_id")
        .annotate(micros=Sum("amount_micros"), count=Count("pk"))
        .order_by()
    }
    rows = sorted(((pk, *sums.get(pk, (0, 0))) for pk in acquired), key=lambda row: (-acquired[row[0]], row[0]))
    return Shares(
        _named(rows[:limit], currency, acquired),
        parts=len(rows),
        customers=sum(micros > 0 for _, micros, _ in rows),
        entries=sum(count for *_, count in rows),
        micros=sum(micros for _, micros, _ in rows),
        acquired_micros=sum(acquired.values()),
    )


def scheduled_shares(*, currency: str, limit: int, sources: Sequence[int] | None = None) -> Shares:
    """Return whose MRR is already scheduled to change, and by how much, the largest change first."""
    rows = CustomerBalance.objects.filter(source_id__in=sources_or_live(sources), currency=currency).exclude(
        scheduled_micros=0
    )
    found = sorted(
        ((pk, micros, 0) for pk, micros in rows.values_list("customer_id", "scheduled_micros")),
        key=lambda row: (-abs(row[1]), row[0]),
    )
    micros = sum(row[1] for row in found)
    return Shares(_named(found[:limit], currency), parts=len(found), customers=len(found), entries=0, micros=micros)


def _standing(day: date, currency: str) -> QuerySet[LedgerEntry]:
    return LedgerEntry.objects.filter(
        currency=currency,
        effective_at__lt=day_start(day + timedelta(days=1)),
        reverses__isnull=True,
        reversed_by__isnull=True,
    )


def _named(
    rows: Sequence[tuple[int, int, int]], currency: str, acquired: Mapping[int, int] | None = None
) -> tuple[Share, ...]:
    named = CustomerBalance.objects.filter(customer_id__in=[pk for pk, *_ in rows], currency=currency)
    people: dict[int, tuple[str, str, str, str]] = {
        pk: (source, stripe_id, name, email)
        for pk, source, stripe_id, name, email in named.values_list(
            "customer_id", "source__slug", "customer__stripe_id", "customer__name", "customer__email"
        )
    }
    began = acquired or {}
    return tuple(Share(pk, *people[pk], micros, count, began.get(pk, 0)) for pk, micros, count in rows)
