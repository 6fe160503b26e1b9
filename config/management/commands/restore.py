"""Put a backup back."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from billing.commands import print_result, say, wrong_use
from config import forgetting, pipeline
from config.backups import catching_up, restoring
from config.backups.catching_up import Standing


class Command(BaseCommand):
    help = (
        "Put a backup into an empty database (DATABASE_URL; SQLite or PostgreSQL, whichever it was made of), prove it, "
        "and bring it up to now: whom we were asked to forget is forgotten again (DATA_DIR/forgotten.jsonl), what "
        "Stripe told since is read again, and nothing is written to Salesforce before "
        "both were compared. Refused, with nothing changed: a database with rows, a backup of a newer version, a field "
        "key that is missing, a file that is not whole. Stop serve before. Exit 1 when refused, when the check found a "
        "difference, or while something is still to be done: waits_for says what."
    )
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="what `backup` wrote")
        parser.add_argument(
            "--no-catch-up", action="store_true", help="leave reading Stripe and comparing to the workers of serve"
        )
        parser.add_argument(
            "--nothing-since",
            action="store_true",
            help="nothing has happened since the backup, as when a database is moved: do not catch up",
        )
        parser.add_argument("--json", action="store_true", help="the result is JSON in any case")

    def handle(self, *, file: str, no_catch_up: bool, nothing_since: bool, **_options: Any) -> None:
        if not Path(file).is_file():
            raise wrong_use(f"{file} is no file.")
        try:
            done = restoring.restore(Path(file), tell=partial(say, self))
        except restoring.Refused as refusal:
            say(self, str(refusal))
            print_result(self, {"restored": False, "why": str(refusal)})
            raise SystemExit(1) from None
        for difference in done.differences:
            say(self, difference)
        standing, forgotten = Standing(), 0
        if nothing_since:
            catching_up.reopen()
        else:
            forgotten = forgetting.reapply(now=timezone.now(), tell=partial(say, self))
            catching_up.begin(datetime.fromisoformat(done.manifest.made_at), now=timezone.now())
            standing = self._catch_up(is_left=no_catch_up)
        print_result(
            self,
            {
                "restored": True,
                "made_at": done.manifest.made_at,
                "rows": done.rows,
                "differences": len(done.differences),
                "fingerprint": done.manifest.fingerprint,
                "forgotten_again": forgotten,
                "waits_for": list(standing.waits_for),
                "salesforce_held": standing.is_held,
            },
        )
        if done.differences or (standing.waits_for and not no_catch_up):
            raise SystemExit(1)

    def _catch_up(self, *, is_left: bool) -> Standing:
        """Read what Stripe told since and work it off, until nothing is due now; what waits longer is the workers'."""
        if not is_left:
            say(self, "Reading what Stripe told since")
            while pipeline.drain_all():
                pass
        standing = catching_up.finish(now=timezone.now())
        for reason in standing.waits_for:
            say(self, reason)
        return standing
