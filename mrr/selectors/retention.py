"""Retention over periods of one, three or twelve months, whom they lost, and the customers behind each figure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import NamedTuple

from django.conf import settings
from django.db.models import BigIntegerField, Case, Count, F, Q, QuerySet, Sum, When

from mrr import fx
from mrr import retention as periods
from mrr.cohorts import months_between, months_from
from mrr.days import day_start, month_after
from mrr.engine.money import shown
from mrr.models import CustomerBalance, LedgerEntry, Loss, RetentionRollup
from mrr.retention import Kept
from mrr.rollups import month_date, month_number
from mrr.selectors.behind import Shares, named_shares
from mrr.selectors.months import Month, currencies, parts_shown, series
from mrr.selectors.scope import sources_or_live
from mrr.waterfalls import View


class KeptPart(StrEnum):
    """What a customer of a period's start is in it."""

    START = "start"
    EXPANSION = "expansion"
    CONTRACTION = "contraction"
    CHURN = "churn"


@dataclass(frozen=True, slots=True)
class KeptPeriod:
    """What became of the customers of a period: whole months from `first` on, the last of them `month`.

    `left_out_micros` was taken over as opening MRR after the first month: nobody knows what it was at the start.
    `held` are currencies without the pinned day's rate; figures are then not known.
    """

    first: date
    month: date
    is_running: bool
    kept: Kept
    left_out_micros: int
    held: tuple[str, ...]

    @property
    def minor(self) -> dict[str, int]:
        """Return start, parts and end as shown: rounded so that they add up."""
        kept = self.kept
        moved = parts_shown(shown(kept.end) - shown(kept.start), [kept.expansion, kept.contraction, kept.churn])
        names = (KeptPart.EXPANSION, KeptPart.CONTRACTION, KeptPart.CHURN)
        parts = {name.value: minor for name, minor in zip(names, moved, strict=True)}
        return {"start": shown(kept.start), **parts, "end": shown(kept.end)}


@dataclass(frozen=True, slots=True)
class Retention:
    """Periods of so many months, the oldest first, one for each month that they end with."""

    currency: str
    span: int
    periods: tuple[KeptPeriod, ...]


class Lost(NamedTuple):
    """A customer lost in a period, and what it paid at its start (negative), natively and in the currency asked for.

    `currency` is empty for a customer of several currencies, who is lost as a whole.
    """

    customer_pk: int
    currency: str
    month: date
    reason: str
    product: str
    tenure_months: int
    native_micros: int
    micros: int


def retention(
    span: int,
    first: date,
    last: date,
    *,
    today: date,
    currency: str | None = None,
    sources: Sequence[int] | None = None,
    rates: fx.Conversion | None = None,
    known: Sequence[Month] = (),
) -> Retention:
    """Return the periods of so many months that end with each month from one to another.

    `known` are those months and the ones before them back to the first period's first, where the caller has them; for
    periods of one month they must be of the netted view.

    Of one currency, or of all in the reporting one in constant currency: a customer of several is then one customer.
    """
    kept = sources_or_live(sources)
    if currency is None:
        rates = rates or fx.conversion(currencies(kept))
    begins = first_of(span, first)
    months: Sequence[Month] = [row for row in known if begins <= row.month <= last]
    if len(months) < months_between(begins, last) + 1:
        months = series(
            begins, last, today=today, currency=currency, view=View.NETTED, sources=kept, rates=rates
        ).months
    by_month = {row.month: row for row in months}
    sums = _sums(span, first, last, currency, kept, rates) if span > 1 else _of_months(months)
    return Retention(
        currency or (rates.reporting if rates else settings.REPORTING_CURRENCY),
        span,
        tuple(
            _period(month, by_month, first_of(span, month), sums.get(month, {})) for month in months_from(first, last)
        ),
    )


def first_of(span: int, last: date) -> date:
    """Return the first month of the period of so many months that ends with a month."""
    return month_date(month_number(last) - span + 1)


def lost(
    span: int,
    last: date,
    *,
    currency: str | None = None,
    sources: Sequence[int] | None = None,
    rates: fx.Conversion | None = None,
) -> list[Lost]:
    """Return whom a period lost, the largest loss first: they come to its churn, exactly."""
    kept = sources_or_live(sources)
    first = first_of(span, last)
    rows = Loss.objects.filter(
        Q(back_month__isnull=True) | Q(back_month__gt=last), source_id__in=kept, month__range=(first, last)
    )
    rows = rows.filter(is_mixed=False) if currency is None else rows.filter(currency=currency)
    begun = rows.annotate(start=_start(first, span)).filter(start__gt=0)
    columns = ("customer_id", "currency", "month", "reason", "product", "tenure_months", "start")
    found = [Lost._make((*row, -start, -start)) for *row, start in begun.values_list(*columns)]
    if currency is None:
        found = _converted(found, rates or fx.conversion({row.currency for row in found} - {""}))
    return sorted(found, key=lambda row: (row.micros, row.customer_pk))


