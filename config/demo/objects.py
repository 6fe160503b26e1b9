"""Builds Stripe's objects and events for the demo story, in the newest API layout and in the one before 2025-03-31."""

from __future__ import annotations

import hashlib
from typing import Any

from config.demo.old_layout import in_old_layout

Json = dict[str, Any]

NEWEST = "2026-10-28.endive"
PRE_BASIL = "2025-02-24.acacia"
DAY = 86_400

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def made_id(prefix: str, name: str, length: int = 16) -> str:
    """Return an id that looks like Stripe's and is the same in every run: it is made from the name of the thing."""
    number = int.from_bytes(hashlib.sha256(f"{prefix}|{name}".encode()).digest(), "big")
    letters = []
    for _ in range(length):
        number, place = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[place])
    return f"{prefix}_1{''.join(letters)}"


def copied(obj: Json) -> Json:
    """Return a copy as deep as the story changes objects: their own fields, and those of a subscription's items."""
    if obj["object"] != "subscription":
        return {**obj}
    return {**obj, "items": {**obj["items"], "data": [{**one} for one in obj["items"]["data"]]}}


def event(event_id: str, kind: str, obj: Json, at: int, *, before: Json | None = None, is_old: bool = False) -> Json:
    """Wrap an object of the newest layout as the event that tells it; `before` is the object as last told.

    The event shares parts with the object: write it down before the object changes.
    """
    told = _told(obj, is_old)
    data: Json = {"object": told}
    if before is not None:
        data["previous_attributes"] = previous_attributes(_told(before, is_old), told)
    return {
        "id": event_id,
        "object": "event",
        "api_version": PRE_BASIL if is_old else NEWEST,
        "created": at,
        "data": data,
        "livemode": True,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": kind,
    }


def _told(obj: Json, is_old: bool) -> Json:
    if is_old:
        return in_old_layout(obj)
    # `_invoice` is our own note, see `charge`
    return {key: value for key, value in obj.items() if key != "_invoice"} if obj["object"] == "charge" else obj


def previous_attributes(before: Json, now: Json) -> Json:
    """Return the old values of what changed, as Stripe does: objects by changed key, a list of items whole."""
    changed: Json = {}
    for key in before.keys() | now.keys():
        old, new = before.get(key), now.get(key)
        if old == new:
            continue
        if key == "items" and isinstance(old, dict):
            changed[key] = {"data": old["data"]}
        elif isinstance(old, dict) and isinstance(new, dict):
            changed[key] = previous_attributes(old, new)
        else:
            changed[key] = old
    return dict(sorted(changed.items()))


# ---- objects, newest layout ----


def product(product_id: str, name: str, created: int) -> Json:
    return {
        "id": product_id,
        "object": "product",
        "active": True,
        "created": created,
        "default_price": None,
        "description": None,
        "images": [],
        "livemode": True,
        "marketing_features": [],
        "metadata": {},
        "name": name,
        "statement_descriptor": None,
        "tax_code": None,
        "type": "service",
        "unit_label": None,
        "updated": created,
        "url": None,
    }


def price(price_id: str, product_id: str, *, nickname: str, currency: str, amount: int, interval: str, at: int) -> Json:
    """A licensed price; `amount` in minor units per unit and billing period."""
    return {
        "id": price_id,
        "object": "price",
        "active": True,
        "billing_scheme": "per_unit",
        "created": at,
        "currency": currency,
        "custom_unit_amount": None,
        "livemode": True,
        "lookup_key": None,
        "metadata": {},
        "nickname": nickname,
        "product": product_id,
        "recurring": {
            "interval": interval,
            "interval_count": 1,
            "meter": None,
            "trial_period_days": None,
            "usage_type": "licensed",
        },
        "tax_behavior": "unspecified",
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "recurring",
        "unit_amount": amount,
        "unit_amount_decimal": str(amount),
    }


def customer(customer_id: str, *, name: str, email: str | None, phone: str, address: Json, at: int) -> Json:
    return {
        "id": customer_id,
        "object": "customer",
        "address": address,
        "balance": 0,
        "created": at,
        "currency": None,
        "customer_account": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": email,
        "invoice_prefix": customer_id[-8:].upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": True,
        "metadata": {},
        "name": name,
        "next_invoice_sequence": 1,
        "phone": phone,
        "preferred_locales": ["en"],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }


def item(item_id: str, subscription_id: str, sold: Json, quantity: int, *, at: int, period: tuple[int, int]) -> Json:
    return {
        "id": item_id,
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": at,
        "current_period_end": period[1],
        "current_period_start": period[0],
        "current_trial": None,
        "discounts": [],
        "metadata": {},
        "plan": plan_of(sold),
        "price": sold,
        "quantity": quantity,
        "subscription": subscription_id,
        "tax_rates": [],
    }


