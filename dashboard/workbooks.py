"""Writes workbooks of several sheets: real numbers with their formats, frozen heads, safe to open in a spreadsheet.

Amounts are written as decimals of major units, exactly as shown; ratios with six decimals, shown as percentages.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

from dashboard import exports
from mrr.engine.money import exponent, shown

WIDEST = 60


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in micros of a currency: written rounded to the currency's minor unit, as pages show it.

    `minor` is given where a page shows another rounding, so that a row adds up.
    """

    micros: int
    currency: str
    minor: int | None = None
    is_change: bool = False

    @property
    def major(self) -> Decimal:
        return exports.major(shown(self.micros) if self.minor is None else self.minor, self.currency)

    @property
    def format(self) -> str:
        """How a spreadsheet shows it: grouping, the currency's decimals, the minus before; a sign for a change."""
        places = exponent(self.currency)
        digits = "#,##0" + (f".{'0' * places}" if places else "")
        return f"+{digits};-{digits};{digits}" if self.is_change else f"{digits};-{digits}"


@dataclass(frozen=True, slots=True)
class Share:
    """A ratio shown as a percentage of so many decimals; None is n/a, never 0."""

    ratio: Fraction | None
    places: int = 1


@dataclass(frozen=True, slots=True)
class Digits:
    """A whole number that must keep every digit: a number where a spreadsheet holds it exactly, else text."""

    number: int


Value = exports.Cell | Money | Share | Digits


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart beside a table: bars or lines of some columns (by their place, from 0) over the first one."""

    kind: Literal["bar", "line"]
    title: str
    columns: Sequence[int]
    rows: int
    format: str = "General"


@dataclass(frozen=True, slots=True)
class Sheet:
    """One sheet: its name, a title above the table, the head that stays in sight, rows, and a row that sums them."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Value]]
    total: Sequence[Value] = ()
    notes: Sequence[str] = ()
    chart: Chart | None = None


def book(sheets: Sequence[Sheet], *, zone: tzinfo, foot: str = "") -> bytes:
    """Return a workbook of sheets, times in the given zone; `foot` is printed at the foot of every page."""
    from openpyxl import Workbook  # a quarter of a second to import, for exports only

    made = Workbook()
    made.remove(made.active)
    for sheet in sheets:
        _write(made.create_sheet(sheet.name[:31]), sheet, zone, foot)
    kept = io.BytesIO()
    made.save(kept)
    return kept.getvalue()


def _write(page: Any, sheet: Sheet, zone: tzinfo, foot: str) -> None:
    from openpyxl.styles import Alignment, Border, Font, Side

    page["A1"] = exports.safe(sheet.title)
    page["A1"].font = Font(bold=True, size=13)
    row = 2
    for note in sheet.notes:
        page.cell(row, 1, exports.safe(note)).font = Font(italic=True)
        row += 1
    head = row + 1
    for at, name in enumerate(sheet.columns, start=1):
        cell = page.cell(head, at, exports.safe(name))
        cell.font = Font(bold=True)
        cell.alignment = Alignment(wrap_text=True, vertical="bottom")
        cell.border = Border(bottom=Side(style="thin"))
    widths = [len(name) for name in sheet.columns]
    lines = [(values, False) for values in sheet.rows] + ([(sheet.total, True)] if sheet.total else [])
    for number, (values, is_total) in enumerate(lines, start=head + 1):
        for at, value in enumerate(values, start=1):
            cell = page.cell(number, at)
            width = _put(cell, value, zone)
            if at <= len(widths):
                widths[at - 1] = max(widths[at - 1], width)
            if is_total:
                cell.font = Font(bold=True)
                cell.border = Border(top=Side(style="thin"))
    if sheet.chart is not None and sheet.chart.rows:
        _draw(page, sheet.chart, head, head + len(lines) + 3)
    for at, width in enumerate(widths):
        column = page.column_dimensions[_letter(at)]
        column.width = min(WIDEST, max(8, width + 2))
    page.freeze_panes = page.cell(head + 1, 2 if len(sheet.columns) > 2 else 1)
    page.print_title_rows = f"{head}:{head}"
    page.page_setup.orientation = "landscape"
    page.page_setup.fitToHeight = 0
    page.sheet_properties.pageSetUpPr.fitToPage = True
    page.oddFooter.left.text = foot.replace("&", "&&")
    page.oddFooter.right.text = "&P / &N"


def _draw(page: Any, chart: Chart, head: int, below: int) -> None:
    """Put a chart below the table, of the rows under the head; it reads the cells, so it cannot say other than they."""
    from openpyxl.chart import BarChart, LineChart, Reference

    drawn = BarChart() if chart.kind == "bar" else LineChart()
    drawn.title, drawn.height, drawn.width = chart.title, 8, 22
    for column in chart.columns:
        drawn.add_data(
            Reference(page, min_col=column + 1, min_row=head, max_row=head + chart.rows), titles_from_data=True
        )
    drawn.set_categories(Reference(page, min_col=1, min_row=head + 1, max_row=head + chart.rows))
    drawn.y_axis.number_format, drawn.y_axis.delete, drawn.x_axis.delete = chart.format, False, False
    drawn.x_axis.number_format = "mmm yyyy"
    if chart.kind == "bar":
        drawn.y_axis.scaling.min = 0
        drawn.gapWidth = 60
    drawn.legend = drawn.legend if len(chart.columns) > 1 else None
    page.add_chart(drawn, f"A{below}")


def _put(cell: Any, value: Value, zone: tzinfo) -> int:
    """Write a value with its format; return about how wide it is."""
    from openpyxl.styles import Alignment

    if isinstance(value, Money):
        cell.value, cell.number_format = value.major, value.format
        return len(f"{value.major:,}") + 1
    if isinstance(value, Share):
        if value.ratio is None:
            cell.value, cell.alignment = "n/a", Alignment(horizontal="right")
            return 3
        cell.value = Decimal(round(value.ratio * 10**6)).scaleb(-6)
        cell.number_format = f"0.{'0' * value.places}%"
        return 7
    is_exact = isinstance(value, Digits)
    written = exports.xlsx_cell(value.number if isinstance(value, Digits) else value, zone)
    cell.value = written
    if isinstance(written, str):
        cell.data_type = "s"  # whatever it begins with, it is text
        cell.alignment = Alignment(wrap_text=len(written) > WIDEST, vertical="top")
    elif isinstance(written, datetime):
        cell.number_format = "yyyy-mm-dd hh:mm:ss"
        return 19
    elif isinstance(written, date):
        cell.number_format = "yyyy-mm-dd"
        return 10
    elif isinstance(written, int) and not isinstance(written, bool):
        cell.number_format = "0" if is_exact else "#,##0"
    return len(str(written)) if written is not None else 0


def _letter(at: int) -> str:
    from openpyxl.utils import get_column_letter

    return str(get_column_letter(at + 1))
