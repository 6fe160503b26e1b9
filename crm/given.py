"""Keeps what people and other systems tell us of customers: usage, and finance's own MRR."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import Final, TypeVar

from crm.models import FinanceMrr, UsageSignal

AT_ONCE: Final = 500

UsageKey = tuple[int, str, datetime]
"""Our key of the customer, the metric, the time in UTC."""
MonthKey = tuple[int, date, str]
"""Our key of the customer, the month's first day, the currency."""

T = TypeVar("T", int, UsageKey, MonthKey)


def usage(keys: Collection[UsageKey]) -> dict[UsageKey, int]:
    """Return the value, in millionths, that each of these has; those without one are left out."""
    return {key: value for key, (_, value) in _usage(keys).items()}


def keep_usage(values: Mapping[UsageKey, int | None]) -> None:
    """Keep values of metrics in millionths, in place of those kept before; None takes one away."""
    rows = [
        UsageSignal(customer_id=pk, metric=metric, at=at, value_micros=value)
        for (pk, metric, at), value in values.items()
        if value is not None
    ]
    UsageSignal.objects.bulk_create(
        rows,
        batch_size=AT_ONCE,
        update_conflicts=True,
        unique_fields=["customer", "metric", "at"],
        update_fields=["value_micros"],
    )
    gone = [pk for pk, _ in _usage([key for key, value in values.items() if value is None]).values()]
    for some in _batches(gone):
        UsageSignal.objects.filter(pk__in=some).delete()


def finance_mrr(keys: Collection[MonthKey]) -> dict[MonthKey, int]:
    """Return the minor units that finance said for each of these; those without are left out."""
    return {key: minor for key, (_, minor) in _finance_mrr(keys).items()}


def keep_finance_mrr(values: Mapping[MonthKey, int | None]) -> None:
    """Keep finance's MRR in minor units, in place of what was kept before; None takes one away."""
    rows = [
        FinanceMrr(customer_id=pk, month=month, currency=currency, amount_minor=minor)
        for (pk, month, currency), minor in values.items()
        if minor is not None
    ]
    FinanceMrr.objects.bulk_create(
        rows,
        batch_size=AT_ONCE,
        update_conflicts=True,
        unique_fields=["customer", "month", "currency"],
        update_fields=["amount_minor"],
    )
    gone = [pk for pk, _ in _finance_mrr([key for key, minor in values.items() if minor is None]).values()]
    for some in _batches(gone):
        FinanceMrr.objects.filter(pk__in=some).delete()


def _usage(keys: Iterable[UsageKey]) -> dict[UsageKey, tuple[int, int]]:
    found = {}
    for some in _batches(keys):
        times = [at for _, _, at in some]
        rows = UsageSignal.objects.filter(
            customer_id__in={pk for pk, _, _ in some}, at__gte=min(times), at__lte=max(times)
        )
        held = {
            (pk, metric, at): (row_pk, value)
            for pk, metric, at, row_pk, value in rows.values_list("customer_id", "metric", "at", "pk", "value_micros")
        }
        found.update({key: held[key] for key in held.keys() & some})
    return found


def _finance_mrr(keys: Iterable[MonthKey]) -> dict[MonthKey, tuple[int, int]]:
    found = {}
    for some in _batches(keys):
        months = [month for _, month, _ in some]
        rows = FinanceMrr.objects.filter(
            customer_id__in={pk for pk, _, _ in some}, month__gte=min(months), month__lte=max(months)
        )
        held = {
            (pk, month, code): (row_pk, minor)
            for pk, month, code, row_pk, minor in rows.values_list(
                "customer_id", "month", "currency", "pk", "amount_minor"
            )
        }
        found.update({key: held[key] for key in held.keys() & some})
    return found


def _batches(wanted: Iterable[T]) -> Iterator[list[T]]:
    ordered = sorted(set(wanted))
    for start in range(0, len(ordered), AT_ONCE):
        yield ordered[start : start + AT_ONCE]
