"""Keeps exchange rates, and the sums in the reporting currency that follow from them and from the ledger.

Rates change rarely and entries often, so both are summed once: an entry is converted in the transaction that posts it,
and a month anew when a rate of its days changes. `RateBook`, one row, keeps the two apart: who converts holds it
shared, who changes rates alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Max, QuerySet

from mrr import rollups
from mrr.days import day_of, day_start, month_after
from mrr.engine.rates import PIVOT, Quote, Rates
from mrr.keeping import Moved, Wholes
from mrr.models import (
    ConvertedRollup,
    CustomerBalance,
    FrozenRates,
    LedgerEntry,
    MixedCohortRollup,
    MixedRollup,
    MonthRollup,
    Rate,
    RateBook,
)
from mrr.rollups import Standing

BOOK = 1  # the only row's key
CHUNK = 2000
MIXED = ["", ""]  # what stands in `stale` for the sums of customers with several currencies


@dataclass(frozen=True, slots=True)
class Conversion:
    """The rates in force, as whoever reads figures needs them. `stale` are currencies being converted anew."""

    reporting: str
    pinned_on: date
    rates: Rates
    stale: frozenset[str] = frozenset()

    def at(self, micros: int, currency: str, day: date) -> int | None:
        """Return micros of the reporting currency at the rate of a day, rounded once; None without a rate."""
        return self.rates.converted(micros, currency, day)

    def constant(self, micros: int, currency: str) -> int | None:
        """Return the same at the pinned day's rate, which makes months comparable."""
        return self.rates.converted(micros, currency, self.pinned_on)


@dataclass(frozen=True, slots=True)
class Stored:
    """What an import did: rates added, changed and known already, and how many converted months changed with them."""

    added: int
    changed: int
    already: int
    months: int


def conversion(currencies: Iterable[str]) -> Conversion:
    """Return the rates in force for these currencies. Rates themselves are read once a process and change."""
    wanted = set(currencies)
    if wanted <= {settings.REPORTING_CURRENCY}:
        return Conversion(settings.REPORTING_CURRENCY, date.max, Rates(reporting=settings.REPORTING_CURRENCY))
    return _conversion(_book(), wanted)


def keep(added: Sequence[LedgerEntry], moved: Sequence[Moved]) -> Conversion:
    """Bring the converted sums in step with entries just posted, in their transaction; return the rates in force.

    `moved` are the customers of several currencies. A reversal must carry its entry as `reverses`. Costs nothing where
    all is in the reporting currency.
    """
    if not moved and all(entry.currency == settings.REPORTING_CURRENCY for entry in added):
        return conversion(())
    book = _book(shared=True)
    seen = {entry.currency for entry in added} | {row.currency for one in moved for row in (*one.before, *one.after)}
    now = _conversion(book, seen)
    months: rollups.Sums = {}
    for entry in added:
        if entry.currency != book.reporting:
            kind = entry.reverses.type if entry.reverses else entry.type
            sign = -1 if entry.reverses else 1
            place = (entry.source_id, entry.currency)
            _add_one(months, now, place, kind, sign, entry.amount_micros, entry.effective_at)
    rollups.apply_converted(months)
    _move_mixed(now, moved)
    return now


def store(quotes: Sequence[Quote]) -> Stored:
    """Keep rates and convert anew what they touch; months that are closed keep theirs.

    A rate of the same day, pair and origin as one that is kept replaces it.
    """
    if not quotes:
        return Stored(0, 0, 0, 0)
    with transaction.atomic():
        book = _lock()
        before = _rates_of_all(book)
        kept = {
            (row.currency, row.against, row.day, row.origin): row
            for row in Rate.objects.filter(
                day__gte=min(quote.day for quote in quotes),
                day__lte=max(quote.day for quote in quotes),
                origin__in={quote.origin for quote in quotes},
            )
        }
        new: list[Rate] = []
        changed: list[Rate] = []
        already = 0
        for place, quote in {(one.currency, one.against, one.day, one.origin): one for one in quotes}.items():
            held = kept.get(place)
            if held is None:
                new.append(
                    Rate(
                        day=quote.day,
                        currency=quote.currency,
                        against=quote.against,
                        rate=quote.rate,
                        origin=quote.origin,
                    )
                )
            elif held.rate == quote.rate:
                already += 1
            else:
                held.rate = quote.rate
                changed.append(held)
        Rate.objects.bulk_create(new, batch_size=CHUNK)
        Rate.objects.bulk_update(changed, ["rate"], batch_size=400)
        if not new and not changed:
            return Stored(0, 0, already, 0)
        stale = _change(book, before)
    rebuild()
    return Stored(len(new), len(changed), already, stale)


