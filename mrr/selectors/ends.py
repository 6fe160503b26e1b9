"""Balances at both ends of a period, counted from the entries: of some customers, or of all sorted by what they did."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from django.db import connection
from django.db.models import Count, Q, QuerySet, Sum

from mrr.days import day_start, month_after
from mrr.models import CustomerBalance, DiscountChange, LedgerEntry, MonthEndSchedule
from mrr.waterfalls import Compared, Ends

AT_ONCE = 10_000  # customers asked for by key in one query
Scheduled = Mapping[tuple[int, int, str], int]  # source, customer, currency → micros


@dataclass(frozen=True, slots=True)
class DiscountStep:
    """A movement by which discounts changed: what it is before and after them, and under which name each counts."""

    source_pk: int
    customer_pk: int
    currency: str
    effective_at: datetime
    type: str
    net_micros: int
    micros: int

    @property
    def gross_micros(self) -> int:
        return self.net_micros + self.micros

    @property
    def gross_type(self) -> str:
        """Name the movement before discounts: one that goes on paying has risen or fallen by that alone."""
        if self.type in ("expansion", "contraction"):
            return "contraction" if self.gross_micros < 0 else "expansion"
        return self.type


def ends(
    sources: Collection[int],
    first: date,
    last: date,
    *,
    currency: str | None,
    customers: Collection[int] | None = None,
) -> list[Ends]:
    """Return what customers paid at both ends of a period, a currency each, counted from their entries.

    What was taken over as opening MRR within the period counts as if it had been there at its start. Without
    `customers` it is all of them: every entry is read.
    """
    entries = LedgerEntry.objects.filter(
        source_id__in=list(sources),
        effective_at__lt=day_start(month_after(last)),
        reverses__isnull=True,
        reversed_by__isnull=True,
    )
    if currency is not None:
        entries = entries.filter(currency=currency)
    begun = Q(effective_at__lt=day_start(first)) | Q(type="opening")
    return [
        Ends(source_pk, customer_pk, code, start or 0, end, bool(had))
        for part in _parts(entries, customers)
        for source_pk, customer_pk, code, start, end, had in part.values_list("source_id", "customer_id", "currency")
        .annotate(
            start=Sum("amount_micros", filter=begun, default=0),
            end=Sum("amount_micros"),
            had=Count("pk", filter=begun),
        )
        .order_by()
    ]


def compared_by_currency(
    sources: Collection[int], first: date, last: date, *, currency: str | None
) -> dict[str, Compared]:
    """Return both ends compared for all customers, each currency by itself, sorted and added up by the database.

    Only who has an entry in the period can have moved. Counts of who paid at the ends are left at 0.
    """
    found: dict[str, Compared] = {}
    with connection.cursor() as cursor:
        cursor.execute(*_statement(list(sources), first, last, currency))
        for code, name, micros, number in cursor.fetchall():
            one = found.setdefault(code, Compared())
            if name:
                one.parts[name] += int(micros)
            if name in ("new", "churn", "reactivation"):
                one.counts[{"churn": "churned", "reactivation": "reactivated"}.get(name, name)] += number
    return found


def of_several_currencies(sources: Collection[int]) -> set[int]:
    """Return the customers who ever paid in several currencies."""
    rows = CustomerBalance.objects.filter(source_id__in=list(sources), first_paid_at__isnull=False)
    several = rows.values("customer_id").annotate(n=Count("currency")).filter(n__gt=1)
    return set(several.order_by().values_list("customer_id", flat=True))


# ---- before discounts ----


def discount_steps(
    sources: Collection[int], first: date | None, last: date, *, currency: str | None
) -> list[DiscountStep]:
    """Return the movements of a period by which discounts changed; without `first`, all until its end."""
    rows = DiscountChange.objects.filter(source_id__in=list(sources), effective_at__lt=day_start(month_after(last)))
    if first is not None:
        rows = rows.filter(effective_at__gte=day_start(first))
    if currency is not None:
        rows = rows.filter(currency=currency)
    columns = ("source_id", "customer_id", "currency", "effective_at", "type", "net_micros", "micros")
    return [DiscountStep(*row) for row in rows.values_list(*columns)]


def discounts_before(sources: Collection[int], first: date, *, currency: str | None) -> dict[tuple[int, str], int]:
    """Return what discounts took off when a month began, by source and currency."""
    rows = DiscountChange.objects.filter(source_id__in=list(sources), effective_at__lt=day_start(first))
    if currency is not None:
        rows = rows.filter(currency=currency)
    sums = rows.values_list("source_id", "currency").annotate(micros=Sum("micros")).order_by()
    return {(source_pk, code): micros for source_pk, code, micros in sums}


def before_discounts(found: Iterable[Ends], sources: Collection[int], first: date, last: date) -> list[Ends]:
    """Return the same balances without the discounts of their customers."""
    listed = list(found)
    customers = {one.customer_pk for one in listed}
    rows = DiscountChange.objects.filter(source_id__in=list(sources), effective_at__lt=day_start(month_after(last)))
    begun = Q(effective_at__lt=day_start(first)) | Q(type="opening")
    off: dict[tuple[int, str], tuple[int, int]] = {}
    for part in _parts(rows, customers):
        sums = part.values_list("customer_id", "currency").annotate(
            start=Sum("micros", filter=begun, default=0), end=Sum("micros")
        )
        off |= {(pk, code): (start, end) for pk, code, start, end in sums.order_by()}
    return [
        replace(one, start=one.start + start, end=one.end + end)
        for one in listed
        for start, end in [off.get((one.customer_pk, one.currency), (0, 0))]
    ]


# ---- what is scheduled ----


def scheduled(sources: Collection[int], month: date, *, today: date, currency: str | None) -> dict[Any, int]:
    """Return what was scheduled as known at a month's end; of the running month, what is scheduled now."""
    if month >= today.replace(day=1):
        rows: QuerySet[Any] = CustomerBalance.objects.exclude(scheduled_micros=0)
        column = "scheduled_micros"
    else:
        rows, column = MonthEndSchedule.objects.filter(month=month), "micros"
    rows = rows.filter(source_id__in=list(sources))
    if currency is not None:
        rows = rows.filter(currency=currency)
    return {
        (source_pk, pk, code): micros
        for source_pk, pk, code, micros in rows.values_list("source_id", "customer_id", "currency", column)
    }


