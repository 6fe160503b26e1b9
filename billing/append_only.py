"""Database rules that keep what was written: for migrations, on PostgreSQL and SQLite alike.

SQLite drops a table's triggers when a later migration rebuilds the table: such a migration ends with `protect` again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import migrations


def protect(table: str, columns: Sequence[str] = ()) -> migrations.RunPython:
    """Return the operation that refuses deletes of a table's rows and changes of the named columns (none = of any)."""

    def install(_apps: Any, schema_editor: Any) -> None:
        for statement in _statements(schema_editor.connection.vendor, table, columns):
            schema_editor.execute(statement, None)  # None: a % in the text is a %

    def remove(_apps: Any, schema_editor: Any) -> None:
        for name in ("changes", "deletes", "truncates"):
            place = f" ON {table}" if schema_editor.connection.vendor == "postgresql" else ""
            schema_editor.execute(f"DROP TRIGGER IF EXISTS {table}_refuses_{name}{place}")

    return migrations.RunPython(install, remove)


def _statements(vendor: str, table: str, columns: Sequence[str]) -> list[str]:
    of = f" OF {', '.join(columns)}" if columns else ""
    said = f"{table} is append-only"
    if vendor == "postgresql":
        return [
            "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation'; END $$",
            f"CREATE OR REPLACE TRIGGER {table}_refuses_changes BEFORE UPDATE{of} ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()",
            f"CREATE OR REPLACE TRIGGER {table}_refuses_deletes BEFORE DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()",
            f"CREATE OR REPLACE TRIGGER {table}_refuses_truncates BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
        ]
    return [
        f"CREATE TRIGGER IF NOT EXISTS {table}_refuses_changes BEFORE UPDATE{of} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{said}'); END",
        f"CREATE TRIGGER IF NOT EXISTS {table}_refuses_deletes BEFORE DELETE ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{said}'); END",
    ]
