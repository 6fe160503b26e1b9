"""Reads a schedule's phases as states of its subscription: those to come for CMRR, those gone by for history."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from billing.facts import Phase, Plan, PlannedItem
from billing.layouts import Item, SubscriptionState


def items_of(phase: Phase, currency: str) -> tuple[Item, ...]:
    """Return a phase's items as a subscription's; one whose price is not known is left out."""
    return tuple([item for place, each in enumerate(phase.items) for item in _items(each, place, currency)])


def gone_by(plan: Plan, state: SubscriptionState, *, since: int, until: int) -> list[tuple[SubscriptionState, int]]:
    """Return what a subscription that is in `state` at `until` was in earlier phases, each with when that began.

    The last is `state` itself, from the end of the phase before. Only phases that ended between the two times tell;
    with a price among them that is not known yet, nothing does, and `state` stands from `since` on.
    """
    past = sorted(
        (phase for phase in plan.phases if phase.end is not None and since < phase.end <= until),
        key=lambda phase: phase.start,
    )
    if any(not item.interval for phase in past for item in phase.items):
        past = []
    found: list[tuple[SubscriptionState, int]] = []
    at = since
    for phase in past:
        items = _named_alike(items_of(phase, state.currency), state.items)
        begins = max(at, phase.start, phase.trial_end or phase.start)
        found.append((replace(state, items=items, discounts=phase.discounts), begins))
        at = phase.end or at
    return [*found, (state, at)]


def _named_alike(earlier: tuple[Item, ...], later: tuple[Item, ...]) -> tuple[Item, ...]:
    """Give items the ids of those that took their place: of the same product, else at the same place."""
    free = list(later)
    named: list[Item] = []
    for item in earlier:
        heir = next((each for each in free if each.product == item.product), free[0] if free else None)
        if heir is not None:
            free.remove(heir)
        named.append(replace(item, id=heir.id) if heir is not None else item)
    return tuple(named)


def _items(planned: PlannedItem, place: int, currency: str) -> Iterator[Item]:
    """Read a phase's item as a subscription's; one whose price is not known is left out."""
    if planned.interval:
        yield Item(
            id=f"{place}",
            price=planned.price,
            product=planned.product,
            currency=currency,
            quantity=planned.quantity,
            interval=planned.interval,
            interval_count=planned.interval_count,
            usage_type=planned.usage_type,
            billing_scheme=planned.billing_scheme,
            unit_amount_decimal=planned.unit_amount_decimal,
            tiers_mode=planned.tiers_mode,
            divide_by=planned.divide_by,
            round=planned.round,
            discounts=planned.discounts,
        )