def subscription(subscription_id: str, customer_id: str, *, currency: str, items: list[Json], at: int) -> Json:
    return {
        "id": subscription_id,
        "object": "subscription",
        "application": None,
        "application_fee_percent": None,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": at,
        "billing_mode": {"flexible": None, "type": "classic"},
        "billing_schedules": [],
        "billing_thresholds": None,
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": "charge_automatically",
        "created": at,
        "currency": currency,
        "customer": customer_id,
        "customer_account": None,
        "days_until_due": None,
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "ended_at": None,
        "items": {
            "object": "list",
            "data": items,
            "has_more": False,
            "total_count": len(items),
            "url": f"/v1/subscription_items?subscription={subscription_id}",
        },
        "latest_invoice": None,
        "livemode": True,
        "managed_payments": None,
        "metadata": {},
        "next_pending_invoice_item_invoice": None,
        "on_behalf_of": None,
        "pause_collection": None,
        "pending_setup_intent": None,
        "pending_update": None,
        "presentment_details": None,
        "schedule": None,
        "start_date": at,
        "status": "active",
        "status_details": None,
        "test_clock": None,
        "transfer_data": None,
        "trial_end": None,
        "trial_start": None,
    }


def invoice(invoice_id: str, sub: Json, buyer: Json, *, number: str, reason: str, lines: list[Json], at: int) -> Json:
    """An open, finalised invoice; `paid` and `failed` change it."""
    total = sum(line["amount"] for line in lines)
    return {
        "id": invoice_id,
        "object": "invoice",
        "account_country": "US",
        "account_name": "Northwind",
        "amount_due": total,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_paid_off_stripe": 0,
        "amount_remaining": total,
        "amount_shipping": 0,
        "application": None,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": True,
        "billing_reason": reason,
        "collection_method": sub["collection_method"],
        "created": at,
        "currency": sub["currency"],
        "custom_fields": None,
        "customer": sub["customer"],
        "customer_account": None,
        "customer_address": buyer["address"],
        "customer_email": buyer["email"],
        "customer_name": buyer["name"],
        "customer_phone": buyer["phone"],
        "customer_shipping": None,
        "customer_tax_exempt": "none",
        "description": None,
        "discounts": [],
        "due_date": None,
        "effective_at": at,
        "ending_balance": 0,
        "footer": None,
        "from_invoice": None,
        "lines": {
            "object": "list",
            "data": lines,
            "has_more": False,
            "total_count": len(lines),
            "url": f"/v1/invoices/{invoice_id}/lines",
        },
        "livemode": True,
        "metadata": {},
        "next_payment_attempt": None,
        "number": number,
        "on_behalf_of": None,
        "parent": {
            "quote_details": None,
            "subscription_details": {"metadata": {}, "subscription": sub["id"]},
            "type": "subscription_details",
        },
        "period_end": at,
        "period_start": at,
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "starting_balance": 0,
        "status": "open",
        "status_details": None,
        "status_transitions": {
            "finalized_at": at,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
        "subtotal": total,
        "subtotal_excluding_tax": total,
        "test_clock": None,
        "total": total,
        "total_discount_amounts": [],
        "total_excluding_tax": total,
        "total_taxes": [],
        "webhooks_delivered_at": at,
    }


def line(line_id: str, invoice_id: str, sold: Json, of: Json, *, amount: int, text: str, is_proration: bool) -> Json:
    """A line for the subscription item `of`; `amount` in minor units, negative for a credit."""
    return {
        "id": line_id,
        "object": "line_item",
        "amount": amount,
        "currency": sold["currency"],
        "description": text,
        "discount_amounts": [],
        "discountable": not is_proration,
        "discounts": [],
        "invoice": invoice_id,
        "livemode": True,
        "metadata": {},
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": is_proration,
                "proration_details": {"credited_items": None},
                "subscription": of["subscription"],
                "subscription_item": of["id"],
            },
            "type": "subscription_item_details",
        },
        "period": {"start": of["current_period_start"], "end": of["current_period_end"]},
        "pretax_credit_amounts": [],
        "pricing": {
            "price_details": {"price": sold["id"], "product": sold["product"]},
            "type": "price_details",
            "unit_amount_decimal": sold["unit_amount_decimal"],
        },
        "quantity": of["quantity"],
        "quantity_decimal": str(of["quantity"]),
        "subscription": of["subscription"],
        "subtotal": amount,
        "taxes": [],
    }


