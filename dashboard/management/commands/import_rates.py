"""Import exchange rates."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from dashboard.imports import command
from dashboard.imports.rates import RATES
from mrr import ecb, fx
from mrr.days import day_of

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
        now = timezone.now()
        today = day_of(now)
        if ecb == bool(file):
            raise CommandError("Give a file, or --ecb.", returncode=2)
        if not ecb and (online or since):
            raise CommandError("--online and --since go with --ecb.", returncode=2)
        fx.keep_up(today)
        if not ecb:
            result = command.run(self, RATES, file or "", skips_bad=skip_bad, now=now)
            self.stdout.write(json.dumps(result))
            if result["bad"]:
                sys.exit(1)
            return
        read = self._bank(since or date(today.year - ECB_YEARS, 1, 1), online=online)
        stored = fx.store(read)
        told = {
            "read": len(read),
            "added": stored.added,
            "changed": stored.changed,
            "already": stored.already,
            "bad": 0,
            "months": stored.months,
            "newest": max((quote.day.isoformat() for quote in read), default=None),
        }
        self.stdout.write(json.dumps(told))

    def _bank(self, since: date, *, online: bool) -> list[Any]:
        try:
            return list(ecb.online(since=since) if online else ecb.shipped(since=since))
        except ecb.Unreachable as error:
            raise CommandError(str(error)) from None