def with_scheduled(found: Iterable[Ends], then: Scheduled, now: Scheduled) -> list[Ends]:
    """Return the same balances with what was scheduled at either end; who pays only later is added."""
    left = {*then, *now}
    result: list[Ends] = []
    for one in found:
        place = (one.source_pk, one.customer_pk, one.currency)
        left.discard(place)
        result.append(replace(one, start=one.start + then.get(place, 0), end=one.end + now.get(place, 0)))
    return result + [Ends(*place, then.get(place, 0), now.get(place, 0), had=False) for place in sorted(left)]


# ---- reading ----


def _parts(rows: Any, customers: Collection[int] | None) -> Iterator[Any]:
    if customers is None:
        yield rows
        return
    listed = sorted(customers)
    for at in range(0, len(listed), AT_ONCE):
        yield rows.filter(customer_id__in=listed[at : at + AT_ONCE])


def _statement(sources: Sequence[int], first: date, last: date, currency: str | None) -> tuple[str, list[Any]]:
    begin, end = (connection.ops.adapt_datetimefield_value(day_start(day)) for day in (first, month_after(last)))
    marks = ", ".join(["%s"] * len(sources)) or "NULL"
    of_currency = "AND entry.currency = %s" if currency is not None else ""
    begun = "entry.effective_at < %s OR entry.type = 'opening'"
    # Reversals and what they take back have the same time and cancel out in sums, but not in what was there before.
    standing = (
        "entry.reverses_id IS NULL AND NOT EXISTS "
        "(SELECT 1 FROM mrr_ledgerentry back WHERE back.reverses_id = entry.id)"
    )
    statement = f"""
        SELECT currency,
               CASE WHEN begun = ended THEN ''
                    WHEN begun <= 0 THEN CASE WHEN had > 0 THEN 'reactivation' ELSE 'new' END
                    WHEN ended <= 0 THEN 'churn'
                    WHEN ended > begun THEN 'expansion'
                    ELSE 'contraction' END AS name,
               SUM(ended - begun), COUNT(*)
          FROM (SELECT entry.customer_id, entry.currency,
                       SUM(CASE WHEN {begun} THEN entry.amount_micros ELSE 0 END) AS begun,
                       SUM(CASE WHEN {begun} THEN 1 ELSE 0 END) AS had,
                       SUM(entry.amount_micros) AS ended
                  FROM mrr_ledgerentry entry
                 WHERE entry.source_id IN ({marks}) {of_currency} AND entry.effective_at < %s AND {standing}
                 GROUP BY entry.customer_id, entry.currency) both_ends
         GROUP BY 1, 2"""  # noqa: S608  # only names of ours
    values = [begin, begin, *sources, *([currency] if currency is not None else []), end]
    return statement, values
