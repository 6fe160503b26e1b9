"""Stripe payloads with sensible defaults, in the newest layout, and a real signature."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import time
from typing import Any

from billing.models import SigningSecret, StripeSource

Json = dict[str, Any]

SECRET = "whsec_tests_0123456789abcdef"
T0 = 1_767_225_600  # 2026-01-01
DAY = 86_400
_numbers = itertools.count(1)


def sign(raw: bytes, *, secret: str = SECRET, at: int | None = None) -> str:
    """Return the Stripe-Signature header for a raw body, as of now unless said."""
    at = int(time.time()) if at is None else at
    digest = hmac.new(secret.encode(), f"{at}.".encode() + raw, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def as_bytes(body: Json) -> bytes:
    """Return a body as Stripe posts it."""
    return json.dumps(body, indent=2).encode()


def source(slug: str = "acme", *, livemode: bool = False, secret: str = SECRET, **fields: Any) -> StripeSource:
    """Make a source with a signing secret (none when it is empty); payloads are of test mode, so it is too."""
    made = StripeSource.objects.create(slug=slug, label=slug.title(), livemode=livemode, **fields)
    if secret:
        SigningSecret.objects.create(source=made, secret=secret, last4=secret[-4:])
    return made


def event(kind: str, obj: Json, *, at: int = T0, before: Json | None = None, **fields: Any) -> Json:
    """Return an event of type `kind`; `before` are its previous attributes."""
    data: Json = {"object": obj}
    if before is not None:
        data["previous_attributes"] = before
    return {
        "id": f"evt_{next(_numbers):06d}",
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": at,
        "data": data,
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": kind,
    } | fields


def customer(id: str = "cus_1", *, at: int = T0, **fields: Any) -> Json:
    return {
        "id": id,
        "object": "customer",
        "address": None,
        "created": at,
        "currency": "usd",
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": "anna@example.test",
        "livemode": False,
        "metadata": {},
        "name": "Anna",
        "phone": None,
    } | fields


def price(id: str = "price_1", *, amount: int | None = 1000, interval: str = "month", **fields: Any) -> Json:
    return {
        "id": id,
        "object": "price",
        "active": True,
        "billing_scheme": "per_unit",
        "created": T0,
        "currency": "usd",
        "custom_unit_amount": None,
        "livemode": False,
        "nickname": None,
        "product": "prod_1",
        "recurring": {"interval": interval, "interval_count": 1, "usage_type": "licensed"},
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "recurring",
        "unit_amount": amount,
        "unit_amount_decimal": None if amount is None else str(amount),
    } | fields


def item(id: str = "si_1", *, sold: Json | None = None, quantity: int | None = 1, **fields: Any) -> Json:
    made = {
        "id": id,
        "object": "subscription_item",
        "created": T0,
        "current_period_end": T0 + 31 * DAY,
        "current_period_start": T0,
        "discounts": [],
        "metadata": {},
        "price": sold or price(),
    }
    return made | ({} if quantity is None else {"quantity": quantity}) | fields


def subscription(
    id: str = "sub_1", *, customer: str | None = "cus_1", items: list[Json] | None = None, at: int = T0, **fields: Any
) -> Json:
    held = [item()] if items is None else items
    return {
        "id": id,
        "object": "subscription",
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": "charge_automatically",
        "created": at,
        "currency": "usd",
        "customer": customer,
        "discounts": [],
        "ended_at": None,
        "items": {"object": "list", "data": held, "has_more": False},
        "livemode": False,
        "metadata": {},
        "pause_collection": None,
        "schedule": None,
        "start_date": at,
        "status": "active",
        "trial_end": None,
    } | fields


def line(id: str = "il_1", *, amount: int = 1000, **fields: Any) -> Json:
    return {
        "id": id,
        "object": "line_item",
        "amount": amount,
        "currency": "usd",
        "description": "Team",
        "discount_amounts": [],
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": {"proration": False, "subscription": "sub_1", "subscription_item": "si_1"},
            "type": "subscription_item_details",
        },
        "period": {"start": T0, "end": T0 + 31 * DAY},
        "pricing": {"price_details": {"price": "price_1", "product": "prod_1"}, "type": "price_details"},
        "quantity": 1,
        "taxes": [],
    } | fields


def invoice(
    id: str = "in_1",
    *,
    customer: str | None = "cus_1",
    total: int = 1000,
    status: str = "open",
    lines: list[Json] | None = None,
    at: int = T0,
    **fields: Any,
) -> Json:
    is_paid = status == "paid"
    return {
        "id": id,
        "object": "invoice",
        "amount_due": total,
        "amount_paid": total if is_paid else 0,
        "amount_remaining": 0 if is_paid else total,
        "attempt_count": 1,
        "billing_reason": "subscription_cycle",
        "collection_method": "charge_automatically",
        "created": at,
        "currency": "usd",
        "customer": customer,
        "due_date": None,
        "lines": {"object": "list", "data": [line(amount=total)] if lines is None else lines, "has_more": False},
        "livemode": False,
        "next_payment_attempt": None,
        "number": "A-1",
        "parent": {"subscription_details": {"subscription": "sub_1"}, "type": "subscription_details"},
        "status": status,
        "status_transitions": {
            "finalized_at": at,
            "marked_uncollectible_at": None,
            "paid_at": at if is_paid else None,
            "voided_at": None,
        },
        "subtotal": total,
        "total": total,
        "total_taxes": [],
    } | fields


def charge(
    id: str = "ch_1", *, customer: str | None = "cus_1", amount: int = 1000, at: int = T0, **fields: Any
) -> Json:
    return {
        "id": id,
        "object": "charge",
        "amount": amount,
        "amount_refunded": 0,
        "created": at,
        "currency": "usd",
        "customer": customer,
        "disputed": False,
        "failure_code": None,
        "livemode": False,
        "payment_intent": "pi_1",
        "payment_method_details": {"card": {"exp_month": 2, "exp_year": 2028}, "type": "card"},
        "refunded": False,
        "status": "succeeded",
    } | fields


def refund(id: str = "re_1", *, charge: str = "ch_1", amount: int = 500, at: int = T0, **fields: Any) -> Json:
    return {
        "id": id,
        "object": "refund",
        "amount": amount,
        "charge": charge,
        "created": at,
        "currency": "usd",
        "reason": "requested_by_customer",
        "status": "succeeded",
    } | fields


def dispute(
    id: str = "du_1", *, charge: str = "ch_1", status: str = "needs_response", at: int = T0, **fields: Any
) -> Json:
    return {
        "id": id,
        "object": "dispute",
        "amount": 1000,
        "charge": charge,
        "created": at,
        "currency": "usd",
        "evidence_details": {"due_by": at + 7 * DAY},
        "livemode": False,
        "payment_intent": "pi_1",
        "reason": "fraudulent",
        "status": status,
    } | fields
