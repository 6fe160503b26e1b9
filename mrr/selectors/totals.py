"""MRR at the end of a day, per currency, and what the totals lack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from django.conf import settings
from django.db.models import Q, Sum

from billing import selectors as billing
from mrr import metrics
from mrr.engine.money import MICROS, shown
from mrr.engine.policy import DEFAULT
from mrr.models import CustomerBalance, LedgerEntry, MonthRollup
from mrr.selectors.months import EVENT_CUSTOMERS, EVENT_MICROS
from mrr.selectors.scope import day_start, month_after, sources_or_live


@dataclass(frozen=True, slots=True)
class Gap:
    """Something a total lacks: `unpriced_items`, `events_waiting`, `events_parked` or `not_converted`, and how many."""

    code: str
    count: int


@dataclass(frozen=True, slots=True)
class CurrencyMrr:
    """MRR of one currency. `cmrr_micros` is None for a past day: what was scheduled then is not kept."""

    currency: str
    mrr_micros: int
    cmrr_micros: int | None
    customers: int

    @property
    def mrr_minor(self) -> int:
        return shown(self.mrr_micros)

    @property
    def arr_micros(self) -> int:
        return 12 * self.mrr_micros

    @property
    def arr_minor(self) -> int:
        return shown(self.arr_micros)

    @property
    def cmrr_minor(self) -> int | None:
        return None if self.cmrr_micros is None else shown(self.cmrr_micros)

    @property
    def arpa_minor(self) -> int | None:
        """MRR per paying customer, rounded as shown; None without customers."""
        value = metrics.arpa(mrr=self.mrr_micros, customers=self.customers)
        return None if value is None else round(value / MICROS)


@dataclass(frozen=True, slots=True)
class Mrr:
    """Balances at the end of a day, the reporting currency first. Currencies without MRR are left out.

    `reporting` holds what is in the reporting currency; what could not be converted is a gap, never a silent zero.
    """

    at: date
    time_zone: str
    policy_version: int
    gaps: tuple[Gap, ...]
    currencies: tuple[CurrencyMrr, ...]
    reporting: CurrencyMrr

    @property
    def is_complete(self) -> bool:
        return not self.gaps


def mrr_at(day: date, *, today: date, sources: Sequence[int] | None = None) -> Mrr:
    """Return MRR at the end of a day in the reporting zone, per currency.

    Roll-ups give the month ends; of the day's own month only the entries on the nearer side of the day are read. What
    is scheduled is known for `today` alone.
    """
    kept = sources_or_live(sources)
    micros, customers = _totals(day, today, kept)
    scheduled, unpriced = _from_balances(kept)
    found = {
        currency: CurrencyMrr(
            currency,
            micros[currency],
            micros[currency] + scheduled.get(currency, 0) if day == today else None,
            customers[currency],
        )
        for currency in micros
        if micros[currency] or customers[currency]
    }
    reporting = settings.REPORTING_CURRENCY
    empty = CurrencyMrr(reporting, 0, 0 if day == today else None, 0)
    return Mrr(
        day,
        settings.REPORTING_TIME_ZONE,
        DEFAULT.version,
        _gaps(kept, unpriced=unpriced, unconverted=len(found.keys() - {reporting})),
        tuple(found[currency] for currency in sorted(found, key=lambda name: (name != reporting, name))),
        found.get(reporting, empty),
    )


def gaps(sources: Sequence[int] | None = None) -> tuple[Gap, ...]:
    """Return what the totals lack now; empty when they are complete. Conversion is left to mrr_at."""
    kept = sources_or_live(sources)
    return _gaps(kept, unpriced=_from_balances(kept)[1], unconverted=0)


def _totals(day: date, today: date, sources: Sequence[int]) -> tuple[dict[str, int], dict[str, int]]:
    month = day.replace(day=1)
    following = month_after(month)
    goes_back = day == today or day.day > 15  # take off what came after the day, or add what came until it
    rollups = MonthRollup.objects.filter(source_id__in=sources)
    rollups = rollups.filter(month__lte=month) if goes_back else rollups.filter(month__lt=month)
    end = day_start(day + timedelta(days=1))
    entries = LedgerEntry.objects.filter(source_id__in=sources)
    if goes_back:
        entries = entries.filter(effective_at__gte=end, effective_at__lt=day_start(following))
    else:
        entries = entries.filter(effective_at__gte=day_start(month), effective_at__lt=end)
    micros: dict[str, int] = {}
    customers: dict[str, int] = {}
    for row in rollups.values_list("currency", *EVENT_MICROS, *EVENT_CUSTOMERS):  # added here: SQLite's SUM overflows
        currency, amounts, (opening, new, back, gone) = row[0], row[1:-4], row[-4:]
        micros[currency] = micros.get(currency, 0) + sum(amounts)
        customers[currency] = customers.get(currency, 0) + opening + new + back - gone
    sign = -1 if goes_back else 1
    changes = entries.values_list("currency").annotate(micros=Sum("amount_micros"), paying=Sum("paying_delta"))
    for currency, moved, paying in changes.order_by():
        micros[currency] = micros.get(currency, 0) + sign * moved
        customers[currency] = customers.get(currency, 0) + sign * paying
    return micros, customers


def _from_balances(sources: Sequence[int]) -> tuple[dict[str, int], int]:
    """Return what is scheduled to change per currency, and how many items have no price yet."""
    rows = (
        CustomerBalance.objects.filter(~Q(scheduled_micros=0) | Q(incomplete_items__gt=0), source_id__in=sources)
        .values_list("currency")
        .annotate(scheduled=Sum("scheduled_micros"), unpriced=Sum("incomplete_items"))
        .order_by()
    )
    found = list(rows)
    return {currency: scheduled for currency, scheduled, _ in found}, sum(unpriced for *_, unpriced in found)


def _gaps(sources: Sequence[int], *, unpriced: int, unconverted: int) -> tuple[Gap, ...]:
    counts = billing.unprocessed_counts(sources)
    all_gaps = (
        Gap("unpriced_items", unpriced),
        Gap("events_waiting", counts.waiting),
        Gap("events_parked", counts.parked),
        Gap("not_converted", unconverted),
    )
    return tuple(gap for gap in all_gaps if gap.count)
