"""The heat map: cohorts by month of acquisition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any

from django.conf import settings
from django.db.models import Value

from mrr import cohorts as cells
from mrr import fx
from mrr.cohorts import Interval, Measure
from mrr.models import CohortRollup, MixedCohortRollup
from mrr.selectors.scope import sources_or_live


@dataclass(frozen=True, slots=True)
class Cohorts:
    """The heat map of one measure: cohorts oldest first, and the weighted average of each period.

    `held` are currencies whose money is in no cell, because the pinned day has no rate of theirs.
    """

    measure: Measure
    currency: str
    cohorts: tuple[cells.Cohort, ...]
    averages: tuple[cells.Average, ...]
    held: tuple[str, ...] = ()
    interval: Interval = Interval.MONTH

    def last_of(self, cohort: date) -> date:
        """Return the last month in which customers of a cohort were acquired."""
        return cells.months_from(cohort, date(cohort.year + 1, cohort.month, 1))[self.interval.months - 1]


def cohorts(
    measure: Measure,
    *,
    today: date,
    currency: str | None = None,
    first: date | None = None,
    sources: Sequence[int] | None = None,
    rates: fx.Conversion | None = None,
    interval: Interval = Interval.MONTH,
) -> Cohorts:
    """Return cohorts by time of acquisition, from `first` on, with a cell for each period until the running one.

    Quarters and years are those of the fiscal year.

    Of one currency, or of all in the reporting currency at the pinned day's rates: a cell is then what its currencies'
    sums come to, and a customer of several currencies is one customer.
    """
    kept = sources_or_live(sources)
    year_starts = int(settings.FISCAL_YEAR_START.split("-")[0])
    first = interval.first_of(first.replace(day=1), year_starts=year_starts) if first else None
    reporting = currency or settings.REPORTING_CURRENCY
    rows, mixed = _changes(kept, first, currency)
    held: set[str] = set()
    if currency is None:
        rates = rates or fx.conversion(rows)
        reporting = rates.reporting
        changes = list(mixed.get("", ()))
        for code, own in rows.items():
            alone = [*own, *(_taken_out(change) for change in mixed.get(code, ()))]
            if rates.constant(1, code) is None:
                held.add(code)
                alone = [change._replace(acquired_micros=0, mrr_micros=0, gross_micros=0) for change in alone]
            changes += _converted(alone, partial(rates.constant, currency=code))
        held |= rates.stale - {""}
    else:
        changes = rows.get(currency, [])
    found = cells.cohorts(changes, measure, until=today.replace(day=1), interval=interval, year_starts=year_starts)
    found = [cohort for cohort in found if cohort.customers]
    return Cohorts(
        measure, reporting, tuple(found), tuple(cells.averages(found, measure)), tuple(sorted(held)), interval
    )


def _changes(
    sources: Sequence[int], first: date | None, currency: str | None
) -> tuple[dict[str, list[cells.Change]], dict[str, list[cells.Change]]]:
    """Read what changed in cohorts by currency; of all currencies also for customers of several, in one query."""
    parts = []
    models: tuple[Any, ...] = (CohortRollup, MixedCohortRollup)
    for kind, model in enumerate(models):
        rows = model.objects.filter(source_id__in=sources)
        if currency is not None:
            rows = rows.filter(currency=currency)
        if first is not None:
            rows = rows.filter(cohort__gte=first)
        parts.append(rows.order_by().values_list(Value(kind), "currency", *cells.Change._fields))
    found: tuple[dict[str, list[cells.Change]], dict[str, list[cells.Change]]] = ({}, {})
    for kind, code, *row in parts[0].union(parts[1], all=True) if currency is None else parts[0]:
        found[kind].setdefault(code, []).append(cells.Change._make(row))
    return found


def _taken_out(change: cells.Change) -> cells.Change:
    return cells.Change(change.cohort, change.month, *(-amount for amount in change[2:]))


def _converted(changes: Iterable[cells.Change], convert: Callable[[int], int | None]) -> list[cells.Change]:
    """Convert changes so that up to any month they come to the converted sum: balances are rounded, not steps."""
    native: dict[date, list[int]] = {}
    before: dict[date, list[int]] = {}
    found: list[cells.Change] = []
    for change in sorted(changes, key=lambda change: change.month):
        sums = native.setdefault(change.cohort, [0, 0, 0])
        was = before.setdefault(change.cohort, [0, 0, 0])
        for place, amount in enumerate((change.acquired_micros, change.mrr_micros, change.gross_micros)):
            sums[place] += amount
        now = [convert(amount) or 0 for amount in sums]
        acquired, mrr, gross = (after - earlier for after, earlier in zip(now, was, strict=True))
        before[change.cohort] = now
        found.append(
            change._replace(acquired_micros=acquired, mrr_micros=mrr, gross_micros=gross),
        )
    return found