def charge(charge_id: str, billed: Json, *, name: str, card: tuple[int, int], at: int, failure: str | None) -> Json:
    """A charge for an invoice; `card` is (month, year) of expiry. Only the old layout tells the invoice: `_invoice`."""
    return {
        "id": charge_id,
        "object": "charge",
        "amount": billed["amount_due"],
        "amount_captured": 0 if failure else billed["amount_due"],
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None if failure else f"txn_{name}",
        "billing_details": {
            "address": billed["customer_address"],
            "email": billed["customer_email"],
            "name": billed["customer_name"],
            "phone": None,
            "tax_id": None,
        },
        "calculated_statement_descriptor": "NORTHWIND",
        "captured": failure is None,
        "created": at,
        "currency": billed["currency"],
        "customer": billed["customer"],
        "description": None,
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": failure,
        "failure_message": "Your card was declined." if failure else None,
        "fraud_details": {},
        "livemode": True,
        "metadata": {},
        "on_behalf_of": None,
        "outcome": {
            "network_status": "declined_by_network" if failure else "approved_by_network",
            "reason": failure,
            "risk_level": "normal",
            "seller_message": "Payment failed." if failure else "Payment complete.",
            "type": "issuer_declined" if failure else "authorized",
        },
        "paid": failure is None,
        "payment_intent": f"pi_{name}",
        "payment_method": f"pm_{name}",
        "payment_method_details": {
            "card": {
                "amount_authorized": billed["amount_due"],
                "brand": "visa",
                "country": billed["customer_address"]["country"],
                "exp_month": card[0],
                "exp_year": card[1],
                "fingerprint": f"card{billed['customer'][-10:]}",
                "funding": "credit",
                "last4": f"{sum(map(ord, billed['customer'])) * 37 % 10_000:04d}",
                "network": "visa",
                "wallet": None,
            },
            "type": "card",
        },
        "presentment_details": None,
        "radar_options": {},
        "receipt_email": None,
        "receipt_number": None,
        "receipt_url": None,
        "refunded": False,
        "review": None,
        "shipping": None,
        "source": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "failed" if failure else "succeeded",
        "transfer_data": None,
        "transfer_group": None,
        "_invoice": billed["id"],
    }


def refund(refund_id: str, of: Json, *, amount: int, at: int) -> Json:
    return {
        "id": refund_id,
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": of["id"],
        "created": at,
        "currency": of["currency"],
        "destination_details": {"card": {"type": "refund"}, "type": "card"},
        "metadata": {},
        "payment_intent": of["payment_intent"],
        "reason": "requested_by_customer",
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
    }


def dispute(dispute_id: str, of: Json, *, at: int) -> Json:
    return {
        "id": dispute_id,
        "object": "dispute",
        "amount": of["amount"],
        "balance_transactions": [],
        "charge": of["id"],
        "created": at,
        "currency": of["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {},
        "evidence_details": {
            "due_by": at + 14 * DAY,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": None,
        },
        "intended_submission_method": None,
        "is_charge_refundable": False,
        "livemode": True,
        "metadata": {},
        "payment_intent": of["payment_intent"],
        "payment_method_details": {
            "card": {"brand": "visa", "case_type": "chargeback", "network": "visa", "network_reason_code": "10.4"},
            "type": "card",
        },
        "reason": "fraudulent",
        "status": "needs_response",
    }


def payout(payout_id: str, *, amount: int, currency: str, at: int) -> Json:
    return {
        "id": payout_id,
        "object": "payout",
        "amount": amount,
        "application_fee": None,
        "application_fee_amount": None,
        "arrival_date": at + 2 * DAY,
        "automatic": True,
        "balance_transaction": f"txn_{payout_id[3:]}",
        "created": at,
        "currency": currency,
        "description": "STRIPE PAYOUT",
        "destination": f"ba_{currency}northwind",
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "livemode": True,
        "metadata": {},
        "method": "standard",
        "original_payout": None,
        "payout_method": None,
        "reconciliation_status": "completed",
        "reversed_by": None,
        "source_type": "card",
        "statement_descriptor": None,
        "status": "paid",
        "trace_id": None,
        "type": "bank_account",
    }


def plan_of(sold: Json) -> Json:
    return {
        "id": sold["id"],
        "object": "plan",
        "active": True,
        "amount": sold["unit_amount"],
        "amount_decimal": sold["unit_amount_decimal"],
        "billing_scheme": "per_unit",
        "created": sold["created"],
        "currency": sold["currency"],
        "interval": sold["recurring"]["interval"],
        "interval_count": 1,
        "livemode": True,
        "metadata": {},
        "meter": None,
        "nickname": sold["nickname"],
        "product": sold["product"],
        "tiers_mode": None,
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": "licensed",
    }
