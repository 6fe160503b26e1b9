"""The flow, in order: start reading here. Inbox → mirror → engine → ledger → outbox → channels."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.db import transaction
from django.utils import timezone

from billing import backfill, fetches, inbox, listings, mirror, owed, unposted, write_back
from billing import selectors as billing
from billing.models import EventState, Origin, StripeEvent
from billing.owed import Need
from crm import assessing, matching, outbox, payments
from crm import selectors as crm
from crm.channels import CHANNELS, salesforce
from crm.channels.salesforce import bulk, taking_back
from mrr import ledger, policies
from mrr import selectors as mrr
from mrr.engine.policy import StartsOn
from mrr.models import LedgerEntry

log = structlog.get_logger(__name__)

BATCH_EVENTS = 400
BATCH_CUSTOMERS = 50
CLOCK_RETRY = timedelta(minutes=10)
LISTING_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Drained:
    """What a drain did: events taken, entries added, messages settled, rows parked, customers posted without events,
    fetches taken up, how much was found missing, and rounds of reading Stripe's lists."""

    events: int = 0
    entries: int = 0
    messages: int = 0
    parked: int = 0
    reposted: int = 0
    fetched: int = 0
    owed: int = 0
    listed: int = 0

    def __add__(self, other: Drained) -> Drained:
        return Drained(
            self.events + other.events,
            self.entries + other.entries,
            self.messages + other.messages,
            self.parked + other.parked,
            self.reposted + other.reposted,
            self.fetched + other.fetched,
            self.owed + other.owed,
            self.listed + other.listed,
        )

    def __bool__(self) -> bool:
        return bool(self.events or self.messages or self.reposted or self.fetched or self.listed)


def drain_all(*, now: datetime | None = None) -> Drained:
    """Do one batch of every stage."""
    done = drain_listings(now=now) + drain_inbox(now=now) + drain_unposted(now=now)
    return done + drain_fetches(now=now) + drain_clock(now=now) + drain_outbox(now=now)


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
        starts_on = policies.current().starts_on
        applied = mirror.apply(events, now=now, follows_payments=starts_on is StartsOn.FIRST_PAID_INVOICE)
        entries, lacking = _post(applied.changed, applied.missing, now=now)
        matching.match_customers(applied.touched, now=now)
        at_risk = assessing.assess(applied.touched, now=now)
        outbox.owe_for(entries, applied.touched, now=now, at_risk=at_risk)
        payments.owe(_paid_live(events), now=now)
        inbox.mark(applied.outcomes, now=now)
    parked = sum(outcome.state == EventState.PARKED for outcome in applied.outcomes.values())
    return Drained(events=len(events), entries=len(entries), parked=parked, owed=lacking)


def drain_listings(*, now: datetime | None = None, seconds: float = LISTING_SECONDS) -> Drained:
    """Read Stripe's lists on for a while, if there is something to read: backfills, catch-ups, recounts."""
    listing = backfill.next_due(now=now or timezone.now())
    if listing is None:
        return Drained()
    until = time.monotonic() + seconds
    is_ours = backfill.carry_on(listing, stop=lambda: time.monotonic() > until)
    return Drained(listed=int(is_ours))


def drain_unposted(*, now: datetime | None = None) -> Drained:
    """Post one batch of the customers of whom lists told something new. It is about the past: nobody is told."""
    now = now or timezone.now()
    pks = unposted.customers(now=now, limit=BATCH_CUSTOMERS)
    try:
        done = post_listed(pks, now=now)
    except Exception as error:
        log.warning("posting of listed customers failed", customers=len(pks), error=type(error).__name__)
        done = Drained()
        for pk in pks:
            try:
                done += post_listed([pk], now=now)
            except Exception:
                log.exception("posting failed", customer_pk=pk)
                unposted.put_off(pk, until=now + CLOCK_RETRY)
    if pks:
        listings.finish(now=now)
    return done


