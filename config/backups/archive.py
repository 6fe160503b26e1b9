"""The file of a backup: a zip of one member a table, and a manifest that says what is in it and proves it."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from config.backups.tables import NotATable, Table

FORMAT: Final = "mrr-ledger-backup/1"
MANIFEST: Final = "manifest.json"
LEVEL: Final = 3  # bodies shrink to a seventh; more would cost time and hardly any bytes


class NotABackup(Exception):
    """The file is no backup, or not a whole one; the message says in what."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a backup holds of one table: how many rows, the SHA-256 of their lines, the highest key ever given out."""

    table: Table
    rows: int
    sha256: str
    last_key: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself.

    `migrations` are the names applied by app; `field_keys` name the keys without which the stored secrets cannot be
    read (never the keys); `fingerprint` is that of the standing ledger; `made_at` is ISO 8601, UTC.
    """

    made_at: str
    database: str
    migrations: Mapping[str, Sequence[str]]
    field_keys: Sequence[str]
    fingerprint: str
    tables: Sequence[Held]

    def as_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, said: Any) -> Self:
        """Read a manifest; raises NotABackup."""
        if not isinstance(said, dict) or said.get("format") != FORMAT:
            found = said.get("format") if isinstance(said, dict) else None
            raise NotABackup(f"Its format is {found!r}, and this version reads {FORMAT!r}.")
        try:
            tables = [
                Held(
                    Table(one["table"]["name"], tuple((name, kind) for name, kind in one["table"]["columns"])),
                    int(one["rows"]),
                    str(one["sha256"]),
                    int(one["last_key"]),
                )
                for one in said["tables"]
            ]
            return cls(
                said["made_at"], said["database"], said["migrations"], said["field_keys"], said["fingerprint"], tables
            )
        except (KeyError, TypeError, ValueError, NotATable) as error:
            raise NotABackup(f"Its manifest cannot be read: {error}") from None


class Counted:
    """Lines on their way: passes them on, and knows then how many they were and their SHA-256."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = lines
        self._digest = hashlib.sha256()
        self.rows = 0

    def __iter__(self) -> Iterator[bytes]:
        for line in self._lines:
            self.rows += 1
            self._digest.update(line)
            self._digest.update(b"\n")
            yield line

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


# ---- writing ----


@contextmanager
def writing(path: Path) -> Iterator[zipfile.ZipFile]:
    """Write a file beside `path`, for its owner's eyes alone, that takes its name when it is whole and on the disk."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as archive:
                yield archive
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name, too, must outlast a power cut
        finally:
            os.close(folder)
    finally:
        part.unlink(missing_ok=True)


def add_rows(archive: zipfile.ZipFile, table: Table, lines: Iterable[bytes], *, last_key: int) -> Held:
    """Write the rows of a table."""
    counted = Counted(lines)
    with archive.open(_member(table), "w", force_zip64=True) as member:
        for line in counted:
            member.write(line + b"\n")
    return Held(table, counted.rows, counted.sha256, last_key)


def add_manifest(archive: zipfile.ZipFile, manifest: Manifest) -> None:
    archive.writestr(MANIFEST, json.dumps(manifest.as_json(), indent=1))


# ---- reading ----


@contextmanager
def reading(path: Path) -> Iterator[tuple[zipfile.ZipFile, Manifest]]:
    """Open a backup; raises NotABackup."""
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise NotABackup(f"{path} cannot be read as a backup: {error}") from None
    with archive:
        try:
            said = json.loads(archive.read(MANIFEST))
        except (KeyError, ValueError, zipfile.BadZipFile) as error:
            raise NotABackup(f"{path} has no manifest that can be read: {error}") from None
        yield archive, Manifest.from_json(said)


def lines_of(archive: zipfile.ZipFile, held: Held) -> Iterator[bytes]:
    """Yield the lines of a table; raises NotABackup at the end where they are not those that were written."""
    counted = Counted(_lines(archive, held.table))
    yield from counted
    if (counted.rows, counted.sha256) != (held.rows, held.sha256):
        raise NotABackup(f"The rows of {held.table.name} are not those that were written.")


def _lines(archive: zipfile.ZipFile, table: Table) -> Iterator[bytes]:
    try:
        with archive.open(_member(table)) as member:
            for line in member:
                yield line.rstrip(b"\n")
    except (KeyError, EOFError, zipfile.BadZipFile, OSError) as error:
        raise NotABackup(f"The rows of {table.name} cannot be read: {error}") from None


def _member(table: Table) -> str:
    return f"tables/{table.name}.jsonl"
