"""What a person decides: a match, its undoing; the second of two people is told who was first."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import structlog
from django.db import IntegrityError, transaction

from billing import selectors as billing
from crm import accounts, outbox
from crm.channels.kinds import ChannelError
from crm.ids import ACCOUNT, long_id
from crm.matching.deciding import Decision, accounts_by_id, decide, living, with_taken
from crm.matching.recording import record
from crm.matching.setting_aside import UnknownCustomer
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


class NotLike(LookupError):
    """The other customer has no Account that this one could be matched to."""


class UnknownMatch(LookupError):
    """There is no such match, or it was undone before."""


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
    return take(customer_pk, wanted, by=by, now=now)


def match_like(customer_pk: int, other_customer_pk: int, *, by: str, now: datetime) -> Match:
    """Match a customer to the Account of another one: a company with several customers in Stripe.

    Raises NotLike where the other one has no Account or is the same, else as `match` does.
    """
    if customer_pk == other_customer_pk:
        raise NotLike("This is the same customer. Choose another one.")
    other = (
        Match.objects.select_related("account", "customer")
        .filter(customer_id=other_customer_pk, undone_at__isnull=True)
        .first()
    )
    if other is None:
        raise NotLike("The other customer has no Account itself. Match that one first.")
    said = {
        "kind": "like_customer",
        "weight": 0,
        "text": f"A person said: the same company as {other.customer.stripe_id}",
    }
    return take(customer_pk, other.account.salesforce_id, by=by, now=now, said=said)


def take(
    customer_pk: int, account_id: str, *, by: str, now: datetime, said: Mapping[str, object] | None = None
) -> Match:
    """Match a customer to a mirrored Account; `said` is what speaks for it beside the evidence that the queue held."""
    with transaction.atomic():
        billing.lock_customers([customer_pk])
        customer = billing.customers([customer_pk]).get(customer_pk)
        if customer is None or not customer.livemode:
            raise UnknownCustomer("There is no such customer, or it belongs to a test source.")
        refuse_second(customer_pk)
        account = living(account_id, accounts_by_id([account_id]))
        if account is None:
            raise UnknownAccount(
                f"Account {account_id} is not among the Accounts read from Salesforce, or it was deleted."
            )
        waiting = Unmatched.objects.filter(customer_id=customer_pk).first()
        seen = [one for one in (waiting.candidates if waiting else []) if one["account_id"] == account.salesforce_id]
        try:
            with transaction.atomic():
                made = Match.objects.create(
                    customer_id=customer_pk,
                    account=account,
                    how="person",
                    evidence=[*([said] if said else []), *(seen[0]["reasons"] if seen else [])],
                    matched_by=by,
                    matched_at=now,
                    waited_since=waiting.since if waiting else None,
                )
        except IntegrityError:
            refuse_second(customer_pk)
            raise
        Unmatched.objects.filter(customer_id=customer_pk).delete()
        outbox.release([customer_pk], now=now)
        outbox.owe_accounts([account.salesforce_id], now=now)
        record({customer_pk: customer.stripe_id}, {customer_pk: {"account": (None, account.salesforce_id)}}, by=by)
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
        was = {"account": (made.account.salesforce_id, None)}
        record({made.customer_id: customers[made.customer_id].stripe_id}, {made.customer_id: was}, by=by)
    made.refresh_from_db()
    return made


def refuse_second(customer_pk: int) -> None:
    first = Match.objects.select_related("account").filter(customer_id=customer_pk, undone_at__isnull=True).first()
    if first is not None:
        raise AlreadyMatched(first.matched_by, first.matched_at, first.account.salesforce_id)
