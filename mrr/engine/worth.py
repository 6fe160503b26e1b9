"""What a subscription's items are worth a month at one moment: price, discounts, tax, and what of it is unknown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import Any

from billing.facts import Facts
from billing.layouts import Item, SubscriptionState
from mrr.engine import discounts
from mrr.engine.discounts import Charged, Running
from mrr.engine.money import to_micros
from mrr.engine.policy import Discounts, MetricPolicy
from mrr.engine.prices import Priced, period_amount
from mrr.engine.terms import Taken, Terms, factor


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that an item's (or, with an empty item, the whole subscription's) worth lacks; `ref` names it."""

    code: str
    item: str
    ref: str


@dataclass(slots=True)
class OnceSeen:
    """Until when `once` discounts count, by (discount, item); noted when they are first seen on what is paid for."""

    of_items: dict[tuple[str, str], int] = field(default_factory=dict)
    of_subscription: dict[tuple[str, str], int] = field(default_factory=dict)

    def moments(self) -> Iterable[int]:
        yield from self.of_items.values()
        yield from self.of_subscription.values()


def worth(
    state: SubscriptionState, at: int, *, since: int, facts: Facts, policy: MetricPolicy, once: OnceSeen
) -> tuple[dict[str, Terms], tuple[Gap, ...]]:
    """Return the terms of each item at a moment, as if the subscription counted, and what is unknown about them.

    `since` is when the state began: inclusive tax is that of the first finalised invoice line from then on.
    """
    if not facts.customer_discounts and not state.discounts and not once.of_subscription and not once.of_items:
        found = {item.id: plain(item, policy) for item in state.items}
        if all(terms is not None for terms in found.values()):
            return found, () if state.has_all_items else (Gap("items_missing", "", ""),)  # type: ignore[return-value]
    return _worked_out(state, at, since, facts, policy, once)


def is_usual(item: Item) -> bool:
    """Say whether an item's worth follows from its own terms: one price a unit, no discount, no tax inside."""
    return not (
        item.discounts
        or item.billing_scheme == "tiered"
        or item.price_currency
        or item.tax_behavior
        or item.is_custom
        or (item.unit_amount_decimal is None and item.usage_type != "metered")
    )


def plain(item: Item, policy: MetricPolicy) -> Terms | None:
    """Return the terms of an item that is_usual, None for another."""
    if not is_usual(item):
        return None
    return _plain(
        item.price,
        item.product,
        item.currency,
        item.quantity,
        item.interval,
        item.interval_count,
        item.usage_type,
        item.billing_scheme,
        item.unit_amount_decimal,
        item.tiers_mode,
        item.divide_by,
        item.round,
        policy.weeks_per_year,
        policy.days_per_year,
    )


@lru_cache(maxsize=16384)
def _plain(price: str, product: str, currency: str, quantity: int | None, *terms: Any) -> Terms:
    """Many customers hold the same number of the same price: one that is_usual is written out once for all of them."""
    *of_item, weeks_per_year, days_per_year = terms
    item = Item("", price, product, currency, quantity, *of_item)
    priced = period_amount(item)
    assert priced.amount is not None
    return _terms(item, priced, priced.amount, (), None, weeks_per_year, days_per_year)


def _terms(
    item: Item,
    priced: Priced,
    net: Fraction,
    taken: tuple[Taken, ...],
    tax: str | None,
    weeks_per_year: int,
    days_per_year: int,
) -> Terms:
    months = factor(item.interval, item.interval_count, weeks_per_year, days_per_year) if item.interval else Fraction(1)
    divisor = months * (1 + Fraction(tax)) if tax else months
    gross = priced.amount if priced.amount is not None else Fraction(0)
    return Terms(
        price=item.price,
        product=item.product,
        unit_amount_decimal=priced.unit_amount_decimal or item.unit_amount_decimal,
        quantity=item.quantity,
        interval=item.interval,
        interval_count=item.interval_count,
        micros=to_micros(net / divisor),
        divide_by=item.divide_by,
        round=item.round,
        gross_micros=to_micros(gross / divisor),
        tiers_mode=priced.tiers_mode,
        tiers=priced.tiers,
        discounts=taken,
        tax=tax,
        factor=str(months) if item.interval else "",
        code=priced.code or ("metered" if item.usage_type == "metered" else ""),
    )


