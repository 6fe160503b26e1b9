"""Matches what is sure and writes down why the rest waits; tries those again whom news from Salesforce may concern."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

import structlog
from django.db import transaction

from billing import selectors as billing
from crm import accounts
from crm.channels.kinds import ChannelError
from crm.matching.deciding import NOT_READ, Decision, decide, named_id, with_taken
from crm.matching.following import follow_accounts
from crm.matching.writing import basis, write_matches, write_unmatched
from crm.models import Match, SalesforceOrg, Unmatched

log = structlog.get_logger(__name__)


def match_customers(customer_pks: Collection[int], *, now: datetime, anew: bool = False) -> list[int]:
    """Match what is sure among customers, write down why the rest waits, and return the keys of those matched now.

    Runs in a transaction with the customers' rows locked by the caller; nothing is asked of Salesforce. Sure is: the
    Account id in the customer's metadata stands for a living Account; else exactly one Account has a Contact with the
    customer's e-mail. Who waits and has not changed is passed over, unless `anew`: Accounts or Contacts did change.
    """
    matched = Match.objects.filter(customer_id__in=customer_pks, undone_at__isnull=True)
    open_pks = set(customer_pks) - set(matched.values_list("customer_id", flat=True))
    customers = billing.customers(open_pks) if open_pks else {}
    waiting = {pk: customer for pk, customer in customers.items() if customer.livemode}
    if not waiting:
        return []
    if not anew:
        seen = dict(Unmatched.objects.filter(customer_id__in=waiting).values_list("customer_id", "basis"))
        waiting = {pk: customer for pk, customer in waiting.items() if seen.get(pk) != basis(customer)}
        if not waiting:
            return []
    org = SalesforceOrg.objects.order_by("pk").first()
    decisions = _left_to_people(decide(waiting, org, now=now))
    found = {pk: decision for pk, decision in decisions.items() if decision.account is not None}
    write_matches(found, now=now)
    rest = {pk: decision for pk, decision in decisions.items() if decision.account is None}
    write_unmatched(rest, waiting, now=now)
    return sorted(found)


def _left_to_people(decisions: Mapping[int, Decision]) -> dict[int, Decision]:
    """Whom a person ignores is never matched alone: what would be taken becomes the first candidate."""
    sure = [pk for pk, decision in decisions.items() if decision.account is not None]
    left_out = Unmatched.objects.filter(customer_id__in=sure).exclude(ignored_because="") if sure else []
    ignored = {row.customer_id for row in left_out}
    return {
        pk: Decision(None, reason="ignored", candidates=with_taken(decision)) if pk in ignored else decision
        for pk, decision in decisions.items()
    }


def match_waiting(*, now: datetime, limit: int = 5000) -> int:
    """Try all unmatched customers again, because Accounts or Contacts changed; returns how many found theirs."""
    pks = list(Unmatched.objects.order_by("checked_at").values_list("customer_id", flat=True)[:limit])
    count = 0
    for start in range(0, len(pks), 200):
        with transaction.atomic():
            billing.lock_customers(pks[start : start + 200])
            count += len(match_customers(pks[start : start + 200], now=now, anew=True))
    return count


def keep_up(*, now: datetime) -> int:
    """Learn what changed in Salesforce when it is time to ask, and try who waits again; returns how many found theirs.

    A call that fails is logged; the next turn asks again.
    """
    if not accounts.is_due(now=now):
        return 0
    try:
        read = accounts.refresh(now=now)
    except ChannelError as error:
        log.warning("accounts not read", code=error.code, message=error.message)
        return 0
    found = match_waiting(now=now) if read.news else 0
    return found + (follow_accounts(now=now) if read.total else 0)


def ask_for_named(*, now: datetime) -> int:
    """Ask Salesforce, once, for the Accounts that customers name and the mirror lacks; returns how many found theirs.

    Runs outside any transaction. What cannot be asked now is tried again when the customer changes or Accounts do.
    """
    pks = list(Unmatched.objects.filter(reason=NOT_READ).values_list("customer_id", flat=True)[:1000])
    if not pks:
        return 0
    named = {named_id(customer.metadata)[0] for customer in billing.customers(pks).values()}
    try:
        accounts.read_named(named - {""}, now=now)
    except ChannelError as error:
        log.warning("accounts not read", code=error.code, message=error.message)
        Unmatched.objects.filter(customer_id__in=pks, reason=NOT_READ).update(reason="no_account_for_id")
        return 0
    with transaction.atomic():
        billing.lock_customers(pks)
        return len(match_customers(pks, now=now, anew=True))
