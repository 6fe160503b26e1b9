"""Reads exchange rates from a CSV file and says of each bad row what is wrong with it. (pure)"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Final

from mrr.engine.rates import Origin, Quote

COLUMNS: Final = ("day", "currency", "rate")
_CURRENCY: Final = re.compile(r"[a-z]{3}")
_RATE: Final = re.compile(r"\d{1,15}(\.\d{1,20})?")


class WrongColumns(ValueError):
    """The first line does not name the columns; the message says which are wanted."""


@dataclass(frozen=True, slots=True)
class Bad:
    """A row that cannot be taken, by its line in the file."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Read:
    """What a file holds: good rows as quotes, and the bad ones."""

    quotes: tuple[Quote, ...]
    bad: tuple[Bad, ...]
    rows: int


def read(lines: Iterable[str], *, reporting: str, today: date) -> Read:
    """Read `day,currency,rate`: so many units of the reporting currency for one of `currency`. Blank lines are skipped.

    Raises WrongColumns.
    """
    rows = csv.reader(lines)
    header = [name.strip().lower() for name in next(rows, [])]
    if header and header[0].startswith("\ufeff"):
        header[0] = header[0].removeprefix("\ufeff")
    if sorted(header) != sorted(COLUMNS):
        raise WrongColumns(f"The first line must name the columns {','.join(COLUMNS)}; it reads {','.join(header)!r}.")
    good: dict[tuple[date, str], tuple[int, Quote]] = {}
    bad: list[Bad] = []
    count = 0
    for row in rows:
        if not any(cell.strip() for cell in row):
            continue
        count += 1
        found = _quote(row, header, reporting=reporting, today=today)
        if isinstance(found, str):
            bad.append(Bad(rows.line_num, found))
            continue
        line, first = good.setdefault((found.day, found.currency), (rows.line_num, found))
        if first.rate != found.rate:
            bad.append(Bad(rows.line_num, f"{found.currency} has another rate of {found.day} in line {line}."))
    return Read(tuple(quote for _, quote in good.values()), tuple(bad), count)


def _quote(row: list[str], header: list[str], *, reporting: str, today: date) -> Quote | str:
    """Return the row as a quote, or what is wrong with it."""
    if len(row) != len(header):
        return f"It has {len(row)} columns instead of {len(header)}."
    cells = {name: cell.strip() for name, cell in zip(header, row, strict=True)}
    try:
        day = date.fromisoformat(cells["day"])
    except ValueError:
        return f"The day {cells['day']!r} is not written as YYYY-MM-DD."
    currency, rate = cells["currency"].lower(), cells["rate"]
    if day > today:
        return f"The day {day} has not come yet."
    if not _CURRENCY.fullmatch(currency):
        return f"The currency {cells['currency']!r} does not have three letters, such as eur."
    if currency == reporting:
        return f"{currency} is the reporting currency itself: it is always worth 1."
    if not _RATE.fullmatch(rate):
        return f"The rate {rate!r} is not a plain decimal number such as 1.0825."
    if not rate.strip("0."):
        return "The rate is 0."
    return Quote(day, currency, reporting, rate, Origin.MANUAL)
