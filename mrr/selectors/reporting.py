"""What stands behind figures in the reporting currency: each currency's own part, and entries converted one by one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction

from django.db.models import Count, Sum

from mrr import fx
from mrr.days import day_of, day_start
from mrr.models import LedgerEntry
from mrr.selectors.schedule import Movement, MovementFilter, filtered
from mrr.selectors.scope import sources_or_live


@dataclass(frozen=True, slots=True)
class Part:
    """One currency's part of a converted amount: what it is natively, at which exact rate, and what it comes to.

    `rate` and `micros` are None where no rate is near enough.
    """

    currency: str
    native_micros: int
    rate: Fraction | None
    micros: int | None
    entries: int = 0


@dataclass(frozen=True, slots=True)
class ConvertedTotal:
    """What the entries of a filter come to, each at its own day's rate; `held` of them have none and are left out."""

    count: int
    micros: int
    held: int


def exchange(currencies: Iterable[str]) -> fx.Conversion:
    """Return the exchange rates in force for some currencies: a page reads them once and hands them on."""
    return fx.conversion(currencies)


def parts_of(amounts: Mapping[str, int], day: date, rates: fx.Conversion | None = None) -> tuple[Part, ...]:
    """Convert amounts in micros, by currency, at the rates of a day; the largest first."""
    rates = rates or fx.conversion(amounts)
    found = [
        Part(currency, micros, rates.rates.on(currency, day), rates.at(micros, currency, day))
        for currency, micros in amounts.items()
    ]
    return tuple(sorted(found, key=lambda part: (-(part.micros or 0), part.currency)))


def balance_parts(day: date, *, sources: Sequence[int] | None = None) -> tuple[Part, ...]:
    """Return each currency's MRR at the end of a day, counted from the entries themselves, and what it comes to."""
    rows = (
        LedgerEntry.objects.filter(
            source_id__in=sources_or_live(sources),
            effective_at__lt=day_start(day + timedelta(days=1)),
            reverses__isnull=True,
            reversed_by__isnull=True,
        )
        .values_list("currency")
        .annotate(micros=Sum("amount_micros"), count=Count("pk"))
        .order_by()
    )
    counted = {currency: (micros, count) for currency, micros, count in rows if micros}
    found = parts_of({currency: micros for currency, (micros, _) in counted.items()}, day)
    return tuple(
        Part(part.currency, part.native_micros, part.rate, part.micros, counted[part.currency][1]) for part in found
    )


def converted_total(chosen: MovementFilter, rates: fx.Conversion | None = None) -> ConvertedTotal:
    """Return what the entries of a filter come to in the reporting currency: converted one by one, then added."""
    rows = filtered(chosen).order_by()
    own = set(rows.values_list("currency", flat=True).distinct())
    rates = rates or fx.conversion(own)
    plain = rows.filter(currency=rates.reporting).aggregate(count=Count("pk"), micros=Sum("amount_micros"))
    count, micros, held = plain["count"], plain["micros"] or 0, 0
    if own - {rates.reporting}:
        foreign = rows.exclude(currency=rates.reporting).values_list("currency", "amount_micros", "effective_at")
        for currency, amount, effective_at in foreign.iterator():
            count += 1
            converted = rates.at(amount, currency, day_of(effective_at))
            held += converted is None
            micros += converted or 0
    return ConvertedTotal(count, micros, held)


def converted_movements(rows: Sequence[Movement], rates: fx.Conversion | None = None) -> dict[str, int | None]:
    """Return by key what entries come to in the reporting currency, each at its own day's rate; None without one."""
    rates = rates or fx.conversion({row.currency for row in rows})
    return {row.key: rates.at(row.amount_micros, row.currency, day_of(row.effective_at)) for row in rows}
