"""The layout of Stripe's objects before 2025-03-31, as one company of the demo still receives them."""

from __future__ import annotations

import copy
from typing import Any

Json = dict[str, Any]


def in_old_layout(obj: Json) -> Json:
    """Return a copy of an object as Stripe told it before 2025-03-31."""
    old = copy.deepcopy(obj)
    convert = {"subscription": _old_subscription, "invoice": _old_invoice, "charge": _old_charge}.get(obj["object"])
    if convert:
        convert(old)
    old.pop("customer_account", None)
    old.pop("_invoice", None)
    return old


def _old_subscription(sub: Json) -> None:
    items = sub["items"]["data"]
    sub["current_period_start"] = items[0]["current_period_start"] if items else None
    sub["current_period_end"] = items[0]["current_period_end"] if items else None
    for one in items:
        for key in ("current_period_start", "current_period_end", "current_trial"):
            del one[key]
        one["plan"]["aggregate_usage"] = one["price"]["recurring"]["aggregate_usage"] = None
    is_single = len(items) == 1
    sub["plan"] = copy.deepcopy(items[0]["plan"]) if is_single else None
    sub["quantity"] = items[0]["quantity"] if is_single else None
    sub["discount"] = None
    for key in ("billing_mode", "billing_schedules", "managed_payments", "presentment_details", "status_details"):
        del sub[key]


def _old_invoice(billed: Json) -> None:
    details = billed.pop("parent")["subscription_details"]
    is_paid = billed["status"] == "paid"
    billed |= {
        "subscription": details["subscription"],
        "subscription_details": {"metadata": {}},
        "paid": is_paid,
        "paid_out_of_band": False,
        "charge": None,
        "payment_intent": None,
        "discount": None,
        "tax": None,
        "total_tax_amounts": [],
        "quote": None,
        "application_fee_amount": None,
        "transfer_data": None,
    }
    for key in ("total_taxes", "amount_overpaid", "amount_paid_off_stripe", "status_details"):
        del billed[key]
    for one in billed["lines"]["data"]:
        item_details = one.pop("parent")["subscription_item_details"]
        pricing = one.pop("pricing")
        one |= {
            "type": "subscription",
            "proration": item_details["proration"],
            "proration_details": item_details["proration_details"],
            "subscription_item": item_details["subscription_item"],
            "price": {
                "id": pricing["price_details"]["price"],
                "object": "price",
                "product": pricing["price_details"]["product"],
            },
            "plan": None,
            "tax_amounts": [],
            "tax_rates": [],
            "amount_excluding_tax": one["amount"],
            "unit_amount_excluding_tax": pricing["unit_amount_decimal"],
        }
        for key in ("taxes", "quantity_decimal", "subtotal"):
            del one[key]


def _old_charge(paid: Json) -> None:
    paid["invoice"] = paid["_invoice"]
    del paid["presentment_details"]
