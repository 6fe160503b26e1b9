"""Puts together what the engine replays: each customer's subscription states in their true order, and the facts beside.

Everything is read in sets, and only for whom it is needed: a customer with plain prices costs no statement more.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from typing import Any, Final

from billing import known_facts, ordering
from billing.facts import NOTHING_KNOWN, Facts
from billing.models import CompletedItems, Customer, EventState, Needs, Origin, Snapshot, StripeEvent
from billing.owed import Need
from billing.rows import Item, SubscriptionState
from billing.statements import select


@dataclass(frozen=True, slots=True)
class Step:
    """What one event told of one subscription; `created` in Unix seconds, `before` None if the event did not say.

    The state before is kept as stored: only a subscription's first event, and events of one second, are asked for it.
    """

    created: int
    event_id: str
    event_type: str
    is_live: bool
    state: SubscriptionState
    stored_before: str | None

    @property
    def before(self) -> SubscriptionState | None:
        return _known_state(self.stored_before) if self.stored_before else None


@dataclass(frozen=True, slots=True)
class History:
    """All that is known of one customer's subscriptions, each subscription's steps in their true order.

    `customer_id` is Stripe's name of it; `deleted` is when the customer was deleted (Unix seconds), by which event, and
    whether that was a live delivery; `missing` is what must be fetched before its MRR is complete.
    """

    source_pk: int
    customer_pk: int
    customer_id: str
    history_from: date | None
    deleted: tuple[int, str, bool] | None
    steps: dict[str, list[Step]]
    facts: Facts = NOTHING_KNOWN
    missing: tuple[Need, ...] = ()


def histories(customer_pks: Iterable[int], *, with_first_paid: bool = False) -> dict[int, History]:
    """Return the histories of customers, by primary key; when invoices were first paid only `with_first_paid`."""
    pks = list(customer_pks)
    rows = Customer.objects.filter(pk__in=pks).values_list(
        "pk", "source_id", "stripe_id", "source__history_from", "deleted_at", "needs"
    )
    known = list(rows)
    steps, asking, short = _steps(pks)
    if short:
        _complete(steps, short)
    asking |= {pk for pk, *_, needs in known if needs & BESIDE}
    ordered = {pk: {name: ordering.in_order(found[name]) for name in sorted(found)} for pk, found in steps.items()}
    askers = [
        known_facts.Asker(pk, source_pk, needs, ordered[pk]) for pk, source_pk, *_, needs in known if pk in asking
    ]
    facts = known_facts.facts_of(askers) if askers else {}
    first_paid = known_facts.first_paid_of(pks) if with_first_paid else {}
    deletions = _deletions({(source_pk, stripe_id) for _, source_pk, stripe_id, _, at, _ in known if at is not None})
    found: dict[int, History] = {}
    for pk, source_pk, stripe_id, history_from, deleted_at, _ in known:
        deleted = deletions.get((source_pk, stripe_id)) if deleted_at is not None else None
        beside, missing = facts.get(pk, NOTHING_BESIDE)
        if pk in first_paid:
            beside = replace(beside, first_paid=first_paid[pk])
        found[pk] = History(source_pk, pk, stripe_id, history_from, deleted, ordered[pk], beside, missing)
    return found


BESIDE: Final = Needs.DISCOUNT | Needs.SCHEDULE | Needs.DISPUTE
NOTHING_BESIDE: Final[tuple[Facts, tuple[Need, ...]]] = (NOTHING_KNOWN, ())
# What only occurs in the stored text of a state that something beside it bears on.
TELLTALE: Final = re.compile(r'"(?:tiered|metered|discounts|price_currency|tax_behavior)"|"has_all_items": ?false')

Steps = dict[int, dict[str, list[Step]]]


def _steps(pks: list[int]) -> tuple[Steps, set[int], set[int]]:
    """Return the steps as stored, who needs facts beside them, and whose lists of items were cut short."""
    steps: Steps = {pk: defaultdict(list) for pk in pks}
    asking: set[int] = set()
    short: set[int] = set()
    for pk, subscription_id, created, event_id, event_type, is_live, state, before in select(
        Snapshot,
        ("customer_id", "subscription_id", "created_at", "event_id", "event_type", "is_live", "state", "before"),
        {"customer_id": pks},
    ):
        step = Step(created, event_id, event_type, bool(is_live), _state(state), before)
        steps[pk][subscription_id].append(step)
        if TELLTALE.search(state) or (before and TELLTALE.search(before)):
            asking.add(pk)
            if not step.state.has_all_items:
                short.add(pk)
    return steps, asking, short


def _state(stored: str) -> SubscriptionState:
    return SubscriptionState.from_json(json.loads(stored))


_known_state = lru_cache(maxsize=64)(_state)  # events of one second are compared with each other again and again


def _complete(steps: Steps, pks: set[int]) -> None:
    """Put the fetched lists of items into the states whose own were cut short."""
    completed: dict[tuple[int, str], list[Any]] = {
        (pk, event_id): json.loads(items)
        for pk, event_id, items in select(CompletedItems, ("customer_id", "event_id", "items"), {"customer_id": pks})
    }
    for pk in pks:
        for told in steps[pk].values():
            for place, step in enumerate(told):
                if (items := completed.get((pk, step.event_id))) is not None:
                    whole = tuple([Item.from_json(item) for item in items])
                    told[place] = replace(step, state=replace(step.state, items=whole, has_all_items=True))


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


def missing_of(found: Mapping[int, History]) -> set[Need]:
    """Return what the histories lack, together."""
    return {need for history in found.values() for need in history.missing}
