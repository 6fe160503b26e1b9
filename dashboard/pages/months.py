"""Months as pages set them: rows of a table, the waterfall of a period with its tie mark, codes of their figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any

from dashboard import charts, formats
from dashboard.pages.shared import exact_minor
from dashboard.periods import Period
from mrr import selectors as mrr
from mrr.engine.money import shown

PARTS = ("new", "expansion", "reactivation", "contraction", "churn")


@dataclass(frozen=True)
class Cell:
    """One figure of a month or a period, and the code that explains it."""

    kind: str
    minor: int
    code: str
    name: str

    @property
    def label(self) -> str:
        return charts.LABELS[self.kind]

    @property
    def is_movement(self) -> bool:
        return self.kind in PARTS


@dataclass(frozen=True)
class MonthLine:
    """One row of the months' table: opening, movements and closing as shown, which add up."""

    month: date
    is_running: bool
    cells: tuple[Cell, ...]
    customers: int
    row: mrr.Month
    url: str = ""
    is_chosen: bool = False

    @property
    def nrr_code(self) -> str:
        return f"nrr:{self.month:%Y-%m}"

    @property
    def grr_code(self) -> str:
        return f"grr:{self.month:%Y-%m}"


@dataclass(frozen=True)
class Span:
    """Some months of one currency added up: what they opened with, what moved, what they closed with. Exact micros."""

    first: date
    last: date
    opening_micros: int
    parts: dict[str, int]
    closing_micros: int

    @property
    def net_micros(self) -> int:
        return sum(self.parts.values())

    @property
    def code(self) -> str:
        """Give the months as explain codes carry them: 2026-03, or 2026-01..2026-03."""
        return f"{self.first:%Y-%m}" if self.first == self.last else f"{self.first:%Y-%m}..{self.last:%Y-%m}"

    @property
    def shown(self) -> dict[str, int]:
        """Return minor units of opening, the parts and closing, rounded so that they add up."""
        opening, closing = shown(self.opening_micros), shown(self.closing_micros)
        rounded = mrr.parts_shown(closing - opening, list(self.parts.values()))
        return {"opening": opening, **dict(zip(self.parts, rounded, strict=True)), "closing": closing}


@dataclass(frozen=True)
class Waterfall:
    """What the waterfall card shows. `off_minor` is by how much the recount from entries misses the closing."""

    period: str
    currency: str
    net_minor: int
    net_code: str
    net_name: str
    cells: tuple[Cell, ...]
    axis_start: str
    off_minor: int
    entries: int
    figure: dict[str, Any]
    all_url: str = ""


def span(months: Sequence[mrr.Month]) -> Span:
    """Add up neighbouring months; MRR that entered as opening in any of them is part of the opening."""
    parts = {name: sum(getattr(month, f"{name}_micros") for month in months) for name in PARTS}
    closing = months[-1].closing_micros
    return Span(months[0].month, months[-1].month, closing - sum(parts.values()), parts, closing)


def cells(of: Span, words: str) -> tuple[Cell, ...]:
    """Return the figures of a span in the order of the waterfall; `words` names the months in their labels."""
    return tuple(
        Cell(kind, minor, f"{kind}:{of.code}", f"{charts.LABELS[kind]}, {words}") for kind, minor in of.shown.items()
    )


def line(month: mrr.Month, *, url: str = "", is_chosen: bool = False) -> MonthLine:
    return MonthLine(
        month.month,
        month.is_running,
        cells(span([month]), formats.month(month.month)),
        month.customers.closing,
        month,
        url,
        is_chosen,
    )


def waterfall(
    months: Sequence[mrr.Month], period: Period, currency: str, *, sources: Sequence[int], all_url: str = ""
) -> Waterfall:
    """Return the waterfall of a period, recounted from its entries (one query)."""
    whole = span(months)
    found = cells(whole, period.label)
    notes = _notes(months)
    steps = [charts.Step(cell.kind, cell.minor, cell.code, notes.get(cell.kind, "")) for cell in found]
    base = charts.waterfall_base(steps)
    counted = recount(whole, currency, sources=sources)
    return Waterfall(
        period=period.short,
        currency=currency,
        net_minor=found[-1].minor - found[0].minor,
        net_code=f"net:{whole.code}",
        net_name=f"Net new MRR, {period.label}",
        cells=found,
        axis_start=charts.short_money(base, currency) if base else "",
        off_minor=exact_minor(counted.micros - whole.net_micros),
        entries=counted.count,
        figure=charts.waterfall(steps, currency),
        all_url=all_url,
    )


def recount(of: Span, currency: str, *, sources: Sequence[int]) -> mrr.MovementTotal:
    """Add up the entries of a span from the ledger itself, to hold them against the sums that are kept."""
    chosen = mrr.MovementFilter(sources, of.first, last_day(of.last), types=PARTS, currency=currency)
    return next(iter(mrr.movement_totals(chosen)), mrr.MovementTotal(currency, 0, 0))


def over_time(months: Sequence[mrr.Month], currency: str, *, names_every: int = 1) -> dict[str, Any]:
    bars = [
        charts.MonthBars(
            month.month,
            month.closing_minor,
            {name: getattr(month, f"{name}_minor") for name in PARTS},
            month.is_running,
        )
        for month in months
    ]
    return charts.over_time(bars, currency, names_every=names_every)


def off(months: Sequence[mrr.Month]) -> int:
    """Return by how much the rows fail to add up and to join, in minor units as shown; 0 when all hold."""
    missed = sum(
        abs(month.opening_minor + sum(getattr(month, f"{name}_minor") for name in PARTS) - month.closing_minor)
        for month in months
    )
    # A month may open with more than the last one closed with (history that was taken over), never with less.
    lost = sum(max(0, earlier.closing_micros - later.opening_micros) for earlier, later in pairwise(months))
    return missed + exact_minor(lost)


def last_day(month: date) -> date:
    return date.fromordinal(date(month.year + month.month // 12, month.month % 12 + 1, 1).toordinal() - 1)


def _notes(months: Sequence[mrr.Month]) -> dict[str, str]:
    counts = {
        "new": sum(month.customers.new for month in months),
        "reactivation": sum(month.customers.reactivated for month in months),
        "churn": sum(month.customers.churned for month in months),
    }
    return {kind: f"{formats.count(n)} customer{'' if n == 1 else 's'}" for kind, n in counts.items()}
