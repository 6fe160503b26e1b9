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
    ABSOLUTE = "absolute"
    ARPA = "arpa"

    @property
    def is_share(self) -> bool:
        """Say whether cells are shares of what was acquired, not amounts."""
        return self not in (Measure.ABSOLUTE, Measure.ARPA)


class Interval(StrEnum):
    """How long cohorts and the periods after them are."""

    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"

    @property
    def months(self) -> int:
        return {Interval.MONTH: 1, Interval.QUARTER: 3, Interval.YEAR: 12}[self]

    def first_of(self, month: date, *, year_starts: int = 1) -> date:
        """Return the first month of the interval that a month lies in; years begin with month `year_starts`."""
        into = (month.month - year_starts) % 12 % self.months
        return _plus_months(month, -into)


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
    """A cohort at the end of one period: `part` of what was acquired by then, `whole`, is still there.

    `month` is the last of the period, the running one while it lasts.
    """

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

    @property
    def arpa(self) -> Fraction | None:
        """MRR in micros per paying customer; None when nobody pays."""
        return Fraction(self.micros, self.customers) if self.customers else None

    def value(self, measure: Measure) -> Fraction | None:
        """What the cell says in a measure: a share of what was acquired, or an amount in micros."""
        if measure is Measure.ABSOLUTE:
            return Fraction(self.micros)
        return self.arpa if measure is Measure.ARPA else self.ratio


@dataclass(frozen=True, slots=True)
class Cohort:
    """The customers of one interval of acquisition, named by its first month. `cells` begin at the first known one."""

    cohort: date
    customers: int
    acquired_micros: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Average:
    """All cohorts that are old enough, weighted by what each acquired; the running period is left out.

    Of absolute amounts it is the mean of the cohorts, of ARPA that of all their customers; both in micros.
    """

    period: int
    ratio: Fraction | None


def cohorts(
    changes: Iterable[Change],
    measure: Measure,
    *,
    until: date,
    interval: Interval = Interval.MONTH,
    year_starts: int = 1,
) -> list[Cohort]:
    """Cumulate monthly changes into cells, oldest cohort first.

    `until` is the running month: its cell is the last and is marked; later ones stay blank. Months before a cohort's
    first change are blank too: its customers were taken over with a history that begins later. Changes of the same
    cohort and month (of several sources) are added. A quarter or a year is what its months are together, looked at
    when quarters or years end.
    """
    by_cohort: dict[date, dict[date, list[Change]]] = {}
    for change in changes:
        if change.month <= until:
            cohort = interval.first_of(change.cohort, year_starts=year_starts)
            by_cohort.setdefault(cohort, {}).setdefault(change.month, []).append(change)
    return [_cohort(cohort, by_cohort[cohort], measure, until, interval) for cohort in sorted(by_cohort)]


def averages(found: Sequence[Cohort], measure: Measure) -> list[Average]:
    """Return the weighted average of each period over the cohorts that have reached it."""
    kept: dict[int, int] = {}
    base: dict[int, int] = {}
    for cohort in found:
        for cell in cohort.cells:
            if not cell.is_running:
                part, whole = _weighed(cohort, cell, measure)
                kept[cell.period] = kept.get(cell.period, 0) + part
                base[cell.period] = base.get(cell.period, 0) + whole
    return [Average(period, Fraction(kept[period], base[period]) if base[period] else None) for period in sorted(kept)]


def months_from(first: date, last: date) -> list[date]:
    """Return the first days of all months from one to another, both included; empty when the last is earlier."""
    count = months_between(first, last) + 1
    return [date(first.year + (first.month - 1 + n) // 12, (first.month - 1 + n) % 12 + 1, 1) for n in range(count)]


def months_between(first: date, last: date) -> int:
    """Return how many months lie from one month to another."""
    return (last.year - first.year) * 12 + last.month - first.month


def _weighed(cohort: Cohort, cell: Cell, measure: Measure) -> tuple[int, int]:
    """Return what a cell adds to the average's part and to its whole."""
    if measure is Measure.ABSOLUTE:
        return cell.micros, 1
    if measure is Measure.ARPA:
        return cell.micros, cell.customers
    return cell.part, cohort.customers if measure is Measure.LOGO else cohort.acquired_micros


def _cohort(
    cohort: date, changes: dict[date, list[Change]], measure: Measure, until: date, interval: Interval
) -> Cohort:
    acquired_customers = acquired_micros = customers = mrr = gross = 0
    cells: list[Cell] = []
    months = months_from(min(changes), until)
    for month in months:
        for change in changes.get(month, ()):
            acquired_customers += change.acquired_customers
            acquired_micros += change.acquired_micros
            customers += change.customers
            mrr += change.mrr_micros
            gross += change.gross_micros
        micros = gross if measure is Measure.GROSS_MRR else mrr
        period, into = divmod(months_between(cohort, month), interval.months)
        if into == interval.months - 1 or month == until:
            part, whole = (customers, acquired_customers) if measure is Measure.LOGO else (micros, acquired_micros)
            cells.append(Cell(period, month, customers, micros, part, whole, month == until))
    return Cohort(cohort, acquired_customers, acquired_micros, tuple(cells))


def _plus_months(month: date, number: int) -> date:
    years, at = divmod(month.year * 12 + month.month - 1 + number, 12)
    return date(years, at + 1, 1)
