"""Matches what is sure and writes down why the rest waits; tries those again whom news from Salesforce may concern."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import structlog
from django.db import transaction

from billing import selectors as billing
from crm import accounts, waiting
from crm.channels.kinds import ChannelError
from crm.matching.deciding import NOT_READ, Decision, decide, named_id, with_taken
from crm.matching.following import UNDELETED, follow_accounts, with_history
from crm.matching.writing import basis, write_matches, write_unmatched
from crm.models import Match, SalesforceOrg, Unmatched

log = structlog.get_logger(__name__)

BEING_READ = "accounts_being_read"
AT_ONCE = 200  # customers of one transaction
TURN_SECONDS = 12.0  # a worker that takes longer would seem to be stuck


def match_customers(customer_pks: Collection[int], *, now: datetime, anew: bool = False) -> list[int]:
    """Match what is sure among customers, write down why the rest waits, and return the keys of those matched now.

    Runs in a transaction with the customers' rows locked by the caller; nothing is asked of Salesforce. Sure is: the
    Account id in the customer's metadata stands for a living Account; else exactly one Account has a Contact with the
    customer's e-mail. Who waits and has not changed is passed over, unless `anew`: Accounts or Contacts did change.
    """
    matched = Match.objects.filter(customer_id__in=customer_pks, undone_at__isnull=True)
    open_pks = set(customer_pks) - set(matched.values_list("customer_id", flat=True))
    customers = billing.customers(open_pks) if open_pks else {}
    looking = {pk: customer for pk, customer in customers.items() if customer.livemode}
    if not looking:
        return []
    seen = waiting.lock(looking)
    if not anew:
        looking = {pk: customer for pk, customer in looking.items() if seen.get(pk) != basis(customer)}
        if not looking:
            return []
    org = SalesforceOrg.objects.order_by("pk").first()
    decisions = _left_to_people(with_history(decide(looking, org, now=now)))
    if org is not None and org.mirrored_to is None and not org.is_demo:
        decisions = {pk: _not_yet(decision) for pk, decision in decisions.items()}
    found = {pk: decision for pk, decision in decisions.items() if decision.account is not None}
    write_matches(found, now=now)
    rest = {pk: decision for pk, decision in decisions.items() if decision.account is None}
    write_unmatched(rest, looking, now=now)
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


def _not_yet(decision: Decision) -> Decision:
    """While Salesforce is being read for the first time an id is sure; one Contact with an e-mail may be one of two."""
    if decision.account is None or decision.how in ("metadata", UNDELETED):
        return decision
    return Decision(None, reason=BEING_READ, candidates=with_taken(decision))


def is_due(*, now: datetime) -> bool:
    """Say whether somebody who waits could be tried now: not while there is more to read from Salesforce."""
    return not _is_being_read() and not accounts.is_due(now=now) and bool(waiting.due(now=now, limit=1))


def _is_being_read() -> bool:
    """A demo has no org to read from."""
    return SalesforceOrg.objects.filter(mirrored_to__isnull=True, is_demo=False).exists()


def match_waiting(*, now: datetime) -> int:
    """Try everybody who waits again, because all may be otherwise; returns how many found their Account."""
    waiting.wake_all()
    return match_due(now=now)


def match_due(*, now: datetime, seconds: float = TURN_SECONDS) -> int:
    """Try those who wait and are due, because news may concern them or it is their turn; returns how many found theirs.

    Whoever is not reached in the time of a turn stays due.
    While Salesforce is being read for the first time nobody is tried: the second Contact with an e-mail may still come.
    """
    if _is_being_read():
        return 0
    pks, count, until = waiting.due(now=now), 0, time.monotonic() + seconds
    for start in range(0, len(pks), AT_ONCE):
        count += _try_again(pks[start : start + AT_ONCE], now=now)
        if time.monotonic() > until:
            break
    return count


def _try_again(pks: Sequence[int], *, now: datetime) -> int:
    """Try some in one transaction; where one of them makes that fail, each by itself, and that one later."""
    try:
        with transaction.atomic():
            billing.lock_customers(pks)
            return len(match_customers(pks, now=now, anew=True))
    except Exception as error:
        if len(pks) > 1:
            return sum(_try_again([pk], now=now) for pk in pks)
        log.error("customer not matched", customer=pks[0], error=f"{type(error).__name__}: {error}"[:300])
        waiting.put_off_failed(pks, now=now)
        return 0


def keep_up(*, now: datetime) -> int:
    """Learn what changed in Salesforce when it is time to ask, and try who is due; returns how many found theirs.

    Who was matched to an Account that is gone follows it or waits again. A call that fails is logged; the next turn
    asks again. While there is more to read nobody is tried: what decides may be in the rest.
    """
    if accounts.is_due(now=now):
        try:
            accounts.refresh(now=now)
        except ChannelError as error:
            log.warning("accounts not read", code=error.code, message=error.message)
        follow_accounts(now=now)
        if accounts.is_due(now=now):
            return 0
    return match_due(now=now)


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
