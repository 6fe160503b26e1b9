"""Reads what the engine needs beside snapshots, for many customers at once, and names what is not known yet.

What comes out is a function of the events and the fetched objects, whatever the order in which they came.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

from django.db.models import Min

from billing.facts import Facts
from billing.known_facts.asked import Asked, Asker, Known
from billing.known_facts.billed import billed_of
from billing.known_facts.discounts import applied_of, coupons_of
from billing.known_facts.prices import prices_of
from billing.known_facts.rulings import rulings_of
from billing.known_facts.schedules import schedules_of
from billing.models import Invoice
from billing.owed import Need

__all__ = ["Asker", "facts_of", "first_paid_of"]


def facts_of(askers: Sequence[Asker]) -> dict[int, tuple[Facts, tuple[Need, ...]]]:
    """Return the facts of customers, by primary key, and what of them must be fetched."""
    asked = [Asked(asker) for asker in askers]
    for each in asked:
        each.read_states()
    schedules = schedules_of(asked)
    for each in asked:
        each.read_schedules(schedules.get(each.asker.pk, ()))
    known = Known(
        prices=prices_of(asked),
        applied=(applied := applied_of(asked)),
        coupons=coupons_of(asked, applied),
        billed=billed_of(asked),
        rulings=rulings_of(asked),
    )
    return {each.asker.pk: each.facts(known) for each in asked}


def first_paid_of(customer_pks: Collection[int]) -> dict[int, dict[str, int]]:
    """Return when an invoice with something to pay was first paid, by customer and subscription, in Unix seconds."""
    rows = Invoice.objects.filter(
        customer_id__in=customer_pks, status="paid", paid_at__isnull=False, total_minor__gt=0
    ).exclude(subscription_id="")
    found: dict[int, dict[str, int]] = defaultdict(dict)
    for pk, subscription_id, at in rows.values_list("customer_id", "subscription_id").annotate(at=Min("paid_at")):
        found[pk][subscription_id] = int(at.timestamp())
    return found
