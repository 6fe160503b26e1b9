"""Month sums and cohort cells: what one customer contributes (pure), and the sums kept in the database.

A change of the ledger takes the customer's old contribution out and puts the new one in, in the ledger's own
transaction, so a page costs the same at a thousand and at ten million entries.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Any

from django.db import connection

from mrr import retention

EVENT_COLUMN = {
    "opening": "opening_micros",
    "new": "new_micros",
    "expansion": "expansion_micros",
    "reactivation": "reactivation_micros",
    "contraction": "contraction_micros",
    "churn": "churn_micros",
}
MONTH_COLUMNS = (
    *EVENT_COLUMN.values(),
    "opening_customers",
    "new_customers",
    "reactivated_customers",
    "churned_customers",
    "netted_new_micros",
    "netted_expansion_micros",
    "netted_reactivation_micros",
    "netted_contraction_micros",
    "netted_churn_micros",
    "netted_new_customers",
    "netted_reactivated_customers",
    "netted_churned_customers",
)
MIXED_COLUMNS = MONTH_COLUMNS[len(EVENT_COLUMN) :]  # an entry's own column is the same whoever the customer is
CONVERTED_COLUMNS = (*EVENT_COLUMN.values(), "held_entries")
COHORT_COLUMNS = ("acquired_customers", "acquired_micros", "customers", "mrr_micros", "gross_micros")

Sums = dict[tuple[Any, ...], dict[str, int]]


@dataclass(frozen=True, slots=True)
class Standing:
    """What the roll-ups need of a standing entry. `month` counts months since year 0 in the reporting zone.

    `product` is that of the line that moved most.
    """

    type: str
    currency: str
    micros: int
    paying_delta: int
    at: int
    month: int
    reason: str = ""
    product: str = ""


def month_number(day: date) -> int:
    return day.year * 12 + day.month - 1


def month_date(number: int) -> date:
    return date(number // 12, number % 12 + 1, 1)


def product_of(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return the product of the line that moved most, of lines as an entry keeps them."""
    return str(max(lines, key=lambda line: abs(line["micros"]))["product"] or "") if lines else ""


def months_of(entries: Sequence[Standing]) -> Sums:
    """Return one customer's part of the month sums: (currency, month) → column → amount."""
    sums: Sums = defaultdict(lambda: defaultdict(int))
    seen: set[str] = set()
    for entry in sorted(entries, key=lambda entry: entry.at):
        cell = sums[entry.currency, entry.month]
        cell[EVENT_COLUMN[entry.type]] += entry.micros
        if entry.paying_delta > 0:
            if entry.type == "opening":
                cell["opening_customers"] += 1
            else:
                cell["reactivated_customers" if entry.currency in seen else "new_customers"] += 1
            seen.add(entry.currency)
        elif entry.paying_delta < 0:
            cell["churned_customers"] += 1
    _add_netted(sums, entries)
    return sums


def _add_netted(sums: Sums, entries: Sequence[Standing]) -> None:
    """Compare the balances at the ends of two months, whatever happened between them.

    Each currency is judged by its own balances: retention in a currency is of those who paid in it at the start.
    """
    seen: set[str] = set()
    for month, before, after in month_ends(entries):
        for currency, end in after.items():
            opening = sum(
                entry.micros
                for entry in entries
                if entry.month == month and entry.currency == currency and entry.type == "opening"
            )
            start = before.get(currency, 0) + opening
            if start != end:
                cell = sums[currency, month]
                cell[f"netted_{_netted_name(start, end, had=currency in seen)}_micros"] += end - start
                if not start:
                    cell["netted_reactivated_customers" if currency in seen else "netted_new_customers"] += 1
                if not end:
                    cell["netted_churned_customers"] += 1
            seen.add(currency)


def _netted_name(start: int, end: int, *, had: bool) -> str:
    if not start:
        return "reactivation" if had else "new"
    if not end:
        return "churn"
    return "expansion" if end > start else "contraction"


def cohorts_of(entries: Sequence[Standing], cohort: int | None) -> Sums:
    """Return one customer's part of the cohort sums: (currency, cohort, month) → column → amount."""
    sums: Sums = defaultdict(lambda: defaultdict(int))
    if cohort is None:
        return sums
    acquired: dict[str, int] = {}
    for entry in sorted(entries, key=lambda entry: entry.at):
        if entry.currency not in acquired and entry.micros > 0:
            acquired[entry.currency] = entry.micros
            cell = sums[entry.currency, cohort, entry.month]
            cell["acquired_customers"] += 1
            cell["acquired_micros"] += entry.micros
    for month, before, after in month_ends(entries):
        for currency, end in after.items():
            start = before.get(currency, 0)
            if start == end:
                continue
            ceiling = acquired.get(currency, 0)
            cell = sums[currency, cohort, month]
            cell["customers"] += (end > 0) - (start > 0)
            cell["mrr_micros"] += end - start
            cell["gross_micros"] += min(ceiling, end) - min(ceiling, start)
    return sums