def remove(rate_pks: Collection[int]) -> None:
    """Take rates away and convert anew what they touched; months that are closed keep theirs."""
    with transaction.atomic():
        book = _lock()
        before = _rates_of_all(book)
        Rate.objects.filter(pk__in=rate_pks).delete()
        _change(book, before)
    rebuild()


def freeze(month: date, *, now: datetime) -> dict[str, Any]:
    """Keep a month's rates as they are and return them: the close of a month calls this, in its transaction.

    Currency → list of [day, rate]; null where no rate is known. All currencies in use are frozen.
    """
    with transaction.atomic():
        book = _lock()
        known = _rates_of_all(book)
        rates = {
            currency: [
                [day.isoformat(), None if rate is None else str(rate)] for day, rate in known.course(currency, month)
            ]
            for currency in _currencies_in_use(book.reporting)
        }
        FrozenRates.objects.update_or_create(
            month=month, defaults={"reporting": book.reporting, "rates": rates, "frozen_at": now}
        )
        _stamp(book)
    return rates


def thaw(month: date) -> None:
    """Let the rates of a month that is reopened be what they are by now, and convert it anew."""
    with transaction.atomic():
        book = _lock()
        before = _rates_of_all(book)
        FrozenRates.objects.filter(month=month).delete()
        _change(book, before)
    rebuild()


def keep_up(today: date) -> bool:
    """Follow a new fiscal year or another reporting currency; say whether there was anything to do. Safe to repeat."""
    return pin(fiscal_year_start(today))


def pin(day: date) -> bool:
    """Take the rates of another day for constant currency."""
    with transaction.atomic():
        book = _lock()
        is_other = book.reporting != settings.REPORTING_CURRENCY
        if book.pinned_on != day or is_other:
            book.pinned_on = day
            book.reporting = settings.REPORTING_CURRENCY
            in_use = _months_in_use(book.reporting) if is_other else []
            if is_other:
                ConvertedRollup.objects.filter(currency=book.reporting).delete()
            _stamp(book, stale=[MIXED, *([currency, month.isoformat()] for currency, month in in_use)])
        is_stale = bool(book.stale)
    if is_stale:
        rebuild()
    return is_stale


def fiscal_year_start(today: date) -> date:
    """Return the first day of the fiscal year that a day lies in, by FISCAL_YEAR_START (month-day)."""
    month, _, day = settings.FISCAL_YEAR_START.partition("-")
    this_year = date(today.year, int(month), int(day))
    return this_year if this_year <= today else this_year.replace(year=today.year - 1)


def rebuild() -> None:
    """Convert anew what is stale, a month at a time, each in a transaction: cut off, the next call goes on."""
    while True:
        with transaction.atomic():
            book = _lock()
            if not book.stale:
                return
            currency, month = book.stale[0]
            if currency:
                _rebuild_month(book, currency, date.fromisoformat(month))
            else:
                _rebuild_mixed(book)
            book.stale = book.stale[1:]
            book.save(update_fields=["stale"])


def rebuild_all() -> None:
    """Convert everything anew: for a repair."""
    with transaction.atomic():
        book = _lock()
        ConvertedRollup.objects.all().delete()
        in_use = _months_in_use(book.reporting)
        _stamp(book, stale=[MIXED, *([currency, month.isoformat()] for currency, month in in_use)])
    rebuild()


def newest(origin: str) -> date | None:
    """Return the day of the newest rate of an origin, None when there is none."""
    return Rate.objects.filter(origin=origin).aggregate(day=Max("day"))["day"]


def differences() -> Iterator[str]:
    """Convert all entries anew and tell, one line each, where the kept sums say other.

    The caller sees one state of the database throughout.
    """
    book = _book()
    if book.stale:
        yield f"Exchange rates: {len(book.stale)} months are still to be converted anew"
    key = ("source_id", "currency", "month")
    held = ConvertedRollup.objects.order_by("currency", "month").values_list("currency", "month").distinct()
    for currency, month in sorted({*_months_in_use(book.reporting), *held}):
        kept = ConvertedRollup.objects.filter(currency=currency, month=month)
        yield from _differ(kept, key, rollups.CONVERTED_COLUMNS, _month_sums(book, currency, month))
    months, cohorts, wholes = _all_mixed(book)
    yield from _differ(MixedRollup.objects.all(), key, rollups.MIXED_COLUMNS, months)
    cells = ("source_id", "currency", "cohort", "month")
    yield from _differ(MixedCohortRollup.objects.all(), cells, rollups.COHORT_COLUMNS, cohorts)
    yield from wholes.differences()


# ---- the rates in force ----


@dataclass(frozen=True, slots=True)
class _Loaded:
    stamp: str
    reporting: str
    currencies: frozenset[str]
    rates: Rates


