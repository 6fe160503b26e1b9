"""MRR at the end of a day, per currency, and what the totals lack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction

from django.conf import settings
from django.db.models import Q, Sum

from billing import selectors as billing
from mrr import fx, metrics, policies
from mrr.engine.money import MICROS, shown
from mrr.engine.rates import converted
from mrr.models import CustomerBalance, LedgerEntry, MonthRollup
from mrr.selectors.months import EVENT_CUSTOMERS, EVENT_MICROS
from mrr.selectors.scope import day_start, month_after, sources_or_live


@dataclass(frozen=True, slots=True)
class Gap:
    """Something a total lacks and how many.

    `unpriced_items`, `subscriptions_unknown`, `events_waiting`, `events_parked` or `rate_missing`.
    """

    code: str
    count: int


@dataclass(frozen=True, slots=True)
class Amounts:
    """MRR and what follows from it. `cmrr_micros` is None for a past day: what was scheduled then is not kept."""

    currency: str
    mrr_micros: int
    cmrr_micros: int | None

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


@dataclass(frozen=True, slots=True)
class CurrencyMrr(Amounts):
    """MRR of one currency."""

    customers: int

    @property
    def arpa_minor(self) -> int | None:
        """MRR per paying customer, rounded as shown; None without customers."""
        value = metrics.arpa(mrr=self.mrr_micros, customers=self.customers)
        return None if value is None else round(value / MICROS)


@dataclass(frozen=True, slots=True)
class ConvertedMrr(Amounts):
    """All currencies in the reporting one at the rates of a day: `parts` are what each comes to, the largest first.

    `held` are currencies without a rate near enough, and those that are just being converted anew: what they have is in
    no amount.
    """

    parts: tuple[CurrencyPart, ...]
    held: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CurrencyPart:
    """One currency's part of a converted amount; `rate` is exact, reporting units per major unit."""

    native: CurrencyMrr
    rate: Fraction
    mrr_micros: int
    cmrr_micros: int | None


@dataclass(frozen=True, slots=True)
class Mrr:
    """Balances at the end of a day, the reporting currency first. Currencies with nothing are left out.

    `reporting` is their sum in the reporting currency; what could not be converted is a gap, never a silent zero.
    """

    at: date
    time_zone: str
    policy_version: int
    gaps: tuple[Gap, ...]
    currencies: tuple[CurrencyMrr, ...]
    reporting: ConvertedMrr

    @property
    def is_complete(self) -> bool:
        return not self.gaps


def mrr_at(day: date, *, today: date, sources: Sequence[int] | None = None) -> Mrr:
    """Return MRR at the end of a day in the reporting zone, per currency and converted at the day's rates.

    Roll-ups give the month ends; of the day's own month only the entries on the nearer side of the day are read. What
    is scheduled is known for `today` alone.
    """
    kept = sources_or_live(sources)
    micros, customers = _totals(day, today, kept)
    scheduled, unpriced = _from_balances(kept)
    ahead = scheduled if day == today else {}
    found = {
        currency: CurrencyMrr(
            currency,
            micros.get(currency, 0),
            micros.get(currency, 0) + ahead.get(currency, 0) if day == today else None,
            customers.get(currency, 0),
        )
        for currency in {*micros, *ahead}
        if micros.get(currency) or customers.get(currency) or ahead.get(currency)
    }
    total = converted_mrr(list(found.values()), day, is_today=day == today)
    return Mrr(
        day,
        settings.REPORTING_TIME_ZONE,
        policies.current().version,
        _gaps(kept, unpriced=unpriced, held=len(total.held)),
        tuple(found[currency] for currency in sorted(found, key=lambda name: (name != total.currency, name))),
        total,
    )


def balances_at(
    days: Sequence[date], *, today: date, rates: fx.Conversion, sources: Sequence[int] | None = None
) -> list[ConvertedMrr]:
    """Return MRR at the end of each day in the reporting currency, at its day's rates. Two queries a day."""
    kept = sources_or_live(sources)
    found = []
    for day in days:
        micros, customers = _totals(day, today, kept)
        rows = [CurrencyMrr(code, amount, None, customers.get(code, 0)) for code, amount in micros.items() if amount]
        found.append(converted_mrr(rows, day, is_today=False, rates=rates))
    return found


def converted_mrr(
    currencies: Sequence[CurrencyMrr], day: date, *, is_today: bool = True, rates: fx.Conversion | None = None
) -> ConvertedMrr:
    """Return the sum of several currencies' MRR in the reporting currency at the rates of a day."""
    rates = rates or fx.conversion(row.currency for row in currencies)
    parts: list[CurrencyPart] = []
    held: list[str] = []
    for row in currencies:
        rate = None if row.currency in rates.stale else rates.rates.on(row.currency, day)
        if rate is None:
            held.append(row.currency)
            continue
        cmrr = converted(row.cmrr_micros, row.currency, rates.reporting, rate) if row.cmrr_micros is not None else None
        parts.append(
            CurrencyPart(row, rate, converted(row.mrr_micros, row.currency, rates.reporting, rate), cmrr),
        )
    parts.sort(key=lambda part: (-part.mrr_micros, part.native.currency))
    return ConvertedMrr(
        rates.reporting,
        sum(part.mrr_micros for part in parts),
        sum(part.cmrr_micros or 0 for part in parts) if is_today else None,
        tuple(parts),
        tuple(sorted(held)),
    )


def gaps(sources: Sequence[int] | None = None) -> tuple[Gap, ...]:
    """Return what the totals lack now; empty when they are complete. Conversion is left to mrr_at."""
    kept = sources_or_live(sources)
    return _gaps(kept, unpriced=_from_balances(kept)[1], held=0)


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


def _gaps(sources: Sequence[int], *, unpriced: int, held: int) -> tuple[Gap, ...]:
    counts = billing.unprocessed_counts(sources)
    all_gaps = (
        Gap("unpriced_items", unpriced),
        Gap("subscriptions_unknown", billing.unknown_subscriptions(sources)),
        Gap("events_waiting", counts.waiting),
        Gap("events_parked", counts.parked),
        Gap("rate_missing", held),
    )
    return tuple(gap for gap in all_gaps if gap.count)
