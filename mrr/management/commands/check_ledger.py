"""Recount every customer from its events and compare with the ledger, the balances and the roll-ups."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from mrr import check


class Command(BaseCommand):
    help = "Recompute every customer and compare with what is posted. Exit 1 when anything differs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--repair", action="store_true", help="post what is missing, reverse what does not hold")
        parser.add_argument("--as-of", type=_moment, help="fix the clock (ISO 8601), for equal fingerprints")
        parser.add_argument("--json", action="store_true", help="the result is JSON in any case")

    def handle(self, *, repair: bool, as_of: datetime | None, **_options: Any) -> None:
        result = check.check(now=as_of or timezone.now(), as_of=as_of, repair=repair, tell=self._tell)
        self.stdout.write(json.dumps(result.as_json()))
        if result.differences and not repair:
            sys.exit(1)

    def _tell(self, difference: str) -> None:
        self.stderr.write(difference)


def _moment(text: str) -> datetime:
    found = parse_datetime(text)
    if found is None:
        raise ValueError(text)
    return found if found.tzinfo else found.replace(tzinfo=timezone.get_default_timezone())
