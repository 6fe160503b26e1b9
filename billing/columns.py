"""Fills the columns of the mirror's tables from what the readers return."""

from __future__ import annotations

import calendar
from typing import Any, Final, Protocol

from billing import layouts, rows
from billing.models import Charge, Customer, Mirrored
from billing.statements import moment
from billing.values import Json, LayoutError

Key = tuple[int, str]  # a source's primary key and Stripe's id
Columns = dict[str, Any]


class Told(Protocol):
    """One event's word about one object, as read."""

    key: Key
    created: int
    row: Any

    @property
    def event_id(self) -> str: ...
    @property
    def event_type(self) -> str: ...
    @property
    def state_json(self) -> Columns: ...


class Known(Protocol):
    """What else a row needs: whose it is, and when what a column of its own keeps happened (Unix seconds)."""

    times: dict[Key, int]

    def payer(self, told: Any) -> int: ...
    def payer_if_any(self, told: Any) -> int | None: ...
    def payer_by_charge(self, told: Any) -> int | None: ...


NOT_TOLD: Final = {"version_at": None, "version_event": ""}


def stub(model: type[Mirrored], key: Key) -> Columns:
    """A row for an object that is only heard of."""
    return {"source_id": key[0], "stripe_id": key[1], **NOT_TOLD, **EMPTY[model]}


def of_customer(known: Known, told: Told) -> Columns:
    row: rows.CustomerRow = told.row
    return {
        "source_id": told.key[0],
        "stripe_id": row.id,
        "created_at": moment(row.created),
        "name": row.name,
        "email": row.email,
        "phone": row.phone,
        "description": row.description,
        "country": row.country,
        "postal_code": row.postal_code,
        "address": row.address,
        "metadata": row.metadata,
        "currency": row.currency,
        "delinquent": row.delinquent,
        "deleted_at": moment(known.times.get(told.key)),
    }


def of_subscription(known: Known, told: Told) -> Columns:
    row: rows.SubscriptionRow = told.row
    state = row.state
    return {
        "source_id": told.key[0],
        "stripe_id": row.id,
        "created_at": moment(row.created),
        "customer_id": known.payer(told),
        "status": state.status,
        "currency": state.currency,
        "items": told.state_json["items"],
        "has_all_items": state.has_all_items,
        "discount_ids": list(state.discounts),
        "collection_method": row.collection_method,
        "pause_behavior": state.pause_behavior or "",
        "started_at": moment(state.started_at),
        "trial_end_at": moment(state.trial_end),
        "current_period_end_at": moment(row.current_period_end),
        "cancel_at": moment(row.cancel_at),
        "cancel_at_period_end": row.cancel_at_period_end,
        "canceled_at": moment(state.canceled_at),
        "ended_at": moment(state.ended_at),
        "cancellation_reason": state.cancellation_reason or "",
        "cancellation_feedback": state.cancellation_feedback or "",
        "cancellation_comment": row.cancellation_comment,
        "schedule_id": row.schedule,
        "metadata": row.metadata,
    }


def of_price(source_pk: int, row: rows.PriceRow) -> Columns:
    return {
        "source_id": source_pk,
        "stripe_id": row.id,
        "created_at": moment(row.created),
        "product_id": row.product,
        "nickname": row.nickname,
        "currency": row.currency,
        "unit_amount_decimal": row.unit_amount_decimal,
        "interval": row.interval,
        "interval_count": row.interval_count,
        "usage_type": row.usage_type,
        "billing_scheme": row.billing_scheme,
        "tiers_mode": row.tiers_mode,
        "tiers": row.tiers,
        "transform_quantity": row.transform_quantity,
        "currency_options": row.currency_options,
        "is_active": row.is_active,
    }


def of_price_inside(source_pk: int, obj: Json) -> Columns | None:
    try:
        return of_price(source_pk, layouts.price(obj))
    except LayoutError:
        return None  # the subscription could be read: it does not depend on what is wrong here


