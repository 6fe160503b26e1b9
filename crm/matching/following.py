"""Follows Accounts that were merged or deleted in Salesforce: who was matched to them moves, or waits again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import structlog
from django.db import transaction

from billing import selectors as billing
from crm import accounts, outbox
from crm.channels.kinds import ChannelError
from crm.matching.deciding import MERGES_FOLLOWED, Decision, accounts_by_id, decide, living, with_taken
from crm.matching.writing import write_unmatched
from crm.models import Account, Match

log = structlog.get_logger(__name__)


def leave_gone_accounts(account_ids: Collection[str], *, now: datetime) -> set[str]:
    """Ask Salesforce for Accounts that it refused as gone, and let matched customers follow; returns those gone.

    Runs outside any transaction: one call for 200 Accounts, one more where the winner of a merge is not mirrored yet.
    """
    try:
        wanted = set(account_ids)
        for _ in range(MERGES_FOLLOWED):
            if not wanted:
                break
            accounts.read_named(wanted, now=now)
            masters = set(
                Account.objects.filter(salesforce_id__in=wanted)
                .exclude(merged_into="")
                .values_list("merged_into", flat=True)
            )
            wanted = masters - set(
                Account.objects.filter(salesforce_id__in=masters).values_list("salesforce_id", flat=True)
            )
    except ChannelError as error:
        log.warning("accounts not read", code=error.code, message=error.message)
    follow_accounts(now=now)
    gone = Account.objects.filter(salesforce_id__in=account_ids, is_deleted=True)
    return set(gone.values_list("salesforce_id", flat=True))


def follow_accounts(*, now: datetime) -> int:
    """Let customers of merged Accounts follow to the winner, and send those of deleted ones back to matching.

    Each old match stays as history, and the new one says what it was merged from. Returns how many customers moved.
    """
    lost = Match.objects.filter(undone_at__isnull=True, account__is_deleted=True).order_by("customer_id")
    pks = list(lost.values_list("customer_id", flat=True)[:5000])
    for start in range(0, len(pks), 200):
        with transaction.atomic():
            billing.lock_customers(pks[start : start + 200])
            _follow(pks[start : start + 200], now=now)
    return len(pks)


def _follow(customer_pks: Collection[int], *, now: datetime) -> None:
    lost = list(
        Match.objects.select_related("account", "account__org").filter(
            customer_id__in=customer_pks, undone_at__isnull=True, account__is_deleted=True
        )
    )
    mirrored = accounts_by_id({one.account.salesforce_id for one in lost})
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
