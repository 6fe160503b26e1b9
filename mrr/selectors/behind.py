"""Whose MRR stands behind a figure: a balance or a cohort's cell by customer, counted from the entries themselves."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from django.db.models import Count, QuerySet, Sum

from mrr import fx
from mrr.engine.money import shown
from mrr.models import CustomerBalance, LedgerEntry
from mrr.selectors.scope import day_start, month_after, sources_or_live


@dataclass(frozen=True, slots=True)
class Share:
    """One customer's part of a balance, from `entries` standing entries. `acquired_micros` is what it began with.

    Amounts may be converted; `currency` is the one the customer pays most in.
    """

    customer_pk: int
    source: str
    customer_id: str
    name: str
    email: str
    micros: int
    entries: int
    acquired_micros: int = 0
    currency: str = ""

    @property
    def minor(self) -> int:
        return shown(self.micros)

    @property
    def acquired_minor(self) -> int:
        return shown(self.acquired_micros)


@dataclass(frozen=True, slots=True)
class Shares:
    """The largest parts of a figure, and what all come to: `customers` that pay, `entries`, exact `micros`."""

    largest: tuple[Share, ...]
    parts: int
    customers: int
    entries: int
    micros: int
    acquired_micros: int = 0

    @property
    def others(self) -> int:
        return self.parts - len(self.largest)

    @property
    def others_micros(self) -> int:
        return self.micros - sum(share.micros for share in self.largest)


def balance_shares(day: date, *, currency: str, limit: int, sources: Sequence[int] | None = None) -> Shares:
    """Return who makes up the MRR of one currency at the end of a day in the reporting zone, largest first."""
    rows = _standing(day, currency).filter(source_id__in=sources_or_live(sources))
    found = rows.values_list("customer_id").annotate(micros=Sum("amount_micros"), count=Count("pk")).order_by()
    paying = sorted((row for row in found if row[1]), key=lambda row: (-row[1], row[0]))
    return Shares(
        _named(paying[:limit], currency),
        parts=len(paying),
        customers=sum(micros > 0 for _, micros, _ in paying),
        entries=sum(count for *_, count in found),
        micros=sum(micros for _, micros, _ in paying),
    )


def cohort_shares(
    cohort: tuple[date, date], month: date, *, currency: str | None, limit: int, sources: Sequence[int] | None = None
) -> Shares:
    """Return the customers of a cohort with what they began with and their MRR at the end of a month, largest first.

    A cohort is named by the first and the last month of its acquisition. Of one currency, or of all in constant
    currency.
    """
    if currency is None:
        return _converted_cohort(cohort, month, limit, sources_or_live(sources))
    last = month_after(month) - timedelta(days=1)
    members = CustomerBalance.objects.filter(
        source_id__in=sources_or_live(sources),
        currency=currency,
        cohort_month__range=cohort,
        first_paid_at__lt=day_start(month_after(month)),
    )
    acquired = dict(members.values_list("customer_id", "acquired_micros"))
    entries = _standing(last, currency).filter(customer_id__in=members.values("customer_id"))
    sums = {
        pk: (micros, count)
        for pk, micros, count in entries.values_list("customer_id")
        .annotate(micros=Sum("amount_micros"), count=Count("pk"))
        .order_by()
    }
    rows = sorted(((pk, *sums.get(pk, (0, 0))) for pk in acquired), key=lambda row: (-acquired[row[0]], row[0]))
    return Shares(
        _named(rows[:limit], currency, acquired),
        parts=len(rows),
        customers=sum(micros > 0 for _, micros, _ in rows),
        entries=sum(count for *_, count in rows),
        micros=sum(micros for _, micros, _ in rows),
        acquired_micros=sum(acquired.values()),
    )


def _converted_cohort(cohort: tuple[date, date], month: date, limit: int, sources: Sequence[int]) -> Shares:
    """Take customers as a whole. Parts are rounded by largest remainder: they come to their currencies' sums."""
    end = day_start(month_after(month))
    members = CustomerBalance.objects.filter(source_id__in=sources, cohort_month__range=cohort)
    began: dict[int, dict[str, tuple[datetime, int]]] = {}
    paid_in: dict[int, set[str]] = {}
    for pk, code, first, micros in members.values_list("customer_id", "currency", "first_paid_at", "acquired_micros"):
        paid_in.setdefault(pk, set()).add(code)
        if first is not None and first < end:
            began.setdefault(pk, {})[code] = (first, micros)
    several = {pk for pk, codes in paid_in.items() if len(codes) > 1}
    entries = LedgerEntry.objects.filter(
        customer_id__in=members.values("customer_id"),
        effective_at__lt=end,
        reverses__isnull=True,
        reversed_by__isnull=True,
    )
    balances: dict[int, dict[str, int]] = {pk: {} for pk in began}
    count = 0
    for pk, code, micros, number in (
        entries.values_list("customer_id", "currency").annotate(micros=Sum("amount_micros"), n=Count("pk")).order_by()
    ):
        if pk in balances:
            balances[pk][code] = micros
            count += number
    acquired = {pk: _first_of(found) for pk, found in began.items()}
    rates = fx.conversion({code for found in (*balances.values(), *acquired.values()) for code in found})
    now, then = _as_one(balances, several, rates), _as_one(acquired, several, rates)
    rows = sorted(((pk, now[pk], 0) for pk in began), key=lambda row: (-then[row[0]], row[0]))
    named = _named(rows[:limit], None, then)
    main = {pk: max(found, key=lambda code: (found[code], code)) for pk, found in balances.items() if found}
    return Shares(
        tuple(replace(share, currency=main.get(share.customer_pk, "")) for share in named),
        parts=len(rows),
        customers=sum(any(micros > 0 for micros in balances[pk].values()) for pk, *_ in rows),
        entries=count,
        micros=sum(now.values()),
        acquired_micros=sum(then.values()),
    )


