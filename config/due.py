"""How old the oldest due work is, and whether the workers beat: what health is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.core.cache import cache
from django.db.models import Min, Q, QuerySet

from billing import backfill, fetches, listings, unposted, write_back
from billing.models import EventState, StripeEvent
from crm import outbox
from crm.channels import CHANNELS
from crm.models import Message, SalesforceOrg, SyncRecord, WorkState
from mrr import selectors as mrr

BEAT_KEY = "worker-beat"
TOO_OLD_SECONDS = 120
SILENT_SECONDS = 90


@dataclass(frozen=True)
class Health:
    """Ages in seconds; None where there is nothing to be old: no due work, or no worker ever seen."""

    inbox_seconds: float | None
    outbox_seconds: float | None
    beat_seconds: float | None
    fetches_seconds: float | None = None

    @property
    def oldest_due_seconds(self) -> float:
        return max(self.inbox_seconds or 0.0, self.outbox_seconds or 0.0, self.fetches_seconds or 0.0)

    @property
    def is_young(self) -> bool:
        return self.oldest_due_seconds <= TOO_OLD_SECONDS

    @property
    def is_beating(self) -> bool:
        return self.beat_seconds is not None and self.beat_seconds <= SILENT_SECONDS

    @property
    def is_ready(self) -> bool:
        return self.is_young and self.is_beating


def health(*, now: datetime) -> Health:
    """Return the ages of the oldest due work and of the workers' last sign of life; at most six short queries."""
    return Health(
        inbox_seconds=_age(inbox_due_since(now=now), now),
        outbox_seconds=_age(outbox_due_since(now=now), now),
        beat_seconds=_age(last_beat_at(), now),
        fetches_seconds=_age(fetches.due_since(now=now), now),
    )


def inbox_due_since(*, now: datetime) -> datetime | None:
    """Return when the oldest event that could be processed now fell due, or None."""
    due = StripeEvent.objects.filter(_free(now), state=EventState.WAITING)
    return due.aggregate(since=Min("due_at"))["since"]


def outbox_due_since(*, now: datetime) -> datetime | None:
    """Return when the oldest thing we could tell the outside now fell due, or None.

    While Salesforce cannot be reached by anybody (limit reached, org down, sign-in withdrawn), or a person holds all
    writes, its records are not late.
    """
    found = [_oldest(Message.objects.filter(_free(now), state=WorkState.WAITING))]
    if SalesforceOrg.objects.filter(error_code="", held_since=None).exclude(paused_until__gt=now).exists():
        found.append(_oldest(SyncRecord.objects.filter(_free(now), state=WorkState.WAITING)))
    return min((moment for moment in found if moment), default=None)


def is_inbox_due(*, now: datetime) -> bool:
    """Say whether an event waits that could be processed now; one look into a small index."""
    return StripeEvent.objects.filter(_free(now), state=EventState.WAITING).exists()


def is_clock_due(*, now: datetime) -> bool:
    """Say whether the clock alone changes a balance now: a discount has ended, a cutoff has passed."""
    return bool(mrr.due_by_the_clock(now=now, limit=1))


def is_fetch_due(*, now: datetime) -> bool:
    """Say whether Stripe is to be asked for something or told of a match now, or somebody waits for its answer."""
    return fetches.is_due(now=now) or write_back.is_due(now=now)


def is_listing_due(*, now: datetime) -> bool:
    """Say whether a list of Stripe's is to be read on now, or whom one told of is to be posted or counted."""
    is_due = backfill.next_due(now=now) is not None or unposted.is_due(now=now)
    return is_due or listings.next_to_count() is not None


def is_outbox_due(*, now: datetime) -> bool:
    """Say whether there is something to send now."""
    return outbox.is_due(CHANNELS, now=now)


def last_beat_at() -> datetime | None:
    """Return when a background worker last showed that it takes tasks."""
    beat = cache.get(BEAT_KEY)
    return datetime.fromisoformat(beat) if beat else None


def _free(now: datetime) -> Q:
    return Q(due_at__lte=now) & (Q(leased_until__isnull=True) | Q(leased_until__lte=now))


def _oldest(due: QuerySet[SyncRecord] | QuerySet[Message]) -> datetime | None:
    return due.aggregate(since=Min("due_at"))["since"]


def _age(since: datetime | None, now: datetime) -> float | None:
    return max(0.0, (now - since).total_seconds()) if since else None