_loaded: _Loaded | None = None


def _book(*, shared: bool = False) -> RateBook:
    """Read the row; `shared` holds it against changes of rates until the transaction ends."""
    if shared and connection.vendor == "postgresql":
        return RateBook.objects.raw("SELECT * FROM mrr_ratebook WHERE id = %s FOR SHARE", [BOOK])[0]
    return RateBook.objects.get(pk=BOOK)  # SQLite's transactions are alone anyway


def _lock() -> RateBook:
    return RateBook.objects.select_for_update().get(pk=BOOK)


def _conversion(book: RateBook, currencies: Iterable[str]) -> Conversion:
    global _loaded
    wanted = frozenset(currencies) - {book.reporting}
    held = _loaded
    if held is None or (held.stamp, held.reporting) != (book.stamp, book.reporting):
        held = _Loaded(book.stamp, book.reporting, frozenset(), Rates(reporting=book.reporting))
    if not wanted <= held.currencies:
        known = wanted | held.currencies
        held = _Loaded(book.stamp, book.reporting, known, _read_rates(book.reporting, known))
        _loaded = held
    stale = frozenset(currency for currency, _ in book.stale)
    return Conversion(book.reporting, book.pinned_on, held.rates, stale)


def _read_rates(reporting: str, currencies: Iterable[str]) -> Rates:
    """Read what these currencies need: their own quotes and the central bank's of the euro against them and ours."""
    codes = {*currencies, reporting}
    rows = Rate.objects.filter(currency__in=codes, against=reporting) | Rate.objects.filter(
        currency=PIVOT, against__in=codes
    )
    quotes = (Quote(*row) for row in rows.values_list("day", "currency", "against", "rate", "origin"))
    frozen = {
        month: {
            currency: [(date.fromisoformat(day), None if rate is None else Fraction(rate)) for day, rate in course]
            for currency, course in rates.items()
            if currency in codes
        }
        for month, rates in FrozenRates.objects.filter(reporting=reporting).values_list("month", "rates")
    }
    return Rates(quotes, reporting=reporting, frozen=frozen)


def _rates_of_all(book: RateBook) -> Rates:
    return _read_rates(book.reporting, _currencies_in_use(book.reporting))


def _change(book: RateBook, before: Rates) -> int:
    """Note what comes out otherwise since the rates were `before`; returns how many months do."""
    after = _rates_of_all(book)
    stale: list[list[str]] = []
    for currency, month in _months_in_use(book.reporting):
        if before.course(currency, month) != after.course(currency, month):
            stale.append([currency, month.isoformat()])
    pins = [
        before.on(currency, book.pinned_on) != after.on(currency, book.pinned_on)
        for currency in _currencies_in_use(book.reporting)
    ]
    _stamp(book, stale=[*([MIXED] if any(pins) else []), *stale])
    return len(stale)


def _stamp(book: RateBook, *, stale: Sequence[list[str]] = ()) -> None:
    book.stamp = secrets.token_hex(16)
    book.stale = [*book.stale, *(one for one in stale if one not in book.stale)]
    book.save()


def _months_in_use(reporting: str) -> list[tuple[str, date]]:
    rows = MonthRollup.objects.exclude(currency=reporting).order_by("currency", "month")
    return list(rows.values_list("currency", "month").distinct())


def _currencies_in_use(reporting: str) -> list[str]:
    rows = MonthRollup.objects.exclude(currency=reporting).order_by("currency")
    return list(rows.values_list("currency", flat=True).distinct())


# ---- converted months ----


def _add_row(months: rollups.Sums, now: Conversion, row: Sequence[Any]) -> None:
    source_pk, currency, kind, reversed_kind, micros, effective_at = row
    sign = -1 if reversed_kind else 1
    _add_one(months, now, (source_pk, currency), reversed_kind or kind, sign, micros, effective_at)


def _add_one(
    months: rollups.Sums,
    now: Conversion,
    place: tuple[int, str],
    kind: str,
    sign: int,
    micros: int,
    effective_at: datetime,
) -> None:
    """Add an entry at its day's rate to its month; without one it is only counted, by its sign."""
    day = day_of(effective_at)
    amount = now.at(micros, place[1], day)
    columns = {"held_entries": sign} if amount is None else {rollups.EVENT_COLUMN[kind]: amount}
    rollups.add(months, {(*place, rollups.month_number(day)): columns}, sign=1, prefix=())


def _rebuild_month(book: RateBook, currency: str, month: date) -> None:
    months = _month_sums(book, currency, month)
    ConvertedRollup.objects.filter(currency=currency, month=month).delete()
    rollups.apply_converted(months)


