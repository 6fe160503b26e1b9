"""Looks for what we were not told: each hour for missed deliveries, each night for whatever else differs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Max

from billing import backfill, listings
from billing.backfill import DAYS, EARLIEST
from billing.models import Listing, ListingState, Origin, Purpose, StripeEvent, StripeSource
from billing.resources import CAUGHT_UP, EVENTS, RECOUNTED, UNDELIVERED

RETRIED: Final = timedelta(days=3)  # for so long Stripe itself tries to deliver an event
ON_ITS_WAY: Final = timedelta(minutes=5)  # what was made since may still be delivered
OVERLAP: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Gap:
    """What a restore left open at a source, and the listing that fills it."""

    source_slug: str
    listing: Listing | None

    @property
    def is_filled(self) -> bool:
        return self.listing is not None and self.listing.state == ListingState.DONE


def start(source: StripeSource, *, by: str, now: datetime) -> Listing:
    """Owe a catch-up of a source: events that Stripe could not deliver, and all events since the last one we saw.

    Events are named when they are new to us, and kept as if they had been delivered; nobody is told of them.
    """
    until = int((now - ON_ITS_WAY).timestamp())
    oldest = _oldest(source, now)
    last = _last(source.pk, Purpose.CATCH_UP)
    undelivered = max(oldest, last.watermark_at - RETRIED) if last else oldest
    spans = {
        UNDELIVERED: (int(undelivered.timestamp()), until),
        EVENTS: (int(_last_seen(source.pk, oldest=oldest).timestamp()), until),
    }
    assert set(spans) == set(CAUGHT_UP)
    return listings.add(source.pk, Purpose.CATCH_UP, spans, by=by, since=undelivered, now=now)


def start_recount(source: StripeSource, *, by: str, now: datetime) -> Listing:
    """Owe a recount of a source: every object that MRR rests on against our rows, and the events since the last one.

    What is missing or differs is named, and taken as Stripe says it now.
    """
    last = _last(source.pk, Purpose.RECOUNT)
    oldest = _oldest(source, now)
    events_from = max(oldest, last.watermark_at - OVERLAP) if last else oldest
    watermark = int((now - ON_ITS_WAY).timestamp())
    spans = dict.fromkeys(RECOUNTED, (EARLIEST, watermark))
    spans[EVENTS] = (int(events_from.timestamp()), watermark)
    return listings.add(source.pk, Purpose.RECOUNT, spans, by=by, since=events_from, now=now)


def start_gap(source: StripeSource, *, made_at: datetime, by: str, now: datetime) -> Listing:
    """Owe the events that a restored database has forgotten: all that were made since its backup of `made_at`.

    Some were made before it and delivered after: Stripe's days of trying are added. Its list of events ends after
    thirty days; for a longer gap the objects are read, too, as they stand now.
    """
    since = made_at - RETRIED
    oldest = now - timedelta(days=DAYS)
    if since < oldest:
        backfill.start(source.pk, by=by, since=since, now=now)
    spans = {EVENTS: (int(max(since, oldest).timestamp()), int(now.timestamp()))}
    return listings.add(source.pk, Purpose.RESTORED, spans, by=by, since=since, now=now)


def gaps(*, begun_from: datetime | None = None) -> list[Gap]:
    """Return how far the reading of each live source is that a restore owed last; one that cannot be asked has none.

    What an earlier restore owed does not count: `begun_from` is when this one began, if that is known.
    """
    read = Listing.objects.filter(purpose=Purpose.RESTORED)
    if begun_from is not None:
        read = read.filter(started_at__gte=begun_from)
    last = {listing.source_id: listing for listing in read.order_by("pk")}
    live = StripeSource.objects.filter(livemode=True).order_by("slug")
    return [Gap(source.slug, last.get(source.pk)) for source in live]


def sources() -> list[StripeSource]:
    """Return the sources that can be asked: those with an API key."""
    return list(StripeSource.objects.exclude(api_key="").order_by("pk"))


def _oldest(source: StripeSource, now: datetime) -> datetime:
    """What was made before we knew the source was not meant for us: a backfill brings that."""
    return max(now - timedelta(days=DAYS), source.created_at)


def _last(source_pk: int, purpose: Purpose) -> Listing | None:
    read = Listing.objects.filter(
        source_id=source_pk, purpose=purpose, state__in=(ListingState.POSTING, ListingState.COUNTING, ListingState.DONE)
    )
    return read.order_by("-watermark_at").first()


def _last_seen(source_pk: int, *, oldest: datetime) -> datetime:
    """When the last event was made that came to us by itself; what is newer may have been missed."""
    ours = StripeEvent.objects.filter(source_id=source_pk, origin=Origin.WEBHOOK)
    seen = ours.aggregate(at=Max("created_at"))["at"]
    return max(oldest, seen) if seen else oldest