def named_lost(rows: Sequence[Lost], *, limit: int) -> Shares:
    """Return lost customers by name, the largest first."""
    return Shares(
        named_shares([(row.customer_pk, row.micros, 0) for row in rows[:limit]]),
        parts=len(rows),
        customers=len(rows),
        entries=0,
        micros=sum(row.micros for row in rows),
    )


def recounted(
    rows: Sequence[Lost], first: date, *, currency: str | None, rates: fx.Conversion | None = None
) -> tuple[int, int]:
    """Count what lost customers paid at a period's start from their entries: how many, and what those come to.

    Every row is held against its own entries: one that agrees counts as converted, one that does not as its entries.
    """
    wanted = {row.customer_pk: row for row in rows}
    entries = _standing(first).filter(customer_id__in=list(wanted))
    if currency is not None:
        entries = entries.filter(currency=currency)
    starts: dict[int, dict[str, int]] = {}
    count = 0
    for pk, code, micros, number in (
        entries.values_list("customer_id", "currency").annotate(micros=Sum("amount_micros"), n=Count("pk")).order_by()
    ):
        starts.setdefault(pk, {})[code] = micros
        count += number
    total = 0
    for pk, row in wanted.items():
        own = starts.get(pk, {})
        if row.currency:
            total += row.micros if own.get(row.currency, 0) == -row.native_micros else -own.get(row.currency, 0)
        elif rates is not None:
            total -= sum(rates.constant(micros, code) or 0 for code, micros in own.items())
    return count, total


def compared_shares(
    span: int,
    last: date,
    part: KeptPart,
    *,
    currency: str | None,
    limit: int,
    sources: Sequence[int] | None = None,
    rates: fx.Conversion | None = None,
) -> Shares:
    """Return who makes up a part of a period, counted from the entries themselves, the largest first."""
    kept = sources_or_live(sources)
    first = first_of(span, last)
    entries = LedgerEntry.objects.filter(
        source_id__in=kept,
        effective_at__lt=day_start(month_after(last)),
        reverses__isnull=True,
        reversed_by__isnull=True,
    )
    if currency is not None:
        entries = entries.filter(currency=currency)
    sums = entries.values_list("customer_id", "currency").annotate(
        start=Sum("amount_micros", filter=_begun(first), default=0), end=Sum("amount_micros"), n=Count("pk")
    )
    found = list(sums.order_by())
    amounts = _compared(found, part, currency, kept, rates)
    ranked = sorted(amounts.items(), key=lambda row: (-abs(row[1]), row[0]))
    return Shares(
        named_shares([(pk, micros, 0) for pk, micros in ranked[:limit]]),
        parts=len(ranked),
        customers=len(ranked),
        entries=sum(number for pk, _, _, _, number in found if pk in amounts),
        micros=sum(amounts.values()),
    )


# ---- periods ----


def _period(last: date, by_month: Mapping[date, Month], first: date, moved: Mapping[str, int]) -> KeptPeriod:
    begin, end = by_month[first], by_month[last]
    between = months_from(month_after(first), last)
    return KeptPeriod(
        first,
        last,
        end.is_running,
        Kept(
            begin.base_micros,
            moved.get("expansion_micros", 0),
            moved.get("contraction_micros", 0),
            moved.get("churn_micros", 0),
            begin.customers.opening,
            moved.get("churned_customers", 0),
        ),
        sum(by_month[month].opening_micros - by_month[_before(month)].closing_micros for month in between),
        end.held,
    )


def _before(month: date) -> date:
    return month_date(month_number(month) - 1)


def _of_months(months: Iterable[Month]) -> dict[date, dict[str, int]]:
    """Return the netted changes of single months, which the month sums hold."""
    return {
        row.month: {
            **{f"{name}_micros": row.compared[name] for name in ("expansion", "contraction", "churn")},
            "churned_customers": row.customers.churned,
        }
        for row in months
    }


