"""Read a source's objects and recent events from Stripe's API into the mirror and the ledger."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from billing import backfill
from billing.commands import print_result, say, wrong_use
from billing.models import StripeSource
from billing.progress import counters
from config import reading


class Command(BaseCommand):
    help = (
        "Read products, prices, coupons, schedules, customers and subscriptions (all of them), what belongs to its "
        "time (invoices, charges, refunds, disputes, payouts) and events from Stripe's lists, within Stripe's limits. "
        "It goes on where an earlier one stopped, however that ended. Events are kept as if delivered; nobody is told "
        "of what is learnt. Prints what was listed, kept and differing for each list; exit 1 when a list could not be "
        "read, or not all of it is kept."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slug", help="the source")
        reach = parser.add_mutually_exclusive_group()
        reach.add_argument("--days", type=int, help="how far back what belongs to its time is read (30)")
        reach.add_argument("--since", help="the same, as a date: YYYY-MM-DD, UTC")
        reach.add_argument("--full-history", action="store_true", help="read all objects from the account's start")
        parser.add_argument("--dry-run", action="store_true", help="list and compare; change nothing")
        parser.add_argument("--json", action="store_true", help="the result is JSON in any case")

    def handle(
        self, *, slug: str, days: int | None, since: str | None, full_history: bool, dry_run: bool, **_options: Any
    ) -> None:
        source = StripeSource.objects.filter(slug=slug).first()
        if source is None:
            raise wrong_use(f"There is no source '{slug}'. Add it with add_source.")
        now = timezone.now()
        begin = _begin(days, since, now)
        listing = backfill.start(source.pk, by="command", since=begin, is_full=full_history, is_dry=dry_run, now=now)
        if listing.started_at != now:
            say(self, f"Going on with the one begun at {listing.started_at:%Y-%m-%d %H:%M} UTC, with its own reach.")
        with counters("Reading Stripe") as shown:
            found = reading.read(listing, tell=shown)
        if found.row.code:
            say(self, f"Stopped ({found.row.code}): {found.row.error}")
        print_result(self, found.as_json())
        if not found.row.is_complete and not dry_run:
            sys.exit(1)


def _begin(days: int | None, since: str | None, now: datetime) -> datetime | None:
    if days is not None:
        if days < 1:
            raise wrong_use("--days: at least 1.")
        return now - timedelta(days=days)
    if since is None:
        return None
    try:
        begin = datetime.strptime(since, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise wrong_use(f"--since: {since!r} is no date such as 2026-01-31.") from None
    if begin > now:
        raise wrong_use("--since: that day is still to come.")
    return begin
