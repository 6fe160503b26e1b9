"""Run the pipeline in this process."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from config import pipeline


class Command(BaseCommand):
    help = "Take due events to the ledger and due work to its channel. Needs no worker and may run beside some."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--until-empty", action="store_true", help="repeat until nothing is due now")
        parser.add_argument("--json", action="store_true", help="the result is JSON in any case")

    def handle(self, *, until_empty: bool, **_options: Any) -> None:
        started = time.monotonic()
        done = pipeline.drain_all()
        while until_empty and (more := pipeline.drain_all()):
            done += more
        self.stdout.write(
            json.dumps(
                {
                    "events": done.events,
                    "entries": done.entries,
                    "messages": done.messages,
                    "fetches": done.fetched,
                    "parked": done.parked,
                    "seconds": round(time.monotonic() - started, 3),
                }
            )
        )
