"""Keeps each paying customer's risk as judged last, so that pages and Accounts read it instead of working it out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from django.db import transaction

from billing import selectors as billing
from crm import facts, outbox, risk
from crm.models import CustomerRisk, Match
from mrr import selectors as mrr

CHUNK = 500


def assess(customer_pks: Collection[int], *, now: datetime) -> list[int]:
    """Judge customers anew and return the keys of those whose risk changed; runs in the caller's transaction.

    Only who pays now is at risk. Some ten queries, however many customers.
    """
    balances = mrr.balances(customer_pks)
    kept = {row.customer_id: row for row in CustomerRisk.objects.filter(customer_id__in=customer_pks)}
    paying = sorted(pk for pk, held in balances.items() if any(one.is_paying for one in held))
    wanted = {row.customer_id: row for row in _judged(paying, now=now)} if paying else {}
    gone = [pk for pk in kept if pk not in wanted]
    changed = [row for pk, row in wanted.items() if pk not in kept or _differs(row, kept[pk])]
    if gone:
        CustomerRisk.objects.filter(customer_id__in=gone).delete()
    if changed:
        columns = [field.name for field in CustomerRisk._meta.concrete_fields if field.name not in ("id", "customer")]
        CustomerRisk.objects.bulk_create(
            changed, update_conflicts=True, unique_fields=["customer"], update_fields=columns
        )
    return sorted([*gone, *(row.customer_id for row in changed)])


def assess_all(*, now: datetime) -> int:
    """Judge every paying customer anew, because time alone moves risk: a due date passes, a card expires.

    Returns how many changed; the Accounts of those are owed a refresh.
    """
    pks = sorted({*mrr.paying_customers(), *CustomerRisk.objects.values_list("customer_id", flat=True)})
    count = 0
    for start in range(0, len(pks), CHUNK):
        with transaction.atomic():
            billing.lock_customers(pks[start : start + CHUNK])
            changed = assess(pks[start : start + CHUNK], now=now)
            matches = Match.objects.filter(customer_id__in=changed, undone_at__isnull=True)
            outbox.owe_accounts(set(matches.values_list("account__salesforce_id", flat=True)), now=now)
        count += len(changed)
    return count


def _judged(pks: Sequence[int], *, now: datetime) -> list[CustomerRisk]:
    subscriptions = billing.subscriptions_of(pks, counted_only=True)
    found = facts.facts_of(pks, subscriptions=subscriptions, now=now)
    late = {
        pk: {one.stripe_id for one in subscriptions[pk] if one.is_counted and one.is_past_due}
        for pk, known in found.items()
        if known.past_due_since is not None
    }
    movements = mrr.movements_of(sorted(late)) if late else {}
    rows: list[CustomerRisk] = []
    for pk, known in found.items():
        judged = risk.assess(known, now=now)
        if judged.score:
            past_due = _worth(late[pk], movements[pk]) if pk in late else {}
            rows.append(_row(pk, judged, known, past_due, now))
    return rows


def _row(pk: int, judged: risk.Risk, known: risk.Facts, past_due: dict[str, int], now: datetime) -> CustomerRisk:
    return CustomerRisk(
        customer_id=pk,
        score=judged.score,
        severity=judged.severity,
        payment_severity=judged.payment_severity,
        parts=[
            {
                "signal": part.signal,
                "points": part.points,
                "evidence": part.evidence,
                "at": part.at.isoformat() if part.at else None,
            }
            for part in judged.parts
        ],
        since=judged.since,
        past_due=past_due,
        past_due_since=known.past_due_since,
        assessed_at=now,
    )


def _worth(subscription_ids: Collection[str], standing: Sequence[mrr.Movement]) -> dict[str, int]:
    """Return the MRR of these subscriptions now, per currency."""
    worth: dict[str, int] = {}
    for entry in standing:
        micros = sum(line.micros for line in entry.lines if line.subscription in subscription_ids)
        if micros:
            worth[entry.currency] = worth.get(entry.currency, 0) + micros
    return worth


def _differs(row: CustomerRisk, kept: CustomerRisk) -> bool:
    return (row.parts, row.past_due) != (kept.parts, kept.past_due) or row.payment_severity != kept.payment_severity
