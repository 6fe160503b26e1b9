"""The lists of Stripe's API that we read: what each is asked for, and which must be read before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Resource:
    """One list. `kind` is the mirror's (or `event`); `expand` asks for what payloads lack, at most four levels deep.

    `after` are lists to be read before it, so that what it names is known. What `is_dated` belongs to its time and is
    read only from where a listing begins; the rest is read whole, for MRR needs all of it.
    """

    name: str
    kind: str
    path: str
    expand: tuple[str, ...] = ()
    filters: Mapping[str, Any] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    is_dated: bool = False


EVENT: Final = "event"
MRR: Final = "mrr"  # counted after the lists, by customer
EVENTS: Final = "events"
UNDELIVERED: Final = "undelivered events"
OPEN_INVOICES: Final = "open invoices"

RESOURCES: Final = {
    resource.name: resource
    for resource in (
        Resource("products", "product", "products"),
        Resource("prices", "price", "prices", ("data.tiers", "data.currency_options")),
        Resource("coupons", "coupon", "coupons", ("data.applies_to", "data.currency_options")),
        Resource("schedules", "subscription_schedule", "subscription_schedules", ("data.phases.items.price",)),
        Resource("customers", "customer", "customers", ("data.discount.source.coupon",)),
        Resource(
            "subscriptions",
            "subscription",
            "subscriptions",
            ("data.discounts.source.coupon", "data.items.data.discounts"),
            {"status": "all"},  # without it the cancelled ones stay out
            after=("schedules", "coupons"),
        ),
        Resource("payouts", "payout", "payouts", is_dated=True),
        Resource("charges", "charge", "charges", is_dated=True),
        Resource("refunds", "refund", "refunds", after=("charges",), is_dated=True),
        Resource("disputes", "dispute", "disputes", after=("charges",), is_dated=True),
        Resource("invoices", "invoice", "invoices", after=("subscriptions",), is_dated=True),
        Resource(OPEN_INVOICES, "invoice", "invoices", filters={"status": "open"}, after=("subscriptions",)),
        Resource(EVENTS, EVENT, "events", is_dated=True),
        Resource(UNDELIVERED, EVENT, "events", filters={"delivery_success": "false"}, is_dated=True),
    )
}
BACKFILLED: Final = tuple(name for name in RESOURCES if name != UNDELIVERED)
RECOUNTED: Final = (
    EVENTS,
    "products",
    "prices",
    "coupons",
    "schedules",
    "customers",
    "subscriptions",
    OPEN_INVOICES,
)
CAUGHT_UP: Final = (UNDELIVERED, EVENTS)
