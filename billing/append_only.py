"""Database rules that keep what was written: for migrations, on PostgreSQL and SQLite alike.

SQLite drops a table's triggers when a later migration rebuilds the table: such a migration ends with `protect` again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import migrations

REDACTION = "billing_redaction"


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


# ---- the one exception ----


def redactable(table: str) -> migrations.RunPython:
    """Return the operation that lets a body of the table change in one way: a row of redactions says into what.

    Adding a row with a body to billing_redaction replaces the body of its event and takes the copy out of the row.
    """

    def install(_apps: Any, schema_editor: Any) -> None:
        for statement in _exception(schema_editor.connection.vendor, table):
            schema_editor.execute(statement, None)

    def remove(_apps: Any, schema_editor: Any) -> None:
        is_postgres = schema_editor.connection.vendor == "postgresql"
        for of, name in ((table, "refuses_other_bodies"), (REDACTION, "applies"), (REDACTION, "refuses_bodies")):
            schema_editor.execute(f"DROP TRIGGER IF EXISTS {of}_{name}{f' ON {of}' if is_postgres else ''}")

    return migrations.RunPython(install, remove)


def _exception(vendor: str, table: str) -> list[str]:
    is_told = f"SELECT 1 FROM {REDACTION} r WHERE r.event_id = OLD.id AND r.body = NEW.body"  # noqa: S608
    applied = (
        f"UPDATE {table} SET body = NEW.body WHERE id = NEW.event_id; "  # noqa: S608
        f"UPDATE {REDACTION} SET body = NULL WHERE id = NEW.id;"
    )
    said = f"{table} is append-only"
    if vendor == "postgresql":
        return [
            "CREATE OR REPLACE FUNCTION refuse_other_body() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN IF NOT EXISTS ({is_told}) THEN "
            "RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation'; "
            "END IF; RETURN NEW; END $$",
            f"CREATE OR REPLACE TRIGGER {table}_refuses_other_bodies BEFORE UPDATE OF body ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_other_body()",
            "CREATE OR REPLACE FUNCTION redact_event() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN {applied} RETURN NULL; END $$",
            f"CREATE OR REPLACE TRIGGER {REDACTION}_applies AFTER INSERT ON {REDACTION} "
            "FOR EACH ROW WHEN (NEW.body IS NOT NULL) EXECUTE FUNCTION redact_event()",
            f"CREATE OR REPLACE TRIGGER {REDACTION}_refuses_bodies BEFORE UPDATE OF body ON {REDACTION} "
            "FOR EACH ROW WHEN (NEW.body IS NOT NULL) EXECUTE FUNCTION refuse_change()",
        ]
    return [
        f"CREATE TRIGGER IF NOT EXISTS {table}_refuses_other_bodies BEFORE UPDATE OF body ON {table} "
        f"WHEN NOT EXISTS ({is_told}) BEGIN SELECT RAISE(ABORT, '{said}'); END",
        f"CREATE TRIGGER IF NOT EXISTS {REDACTION}_applies AFTER INSERT ON {REDACTION} "
        f"WHEN NEW.body IS NOT NULL BEGIN {applied} END",
        f"CREATE TRIGGER IF NOT EXISTS {REDACTION}_refuses_bodies BEFORE UPDATE OF body ON {REDACTION} "
        f"WHEN NEW.body IS NOT NULL BEGIN SELECT RAISE(ABORT, '{REDACTION} is append-only'); END",
    ]
