"""Put a metric policy in force: a new version, every customer replayed under it, the entries that change printed."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from config import repricing
from config.repricing import Change
from mrr import people, policies
from mrr.engine.money import major_exact
from mrr.engine.policy import PRESETS, MetricPolicy, PolicyError, differences

WRONG_USE = 2


class Command(BaseCommand):
    help = (
        "Add a version of the metric policy and replay every customer under it. What no longer holds is reversed, what "
        "is missing is posted, what still holds stays as it is; closed months keep their figures, and nobody is told. "
        "Prints the entries that change, as JSON what came of it. Stopped half way it goes on where it was, when it is "
        "called again or by the workers."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("rules", nargs="*", metavar="KEY=VALUE", help="such as discounts=none churn_at=request")
        parser.add_argument("--preset", default="", metavar="NAME", help=f"start from one of: {', '.join(PRESETS)}")
        parser.add_argument("--user", required=True, metavar="U", help="who changes it: role finance or admin")
        parser.add_argument("--dry-run", action="store_true", help="print what would change and write nothing")
        parser.add_argument("--json", action="store_true", help="the last line is JSON in any case; no list of entries")

    def handle(self, *, rules: list[str], preset: str, user: str, dry_run: bool, **options: Any) -> None:
        self.is_terse = options["json"]
        who = _may_change(user)
        try:
            policy = policies.chosen(rules, preset=preset)
        except PolicyError as error:
            raise CommandError(str(error), returncode=WRONG_USE) from None
        before = policies.current()
        changed = differences(before, policy)
        for key, (old, new) in changed.items():
            self.stderr.write(f"{key}: {old} → {new}")
        if not changed and repricing.unfinished() is None:
            self.stderr.write(f"Version {before.version} in force has these settings already.")
        result = self._preview(policy) if dry_run else self._change(policy, preset, who)
        self.stdout.write(
            json.dumps({"version": policies.current().version, "preset": preset or None, "changed": changed} | result)
        )
        if result.get("failed"):
            sys.exit(1)

    def _preview(self, policy: MetricPolicy) -> dict[str, Any]:
        posted = reversals = 0
        for change in repricing.preview(policy, now=timezone.now(), progress=self._progress):
            posted, reversals = posted + (not change.is_reversal), reversals + change.is_reversal
            self._write(change)
        return {"dry_run": True, "posted": posted, "reversed": reversals}

    def _change(self, policy: MetricPolicy, preset: str, user: str) -> dict[str, Any]:
        repricing.put_in_force(policy, preset=preset, user=user, now=timezone.now())
        done = repricing.carry_on(tell=self._write, progress=self._progress)
        if done is None:
            return {"dry_run": False, "customers": 0, "posted": 0, "reversed": 0, "failed": []}
        return {
            "dry_run": False,
            "customers": done.customers,
            "posted": done.posted,
            "reversed": done.reversed,
            "failed": done.failed,
            "finished": done.finished_at is not None,
        }

    def _write(self, change: Change) -> None:
        if not self.is_terse:
            sign = "−" if change.is_reversal else "+"
            amount = f"{major_exact(change.micros, change.currency)} {change.currency.upper()}"
            day = f"{change.effective_at:%Y-%m-%d}"
            self.stdout.write(f"{sign} {change.customer_id} {day} {change.type} {amount} ({change.reason})")

    def _progress(self, done: int, of: int) -> None:
        self.stderr.write(f"{done} of {of} customers")


def _may_change(username: str) -> str:
    """Return the name of a user that may change the policy; raises CommandError for another."""
    user = people.named(username)
    if user is None:
        raise CommandError(f"There is no active user '{username}'.", returncode=WRONG_USE)
    if not people.may_keep_books(user):
        raise CommandError(
            f"{username} may not change the policy: it takes role finance or admin.", returncode=WRONG_USE
        )
    return str(user.get_username())
