"""The kinds of Stripe objects we mirror, which events tell of them, and how each is read and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from billing import columns, envelope, layouts
from billing.columns import Columns, Key
from billing.models import (
    Charge,
    Coupon,
    Customer,
    Discount,
    Dispute,
    Invoice,
    Mirrored,
    Payout,
    Price,
    Product,
    Refund,
    StripeEvent,
    Subscription,
)
from billing.values import LayoutError


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of Stripe object: how it is read, where it is kept, and which columns its row fills."""

    name: str
    model: type[Mirrored]
    read: Callable[[Mapping[str, Any]], Any]
    columns: Callable[[columns.Known, columns.Told], Columns]
    ignored: tuple[str, ...] = ()  # what travels inside a row and plays no part in its order

    def judged(self, row: Any) -> Any:
        """Return what an object's order among its events is judged by."""
        return replace(row, **dict.fromkeys(self.ignored, ())) if self.ignored else row


@dataclass
class Mention:
    """One event's word about one object. `state` and `before` are what its order among the others is judged by."""

    event: StripeEvent
    key: Key
    created: int
    row: Any
    previous: Mapping[str, Any] | None
    obj: Mapping[str, Any]
    kind: Kind

    @property
    def event_id(self) -> str:
        return self.event.stripe_id

    @property
    def event_type(self) -> str:
        return self.event.type

    @cached_property
    def state_json(self) -> Columns:
        """A subscription's state as it is stored, in its own row and in the snapshot."""
        found: Columns = self.row.state.to_json()
        return found

    @property
    def state(self) -> Any:
        return self.kind.judged(self.row)

    @property
    def before(self) -> Any | None:
        if self.previous is None:
            return None
        try:
            return self.kind.judged(self.kind.read(layouts.before(self.obj, self.previous)))
        except LayoutError:
            return None  # a hint that cannot be read is no hint


def mention(event: StripeEvent, kind: Kind, body: Mapping[str, Any]) -> Mention:
    """Read what an event tells; raises LayoutError."""
    outer = body["data"]
    obj = outer["object"]
    if obj.get("object", kind.name) != kind.name:
        raise LayoutError(f"It carries no {kind.name}.")
    row = kind.read(obj)
    previous = outer.get("previous_attributes")
    return Mention(
        event,
        (event.source_id, row.id),
        body["created"],
        row,
        previous if isinstance(previous, dict) else None,
        obj,
        kind,
    )


def mention_again(event: StripeEvent, kind: Kind) -> Mention | None:
    """Read an event that was applied earlier; None should this release no longer read it."""
    try:
        body, _ = envelope.parse(bytes(event.body))
        return mention(event, kind, body)
    except (LayoutError, KeyError, TypeError):
        return None


# ---- which events tell of what; whatever is not here is kept and ignored ----

# Written in this order by every worker, so that no two wait for each other.
KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind("customer", Customer, layouts.customer, columns.of_customer),
        Kind("product", Product, layouts.product, columns.of_product),
        Kind("price", Price, layouts.price, columns.of_told_price),
        Kind("coupon", Coupon, layouts.coupon, columns.of_told_coupon),
        Kind("discount", Discount, layouts.discount, columns.of_told_discount),
        Kind("subscription", Subscription, layouts.subscription, columns.of_subscription, ("discounts", "coupons")),
        Kind("invoice", Invoice, layouts.invoice, columns.of_invoice),
        Kind("charge", Charge, layouts.charge, columns.of_charge),
        Kind("refund", Refund, layouts.refund, columns.of_refund),
        Kind("dispute", Dispute, layouts.dispute, columns.of_dispute),
        Kind("payout", Payout, layouts.payout, columns.of_payout),
    )
}
EVENTS: Final = {
    "customer": ("customer", "created updated deleted"),
    "customer.subscription": (
        "subscription",
        "created updated deleted paused resumed trial_will_end pending_update_applied pending_update_expired",
    ),
    "customer.discount": ("discount", "created updated deleted"),
    "product": ("product", "created updated deleted"),
    "price": ("price", "created updated deleted"),
    "coupon": ("coupon", "created updated deleted"),
    "invoice": (
        "invoice",
        "created updated deleted finalized finalization_failed sent paid payment_succeeded payment_failed "
        "payment_action_required payment_attempt_required overdue overpaid will_be_due voided marked_uncollectible",
    ),
    "charge": ("charge", "pending succeeded failed captured expired updated refunded"),
    "charge.refund": ("refund", "updated"),
    "refund": ("refund", "created updated failed"),
    "charge.dispute": ("dispute", "created updated closed funds_withdrawn funds_reinstated"),
    "payout": ("payout", "created updated paid failed canceled reconciliation_completed"),
}
HANDLERS: Final[dict[str, Kind]] = {
    f"{prefix}.{verb}": KINDS[name] for prefix, (name, verbs) in EVENTS.items() for verb in verbs.split()
}


@dataclass(frozen=True, slots=True)
class Time:
    """A column that keeps when something happened, whatever was told after it."""

    column: str
    chosen: Callable[[int, int], int]  # the first or the last time, should it be told twice

    @property
    def rule(self) -> str:
        sign = ">" if self.chosen is max else "<"
        new, old = f"excluded.{self.column}", f"t.{self.column}"
        return f"CASE WHEN {old} IS NULL OR {new} {sign} {old} THEN {new} ELSE {old} END"


TIMES: Final = {
    "customer.deleted": Time("deleted_at", min),
    "invoice.payment_failed": Time("last_failed_at", max),
    "charge.dispute.closed": Time("closed_at", max),
}

# Columns that do not simply take the last event's word.
KNOWN_ONCE = "COALESCE(excluded.{0}, t.{0})"
OWN_RULES: Final = {
    "customer": {"deleted_at": TIMES["customer.deleted"].rule},
    "invoice": {"last_failed_at": TIMES["invoice.payment_failed"].rule},
    "charge": {"customer_id": KNOWN_ONCE.format("customer_id")},
    "price": {"tiers": KNOWN_ONCE.format("tiers")},  # only a read that asks for them brings them
    "coupon": {"applies_to": KNOWN_ONCE.format("applies_to")},
    "refund": {"customer_id": KNOWN_ONCE.format("customer_id")},
    "dispute": {
        "customer_id": KNOWN_ONCE.format("customer_id"),
        "closed_at": TIMES["charge.dispute.closed"].rule,
    },
}
