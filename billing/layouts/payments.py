"""Reads what was paid: charges, refunds, disputes and payouts."""

from __future__ import annotations

from billing import values
from billing.rows import (
    ChargeRow,
    DisputeRow,
    PayoutRow,
    RefundRow,
)
from billing.values import Json


def charge(obj: Json) -> ChargeRow:
    """Read a charge; raises LayoutError."""
    paid_with = obj.get("payment_method_details")
    card = paid_with.get("card") if isinstance(paid_with, dict) else None
    amount = values.amount(obj, "amount")
    assert amount is not None
    return ChargeRow(
        id=values.id_of(obj),
        customer=values.reference(obj, "customer"),
        created=values.time(obj, "created"),
        invoice=values.reference(obj, "invoice"),
        payment_intent=values.reference(obj, "payment_intent"),
        status=values.said(obj, "status", 20),
        currency=values.currency(obj),
        amount_minor=amount,
        refunded_minor=values.amount_or_0(obj, "amount_refunded"),
        is_disputed=obj.get("disputed") is True,
        failure_code=values.said(obj, "failure_code", 100),
        card_expires=_expiry(card) if isinstance(card, dict) else None,
    )


def _expiry(card: Json) -> tuple[int, int] | None:
    year, month = card.get("exp_year"), card.get("exp_month")
    if type(year) is int and type(month) is int and 1900 < year < 9999 and 1 <= month <= 12:
        return year, month
    return None


def refund(obj: Json) -> RefundRow:
    """Read a refund; raises LayoutError."""
    amount = values.amount(obj, "amount")
    assert amount is not None
    return RefundRow(
        values.id_of(obj),
        values.time(obj, "created"),
        values.reference(obj, "charge"),
        values.said(obj, "status", 20),
        values.said(obj, "reason", 50),
        values.currency(obj),
        amount,
    )


def dispute(obj: Json) -> DisputeRow:
    """Read a dispute, which names a charge and never a customer; raises LayoutError."""
    details = obj.get("evidence_details")
    amount = values.amount(obj, "amount")
    assert amount is not None
    return DisputeRow(
        values.id_of(obj),
        values.time(obj, "created"),
        values.reference(obj, "charge"),
        values.needed(obj, "status", 40),
        values.said(obj, "reason", 60),
        values.currency(obj),
        amount,
        values.time(details, "due_by") if isinstance(details, dict) else None,
    )


def payout(obj: Json) -> PayoutRow:
    """Read a payout; raises LayoutError."""
    amount = values.amount(obj, "amount")
    assert amount is not None
    return PayoutRow(
        values.id_of(obj),
        values.time(obj, "created"),
        values.said(obj, "status", 20),
        values.currency(obj),
        amount,
        values.time(obj, "arrival_date"),
    )
