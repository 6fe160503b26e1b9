"""Months of one currency, or of all in the reporting one: opening, what moved, closing, customers and ratios."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from typing import Any

from django.conf import settings

from mrr import metrics
from mrr.cohorts import months_from
from mrr.consolidated import Consolidated, Constant
from mrr.engine.money import shown, shown_together
from mrr.fx import Conversion
from mrr.models import BookRollup, MonthRollup
from mrr.selectors import converted
from mrr.selectors.scope import sources_or_live
from mrr.waterfalls import Basis, View

PARTS = ("new", "expansion", "reactivation", "contraction", "churn")
EVENT_MICROS = (
    "opening_micros",
    "new_micros",
    "expansion_micros",
    "reactivation_micros",
    "contraction_micros",
    "churn_micros",
)
EVENT_CUSTOMERS = ("opening_customers", "new_customers", "reactivated_customers", "churned_customers")
_NETTED = (
    "netted_new_micros",
    "netted_expansion_micros",
    "netted_reactivation_micros",
    "netted_contraction_micros",
    "netted_churn_micros",
    "netted_new_customers",
    "netted_reactivated_customers",
    "netted_churned_customers",
)


@dataclass(frozen=True, slots=True)
class Customers:
    """Paying customers of one currency through a month: opening + new + reactivated − churned = closing."""

    opening: int
    new: int
    reactivated: int
    churned: int
    closing: int


@dataclass(frozen=True, slots=True)
class Month:
    """One row of the series: opening + all parts = closing, exactly in micros and as shown. Losses are negative.

    Ratios are exact, None where they cannot be known; NRR, GRR and logo churn come from balances in either view.

    Of all currencies, `base_micros` and `compared` are the opening and the view's parts in constant currency, which
    ratios compare (of one currency, simply those), `fx_by` is each currency's part of the FX impact, `moved_by` what
    its movements came to in its own micros, and `held` are currencies that lack an exchange rate: some figure of the
    month is without them.
    """

    month: date
    is_running: bool
    opening_micros: int
    new_micros: int
    expansion_micros: int
    reactivation_micros: int
    contraction_micros: int
    churn_micros: int
    adjustment_micros: int
    fx_micros: int
    closing_micros: int
    opening_minor: int
    new_minor: int
    expansion_minor: int
    reactivation_minor: int
    contraction_minor: int
    churn_minor: int
    adjustment_minor: int
    fx_minor: int
    closing_minor: int
    customers: Customers
    nrr: Fraction | None
    grr: Fraction | None
    logo_churn: Fraction | None
    quick_ratio: Fraction | None
    base_micros: int = 0
    compared: Mapping[str, int] = field(default_factory=dict)
    fx_by: Mapping[str, int] = field(default_factory=dict)
    moved_by: Mapping[str, int] = field(default_factory=dict)
    held: tuple[str, ...] = ()

    @property
    def net_new_minor(self) -> int:
        """What movements added, as shown: gains less losses."""
        return (
            self.new_minor + self.expansion_minor + self.reactivation_minor + self.contraction_minor + self.churn_minor
        )


@dataclass(frozen=True, slots=True)
class Series:
    currency: str
    view: View
    basis: Basis
    months: tuple[Month, ...]


def series(
    first: date,
    last: date,
    *,
    today: date,
    currency: str | None = None,
    view: View = View.EVENT,
    basis: Basis = Basis.RESTATED,
    sources: Sequence[int] | None = None,
    rates: Conversion | None = None,
) -> Series:
    """Return the months from one to another (first days, both in), of one currency or of all in the reporting one.

    The opening of a month is the closing of the month before plus what entered as opening MRR in it. Of all currencies,
    a movement is converted at its day's rate and a balance at the month's last; the difference is `fx`. Ratios, and the
    movements of the netted view, are then in constant currency. `rates` spares reading them again.
    """
    kept = sources_or_live(sources)
    if currency is None:
        found, rates = converted.months(
            kept,
            rates,
            first=first,
            last=last,
            today=today,
            is_netted=view is View.NETTED,
            is_closed=basis is Basis.CLOSED,
        )
        rows = [_consolidated(row, view, is_running=row.month == today.replace(day=1)) for row in found]
        return Series(rates.reporting, view, basis, tuple(rows))
    sums = _sums(MonthRollup, kept, last, currency).get(currency, {})
    if basis is Basis.CLOSED:
        _book(sums, _sums(BookRollup, kept, last, currency).get(currency, {}))
    return Series(currency, view, basis, tuple(_months(sums, first, last, today=today, view=view, currency=currency)))


@dataclass(frozen=True, slots=True)
class BothBases:
    """One month of one currency twice: as it was booked, and as it is known now."""

    currency: str
    closed: Month
    restated: Month

    @property
    def learned_micros(self) -> int:
        """What was learned since about the month and those before it: the difference of the closings."""
        return self.restated.closing_micros - self.closed.closing_micros


def both_bases(
    first: date, last: date, *, today: date, sources: Sequence[int] | None = None
) -> dict[date, list[BothBases]]:
    """Return the months in both bases, each currency by itself, the reporting currency first. Two queries."""
    kept = sources_or_live(sources)
    restated, booked = _sums(MonthRollup, kept, last), _sums(BookRollup, kept, last)
    found: dict[date, list[BothBases]] = {month: [] for month in months_from(first, last)}
    for currency in sorted(restated, key=lambda code: (code != settings.REPORTING_CURRENCY, code)):
        sums = {month: cell.copy() for month, cell in restated[currency].items()}
        _book(sums, booked.get(currency, {}))
        both = [
            _months(one, first, last, today=today, view=View.EVENT, currency=currency)
            for one in (sums, restated[currency])
        ]
        for as_closed, as_restated in zip(*both, strict=True):
            found[as_closed.month].append(BothBases(currency, as_closed, as_restated))
    return found


def _months(
    sums: Mapping[date, _Sums], first: date, last: date, *, today: date, view: View, currency: str
) -> Iterator[Month]:
    micros = customers = 0
    for month, cell in sums.items():
        if month < first:
            micros += cell.change
            customers += cell.customers_change
    for month in months_from(first, last):
        cell = sums.get(month, _NOTHING)
        is_running = month == today.replace(day=1)
        yield _month(month, cell, micros, customers, view, currency=currency, is_running=is_running)
        micros += cell.change
        customers += cell.customers_change


@dataclass(slots=True)
class _Sums:
    """One month of all asked sources, as it is added up."""

    figures: dict[str, int] = field(default_factory=dict)

    def __getitem__(self, name: str) -> int:
        return self.figures.get(name, 0)

    def add(self, name: str, amount: int) -> None:
        self.figures[name] = self[name] + amount

    def copy(self) -> _Sums:
        return _Sums(dict(self.figures))

    @property
    def change(self) -> int:
        return sum(self[name] for name in (*EVENT_MICROS, "adjustment_micros"))

    @property
    def customers_change(self) -> int:
        opening, new, back, gone = (self[name] for name in EVENT_CUSTOMERS)
        return opening + new + back - gone


_NOTHING = _Sums()
_NO_PARTS = dict.fromkeys(PARTS, 0)


def _sums(
    model: type[MonthRollup | BookRollup], sources: Sequence[int], last: date, currency: str | None = None
) -> dict[str, dict[date, _Sums]]:
    """Add up the sums kept in a table over sources, of one currency or of all: currency → month → sums."""
    columns = (*EVENT_MICROS, *EVENT_CUSTOMERS, *_NETTED, *(("adjustment_micros",) if model is BookRollup else ()))
    rows = model._default_manager.filter(source_id__in=sources, month__lte=last)
    if currency is not None:
        rows = rows.filter(currency=currency)
    found: dict[str, dict[date, _Sums]] = {}
    for code, month, *amounts in rows.values_list("currency", "month", *columns):
        cell = found.setdefault(code, {}).setdefault(month, _Sums())
        for name, amount in zip(columns, amounts, strict=True):
            cell.add(name, amount)
    return found


def _book(sums: dict[date, _Sums], booked: Mapping[date, _Sums]) -> None:
    """Put every entry into the month it was booked in; what came late is adjustment there, whatever its type."""
    for month, difference in booked.items():
        cell = sums.setdefault(month, _Sums())
        for name, amount in difference.figures.items():
            cell.add(name, amount)


def _month(
    month: date, cell: _Sums, before: int, customers: int, view: View, *, currency: str, is_running: bool
) -> Month:
    opening = before + cell["opening_micros"]
    prefix = "netted_" if view is View.NETTED else ""
    parts = {name: cell[f"{prefix}{name}_micros"] for name in PARTS}
    opening_customers = customers + cell["opening_customers"]
    netted = {name: cell[f"netted_{name}_micros"] for name in PARTS}
    counts = Customers(
        opening_customers,
        cell[f"{prefix}new_customers"],
        cell[f"{prefix}reactivated_customers"],
        cell[f"{prefix}churned_customers"],
        customers + cell.customers_change,
    )
    return Month(
        month=month,
        is_running=is_running,
        **_row(opening, parts, cell["adjustment_micros"], 0),
        customers=counts,
        **_ratios(opening, netted, parts, opening_customers, cell["netted_churned_customers"]),
        base_micros=opening,
        compared=parts,
        moved_by={currency: moved} if (moved := sum(cell[f"{name}_micros"] for name in PARTS)) else {},
    )


def _consolidated(row: Consolidated, view: View, *, is_running: bool) -> Month:
    counts, netted = row.counts, row.netted_counts
    moved = netted if view is View.NETTED else counts
    constant = row.constant or Constant(0, _NO_PARTS, _NO_PARTS)
    compared = constant.netted if view is View.NETTED else constant.moved
    return Month(
        month=row.month,
        is_running=is_running,
        **_row(row.opening, row.parts, row.adjustment, row.fx),
        customers=Customers(counts["opening"], moved["new"], moved["reactivated"], moved["churned"], counts["closing"]),
        **_ratios(constant.opening, constant.netted, compared, counts["opening"], netted["churned"]),
        base_micros=constant.opening,
        compared=compared,
        fx_by={name: micros for name, micros in row.fx_by.items() if micros} if view is View.EVENT else {},
        moved_by={name: micros for name, micros in row.moved_by.items() if micros},
        held=row.held,
    )


def _row(opening: int, parts: Mapping[str, int], adjustment: int, fx: int) -> dict[str, Any]:
    """Return a row's amounts in micros and as shown, rounded so that they add up."""
    names = (*PARTS, "adjustment", "fx")
    micros = [*(parts[name] for name in PARTS), adjustment, fx]
    closing = opening + sum(micros)
    minors = parts_shown(shown(closing) - shown(opening), micros)
    return {
        "opening_micros": opening,
        "closing_micros": closing,
        "opening_minor": shown(opening),
        "closing_minor": shown(closing),
        **{f"{name}_micros": amount for name, amount in zip(names, micros, strict=True)},
        **{f"{name}_minor": amount for name, amount in zip(names, minors, strict=True)},
    }


