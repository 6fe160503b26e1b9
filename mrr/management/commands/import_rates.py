"""Import exchange rates."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from datetime import date
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from mrr import ecb, fx, rate_files
from mrr.days import day_of

NAMED = 100  # bad rows told one by one; the rest is counted
ECB_YEARS = 5


class Command(BaseCommand):
    help = (
        "Import exchange rates from a CSV file with the columns day,currency,rate: so many units of the reporting "
        "currency for one unit of that currency. A bad row is named by line and reason, and nothing is applied unless "
        "all rows are good or --skip-bad is given; bad rows end with exit code 1 either way. Rates of closed months "
        "stay as they were closed. --ecb takes the European Central Bank's table instead; of one day, a rate of yours "
        "counts before the bank's."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", nargs="?", help="a .csv file; - reads standard input")
        parser.add_argument("--skip-bad", action="store_true", help="apply the good rows and leave out the bad ones")
        parser.add_argument("--ecb", action="store_true", help="the central bank's table, as it ships with a library")
        parser.add_argument("--online", action="store_true", help="with --ecb: fetch the bank's table of today")
        parser.add_argument(
            "--since", type=date.fromisoformat, metavar="DATE", help=f"with --ecb: from this day; {ECB_YEARS} years"
        )
        parser.add_argument("--json", action="store_true", help="the result is JSON in any case")

    def handle(
        self,
        *,
        file: str | None,
        skip_bad: bool,
        ecb: bool,
        online: bool,
        since: date | None,
        **_options: Any,
    ) -> None:
        today = day_of(timezone.now())
        if ecb == bool(file):
            raise CommandError("Give a file, or --ecb.", returncode=2)
        if not ecb and (online or since):
            raise CommandError("--online and --since go with --ecb.", returncode=2)
        fx.keep_up(today)
        if ecb:
            read, bad = self._bank(since or date(today.year - ECB_YEARS, 1, 1), online=online), 0
            rows = len(read)
        else:
            found = self._file(file or "", today=today)
            read, bad, rows = list(found.quotes), len(found.bad), found.rows
            if bad and not skip_bad:
                self.stderr.write("Nothing was applied. Mend these rows, or leave them out with --skip-bad.")
                read = []
        stored = fx.store(read)
        result = {
            "read": rows,
            "added": stored.added,
            "changed": stored.changed,
            "already": stored.already,
            "bad": bad,
            "months": stored.months,
            "newest": max((quote.day.isoformat() for quote in read), default=None),
        }
        self.stdout.write(json.dumps(result))
        if bad:
            sys.exit(1)

    def _file(self, name: str, *, today: date) -> rate_files.Read:
        try:
            text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8-sig")
        except OSError as error:
            raise CommandError(f"{name} cannot be read: {error.strerror}.", returncode=2) from None
        except UnicodeDecodeError:
            raise CommandError(f"{name} is not text in UTF-8.", returncode=2) from None
        try:
            found = rate_files.read(text.splitlines(), reporting=settings.REPORTING_CURRENCY, today=today)
        except rate_files.WrongColumns as error:
            raise CommandError(str(error), returncode=2) from None
        for row in found.bad[:NAMED]:
            self.stderr.write(f"Line {row.line}: {row.reason}")
        if len(found.bad) > NAMED:
            self.stderr.write(f"{len(found.bad) - NAMED} more rows are bad.")
        return found

    def _bank(self, since: date, *, online: bool) -> list[Any]:
        try:
            return list(ecb.online(since=since) if online else ecb.shipped(since=since))
        except ecb.Unreachable as error:
            raise CommandError(str(error)) from None
