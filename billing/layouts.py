"""Reads Stripe's objects in every API layout we know and returns our own values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

Json = Mapping[str, Any]


class LayoutError(Exception):
    """What we need of an object is missing or of another type. `reason` is the code to park its event with."""

    def __init__(self, message: str, *, reason: str = "layout_error") -> None:
        super().__init__(message)
        self.reason = reason


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
        empty: dict[str, Any] = {"quantity": None, "unit_amount_decimal": None}
        return cls(**{**empty, **stored, "discounts": tuple(stored.get("discounts", ()))})


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
        items = tuple([Item.from_json(item) for item in stored["items"]])
        return cls(**{**stored, "items": items, "discounts": tuple(stored.get("discounts", ()))})


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


@dataclass(frozen=True, slots=True)
class PriceRow:
    """A price. Amounts are Stripe's decimal text in minor units; `tiers` is None when they did not travel."""

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


@dataclass(frozen=True, slots=True)
class ProductRow:
    id: str
    created: int | None
    name: str
    is_active: bool


@dataclass(frozen=True, slots=True)
class LineRow:
    """One line of an invoice; amounts in minor units, negative for credits."""

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
    """A coupon's terms; `percent_off` is decimal text, `applies_to` None when it did not travel."""

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


@dataclass(frozen=True, slots=True)
class DiscountRow:
    """A coupon as applied to a customer or a subscription; either may be empty."""

    id: str
    customer: str
    subscription: str
    coupon: str
    start: int | None
    end: int | None
    coupons: tuple[CouponRow, ...] = ()


# ---- one reader per object ----


def customer(obj: Json) -> CustomerRow:
    """Read a customer; raises LayoutError."""
    address = obj.get("address")
    address = address if isinstance(address, dict) else {}
    found = _discounts([obj.get("discount")])
    return CustomerRow(
        id=_id(obj),
        created=_time(obj, "created"),
        name=_said(obj, "name", 500),
        email=_said(obj, "email", 512),
        phone=_said(obj, "phone", 100),
        description=_said(obj, "description", 10_000),
        country=_said(address, "country", 2),
        postal_code=_said(address, "postal_code", 50),
        address={key: value for key, value in address.items() if isinstance(value, str) and value},
        metadata=_metadata(obj),
        currency=_currency(obj, required=False),
        delinquent=obj.get("delinquent") is True,
        discounts=found,
        coupons=_coupons_of(found),
    )


def subscription(obj: Json) -> SubscriptionRow:
    """Read a subscription with its items; raises LayoutError (reason `no_customer` when nobody is named to pay)."""
    owner = _owner(obj)
    state, period_end = _state(obj)
    applied = [obj.get("discount"), *_list(obj.get("discounts"))]
    for item in obj["items"]["data"]:
        applied += _list(item.get("discounts"))
    found = _discounts(applied)
    details = obj.get("cancellation_details")
    return SubscriptionRow(
        id=_id(obj),
        customer=owner,
        created=_time(obj, "created"),
        state=state,
        collection_method=_said(obj, "collection_method", 30),
        current_period_end=period_end,
        cancel_at=_time(obj, "cancel_at"),
        cancel_at_period_end=obj.get("cancel_at_period_end") is True,
        cancellation_comment=_said(details, "comment", 10_000) if isinstance(details, dict) else "",
        schedule=_reference(obj, "schedule"),
        metadata=_metadata(obj),
        discounts=found,
        coupons=_coupons_of(found),
    )


def prices_of(obj: Json) -> dict[str, Json]:
    """Return the prices inside a subscription that could be read, as they are, by id."""
    return {item["price"]["id"]: item["price"] for item in obj["items"]["data"]}


def subscription_state(obj: Json) -> SubscriptionState:
    """Read what the engine needs of a subscription; raises LayoutError."""
    return _state(obj)[0]


