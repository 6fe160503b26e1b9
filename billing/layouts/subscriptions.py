"""Reads customers, their subscriptions with all items, and what schedules plan."""

from __future__ import annotations

from typing import Any

from billing import values
from billing.layouts.discounts import coupon, coupons_of, discount_ids, whole_discounts
from billing.layouts.sold import inclusive_percentage, tax_rates, terms_of
from billing.rows import (
    CustomerRow,
    Item,
    ScheduleRow,
    SubscriptionRow,
    SubscriptionState,
)
from billing.values import Json, LayoutError


def customer(obj: Json) -> CustomerRow:
    """Read a customer; raises LayoutError."""
    address = obj.get("address")
    address = address if isinstance(address, dict) else {}
    found = whole_discounts([obj.get("discount")])
    return CustomerRow(
        id=values.id_of(obj),
        created=values.time(obj, "created"),
        name=values.said(obj, "name", 500),
        email=values.said(obj, "email", 512),
        phone=values.said(obj, "phone", 100),
        description=values.said(obj, "description", 10_000),
        country=values.said(address, "country", 2),
        postal_code=values.said(address, "postal_code", 50),
        address={key: value for key, value in address.items() if isinstance(value, str) and value},
        metadata=values.metadata(obj),
        currency=values.currency(obj, required=False),
        delinquent=obj.get("delinquent") is True,
        discounts=found,
        coupons=coupons_of(found),
    )


def subscription(obj: Json) -> SubscriptionRow:
    """Read a subscription with its items; raises LayoutError (reason `no_customer` when nobody is named to pay)."""
    owner = values.owner(obj)
    state, period_end = _state(obj)
    applied = [obj.get("discount"), *values.items_of(obj.get("discounts"))]
    rated = values.objects(obj.get("default_tax_rates"))
    for item in obj["items"]["data"]:
        applied += values.items_of(item.get("discounts"))
        rated += values.objects(item.get("tax_rates"))
    found = whole_discounts(applied)
    details = obj.get("cancellation_details")
    return SubscriptionRow(
        id=values.id_of(obj),
        customer=owner,
        created=values.time(obj, "created"),
        state=state,
        collection_method=values.said(obj, "collection_method", 30),
        current_period_end=period_end,
        cancel_at=values.time(obj, "cancel_at"),
        cancel_at_period_end=obj.get("cancel_at_period_end") is True,
        cancellation_comment=values.said(details, "comment", 10_000) if isinstance(details, dict) else "",
        schedule=values.reference(obj, "schedule"),
        metadata=values.metadata(obj),
        discounts=found,
        coupons=coupons_of(found),
        tax_rates=tax_rates(rated),
    )


def prices_of(obj: Json) -> dict[str, Json]:
    """Return the prices inside a subscription that could be read, as they are, by id."""
    return {item["price"]["id"]: item["price"] for item in obj["items"]["data"]}


def subscription_state(obj: Json) -> SubscriptionState:
    """Read what the engine needs of a subscription; raises LayoutError."""
    return _state(obj)[0]


def _state(obj: Json) -> tuple[SubscriptionState, int | None]:
    currency = values.currency(obj)
    listed = obj.get("items")
    if not isinstance(listed, dict) or not isinstance(listed.get("data"), list):
        raise LayoutError("A subscription without its list of items.")
    # Before 2025-03-31 the period stood on the subscription, since then on each item.
    old_end = values.time(obj, "current_period_end")
    inclusive_tax = inclusive_percentage(obj.get("default_tax_rates"))
    items = tuple([_item(item, currency, old_end, inclusive_tax) for item in listed["data"]])
    ends = [item.period_end for item in items if item.period_end is not None]
    period_end = max(ends) if ends else old_end
    ends_at = values.time(obj, "cancel_at")
    if ends_at is None and obj.get("cancel_at_period_end") is True:
        ends_at = period_end
    started_at = values.time(obj, "start_date")
    if started_at is None:
        started_at = values.time(obj, "created", required=True)
    assert started_at is not None
    paused = obj.get("pause_collection")
    details = obj.get("cancellation_details")
    details = details if isinstance(details, dict) else {}
    return SubscriptionState(
        status=values.needed(obj, "status", 30),
        currency=currency,
        items=items,
        started_at=started_at,
        has_all_items=listed.get("has_more") is not True,
        trial_end=values.time(obj, "trial_end"),
        ends_at=ends_at,
        canceled_at=values.time(obj, "canceled_at"),
        ended_at=values.time(obj, "ended_at"),
        pause_behavior=values.said(paused, "behavior", 30) or None if isinstance(paused, dict) else None,
        cancellation_reason=values.said(details, "reason", 50) or None,
        cancellation_feedback=values.said(details, "feedback", 50) or None,
        inclusive_tax=inclusive_tax,
        discounts=discount_ids(obj),
    ), period_end


