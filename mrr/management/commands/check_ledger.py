"""Recount every customer from its events, and prove hashes, chain, closed months, events and sums."""

from __future__ import annotations

import json
import os
import sys
import time
from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from mrr import check, seals


class Command(BaseCommand):
    help = (
        "Recompute every customer and compare with what is posted; check the hash of each entry and event, the chain "
        "of seals, the closed months and the sums. Exit 1 when anything differs, with one line each."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--repair",
            action="store_true",
            help="post what is missing, reverse what does not hold, sum anew; what is written is never changed",
        )
        parser.add_argument("--as-of", type=_moment, help="fix the clock (ISO 8601), for equal fingerprints")
        parser.add_argument(
            "--processes", type=int, default=len(os.sched_getaffinity(0)), help="that recount customers side by side"
        )
        parser.add_argument("--json", action="store_true", help="the result is JSON in any case")

    def handle(self, *, repair: bool, as_of: datetime | None, processes: int, **_options: Any) -> None:
        progress = _Progress(self.stderr) if sys.stderr.isatty() else lambda part, done: None
        result = check.check(
            now=as_of or timezone.now(),
            as_of=as_of,
            repair=repair,
            tell=self._tell,
            progress=progress,
            processes=processes,
        )
        head = seals.head()
        self.stdout.write(json.dumps({**result.as_json(), "seal": {"number": head.number, "sha256": head.digest}}))
        if result.differences and not repair:
            sys.exit(1)

    def _tell(self, difference: str) -> None:
        self.stderr.write(difference)


class _Progress:
    """Says where a long check is, every two seconds."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._told_at = time.monotonic()

    def __call__(self, part: str, done: int) -> None:
        if time.monotonic() - self._told_at >= 2:
            self._told_at = time.monotonic()
            self._stream.write(f"checking {part}: through row {done}")


def _moment(text: str) -> datetime:
    found = parse_datetime(text)
    if found is None:
        raise ValueError(text)
    return found if found.tzinfo else found.replace(tzinfo=timezone.get_default_timezone())
