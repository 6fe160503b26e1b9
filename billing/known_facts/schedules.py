"""What subscription schedules plan."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from billing.facts import Phase, Plan, PlannedItem
from billing.known_facts.prices import KnownPrice
from billing.known_facts.rows import Key
from billing.models import Needs, SubscriptionSchedule
from billing.statements import select

if TYPE_CHECKING:
    from billing.known_facts.asked import Asked


@dataclass(frozen=True, slots=True)
class Schedule:
    id: str
    subscription: str
    currency: str
    end_behavior: str
    phases: list[dict[str, Any]]


def schedules_of(asked: Iterable[Asked]) -> dict[int, list[Schedule]]:
    """Schedules that are not over, by customer."""
    pks = {each.asker.pk for each in asked if each.asker.needs & Needs.SCHEDULE}
    found: dict[int, list[Schedule]] = defaultdict(list)
    if pks:
        names = ("customer_id", "stripe_id", "subscription_id", "currency", "end_behavior", "phases", "status")
        for pk, name, subscription_id, currency, end_behavior, phases, status in select(
            SubscriptionSchedule, names, {"customer_id": pks}
        ):
            if status in ("not_started", "active"):
                found[pk].append(Schedule(name, subscription_id, currency, end_behavior, json.loads(phases)))
    return {pk: sorted(rows, key=lambda row: row.id) for pk, rows in found.items()}


def plan_of(schedule: Schedule, source_pk: int, prices: Mapping[Key, KnownPrice]) -> Plan:
    phases = []
    for phase in schedule.phases:
        items = [_planned(item, prices.get((source_pk, item["price"])), schedule.currency) for item in phase["items"]]
        phases.append(
            Phase(phase["start"], phase["end"], tuple(items), tuple(phase["discounts"]), phase.get("trial_end"))
        )
    return Plan(schedule.id, schedule.subscription, schedule.currency, tuple(phases), schedule.end_behavior)


def _planned(item: Mapping[str, Any], price: KnownPrice | None, currency: str) -> PlannedItem:
    terms = price.terms(currency) if price else None
    if price is None or terms is None:
        return PlannedItem(item["price"], "", item["quantity"], "", 1, discounts=tuple(item["discounts"]))
    return PlannedItem(
        item["price"],
        price.product,
        item["quantity"],
        price.interval,
        price.interval_count,
        price.usage_type,
        price.billing_scheme,
        terms.unit_amount_decimal,
        terms.tiers_mode,
        price.transform.get("divide_by"),
        price.transform.get("round"),
        tuple(item["discounts"]),
    )
