"""Moves an installation from one database to another: a backup here, a restore there, by a process that lives there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from config import due, env
from config.backups import tables, writing


class NotMoved(Exception):
    """The new database is not to be used; the message says why and what to do. The old one is as it was."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What the new database holds: how many rows, with which fingerprint, the same as here."""

    rows: int
    fingerprint: str


def move(url: str, *, now: datetime, tell: Callable[[str], None]) -> Moved:
    """Copy everything into the empty database at `url`, whole or not at all, and prove it there; raises NotMoved.

    Nothing here is changed. While it runs nobody else may write: with workers running it does not begin, and it fails
    when rows were added meanwhile.
    """
    if _place(url) == _place(env.DATABASE_URL):
        raise NotMoved("That is the database we are in.")
    if due.health(now=now).is_beating:
        raise NotMoved(
            "Workers run here, or did a minute ago. Stop serve on every machine, wait two minutes, and move then."
        )
    with tempfile.TemporaryDirectory(dir=settings.DATA_DIR, prefix="moving-") as folder:
        file = Path(folder) / "copy"
        tell("Reading everything")
        try:
            written = writing.write(file, now=now)
        except writing.NotWritten as error:
            raise NotMoved(str(error)) from None
        answer = _restore_there(url, file)
    added = [held.table.name for held in written.manifest.tables if tables.last_key(held.table) > held.last_key]
    if added:
        raise NotMoved(
            f"Rows were added here while it was copied, in {', '.join(added[:3])}. Stop all that writes, web too, "
            "empty the new database, and move again."
        )
    return Moved(int(answer["rows"]), str(answer["fingerprint"]))


def _restore_there(url: str, file: Path) -> dict[str, Any]:
    there = {
        **os.environ,
        "DATABASE_URL": url,
        "DATA_DIR": str(settings.DATA_DIR),
        "SECRET_KEY": settings.SECRET_KEY,
        "FIELD_ENCRYPTION_KEYS": ",".join(settings.FIELD_ENCRYPTION_KEYS),
    }
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "restore", str(file), "--nothing-since"]
    done = subprocess.run(command, env=there, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603  # our own
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise NotMoved("The new database could not be used: what is said above says why.") from None
    if not answer["restored"]:
        raise NotMoved(answer["why"])
    if done.returncode:
        raise NotMoved("The copy was checked and is not the same; the differences stand above. Tell us, and stay here.")
    return answer


def _place(url: str) -> tuple[str, str, str]:
    parts = urlsplit(url)
    return parts.scheme.partition("ql")[0], parts.netloc.rpartition("@")[2], parts.path
