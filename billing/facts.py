"""What the engine needs to know of a customer beside its subscriptions' snapshots: terms, rulings, plans, usage.

Values alone. They come from the mirror (events and fetched objects), in no order that matters; times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

FETCHED: Final = "fetched"  # the type of a state that was read from Stripe's API instead of told by an event


@dataclass(frozen=True, slots=True)
class Tier:
    """One tier of a price, amounts as decimal text in minor units; `up_to` is None for the last one."""

    up_to: int | None
    unit_amount_decimal: str = "0"
    flat_amount_decimal: str = "0"


@dataclass(frozen=True, slots=True)
class PriceTerms:
    """What a price costs in one currency, as far as it is known: webhooks lack tiers and other currencies' amounts."""

    unit_amount_decimal: str | None = None
    tiers_mode: str | None = None
    tiers: tuple[Tier, ...] = ()


@dataclass(frozen=True, slots=True)
class DiscountTerms:
    """A coupon as it was applied. Either `percent_off` (decimal text) or an amount in minor units per currency.

    `applies_to` are product ids, None for all; `end` is when it stops by itself (`repeating`), `start` when it began.
    """

    id: str
    duration: str
    percent_off: str | None = None
    amounts_off: tuple[tuple[str, int], ...] = ()
    applies_to: tuple[str, ...] | None = None
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class CustomerDiscount:
    """A discount on the customer itself: from when, and until when it was taken away or replaced (None = it stands)."""

    id: str
    start: int
    end: int | None
    event_id: str


@dataclass(frozen=True, slots=True)
class TaxSeen:
    """Inclusive tax of a finalised invoice line; `rate` is exact text such as `21/100`, of the amount without tax."""

    at: int
    rate: str


@dataclass(frozen=True, slots=True)
class Ruling:
    """A dispute lost (`is_lost`), or an invoice of the same subscription paid afterwards."""

    at: int
    event_id: str
    is_lost: bool
    is_live: bool


@dataclass(frozen=True, slots=True)
class PlannedItem:
    """An item of a schedule's phase; `interval` is empty while its price is not known yet."""

    price: str
    product: str
    quantity: int | None
    interval: str
    interval_count: int
    usage_type: str = "licensed"
    billing_scheme: str = "per_unit"
    unit_amount_decimal: str | None = None
    tiers_mode: str | None = None
    divide_by: int | None = None
    round: str | None = None
    discounts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase of a schedule; `end` is None for one without end, `trial_end` is set when it begins with a trial."""

    start: int
    end: int | None
    items: tuple[PlannedItem, ...]
    discounts: tuple[str, ...] = ()
    trial_end: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A subscription schedule that is not over. `subscription` is empty while it has not begun (a future start)."""

    schedule: str
    subscription: str
    currency: str
    phases: tuple[Phase, ...]
    ends_with: str = "release"  # Stripe's end_behavior: release or cancel


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known of one customer beside the snapshots. What is missing here is unknown, never nothing.

    `prices` by (price id, currency); `taxes` by subscription item; `rulings` (oldest first) and `first_paid` (when an
    invoice was first paid) by subscription; `usage` by subscription item: what metered usage came to in minor units in
    the last closed billing periods, newest last, at most three; `migrated` are subscriptions that one of another
    customer replaced, `arrived` those that replaced one.
    """

    prices: Mapping[tuple[str, str], PriceTerms] = field(default_factory=dict)
    discounts: Mapping[str, DiscountTerms] = field(default_factory=dict)
    customer_discounts: tuple[CustomerDiscount, ...] = ()
    taxes: Mapping[str, tuple[TaxSeen, ...]] = field(default_factory=dict)
    rulings: Mapping[str, tuple[Ruling, ...]] = field(default_factory=dict)
    first_paid: Mapping[str, int] = field(default_factory=dict)
    plans: tuple[Plan, ...] = ()
    usage: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    migrated: frozenset[str] = frozenset()
    arrived: frozenset[str] = frozenset()


NOTHING_KNOWN = Facts()
