"""What a person decides: a match, its undoing, a rest; the second of two people is told who was first."""

from __future__ import annotations

from datetime import datetime

import structlog
from django.db import IntegrityError, transaction

from billing import selectors as billing
from crm import accounts, outbox
from crm.channels.kinds import ChannelError
from crm.ids import ACCOUNT, long_id
from crm.matching.deciding import Decision, accounts_by_id, decide, living, with_taken
from crm.matching.writing import write_unmatched
from crm.models import Account, Match, Unmatched

log = structlog.get_logger(__name__)


class AlreadyMatched(Exception):
    """Somebody, or the machine, was first. `who` is a username, empty for the machine; `when` is an aware datetime."""

    def __init__(self, who: str, when: datetime, account_id: str) -> None:
        super().__init__(f"{who or 'The machine'} matched this customer at {when:%Y-%m-%d %H:%M} UTC.")
        self.who = who
        self.when = when
        self.account_id = account_id


class UnknownAccount(LookupError):
    """No such Account is mirrored from Salesforce, or it was deleted there."""


class UnknownMatch(LookupError):
    """There is no such match, or it was undone before."""


class UnknownCustomer(LookupError):
    """There is no such customer, or it belongs to a test source."""


def match(customer_pk: int, account_id: str, *, by: str, now: datetime) -> Match:
    """Match a customer to an Account because a person says so, and release what was held for it.

    `account_id` has 15 or 18 characters; one that the mirror lacks is asked for. Raises MalformedId, UnknownAccount,
    UnknownCustomer, AlreadyMatched.
    """
    wanted = long_id(account_id, prefix=ACCOUNT)
    if not Account.objects.filter(salesforce_id=wanted, is_deleted=False).exists():
        try:
            accounts.read_named([wanted], now=now)
        except ChannelError as error:
            log.warning("account not read", code=error.code, message=error.message)
    with transaction.atomic():
        billing.lock_customers([customer_pk])
        customer = billing.customers([customer_pk]).get(customer_pk)
        if customer is None or not customer.livemode:
            raise UnknownCustomer("There is no such customer, or it belongs to a test source.")
        _refuse_second(customer_pk)
        account = living(wanted, accounts_by_id([wanted]))
        if account is None:
            raise UnknownAccount(f"Account {wanted} is not among the Accounts read from Salesforce, or it was deleted.")
        waiting = Unmatched.objects.filter(customer_id=customer_pk).first()
        seen = [one for one in (waiting.candidates if waiting else []) if one["account_id"] == account.salesforce_id]
        try:
            with transaction.atomic():
                made = Match.objects.create(
                    customer_id=customer_pk,
                    account=account,
                    how="person",
                    evidence=seen[0]["reasons"] if seen else [],
                    matched_by=by,
                    matched_at=now,
                )
        except IntegrityError:
            _refuse_second(customer_pk)
            raise
        Unmatched.objects.filter(customer_id=customer_pk).delete()
        outbox.release([customer_pk], now=now)
        outbox.owe_accounts([account.salesforce_id], now=now)
    return made


def unmatch(match_pk: int, *, by: str, now: datetime) -> Match:
    """Undo a match: it stays as history, the customer waits again, and what Salesforce holds is taken off the Account.

    Raises UnknownMatch.
    """
    with transaction.atomic():
        made = Match.objects.select_related("account").filter(pk=match_pk, undone_at__isnull=True).first()
        if made is None:
            raise UnknownMatch("This match is not there, or was undone before.")
        billing.lock_customers([made.customer_id])
        undone = Match.objects.filter(pk=match_pk, undone_at__isnull=True).update(undone_at=now, undone_by=by)
        if not undone:
            raise UnknownMatch("This match was undone by somebody else just now.")
        customers = billing.customers([made.customer_id])
        decision = decide(customers, made.account.org, now=now)[made.customer_id]
        waits = Decision(None, reason="undone", candidates=with_taken(decision))
        write_unmatched({made.customer_id: waits}, customers, now=now)
        outbox.point_anew([made.customer_id], now=now)
        outbox.owe_accounts([made.account.salesforce_id], now=now)
    made.refresh_from_db()
    return made


def snooze(customer_pk: int, *, until: datetime | None) -> None:
    """Let an unmatched customer rest until a moment, or wake it (None); raises UnknownCustomer if it does not wait."""
    if not Unmatched.objects.filter(customer_id=customer_pk).update(snoozed_until=until):
        raise UnknownCustomer("This customer does not wait for an Account.")


def _refuse_second(customer_pk: int) -> None:
    first = Match.objects.select_related("account").filter(customer_id=customer_pk, undone_at__isnull=True).first()
    if first is not None:
        raise AlreadyMatched(first.matched_by, first.matched_at, first.account.salesforce_id)
