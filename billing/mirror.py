"""Writes Stripe's objects as our rows from events, in any order and any number of times, many customers at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from billing import kinds, redactions
from billing.batches import Batch, locked
from billing.inbox import Outcome
from billing.kinds import KINDS, Mention
from billing.models import Customer, StripeEvent, StripeSource
from billing.owed import Need


@dataclass(frozen=True, slots=True)
class Applied:
    """How each event ended, whose MRR may have changed, who changed at all (primary keys), and what must be fetched."""

    outcomes: dict[int, Outcome]
    changed: set[int] = field(default_factory=set)
    touched: set[int] = field(default_factory=set)
    missing: set[Need] = field(default_factory=set)


def apply(events: Sequence[StripeEvent], *, now: datetime, follows_payments: bool = False) -> Applied:
    """Bring the mirror up to date with events, in the caller's transaction, with their customers' rows locked.

    The rows depend on the set of events applied so far, not on the order: each object stands as its last event tells
    it, and each event about a subscription leaves a snapshot. What cannot be read is parked with a reason and leaves no
    trace. With `follows_payments` a paid invoice changes its customer's MRR, as a policy may want it.
    """
    batch = Batch(follows_payments=follows_payments)
    sources = _sources(events)
    for event in events:
        batch.read(event, sources)
    if batch.mentions:
        batch.lock_customers()
        batch.forget()
        batch.write()
        redactions.catch_up([event for event in events if batch.is_forgotten(event)], now=now)
    return Applied(batch.outcomes, batch.changed, batch.touched, batch.missing)


def store(source_pk: int, found: Iterable[tuple[str, Mapping[str, Any]]], *, asked: int) -> Applied:
    """Bring the mirror up to date with fetched objects, each (kind, object), in the caller's transaction.

    They stand as of the second before `asked` (Unix seconds), when the request was sent, and yield to later events.
    Customers' rows are locked. Raises LayoutError.
    """
    return take([kinds.fetched(source_pk, KINDS[name], obj, asked=asked) for name, obj in found])


def take(mentions: Iterable[Mention]) -> Applied:
    """Bring the mirror up to date with fetched objects that are read already; as `store` does."""
    batch = Batch()
    for mention in mentions:
        batch.mentions[mention.kind.name].append(mention)
    if batch.mentions:
        batch.lock_customers()
        batch.forget()
        batch.write()
    return Applied({}, batch.changed, batch.touched, batch.missing)


def lock_customers(customer_pks: Iterable[int]) -> None:
    """Lock customers' rows until the transaction ends, in the order every worker takes them."""
    locked({"id": set(customer_pks)})


def pk_of(source_pk: int, customer_id: str) -> int:
    """Return the primary key of a customer that is mirrored."""
    return Customer.objects.values_list("pk", flat=True).get(source_id=source_pk, stripe_id=customer_id)


def _sources(events: Iterable[StripeEvent]) -> dict[int, tuple[bool, str]]:
    rows = StripeSource.objects.filter(pk__in={event.source_id for event in events})
    return {pk: (livemode, account_id) for pk, livemode, account_id in rows.values_list("pk", "livemode", "account_id")}