def _state(obj: Json) -> tuple[SubscriptionState, int | None]:
    currency = _currency(obj)
    listed = obj.get("items")
    if not isinstance(listed, dict) or not isinstance(listed.get("data"), list):
        raise LayoutError("A subscription without its list of items.")
    # Before 2025-03-31 the period stood on the subscription, since then on each item.
    old_end = _time(obj, "current_period_end")
    items = tuple([_item(item, currency, old_end) for item in listed["data"]])
    ends = [item.period_end for item in items if item.period_end is not None]
    period_end = max(ends) if ends else old_end
    ends_at = _time(obj, "cancel_at")
    if ends_at is None and obj.get("cancel_at_period_end") is True:
        ends_at = period_end
    started_at = _time(obj, "start_date")
    if started_at is None:
        started_at = _time(obj, "created", required=True)
    assert started_at is not None
    paused = obj.get("pause_collection")
    details = obj.get("cancellation_details")
    details = details if isinstance(details, dict) else {}
    return SubscriptionState(
        status=_needed(obj, "status", 30),
        currency=currency,
        items=items,
        started_at=started_at,
        has_all_items=listed.get("has_more") is not True,
        trial_end=_time(obj, "trial_end"),
        ends_at=ends_at,
        canceled_at=_time(obj, "canceled_at"),
        ended_at=_time(obj, "ended_at"),
        pause_behavior=_said(paused, "behavior", 30) or None if isinstance(paused, dict) else None,
        cancellation_reason=_said(details, "reason", 50) or None,
        cancellation_feedback=_said(details, "feedback", 50) or None,
        discounts=_discount_ids(obj),
    ), period_end


def _item(item: Any, currency: str, old_end: int | None) -> Item:
    sold = item.get("price") if isinstance(item, dict) else None
    if not isinstance(sold, dict):
        raise LayoutError("A subscription item without its price.")
    terms = _terms(sold)
    packed = sold.get("transform_quantity")
    packed = packed if isinstance(packed, dict) else {}
    divide_by = _whole(packed, "divide_by", least=1)
    is_metered = terms.usage_type == "metered"
    period_end = _time(item, "current_period_end")
    return Item(
        id=_id(item),
        price=_id(sold),
        product=_reference(sold, "product"),
        # A price may be sold in a second currency while it goes on naming its first: the subscription's rules.
        currency=currency,
        quantity=None if is_metered else _whole(item, "quantity", least=0),
        interval=terms.interval,
        interval_count=terms.interval_count,
        usage_type=terms.usage_type,
        billing_scheme=terms.billing_scheme,
        unit_amount_decimal=terms.unit_amount_decimal,
        tiers_mode=_said(sold, "tiers_mode", 20) or None,
        divide_by=divide_by,
        round=_said(packed, "round", 10) or None if divide_by else None,
        is_custom=isinstance(sold.get("custom_unit_amount"), dict),
        period_end=period_end if period_end is not None else old_end,
        discounts=_discount_ids(item),
    )


@dataclass(frozen=True, slots=True)
class _Terms:
    interval: str
    interval_count: int
    usage_type: str
    billing_scheme: str
    unit_amount_decimal: str | None


INTERVALS: Final = frozenset({"day", "week", "month", "year"})


def _terms(sold: Json) -> _Terms:
    recurring = sold.get("recurring")
    if not isinstance(recurring, dict):
        recurring = {}
    interval = _said(recurring, "interval", 10)
    if interval and interval not in INTERVALS:
        raise LayoutError(f"An interval we do not know: {interval!r}.")
    return _Terms(
        interval,
        _whole(recurring, "interval_count", least=1, most=MOST_SMALL) or 1,
        _said(recurring, "usage_type", 20) or "licensed",
        _said(sold, "billing_scheme", 20) or "per_unit",
        _unit_amount(sold),
    )


def _unit_amount(sold: Json) -> str | None:
    """The exact amount as text: `unit_amount_decimal`, else `unit_amount` (older layouts have only that)."""
    exact = sold.get("unit_amount_decimal")
    if isinstance(exact, str) and exact:
        return _decimal(exact, "unit_amount_decimal")
    whole = _amount(sold, "unit_amount", required=False)
    return None if whole is None else str(whole)


def price(obj: Json) -> PriceRow:
    """Read a price; raises LayoutError."""
    terms = _terms(obj)
    tiers = obj.get("tiers")
    packed = obj.get("transform_quantity")
    return PriceRow(
        id=_id(obj),
        created=_time(obj, "created"),
        product=_reference(obj, "product"),
        nickname=_said(obj, "nickname", 500),
        currency=_currency(obj),
        unit_amount_decimal=terms.unit_amount_decimal or "",
        interval=terms.interval,
        interval_count=terms.interval_count,
        usage_type=terms.usage_type if terms.interval else "",
        billing_scheme=terms.billing_scheme,
        tiers_mode=_said(obj, "tiers_mode", 20),
        tiers=tiers if isinstance(tiers, list) else None,
        transform_quantity=packed if isinstance(packed, dict) else None,
        is_active=obj.get("active") is not False,
    )


