"""Close a month: from then on nothing is booked in it."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from datetime import date, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from mrr import close, people, selectors
from mrr.models import BookAction

WRONG_USE = 2
BUSY = {"waiting", "clock"}  # what workers clear by themselves


class Command(BaseCommand):
    help = (
        "Close a month, such as 2026-03, once it has ended, the grouping window has passed and nothing received is "
        "waiting. Months are closed in order, by people of the roles finance and admin. What is learned about it later "
        "is booked in the first open month as an adjustment. Exit 1, with the reason, when it cannot be closed now."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("month", type=month, metavar="YYYY-MM")
        parser.add_argument("--user", required=True, help="who closes it")
        parser.add_argument(
            "--wait",
            type=int,
            default=5,
            metavar="SECONDS",
            help="how long workers have to finish what is received (default 5)",
        )
        parser.add_argument("--json", action="store_true", help="the result is JSON in any case")

    def handle(self, *, month: date, user: str, wait: int, **_options: Any) -> None:
        who = named(user)
        until = time.monotonic() + wait
        while True:
            try:
                action = close.close(month, user=who, now=timezone.now())
                break
            except close.Refused as refused:
                if refused.code not in BUSY or time.monotonic() >= until:
                    raise CommandError(str(refused)) from None
                time.sleep(0.2)
        carried = selectors.carried(month)
        for one in carried:
            self.stderr.write(
                f"{month:%Y-%m} carries {one.entries} entries about {one.about:%Y-%m}, which was closed: "
                f"{one.micros} micros {one.currency}"
            )
        self.stdout.write(json.dumps(as_json(action, carried)))


def as_json(action: BookAction, carried: list[selectors.Carried]) -> dict[str, Any]:
    """Return a close as the command prints it; `adjustments` are what the month carries for months closed before."""
    assert action.seal is not None
    return {
        "month": f"{action.month:%Y-%m}",
        "state": action.kind,
        "closed_at": iso(action.made_at),
        "closed_by": action.made_by.get_username(),
        "policy_version": action.policy_version,
        "entries": action.entries,
        "sha256": action.entries_digest,
        "seal": {"number": action.seal.number, "sha256": action.seal.digest},
        "figures": action.figures,
        "notes": action.notes,
        "adjustments": [
            {
                "about": f"{one.about:%Y-%m}",
                "currency": one.currency,
                "entries": one.entries,
                "amount_micros": one.micros,
            }
            for one in carried
        ],
    }


def named(username: str) -> Any:
    found = people.named(username)
    if found is None:
        raise CommandError(f"There is no active user {username}.", returncode=WRONG_USE)
    return found


def month(text: str) -> date:
    """Read `2026-03` as its first day."""
    return datetime.strptime(text, "%Y-%m").date()  # noqa: DTZ007  # a month has no zone


def iso(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
