"""Writes a backup: one moment of the whole database, while everything goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder

from config import stored_secrets
from config.backups import archive, tables
from config.backups.archive import Manifest
from mrr import fingerprints


class NotWritten(Exception):
    """There is no backup; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Written:
    """A backup that was written: what it says of itself, its size and the SHA-256 of the file."""

    manifest: Manifest
    bytes: int
    sha256: str


def write(
    path: Path, *, now: datetime, progress: Callable[[str, int, int], None] = lambda name, done, all: None
) -> Written:
    """Write the whole database as it is at one moment into a file; raises NotWritten.

    Nobody waits for it. The file gets its name when it is whole; one of that name is replaced. `progress` is told the
    table that was written last, how many are, and how many there are.
    """
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise NotWritten("The database is older than this version. Run manage.py migrate (serve does it by itself).")
    try:
        with archive.writing(path) as file, fingerprints.one_view():
            needed, unreadable = stored_secrets.keys_in_use()
            if unreadable:
                raise NotWritten(
                    f"{unreadable} stored secrets cannot be read with any of FIELD_ENCRYPTION_KEYS, so none could "
                    "say which keys the backup needs. Add the key they were written with to the end of the list."
                )
            everything = tables.all_tables()
            held = []
            for done, table in enumerate(everything):
                progress(table.name, done, len(everything))
                held.append(archive.add_rows(file, table, tables.rows(table), last_key=tables.last_key(table)))
            manifest = Manifest(
                made_at=now.isoformat(),
                database=connection.vendor,
                migrations=_migrations(),
                field_keys=sorted(needed),
                fingerprint=fingerprints.of_standing(),
                tables=held,
            )
            archive.add_manifest(file, manifest)
    except OSError as error:
        raise NotWritten(f"{path} cannot be written: {error.strerror}.") from None
    return Written(manifest, path.stat().st_size, _sha256(path))


def _migrations() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for app, name in sorted(MigrationRecorder(connection).applied_migrations()):
        found.setdefault(app, []).append(name)
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
