"""The month sums as closed: each entry in the month it was booked in, for ever. What came late is adjustment. (pure)

They are kept as the difference to the sums as restated, so that most customers, who have nothing late, cost nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from mrr.rollups import EVENT_COLUMN, MONTH_COLUMNS, Sums

COLUMNS: Final = (*MONTH_COLUMNS, "adjustment_micros")


@dataclass(frozen=True, slots=True)
class Booked:
    """What the sums as closed need of an entry of one customer, reversal or not. Months are numbers (rollups.month_of).

    `sequence` names it among the customer's entries. A reversal names the entry it takes back by `reverses`, and has
    that entry's type. `own_month` is the month of `at` in the reporting zone.
    """

    sequence: int
    type: str
    currency: str
    micros: int
    paying_delta: int
    at: int
    month: int
    own_month: int
    is_late: bool
    reverses: int | None = None

    @property
    def is_elsewhere(self) -> bool:
        return self.is_late or self.month != self.own_month


def difference(entries: Sequence[Booked], restated: Sums) -> Sums:
    """Return the sums as closed less those as restated: empty for a customer with nothing booked elsewhere."""
    if not any(entry.is_elsewhere for entry in entries):
        return {}
    found = as_closed(entries)
    for key, columns in restated.items():
        cell = found.setdefault(key, {})
        for name, amount in columns.items():
            cell[name] = cell.get(name, 0) - amount
    return found


def as_closed(entries: Iterable[Booked]) -> Sums:
    """Return one customer's part of the month sums as closed: (currency, month) → column → amount.

    What a month comes to depends on the entries booked up to it alone, so that nothing learned later can change it.
    """
    kept = sorted(_without_pairs(list(entries)), key=_place)
    sums: Sums = defaultdict(lambda: defaultdict(int))
    columns: dict[int, str] = {}
    paid: dict[str, int] = defaultdict(int)
    for entry in kept:
        cell = sums[entry.currency, entry.month]
        cell["adjustment_micros" if entry.is_late else EVENT_COLUMN[entry.type]] += entry.micros
        if entry.paying_delta:
            if entry.reverses in columns:
                column = columns[entry.reverses]
            else:
                column = columns[entry.sequence] = _count_of(entry, has_paid=paid[entry.currency] > 0)
            cell[column] += -entry.paying_delta if column == "churned_customers" else entry.paying_delta
            if column != "churned_customers":
                paid[entry.currency] += entry.paying_delta
    _add_netted(sums, kept)
    return {key: dict(cell) for key, cell in sums.items()}


def _without_pairs(entries: Sequence[Booked]) -> list[Booked]:
    """Leave out what was taken back in the very month it was booked in: as closed it never was."""
    months = {entry.sequence: entry.month for entry in entries}
    gone: set[int] = set()
    for entry in entries:
        if entry.reverses is not None and months.get(entry.reverses) == entry.month:
            gone |= {entry.sequence, entry.reverses}
    return [entry for entry in entries if entry.sequence not in gone]


def _place(entry: Booked) -> tuple[int, bool, int, int]:
    """Month by month: first what came late, as it was posted, then the month's own entries as they happened."""
    return entry.month, not entry.is_late, entry.sequence if entry.is_late else entry.at, entry.sequence


def _count_of(entry: Booked, *, has_paid: bool) -> str:
    begins = (entry.paying_delta > 0) is (entry.reverses is None)
    if not begins:
        return "churned_customers"
    if entry.type == "opening":
        return "opening_customers"
    return "reactivated_customers" if has_paid else "new_customers"


def _add_netted(sums: Sums, entries: Sequence[Booked]) -> None:
    """Compare what a customer had after the month's adjustments with what it has at the month's end."""
    by_month: dict[int, dict[str, list[Booked]]] = defaultdict(lambda: defaultdict(list))
    for entry in entries:
        by_month[entry.month][entry.currency].append(entry)
    balance: dict[str, int] = {}
    for month in sorted(by_month):
        known = set(balance)
        for currency, booked in by_month[month].items():
            opened = sum(entry.micros for entry in booked if not entry.is_late and entry.type == "opening")
            late = sum(entry.micros for entry in booked if entry.is_late)
            start = balance.get(currency, 0) + opened
            base = start + late
            end = balance[currency] = balance.get(currency, 0) + sum(entry.micros for entry in booked)
            cell = sums[currency, month]
            if base != end:
                cell[_netted_column(base, end, had=currency in known)] += end - base
            if end and not start:
                cell["netted_reactivated_customers" if currency in known else "netted_new_customers"] += 1
            if start and not end:
                cell["netted_churned_customers"] += 1


def _netted_column(base: int, end: int, *, had: bool) -> str:
    if not base:
        return "netted_reactivation_micros" if had else "netted_new_micros"
    if not end:
        return "netted_churn_micros"
    return "netted_expansion_micros" if end > base else "netted_contraction_micros"
