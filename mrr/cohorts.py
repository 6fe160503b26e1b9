"""From what changed in each cohort each month to the cells of the heat map."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple


class Measure(StrEnum):
    """What a cell says of the cohort's customers: how many still pay, or what they pay, gains counted or not."""

    LOGO = "logo"
    NET_MRR = "net_mrr"
    GROSS_MRR = "gross_mrr"


class Change(NamedTuple):  # a heat map has thousands, and tuples are made several times faster than dataclasses
    """How one cohort's month-end figures changed in one month. Amounts in micros of one currency."""

    cohort: date
    month: date
    acquired_customers: int = 0
    acquired_micros: int = 0
    customers: int = 0
    mrr_micros: int = 0
    gross_micros: int = 0


class Cell(NamedTuple):
    """A cohort at the end of one month: `part` of what was acquired by then, `whole`, is still there."""

    period: int
    month: date
    customers: int
    micros: int
    part: int
    whole: int
    is_running: bool

    @property
    def ratio(self) -> Fraction | None:
        """What is left of what was acquired; None when that is 0."""
        return Fraction(self.part, self.whole) if self.whole else None


@dataclass(frozen=True, slots=True)
class Cohort:
    """The customers of one month of acquisition. `cells` begin at the first month that is known."""

    cohort: date
    customers: int
    acquired_micros: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Average:
    """All cohorts that are old enough, weighted by what each acquired; the running month is left out."""

    period: int
    ratio: Fraction | None


def cohorts(changes: Iterable[Change], measure: Measure, *, until: date) -> list[Cohort]:
    """Cumulate monthly changes into cells, oldest cohort first.

    `until` is the running month: its cell is the last and is marked; later months stay blank. Months before a cohort's
    first change are blank too: its customers were taken over with a history that begins later. Changes of the same
    cohort and month (of several sources) are added.
    """
    by_cohort: dict[date, dict[date, list[Change]]] = {}
    for change in changes:
        if change.month <= until:
            by_cohort.setdefault(change.cohort, {}).setdefault(change.month, []).append(change)
    return [_cohort(cohort, by_cohort[cohort], measure, until) for cohort in sorted(by_cohort)]


def averages(found: Sequence[Cohort], measure: Measure) -> list[Average]:
    """Return the weighted average of each period over the cohorts that have reached it."""
    kept: dict[int, int] = {}
    acquired: dict[int, int] = {}
    for cohort in found:
        base = cohort.customers if measure is Measure.LOGO else cohort.acquired_micros
        for cell in cohort.cells:
            if not cell.is_running:
                kept[cell.period] = kept.get(cell.period, 0) + cell.part
                acquired[cell.period] = acquired.get(cell.period, 0) + base
    return [
        Average(period, Fraction(kept[period], acquired[period]) if acquired[period] else None)
        for period in sorted(kept)
    ]


def months_from(first: date, last: date) -> list[date]:
    """Return the first days of all months from one to another, both included; empty when the last is earlier."""
    count = months_between(first, last) + 1
    return [date(first.year + (first.month - 1 + n) // 12, (first.month - 1 + n) % 12 + 1, 1) for n in range(count)]


def months_between(first: date, last: date) -> int:
    """Return how many months lie from one month to another."""
    return (last.year - first.year) * 12 + last.month - first.month


def _cohort(cohort: date, changes: dict[date, list[Change]], measure: Measure, until: date) -> Cohort:
    acquired_customers = acquired_micros = customers = mrr = gross = 0
    cells: list[Cell] = []
    months = months_from(min(changes), until)
    for period, month in enumerate(months, start=months_between(cohort, months[0])):
        for change in changes.get(month, ()):
            acquired_customers += change.acquired_customers
            acquired_micros += change.acquired_micros
            customers += change.customers
            mrr += change.mrr_micros
            gross += change.gross_micros
        micros = gross if measure is Measure.GROSS_MRR else mrr
        part, whole = (customers, acquired_customers) if measure is Measure.LOGO else (micros, acquired_micros)
        cells.append(Cell(period, month, customers, micros, part, whole, month == until))
    return Cohort(cohort, acquired_customers, acquired_micros, tuple(cells))
