"""Feed Stripe events from a file into the inbox."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

from django.core.management.base import BaseCommand
from django.utils import timezone

from billing import envelope, inbox
from billing.commands import print_result, say, wrong_use
from billing.envelope import MAX_BODY_BYTES, Envelope
from billing.models import Origin, StripeSource
from billing.progress import bar

BATCH: Final = 200
NAMED: Final = 100  # bad lines told one by one; the rest is counted


class Command(BaseCommand):
    help = (
        "Keep events (one JSON object a line) as if they had been delivered, without a signature. They are only kept: "
        "workers, or drain, take them further. `kept` counts new events, `parked` those of them that cannot be worked "
        "on, `already` those that were there. Exit 1 when a line was rejected; the others are kept all the same."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slug", help="the source they belong to")
        parser.add_argument("file", help="a .jsonl file; - reads standard input")
        parser.add_argument("--json", action="store_true", help="the result is JSON in any case")

    def handle(self, *, slug: str, file: str, **_options: Any) -> None:
        source = StripeSource.objects.filter(slug=slug).first()
        if source is None:
            raise wrong_use(f"There is no source '{slug}'. Add it with add_source.")
        if file == "-":
            rejected = self._load(source, sys.stdin.buffer, size=None)
        else:
            path = Path(file)
            try:
                with path.open("rb") as stream:
                    rejected = self._load(source, stream, size=path.stat().st_size)
            except OSError as error:
                raise wrong_use(f"{file} cannot be read: {error.strerror}.") from None
        if rejected:
            sys.exit(1)

    def _load(self, source: StripeSource, stream: BinaryIO, *, size: int | None) -> int:
        now = timezone.now()
        done, read, rejected = inbox.Kept(), 0, 0
        with bar("Loading events", total=size) as advance:
            lines = _lines(stream)
            while batch := list(islice(lines, BATCH)):
                good: list[tuple[bytes, Envelope]] = []
                for number, line in batch:
                    read += 1
                    try:
                        good.append((line, self._read(source, line)))
                    except envelope.NotAnEvent as error:
                        rejected += 1
                        if rejected <= NAMED:
                            say(self, f"Line {number}: {error}")
                done += self._keep(source, good, now=now)
                advance(sum(len(line) + 1 for _, line in batch))
        if rejected > NAMED:
            say(self, f"{rejected - NAMED} more lines were rejected.")
        counts = {"kept": done.kept, "already": done.already, "parked": done.parked}
        print_result(self, {"read": read, **counts, "rejected": rejected})
        return rejected

    def _read(self, source: StripeSource, line: bytes) -> Envelope:
        if len(line) > MAX_BODY_BYTES:
            raise envelope.NotAnEvent("It is longer than 1 MiB.")
        return envelope.read(line, livemode=source.livemode, account_id=source.account_id)

    def _keep(self, source: StripeSource, good: list[tuple[bytes, Envelope]], *, now: datetime) -> inbox.Kept:
        return inbox.keep_read(source, good, origin=Origin.LOADED, now=now)


def _lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Numbered lines without their ends, blank ones left out; of one that is too long only its beginning."""
    number = 0
    while line := stream.readline(MAX_BODY_BYTES + 2):
        number += 1
        rest = line
        while not rest.endswith(b"\n") and rest:
            rest = stream.readline(MAX_BODY_BYTES)
        if line.strip():
            yield number, line.rstrip(b"\r\n")
