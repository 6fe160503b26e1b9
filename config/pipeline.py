"""The flow, in order: start reading here. Inbox → mirror → engine → ledger → outbox → channels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from django.db import transaction
from django.utils import timezone

from billing import inbox, mirror
from billing import selectors as billing
from billing.models import EventState, StripeEvent
from crm import assessing, matching, outbox
from crm.channels import CHANNELS
from mrr import ledger

log = structlog.get_logger(__name__)

BATCH_EVENTS = 400
BATCH_CUSTOMERS = 50


@dataclass(frozen=True, slots=True)
class Drained:
    """What a drain did: events taken, ledger entries added, messages settled, rows parked."""

    events: int = 0
    entries: int = 0
    messages: int = 0
    parked: int = 0

    def __add__(self, other: Drained) -> Drained:
        return Drained(
            self.events + other.events,
            self.entries + other.entries,
            self.messages + other.messages,
            self.parked + other.parked,
        )

    def __bool__(self) -> bool:
        return bool(self.events or self.messages)


def drain_all(*, now: datetime | None = None) -> Drained:
    """Do one batch of every stage."""
    return drain_inbox(now=now) + drain_outbox(now=now)


def drain_inbox(*, now: datetime | None = None) -> Drained:
    """Take one batch of due Stripe events from the inbox to the outbox, grouped by customer."""
    now = now or timezone.now()
    done = Drained()
    events = inbox.claim_batch(limit=BATCH_EVENTS, now=now)
    for chunk in _by_customers(events):
        try:
            done += advance(chunk, now=now)
        except Exception as error:
            log.warning("batch failed", events=len(chunk), error=type(error).__name__)
            done += _one_by_one(chunk, error, now=now)
    return done


def advance(events: Sequence[StripeEvent], *, now: datetime) -> Drained:
    """Bring the customers of these events up to date, all of them or none: one transaction, no call to the outside."""
    with transaction.atomic():
        applied = mirror.apply(events, now=now)
        entries = ledger.post(billing.histories(sorted(applied.changed)), now=now) if applied.changed else []
        matching.match_customers(applied.touched, now=now)
        assessing.assess(applied.touched, now=now)
        outbox.owe_for(entries, applied.touched, now=now)
        inbox.mark(applied.outcomes, now=now)
    parked = sum(outcome.state == EventState.PARKED for outcome in applied.outcomes.values())
    return Drained(events=len(events), entries=len(entries), parked=parked)


def drain_outbox(*, now: datetime | None = None) -> Drained:
    """Send what is due, each channel packing its work as it can."""
    now = now or timezone.now()
    matching.ask_for_named(now=now)
    settled = outbox.send_due(CHANNELS, now=now)
    return Drained(messages=settled.total, parked=settled.parked)


def _by_customers(events: Iterable[StripeEvent]) -> Iterator[list[StripeEvent]]:
    """Cut a batch into transactions of at most 50 customers, in an order that is the same for every worker."""
    groups = _groups(events)
    keys = sorted(groups)
    for start in range(0, len(keys), BATCH_CUSTOMERS):
        yield [event for key in keys[start : start + BATCH_CUSTOMERS] for event in groups[key]]


def _one_by_one(events: Sequence[StripeEvent], error: Exception, *, now: datetime) -> Drained:
    """Redo a failed batch customer by customer, then event by event, so that only the bad event waits or is parked."""
    if len(events) == 1:
        return Drained(events=1, parked=inbox.release([events[0].pk], error, now=now))
    groups = list(_groups(events).values())
    done = Drained()
    for part in groups if len(groups) > 1 else [[event] for event in events]:
        try:
            done += advance(part, now=now)
        except Exception as failure:
            done += _one_by_one(part, failure, now=now)
    return done


def _groups(events: Iterable[StripeEvent]) -> dict[tuple[int, str], list[StripeEvent]]:
    groups: dict[tuple[int, str], list[StripeEvent]] = {}
    for event in events:
        groups.setdefault((event.source_id, event.customer_id), []).append(event)
    return groups
