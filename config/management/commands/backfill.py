"""Read a source's objects and recent events from Stripe's API into the mirror and the ledger."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.core.management.base import BaseCommand
from django.utils import timezone

from billing import backfill
from billing import selectors as billing
from billing.commands import print_result, say, wrong_use
from billing.models import Listing, ListingState, StripeSource
from billing.progress import Counters, counters
from billing.selectors import ListingRow
from config import pipeline

LOOK_SECONDS: Final = 0.5


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
        started = time.monotonic()
        with counters("Reading Stripe") as shown:
            self._list(listing, shown)
            read = time.monotonic()
            entries = self._post(listing, shown)
        seconds = {
            "reading_seconds": round(read - started, 3),
            "posting_seconds": round(time.monotonic() - read, 3),
        }
        row = billing.listing_row(listing.pk)
        if row.code:
            say(self, f"Stopped ({row.code}): {row.error}")
        print_result(self, _result(row) | {"entries": entries} | seconds)
        if not row.is_complete and not dry_run:
            sys.exit(1)

    def _list(self, listing: Listing, shown: Counters) -> None:
        """Read until the lists are read or nothing more can be done here; a worker may be at it already."""
        told_at = 0.0

        def tell(_listing: Listing) -> None:
            nonlocal told_at
            if time.monotonic() - told_at > LOOK_SECONDS:
                told_at = time.monotonic()
                shown({part.name: part.listed for part in billing.listing_row(listing.pk).parts})

        while True:
            listing.refresh_from_db()
            if listing.state != ListingState.LISTING:
                return
            if listing.due_at > timezone.now() or not backfill.carry_on(listing, tell=tell):
                time.sleep(LOOK_SECONDS)
            tell(listing)

    def _post(self, listing: Listing, shown: Counters) -> int:
        """Bring the ledger in step: recent events first, then everybody the lists told of."""
        entries, posted = 0, 0
        while drained := pipeline.drain_inbox():
            entries += drained.entries
            posted += drained.events
            shown({"events processed": posted})
        posted = 0
        while drained := pipeline.drain_unposted():
            entries += drained.entries
            posted += drained.reposted
            shown({"customers posted": posted})
        return entries


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


def _result(row: ListingRow) -> dict[str, Any]:
    left_out = ("name", "left", "error")
    parts = {part.name: {k: v for k, v in asdict(part).items() if k not in left_out} for part in row.parts}
    return {
        "state": row.state,
        "complete": row.is_complete,
        "listed": row.listed,
        "kept": row.kept,
        "differing": row.differing,
        "calls": row.calls,
        "lists": parts,
    }
