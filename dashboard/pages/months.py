"""Months as pages set them: rows of a table, the waterfall of a period with its tie mark, codes of their figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any

from dashboard import charts, formats
from dashboard.pages.shared import Scope, exact_minor
from dashboard.periods import Period
from mrr import selectors as mrr
from mrr.engine.money import shown

PARTS = ("new", "expansion", "reactivation", "contraction", "churn")
MOVED = (*PARTS, "fx")


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
        return self.kind in MOVED


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
    """Some months added up: what they opened with, what moved, what they closed with. Exact micros.

    `fx_micros` is what exchange rates did; it is no part of one currency by itself, and has no row there.
    """

    first: date
    last: date
    opening_micros: int
    parts: dict[str, int]
    fx_micros: int
    closing_micros: int
    has_fx: bool

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
        moved = self.parts | ({"fx": self.fx_micros} if self.has_fx else {})
        rounded = mrr.parts_shown(closing - opening, list(moved.values()))
        return {"opening": opening, **dict(zip(moved, rounded, strict=True)), "closing": closing}

    @property
    def net_minor(self) -> int:
        """What movements added, as shown; exchange rates add nothing to it."""
        found = self.shown
        return sum(found[name] for name in self.parts)


@dataclass(frozen=True)
class CauseLine:
    """What movements of one type came to for one reason; `span` are its months as explain codes carry them."""

    type: str
    reason: str
    count: int
    micros: int
    minor: int
    span: str

    @property
    def code(self) -> str:
        return f"cause:{self.span}:{self.type}:{self.reason}"


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
    has_fx: bool = False

    @property
    def tie_words(self) -> str:
        return f"Opening + movements {'+ FX ' if self.has_fx else ''}= closing"


def span(months: Sequence[mrr.Month], *, has_fx: bool = False) -> Span:
    """Add up neighbouring months; MRR that entered as opening in any of them is part of the opening."""
    parts = {name: sum(getattr(month, f"{name}_micros") for month in months) for name in PARTS}
    fx = sum(month.fx_micros for month in months)
    closing = months[-1].closing_micros
    return Span(months[0].month, months[-1].month, closing - sum(parts.values()) - fx, parts, fx, closing, has_fx)


def cells(of: Span, words: str) -> tuple[Cell, ...]:
    """Return the figures of a span in the order of the waterfall; `words` names the months in their labels."""
    return tuple(
        Cell(kind, minor, f"{kind}:{of.code}", f"{charts.LABELS[kind]}, {words}") for kind, minor in of.shown.items()
    )


def line(month: mrr.Month, *, has_fx: bool = False, url: str = "", is_chosen: bool = False) -> MonthLine:
    return MonthLine(
        month.month,
        month.is_running,
        cells(span([month], has_fx=has_fx), formats.month(month.month)),
        month.customers.closing,
        month,
        url,
        is_chosen,
    )


def waterfall(months: Sequence[mrr.Month], period: Period, scope: Scope, *, all_url: str = "") -> Waterfall:
    """Return the waterfall of a period, recounted from its entries (one query a currency's kind)."""
    whole, currency = span(months, has_fx=scope.is_consolidated), scope.currency
    found = cells(whole, period.label)
    notes = _notes(months)
    steps = [charts.Step(cell.kind, cell.minor, cell.code, notes.get(cell.kind, "")) for cell in found]
    base = charts.waterfall_base(steps)
    entries, off_micros = recount(months, scope)
    return Waterfall(
        period=period.short,
        currency=currency,
        net_minor=whole.net_minor,
        net_code=f"net:{whole.code}",
        net_name=f"Net new MRR, {period.label}",
        cells=found,
        axis_start=charts.short_money(base, currency) if base else "",
        off_minor=exact_minor(off_micros),
        entries=entries,
        figure=charts.waterfall(steps, currency),
        all_url=all_url,
        has_fx=scope.is_consolidated,
    )


def recount(months: Sequence[mrr.Month], scope: Scope) -> tuple[int, int]:
    """Add up the entries of months from the ledger itself; return how many, and by how much the kept sums are off.

    Each currency is held against its own sum, so that nothing missing in one is made up for by another.
    """
    chosen = mrr.MovementFilter(
        scope.sources, months[0].month, last_day(months[-1].month), types=PARTS, currency=scope.native
    )
    counted = {total.currency: total for total in mrr.movement_totals(chosen)}
    off = {code: total.micros for code, total in counted.items()}
    for month in months:
        for code, micros in month.moved_by.items():
            off[code] = off.get(code, 0) - micros
    return sum(total.count for total in counted.values()), next((micros for micros in off.values() if micros), 0)


def over_time(
    months: Sequence[mrr.Month], currency: str, *, has_fx: bool = False, names_every: int = 1
) -> dict[str, Any]:
    bars = [
        charts.MonthBars(
            month.month,
            month.closing_minor,
            {name: getattr(month, f"{name}_minor") for name in (MOVED if has_fx else PARTS)},
            month.is_running,
        )
        for month in months
    ]
    return charts.over_time(bars, currency, names_every=names_every)


def off(months: Sequence[mrr.Month]) -> int:
    """Return by how much the rows fail to add up and to join, in minor units as shown; 0 when all hold."""
    missed = sum(
        abs(month.opening_minor + sum(getattr(month, f"{name}_minor") for name in MOVED) - month.closing_minor)
        for month in months
    )
    # A month may open with more than the last one closed with (history that was taken over), never with less.
    lost = sum(max(0, earlier.closing_micros - later.opening_micros) for earlier, later in pairwise(months))
    return missed + exact_minor(lost)


def caused(months: Sequence[mrr.Month], causes: Sequence[mrr.Cause], *, has_fx: bool = False) -> tuple[CauseLine, ...]:
    """Return what moved months by type and reason, rounded so that each type's reasons come to its figure as shown."""
    whole = span(months, has_fx=has_fx)
    minors: dict[tuple[str, str], int] = {}
    for kind, micros in whole.parts.items():
        own = [cause for cause in causes if cause.type == kind]
        total = sum(cause.micros for cause in own)
        # What does not tie is shown as it is; the tie mark then says so.
        total_minor = whole.shown[kind] if total == micros else shown(total)
        rounded = mrr.parts_shown(total_minor, [cause.micros for cause in own])
        minors |= {(kind, cause.reason): minor for cause, minor in zip(own, rounded, strict=True)}
    return tuple(
        CauseLine(cause.type, cause.reason, cause.count, cause.micros, minors[cause.type, cause.reason], whole.code)
        for cause in causes
    )


def last_day(month: date) -> date:
    return date.fromordinal(date(month.year + month.month // 12, month.month % 12 + 1, 1).toordinal() - 1)


def _notes(months: Sequence[mrr.Month]) -> dict[str, str]:
    counts = {
        "new": sum(month.customers.new for month in months),
        "reactivation": sum(month.customers.reactivated for month in months),
        "churn": sum(month.customers.churned for month in months),
    }
    return {kind: f"{formats.count(n)} customer{'' if n == 1 else 's'}" for kind, n in counts.items()}
