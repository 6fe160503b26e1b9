"""What one subscription item costs in one billing period, before discounts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from billing.facts import PriceTerms
from billing.layouts import Item
from mrr.engine.terms import TierText


@dataclass(frozen=True, slots=True)
class Priced:
    """An item's amount of one billing period in minor units, exact; None while its price is not known.

    `code` names what is unknown or odd: `tiers_unknown`, `currency_option_unknown` (both count 0 until they are known),
    `custom_amount`, `no_amount` (both are 0 and a finding).
    """

    amount: Fraction | None
    code: str = ""
    unit_amount_decimal: str | None = None
    tiers_mode: str | None = None
    tiers: tuple[TierText, ...] = ()


NOT_COMMITTED = Priced(Fraction(0))


def period_amount(item: Item, known: PriceTerms | None = None) -> Priced:
    """Price an item for one billing period; `known` are terms that do not travel in events. Source: definitions.md 1.2.

    A subscription in another currency than its price's is priced by the price's currency option alone.
    """
    if item.usage_type == "metered" or not item.interval:
        return NOT_COMMITTED  # what was used is no promise
    if item.is_custom:
        return Priced(Fraction(0), "custom_amount", item.unit_amount_decimal)
    if item.price_currency and known is None:
        return Priced(None, "currency_option_unknown")
    quantity = item.quantity if item.quantity is not None else 1
    if item.billing_scheme == "tiered":
        return _tiered(item, known, quantity)
    unit = known.unit_amount_decimal if item.price_currency and known else item.unit_amount_decimal
    if unit is None:
        return Priced(Fraction(0), "no_amount")
    return Priced(Fraction(unit) * packages(quantity, item.divide_by, item.round), "", unit)


def packages(quantity: int, divide_by: int | None, rounding: str | None) -> int:
    """Return how many units are billed when a price is per package (Stripe's `transform_quantity`)."""
    if not divide_by:
        return quantity
    return -(-quantity // divide_by) if rounding == "up" else quantity // divide_by


def _tiered(item: Item, known: PriceTerms | None, quantity: int) -> Priced:
    if known is None or not known.tiers:
        return Priced(None, "tiers_unknown")
    mode = known.tiers_mode or item.tiers_mode or "graduated"
    tiers = tuple([(tier.up_to, tier.unit_amount_decimal, tier.flat_amount_decimal) for tier in known.tiers])
    ordered = tuple(sorted(tiers, key=lambda tier: (tier[0] is None, tier[0] or 0)))
    amount = volume(ordered, quantity) if mode == "volume" else graduated(ordered, quantity)
    return Priced(amount, "", None, mode, ordered)


def graduated(tiers: Sequence[TierText], quantity: int) -> Fraction:
    """Sum the tiers that a quantity enters, each at its own price and with its flat amount once."""
    amount, below = Fraction(0), 0
    for place, (up_to, unit, flat) in enumerate(tiers):
        if quantity <= below:
            break
        is_last = place == len(tiers) - 1
        top = quantity if up_to is None or is_last else min(quantity, up_to)
        amount += (top - below) * Fraction(unit) + Fraction(flat)
        below = top
    return amount


def volume(tiers: Sequence[TierText], quantity: int) -> Fraction:
    """Price the whole quantity at the tier that it reaches, plus that tier's flat amount; nothing costs nothing."""
    if quantity <= 0:
        return Fraction(0)
    reached = next((tier for tier in tiers if tier[0] is None or quantity <= tier[0]), tiers[-1])
    return quantity * Fraction(reached[1]) + Fraction(reached[2])
