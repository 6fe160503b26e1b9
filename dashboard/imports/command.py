"""Imports a file from the command line by the same form as the page."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Final

from django.core.management.base import BaseCommand, CommandError

from dashboard.imports import applying, working
from dashboard.imports.form import Bad, Kind, WrongFile

NAMED: Final = working.FAULTS_KEPT  # bad rows told one by one; the rest is counted
BY: Final = "command line"


def run(command: BaseCommand, kind: Kind, file: str, *, skips_bad: bool, now: datetime) -> dict[str, int]:
    """Import a file, - being standard input, and return what came of it: read, added, changed, already, bad, import.

    Bad rows are told on standard error. Raises CommandError where the file cannot be read at all.
    """
    try:
        body = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        one = applying.bring(kind, Path(file).name, body, by=BY, now=now, here=True)
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}.", returncode=2) from None
    except WrongFile as error:
        raise CommandError(str(error), returncode=2) from None
    for fault in one.faults:
        command.stderr.write(Bad(*fault).sentence)
    if one.bad > NAMED:
        command.stderr.write(f"{one.bad - NAMED} more rows are bad.")
    result = {"read": one.rows, "added": 0, "changed": 0, "already": 0, "bad": one.bad}
    if one.rows == one.bad or (one.bad and not skips_bad):
        if one.bad:
            command.stderr.write("Nothing was applied. Mend these rows, or leave them out with --skip-bad.")
        applying.throw_away(one.pk)
        return result
    try:
        done = applying.apply(one.pk, skips_bad=skips_bad, by=BY, now=now, here=True)
    except working.NotDone as error:
        raise CommandError(str(error)) from None
    return {**result, "added": done.added, "changed": done.changed, "already": done.already, "import": done.pk}