def _sums(
    span: int, first: date, last: date, currency: str | None, sources: Sequence[int], rates: fx.Conversion | None
) -> dict[date, dict[str, int]]:
    rows = RetentionRollup.objects.filter(source_id__in=sources, span=span, month__range=(first, last))
    rows = rows.filter(is_mixed=False) if currency is None else rows.filter(currency=currency)
    native: dict[tuple[date, str], dict[str, int]] = {}
    for code, month, *amounts in rows.values_list("currency", "month", *periods.COLUMNS):
        cell = native.setdefault((month, code), dict.fromkeys(periods.COLUMNS, 0))
        for name, amount in zip(periods.COLUMNS, amounts, strict=True):
            cell[name] += amount
    found: dict[date, dict[str, int]] = {}
    for (month, code), cell in native.items():
        total = found.setdefault(month, dict.fromkeys(periods.COLUMNS, 0))
        for name, amount in cell.items():
            is_money = name != "churned_customers" and currency is None and code
            total[name] += (rates.constant(amount, code) or 0) if is_money and rates else amount
    return found


# ---- who was lost ----


def _start(first: date, span: int) -> Case:
    """Give what a lost customer paid at the start of a period: the column depends on which of its months lost it."""
    months = [month_date(month_number(first) + later) for later in range(span)]
    whens = [When(month=month, then=F(f"start_{months_between(first, month) + 1}")) for month in months]
    return Case(*whens, output_field=BigIntegerField())


def _converted(rows: Sequence[Lost], rates: fx.Conversion) -> list[Lost]:
    """Convert each currency's losses so that they come to their converted sum, as the period's churn does."""
    by_currency: dict[str, dict[int, int]] = {}
    for at, row in enumerate(rows):
        if row.currency:
            by_currency.setdefault(row.currency, {})[at] = row.native_micros
    amounts: dict[int, int] = {}
    for code, parts in by_currency.items():
        amounts |= periods.converted(parts, _constant(rates, code))
    return [row._replace(micros=amounts.get(at, row.native_micros)) for at, row in enumerate(rows)]


def _constant(rates: fx.Conversion, currency: str) -> Callable[[int], int | None]:
    return lambda micros: rates.constant(micros, currency)


def _standing(first: date) -> QuerySet[LedgerEntry]:
    return LedgerEntry.objects.filter(_begun(first), reverses__isnull=True, reversed_by__isnull=True)


def _begun(first: date) -> Q:
    """Choose the entries that make up what is paid at the start of a month, and is taken over in it."""
    return Q(effective_at__lt=day_start(first)) | Q(type="opening", effective_at__lt=day_start(month_after(first)))


# ---- both ends compared ----


def _compared(
    rows: Sequence[tuple[int, str, int, int, int]],
    part: KeptPart,
    currency: str | None,
    sources: Sequence[int],
    rates: fx.Conversion | None,
) -> dict[int, int]:
    """Return by customer what it adds to a part of a period; of all currencies customers are taken as a whole."""
    alone: dict[str, dict[int, int]] = {}
    several: dict[int, tuple[int, int]] = {}
    # What is paid at the start is the sum of currencies; only what became of a customer asks what it is as a whole.
    mixed = _mixed(sources) if currency is None and part is not KeptPart.START else frozenset()
    for pk, code, start, end, _ in rows:
        if pk in mixed:
            if rates is not None:
                was = several.get(pk, (0, 0))
                several[pk] = (was[0] + (rates.constant(start, code) or 0), was[1] + (rates.constant(end, code) or 0))
        elif _is(part, start, end):
            alone.setdefault(code, {})[pk] = _amount(part, start, end)
    found: dict[int, int] = {}
    for code, parts in alone.items():
        own = parts if currency is not None or rates is None else periods.converted(parts, _constant(rates, code))
        for pk, micros in own.items():
            found[pk] = found.get(pk, 0) + micros
    return found | {pk: _amount(part, *ends) for pk, ends in several.items() if _is(part, *ends)}


def _mixed(sources: Sequence[int]) -> frozenset[int]:
    """Return the customers who ever paid in several currencies."""
    rows = CustomerBalance.objects.filter(source_id__in=sources, first_paid_at__isnull=False)
    several = rows.values("customer_id").annotate(n=Count("currency")).filter(n__gt=1)
    return frozenset(several.order_by().values_list("customer_id", flat=True))


def _is(part: KeptPart, start: int, end: int) -> bool:
    if start <= 0:
        return False
    return {
        KeptPart.START: True,
        KeptPart.EXPANSION: end > start,
        KeptPart.CONTRACTION: 0 < end < start,
        KeptPart.CHURN: end <= 0,
    }[part]


def _amount(part: KeptPart, start: int, end: int) -> int:
    return start if part is KeptPart.START else end - start
