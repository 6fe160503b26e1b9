"""The kinds of Stripe objects we mirror, which events tell of them, and how each is read and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from billing import columns, envelope, layouts, redacting
from billing.columns import Columns, Key
from billing.facts import FETCHED
from billing.models import (
    Charge,
    Coupon,
    Customer,
    Discount,
    Dispute,
    Invoice,
    Mirrored,
    Origin,
    Payout,
    Price,
    Product,
    Refund,
    StripeEvent,
    Subscription,
    SubscriptionSchedule,
)
from billing.values import LayoutError

FETCH_PREFIX: Final = "fetch_"


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
    def is_fetched(self) -> bool:
        return self.event.type == FETCHED

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


def fetched(source_pk: int, kind: Kind, obj: Mapping[str, Any], *, asked: int) -> Mention:
    """Read a fetched object, which tells what was true the second before its request (Unix seconds). LayoutError."""
    row = kind.read(obj)
    event = StripeEvent(
        source_id=source_pk, stripe_id=f"{FETCH_PREFIX}{row.id}_{asked}", type=FETCHED, origin=Origin.BACKFILL
    )
    return Mention(event, (source_pk, row.id), asked - 1, row, None, obj, kind)


def without_person(mention: Mention) -> Mention:
    """Return an event's word without what tells of a person."""
    obj = redacting.without_person(mention.obj)
    previous = None if mention.previous is None else redacting.without_person(mention.previous)
    return replace(mention, row=mention.kind.read(obj), obj=obj, previous=previous)


def mention_again(event: StripeEvent, kind: Kind) -> Mention | None:
    """Read an event that was applied earlier; None should this release no longer read it."""
    try:
        body, _ = envelope.parse(bytes(event.body))
        return mention(event, kind, body)
    except (LayoutError, KeyError, TypeError):
        return None


# ---- which events tell of what; whatever is not here is kept and ignored ----

INSIDE: Final = ("discounts", "coupons", "tax_rates")

# Written in this order by every worker, so that no two wait for each other.
KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind("customer", Customer, layouts.customer, columns.of_customer),
        Kind("product", Product, layouts.product, columns.of_product),
        Kind("price", Price, layouts.price, columns.of_told_price),
        Kind("coupon", Coupon, layouts.coupon, columns.of_told_coupon),
        Kind("discount", Discount, layouts.discount, columns.of_told_discount),
        Kind("subscription", Subscription, layouts.subscription, columns.of_subscription, INSIDE),
        Kind("subscription_schedule", SubscriptionSchedule, layouts.schedule, columns.of_schedule),
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
    "subscription_schedule": (
        "subscription_schedule",
        "created updated canceled released completed aborted expiring",
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
    "customer.discount.deleted": Time("deleted_at", min),
    "invoice.payment_failed": Time("last_failed_at", max),
    "charge.dispute.closed": Time("closed_at", max),
}

# Columns that do not simply take the last event's word.
KNOWN_ONCE = "COALESCE(excluded.{0}, t.{0})"
FIRST_KNOWN = "COALESCE(t.{0}, excluded.{0})"
NAMED_ONCE = "CASE WHEN excluded.{0} = '' THEN t.{0} ELSE excluded.{0} END"
TOLD_FIRST = (
    "CASE WHEN t.first_at IS NULL OR excluded.first_at < t.first_at "
    "OR (excluded.first_at = t.first_at AND excluded.first_event < t.first_event) THEN excluded.{0} ELSE t.{0} END"
)
FIRST_TOLD: Final = {name: TOLD_FIRST.format(name) for name in ("first_at", "first_event")}
OWN_RULES: Final = {
    "customer": {"deleted_at": TIMES["customer.deleted"].rule},
    "discount": {
        "deleted_at": TIMES["customer.discount.deleted"].rule,
        "customer_id": KNOWN_ONCE.format("customer_id"),
        **FIRST_TOLD,
    },
    "invoice": {"last_failed_at": TIMES["invoice.payment_failed"].rule},
    "charge": {"customer_id": KNOWN_ONCE.format("customer_id"), "invoice_id": NAMED_ONCE.format("invoice_id")},
    "price": {  # only a read that asks for them brings them
        "tiers": KNOWN_ONCE.format("tiers"),
        "currency_options": KNOWN_ONCE.format("currency_options"),
    },
    "coupon": {"applies_to": KNOWN_ONCE.format("applies_to")},
    "refund": {"customer_id": KNOWN_ONCE.format("customer_id")},
    "dispute": {
        "customer_id": KNOWN_ONCE.format("customer_id"),
        "closed_at": TIMES["charge.dispute.closed"].rule,
    },
}