def product(obj: Json) -> ProductRow:
    """Read a product; raises LayoutError."""
    return ProductRow(_id(obj), _time(obj, "created"), _said(obj, "name", 500), obj.get("active") is not False)


def invoice(obj: Json) -> InvoiceRow:
    """Read an invoice and the lines that travel with it; raises LayoutError (`no_customer` when nobody is billed)."""
    owner = _owner(obj)
    listed = obj.get("lines")
    listed = listed if isinstance(listed, dict) else {}
    moved = obj.get("status_transitions")
    moved = moved if isinstance(moved, dict) else {}
    total = _amount(obj, "total")
    assert total is not None
    return InvoiceRow(
        id=_id(obj),
        customer=owner,
        created=_time(obj, "created"),
        subscription=_invoice_subscription(obj),
        number=_said(obj, "number", 100),
        status=_said(obj, "status", 20),
        currency=_currency(obj),
        billing_reason=_said(obj, "billing_reason", 60),
        collection_method=_said(obj, "collection_method", 30),
        amount_due_minor=_amount_or_0(obj, "amount_due"),
        amount_paid_minor=_amount_or_0(obj, "amount_paid"),
        amount_remaining_minor=_amount_or_0(obj, "amount_remaining"),
        subtotal_minor=_amount_or_0(obj, "subtotal"),
        tax_minor=_taxes(obj, "total_taxes", "total_tax_amounts"),
        total_minor=total,
        attempt_count=_whole(obj, "attempt_count", least=0, most=MOST_SMALL) or 0,
        next_payment_attempt=_time(obj, "next_payment_attempt"),
        due=_time(obj, "due_date"),
        finalized=_time(moved, "finalized_at"),
        paid=_time(moved, "paid_at"),
        voided=_time(moved, "voided_at"),
        uncollectible=_time(moved, "marked_uncollectible_at"),
        has_all_lines=listed.get("has_more") is not True,
        lines=tuple([_line(line) for line in _list(listed.get("data"))]),
    )


def _invoice_subscription(obj: Json) -> str:
    """Since 2025-03-31 under `parent`, before at the top."""
    parent = obj.get("parent")
    details = parent.get("subscription_details") if isinstance(parent, dict) else None
    if isinstance(details, dict):
        return _reference(details, "subscription")
    return _reference(obj, "subscription")


def _line(line: Any) -> LineRow:
    if not isinstance(line, dict):
        raise LayoutError("An invoice line that is no object.")
    parent = line.get("parent")
    parent = parent if isinstance(parent, dict) else {}
    details = parent.get("subscription_item_details") or parent.get("invoice_item_details")
    details = details if isinstance(details, dict) else line  # before 2025-03-31 all stood on the line itself
    pricing = line.get("pricing")
    sold = pricing.get("price_details") if isinstance(pricing, dict) else None
    period = line.get("period")
    period = period if isinstance(period, dict) else {}
    amount = _amount(line, "amount")
    assert amount is not None
    return LineRow(
        id=_id(line),
        amount_minor=amount,
        discount_minor=sum(_amount_or_0(part, "amount") for part in _objects(line.get("discount_amounts"))),
        tax_minor=_taxes(line, "taxes", "tax_amounts"),
        quantity=_whole(line, "quantity"),
        is_proration=details.get("proration") is True,
        subscription=_reference(details, "subscription") or _reference(line, "subscription"),
        subscription_item=_reference(details, "subscription_item"),
        price=_reference(sold if isinstance(sold, dict) else line, "price"),
        description=_said(line, "description", 10_000),
        period_start=_time(period, "start"),
        period_end=_time(period, "end"),
    )


def _taxes(obj: Json, newest: str, older: str) -> int:
    """The sum of the taxes; the oldest layouts have one figure, `tax`."""
    listed = obj.get(newest)
    if not isinstance(listed, list):
        listed = obj.get(older)
    if isinstance(listed, list):
        return sum(_amount_or_0(part, "amount") for part in _objects(listed))
    return _amount_or_0(obj, "tax")