def _first_of(began: Mapping[str, tuple[datetime, int]]) -> dict[str, int]:
    """Return what a customer began with: in its first currency, or in those it began in at once."""
    first = min(at for at, _ in began.values())
    return {code: micros for code, (at, micros) in began.items() if at == first}


def _as_one(
    balances: Mapping[int, Mapping[str, int]], several: Collection[int], rates: fx.Conversion
) -> dict[int, int]:
    """Return each customer's amounts as one in constant currency.

    Those of one currency come to what their sum comes to; who has several is converted by himself.
    """
    found = {pk: sum(rates.constant(micros, code) or 0 for code, micros in own.items()) for pk, own in balances.items()}
    alone: dict[str, list[int]] = {}
    for pk, own in balances.items():
        if own and pk not in several:
            alone.setdefault(next(iter(own)), []).append(pk)
    for code, pks in alone.items():
        total = rates.constant(sum(balances[pk][code] for pk in pks), code) or 0
        missing = total - sum(found[pk] for pk in pks)
        for pk in sorted(pks, key=lambda pk: (-balances[pk][code], pk))[: abs(missing)]:
            found[pk] += 1 if missing > 0 else -1
    return found


def scheduled_shares(*, currency: str, limit: int, sources: Sequence[int] | None = None) -> Shares:
    """Return whose MRR is already scheduled to change, and by how much, the largest change first."""
    rows = CustomerBalance.objects.filter(source_id__in=sources_or_live(sources), currency=currency).exclude(
        scheduled_micros=0
    )
    found = sorted(
        ((pk, micros, 0) for pk, micros in rows.values_list("customer_id", "scheduled_micros")),
        key=lambda row: (-abs(row[1]), row[0]),
    )
    micros = sum(row[1] for row in found)
    return Shares(_named(found[:limit], currency), parts=len(found), customers=len(found), entries=0, micros=micros)


def _standing(day: date, currency: str) -> QuerySet[LedgerEntry]:
    return LedgerEntry.objects.filter(
        currency=currency,
        effective_at__lt=day_start(day + timedelta(days=1)),
        reverses__isnull=True,
        reversed_by__isnull=True,
    )


def named_shares(rows: Sequence[tuple[int, int, int]]) -> tuple[Share, ...]:
    """Return customers by key, amount and entries as shares with their names, in the order given."""
    return _named(rows, None)


def _named(
    rows: Sequence[tuple[int, int, int]], currency: str | None, acquired: Mapping[int, int] | None = None
) -> tuple[Share, ...]:
    named = CustomerBalance.objects.filter(customer_id__in=[pk for pk, *_ in rows])
    if currency is not None:
        named = named.filter(currency=currency)
    people: dict[int, tuple[str, str, str, str]] = {
        pk: (source, stripe_id, name, email)
        for pk, source, stripe_id, name, email in named.values_list(
            "customer_id", "source__slug", "customer__stripe_id", "customer__name", "customer__email"
        )
    }
    began = acquired or {}
    return tuple(Share(pk, *people[pk], micros, count, began.get(pk, 0)) for pk, micros, count in rows)
