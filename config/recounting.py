"""The last part of a nightly recount: MRR of every customer from what Stripe says now, against the ledger."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from billing import listings
from billing import selectors as billing
from config import pipeline
from mrr import recount

SLICE: Final = 200


def count_some(*, now: datetime) -> int:
    """Count the next slice of customers of a recount whose lists are read; return how many, 0 when none is to be.

    Whose MRR differs is posted anew; both figures are named, and whether that repaired it.
    """
    listing = listings.next_to_count()
    if listing is None:
        return 0
    pks = billing.next_customer_pks(after=listing.counted_to, limit=SLICE, source_pk=listing.source_id)
    differing = recount.differences(billing.histories(pks), now=now)
    left: set[int] = set()
    if differing:
        pipeline.post_listed(sorted(differing), now=now)
        left = recount.differences(billing.histories(sorted(differing)), now=now).keys() & differing.keys()
    listings.counted(listing, pks, differing, left=left, now=now)
    return len(pks) or 1
