"""Paid invoices with their lines, and which one was a subscription's first, as frozen rows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from billing.models import Invoice, InvoiceLine

MOST_LINES = 10


@dataclass(frozen=True, slots=True)
class PaidLine:
    """One line of an invoice: what it is for, and the time it pays for."""

    description: str
    amount_minor: int
    starts_at: datetime | None
    ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class PaidInvoice:
    """An invoice that was paid in full. `is_first`: its subscription had none paid before. Holds no person's data."""

    source_pk: int
    customer_pk: int
    stripe_id: str
    number: str
    subscription_id: str
    currency: str
    paid_minor: int
    paid_at: datetime
    is_first: bool
    lines: tuple[PaidLine, ...]

    @property
    def name(self) -> str:
        return self.number or self.stripe_id


def paid_invoices(names: Collection[tuple[int, str]]) -> list[PaidInvoice]:
    """Return those of these invoices, named by source and id, that are paid in full and were paid with money.

    Three queries, however many.
    """
    wanted = set(names)
    rows = [
        row
        for row in Invoice.objects.filter(
            source_id__in={source_pk for source_pk, _ in wanted},
            stripe_id__in={stripe_id for _, stripe_id in wanted},
            status="paid",
            paid_at__isnull=False,
            amount_paid_minor__gt=0,
            amount_remaining_minor=0,
        )
        if (row.source_id, row.stripe_id) in wanted
    ]
    if not rows:
        return []
    firsts = {one.pk for one in _firsts({row.subscription_id for row in rows if row.subscription_id}).values()}
    lines: dict[int, list[PaidLine]] = {}
    for line in InvoiceLine.objects.filter(invoice__in=rows).order_by("pk"):
        said = PaidLine(line.description, line.amount_minor, line.period_start_at, line.period_end_at)
        lines.setdefault(line.invoice_id, []).append(said)
    return [
        PaidInvoice(
            row.source_id,
            row.customer_id,
            row.stripe_id,
            row.number,
            row.subscription_id,
            row.currency,
            row.amount_paid_minor,
            row.paid_at,
            row.pk in firsts,
            tuple(lines.get(row.pk, ())[:MOST_LINES]),
        )
        for row in rows
        if row.paid_at is not None
    ]


def first_payments(subscription_ids: Collection[str]) -> dict[str, tuple[str, int]]:
    """Return currency and minor units of the first invoice that each subscription paid, of those that paid any."""
    return {key: (row.currency, row.amount_paid_minor) for key, row in _firsts(subscription_ids).items()}


def _firsts(subscription_ids: Collection[str]) -> dict[str, Invoice]:
    paid = Invoice.objects.filter(
        subscription_id__in=subscription_ids, status="paid", paid_at__isnull=False, amount_paid_minor__gt=0
    )
    found: dict[str, Invoice] = {}
    for row in paid.order_by("paid_at", "pk"):
        found.setdefault(row.subscription_id, row)
    return found
