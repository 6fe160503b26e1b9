"""Reads what is taken off: coupons, and discounts as they stand on customers, subscriptions and items."""

from __future__ import annotations

from typing import Any, Final

from billing import values
from billing.layouts.sold import options_of
from billing.rows import (
    CouponRow,
    DiscountRow,
)
from billing.values import Json


def coupon(obj: Json) -> CouponRow:
    """Read a coupon; raises LayoutError."""
    limited = obj.get("applies_to")
    products = limited.get("products") if isinstance(limited, dict) else None
    percent = obj.get("percent_off")
    return CouponRow(
        id=values.id_of(obj),
        created=values.time(obj, "created"),
        name=values.said(obj, "name", 500),
        percent_off="" if percent is None else values.decimal_text(str(percent), "percent_off"),
        amount_off_minor=values.amount(obj, "amount_off", required=False),
        currency=values.currency(obj, required=False),
        duration=values.said(obj, "duration", 20),
        duration_in_months=values.whole(obj, "duration_in_months", least=0, most=values.MOST_SMALL),
        applies_to=[entry for entry in products if isinstance(entry, str)] if isinstance(products, list) else None,
        is_valid=obj.get("valid") is not False,
        currency_options=_amounts_off(obj.get("currency_options")),
    )


def _amounts_off(options: Any) -> dict[str, int] | None:
    """What a coupon takes off in other currencies, in minor units; None when that did not travel."""
    if not isinstance(options, dict):
        return None
    found = {code: values.amount(option, "amount_off", required=False) for code, option in options_of(options)}
    return {code: amount for code, amount in found.items() if amount is not None}


def discount(obj: Json) -> DiscountRow:
    """Read a discount; raises LayoutError. Since clover the coupon stands under `source`."""
    source = obj.get("source")
    holder = source if isinstance(source, dict) and source.get("coupon") else obj
    whole = holder.get("coupon")
    return DiscountRow(
        id=values.id_of(obj),
        customer=values.reference(obj, "customer"),
        subscription=values.reference(obj, "subscription"),
        coupon=values.reference(holder, "coupon"),
        start=values.time(obj, "start"),
        end=values.time(obj, "end"),
        coupons=(coupon(whole),) if isinstance(whole, dict) else (),
        is_of_customer=not any(obj.get(key) for key in SMALLER_THAN_A_CUSTOMER),
    )


SMALLER_THAN_A_CUSTOMER: Final = ("subscription", "subscription_item", "invoice", "invoice_item")


def discount_ids(obj: Json) -> tuple[str, ...]:
    """Ids in `discounts`, given as text or whole; before 2024 one whole `discount`."""
    listed = obj.get("discounts")
    if not isinstance(listed, list):
        listed = [obj["discount"]] if isinstance(obj.get("discount"), dict) else []
    if not listed:
        return ()
    return tuple([values.reference({"discount": entry}, "discount") for entry in listed])


def whole_discounts(applied: list[Any]) -> tuple[DiscountRow, ...]:
    """The discounts that travel whole, each once."""
    found: dict[str, DiscountRow] = {}
    for entry in applied:
        if isinstance(entry, dict):
            row = discount(entry)
            found[row.id] = row
    return tuple(found.values())


def coupons_of(discounts: tuple[DiscountRow, ...]) -> tuple[CouponRow, ...]:
    return tuple([whole for row in discounts for whole in row.coupons])