def of_product(_known: Known, told: Told) -> Columns:
    row: rows.ProductRow = told.row
    return {
        "source_id": told.key[0],
        "stripe_id": row.id,
        "created_at": moment(row.created),
        "name": row.name,
        "is_active": row.is_active and not told.event_type.endswith(".deleted"),
    }


def of_coupon(source_pk: int, row: rows.CouponRow) -> Columns:
    return {
        "source_id": source_pk,
        "stripe_id": row.id,
        "created_at": moment(row.created),
        "name": row.name,
        "percent_off": row.percent_off,
        "amount_off_minor": row.amount_off_minor,
        "currency": row.currency,
        "duration": row.duration,
        "duration_in_months": row.duration_in_months,
        "applies_to": row.applies_to,
        "is_valid": row.is_valid,
    }


def of_coupon_terms(source_pk: int, row: rows.CouponRow) -> Columns:
    return {
        "source_id": source_pk,
        "coupon_id": row.id,
        "created_at": moment(row.created or 0),
        "percent_off": row.percent_off,
        "amount_off_minor": row.amount_off_minor,
        "currency": row.currency,
        "duration": row.duration,
        "applies_to": row.applies_to,
        "currency_options": row.currency_options,
    }


def of_tax_rate(source_pk: int, row: rows.TaxRateRow) -> Columns:
    return {"source_id": source_pk, "stripe_id": row.id, "percentage": row.percentage}


def of_discount(told: Told, row: rows.DiscountRow, customer_pk: int | None) -> Columns:
    return {
        "source_id": told.key[0],
        "stripe_id": row.id,
        "created_at": moment(row.start),
        "customer_id": customer_pk,
        "subscription_id": row.subscription,
        "coupon_id": row.coupon,
        "start_at": moment(row.start),
        "end_at": moment(row.end),
        "deleted_at": None,
        "is_of_customer": row.is_of_customer,
        "first_at": moment(told.created),
        "first_event": told.event_id,
    }


def of_told_price(_known: Known, told: Told) -> Columns:
    columns = of_price(told.key[0], told.row)
    columns["is_active"] = told.row.is_active and not told.event_type.endswith(".deleted")
    return columns


def of_told_coupon(_known: Known, told: Told) -> Columns:
    columns = of_coupon(told.key[0], told.row)
    columns["is_valid"] = told.row.is_valid and not told.event_type.endswith(".deleted")
    return columns


def of_told_discount(known: Known, told: Told) -> Columns:
    return of_discount(told, told.row, known.payer_if_any(told)) | {"deleted_at": moment(known.times.get(told.key))}


def of_schedule(known: Known, told: Told) -> Columns:
    row: rows.ScheduleRow = told.row
    return {
        "source_id": told.key[0],
        "stripe_id": row.id,
        "created_at": moment(row.created),
        "customer_id": known.payer(told),
        "subscription_id": row.subscription,
        "status": row.status,
        "currency": row.currency,
        "end_behavior": row.end_behavior,
        "phases": row.phases,
    }


def of_invoice(known: Known, told: Told) -> Columns:
    row: rows.InvoiceRow = told.row
    return {
        "source_id": told.key[0],
        "stripe_id": row.id,
        "created_at": moment(row.created),
        "customer_id": known.payer(told),
        "subscription_id": row.subscription,
        "number": row.number,
        "status": "deleted" if told.event_type.endswith(".deleted") else row.status,
        "currency": row.currency,
        "billing_reason": row.billing_reason,
        "collection_method": row.collection_method,
        "amount_due_minor": row.amount_due_minor,
        "amount_paid_minor": row.amount_paid_minor,
        "amount_remaining_minor": row.amount_remaining_minor,
        "subtotal_minor": row.subtotal_minor,
        "tax_minor": row.tax_minor,
        "total_minor": row.total_minor,
        "attempt_count": row.attempt_count,
        "next_payment_attempt_at": moment(row.next_payment_attempt),
        "due_at": moment(row.due),
        "finalized_at": moment(row.finalized),
        "paid_at": moment(row.paid),
        "voided_at": moment(row.voided),
        "uncollectible_at": moment(row.uncollectible),
        "has_all_lines": row.has_all_lines,
        "last_failed_at": moment(known.times.get(told.key)),
    }


