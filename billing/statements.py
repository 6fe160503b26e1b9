"""Sends SQL of our own: statements over many rows, with their values apart from the text."""

# ruff: noqa: S608  (statements are put together from our own names; values travel apart)
from __future__ import annotations

import json
import threading
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, Final

from django.db import DEFAULT_DB_ALIAS, connection, connections, models

CHUNK: Final = 500  # rows a statement: SQLite counts its parameters


def run(sql: str, values: Sequence[Any] = (), *, has_bodies: bool = False) -> list[tuple[Any, ...]]:
    """Run one statement and return its rows; database errors are Django's. `has_bodies`: rows of raw bytes come back.

    Django's own cursor for PostgreSQL writes the values into the text: a body doubles, and each text is planned anew.
    Here they travel apart, so that the server keeps the plan.
    """
    here = connections[DEFAULT_DB_ALIAS]  # once: each look through Django's proxy costs
    if here.vendor != "postgresql" or here.queries_logged:
        with here.cursor() as plain:
            plain.execute(sql, values)
            return plain.fetchall() if plain.description else []
    here.ensure_connection()
    apart = _cursor_of(here.connection)
    with here.wrap_database_errors:
        apart.execute(sql, values, binary=has_bodies)
        return [] if apart.rownumber is None else apart.fetchall()


_own = threading.local()  # Django keeps one connection a thread


def _cursor_of(connection: Any) -> Any:
    """A cursor is used again and again: making one costs as much as a short statement."""
    import psycopg

    cursor = getattr(_own, "cursor", None)
    if cursor is None or cursor.connection is not connection:
        cursor = _own.cursor = psycopg.Cursor(connection)
    return cursor


def select(
    model: type[models.Model], columns: Sequence[str], *wanted: Mapping[str, Collection[Any]], is_locked: bool = False
) -> list[tuple[Any, ...]]:
    """Return columns of the rows whose key columns each have one of the values given; times come as Unix seconds.

    Several `wanted` are alternatives. `is_locked` holds the rows until the transaction ends, taken in the order of
    their primary keys; rows that point at them may be added meanwhile. (SQLite's transactions are alone anyway.)
    """
    kinds = tuple([tuple([(column, _kind(values)) for column, values in part.items()]) for part in wanted])
    sql = _select(model, tuple(columns), kinds, is_locked, _vendor())
    return run(sql, [listed(values) for part in wanted for values in part.values()])


def _kind(values: Collection[Any]) -> str:
    return "text" if isinstance(next(iter(values), 0), str) else "bigint"


def within(column: str, kind: str = "bigint") -> str:
    """Return the condition that a column has one of the values that `listed` sends."""
    if _vendor() == "postgresql":
        return f"{column} = ANY(%s::{kind}[])"
    return f"{column} IN (SELECT value FROM json_each(%s))"


def listed(values: Collection[Any]) -> Any:
    """Return values as the one parameter that `within` asks for: the text stays the same, however many there are."""
    return list(values) if _vendor() == "postgresql" else json.dumps(list(values))


def write(
    model: type[models.Model],
    rows: Sequence[Mapping[str, Any]],
    *,
    key: Sequence[str],
    update: Sequence[str] | Mapping[str, str] | None = None,
    returning: Sequence[str] = (),
) -> list[tuple[Any, ...]]:
    """Insert rows (column → plain JSON value, all with the same columns); where a key stands already, update it.

    `update` names the columns to take from the new row, or maps a column to its own expression; without it what stands
    is left alone. Keys must differ. Rows go in by key, the same for every worker: two cannot wait for each other.
    """
    found: list[tuple[Any, ...]] = []
    ordered = sorted(rows, key=lambda row: tuple([row[column] for column in key]))
    for start in range(0, len(ordered), CHUNK):
        chunk = ordered[start : start + CHUNK]
        columns = tuple(chunk[0])
        own = tuple(update.items()) if isinstance(update, Mapping) else tuple([(name, "") for name in update or ()])
        if _vendor() == "postgresql":
            sql = _recordset(model, columns, tuple(key), own, tuple(returning))
            found += run(sql, [json.dumps(chunk)])
        else:
            sql = _tuples(model, columns, tuple(key), own, tuple(returning), len(chunk))
            found += run(sql, [_plain(value) for row in chunk for value in row.values()])
    return found


def moment(unix_seconds: int | None) -> str | None:
    """Return a time as the text that the database reads."""
    return None if unix_seconds is None else _moment(unix_seconds, _vendor())


@cache
def _vendor() -> str:
    return connection.vendor


@lru_cache(maxsize=8192)
def _moment(unix_seconds: int, vendor: str) -> str:
    text = datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"{text}+00" if vendor == "postgresql" else text


@lru_cache(maxsize=256)
def _select(
    model: type[models.Model],
    columns: tuple[str, ...],
    wanted: tuple[tuple[tuple[str, str], ...], ...],
    is_locked: bool,
    vendor: str,
) -> str:
    fields = {field.column: field for field in model._meta.concrete_fields}
    seconds = "extract(epoch FROM {0})::bigint" if vendor == "postgresql" else "CAST(strftime('%%s', {0}) AS INTEGER)"
    shown = [
        seconds.format(f'"{column}"') if isinstance(fields[column], models.DateTimeField) else f'"{column}"'
        for column in columns
    ]
    parts = [" AND ".join([within(f'"{column}"', kind) for column, kind in part]) for part in wanted]
    where = " OR ".join([f"({part})" for part in parts])
    lock = " ORDER BY id FOR NO KEY UPDATE" if is_locked and vendor == "postgresql" else ""
    return f"SELECT {', '.join(shown)} FROM {model._meta.db_table} WHERE {where}{lock}"


@lru_cache(maxsize=256)
def _recordset(
    model: type[models.Model],
    columns: tuple[str, ...],
    key: tuple[str, ...],
    update: tuple[tuple[str, str], ...],
    returning: tuple[str, ...],
) -> str:
    """PostgreSQL: all rows as one JSON value; one text, and one plan, however many rows."""
    types = {
        field.column: field.rel_db_type(connection) if field.is_relation else field.db_type(connection)
        for field in model._meta.concrete_fields
    }
    named = _names(columns)
    typed = ", ".join([f'"{column}" {types[column]}' for column in columns])
    source = f"SELECT {named} FROM json_to_recordset(%s) AS given({typed})"
    return f"INSERT INTO {model._meta.db_table} AS t ({named}) {source} {_conflict(key, update, returning)}"


@lru_cache(maxsize=512)
def _tuples(
    model: type[models.Model],
    columns: tuple[str, ...],
    key: tuple[str, ...],
    update: tuple[tuple[str, str], ...],
    returning: tuple[str, ...],
    count: int,
) -> str:
    places = ", ".join([f"({', '.join(['%s'] * len(columns))})"] * count)
    named = _names(columns)
    return f"INSERT INTO {model._meta.db_table} AS t ({named}) VALUES {places} {_conflict(key, update, returning)}"


def _conflict(key: tuple[str, ...], update: tuple[tuple[str, str], ...], returning: tuple[str, ...]) -> str:
    sets = ", ".join([f'"{column}" = {own}' if own else f'"{column}" = excluded."{column}"' for column, own in update])
    action = f"DO UPDATE SET {sets}" if sets else "DO NOTHING"
    back = f" RETURNING {_names(returning)}" if returning else ""
    return f"ON CONFLICT ({_names(key)}) {action}{back}"


def _names(columns: Sequence[str]) -> str:
    return ", ".join([f'"{column}"' for column in columns])


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict | list) else value