def _worked_out(
    state: SubscriptionState, at: int, since: int, facts: Facts, policy: MetricPolicy, once: OnceSeen
) -> tuple[dict[str, Terms], tuple[Gap, ...]]:
    gaps = [] if state.has_all_items else [Gap("items_missing", "", "")]
    priced: dict[str, Priced] = {}
    charged: list[Charged] = []
    for item in state.items:
        found = priced[item.id] = period_amount(item, facts.prices.get((item.price, item.currency)))
        if found.code:
            gaps.append(Gap(found.code, item.id, item.price))
        charged.append(Charged(item.id, item.product, item.currency, _is_annual(item), found.amount or Fraction(0)))
    if policy.discounts is not Discounts.NONE:
        _take_discounts(state, charged, at, facts, policy, once, gaps)
    terms: dict[str, Terms] = {}
    for item, left in zip(state.items, charged, strict=True):
        tax = None
        if item.tax_behavior == "inclusive" and policy.excludes_tax and priced[item.id].amount:
            tax = _tax(item, state, since, facts)
            if tax is None:
                gaps.append(Gap("tax_unknown", item.id, item.price))
        terms[item.id] = _terms(
            item, priced[item.id], left.remains, left.taken, tax, policy.weeks_per_year, policy.days_per_year
        )
    return terms, tuple(gaps)


def _take_discounts(
    state: SubscriptionState,
    charged: Sequence[Charged],
    at: int,
    facts: Facts,
    policy: MetricPolicy,
    once: OnceSeen,
    gaps: list[Gap],
) -> None:
    """Item discounts first, then the subscription's; the customer's only when the subscription has none."""
    for item, left in zip(state.items, charged, strict=True):
        ids = (*item.discounts, *[name for name, of in once.of_items if of == item.id and name not in item.discounts])
        running = _running(ids, item.discounts, [item], at, facts, policy, once.of_items, gaps)
        discounts.take_from_item(left, running)
    listed = state.discounts or tuple(
        [applied.id for applied in facts.customer_discounts if _stands(applied.start, applied.end, at)]
    )
    ids = (*listed, *dict.fromkeys(name for name, _ in once.of_subscription if name not in listed))
    discounts.take_from_all(charged, _running(ids, listed, state.items, at, facts, policy, once.of_subscription, gaps))


def _running(
    ids: Sequence[str],
    listed: Sequence[str],
    items: Sequence[Item],
    at: int,
    facts: Facts,
    policy: MetricPolicy,
    seen: dict[tuple[str, str], int],
    gaps: list[Gap],
) -> list[Running]:
    """Return the discounts that reduce MRR now; a `once` discount is noted with the end of the period it pays for."""
    running: list[Running] = []
    for name in ids:
        terms = facts.discounts.get(name)
        if terms is None:
            gaps.append(Gap("discount_unknown", items[0].id if len(items) == 1 else "", name))
        elif discounts.is_counted(terms, at, policy):
            if terms.duration != "once":
                running.append(Running(terms))
                continue
            for item in items:
                may = discounts.may_count_once(is_annual=_is_annual(item), policy=policy)
                if name in listed and may and item.period_end is not None:
                    seen.setdefault((name, item.id), item.period_end)
            counted = frozenset(item.id for item in items if at < seen.get((name, item.id), at))
            if counted:
                running.append(Running(terms, counted))
    return running


def _stands(start: int, end: int | None, at: int) -> bool:
    return start <= at and (end is None or at < end)


def _is_annual(item: Item) -> bool:
    """Billed every 12 months or longer."""
    if item.interval == "year":
        return True
    least = {"month": 12, "week": 52, "day": 365}.get(item.interval)
    return least is not None and item.interval_count >= least


def _tax(item: Item, state: SubscriptionState, since: int, facts: Facts) -> str | None:
    """Return the tax rate inside an item's price, as exact text; None while nobody has said it (definitions.md 1.4).

    The first finalised invoice line at or after the state began; else the tax rates of the item or the subscription;
    else what an earlier invoice told.
    """
    seen = facts.taxes.get(item.id, ())
    at_or_after = [tax for tax in seen if tax.at >= since]
    if at_or_after:
        return min(at_or_after, key=lambda tax: (tax.at, tax.rate)).rate
    percentage = item.inclusive_tax or state.inclusive_tax
    if percentage:
        return str(Fraction(percentage) / 100)
    return max(seen, key=lambda tax: (tax.at, tax.rate)).rate if seen else None


def run_rate(item: Item, usage: Sequence[int], policy: MetricPolicy) -> int:
    """Return what metered usage comes to a month, in micros: the mean of its last closed periods, three at most."""
    if not usage or not item.interval:
        return 0
    last = usage[-3:]
    months = factor(item.interval, item.interval_count, policy.weeks_per_year, policy.days_per_year)
    return to_micros(Fraction(sum(last), len(last)) / months)


def total(items: Mapping[str, Terms]) -> int:
    """Return the sum of the items' net monthly amounts in micros."""
    return sum(terms.micros for terms in items.values())
