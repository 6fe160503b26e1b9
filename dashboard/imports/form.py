"""The form that all imports share: columns, rows read one by one, what is wrong with a cell and what to do. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice
from typing import Final

AT_ONCE: Final = 1000  # rows looked up together
MOST_ROWS: Final = 100_000
MOST_BYTES: Final = 20 * 2**20


class WrongFile(ValueError):
    """The file cannot be read as this kind at all; the message says why and what is wanted."""


class WrongCell(ValueError):
    """A cell cannot be taken: its column, why, and what to do about it."""

    def __init__(self, column: str, reason: str, cure: str = "") -> None:
        super().__init__(reason)
        self.column = column
        self.reason = reason
        self.cure = cure


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the file. One that may be left out is told apart."""

    name: str
    what: str
    may_lack: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the file, its cells by column and without blanks at their ends."""

    line: int
    cells: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Good:
    """A row that can be taken: what it speaks of and the value it gives, both as text that the kind can read again."""

    line: int
    place: str
    value: str


@dataclass(frozen=True, slots=True)
class Bad:
    """A row that cannot be taken."""

    line: int
    column: str
    reason: str
    cure: str = ""

    @property
    def sentence(self) -> str:
        return f"Line {self.line}: {self.reason}{' ' if self.cure else ''}{self.cure}"


Values = Mapping[str, str | None]
"""What each place is to hold, None = nothing."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of file, and what its rows do to the database.

    `read` turns rows into good and bad ones on a given day; `held` tells what places hold now; `write` makes them hold
    other values, in the caller's transaction, for a person at a moment; `refusal` says why places may not be put back
    since a moment, empty when they may. `says` is the column with the value, `same` the columns that name the place.
    So many rows as `at_once` says are one transaction.
    """

    key: str
    label: str
    text: str
    columns: tuple[Column, ...]
    examples: tuple[tuple[str, ...], ...]
    says: str
    same: str
    read: Callable[[Sequence[Row], date], list[Good | Bad]]
    held: Callable[[Collection[str]], dict[str, str]]
    write: Callable[[Values, str, datetime], None]
    refusal: Callable[[Collection[str], datetime], str] = lambda _places, _since: ""
    most_rows: int = MOST_ROWS
    at_once: int = AT_ONCE

    @property
    def sample(self) -> str:
        """A file that shows the columns, with a few rows."""
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([[one.name for one in self.columns], *self.examples])
        return out.getvalue()


def each(rows: Iterable[Row], take: Callable[[Row], Good]) -> list[Good | Bad]:
    """Take rows one by one; what raises WrongCell is bad."""
    found: list[Good | Bad] = []
    for row in rows:
        try:
            found.append(take(row))
        except WrongCell as error:
            found.append(Bad(row.line, error.column, error.reason, error.cure))
    return found


def count(kind: Kind, body: bytes) -> int:
    """Return how many rows a file has, without looking anything up. Raises WrongFile."""
    return sum(1 for _ in _rows(kind, body))


def read(kind: Kind, body: bytes, *, today: date) -> Iterator[Good | Bad]:
    """Read a file row by row. Blank lines are skipped; a row that repeats an earlier one is given once.

    Two rows that say different things of the same are both wrong or one of them: the later one is told as bad. Raises
    WrongFile, at the start for its columns, later where it ends in the middle or is too long.
    """
    seen: dict[str, tuple[int, str]] = {}
    rows = _rows(kind, body)
    while some := list(islice(rows, AT_ONCE)):
        found = [one for one in some if isinstance(one, Row)]
        told = [one for one in some if isinstance(one, Bad)]
        for one in sorted([*told, *kind.read(found, today)], key=lambda one: one.line):
            if isinstance(one, Bad):
                yield one
                continue
            line, value = seen.setdefault(one.place, (one.line, one.value))
            if line == one.line:
                yield one
            elif value != one.value:
                reason = f"Line {line} has another {kind.says} for the same {kind.same}."
                yield Bad(one.line, kind.says, reason, "Keep the one that is right.")


def _rows(kind: Kind, body: bytes) -> Iterator[Row | Bad]:
    if b"\0" in body:
        raise WrongFile("This is not a CSV file: it holds bytes that no text has.")
    lines = csv.reader(io.TextIOWrapper(io.BytesIO(body), encoding="utf-8-sig", newline=""))
    try:
        header = [name.strip().lower() for name in next(lines, [])]
        _check_header(kind, header)
        count = 0
        for cells in lines:
            if not any(cell.strip() for cell in cells):
                continue
            count += 1
            if count > kind.most_rows:
                raise WrongFile(f"It has more than {kind.most_rows:,} rows. Divide it into several files.")
            if len(cells) == len(header):
                yield Row(lines.line_num, {name: cell.strip() for name, cell in zip(header, cells, strict=True)})
            else:
                reason = f"It has {len(cells)} columns instead of {len(header)}."
                yield Bad(lines.line_num, "", reason, "Put a value that has a comma in it in quotes.")
    except UnicodeDecodeError:
        raise WrongFile("It is not text in UTF-8. Save it as CSV UTF-8.") from None
    except csv.Error as error:
        raise WrongFile(f"Line {lines.line_num} cannot be read as CSV: {error}.") from None


def _check_header(kind: Kind, header: Sequence[str]) -> None:
    needed = {one.name for one in kind.columns if not one.may_lack}
    known = {one.name for one in kind.columns}
    if len(set(header)) != len(header) or not needed <= set(header) <= known:
        wanted = ",".join(one.name for one in kind.columns if not one.may_lack)
        extra = ",".join(one.name for one in kind.columns if one.may_lack)
        may = f" and may name {extra}" if extra else ""
        raise WrongFile(f"The first line must name the columns {wanted}{may}; it reads {','.join(header)[:200]!r}.")
