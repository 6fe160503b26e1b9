"""Reads Stripe's objects in every API layout we know and returns our own values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Item:
    """One subscription item with its price's terms. Amounts are Stripe's decimal text in minor units."""

    id: str
    price: str
    product: str
    currency: str
    quantity: int | None
    interval: str
    interval_count: int
    usage_type: str
    billing_scheme: str
    unit_amount_decimal: str | None
    tiers_mode: str | None = None
    divide_by: int | None = None
    round: str | None = None
    is_custom: bool = False
    period_end: int | None = None
    discounts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """What one event says about one subscription; times are Unix seconds. No personal data.

    `ends_at` is the scheduled end: Stripe's `cancel_at`, or the period's end with `cancel_at_period_end`.
    """

    status: str
    currency: str
    items: tuple[Item, ...]
    started_at: int
    has_all_items: bool = True
    trial_end: int | None = None
    ends_at: int | None = None
    canceled_at: int | None = None
    ended_at: int | None = None
    pause_behavior: str | None = None
    cancellation_reason: str | None = None
    cancellation_feedback: str | None = None
    discounts: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return the state as plain JSON, without what is empty; from_json gives it back."""
        return _without_empty(asdict(self))

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> SubscriptionState:
        """Return the state that to_json wrote."""
        items = tuple(
            Item(**{**_ITEM_DEFAULTS, **item, "discounts": tuple(item.get("discounts", ()))}) for item in stored["items"]
        )
        return cls(**{**stored, "items": items, "discounts": tuple(stored.get("discounts", ()))})


_ITEM_DEFAULTS: dict[str, Any] = {"quantity": None, "unit_amount_decimal": None}


def _without_empty(values: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in values.items() if value not in (None, (), False) or key in ("has_all_items",)}
    kept["items"] = [_without_empty_item(item) for item in values["items"]]
    return kept


def _without_empty_item(item: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if value is not None and value != () and value is not False}