def _month_sums(book: RateBook, currency: str, month: date) -> rollups.Sums:
    """Convert all entries of a month. One that was taken back and its reversal cancel by themselves."""
    months: rollups.Sums = {}
    if currency == book.reporting:
        return months
    now = _conversion(book, [currency])
    rows = LedgerEntry.objects.filter(
        currency=currency, effective_at__gte=day_start(month), effective_at__lt=day_start(month_after(month))
    )
    columns = ("source_id", "currency", "type", "reverses__type", "amount_micros", "effective_at")
    for row in rows.order_by().values_list(*columns).iterator(CHUNK):
        _add_row(months, now, row)
    return months


# ---- customers of several currencies ----


def _move_mixed(now: Conversion, moved: Sequence[Moved]) -> None:
    months: rollups.Sums = {}
    cohorts: rollups.Sums = {}
    for one in moved:
        for entries, cohort, sign in ((one.before, one.cohort_before, -1), (one.after, one.cohort_after, 1)):
            _add_mixed(months, cohorts, now, one.source_pk, entries, cohort, sign)
    if months or cohorts:
        rollups.apply_mixed(months, cohorts)


def _add_mixed(
    months: rollups.Sums,
    cohorts: rollups.Sums,
    now: Conversion,
    source_pk: int,
    entries: Sequence[Standing],
    cohort: int | None,
    sign: int,
) -> None:
    by_month, by_cohort = rollups.mixed_of(entries, cohort, now.constant)
    rollups.add(months, by_month, sign=sign, prefix=(source_pk,))
    rollups.add(cohorts, by_cohort, sign=sign, prefix=(source_pk,))


def _rebuild_mixed(book: RateBook) -> None:
    months, cohorts, wholes = _all_mixed(book)
    MixedRollup.objects.all().delete()
    MixedCohortRollup.objects.all().delete()
    rollups.apply_mixed(months, cohorts)
    wholes.write()


def _all_mixed(book: RateBook) -> tuple[rollups.Sums, rollups.Sums, Wholes]:
    now = _conversion(book, _currencies_in_use(book.reporting))
    months: rollups.Sums = {}
    cohorts: rollups.Sums = {}
    wholes = Wholes({}, [])
    several = CustomerBalance.objects.values("customer_id").annotate(n=Count("currency")).filter(n__gt=1)
    pks = list(several.order_by("customer_id").values_list("customer_id", flat=True))
    for start in range(0, len(pks), 500):
        part = pks[start : start + 500]
        acquired = {
            balance.customer_id: rollups.month_number(balance.cohort_month)
            for balance in CustomerBalance.objects.filter(customer_id__in=part)
            if balance.cohort_month
        }
        entries: dict[int, list[Standing]] = {}
        sources: dict[int, int] = {}
        for row in _standing_of(part):
            entries.setdefault(row[0], []).append(_standing(row))
            sources[row[0]] = row[1]
        for pk, found in entries.items():
            _add_mixed(months, cohorts, now, sources[pk], found, acquired.get(pk), 1)
            wholes.add(sources[pk], pk, found, acquired.get(pk), now.constant)
    return months, cohorts, wholes


def _standing_of(customer_pks: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    rows = LedgerEntry.objects.filter(
        customer_id__in=customer_pks, reverses__isnull=True, reversed_by__isnull=True
    ).order_by("customer_id", "sequence")
    yield from rows.values_list(
        "customer_id",
        "source_id",
        "type",
        "currency",
        "amount_micros",
        "paying_delta",
        "effective_at",
        "reason",
        "lines",
    )


def _standing(row: tuple[Any, ...]) -> Standing:
    _, _, kind, currency, micros, paying, effective_at, reason, lines = row
    month = rollups.month_number(day_of(effective_at))
    product = rollups.product_of(lines)
    return Standing(kind, currency, micros, paying, int(effective_at.timestamp()), month, reason, product)


def _differ(rows: QuerySet[Any], key: tuple[str, ...], columns: tuple[str, ...], wanted: rollups.Sums) -> Iterator[str]:
    kept: dict[tuple[Any, ...], dict[str, int]] = {}
    for row in rows.values_list(*key, *columns):
        place = tuple(rollups.month_number(value) if isinstance(value, date) else value for value in row[: len(key)])
        kept[place] = {name: amount for name, amount in zip(columns, row[len(key) :], strict=True) if amount}
    want = {place: {name: amount for name, amount in cell.items() if amount} for place, cell in wanted.items()}
    for place in sorted(kept.keys() | want.keys(), key=str):
        if kept.get(place, {}) != want.get(place, {}):
            yield f"{rows.model.__name__} {place}: kept {kept.get(place, {})}, comes to {want.get(place, {})}"
