"""The tables of a backup and their rows as plain JSON, the same from every database, so that both can be compared."""

# ruff: noqa: S608  (statements are put together from names that were checked; values travel apart)
from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from django.apps import apps
from django.db import connection, models

# Who was logged in and what workers had to do: true of the running installation, not of the books. A session that was
# ended must not come back, and schedules and nudges are made anew.
LEFT_OUT: Final = frozenset(
    {"django_session", "usersessions_usersession", "django_q_task", "django_q_schedule", "django_q_ormq"}
)
NAME: Final = re.compile(r"[a-z_][a-z0-9_]*")
ROWS_AT_ONCE: Final = 2_000

PLAIN, TRUTH, MOMENT, DAY, JSON, BYTES, ADDRESS = "plain", "truth", "moment", "day", "json", "bytes", "address"
KINDS: Final = {
    "AutoField": PLAIN,
    "BigAutoField": PLAIN,
    "BigIntegerField": PLAIN,
    "IntegerField": PLAIN,
    "PositiveBigIntegerField": PLAIN,
    "PositiveIntegerField": PLAIN,
    "PositiveSmallIntegerField": PLAIN,
    "SmallIntegerField": PLAIN,
    "CharField": PLAIN,
    "SlugField": PLAIN,
    "TextField": PLAIN,
    "BooleanField": TRUTH,
    "DateTimeField": MOMENT,
    "DateField": DAY,
    "JSONField": JSON,
    "BinaryField": BYTES,
    "GenericIPAddressField": ADDRESS,
}


class NotATable(ValueError):
    """What a backup says of a table cannot be."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table's name and its columns, each with its kind; the first is the whole number that is its key."""

    name: str
    columns: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        names = [self.name, *(name for name, _ in self.columns)]
        if not self.columns or not all(NAME.fullmatch(name) for name in names):
            raise NotATable(f"The backup names a table or column that cannot be: {self.name!r}.")

    @property
    def key(self) -> str:
        return self.columns[0][0]

    @property
    def listed(self) -> str:
        return ", ".join(f'"{name}"' for name, _ in self.columns)


def all_tables() -> list[Table]:
    """Return every table that a backup holds, as the models say, by name."""
    found = {model._meta.db_table: model for model in apps.get_models(include_auto_created=True)}
    return [of(found[name]) for name in sorted(found.keys() - LEFT_OUT)]


def of(model: type[models.Model]) -> Table:
    """Return the table of a model, its key first."""
    fields = sorted(model._meta.concrete_fields, key=lambda field: not field.primary_key)
    return Table(model._meta.db_table, tuple((str(field.column), _kind(field)) for field in fields))


def _kind(field: Any) -> str:
    while field.is_relation:
        field = field.target_field
    return KINDS[field.get_internal_type()]


# ---- out ----


def rows(table: Table) -> Iterator[bytes]:
    """Yield the rows of a table by key: each a JSON list on a line, without its end. Runs in the caller's view."""
    readers = [READERS.get(kind) for _, kind in table.columns]
    with connection.chunked_cursor() as cursor:
        cursor.execute(f'SELECT {table.listed} FROM "{table.name}" ORDER BY "{table.key}"')
        while found := cursor.fetchmany(ROWS_AT_ONCE):
            for row in found:
                values = [
                    value if value is None or read is None else read(value)
                    for value, read in zip(row, readers, strict=True)
                ]
                yield _json(values).encode()


def _moment(value: datetime) -> str:
    """Write a moment as SQLite keeps it: UTC, without saying so."""
    return str(value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value)


def _canonical(value: str) -> str:
    """Write stored JSON in one way: PostgreSQL gives the keys of an object back in an order of its own."""
    return _json(json.loads(value), sort_keys=True)


def _json(value: Any, *, sort_keys: bool = False) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=sort_keys)


READERS: Final[dict[str, Any]] = {
    TRUTH: int,
    MOMENT: _moment,
    DAY: str,
    JSON: _canonical,
    BYTES: lambda value: base64.b64encode(value).decode(),
    ADDRESS: str,
}


# ---- in ----


def fill(table: Table, lines: Iterable[bytes], *, but: Sequence[int] = ()) -> None:
    """Add rows to a table, as `rows` wrote them; those whose keys stand in `but` are there already."""
    there = set(but)
    binary = [place for place, (_, kind) in enumerate(table.columns) if kind == BYTES]
    values = (row for row in (_values(line, binary) for line in lines) if row[0] not in there)
    if connection.vendor == "postgresql":
        _copy(table, values)
        return
    marks = ", ".join(["%s"] * len(table.columns))
    with connection.cursor() as cursor:
        while chunk := list(islice(values, ROWS_AT_ONCE)):
            cursor.executemany(f'INSERT INTO "{table.name}" ({table.listed}) VALUES ({marks})', chunk)


def _copy(table: Table, values: Iterable[list[Any]]) -> None:
    with connection.cursor() as cursor, cursor.copy(f'COPY "{table.name}" ({table.listed}) FROM STDIN') as copy:
        for row in values:
            copy.write_row(row)


def _values(line: bytes, binary: Sequence[int]) -> list[Any]:
    row: list[Any] = json.loads(line)
    for place in binary:
        if row[place] is not None:
            row[place] = base64.b64decode(row[place])
    return row


# ---- keys and emptiness ----


def has_rows(table: Table) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT 1 FROM "{table.name}" LIMIT 1')
        return cursor.fetchone() is not None


def empty(table: Table) -> None:
    """Delete a table's rows. Where the database refuses that, for rows are only ever added, its error is raised."""
    with connection.cursor() as cursor:
        cursor.execute(f'DELETE FROM "{table.name}"')


def last_key(table: Table) -> int:
    """Return the highest key that the table has ever given out, so that none is given twice."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT coalesce(last_value, 0) FROM pg_sequences WHERE schemaname = current_schema() "
                "AND sequencename = split_part(pg_get_serial_sequence(%s, %s), '.', 2)",
                [table.name, table.key],
            )
        else:
            cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", [table.name])
        found = cursor.fetchone()
    return int(found[0] or 0) if found else 0


def count_on_from(table: Table, last: int) -> None:
    """Give out keys above `last` from now on."""
    if last <= last_key(table):
        return
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT setval(pg_get_serial_sequence(%s, %s), %s)", [table.name, table.key, last])
            return
        cursor.execute("UPDATE sqlite_sequence SET seq = %s WHERE name = %s", [last, table.name])
        if not cursor.rowcount:
            cursor.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s)", [table.name, last])
