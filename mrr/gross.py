"""Keeps what discounts take off in step with the ledger, in the transaction that posts, and proves it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from mrr.engine.gross import DiscountStep, Movement, discount_steps
from mrr.models import DiscountChange

BATCH = 500


def move(changed: Iterable[tuple[int, int, Sequence[Movement], Sequence[Movement]]]) -> None:
    """Write what customers' discounts take off: (source, customer, movements that stood, movements that stand)."""
    gone: list[int] = []
    added: list[DiscountChange] = []
    for source_pk, customer_pk, before, after in changed:
        was, now = discount_steps(before), discount_steps(after)
        if was != now:
            gone += [customer_pk] if was else []
            added += [_row(source_pk, customer_pk, step) for step in now]
    _write(gone, added)


def differences(source_of: Mapping[int, int], standing: Mapping[int, Sequence[Movement]]) -> Iterator[str]:
    """Tell, customer by customer, where the kept rows are not what the standing movements come to."""
    kept = _kept(standing)
    for customer_pk, movements in standing.items():
        wanted = _said(discount_steps(movements))
        if sorted(kept.get(customer_pk, [])) != sorted(wanted):
            yield (
                f"discounts of customer {customer_pk}, source {source_of[customer_pk]}: "
                f"{len(kept.get(customer_pk, []))} kept, {len(wanted)} follow from the ledger"
            )


def write(source_of: Mapping[int, int], standing: Mapping[int, Sequence[Movement]]) -> None:
    """Write the rows of customers anew from their standing movements."""
    added = [
        _row(source_of[customer_pk], customer_pk, step)
        for customer_pk, movements in standing.items()
        for step in discount_steps(movements)
    ]
    _write(list(standing), added)


Said = tuple[str, str, int, int, int]


def _said(steps: Iterable[DiscountStep]) -> list[Said]:
    return [(step.type, step.currency, step.effective_at, step.net_micros, step.micros) for step in steps]


def _kept(customers: Iterable[int]) -> dict[int, list[Said]]:
    found: dict[int, list[Said]] = {}
    rows = DiscountChange.objects.filter(customer_id__in=list(customers)).values_list(
        "customer_id", "type", "currency", "effective_at", "net_micros", "micros"
    )
    for customer_pk, kind, currency, at, net, micros in rows:
        found.setdefault(customer_pk, []).append((kind, currency, int(at.timestamp()), net, micros))
    return found


def _row(source_pk: int, customer_pk: int, step: DiscountStep) -> DiscountChange:
    return DiscountChange(
        source_id=source_pk,
        customer_id=customer_pk,
        currency=step.currency,
        effective_at=datetime.fromtimestamp(step.effective_at, UTC),
        type=step.type,
        net_micros=step.net_micros,
        micros=step.micros,
    )


def _write(gone: Sequence[int], added: Sequence[DiscountChange]) -> None:
    if gone:
        DiscountChange.objects.filter(customer_id__in=gone).delete()
    if added:
        DiscountChange.objects.bulk_create(added, batch_size=BATCH)