def charge(obj: Json) -> ChargeRow:
    """Read a charge; raises LayoutError."""
    paid_with = obj.get("payment_method_details")
    card = paid_with.get("card") if isinstance(paid_with, dict) else None
    amount = _amount(obj, "amount")
    assert amount is not None
    return ChargeRow(
        id=_id(obj),
        customer=_reference(obj, "customer"),
        created=_time(obj, "created"),
        invoice=_reference(obj, "invoice"),
        payment_intent=_reference(obj, "payment_intent"),
        status=_said(obj, "status", 20),
        currency=_currency(obj),
        amount_minor=amount,
        refunded_minor=_amount_or_0(obj, "amount_refunded"),
        is_disputed=obj.get("disputed") is True,
        failure_code=_said(obj, "failure_code", 100),
        card_expires=_expiry(card) if isinstance(card, dict) else None,
    )


def _expiry(card: Json) -> tuple[int, int] | None:
    year, month = card.get("exp_year"), card.get("exp_month")
    if type(year) is int and type(month) is int and 1900 < year < 9999 and 1 <= month <= 12:
        return year, month
    return None


def refund(obj: Json) -> RefundRow:
    """Read a refund; raises LayoutError."""
    amount = _amount(obj, "amount")
    assert amount is not None
    return RefundRow(
        _id(obj),
        _time(obj, "created"),
        _reference(obj, "charge"),
        _said(obj, "status", 20),
        _said(obj, "reason", 50),
        _currency(obj),
        amount,
    )


def dispute(obj: Json) -> DisputeRow:
    """Read a dispute, which names a charge and never a customer; raises LayoutError."""
    details = obj.get("evidence_details")
    amount = _amount(obj, "amount")
    assert amount is not None
    return DisputeRow(
        _id(obj),
        _time(obj, "created"),
        _reference(obj, "charge"),
        _needed(obj, "status", 40),
        _said(obj, "reason", 60),
        _currency(obj),
        amount,
        _time(details, "due_by") if isinstance(details, dict) else None,
    )


def payout(obj: Json) -> PayoutRow:
    """Read a payout; raises LayoutError."""
    amount = _amount(obj, "amount")
    assert amount is not None
    return PayoutRow(
        _id(obj),
        _time(obj, "created"),
        _said(obj, "status", 20),
        _currency(obj),
        amount,
        _time(obj, "arrival_date"),
    )


def coupon(obj: Json) -> CouponRow:
    """Read a coupon; raises LayoutError."""
    limited = obj.get("applies_to")
    products = limited.get("products") if isinstance(limited, dict) else None
    percent = obj.get("percent_off")
    return CouponRow(
        id=_id(obj),
        created=_time(obj, "created"),
        name=_said(obj, "name", 500),
        percent_off="" if percent is None else _decimal(str(percent), "percent_off"),
        amount_off_minor=_amount(obj, "amount_off", required=False),
        currency=_currency(obj, required=False),
        duration=_said(obj, "duration", 20),
        duration_in_months=_whole(obj, "duration_in_months", least=0, most=MOST_SMALL),
        applies_to=[entry for entry in products if isinstance(entry, str)] if isinstance(products, list) else None,
        is_valid=obj.get("valid") is not False,
    )


def discount(obj: Json) -> DiscountRow:
    """Read a discount; raises LayoutError. Since clover the coupon stands under `source`."""
    source = obj.get("source")
    holder = source if isinstance(source, dict) and source.get("coupon") else obj
    whole = holder.get("coupon")
    return DiscountRow(
        id=_id(obj),
        customer=_reference(obj, "customer"),
        subscription=_reference(obj, "subscription"),
        coupon=_reference(holder, "coupon"),
        start=_time(obj, "start"),
        end=_time(obj, "end"),
        coupons=(coupon(whole),) if isinstance(whole, dict) else (),
    )


def before(obj: Json, previous: Json) -> dict[str, Any]:
    """Return the object as it was before an update: `previous_attributes` put back.

    Hashes are merged key by key, arrays and plain values replaced whole, as Stripe sends them.
    """
    merged = dict(obj)
    for key, value in previous.items():
        now = merged.get(key)
        merged[key] = before(now, value) if isinstance(now, dict) and isinstance(value, dict) else value
    return merged


