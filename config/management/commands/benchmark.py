"""Measure the product on this machine. Figures are ratios within one run and processor time an event."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from rich.console import Console
from rich.table import Table


class Command(BaseCommand):
    help = "webhook: acknowledging an event beside a bare view. pipeline: all of an event, from delivery to owed work."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", choices=["webhook", "pipeline"])
        parser.add_argument("--events", type=int, default=2000, help="events a side and loop")
        parser.add_argument("--rate", type=float, default=200.0, help="webhook: events a second of the open loop")
        parser.add_argument("--connections", type=int, default=8, help="connections of the closed loop")
        parser.add_argument("--rounds", type=int, default=3, help="webhook: turns each side takes")
        parser.add_argument("--json", action="store_true", help="the result is JSON in any case")

    def handle(self, *, name: str, events: int, rate: float, connections: int, rounds: int, **_options: Any) -> None:
        if name == "webhook":
            from config.benchmarks import webhook

            result = webhook.run(
                events=events, rate=rate, connections=connections, rounds=rounds, tell=self.stderr.write
            )
            self._table("Acknowledging an event", result["sides"])
            self.stderr.write(f"product ÷ bare view: {result['ratios']}")
        else:
            from config.benchmarks import pipeline

            result = pipeline.run(events=events, connections=connections, tell=self.stderr.write)
            self._table("Processor time, ms an event", [result["processor_ms_an_event"]])
        self.stdout.write(json.dumps(result))

    def _table(self, title: str, rows: Any) -> None:
        table = Table(title=title)
        for column in rows[0]:
            table.add_column(column.replace("_", " "))
        for row in rows:
            table.add_row(*(str(value) for value in row.values()))
        Console(stderr=True, width=160).print(table)
