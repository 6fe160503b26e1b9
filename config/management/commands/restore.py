"""Put a backup back."""

from __future__ import annotations

from argparse import ArgumentParser
from functools import partial
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from billing.commands import print_result, say, wrong_use
from config.backups import restoring


class Command(BaseCommand):
    help = (
        "Put a backup into an empty database (DATABASE_URL; SQLite or PostgreSQL, whichever it was made of), prove it, "
        "and bring it up to now. Refused, with nothing changed: a database with rows, a backup of a newer version, a "
        "field key that is missing, a file that is not whole. Stop serve before. Exit 1 when refused, or when the "
        "check found a difference."
    )
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="what `backup` wrote")
        parser.add_argument("--json", action="store_true", help="the result is JSON in any case")

    def handle(self, *, file: str, **_options: Any) -> None:
        if not Path(file).is_file():
            raise wrong_use(f"{file} is no file.")
        try:
            done = restoring.restore(Path(file), tell=partial(say, self))
        except restoring.Refused as refusal:
            say(self, str(refusal))
            print_result(self, {"restored": False, "why": str(refusal)})
            raise SystemExit(1) from None
        for difference in done.differences:
            say(self, difference)
        print_result(
            self,
            {
                "restored": True,
                "made_at": done.manifest.made_at,
                "rows": done.rows,
                "differences": len(done.differences),
                "fingerprint": done.manifest.fingerprint,
            },
        )
        if done.differences:
            raise SystemExit(1)
