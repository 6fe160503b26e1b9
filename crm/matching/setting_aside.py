"""What a person sets aside instead of matching it: snoozed until a day, waiting for something, or ignored."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from django.db import transaction

from billing import selectors as billing
from crm import outbox
from crm.matching.recording import Change, record
from crm.matching.trying import match_customers
from crm.models import Unmatched

IGNORE_REASONS: Final[dict[str, str]] = {
    "not_a_company": "A person, no company",
    "test_customer": "A test customer",
    "internal": "One of us",
    "no_crm_record": "Sold without Salesforce",
    "duplicate": "The same customer twice in Stripe",
}
WAITS: Final[dict[str, str]] = {
    "new_account": "A new Account in Salesforce",
    "answer_from_sales": "An answer from sales",
    "answer_from_customer": "An answer from the customer",
    "merge_in_salesforce": "A merge in Salesforce",
    "change_in_stripe": "A correction in Stripe",
}
NOTE_LENGTH: Final = 500


class UnknownCustomer(LookupError):
    """There is no such customer, it belongs to a test source, or it has an Account."""


class UnknownReason(ValueError):
    """This is none of the reasons to ignore a customer, or nothing that one can wait for."""


def snooze(customer_pk: int, *, until: datetime | None, by: str, now: datetime) -> None:
    """Let an unmatched customer rest until a moment, or wake it (None); raises UnknownCustomer."""
    with transaction.atomic():
        row = _waiting(customer_pk)
        _save(row, {"snoozed_until": until, "news_at": None}, by=by)


def wait_for(customer_pk: int, *, what: str, until: datetime | None, by: str, now: datetime) -> None:
    """Take a customer off the queue until a moment (None: for as long as it takes), or until an Account appears.

    An Account that becomes its candidate meanwhile brings it back, marked as news. `what` is one of WAITS, empty to
    bring it back now. Raises UnknownReason, UnknownCustomer.
    """
    if what and what not in WAITS:
        raise UnknownReason(f"One cannot wait for '{what}'. Choose one of: {', '.join(WAITS)}.")
    with transaction.atomic():
        row = _waiting(customer_pk)
        until = until if what else None
        _save(row, {"waits_for": what, "waits_until": until, "waits_by": by if what else "", "news_at": None}, by=by)


def ignore(customer_pk: int, *, reason: str, note: str, by: str, now: datetime) -> None:
    """Leave a customer out: it needs no Account. What Salesforce would be told about it stays held.

    Its MRR goes on counting as not matched, and is shown as ignored. The machine never matches it: an Account that
    fits later is shown as its candidate, and a person decides. Raises UnknownReason, UnknownCustomer.
    """
    if reason not in IGNORE_REASONS:
        raise UnknownReason(
            f"'{reason}' is no reason to ignore a customer. Choose one of: {', '.join(IGNORE_REASONS)}."
        )
    with transaction.atomic():
        row = _waiting(customer_pk)
        wanted = {
            "ignored_because": reason,
            "ignored_by": by,
            "ignored_at": now,
            "ignored_note": note.strip()[:NOTE_LENGTH],
            "snoozed_until": None,
            "waits_for": "",
            "waits_until": None,
            "waits_by": "",
            "news_at": None,
        }
        _save(row, wanted, by=by)
        outbox.hold_as(outbox.IGNORED, [customer_pk])


def unignore(customer_pk: int, *, by: str, now: datetime) -> None:
    """Take a customer back into the queue, and match it at once where one Account is sure; raises UnknownCustomer."""
    with transaction.atomic():
        row = _waiting(customer_pk)
        wanted = {"ignored_because": "", "ignored_by": "", "ignored_at": None, "ignored_note": "", "news_at": None}
        _save(row, wanted, by=by)
        outbox.hold_as(outbox.UNMATCHED, [customer_pk])
        match_customers([customer_pk], now=now, anew=True)


SHOWN: Final = (
    "snoozed_until",
    "waits_for",
    "waits_until",
    "ignored_because",
)  # a note may name people: not kept twice


def _waiting(customer_pk: int) -> Unmatched:
    billing.lock_customers([customer_pk])
    row = Unmatched.objects.select_related("customer").filter(customer_id=customer_pk).first()
    if row is None:
        raise UnknownCustomer("This customer does not wait for an Account. Somebody may have been first.")
    return row


def _save(row: Unmatched, wanted: Mapping[str, Any], *, by: str) -> None:
    changes: dict[str, Change] = {name: (getattr(row, name), wanted[name]) for name in SHOWN if name in wanted}
    for name, value in wanted.items():
        setattr(row, name, value)
    row.save(update_fields=list(wanted))
    record({row.customer_id: row.customer.stripe_id}, {row.customer_id: changes}, by=by)
