"""The months of all currencies as one, in the reporting currency: movements, FX impact and constant currency. (pure)"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, Protocol

from mrr.cohorts import months_from

PARTS: Final = ("new", "expansion", "reactivation", "contraction", "churn")
COUNTS: Final = ("opening", "new", "reactivated", "churned")

Columns = Mapping[str, int]
Months = Mapping[date, Columns]
_NOTHING: Final[Columns] = {}


class Converts(Protocol):
    """The rates in force: micros of the reporting currency at a day's rate, or at the pinned day's; None unknown."""

    @property
    def reporting(self) -> str: ...
    @property
    def stale(self) -> frozenset[str]: ...
    def at(self, micros: int, currency: str, day: date) -> int | None: ...
    def constant(self, micros: int, currency: str) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Sums:
    """What months are made of, by currency and month, each with its columns as the roll-ups name them.

    `native` holds every currency's own sums, `converted` those of the others' movements at their days' rates, and
    `mixed` what customers of several currencies are part of; under "" as a whole, at the pinned day's rates.
    """

    native: Mapping[str, Months]
    converted: Mapping[str, Months]
    mixed: Mapping[str, Months]

    def converted_of(self, currency: str, month: date, reporting: str) -> Columns:
        return (self.native if currency == reporting else self.converted).get(currency, {}).get(month, _NOTHING)


@dataclass(frozen=True, slots=True)
class Constant:
    """A month in constant currency: opening, the same customers' netted changes, and the movements. Losses negative."""

    opening: int
    netted: dict[str, int]
    moved: dict[str, int]


@dataclass(frozen=True, slots=True)
class Consolidated:
    """One month in micros of the reporting currency: opening + parts + adjustment + fx = closing.

    `parts` are those of the view: movements at their days' rates, or netted changes in constant currency. `counts` and
    `netted_counts` are of customers, whatever currencies they pay in. `held` are currencies that lack a rate: they are
    missing from some figure of the month. `constant` is None where the pinned day's rate of one is not known. `fx_by`
    says what each currency's rates did to what the movements at their days' rates came to, and `moved_by` what its
    movements came to in its own micros.
    """

    month: date
    opening: int
    parts: dict[str, int]
    adjustment: int
    fx: int
    closing: int
    counts: dict[str, int]
    netted_counts: dict[str, int]
    constant: Constant | None
    held: tuple[str, ...]
    fx_by: dict[str, int]
    moved_by: dict[str, int]


def months(
    sums: Sums, rates: Converts, *, first: date, last: date, today: date, is_netted: bool
) -> Iterator[Consolidated]:
    """Yield the months from one to another, both included, oldest first. A running month closes at today's rate."""
    currencies = sorted(sums.native)
    balances: dict[str, int] = dict.fromkeys(currencies, 0)
    customers = 0
    for month in sorted({month for found in sums.native.values() for month in found if month < first}):
        for currency in currencies:
            balances[currency] += _change(sums.native[currency].get(month, _NOTHING))
        counts = _counts(sums, currencies, month, "")
        customers += _customers_change(counts)
    befores, lacked = _closing(balances, rates, first - timedelta(days=1))
    for month in months_from(first, last):
        opened = {
            name: balances[name] + sums.native[name].get(month, _NOTHING).get("opening_micros", 0)
            for name in currencies
        }
        for currency in currencies:
            balances[currency] += _change(sums.native[currency].get(month, _NOTHING))
        closings, lacks = _closing(balances, rates, min(_last_day(month), today))
        moved = [(name, sums.converted_of(name, month, rates.reporting)) for name in currencies]
        closing = sum(closings.values())
        opening = sum(befores.values()) + sum(columns.get("opening_micros", 0) for _, columns in moved)
        adjustment = sum(columns.get("adjustment_micros", 0) for _, columns in moved)
        constant = _constant(sums, rates, currencies, month, opened)
        parts = {part: sum(columns.get(f"{part}_micros", 0) for _, columns in moved) for part in PARTS}
        held = lacked | lacks | {name for name, columns in moved if columns.get("held_entries")} | rates.stale
        if is_netted:
            parts = constant.netted if constant else dict.fromkeys(PARTS, 0)
            held |= {name for name in currencies if constant is None and rates.constant(1, name) is None}
        counts = _counts(sums, currencies, month, "")
        counts["opening"] += customers
        customers = _customers_change(counts)
        yield Consolidated(
            month,
            opening,
            parts,
            adjustment,
            closing - opening - sum(parts.values()) - adjustment,
            closing,
            counts | {"closing": customers},
            _counts(sums, currencies, month, "netted_"),
            constant,
            tuple(sorted(held & set(currencies))),
            {name: closings[name] - befores[name] - _change(columns) for name, columns in moved},
            {name: _moved(sums.native[name].get(month, _NOTHING)) for name in currencies},
        )
        befores, lacked = closings, lacks


def _change(columns: Columns) -> int:
    return sum(columns.get(f"{name}_micros", 0) for name in ("opening", *PARTS, "adjustment"))


def _moved(columns: Columns) -> int:
    return sum(columns.get(f"{name}_micros", 0) for name in PARTS)


def _customers_change(counts: Mapping[str, int]) -> int:
    return counts["opening"] + counts["new"] + counts["reactivated"] - counts["churned"]


def _closing(balances: Mapping[str, int], rates: Converts, day: date) -> tuple[dict[str, int], set[str]]:
    """Return what balances come to at a day's rates, by currency, and which are left out (0) for want of a rate."""
    found = {name: rates.at(micros, name, day) if micros else 0 for name, micros in balances.items()}
    return {name: micros or 0 for name, micros in found.items()}, {name for name in found if found[name] is None}


def _counts(sums: Sums, currencies: list[str], month: date, prefix: str) -> dict[str, int]:
    """Count customers as a whole: each currency's own, less those of several currencies, who are put in once."""
    found = {}
    for name in COUNTS:
        column = f"{prefix}{name}_customers"
        own = sum(sums.native[code].get(month, _NOTHING).get(column, 0) for code in currencies)
        several = sum(sums.mixed.get(code, {}).get(month, _NOTHING).get(column, 0) for code in currencies)
        found[name] = own - several + sums.mixed.get("", {}).get(month, _NOTHING).get(column, 0)
    return found


def _constant(
    sums: Sums, rates: Converts, currencies: list[str], month: date, opened: Mapping[str, int]
) -> Constant | None:
    opening = 0
    netted = {part: sums.mixed.get("", {}).get(month, _NOTHING).get(f"netted_{part}_micros", 0) for part in PARTS}
    moved = dict.fromkeys(PARTS, 0)
    for currency in currencies:
        own = sums.native[currency].get(month, _NOTHING)
        several = sums.mixed.get(currency, {}).get(month, _NOTHING)
        if not own and not opened[currency]:
            continue
        start = rates.constant(opened[currency], currency)
        if start is None:
            return None
        opening += start
        for part in PARTS:
            alone = own.get(f"netted_{part}_micros", 0) - several.get(f"netted_{part}_micros", 0)
            netted[part] += (rates.constant(alone, currency) or 0) if alone else 0
            gross = own.get(f"{part}_micros", 0)
            moved[part] += (rates.constant(gross, currency) or 0) if gross else 0
    return Constant(opening, netted, moved)


def _last_day(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1) - timedelta(days=1)
