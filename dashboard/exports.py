"""Writes what a page shows as CSV or XLSX, safe to open in a spreadsheet.

A cell that begins like a formula would be run by a spreadsheet, and names, e-mails and ids come from outside. Such a
text gets an apostrophe in front; numbers are written as numbers. See owasp.org, "CSV Injection".
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, tzinfo
from decimal import Decimal
from fractions import Fraction
from itertools import chain
from typing import Any

from django.http import HttpResponse, StreamingHttpResponse

from mrr.engine.money import exponent

Cell = str | int | Decimal | Fraction | date | datetime | bool | None
Row = Sequence[Cell]

# Full-width forms of the same signs are folded to them by some spreadsheets.
_FORMULA = re.compile(r"^\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|^[\t\r\n]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # XML cannot hold them
_EXACT_DIGITS = 15  # a spreadsheet's numbers are doubles: longer integers would change silently


def response(
    kind: str, *, name: str, columns: Sequence[str], rows: Iterable[Row], about: Sequence[tuple[str, str]], zone: tzinfo
) -> HttpResponse | StreamingHttpResponse:
    """Answer with a file: `kind` is csv or xlsx, `name` goes before the extension, `about` says what the figures mean.

    A CSV holds the rows alone, so that programs can read it; an XLSX has `about` as its second sheet.
    """
    if kind == "xlsx":
        answer: HttpResponse | StreamingHttpResponse = HttpResponse(
            workbook(columns, rows, about=about, zone=zone),
            content_type="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        )
    else:
        answer = StreamingHttpResponse(csv_lines(columns, rows), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{name}.{kind}"'
    answer["Cache-Control"] = "no-store"
    return answer


def csv_lines(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    """Yield a CSV line by line, the header first; times as ISO 8601 UTC."""
    line = io.StringIO()
    writer = csv.writer(line)
    for row in chain([columns], rows):
        writer.writerow([_csv_cell(cell) for cell in row])
        yield line.getvalue()
        line.seek(0)
        line.truncate()


def workbook(columns: Sequence[str], rows: Iterable[Row], *, about: Sequence[tuple[str, str]], zone: tzinfo) -> bytes:
    """Return an XLSX with the rows on one sheet and what they mean on another; times in the given zone."""
    from openpyxl import Workbook  # a quarter of a second to import, for exports only

    book = Workbook(write_only=True)
    sheet = book.create_sheet("Rows")
    sheet.freeze_panes = "A2"
    sheet.append(list(columns))
    for row in rows:
        sheet.append([xlsx_cell(cell, zone) for cell in row])
    notes = book.create_sheet("About")
    for label, text in about:
        notes.append([safe(label), safe(text)])
    kept = io.BytesIO()
    book.save(kept)
    return kept.getvalue()


def safe(text: str) -> str:
    """Put an apostrophe before a text that a spreadsheet would take for a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def major(minor: int, currency: str) -> Decimal:
    """Return minor units as an exact number of major units: 123456 of usd is 1234.56."""
    return Decimal(minor).scaleb(-exponent(currency))


def _csv_cell(cell: Cell) -> Any:
    if isinstance(cell, str):
        return safe(cell)
    if isinstance(cell, datetime | date):
        return cell.isoformat()
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, Fraction):
        return _decimal(cell)
    return "" if cell is None else str(cell)


def xlsx_cell(cell: Cell, zone: tzinfo) -> Any:
    """Return a value as a workbook holds it: text made safe, times in the zone, digits that a double loses as text."""
    if isinstance(cell, str):
        return safe(_CONTROL.sub("", cell))
    if isinstance(cell, datetime):  # spreadsheets know no zones; the column's title names ours
        return cell.astimezone(zone).replace(tzinfo=None)
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, Fraction):
        return _decimal(cell)
    if isinstance(cell, int) and len(str(abs(cell))) > _EXACT_DIGITS:
        return str(cell)
    return cell


def _decimal(ratio: Fraction) -> Decimal:
    return Decimal(round(ratio * 10**6)).scaleb(-6)
