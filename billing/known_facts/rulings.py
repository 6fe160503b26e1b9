"""Which subscriptions a lost dispute ended, and what brought them back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from billing.facts import Ruling
from billing.known_facts.rows import Key, rows_of
from billing.models import Charge, Dispute, DisputeRuling, Invoice, Needs, Origin, StripeEvent
from billing.statements import select

if TYPE_CHECKING:
    from billing.known_facts.asked import Asked


def rulings_of(asked: Iterable[Asked]) -> dict[int, dict[str, tuple[Ruling, ...]]]:
    """Disputes that were lost, by customer and subscription: by the dispute's charge and the charge's invoice."""
    pks = {each.asker.pk for each in asked if each.asker.needs & Needs.DISPUTE}
    if not pks:
        return {}
    disputes = {
        (source_pk, name): (pk, charge)
        for pk, source_pk, name, charge in select(
            Dispute, ("customer_id", "source_id", "stripe_id", "charge_id"), {"customer_id": pks}
        )
    }
    told: dict[Key, list[Ruling]] = defaultdict(list)
    names = ("at", "event_id", "status", "is_live")
    for key, at, event_id, status, is_live in rows_of(DisputeRuling, "dispute_id", disputes.keys(), names):
        told[key].append(Ruling(at, event_id, status == "lost", bool(is_live)))
    told = {key: rulings for key, rulings in told.items() if any(ruling.is_lost for ruling in rulings)}  # type: ignore[assignment]
    if not told:
        return {}
    charges = {(key[0], disputes[key][1]) for key in told}
    invoice_of = dict(rows_of(Charge, "stripe_id", charges, ("invoice_id",)))
    invoices = _invoices({disputes[key][0] for key in told})
    found: dict[tuple[int, str], list[Ruling]] = defaultdict(list)
    for key, rulings in told.items():
        pk, charge = disputes[key]
        invoice = invoices.get((key[0], invoice_of.get((key[0], charge), "")))
        if invoice is None or not invoice.subscription:
            continue
        first_lost = min(ruling.at for ruling in rulings if ruling.is_lost)
        found[pk, invoice.subscription] += [each for each in rulings if each.is_lost or each.at > first_lost]
    _recover(found, invoices)
    by_customer: dict[int, dict[str, tuple[Ruling, ...]]] = defaultdict(dict)
    for (pk, subscription_id), rulings in found.items():
        by_customer[pk][subscription_id] = tuple(
            sorted(rulings, key=lambda each: (each.at, each.is_lost, each.event_id))
        )
    return by_customer


@dataclass(frozen=True, slots=True)
class _Invoice:
    source_pk: int
    customer_pk: int
    id: str
    subscription: str
    paid: int | None  # None too where there was nothing to pay


def _invoices(customer_pks: Collection[int]) -> dict[Key, _Invoice]:
    names = ("source_id", "customer_id", "stripe_id", "subscription_id", "paid_at", "status", "total_minor")
    return {
        (source_pk, name): _Invoice(source_pk, pk, name, sub, paid if status == "paid" and total > 0 else None)
        for source_pk, pk, name, sub, paid, status, total in select(Invoice, names, {"customer_id": customer_pks})
    }


def _recover(found: Mapping[tuple[int, str], list[Ruling]], invoices: Mapping[Key, _Invoice]) -> None:
    """An invoice of the same subscription that is paid later brings it back."""
    back: list[tuple[tuple[int, str], _Invoice]] = []
    for place, rulings in found.items():
        theirs = [each for each in invoices.values() if (each.customer_pk, each.subscription) == place and each.paid]
        for ruling in rulings:
            later = [each for each in theirs if ruling.is_lost and each.paid is not None and each.paid > ruling.at]
            if later:
                back.append((place, min(later, key=lambda each: (each.paid or 0, each.id))))
    if not back:
        return
    events = _payment_events({(each.source_pk, each.id) for _, each in back})
    for place, each in dict.fromkeys(back):
        event_id, is_live = events.get((each.source_pk, each.id), (found[place][0].event_id, False))
        assert each.paid is not None
        found[place].append(Ruling(each.paid, event_id, False, is_live))


def _payment_events(invoices: Collection[Key]) -> dict[Key, tuple[str, bool]]:
    """The first event that told of each invoice's payment, and whether it was a live delivery."""
    rows = StripeEvent.objects.filter(
        source_id__in={key[0] for key in invoices},
        object_id__in={key[1] for key in invoices},
        type__in=("invoice.paid", "invoice.payment_succeeded"),
        created_at__isnull=False,
    )
    first: dict[Key, tuple[datetime, str, bool]] = {}
    for source_pk, name, at, event_id, origin in rows.values_list(
        "source_id", "object_id", "created_at", "stripe_id", "origin"
    ):
        assert at is not None
        told = (at, event_id, origin == Origin.WEBHOOK)
        first[source_pk, name] = min(told, first.get((source_pk, name), told))
    return {key: (event_id, is_live) for key, (_, event_id, is_live) in first.items()}
