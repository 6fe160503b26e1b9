"""What coupons take off the items of one subscription, in one billing period of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from billing.facts import DiscountTerms
from mrr.engine.policy import Discounts, MetricPolicy
from mrr.engine.terms import Taken


@dataclass(slots=True)
class Charged:
    """An item while discounts are taken off it: what remains of its period's amount, and what was taken so far."""

    item: str
    product: str
    currency: str
    is_annual: bool
    remains: Fraction
    taken: tuple[Taken, ...] = ()


@dataclass(frozen=True, slots=True)
class Running:
    """A discount that may be taken at a moment. A `once` discount names the items that it still counts on."""

    terms: DiscountTerms
    items: frozenset[str] | None = None  # None: every item


def take_from_item(charged: Charged, running: Sequence[Running]) -> None:
    """Take an item's own discounts off it, in their order; a fixed amount goes to this item alone."""
    for discount in running:
        _take([charged] if _is_eligible(charged, discount) else [], discount.terms)


def take_from_all(items: Sequence[Charged], running: Sequence[Running]) -> None:
    """Take a subscription's (or its customer's) discounts off its items, in their order.

    A percentage is of each item's remaining amount; a fixed amount is per invoice and is spread over the eligible items
    pro rata to what remains of them, never below 0. Source: definitions.md 1.3.
    """
    for discount in running:
        _take([charged for charged in items if _is_eligible(charged, discount)], discount.terms)


def is_counted(terms: DiscountTerms, at: int, policy: MetricPolicy) -> bool:
    """Say whether a discount reduces MRR at a moment; a `once` discount's items are judged by may_count_once."""
    if policy.discounts is Discounts.NONE:
        return False
    if terms.duration == "once":
        return policy.discounts in (Discounts.FOREVER_AND_REPEATING, Discounts.ALL)
    if terms.duration == "repeating" and policy.discounts is Discounts.FOREVER:
        return False
    return terms.end is None or at < terms.end


def may_count_once(*, is_annual: bool, policy: MetricPolicy) -> bool:
    """Say whether a `once` discount counts on an item: those billed every 12 months or longer, or all by policy."""
    return policy.discounts is Discounts.ALL or (is_annual and policy.discounts is Discounts.FOREVER_AND_REPEATING)


def _is_eligible(charged: Charged, discount: Running) -> bool:
    terms = discount.terms
    if discount.items is not None and charged.item not in discount.items:
        return False
    return terms.applies_to is None or charged.product in terms.applies_to


def _take(items: Sequence[Charged], terms: DiscountTerms) -> None:
    if terms.percent_off is not None:
        for charged in items:
            charged.remains *= 1 - min(Fraction(terms.percent_off) / 100, Fraction(1))
            charged.taken += (Taken(terms.id, percent=terms.percent_off),)
        return
    amounts = dict(terms.amounts_off)
    together = sum((charged.remains for charged in items), Fraction(0))
    if not together:
        return
    for charged in items:
        amount = amounts.get(charged.currency)
        if amount is None:
            continue
        share = charged.remains / together
        charged.remains = max(charged.remains - amount * share, Fraction(0))
        charged.taken += (Taken(terms.id, amount=amount, share=str(share)),)