# ---- single values, checked ----

MOST: Final = 2**63 - 1
MOST_SMALL: Final = 2**31 - 1
LATEST: Final = 253_402_300_799


def _id(obj: Json) -> str:
    found = obj.get("id")
    if not isinstance(found, str) or not 0 < len(found) <= 255:
        raise LayoutError(f"{str(obj.get('object') or 'An object')[:30]} without an id.")
    return found


def _owner(obj: Json) -> str:
    found = _reference(obj, "customer")
    if not found:
        raise LayoutError("It names no customer.", reason="no_customer")
    return found


def _reference(obj: Json, key: str) -> str:
    """An id, given as text or as the whole object; empty when there is none."""
    found = obj.get(key)
    if isinstance(found, dict):
        found = found.get("id")
    if found is None:
        return ""
    if not isinstance(found, str) or len(found) > 255:
        raise LayoutError(f"{key} is no id.")
    return found


def _said(obj: Json, key: str, most: int) -> str:
    """A text for people or a code, cut to its column; empty when there is none."""
    found = obj.get(key)
    return found[:most] if isinstance(found, str) else ""


def _needed(obj: Json, key: str, most: int) -> str:
    found = obj.get(key)
    if not isinstance(found, str) or not 0 < len(found) <= most:
        raise LayoutError(f"{key} is missing.")
    return found


def _currency(obj: Json, *, required: bool = True) -> str:
    found = obj.get("currency")
    if isinstance(found, str) and len(found) == 3 and found.isascii() and found.isalpha():
        return found.lower()
    if required or found:
        raise LayoutError("currency is no three letters.")
    return ""


def _amount(obj: Json, key: str, *, required: bool = True) -> int | None:
    """An amount in minor units: a whole number that a database column holds."""
    found = obj.get(key)
    if type(found) is int and -MOST <= found <= MOST:
        return found
    if found is None and not required:
        return None
    raise LayoutError(f"{key} is no amount in whole minor units.")


def _amount_or_0(obj: Json, key: str) -> int:
    return _amount(obj, key, required=False) or 0


def _decimal(text: str, key: str) -> str:
    digits = text.removeprefix("-").replace(".", "", 1)
    if not digits.isascii() or not digits.isdigit() or len(text) > 40:
        raise LayoutError(f"{key} is no decimal number.")
    return text


def _whole(obj: Json, key: str, *, least: int = -MOST, most: int = MOST) -> int | None:
    found = obj.get(key)
    if found is None:
        return None
    if type(found) is not int or not least <= found <= most:
        raise LayoutError(f"{key} is no whole number in its range.")
    return found


def _time(obj: Json, key: str, *, required: bool = False) -> int | None:
    found = obj.get(key)
    if found is None and not required:
        return None
    if type(found) is not int or not 0 <= found <= LATEST:
        raise LayoutError(f"{key} is no time in Unix seconds.")
    return found


def _metadata(obj: Json) -> dict[str, str]:
    found = obj.get("metadata")
    return {key: value for key, value in found.items() if isinstance(value, str)} if isinstance(found, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _objects(value: Any) -> list[dict[str, Any]]:
    return [part for part in _list(value) if isinstance(part, dict)]


def _discount_ids(obj: Json) -> tuple[str, ...]:
    """Ids in `discounts`, given as text or whole; before 2024 one whole `discount`."""
    listed = obj.get("discounts")
    if not isinstance(listed, list):
        listed = [obj["discount"]] if isinstance(obj.get("discount"), dict) else []
    if not listed:
        return ()
    return tuple([_reference({"discount": entry}, "discount") for entry in listed])


def _discounts(applied: list[Any]) -> tuple[DiscountRow, ...]:
    """The discounts that travel whole, each once."""
    found: dict[str, DiscountRow] = {}
    for entry in applied:
        if isinstance(entry, dict):
            row = discount(entry)
            found[row.id] = row
    return tuple(found.values())


def _coupons_of(discounts: tuple[DiscountRow, ...]) -> tuple[CouponRow, ...]:
    return tuple([whole for row in discounts for whole in row.coupons])
