"""Why MRR moved: the movements of a filter added up by type and reason, and the largest of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from django.db.models import Count, DateField, F, Sum, Value, Window
from django.db.models.functions import Abs, RowNumber, TruncDate

from mrr import fx
from mrr.days import day_of
from mrr.models import LedgerEntry
from mrr.selectors.schedule import Movement, MovementFilter, filtered, whole
from mrr.selectors.scope import reporting_zone

CURRENCIES = 180  # that there are


@dataclass(frozen=True, slots=True)
class Cause:
    """What movements of one type came to for one reason: how many, and micros of the currency asked for."""

    type: str
    reason: str
    count: int
    micros: int


@dataclass(frozen=True, slots=True)
class Moved:
    """One movement, and what it comes to in the currency asked for; None where no exchange rate is near enough."""

    movement: Movement
    micros: int | None


def causes(chosen: MovementFilter, rates: fx.Conversion | None = None) -> list[Cause]:
    """Return what the movements of a filter came to by type and reason, the largest first, gains or losses.

    With `rates` of all currencies: each entry is converted at its own day's rate, as the months' figures are, so that
    they come to those exactly. One without a rate adds nothing. Without `rates` the filter names the one currency.
    """
    found: dict[tuple[str, str], list[int]] = {}
    for kind, reason, code, count, micros, day in _added(chosen, rates):
        cell = found.setdefault((kind, reason), [0, 0])
        cell[0] += count
        cell[1] += micros if rates is None or day is None else count * (rates.at(micros, code, day) or 0)
    listed = [Cause(kind, reason, count, micros) for (kind, reason), (count, micros) in found.items()]
    return sorted(listed, key=lambda one: (-abs(one.micros), one.type, one.reason))


def _added(
    chosen: MovementFilter, rates: fx.Conversion | None
) -> Iterable[tuple[str, str, str, int, int, date | None]]:
    """Return (type, reason, currency, count, micros, day) in one query.

    What needs no conversion is added up by the database and has no day. Of the rest, entries of one day and amount are
    one row with the amount of each: they convert alike, and prices are few.
    """
    rows = filtered(chosen).order_by()
    plain = rows.filter(currency=rates.reporting) if rates else rows
    noday = Value(None, output_field=DateField())
    added = plain.values("type", "reason", "currency").annotate(n=Count("pk"), micros=Sum("amount_micros"), day=noday)
    columns = ("type", "reason", "currency", "n", "micros", "day")
    if rates is None:
        return added.values_list(*columns)
    days = rows.exclude(currency=rates.reporting).annotate(
        day=TruncDate("effective_at", tzinfo=reporting_zone()), micros=F("amount_micros")
    )
    alike = days.values("type", "reason", "currency", "micros", "day").annotate(n=Count("pk"))
    return added.values_list(*columns).union(alike.values_list(*columns), all=True)


def largest_movements(chosen: MovementFilter, *, limit: int, rates: fx.Conversion | None = None) -> list[Moved]:
    """Return the largest movements of a filter, gains or losses, by what they come to in the currency asked for.

    The largest of each currency are read, in two queries; of those the largest once converted.
    """
    place = Window(
        RowNumber(), partition_by=F("currency"), order_by=[Abs("amount_micros").desc(), F("effective_at"), F("pk")]
    )
    ranked = filtered(chosen).annotate(place=place).filter(place__lte=limit).values("pk")
    # There cannot be more; said so, PostgreSQL looks them up one by one instead of reading the whole ledger.
    rows = whole(LedgerEntry.objects.filter(pk__in=ranked[: limit * CURRENCIES]))
    return _largest([Moved(row, _micros(row, rates)) for row in rows], limit)


def _micros(row: Movement, rates: fx.Conversion | None) -> int | None:
    return rates.at(row.amount_micros, row.currency, day_of(row.effective_at)) if rates else row.amount_micros


def _largest(found: Sequence[Moved], limit: int) -> list[Moved]:
    return sorted(found, key=lambda one: (-abs(one.micros or 0), one.movement.effective_at, one.movement.pk))[:limit]
