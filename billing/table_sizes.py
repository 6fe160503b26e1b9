"""Says how much room each table takes, for whoever decides how long what is kept."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection
from django.db.utils import OperationalError

POSTGRES = (
    "SELECT c.relname, greatest(c.reltuples, 0)::bigint, pg_total_relation_size(c.oid) FROM pg_class c "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname = current_schema() "
    "ORDER BY 3 DESC, 1"
)
SQLITE = (
    "SELECT m.tbl_name, NULL, sum(s.pgsize) FROM dbstat s JOIN sqlite_master m ON m.name = s.name "
    "WHERE s.aggregate = TRUE GROUP BY m.tbl_name ORDER BY 3 DESC, 1"
)


@dataclass(frozen=True, slots=True)
class TableSize:
    """A table with its indexes: bytes on disk, and about how many rows (None where the database does not count)."""

    name: str
    rows: int | None
    bytes: int


def table_sizes() -> list[TableSize]:
    """Return all tables, the largest first; nothing where the database cannot tell. One query."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(POSTGRES if connection.vendor == "postgresql" else SQLITE)
            return [TableSize(name, rows, int(size)) for name, rows, size in cursor.fetchall()]
    except OperationalError:  # an SQLite that was built without its table of pages
        return []