def month_ends(entries: Sequence[Standing]) -> Iterable[tuple[int, dict[str, int], dict[str, int]]]:
    """Yield (month, balances at its start, balances at its end) for each month with entries, oldest first."""
    by_month: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for entry in entries:
        by_month[entry.month][entry.currency] += entry.micros
    balance: dict[str, int] = {}
    for month in sorted(by_month):
        before = dict(balance)
        for currency, micros in by_month[month].items():
            balance[currency] = balance.get(currency, 0) + micros
        yield month, before, dict(balance)


def as_one(entries: Sequence[Standing], convert: Callable[[int, str], int | None]) -> list[Standing]:
    """Return the entries of several currencies as those of one, named "": what the customer is as a whole.

    `convert` gives a balance in micros of a currency in the reporting currency's, at one rate throughout; a currency
    that has none adds nothing. What happens in the same second is one entry.
    """
    balances: dict[str, int] = {}
    found: list[Standing] = []
    for at, together in groupby(sorted(entries, key=lambda entry: entry.at), key=lambda entry: entry.at):
        group = list(together)
        did_pay = any(micros > 0 for micros in balances.values())
        moved = 0
        for entry in group:
            before = balances.get(entry.currency, 0)
            balances[entry.currency] = before + entry.micros
            moved += (convert(before + entry.micros, entry.currency) or 0) - (convert(before, entry.currency) or 0)
        pays = any(micros > 0 for micros in balances.values())
        kinds = {entry.type for entry in group}
        kind = "opening" if "opening" in kinds else group[0].type
        last = group[-1]
        found.append(Standing(kind, "", moved, pays - did_pay, at, last.month, last.reason, last.product))
    return found


def mixed_of(
    entries: Sequence[Standing], cohort: int | None, convert: Callable[[int, str], int | None]
) -> tuple[Sums, Sums]:
    """Return the mixed month and cohort sums of one customer: each currency's own part, and the whole under "".

    Both are empty for a customer of one currency, who is the same in its currency and in the total.
    """
    if len({entry.currency for entry in entries}) < 2:
        return {}, {}
    whole = as_one(entries, convert)
    months: Sums = {}
    for key, columns in (months_of(entries) | months_of(whole)).items():
        months[key] = {name: amount for name, amount in columns.items() if name in MIXED_COLUMNS}
    return months, {**cohorts_of(entries, cohort), **cohorts_of(whole, cohort)}


def add(into: Sums, part: Mapping[tuple[Any, ...], Mapping[str, int]], *, sign: int, prefix: tuple[Any, ...]) -> None:
    """Add one customer's part, or take it out, under the key's prefix (the source)."""
    for key, columns in part.items():
        cell = into.setdefault((*prefix, *key), {})
        for name, amount in columns.items():
            cell[name] = cell.get(name, 0) + sign * amount


def apply(months: Sums, cohorts: Sums) -> None:
    """Add differences to the kept sums, rows in key order so that two workers cannot deadlock."""
    _upsert("mrr_monthrollup", ("source_id", "currency", "month"), MONTH_COLUMNS, months, month_places=(2,))
    _upsert(
        "mrr_cohortrollup", ("source_id", "currency", "cohort", "month"), COHORT_COLUMNS, cohorts, month_places=(2, 3)
    )


def apply_converted(months: Sums) -> None:
    """Add differences to the converted month sums."""
    _upsert("mrr_convertedrollup", ("source_id", "currency", "month"), CONVERTED_COLUMNS, months, month_places=(2,))


def apply_mixed(months: Sums, cohorts: Sums) -> None:
    """Add differences to the sums of customers who pay in several currencies."""
    _upsert("mrr_mixedrollup", ("source_id", "currency", "month"), MIXED_COLUMNS, months, month_places=(2,))
    key = ("source_id", "currency", "cohort", "month")
    _upsert("mrr_mixedcohortrollup", key, COHORT_COLUMNS, cohorts, month_places=(2, 3))


def apply_retention(sums: Sums) -> None:
    """Add differences to the sums of long periods."""
    key = ("source_id", "currency", "is_mixed", "span", "month")
    _upsert("mrr_retentionrollup", key, retention.COLUMNS, sums, month_places=(4,))


def _upsert(
    table: str, key: tuple[str, ...], columns: tuple[str, ...], sums: Sums, *, month_places: tuple[int, ...]
) -> None:
    rows = []
    for place in sorted(sums):
        amounts = [sums[place].get(name, 0) for name in columns]
        if any(amounts):
            values: list[Any] = [month_date(v) if n in month_places else v for n, v in enumerate(place)]
            rows.append([*values, *amounts])
    width = len(key) + len(columns)
    step = 900 // width * 10 if connection.vendor == "postgresql" else 900 // width
    changes = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in columns)
    with connection.cursor() as cursor:
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            marks = ", ".join(["(" + ", ".join(["%s"] * width) + ")"] * len(part))
            cursor.execute(
                f"INSERT INTO {table} ({', '.join((*key, *columns))}) VALUES {marks} "  # noqa: S608  # names are ours
                f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes}",
                [value for row in part for value in row],
            )
