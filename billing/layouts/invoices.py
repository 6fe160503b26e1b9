"""Reads invoices and their lines."""

from __future__ import annotations

from typing import Any

from billing import values
from billing.layouts.sold import tax_rates
from billing.rows import (
    InvoiceRow,
    LineRow,
)
from billing.values import Json, LayoutError


def invoice(obj: Json) -> InvoiceRow:
    """Read an invoice and the lines that travel with it; raises LayoutError (`no_customer` when nobody is billed)."""
    owner = values.owner(obj)
    listed = obj.get("lines")
    listed = listed if isinstance(listed, dict) else {}
    moved = obj.get("status_transitions")
    moved = moved if isinstance(moved, dict) else {}
    total = values.amount(obj, "total")
    assert total is not None
    lines = values.items_of(listed.get("data"))
    rated = [rate for line in values.objects(lines) for rate in values.objects(line.get("tax_rates"))]
    return InvoiceRow(
        id=values.id_of(obj),
        customer=owner,
        created=values.time(obj, "created"),
        subscription=_invoice_subscription(obj),
        number=values.said(obj, "number", 100),
        status=values.said(obj, "status", 20),
        currency=values.currency(obj),
        billing_reason=values.said(obj, "billing_reason", 60),
        collection_method=values.said(obj, "collection_method", 30),
        amount_due_minor=values.amount_or_0(obj, "amount_due"),
        amount_paid_minor=values.amount_or_0(obj, "amount_paid"),
        amount_remaining_minor=values.amount_or_0(obj, "amount_remaining"),
        subtotal_minor=values.amount_or_0(obj, "subtotal"),
        tax_minor=_taxes(obj, "total_taxes", "total_tax_amounts"),
        total_minor=total,
        attempt_count=values.whole(obj, "attempt_count", least=0, most=values.MOST_SMALL) or 0,
        next_payment_attempt=values.time(obj, "next_payment_attempt"),
        due=values.time(obj, "due_date"),
        finalized=values.time(moved, "finalized_at"),
        paid=values.time(moved, "paid_at"),
        voided=values.time(moved, "voided_at"),
        uncollectible=values.time(moved, "marked_uncollectible_at"),
        has_all_lines=listed.get("has_more") is not True,
        lines=tuple([_line(line) for line in lines]),
        tax_rates=tax_rates(rated) if rated else (),
    )


def _invoice_subscription(obj: Json) -> str:
    """Since 2025-03-31 under `parent`, before at the top."""
    parent = obj.get("parent")
    details = parent.get("subscription_details") if isinstance(parent, dict) else None
    if isinstance(details, dict):
        return values.reference(details, "subscription")
    return values.reference(obj, "subscription")


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
    amount = values.amount(line, "amount")
    assert amount is not None
    return LineRow(
        id=values.id_of(line),
        amount_minor=amount,
        discount_minor=sum(values.amount_or_0(part, "amount") for part in values.objects(line.get("discount_amounts"))),
        tax_minor=_taxes(line, "taxes", "tax_amounts"),
        quantity=values.whole(line, "quantity"),
        is_proration=details.get("proration") is True,
        subscription=values.reference(details, "subscription") or values.reference(line, "subscription"),
        subscription_item=values.reference(details, "subscription_item"),
        price=values.reference(sold if isinstance(sold, dict) else line, "price"),
        description=values.said(line, "description", 10_000),
        period_start=values.time(period, "start"),
        period_end=values.time(period, "end"),
        inclusive_taxes=_inclusive_taxes(line),
    )


def _inclusive_taxes(line: Json) -> tuple[dict[str, Any], ...] | None:
    """The taxes inside a line's amount: `amount` and `taxable` in minor units (None if not told), `rate` the rate's id.

    `taxes` since 2025-03-31, `tax_amounts` before; None when there is neither.
    """
    listed = line.get("taxes")
    if not isinstance(listed, list):
        listed = line.get("tax_amounts")
    if not isinstance(listed, list):
        return None
    found = []
    for part in values.objects(listed):
        if part.get("tax_behavior") == "inclusive" or part.get("inclusive") is True:
            details = part.get("tax_rate_details")
            found.append(
                {
                    "amount": values.amount_or_0(part, "amount"),
                    "taxable": values.amount(part, "taxable_amount", required=False),
                    "rate": values.reference(details if isinstance(details, dict) else part, "tax_rate"),
                }
            )
    return tuple(found)


def _taxes(obj: Json, newest: str, older: str) -> int:
    """The sum of the taxes; the oldest layouts have one figure, `tax`."""
    listed = obj.get(newest)
    if not isinstance(listed, list):
        listed = obj.get(older)
    if isinstance(listed, list):
        return sum(values.amount_or_0(part, "amount") for part in values.objects(listed))
    return values.amount_or_0(obj, "tax")