def _item(item: Any, currency: str, old_end: int | None, default_tax: str | None) -> Item:
    sold = item.get("price") if isinstance(item, dict) else None
    if not isinstance(sold, dict):
        raise LayoutError("A subscription item without its price.")
    terms = terms_of(sold)
    packed = sold.get("transform_quantity")
    packed = packed if isinstance(packed, dict) else {}
    divide_by = values.whole(packed, "divide_by", least=1)
    is_metered = terms.usage_type == "metered"
    period_end = values.time(item, "current_period_end")
    # A price may be sold in a second currency while it goes on naming its first: the subscription's rules, and the
    # amount that travels is the wrong one.
    price_currency = values.said(sold, "currency", 3).lower()
    is_of_another = bool(price_currency) and price_currency != currency
    return Item(
        id=values.id_of(item),
        price=values.id_of(sold),
        product=values.reference(sold, "product"),
        currency=currency,
        quantity=None if is_metered else values.whole(item, "quantity", least=0),
        interval=terms.interval,
        interval_count=terms.interval_count,
        usage_type=terms.usage_type,
        billing_scheme=terms.billing_scheme,
        unit_amount_decimal=None if is_of_another else terms.unit_amount_decimal,
        tiers_mode=values.said(sold, "tiers_mode", 20) or None,
        divide_by=divide_by,
        round=values.said(packed, "round", 10) or None if divide_by else None,
        is_custom=isinstance(sold.get("custom_unit_amount"), dict),
        period_end=period_end if period_end is not None else old_end,
        price_currency=price_currency if is_of_another else None,
        tax_behavior=_tax_behavior(item, sold, default_tax),
        inclusive_tax=inclusive_percentage(item.get("tax_rates")),
        discounts=discount_ids(item),
    )


def _tax_behavior(item: Json, sold: Json, default_tax: str | None) -> str | None:
    """`inclusive`, or None: by the price, or by the tax rates that apply (an item's own replace the subscription's)."""
    if sold.get("tax_behavior") == "inclusive":
        return "inclusive"
    own = item.get("tax_rates")
    by_rates = inclusive_percentage(own) if own else default_tax
    return "inclusive" if by_rates else None


def schedule(obj: Json) -> ScheduleRow:
    """Read a subscription schedule; raises LayoutError. Its phases are plain JSON, as ScheduleRow says."""
    phases = values.objects(obj.get("phases"))
    currencies = [values.currency(phase, required=False) for phase in phases]
    sold = [item.get("price") for phase in phases for item in _phase_items(phase)]
    return ScheduleRow(
        id=values.id_of(obj),
        customer=values.owner(obj),
        created=values.time(obj, "created"),
        subscription=values.reference(obj, "subscription"),
        status=values.said(obj, "status", 20),
        currency=next((code for code in currencies if code), ""),
        end_behavior=values.said(obj, "end_behavior", 20) or "release",
        phases=[_phase(phase) for phase in phases],
        coupons=tuple([coupon(whole) for phase in phases for whole in _whole_coupons(phase)]),
        prices=tuple([price for price in sold if isinstance(price, dict)]),
    )


def _phase(phase: Json) -> dict[str, Any]:
    start = values.time(phase, "start_date", required=True)
    end = values.time(phase, "end_date")
    trial_end = end if phase.get("trial") is True else values.time(phase, "trial_end")
    return {
        "start": start,
        "end": end,
        "trial_end": trial_end if trial_end is not None and start is not None and trial_end > start else None,
        "discounts": _planned_discounts(phase),
        "items": [
            {
                "price": values.reference(item, "price") or values.reference(item, "plan"),
                "quantity": values.whole(item, "quantity", least=0),
                "discounts": _planned_discounts(item),
            }
            for item in _phase_items(phase)
        ],
    }


def _phase_items(phase: Json) -> list[dict[str, Any]]:
    return values.objects(phase.get("items"))


def _planned_discounts(holder: Json) -> list[str]:
    """Ids of discounts that stand already, `coupon:` and the coupon's id of those that will be made of one."""
    listed = values.objects(holder.get("discounts")) or [{"coupon": holder.get("coupon")}]
    found = []
    for entry in listed:
        name, made_of = values.reference(entry, "discount"), values.reference(entry, "coupon")
        if name or made_of:
            found.append(name or f"coupon:{made_of}")
    return found


def _whole_coupons(phase: Json) -> list[dict[str, Any]]:
    holders = [phase, *_phase_items(phase)]
    entries = [entry for holder in holders for entry in [holder, *values.objects(holder.get("discounts"))]]
    return [entry["coupon"] for entry in entries if isinstance(entry.get("coupon"), dict)]
