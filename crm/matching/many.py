"""Accepts many candidates at once, as a person confirmed them; what changed meanwhile is refused one by one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import transaction

from billing import selectors as billing
from crm import outbox, scoring
from crm.matching.deciding import accounts_by_id, living
from crm.matching.recording import record
from crm.models import Account, Match, Unmatched
from crm.selectors.acceptable import match_threshold

AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class Accepted:
    """How many were matched, and why each of the others was not: (customer, words)."""

    matched: int
    refused: tuple[tuple[int, str], ...]


def accept_many(pairs: Sequence[tuple[int, str]], *, by: str, now: datetime) -> Accepted:
    """Match customers to the Accounts that a person saw as their only candidates, 200 in one transaction.

    Whoever was matched, set aside or got another candidate near since then is refused; the rest are matched.
    """
    refused: dict[int, str] = {}
    matched = 0
    asked = sorted(dict(pairs).items())
    for start in range(0, len(asked), AT_ONCE):
        chunk = dict(asked[start : start + AT_ONCE])
        with transaction.atomic():
            billing.lock_customers(chunk)
            good, bad = _checked(chunk)
            _write(good, by=by, now=now)
        matched += len(good)
        refused |= bad
    return Accepted(matched, tuple(sorted(refused.items())))


def _checked(pairs: dict[int, str]) -> tuple[dict[int, tuple[Unmatched, Account]], dict[int, str]]:
    """Return what may be written and the words for what may not, of customers whose rows are locked."""
    rows = Unmatched.objects.select_related("customer").filter(customer_id__in=pairs)
    waiting = {row.customer_id: row for row in rows}
    mirrored = accounts_by_id(set(pairs.values()))
    threshold = match_threshold()
    first = _first(set(pairs) - waiting.keys())
    good: dict[int, tuple[Unmatched, Account]] = {}
    bad: dict[int, str] = {}
    for pk, account_id in pairs.items():
        row, account = waiting.get(pk), living(account_id, mirrored)
        if row is None:
            bad[pk] = first.get(pk, "It does not wait for an Account.")
        elif row.ignored_because:
            bad[pk] = f"{row.ignored_by} ignored it meanwhile."
        elif account is None:
            bad[pk] = f"Account {account_id} was deleted in Salesforce, or is not among those read."
        elif not _is_acceptable(row, account_id, threshold=threshold):
            bad[pk] = "It is not its only candidate any more, or something casts doubt. Look at it alone."
        else:
            good[pk] = (row, account)
    return good, bad


def _is_acceptable(row: Unmatched, account_id: str, *, threshold: int) -> bool:
    best = scoring.acceptable([scoring.read(one) for one in row.candidates], threshold=threshold)
    return best is not None and best.account_id == account_id


def _first(customer_pks: Collection[int]) -> dict[int, str]:
    """Say who was first where customers have an Account by now."""
    standing = Match.objects.filter(customer_id__in=customer_pks, undone_at__isnull=True)
    return {
        row.customer_id: f"{row.matched_by or 'The machine'} matched it at {row.matched_at:%Y-%m-%d %H:%M} UTC."
        for row in standing
    }


def _write(good: dict[int, tuple[Unmatched, Account]], *, by: str, now: datetime) -> None:
    Match.objects.bulk_create(
        [
            Match(
                customer_id=pk,
                account=account,
                how="person",
                evidence=row.candidates[0]["reasons"],
                matched_by=by,
                matched_at=now,
                waited_since=row.since,
            )
            for pk, (row, account) in good.items()
        ]
    )
    Unmatched.objects.filter(customer_id__in=good).delete()
    outbox.release(list(good), now=now)
    outbox.owe_accounts({account.salesforce_id for _, account in good.values()}, now=now)
    record(
        {pk: row.customer.stripe_id for pk, (row, _) in good.items()},
        {pk: {"account": (None, account.salesforce_id)} for pk, (_, account) in good.items()},
        by=by,
    )
