"""Puts a backup back into an empty database, whole or not at all, and proves that it is what was written."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from django.conf import settings
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.utils import DatabaseError

from config import install, stored_secrets
from config.backups import archive, tables
from config.backups.archive import Counted, Manifest, NotABackup
from mrr import check

# What migrations and `serve` put into a database by themselves: none of it is anybody's.
MADE_BY_US: Final = frozenset(
    {
        "auth_group",
        "auth_group_permissions",
        "auth_permission",
        "dashboard_setupcode",
        "django_content_type",
        "mrr_bookstate",
        "mrr_departurerule",
        "mrr_ratebook",
        "mrr_seal",
    }
)
FIRST_SEAL: Final = 1  # the seal that follows nothing; it is the same everywhere and cannot be deleted
ORG: Final = "crm_salesforceorg"
NEVER: Final = "9999-01-01 00:00:00"


class Refused(Exception):
    """Nothing was restored; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put back: the backup's manifest, and what the check of the ledger found to be different."""

    manifest: Manifest
    rows: int
    differences: tuple[str, ...]


def restore(path: Path, *, tell: Callable[[str], None] = lambda step: None) -> Restored:
    """Put a backup back; raises Refused, and then the database is as empty as before.

    Nothing is begun before all is known to be there: the file, the field keys it needs, migrations that this version
    knows, and a database without rows of anybody. The rows are read again and compared before they are committed. From
    then on nothing is written to Salesforce until `catching_up.begin` has seen to it.
    """
    try:
        with archive.reading(path) as (file, manifest):
            _refuse_strangers(manifest)
            tell("Making the tables")
            _migrate_to(manifest.migrations)
            tell("Putting the rows back")
            _load(file, manifest)
    except NotABackup as error:
        raise Refused(str(error)) from None
    tell("Bringing the tables up to date")
    install.bring_up_to_date()
    tell("Recounting the ledger")
    return Restored(manifest, sum(held.rows for held in manifest.tables), _differences(manifest))


# ---- before anything is touched ----


def _refuse_strangers(manifest: Manifest) -> None:
    lacking = set(manifest.field_keys) - {stored_secrets.key_id(key) for key in settings.FIELD_ENCRYPTION_KEYS}
    if lacking:
        raise Refused(
            f"FIELD_ENCRYPTION_KEYS lacks the keys {', '.join(sorted(lacking))}: without them stored secrets cannot be "
            "read. Add them to the end of the list (they are kept apart from the backups) and restore again."
        )
    executor = MigrationExecutor(connection)
    wanted = _names(manifest.migrations)
    unknown = wanted - set(executor.loader.disk_migrations)
    if unknown:
        first = ".".join(min(unknown))
        raise Refused(f"The backup was made by a newer version: this one does not know {first}. Install that version.")
    full = [] if not executor.loader.applied_migrations else _full()
    if full:
        raise Refused(
            f"The database is not empty: there are rows in {', '.join(full[:5])}. Restore into a new one "
            "(DATABASE_URL) and keep this one until the new one is proven."
        )
    if set(executor.loader.applied_migrations) - wanted:
        raise Refused(
            "The database was set up by a newer version than the backup's. It is empty: make it anew, without tables."
        )


def _full() -> list[str]:
    """Return the tables in which something is that we did not put there ourselves."""
    there = set(connection.introspection.table_names())
    somebodys = [table for table in tables.all_tables() if table.name in there and table.name not in MADE_BY_US]
    return [table.name for table in somebodys if tables.has_rows(table)]


def _names(migrations: Mapping[str, Sequence[str]]) -> set[tuple[str, str]]:
    return {(app, name) for app, names in migrations.items() for name in names}


def _migrate_to(migrations: Mapping[str, Sequence[str]]) -> None:
    """Give the database the tables that the backup was made with; what came later is added to its rows afterwards."""
    executor = MigrationExecutor(connection)
    wanted = _names(migrations)
    nodes = executor.loader.graph.node_map
    executor.migrate(
        sorted(
            key
            for key in wanted
            if key in nodes and not any(child.key[0] == key[0] and child.key in wanted for child in nodes[key].children)
        )
    )


# ---- the rows ----


def _load(file: zipfile.ZipFile, manifest: Manifest) -> None:
    with transaction.atomic():
        for held in manifest.tables:
            there = [FIRST_SEAL] if held.table.name == "mrr_seal" else []
            if held.table.name in MADE_BY_US and not there:
                tables.empty(held.table)
            try:
                tables.fill(held.table, archive.lines_of(file, held), but=there)
            except DatabaseError as error:
                raise NotABackup(f"The rows of {held.table.name} do not fit into their table: {error}") from None
        for held in manifest.tables:
            _prove(held)
            tables.count_on_from(held.table, held.last_key)
        _close_salesforce()
    if connection.vendor == "postgresql":  # it would plan for empty tables until it looks by itself
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")


def _prove(held: archive.Held) -> None:
    """Read a table again: what the database gives back must be what was in the backup."""
    found = Counted(tables.rows(held.table))
    for _ in found:
        pass
    if (found.rows, found.sha256) != (held.rows, held.sha256):
        raise NotABackup(f"The rows of {held.table.name} came out of the database otherwise than they went in.")


def _close_salesforce() -> None:
    """Let nobody write to Salesforce before this restore has come to its end, whatever is started meanwhile."""
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {ORG} SET paused_until = %s", [NEVER])  # noqa: S608  # our own name


def _differences(manifest: Manifest) -> tuple[str, ...]:
    """Check the ledger as of the backup's moment: what fell due by the clock since then is posted later."""
    found: list[str] = []
    checked = check.check(now=datetime.fromisoformat(manifest.made_at), tell=found.append)
    if checked.fingerprint != manifest.fingerprint:
        found.append(f"The fingerprint is {checked.fingerprint}, and was {manifest.fingerprint}.")
    return tuple(found)