def post_listed(customer_pks: Sequence[int], *, now: datetime) -> Drained:
    """Bring customers in step with what lists told of them, in one transaction."""
    if not customer_pks:
        return Drained()
    with transaction.atomic():
        billing.lock_customers(customer_pks)
        unposted.take(customer_pks)
        entries, lacking = _post(customer_pks, now=now, is_told=False)
        touched = set(customer_pks)
        matching.match_customers(touched, now=now)
        at_risk = assessing.assess(touched, now=now)
        outbox.owe_for(entries, touched, now=now, at_risk=at_risk)
    return Drained(entries=len(entries), reposted=len(customer_pks), owed=lacking)


def drain_fetches(*, now: datetime | None = None) -> Drained:
    """Ask Stripe for what payloads lacked, in no transaction, and bring the customers who waited for it in step."""
    now = now or timezone.now()
    fetched = fetches.fetch_due(now=now)
    done = Drained(fetched=fetched.claimed + write_back_matches(now=now), parked=fetched.parked)
    pks = fetches.customers_to_repost(now=now, limit=BATCH_CUSTOMERS)
    try:
        return done + repost(pks, now=now)
    except Exception as error:
        log.warning("repost failed", customers=len(pks), error=type(error).__name__)
    for pk in pks:
        try:
            done += repost([pk], now=now)
        except Exception:
            log.exception("repost failed", customer_pk=pk)
            fetches.put_off(pk, until=now + CLOCK_RETRY)
    return done


def write_back_matches(*, now: datetime) -> int:
    """Write the Accounts of new matches to Stripe, for sources that are set to; returns how many rows were tried."""
    for one in write_back.followed():
        write_back.owe(one.source_pk, crm.account_changes(one.source_pk, after=one.after), now=now)
    return write_back.send_due(now=now)


def _paid_live(events: Iterable[StripeEvent]) -> set[tuple[int, str]]:
    """Return the invoices that live deliveries say were paid, each by its source and id."""
    paid = (event for event in events if event.type in payments.PAID and event.origin == Origin.WEBHOOK)
    return {(event.source_id, event.object_id) for event in paid}


def drain_clock(*, now: datetime | None = None) -> Drained:
    """Post what fell due with no event, such as the end of a discount: one batch of the customers it concerns."""
    now = now or timezone.now()
    pks = mrr.due_by_the_clock(now=now, limit=BATCH_CUSTOMERS)
    try:
        return repost(pks, now=now)
    except Exception as error:
        log.warning("clock batch failed", customers=len(pks), error=type(error).__name__)
    done = Drained()
    for pk in pks:
        try:
            done += repost([pk], now=now)
        except Exception:
            log.exception("clock failed", customer_pk=pk)
            ledger.look_again(pk, at=now + CLOCK_RETRY)
    return done


def repost(customer_pks: Sequence[int], *, now: datetime, is_told: bool = True) -> Drained:
    """Bring the ledger of customers in step with what is known of them now, and owe what follows; one transaction."""
    if not customer_pks:
        return Drained()
    with transaction.atomic():
        billing.lock_customers(customer_pks)
        fetches.take_served(customer_pks)
        entries, lacking = _post(customer_pks, now=now, is_told=is_told)
        if entries:
            touched = {entry.customer_id for entry in entries}
            assessing.assess(touched, now=now)
            outbox.owe_for(entries, touched, now=now)
    return Drained(entries=len(entries), reposted=len(customer_pks), owed=lacking)


def _post(
    customer_pks: Collection[int], missing: Collection[Need] = (), *, now: datetime, is_told: bool = True
) -> tuple[list[LedgerEntry], int]:
    """Post what the histories of locked customers come to, owe a fetch for what is missing, and say of how much."""
    histories = billing.histories(sorted(customer_pks)) if customer_pks else {}
    entries = ledger.post(histories, now=now, is_told=is_told) if histories else []
    lacking = {*missing, *billing.missing_of(histories)}
    if lacking:
        owed.owe(lacking, now=now)
    return entries, len(lacking)


def drain_outbox(*, now: datetime | None = None) -> Drained:
    """Send what is due, each channel packing its work as it can."""
    now = now or timezone.now()
    matching.ask_for_named(now=now)
    matching.look_for_made(now=now)
    salesforce.look_again(now=now)
    settled = bulk.carry_on(now=now) + taking_back.take_back(now=now) + outbox.send_due(CHANNELS, now=now)
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
