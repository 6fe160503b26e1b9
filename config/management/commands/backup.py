"""Write a backup."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from billing.commands import print_result, say, wrong_use
from billing.progress import bar
from config import jobs
from config.backups import writing


class Command(BaseCommand):
    help = (
        "Write a consistent copy of the database into FILE while everything runs, on SQLite and PostgreSQL alike. The "
        "field keys are not in it: `field_keys` names those it needs by a short hash. Keep the file safe, it holds "
        "customers' names, and give it to restore. Sessions and background tasks are left out."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="a path; a file of that name is replaced once the new one is whole")
        parser.add_argument("--json", action="store_true", help="the result is JSON in any case")

    def handle(self, *, file: str, **_options: Any) -> None:
        path = Path(file)
        if path.is_dir() or not path.parent.is_dir():
            raise wrong_use(f"{file} is no path of a file in a folder that exists.")
        with bar("Writing the backup", total=None) as advance:

            def progress(_name: str, _done: int, _all: int) -> None:
                advance(1)

            try:
                written = writing.write(path, now=timezone.now(), progress=progress)
            except writing.NotWritten as error:
                say(self, str(error))
                print_result(self, {"file": file, "written": False, "why": str(error)})
                raise SystemExit(1) from None
        jobs.note(jobs.BACKUP, now=timezone.now())
        manifest = written.manifest
        say(self, f"It needs the field keys {', '.join(manifest.field_keys) or '(none)'}, which are not in it.")
        print_result(
            self,
            {
                "file": file,
                "written": True,
                "bytes": written.bytes,
                "sha256": written.sha256,
                "made_at": manifest.made_at,
                "tables": len(manifest.tables),
                "rows": sum(held.rows for held in manifest.tables),
                "fingerprint": manifest.fingerprint,
                "field_keys": list(manifest.field_keys),
            },
        )
