"""Reads Stripe's objects in every API layout we know and returns our own values."""

from __future__ import annotations

from typing import Any

from billing.layouts.discounts import coupon, discount
from billing.layouts.invoices import invoice
from billing.layouts.payments import charge, dispute, payout, refund
from billing.layouts.sold import price, product
from billing.layouts.subscriptions import customer, prices_of, schedule, subscription, subscription_state
from billing.rows import Item, SubscriptionState
from billing.values import Json, LayoutError

__all__ = [
    "Item",
    "LayoutError",
    "SubscriptionState",
    "before",
    "charge",
    "coupon",
    "customer",
    "discount",
    "dispute",
    "invoice",
    "payout",
    "price",
    "prices_of",
    "product",
    "refund",
    "schedule",
    "subscription",
    "subscription_state",
]


def before(obj: Json, previous: Json) -> dict[str, Any]:
    """Return the object as it was before an update: `previous_attributes` put back.

    Hashes are merged key by key, arrays and plain values replaced whole, as Stripe sends them.
    """
    merged = dict(obj)
    for key, value in previous.items():
        now = merged.get(key)
        merged[key] = before(now, value) if isinstance(now, dict) and isinstance(value, dict) else value
    return merged
