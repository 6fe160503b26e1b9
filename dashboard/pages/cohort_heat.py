"""Sets a heat map's cohorts as rows of cells with their step of colour, their words and their addresses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

from dashboard import charts, formats, parts
from dashboard.curves import Curve
from mrr import selectors as mrr
from mrr.engine.money import shown

TITLES = {
    mrr.Measure.LOGO: "Percent of acquired customers still paying",
    mrr.Measure.NET_MRR: "Percent of acquired MRR still paying",
    mrr.Measure.GROSS_MRR: "Percent of acquired MRR kept, without gains",
}
NAMES = {mrr.Measure.LOGO: "Logos", mrr.Measure.NET_MRR: "Net MRR", mrr.Measure.GROSS_MRR: "Gross MRR"}
_DIVERGING = (
    ("d6", "<60"),
    ("d5", "60"),
    ("d4", "70"),
    ("d3", "80"),
    ("d2", "88"),
    ("d1", "94"),
    ("h-n", "100"),
    ("u1", "102"),
    ("u2", "106"),
    ("u3", "112"),
    ("u4", "120"),
    ("u5", "135+"),
)


@dataclass(frozen=True)
class HeatCell:
    step: str
    text: str
    words: str = ""
    url: str = ""
    is_running: bool = False
    is_chosen: bool = False


@dataclass(frozen=True)
class HeatRow:
    cohort: date
    customers: int
    acquired: str
    cells: tuple[HeatCell | None, ...]


@dataclass(frozen=True)
class Heat:
    """A heat map ready to be set; None is a blank cell: the future, or a time before history."""

    title: str
    caption: str
    scale: tuple[tuple[str, str], ...]
    periods: range
    rows: tuple[HeatRow, ...]
    customers: int
    acquired: str
    averages: tuple[HeatCell | None, ...]


def heat(
    found: mrr.Cohorts,
    *,
    url: Callable[[date, int], str],
    periods: int,
    chosen: tuple[date, int] | None = None,
    rows: int | None = None,
) -> Heat:
    """Return the heat map of the newest cohorts, oldest first, over the first periods; `url` is a cell's address."""
    listed = found.cohorts[-rows:] if rows else found.cohorts
    longest = max((cell.period for cohort in listed for cell in cohort.cells), default=0) + 1
    columns = range(min(periods, longest))
    diverging = found.measure is mrr.Measure.NET_MRR
    averages = {average.period: average.ratio for average in found.averages}
    return Heat(
        title=TITLES[found.measure],
        caption=f"{TITLES[found.measure]}, by month of acquisition and months since",
        scale=_DIVERGING if diverging else _DIVERGING[:7],
        periods=columns,
        rows=tuple(_row(cohort, found, columns, url, chosen, diverging=diverging) for cohort in listed),
        customers=sum(cohort.customers for cohort in listed),
        acquired=_acquired(sum(cohort.acquired_micros for cohort in listed), found.currency),
        averages=tuple(_average(averages.get(period), diverging=diverging) for period in columns),
    )


def drawn_curves(found: mrr.Cohorts, *, rows: int) -> tuple[list[Curve], Curve]:
    """Return what cohorts kept as curves, the running month left out, and the weighted average of all."""
    drawn = [
        Curve(formats.month(cohort.cohort), _shares([cell for cell in cohort.cells if not cell.is_running]))
        for cohort in found.cohorts[-rows:]
    ]
    length = max((len(curve.shares) for curve in drawn), default=0)
    averages = {average.period: average.ratio for average in found.averages}
    return [curve for curve in drawn if curve.shares], Curve("Average", [averages.get(at) for at in range(length)])


def _shares(cells: Sequence[mrr.Cell]) -> list[Fraction | None]:
    known = {cell.period: cell.ratio for cell in cells}
    return [known.get(period) for period in range(max(known) + 1)] if known else []


def _row(
    cohort: mrr.Cohort,
    found: mrr.Cohorts,
    columns: range,
    url: Callable[[date, int], str],
    chosen: tuple[date, int] | None,
    *,
    diverging: bool,
) -> HeatRow:
    cells = {cell.period: cell for cell in cohort.cells}
    drawn: list[HeatCell | None] = []
    for period in columns:
        cell = cells.get(period)
        if cell is None or cell.ratio is None:
            drawn.append(None)
            continue
        drawn.append(
            HeatCell(
                parts.heat_class(cell.ratio, diverging=diverging),
                str(round(cell.ratio * 100)),
                f"{formats.month(cohort.cohort)} cohort, month {period}: {formats.ratio(cell.ratio)} of what was "
                f"acquired, {formats.count(cell.customers)} of {formats.count(cohort.customers)} customers"
                f"{', running month' if cell.is_running else ''}",
                url(cohort.cohort, period),
                cell.is_running,
                chosen == (cohort.cohort, period),
            )
        )
    return HeatRow(cohort.cohort, cohort.customers, _acquired(cohort.acquired_micros, found.currency), tuple(drawn))


def _average(ratio: Fraction | None, *, diverging: bool) -> HeatCell | None:
    if ratio is None:
        return None
    return HeatCell(parts.heat_class(ratio, diverging=diverging), str(round(ratio * 100)))


def _acquired(micros: int, currency: str) -> str:
    return charts.whole_money(shown(micros), currency)
