"""What one subscription item is worth in a month."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

from billing.layouts import Item
from mrr.engine.money import to_micros

MONTHS_PER = {"year": Fraction(12), "month": Fraction(1), "week": Fraction(12, 52), "day": Fraction(12, 365)}


def monthly_micros(item: Item) -> int | None:
    """Return an item's MRR in micros, rounded once; None while its price is not known (tiers not fetched yet)."""
    return _monthly_micros(
        item.unit_amount_decimal,
        item.quantity,
        item.interval,
        item.interval_count,
        item.usage_type,
        item.billing_scheme,
        item.divide_by,
        item.round,
        item.is_custom,
    )


@lru_cache(maxsize=65536)
def _monthly_micros(
    unit_amount: str | None,
    quantity: int | None,
    interval: str,
    interval_count: int,
    usage_type: str,
    billing_scheme: str,
    divide_by: int | None,
    rounding: str | None,
    is_custom: bool,
) -> int | None:
    if usage_type == "metered" or is_custom or not interval:
        return 0  # usage is not committed, and an amount the customer chooses is not a price
    if billing_scheme == "tiered":
        return None
    if unit_amount is None:
        return 0
    units = packages(quantity if quantity is not None else 1, divide_by, rounding)
    return to_micros(monthly(Fraction(unit_amount) * units, interval, interval_count))


def monthly(amount_minor: Fraction, interval: str, interval_count: int) -> Fraction:
    """Spread one billing period's amount over its months, without rounding: a year has 12, 52 weeks or 365 days."""
    return amount_minor / (MONTHS_PER[interval] * interval_count)


def packages(quantity: int, divide_by: int | None, rounding: str | None) -> int:
    """Return how many units are billed when a price is per package (Stripe's `transform_quantity`)."""
    if not divide_by:
        return quantity
    return -(-quantity // divide_by) if rounding == "up" else quantity // divide_by
