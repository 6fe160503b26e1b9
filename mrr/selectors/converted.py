"""Reads what the months of all currencies are made of, and the rates that make them one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from django.db.models import Q, Value

from mrr import consolidated, fx
from mrr.consolidated import Sums
from mrr.days import day_of
from mrr.models import BookRollup, ConvertedRollup, LedgerEntry, MixedRollup, MonthRollup
from mrr.rollups import CONVERTED_COLUMNS, EVENT_COLUMN, MIXED_COLUMNS, MONTH_COLUMNS

_Found = dict[str, dict[date, dict[str, int]]]


def months(
    sources: Sequence[int],
    rates: fx.Conversion | None,
    *,
    first: date,
    last: date,
    today: date,
    is_netted: bool,
    is_closed: bool,
) -> tuple[list[consolidated.Consolidated], fx.Conversion]:
    """Return the months of all currencies of some sources in the reporting currency, and by which rates."""
    native, converted, mixed = _sums(sources, last)
    if is_closed:
        rows = BookRollup.objects.filter(source_id__in=sources, month__lte=last)
        columns = (*MONTH_COLUMNS, "adjustment_micros")
        for currency, month, *amounts in rows.values_list("currency", "month", *columns):
            _add(native, currency, month, zip(columns, amounts, strict=True))
    rates = rates or fx.conversion(native)
    if is_closed and native.keys() - {rates.reporting}:
        _book(converted, sources, rates, last)
    sums = Sums(native, converted, mixed)
    return list(consolidated.months(sums, rates, first=first, last=last, today=today, is_netted=is_netted)), rates


def _sums(sources: Sequence[int], last: date) -> tuple[_Found, _Found, _Found]:
    """Add up the three kinds of month sums over sources, in one query: own, converted, of several currencies."""
    found: tuple[_Found, _Found, _Found] = ({}, {}, {})
    columns = (*EVENT_COLUMN.values(), *MIXED_COLUMNS, "held_entries")
    parts = [
        model.objects.filter(source_id__in=sources, month__lte=last)
        .order_by()
        .values_list(Value(kind), "currency", "month", *(name if name in kept else Value(0) for name in columns))
        for kind, (model, kept) in enumerate(_KINDS)
    ]
    for kind, currency, month, *amounts in parts[0].union(*parts[1:], all=True):
        _add(found[kind], currency, month, zip(columns, amounts, strict=True))
    return found


_KINDS: tuple[tuple[Any, Sequence[str]], ...] = (
    (MonthRollup, MONTH_COLUMNS),
    (ConvertedRollup, CONVERTED_COLUMNS),
    (MixedRollup, MIXED_COLUMNS),
)


def _book(found: _Found, sources: Sequence[int], rates: fx.Conversion, last: date) -> None:
    """Move what was booked outside its own month, converted at its own day's rate, to the month that carries it."""
    rows = LedgerEntry.objects.filter(
        ~Q(currency=rates.reporting), source_id__in=sources, backdated_from__isnull=False
    ).values_list("currency", "type", "reverses__type", "amount_micros", "effective_at", "book_month")
    for currency, kind, reversed_kind, micros, effective_at, book_month in rows:
        day = day_of(effective_at)
        amount = rates.at(micros, currency, day)
        if amount is None:
            sign = -1 if reversed_kind else 1
            _add(found, currency, day.replace(day=1), [("held_entries", -sign)])
            _add(found, currency, book_month, [("held_entries", sign)])
        else:
            _add(found, currency, day.replace(day=1), [(EVENT_COLUMN[reversed_kind or kind], -amount)])
            if book_month <= last:
                _add(found, currency, book_month, [("adjustment_micros", amount)])


def _add(found: _Found, currency: str, month: date, amounts: Iterable[tuple[str, int]]) -> None:
    cell = found.setdefault(currency, {}).setdefault(month, {})
    for name, amount in amounts:
        cell[name] = cell.get(name, 0) + amount
