"""Move to another database."""

from __future__ import annotations

from argparse import ArgumentParser
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from billing.commands import HOW_TO_GIVE, print_result, read_secret, say
from config.backups import moving


class Command(BaseCommand):
    help = (
        "Copy everything into another, empty database, as from SQLite to PostgreSQL, and prove it there: every row, "
        "the append-only rules, the chain and the fingerprint. Stop serve before. Whole or not at all; this database "
        "stays as it is. Then set DATABASE_URL, SECRET_KEY and FIELD_ENCRYPTION_KEYS, and start serve. Exit 1 when the "
        "new database is not to be used."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--to", required=True, metavar="URL", help=f"its DATABASE_URL; {HOW_TO_GIVE}")
        parser.add_argument("--json", action="store_true", help="the result is JSON in any case")

    def handle(self, *, to: str, **_options: Any) -> None:
        url = read_secret(self, to, option="--to")
        try:
            moved = moving.move(url, now=timezone.now(), tell=partial(say, self))
        except moving.NotMoved as error:
            say(self, str(error))
            print_result(self, {"moved": False, "why": str(error)})
            raise SystemExit(1) from None
        say(
            self,
            "All is there. Set DATABASE_URL to it, SECRET_KEY and FIELD_ENCRYPTION_KEYS as before "
            "(data/secret_key and data/field_key where they were made there), and start serve. Keep this "
            "database until you are sure.",
        )
        print_result(self, {"moved": True, "rows": moved.rows, "fingerprint": moved.fingerprint})
