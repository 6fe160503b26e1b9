"""Follows Accounts that were merged or deleted in Salesforce: who was matched to them moves, or waits again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import structlog
from django.db import transaction

from billing import selectors as billing
from crm import accounts, outbox
from crm.channels.kinds import ChannelError
from crm.matching.deciding import MERGES_FOLLOWED, Decision, accounts_by_id, decide, living, with_taken
from crm.matching.writing import write_unmatched
from crm.models import Account, Match
from crm.scoring import Reason

log = structlog.get_logger(__name__)

AT_ONCE = 200  # customers of one transaction
MOST_AT_ONCE = 5000  # of one turn; the next goes on
UNDELETED = "undeleted"  # how such a match came about


def leave_gone_accounts(account_ids: Collection[str], *, now: datetime) -> set[str]:
    """Ask Salesforce for Accounts that it refused as gone, and let matched customers follow; returns those gone.

    Runs outside any transaction: one call for 200 Accounts, one more where the winner of a merge is not mirrored yet.
    """
    try:
        accounts.read_named(account_ids, now=now)
    except ChannelError as error:
        log.warning("accounts not read", code=error.code, message=error.message)
    follow_accounts(now=now)
    gone = Account.objects.filter(salesforce_id__in=account_ids, is_deleted=True)
    return set(gone.values_list("salesforce_id", flat=True))


def follow_accounts(*, now: datetime) -> int:
    """Let customers of merged Accounts follow to the winner, and send those of deleted ones back to matching.

    Each old match stays as history, and the new one says what it was merged from. Where Salesforce does not say now
    what a winner is, its customers stay until it does. Runs outside any transaction; returns how many customers moved.
    """
    lost = Match.objects.filter(undone_at__isnull=True, account__is_deleted=True).order_by("customer_id")
    found = list(lost.values_list("customer_id", "account__salesforce_id")[:MOST_AT_ONCE])
    if not found:
        return 0
    _ask_for_winners({account_id for _, account_id in found}, now=now)
    moved = 0
    for start in range(0, len(found), AT_ONCE):
        pks = [pk for pk, _ in found[start : start + AT_ONCE]]
        with transaction.atomic():
            billing.lock_customers(pks)
            moved += _follow(pks, now=now)
    return moved


def _ask_for_winners(account_ids: Collection[str], *, now: datetime) -> None:
    """Learn of the Accounts that these were merged into and that the mirror lacks, however long the chain."""
    try:
        for _ in range(MERGES_FOLLOWED):
            mirrored = accounts_by_id(account_ids)
            missing = {one.merged_into for one in mirrored.values() if one.merged_into} - mirrored.keys()
            if not missing:
                break
            accounts.read_named(missing, now=now)
    except ChannelError as error:
        log.warning("accounts not read", code=error.code, message=error.message)


def _follow(customer_pks: Collection[int], *, now: datetime) -> int:
    matches = list(
        Match.objects.select_related("account", "account__org").filter(
            customer_id__in=customer_pks, undone_at__isnull=True, account__is_deleted=True
        )
    )
    mirrored = accounts_by_id({one.account.salesforce_id for one in matches})
    lost = [one for one in matches if _is_known(one.account.salesforce_id, mirrored)]
    Match.objects.filter(pk__in=[one.pk for one in lost]).update(undone_at=now, undone_by="")
    moved: dict[int, Account] = {}
    for one in lost:
        winner = living(one.account.salesforce_id, mirrored)
        if winner is not None:
            moved[one.customer_id] = winner
    Match.objects.bulk_create(
        [
            Match(
                customer_id=one.customer_id,
                account=moved[one.customer_id],
                how="merge",
                evidence=[_merged(one.account.salesforce_id, moved[one.customer_id].salesforce_id)],
                matched_at=now,
            )
            for one in lost
            if one.customer_id in moved
        ]
    )
    outbox.repoint(list(moved), now=now)
    outbox.owe_accounts({winner.salesforce_id for winner in moved.values()}, now=now)
    _send_back([one for one in lost if one.customer_id not in moved], now=now)
    return len(lost)


def _is_known(account_id: str, mirrored: Mapping[str, Account]) -> bool:
    """Say whether the end of a chain of merges is mirrored: what is not there is not gone, but not read yet."""
    for _ in range(MERGES_FOLLOWED + 1):
        account = mirrored.get(account_id)
        if account is None or not account.merged_into:
            return account is not None
        account_id = account.merged_into
    return True  # longer than what is followed


def _merged(loser_id: str, winner_id: str) -> dict[str, object]:
    return {"kind": "merged_account", "weight": 100, "text": f"Account {loser_id} was merged into {winner_id}"}


def _send_back(lost: Sequence[Match], *, now: datetime) -> None:
    if not lost:
        return
    customers = billing.customers([one.customer_id for one in lost])
    decisions = decide(customers, lost[0].account.org, now=now)
    waits = {
        pk: Decision(None, reason="deleted_account", candidates=with_taken(decision))
        for pk, decision in decisions.items()
    }
    write_unmatched(waits, customers, now=now)
    outbox.point_anew(list(customers), now=now)


# ---- an Account that was deleted and is back ----


def with_history(decisions: Mapping[int, Decision]) -> dict[int, Decision]:
    """Add what the last match of each customer says: given back when its Account is back, else why it waits.

    That match fell with its Account, and nobody decided anything since. One query.
    """
    last: dict[int, Match] = {}
    for one in Match.objects.filter(customer_id__in=decisions).select_related("account").order_by("pk"):
        last[one.customer_id] = one
    fallen = {pk: one for pk, one in last.items() if one.undone_at is not None and not one.undone_by}
    return {pk: _after(fallen[pk], told) if pk in fallen else told for pk, told in decisions.items()}


def _after(fallen: Match, told: Decision) -> Decision:
    if told.account is not None:
        return told
    if fallen.account.is_deleted:
        return replace(told, reason="deleted_account")
    text = f"Account {fallen.account.salesforce_id} was deleted in Salesforce, and is back"
    return Decision(fallen.account, how=UNDELETED, evidence=(Reason(UNDELETED, 100, text),))
