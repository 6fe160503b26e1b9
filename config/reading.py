"""Takes a reading of Stripe's lists to its end in this process: lists, the events they brought, postings, the count."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from django.utils import timezone

from billing import backfill
from billing import selectors as billing
from billing.models import Listing, ListingState
from billing.selectors import ListingRow
from config import pipeline, recounting

LOOK_SECONDS: Final = 0.5

Tell = Callable[[Mapping[str, int]], None]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reading came to: the listing, how many entries it led to, and how long each half took."""

    row: ListingRow
    entries: int
    reading_seconds: float
    posting_seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return it for a command's last line."""
        left_out = ("name", "left", "error")
        row = self.row
        return {
            "state": row.state,
            "complete": row.is_complete,
            "listed": row.listed,
            "kept": row.kept,
            "differing": row.differing,
            "calls": row.calls,
            "lists": {
                part.name: {name: value for name, value in asdict(part).items() if name not in left_out}
                for part in row.parts
            },
            "entries": self.entries,
            "reading_seconds": self.reading_seconds,
            "posting_seconds": self.posting_seconds,
        }


def read(listing: Listing, *, tell: Tell = lambda counts: None) -> Reading:
    """Read a listing on to its end, beside workers or without any; `tell` is given counts by name as it goes."""
    started = time.monotonic()
    _read_lists(listing, tell)
    read_at = time.monotonic()
    entries = _post(tell)
    row = billing.listing_row(listing.pk)
    return Reading(row, entries, round(read_at - started, 3), round(time.monotonic() - read_at, 3))


def _read_lists(listing: Listing, tell: Tell) -> None:
    """Read until the lists are read or nothing more can be done here; a worker may be at it already."""
    told_at = 0.0

    def show(_listing: Listing) -> None:
        nonlocal told_at
        if time.monotonic() - told_at > LOOK_SECONDS:
            told_at = time.monotonic()
            tell({part.name: part.listed for part in billing.listing_row(listing.pk).parts})

    while True:
        listing.refresh_from_db()
        if listing.state != ListingState.LISTING:
            return
        if listing.due_at > timezone.now() or not backfill.carry_on(listing, tell=show):
            time.sleep(LOOK_SECONDS)
        show(listing)


def _post(tell: Tell) -> int:
    """Bring the ledger in step: recent events first, then everybody the lists told of."""
    entries = events = customers = counted = 0
    while drained := pipeline.drain_inbox():
        entries += drained.entries
        events += drained.events
        tell({"events processed": events})
    while drained := pipeline.drain_unposted():
        entries += drained.entries
        customers += drained.reposted
        tell({"customers posted": customers})
    while found := recounting.count_some(now=timezone.now()):
        counted += found
        tell({"customers counted": counted})
    return entries