def _ratios(
    opening: int, netted: Mapping[str, int], moved: Mapping[str, int], opening_customers: int, churned_customers: int
) -> dict[str, Any]:
    """Return the ratios of a month: retention from netted balances, the quick ratio from the view's movements."""
    losses = {name: netted[name] for name in ("contraction", "churn")}
    return {
        "nrr": metrics.nrr(opening=opening, expansion=netted["expansion"], **losses),
        "grr": metrics.grr(opening=opening, **losses),
        "logo_churn": metrics.logo_churn(opening_customers=opening_customers, churned_customers=churned_customers),
        "quick_ratio": metrics.quick_ratio(**{name: moved[name] for name in PARTS}),
    }


def parts_shown(total_minor: int, parts_micros: Sequence[int]) -> list[int]:
    """Round a row's parts so that they add up to its shown total; a part that is nothing stays nothing."""
    moved = [place for place, micros in enumerate(parts_micros) if micros]
    rounded = shown_together(total_minor, [parts_micros[place] for place in moved])
    found = [0] * len(parts_micros)
    for place, minor in zip(moved, rounded, strict=True):
        found[place] = minor
    return found


def currencies(sources: Sequence[int] | None = None) -> list[str]:
    """Return the currencies that ever had MRR, the reporting currency first."""
    rows = MonthRollup.objects.filter(source_id__in=sources_or_live(sources)).values_list("currency", flat=True)
    return sorted(rows.order_by().distinct(), key=lambda code: (code != settings.REPORTING_CURRENCY, code))