def of_line(invoice_pk: int, row: rows.LineRow) -> Columns:
    return {
        "invoice_id": invoice_pk,
        "stripe_id": row.id,
        "amount_minor": row.amount_minor,
        "discount_minor": row.discount_minor,
        "tax_minor": row.tax_minor,
        "quantity": row.quantity,
        "is_proration": row.is_proration,
        "subscription_id": row.subscription,
        "subscription_item_id": row.subscription_item,
        "price_id": row.price,
        "description": row.description,
        "period_start_at": moment(row.period_start),
        "period_end_at": moment(row.period_end),
        "inclusive_taxes": None if row.inclusive_taxes is None else list(row.inclusive_taxes),
    }


def of_charge(known: Known, told: Told) -> Columns:
    row: rows.ChargeRow = told.row
    return {
        "source_id": told.key[0],
        "stripe_id": row.id,
        "created_at": moment(row.created),
        "customer_id": known.payer_if_any(told),
        "invoice_id": row.invoice,
        "payment_intent_id": row.payment_intent,
        "status": row.status,
        "currency": row.currency,
        "amount_minor": row.amount_minor,
        "refunded_minor": row.refunded_minor,
        "is_disputed": row.is_disputed,
        "failure_code": row.failure_code,
        "card_expires_on": _last_day(row.card_expires),
    }


def _last_day(expires: tuple[int, int] | None) -> str | None:
    if expires is None:
        return None
    year, month = expires
    return f"{year:04d}-{month:02d}-{calendar.monthrange(year, month)[1]:02d}"


def of_refund(known: Known, told: Told) -> Columns:
    row: rows.RefundRow = told.row
    return {
        "source_id": told.key[0],
        "stripe_id": row.id,
        "created_at": moment(row.created),
        "customer_id": known.payer_by_charge(told),
        "charge_id": row.charge,
        "status": row.status,
        "reason": row.reason,
        "currency": row.currency,
        "amount_minor": row.amount_minor,
    }


def of_dispute(known: Known, told: Told) -> Columns:
    row: rows.DisputeRow = told.row
    return {
        "source_id": told.key[0],
        "stripe_id": row.id,
        "created_at": moment(row.created),
        "customer_id": known.payer_by_charge(told),
        "charge_id": row.charge,
        "status": row.status,
        "reason": row.reason,
        "currency": row.currency,
        "amount_minor": row.amount_minor,
        "evidence_due_at": moment(row.evidence_due),
        "closed_at": moment(known.times.get(told.key)),
    }


def of_payout(_known: Known, told: Told) -> Columns:
    row: rows.PayoutRow = told.row
    return {
        "source_id": told.key[0],
        "stripe_id": row.id,
        "created_at": moment(row.created),
        "status": row.status,
        "currency": row.currency,
        "amount_minor": row.amount_minor,
        "arrives_at": moment(row.arrives),
    }


EMPTY: Final[dict[type[Mirrored], Columns]] = {
    Customer: {
        "created_at": None,
        "name": "",
        "email": "",
        "phone": "",
        "description": "",
        "country": "",
        "postal_code": "",
        "address": {},
        "metadata": {},
        "currency": "",
        "delinquent": False,
    },
    Charge: {
        "created_at": None,
        "customer_id": None,
        "invoice_id": "",
        "payment_intent_id": "",
        "status": "",
        "currency": "",
        "amount_minor": 0,
        "refunded_minor": 0,
        "is_disputed": False,
        "failure_code": "",
        "card_expires_on": None,
    },
}
