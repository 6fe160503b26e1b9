"""Reads sources, events and mirrored objects; the only way the rest of the product sees them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from billing import ordering
from billing.customer_facts import (
    CustomerRow,
    DisputeRow,
    InvoiceRow,
    RefundRow,
    SubscriptionRow,
    card_expiries_of,
    customer_pks,
    customers,
    customers_by_stripe_id,
    customers_matching,
    in_test_mode,
    invoices_of,
    last_payments_of,
    open_disputes_of,
    open_invoices_of,
    product_names,
    refunds_of,
    states_since,
    subscriptions_of,
)
from billing.event_facts import (
    EventCounts,
    EventDetail,
    EventRow,
    InboxPulse,
    SourceRow,
    event_counts,
    event_details,
    events,
    events_by_id,
    has_events,
    inbox_pulse,
    live_source_pks,
    sources,
    unprocessed_counts,
)
from billing.mirror import lock_customers
from billing.models import Customer, EventState, Origin, Snapshot, StripeEvent
from billing.rows import SubscriptionState
from billing.statements import select

__all__ = [
    "CustomerRow",
    "DisputeRow",
    "EventCounts",
    "EventDetail",
    "EventRow",
    "InboxPulse",
    "InvoiceRow",
    "RefundRow",
    "SourceRow",
    "SubscriptionRow",
    "card_expiries_of",
    "customer_pks",
    "customers",
    "customers_by_stripe_id",
    "customers_matching",
    "event_counts",
    "event_details",
    "events",
    "events_by_id",
    "has_events",
    "histories",
    "in_test_mode",
    "inbox_pulse",
    "invoices_of",
    "last_payments_of",
    "live_source_pks",
    "lock_customers",
    "open_disputes_of",
    "open_invoices_of",
    "product_names",
    "refunds_of",
    "sources",
    "states_since",
    "subscriptions_of",
    "unprocessed_counts",
]

# ---- histories: what the engine replays ----


@dataclass(frozen=True, slots=True)
class Step:
    """What one event told of one subscription; `created` in Unix seconds, `before` None when the event did not say."""

    created: int
    event_id: str
    event_type: str
    is_live: bool
    state: SubscriptionState
    before: SubscriptionState | None


@dataclass(frozen=True, slots=True)
class History:
    """All that is known of one customer's subscriptions, each subscription's steps in their true order.

    `deleted` is when the customer was deleted (Unix seconds), by which event, and whether that was a live delivery.
    """

    source_pk: int
    customer_pk: int
    history_from: date | None
    deleted: tuple[int, str, bool] | None
    steps: dict[str, list[Step]]


def histories(customer_pks: Iterable[int]) -> dict[int, History]:
    """Return the histories of customers, by primary key."""
    pks = list(customer_pks)
    steps: dict[int, dict[str, list[Step]]] = {pk: defaultdict(list) for pk in pks}
    for pk, subscription_id, created, event_id, event_type, is_live, state, before in select(
        Snapshot,
        ("customer_id", "subscription_id", "created_at", "event_id", "event_type", "is_live", "state", "before"),
        {"customer_id": pks},
    ):
        step = Step(created, event_id, event_type, bool(is_live), _state(state), _state(before) if before else None)
        steps[pk][subscription_id].append(step)
    rows = Customer.objects.filter(pk__in=pks).values_list(
        "pk", "source_id", "stripe_id", "source__history_from", "deleted_at"
    )
    known = list(rows)
    deletions = _deletions({(source_pk, stripe_id) for _, source_pk, stripe_id, _, at in known if at is not None})
    return {
        pk: History(
            source_pk,
            pk,
            history_from,
            deletions.get((source_pk, stripe_id)) if deleted_at is not None else None,
            {name: ordering.in_order(steps[pk][name]) for name in sorted(steps[pk])},
        )
        for pk, source_pk, stripe_id, history_from, deleted_at in known
    }


def _state(stored: str) -> SubscriptionState:
    return SubscriptionState.from_json(json.loads(stored))


def _deletions(customers: set[tuple[int, str]]) -> dict[tuple[int, str], tuple[int, str, bool]]:
    """The event that deleted each customer: the first there is, copies by id."""
    if not customers:
        return {}
    events = StripeEvent.objects.filter(
        source_id__in={source_pk for source_pk, _ in customers},
        object_id__in={stripe_id for _, stripe_id in customers},
        type="customer.deleted",
    ).exclude(state=EventState.PARKED)
    found: dict[tuple[int, str], tuple[int, str, bool]] = {}
    for source_pk, object_id, created_at, event_id, origin in events.values_list(
        "source_id", "object_id", "created_at", "stripe_id", "origin"
    ):
        if created_at is not None:
            told = (int(created_at.timestamp()), event_id, origin == Origin.WEBHOOK)
            found[source_pk, object_id] = min(told, found.get((source_pk, object_id), told))
    return found
