"""Gathers, for many customers at once, what judging risk and filling an Account's payment fields needs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from billing import selectors as billing
from crm import risk
from mrr import selectors as mrr

MEMORY = timedelta(days=90)
CARD_MEMORY = timedelta(days=400)  # a yearly payer's last charge lies that far back
MOST = 100_000


@dataclass(frozen=True, slots=True)
class Payment:
    at: datetime
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class Money:
    """What a customer paid last, owes since it is due, and disputes. `past_due` holds (currency, minor units)."""

    last_payment: Payment | None = None
    past_due: tuple[tuple[str, int], ...] = ()
    is_disputed: bool = False


def facts_of(
    pks: Collection[int],
    *,
    subscriptions: Mapping[int, Sequence[billing.SubscriptionRow]],
    now: datetime,
) -> dict[int, risk.Facts]:
    """Return the facts that risk is judged by, for each customer.

    `subscriptions` is what the caller has read already. At most seven queries, however many customers.
    """
    held = {pk: [one for one in subscriptions.get(pk, ()) if one.is_counted] for pk in pks}
    troubled = [one.stripe_id for found in held.values() for one in found if one.is_past_due or one.pause_behavior]
    since = billing.states_since(troubled) if troubled else {}
    invoices = billing.open_invoices_of(pks)
    disputes = billing.open_disputes_of(pks)
    refunds = billing.refunds_of(pks, since=now - MEMORY)
    cards = billing.card_expiries_of(pks, since=now - CARD_MEMORY)
    contractions = _contractions(pks, now)
    return {
        pk: risk.Facts(
            failed=tuple(_failed(one) for one in invoices.get(pk, ()) if _has_failed(one)),
            past_due_since=_first(since.get(one.stripe_id) for one in held[pk] if one.is_past_due),
            overdue=tuple(_overdue(one) for one in invoices.get(pk, ()) if one.due_at and one.due_at < now),
            cancels=tuple(risk.Cancel(one.ends_at, one.canceled_at, one.feedback) for one in held[pk] if one.ends_at),
            contractions=tuple(contractions.get(pk, ())),
            disputes=tuple(
                risk.OpenDispute(one.amount_minor, one.currency, one.reason, one.created_at or now)
                for one in disputes.get(pk, ())
            ),
            card_expires_on=cards.get(pk),
            next_charge_at=_first(one.current_period_end_at for one in held[pk] if not one.ends_at),
            collection_paused_since=_first(since.get(one.stripe_id) for one in held[pk] if one.pause_behavior),
            refunds=tuple(risk.Refund(one.amount_minor, one.currency, one.created_at) for one in refunds.get(pk, ())),
            annual_renewals=tuple(
                one.current_period_end_at
                for one in held[pk]
                if one.is_annual and one.current_period_end_at and not one.ends_at
            ),
        )
        for pk in pks
    }


def money_of(pks: Collection[int], *, now: datetime) -> dict[int, Money]:
    """Return what customers paid last and owe, for the payment fields of their Accounts. Three queries."""
    payments = billing.last_payments_of(pks)
    invoices = billing.open_invoices_of(pks)
    disputes = billing.open_disputes_of(pks)
    return {
        pk: Money(
            _payment(payments[pk]) if pk in payments else None,
            tuple((one.currency, one.remaining_minor) for one in invoices.get(pk, ()) if _is_late(one, now)),
            bool(disputes.get(pk)),
        )
        for pk in pks
    }


def _first(moments: Iterable[datetime | None]) -> datetime | None:
    return min((at for at in moments if at), default=None)


def _has_failed(invoice: billing.InvoiceRow) -> bool:
    return invoice.collection_method != "send_invoice" and invoice.last_failed_at is not None


def _failed(invoice: billing.InvoiceRow) -> risk.FailedInvoice:
    assert invoice.last_failed_at is not None
    return risk.FailedInvoice(
        invoice.name,
        invoice.remaining_minor,
        invoice.currency,
        max(1, invoice.attempts),
        invoice.last_failed_at,
        invoice.next_attempt_at,
    )


def _overdue(invoice: billing.InvoiceRow) -> risk.OverdueInvoice:
    assert invoice.due_at is not None
    return risk.OverdueInvoice(invoice.name, invoice.remaining_minor, invoice.currency, invoice.due_at)


def _is_late(invoice: billing.InvoiceRow, now: datetime) -> bool:
    """Its due date has passed, or its automatic payment failed."""
    return _has_failed(invoice) or (invoice.due_at is not None and invoice.due_at < now)


def _payment(invoice: billing.InvoiceRow) -> Payment:
    assert invoice.paid_at is not None
    return Payment(invoice.paid_at, invoice.paid_minor, invoice.currency)


def _contractions(pks: Collection[int], now: datetime) -> dict[int, list[risk.Contraction]]:
    since = (now - MEMORY).astimezone(mrr.reporting_zone()).date()
    chosen = mrr.MovementFilter(customer_pks=list(pks), types=("contraction",), first=since)
    found: dict[int, list[risk.Contraction]] = {}
    for one in mrr.movements(chosen, limit=MOST).movements:
        if one.before_micros and now - one.effective_at <= MEMORY:
            share = Fraction(-one.amount_micros, one.before_micros)
            found.setdefault(one.customer_pk, []).append(risk.Contraction(share, one.effective_at))
    return found
