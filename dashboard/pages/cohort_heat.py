"""Sets a heat map's cohorts as rows of cells with their step of colour, their words and their addresses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

from dashboard import charts, formats, parts
from dashboard.curves import Curve
from mrr import selectors as mrr
from mrr.engine.money import MICROS, exponent, shown

TITLES = {
    mrr.Measure.LOGO: "Percent of acquired customers still paying",
    mrr.Measure.NET_MRR: "Percent of acquired MRR still paying",
    mrr.Measure.GROSS_MRR: "Percent of acquired MRR kept, without gains",
    mrr.Measure.ABSOLUTE: "MRR of each cohort",
    mrr.Measure.ARPA: "MRR per customer who still pays",
}
NAMES = {
    mrr.Measure.LOGO: "Logos",
    mrr.Measure.NET_MRR: "Net MRR",
    mrr.Measure.GROSS_MRR: "Gross MRR",
    mrr.Measure.ABSOLUTE: "Absolute",
    mrr.Measure.ARPA: "ARPA",
}
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


_AMOUNT_STEPS = ("u1", "u2", "u3", "u4", "u5")  # by fifths of the cells shown


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
    name: str
    customers: int
    acquired: str
    cells: tuple[HeatCell | None, ...]


@dataclass(frozen=True)
class Heat:
    """A heat map ready to be set; None is a blank cell: the future, or a time before history."""

    title: str
    caption: str
    scale_name: str
    is_share: bool
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
    look = _look(found, listed)
    averages = {average.period: average.ratio for average in found.averages}
    return Heat(
        title=TITLES[found.measure],
        caption=f"{TITLES[found.measure]}, by {found.interval.value} of acquisition and {found.interval.value}s since",
        scale_name="percent of what was acquired" if found.measure.is_share else "fifths of the cells shown",
        is_share=found.measure.is_share,
        scale=look.scale,
        periods=columns,
        rows=tuple(_row(cohort, found, columns, url, chosen, look) for cohort in listed),
        customers=sum(cohort.customers for cohort in listed),
        acquired=_acquired(sum(cohort.acquired_micros for cohort in listed), found.currency),
        averages=tuple(_average(averages.get(period), look) for period in columns),
    )


def cohort_name(found: mrr.Cohorts, cohort: date) -> str:
    """Name a cohort as people say it: Mar 2026, Jan – Mar 2026, or 2026 where the fiscal year is the calendar's."""
    last = found.last_of(cohort)
    if cohort == last:
        return formats.month(cohort)
    if (cohort.month, last.month) == (1, 12):
        return str(cohort.year)
    return f"{cohort:%b} – {formats.month(last)}"


def value_text(found: mrr.Cohorts, cell: mrr.Cell) -> str:
    """Write what a cell says: 98.2%, or an amount; n/a where nobody pays."""
    value = cell.value(found.measure)
    if found.measure.is_share:
        return formats.ratio(value)
    return formats.NOT_KNOWN if value is None else formats.money(round(value / MICROS), found.currency)


@dataclass(frozen=True)
class _Look:
    """How a measure's values are set in cells: their step of colour and their short text."""

    scale: tuple[tuple[str, str], ...]
    step: Callable[[Fraction], str]
    text: Callable[[Fraction], str]


def _look(found: mrr.Cohorts, listed: Sequence[mrr.Cohort]) -> _Look:
    if found.measure.is_share:
        diverging = found.measure is mrr.Measure.NET_MRR
        return _Look(
            _DIVERGING if diverging else _DIVERGING[:7],
            lambda value: parts.heat_class(value, diverging=diverging),
            lambda value: str(round(value * 100)),
        )
    known = sorted(
        value for cohort in listed for cell in cohort.cells if (value := cell.value(found.measure)) is not None
    )
    lower = [known[len(known) * fifth // 5] for fifth in range(1, 5)] if known else []

    def text(value: Fraction) -> str:
        return charts.short_money(_whole(value, found.currency), found.currency).removesuffix(".00")

    names = (f"<{text(lower[0])}", *map(text, lower)) if lower else ()
    return _Look(
        tuple(zip(_AMOUNT_STEPS, names, strict=False)),
        lambda value: _AMOUNT_STEPS[sum(value >= bound for bound in lower)],
        text,
    )


def _whole(value: Fraction, currency: str) -> int:
    """Round micros to whole major units, as short texts show them, in minor units."""
    unit = 10 ** exponent(currency)
    return round(value / (MICROS * unit)) * unit


def drawn_curves(found: mrr.Cohorts, *, rows: int) -> tuple[list[Curve], Curve]:
    """Return what cohorts kept as curves, the running month left out, and the weighted average of all."""
    drawn = [
        Curve(cohort_name(found, cohort.cohort), _shares([cell for cell in cohort.cells if not cell.is_running]))
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
    look: _Look,
) -> HeatRow:
    cells = {cell.period: cell for cell in cohort.cells}
    name, drawn = cohort_name(found, cohort.cohort), list[HeatCell | None]()
    for period in columns:
        cell = cells.get(period)
        value = cell.value(found.measure) if cell else None
        if cell is None or value is None:
            drawn.append(None)
            continue
        of = " of what was acquired" if found.measure.is_share else ""
        drawn.append(
            HeatCell(
                look.step(value),
                look.text(value),
                f"{name} cohort, {found.interval.value} {period}: {value_text(found, cell)}{of}, "
                f"{formats.count(cell.customers)} of {formats.count(cohort.customers)} customers"
                f"{f', running {found.interval.value}' if cell.is_running else ''}",
                url(cohort.cohort, period),
                cell.is_running,
                chosen == (cohort.cohort, period),
            )
        )
    return HeatRow(name, cohort.customers, _acquired(cohort.acquired_micros, found.currency), tuple(drawn))


def _average(value: Fraction | None, look: _Look) -> HeatCell | None:
    return None if value is None else HeatCell(look.step(value), look.text(value))


def _acquired(micros: int, currency: str) -> str:
    return charts.whole_money(shown(micros), currency)
