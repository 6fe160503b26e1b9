"""What the readers of Stripe's objects return: our own values, the same for every API layout."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Item:
    """One subscription item with its price's terms. Amounts are Stripe's decimal text in minor units.

    `price_currency` is set only when it is not the subscription's: the amount is then one of the price's currency
    options, and `unit_amount_decimal` is None. `inclusive_tax` is the percentage inside by the item's own rates.
    """

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
    price_currency: str | None = None
    tax_behavior: str | None = None
    inclusive_tax: str | None = None
    discounts: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the item as plain JSON, without what is empty; from_json gives it back."""
        kept = {name: value for name in _ITEM_PLAIN if (value := getattr(self, name)) is not None}
        if self.is_custom:
            kept["is_custom"] = True
        if self.discounts:
            kept["discounts"] = list(self.discounts)
        return kept

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Item:
        """Return the item that to_json wrote."""
        found: dict[str, Any] = {"quantity": None, "unit_amount_decimal": None, **stored}
        if "discounts" in found:
            found["discounts"] = tuple(found["discounts"])
        return cls(**found)


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
    inclusive_tax: str | None = None
    discounts: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the state as plain JSON, without what is empty; from_json gives it back."""
        kept = {name: value for name in _PLAIN if (value := getattr(self, name)) is not None}
        kept["items"] = [item.to_json() for item in self.items]
        if self.discounts:
            kept["discounts"] = list(self.discounts)
        return kept

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> SubscriptionState:
        """Return the state that to_json wrote."""
        found = {**stored, "items": tuple([Item.from_json(item) for item in stored["items"]])}
        if "discounts" in found:
            found["discounts"] = tuple(found["discounts"])
        return cls(**found)


_ITEM_PLAIN: Final = tuple([field.name for field in fields(Item) if field.name not in ("discounts", "is_custom")])
_PLAIN: Final = tuple([field.name for field in fields(SubscriptionState) if field.name not in ("items", "discounts")])


@dataclass(frozen=True, slots=True)
class CustomerRow:
    """A customer. `discounts` and `coupons` are those that travel inside it."""

    id: str
    created: int | None
    name: str
    email: str
    phone: str
    description: str
    country: str
    postal_code: str
    address: dict[str, str]
    metadata: dict[str, str]
    currency: str
    delinquent: bool
    discounts: tuple[DiscountRow, ...] = ()
    coupons: tuple[CouponRow, ...] = ()


@dataclass(frozen=True, slots=True)
class SubscriptionRow:
    """A subscription: its state for the engine, the rest for people, and what travels inside it."""

    id: str
    customer: str
    created: int | None
    state: SubscriptionState
    collection_method: str
    current_period_end: int | None
    cancel_at: int | None
    cancel_at_period_end: bool
    cancellation_comment: str
    schedule: str
    metadata: dict[str, str]
    discounts: tuple[DiscountRow, ...] = ()
    coupons: tuple[CouponRow, ...] = ()
    tax_rates: tuple[TaxRateRow, ...] = ()


@dataclass(frozen=True, slots=True)
class PriceRow:
    """A price. Amounts are Stripe's decimal text in minor units; `tiers` is None when they did not travel.

    `currency_options` likewise: by currency, `unit_amount_decimal` and `tiers`.
    """

    id: str
    created: int | None
    product: str
    nickname: str
    currency: str
    unit_amount_decimal: str
    interval: str
    interval_count: int
    usage_type: str
    billing_scheme: str
    tiers_mode: str
    tiers: list[dict[str, Any]] | None
    transform_quantity: dict[str, Any] | None
    is_active: bool
    currency_options: dict[str, dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class ProductRow:
    id: str
    created: int | None
    name: str
    is_active: bool


@dataclass(frozen=True, slots=True)
class LineRow:
    """One line of an invoice; amounts in minor units, negative for credits.

    `inclusive_taxes` are those inside its amount: `amount`, `taxable` and `rate` (its id); None where not told.
    """

    id: str
    amount_minor: int
    discount_minor: int
    tax_minor: int
    quantity: int | None
    is_proration: bool
    subscription: str
    subscription_item: str
    price: str
    description: str
    period_start: int | None
    period_end: int | None
    inclusive_taxes: tuple[dict[str, Any], ...] | None = None


@dataclass(frozen=True, slots=True)
class InvoiceRow:
    """An invoice with the lines that travelled; amounts in minor units."""

    id: str
    customer: str
    created: int | None
    subscription: str
    number: str
    status: str
    currency: str
    billing_reason: str
    collection_method: str
    amount_due_minor: int
    amount_paid_minor: int
    amount_remaining_minor: int
    subtotal_minor: int
    tax_minor: int
    total_minor: int
    attempt_count: int
    next_payment_attempt: int | None
    due: int | None
    finalized: int | None
    paid: int | None
    voided: int | None
    uncollectible: int | None
    has_all_lines: bool
    lines: tuple[LineRow, ...]
    tax_rates: tuple[TaxRateRow, ...] = ()


@dataclass(frozen=True, slots=True)
class ChargeRow:
    """A charge; `customer` is empty for a guest. `card_expires` is (year, month)."""

    id: str
    customer: str
    created: int | None
    invoice: str
    payment_intent: str
    status: str
    currency: str
    amount_minor: int
    refunded_minor: int
    is_disputed: bool
    failure_code: str
    card_expires: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class RefundRow:
    id: str
    created: int | None
    charge: str
    status: str
    reason: str
    currency: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class DisputeRow:
    id: str
    created: int | None
    charge: str
    status: str
    reason: str
    currency: str
    amount_minor: int
    evidence_due: int | None


@dataclass(frozen=True, slots=True)
class PayoutRow:
    id: str
    created: int | None
    status: str
    currency: str
    amount_minor: int
    arrives: int | None


@dataclass(frozen=True, slots=True)
class CouponRow:
    """A coupon's terms; `percent_off` is decimal text.

    None when they did not travel: `applies_to` (product ids) and `currency_options` (minor units off, by currency).
    """

    id: str
    created: int | None
    name: str
    percent_off: str
    amount_off_minor: int | None
    currency: str
    duration: str
    duration_in_months: int | None
    applies_to: list[str] | None
    is_valid: bool
    currency_options: dict[str, int] | None = None


@dataclass(frozen=True, slots=True)
class DiscountRow:
    """A coupon as applied: to a customer (`is_of_customer`), or to a subscription, an item or an invoice of it."""

    id: str
    customer: str
    subscription: str
    coupon: str
    start: int | None
    end: int | None
    coupons: tuple[CouponRow, ...] = ()
    is_of_customer: bool = False


@dataclass(frozen=True, slots=True)
class TaxRateRow:
    """An inclusive tax rate; `percentage` is decimal text."""

    id: str
    percentage: str


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """A subscription schedule; `subscription` is empty until it begins.

    `phases`: `start`, `end`, `trial_end` (Unix seconds), `discounts` (ids, or `coupon:` and a coupon's id) and `items`
    (`price`, `quantity`, `discounts`). `prices` and `coupons` are those that travelled whole.
    """

    id: str
    customer: str
    created: int | None
    subscription: str
    status: str
    currency: str
    end_behavior: str
    phases: list[dict[str, Any]]
    coupons: tuple[CouponRow, ...] = ()
    prices: tuple[dict[str, Any], ...] = ()
