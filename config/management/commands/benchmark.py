"""Measure the product on this machine. Figures are ratios within one run and processor time an event."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from rich.console import Console
from rich.table import Table


class Command(BaseCommand):
    help = (
        "webhook: acknowledging an event beside a bare view. pipeline: all of an event, from delivery to owed work. "
        "simulate-ledger: made-up histories, delivered in any order, must end in the same books. "
        "rebuild: the whole ledger recomputed from many events. "
        "salesforce: from events to confirmed records, and the calls they take, with 200 ms of latency in the org. "
        "backfill: reading a Stripe account by its lists, with 100 ms of latency and 100 calls a second. "
        "matching: weighing unmatched customers against a large org, and opening the queue of them."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "name", choices=["webhook", "pipeline", "simulate-ledger", "rebuild", "salesforce", "backfill", "matching"]
        )
        parser.add_argument("--events", type=int, help="events a side and loop (2,000); rebuild: in all (1,000,000)")
        parser.add_argument("--rate", type=float, help="events a second of the open loop: webhook 200, salesforce 5")
        parser.add_argument("--seconds", type=int, default=600, help="salesforce: how long the steady rate lasts")
        parser.add_argument("--connections", type=int, default=8, help="connections of the closed loop")
        parser.add_argument("--rounds", type=int, default=3, help="webhook: turns each side takes")
        parser.add_argument("--histories", type=int, default=50_000, help="simulate-ledger: how many by the engine")
        parser.add_argument("--pipeline", type=int, default=1_000, help="simulate-ledger: how many of them through it")
        parser.add_argument("--seed", type=int, default=1_000_000, help="simulate-ledger: of the first history")
        parser.add_argument("--subscriptions", type=int, default=100_000, help="rebuild: that the events are of")
        parser.add_argument("--objects", type=int, default=30_000, help="backfill: that the account holds")
        parser.add_argument("--accounts", type=int, default=100_000, help="matching: in the org")
        parser.add_argument("--customers", type=int, default=20_000, help="matching: that wait for one of them")
        parser.add_argument("--json", action="store_true", help="the result is JSON in any case")

    def handle(self, *, name: str, **options: Any) -> None:
        result = getattr(self, f"_{name.replace('-', '_')}")(**options)
        self.stdout.write(json.dumps(result))
        if result.get("failures"):
            raise SystemExit(1)

    def _webhook(
        self, *, events: int | None, rate: float | None, connections: int, rounds: int, **_options: Any
    ) -> dict[str, Any]:
        from config.benchmarks import webhook

        tell = self.stderr.write
        result = webhook.run(
            events=events or 2000, rate=rate or 200.0, connections=connections, rounds=rounds, tell=tell
        )
        self._table("Acknowledging an event", result["sides"])
        tell(f"product ÷ bare view: {result['ratios']}")
        return result

    def _pipeline(self, *, events: int | None, connections: int, **_options: Any) -> dict[str, Any]:
        from config.benchmarks import pipeline

        result: dict[str, Any] = pipeline.run(events=events or 2000, connections=connections, tell=self.stderr.write)
        self._table("Processor time, ms an event", [result["processor_ms_an_event"]])
        return result

    def _salesforce(self, *, events: int | None, rate: float | None, seconds: int, **_options: Any) -> dict[str, Any]:
        from config.benchmarks import salesforce

        result: dict[str, Any] = salesforce.run(
            events=events or 2000, rate=rate or 5.0, seconds=seconds, tell=self.stderr.write
        )
        self._table("All at once", [result["at_once"]])
        self._table("From webhook to Salesforce's answer", [result["steady"]])
        return result

    def _backfill(self, *, objects: int, **_options: Any) -> dict[str, Any]:
        from config.benchmarks import backfill

        result = backfill.run(objects=objects, tell=self.stderr.write)
        self._table("Reading an account", [result["first"], result["again"]])
        return result

    def _matching(self, *, accounts: int, customers: int, **_options: Any) -> dict[str, Any]:
        from config.benchmarks import matching

        result = matching.run(accounts=accounts, customers=customers, tell=self.stderr.write)
        self._table("Weighing customers", [result["weighed"]])
        self._table("Opening the queue", [result["queue"]])
        return result

    def _simulate_ledger(self, *, histories: int, pipeline: int, seed: int, **_options: Any) -> dict[str, Any]:
        from config.benchmarks import simulate

        return simulate.run(count=histories, through_pipeline=pipeline, seed=seed, tell=self.stderr.write)

    def _rebuild(self, *, events: int | None, subscriptions: int, **_options: Any) -> dict[str, Any]:
        from config.benchmarks import rebuild

        result = rebuild.run(events=events or 1_000_000, subscriptions=subscriptions, tell=self.stderr.write)
        shown = {name: value for name, value in result["rebuild"].items() if name not in ("fingerprint", "peak_mib")}
        self._table("Recomputing all of the ledger", [shown | result["rebuild"]["peak_mib"]])
        return result

    def _table(self, title: str, rows: Any) -> None:
        table = Table(title=title)
        for column in rows[0]:
            table.add_column(column.replace("_", " "))
        for row in rows:
            table.add_row(*(str(value) for value in row.values()))
        Console(stderr=True, width=160).print(table)
