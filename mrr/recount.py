"""Recounts MRR from what Stripe says of each subscription now, with no history, and holds it against the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from billing.selectors import History
from mrr import ledger, policies

Difference = tuple[int, int]  # micros: ours, Stripe's


def differences(histories: Mapping[int, History], *, now: datetime) -> dict[int, dict[str, Difference]]:
    """Return, by customer and currency, where the ledger's MRR is not what its subscriptions are worth now, in micros.

    Only the newest known state of each subscription counts, so that nothing rests on how the history was put together.
    Who has a change due by the clock is left out: the ledger is about to post it.
    """
    policy = policies.in_force().policy
    kept = ledger.balances_of(list(histories))
    found: dict[int, dict[str, Difference]] = {}
    for customer_pk, history in histories.items():
        balances = kept[customer_pk]
        if any(row.clock_at is not None and row.clock_at <= now for row in balances.values()):
            continue
        newest = {name: steps[-1:] for name, steps in history.steps.items()}
        counted = ledger.replayed(replace(history, steps=newest, history_from=None), now=now, policy=policy).balances
        ours = {currency: row.mrr_micros for currency, row in balances.items() if row.mrr_micros}
        differing = {
            currency: (ours.get(currency, 0), counted.get(currency, 0))
            for currency in sorted({*ours, *counted})
            if ours.get(currency, 0) != counted.get(currency, 0)
        }
        if differing:
            found[customer_pk] = differing
    return found
