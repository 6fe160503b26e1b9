"""What made-up histories sell: prices, and subscriptions with their items as they stand in payloads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

Json = dict[str, Any]

DAY: Final = 86_400
BEGINNING: Final = 1_735_689_600  # 2025-01-01

AMOUNTS: Final = (0, 500, 999, 2_900, 4_900, 10_000, 120_000)
INTERVALS: Final = (("month", 1), ("month", 1), ("month", 1), ("month", 3), ("year", 1), ("week", 1), ("day", 10))
CURRENCIES: Final = ("usd", "usd", "eur", "jpy", "kwd")
TIERS: Final = (
    {"up_to": 5, "unit_amount": 700, "unit_amount_decimal": "700", "flat_amount": None, "flat_amount_decimal": None},
    {"up_to": 10, "unit_amount": 650, "unit_amount_decimal": "650", "flat_amount": 100, "flat_amount_decimal": "100"},
    {"up_to": None, "unit_amount": 600, "unit_amount_decimal": "600", "flat_amount": None, "flat_amount_decimal": None},
)


def price(product: str, amount: str, currency: str, interval: str, count: int, **terms: Any) -> Json:
    """Return a price as it stands in payloads; `amount` is decimal text in minor units."""
    name = "_".join([product, amount, currency, interval, str(count), *[f"{k}{v}" for k, v in sorted(terms.items())]])
    return {
        "id": f"price_{name}".replace("'", "").replace(" ", "")[:200],
        "object": "price",
        "active": True,
        "billing_scheme": "per_unit",
        "created": BEGINNING - DAY,
        "currency": currency,
        "custom_unit_amount": None,
        "livemode": True,
        "nickname": None,
        "product": f"prod_{product}",
        "recurring": {"interval": interval, "interval_count": count, "usage_type": "licensed"},
        "tax_behavior": "unspecified",
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "recurring",
        "unit_amount": int(amount) if amount.isdigit() else None,
        "unit_amount_decimal": amount,
    } | terms


@dataclass(slots=True)
class Item:
    """A subscription item while a life is lived."""

    id: str
    price: Json
    quantity: int | None
    period: tuple[int, int]
    discounts: tuple[str, ...] = ()

    def body(self, *, is_old: bool) -> Json:
        """Return it as it stands in payloads."""
        periods = {} if is_old else {"current_period_start": self.period[0], "current_period_end": self.period[1]}
        return {
            "id": self.id,
            "object": "subscription_item",
            "discounts": list(self.discounts),
            "metadata": {},
            "price": self.price,
            "tax_rates": [],
            **({} if self.quantity is None else {"quantity": self.quantity}),
            **periods,
        }


@dataclass(slots=True)
class Subscription:
    """A subscription while a life is lived; times are Unix seconds. `discount` is whole, for the old layout alone."""

    id: str
    customer: str
    currency: str
    start: int
    is_old: bool
    items: list[Item] = field(default_factory=list)
    status: str = "active"
    trial_end: int | None = None
    cancel_at: int | None = None
    cancel_at_period_end: bool = False
    canceled_at: int | None = None
    ended_at: int | None = None
    reason: str | None = None
    pause: str | None = None
    discounts: tuple[str, ...] = ()
    discount: Json | None = None
    schedule: str | None = None
    tax_rates: tuple[Json, ...] = ()
    note: int = 0

    def body(self) -> Json:
        """Return it as it stands in payloads of its layout."""
        found: Json = {
            "id": self.id,
            "object": "subscription",
            "cancel_at": self.cancel_at,
            "cancel_at_period_end": self.cancel_at_period_end,
            "canceled_at": self.canceled_at,
            "cancellation_details": {"comment": None, "feedback": None, "reason": self.reason},
            "collection_method": "charge_automatically",
            "created": self.start,
            "currency": self.currency,
            "customer": self.customer,
            "default_tax_rates": list(self.tax_rates),
            "discounts": list(self.discounts),
            "ended_at": self.ended_at,
            "items": {
                "object": "list",
                "data": [item.body(is_old=self.is_old) for item in self.items],
                "has_more": False,
            },
            "livemode": True,
            "metadata": {"note": str(self.note)} if self.note else {},
            "pause_collection": {"behavior": self.pause, "resumes_at": None} if self.pause else None,
            "pending_update": None,
            "schedule": self.schedule,
            "start_date": self.start,
            "status": self.status,
            "trial_end": self.trial_end,
            "trial_start": self.start if self.trial_end else None,
        }
        if self.is_old:
            start, end = self.items[0].period if self.items else (None, None)
            found |= {"current_period_start": start, "current_period_end": end, "discount": self.discount}
        return found

    @property
    def is_paying(self) -> bool:
        return self.status in ("active", "past_due")
