"""The months of one currency: opening, what moved, closing, customers and ratios."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from fractions import Fraction

from django.conf import settings

from mrr import metrics
from mrr.cohorts import months_from
from mrr.engine.money import shown, shown_together
from mrr.models import LedgerEntry, MonthRollup
from mrr.selectors.scope import reporting_zone, sources_or_live


class View(StrEnum):
    """Event view lists movements; the netted view compares each customer's balance at both ends of a month."""

    EVENT = "event"
    NETTED = "netted"


class Basis(StrEnum):
    """Restated counts an entry when it was true; closed counts it in the month it was booked in."""

    RESTATED = "restated"
    CLOSED = "closed"


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
) -> Series:
    """Return the months from one to another (first days, both included) in one currency, the reporting one by default.

    The opening of a month is the closing of the month before plus what entered as opening MRR in it.
    """
    kept = sources_or_live(sources)
    code = currency or settings.REPORTING_CURRENCY
    sums = _month_sums(kept, code, last)
    if basis is Basis.CLOSED:
        _book(sums, kept, code)
    micros = customers = 0
    for month, cell in sums.items():
        if month < first:
            micros += cell.change
            customers += cell.customers_change
    months: list[Month] = []
    for month in months_from(first, last):
        cell = sums.get(month, _NOTHING)
        months.append(_month(month, cell, micros, customers, view, is_running=month == today.replace(day=1)))
        micros += cell.change
        customers += cell.customers_change
    return Series(code, view, basis, tuple(months))


@dataclass(slots=True)
class _Sums:
    """One month of all asked sources, as it is added up."""

    figures: dict[str, int] = field(default_factory=dict)
    adjustment: int = 0

    def __getitem__(self, name: str) -> int:
        return self.figures.get(name, 0)

    def add(self, name: str, amount: int) -> None:
        self.figures[name] = self[name] + amount

    @property
    def change(self) -> int:
        return sum(self[name] for name in EVENT_MICROS) + self.adjustment

    @property
    def customers_change(self) -> int:
        opening, new, back, gone = (self[name] for name in EVENT_CUSTOMERS)
        return opening + new + back - gone


_NOTHING = _Sums()


def _month_sums(sources: Sequence[int], currency: str, last: date) -> dict[date, _Sums]:
    columns = (*EVENT_MICROS, *EVENT_CUSTOMERS, *_NETTED)
    rows = MonthRollup.objects.filter(source_id__in=sources, currency=currency, month__lte=last)
    sums: dict[date, _Sums] = {}
    for month, *amounts in rows.values_list("month", *columns):
        cell = sums.setdefault(month, _Sums())
        for name, amount in zip(columns, amounts, strict=True):
            cell.add(name, amount)
    return sums


def _book(sums: dict[date, _Sums], sources: Sequence[int], currency: str) -> None:
    """Move what was booked outside its own month to the month that carries it, as adjustment whatever its type.

    A reversal takes from the column its entry stands in. Customers are counted where the entry is booked.
    """
    zone = reporting_zone()
    rows = LedgerEntry.objects.filter(
        source_id__in=sources, currency=currency, backdated_from__isnull=False
    ).values_list("type", "reverses__type", "amount_micros", "paying_delta", "effective_at", "book_month")
    for kind, reversed_kind, micros, paying, effective_at, book_month in rows:
        own = sums.setdefault(effective_at.astimezone(zone).date().replace(day=1), _Sums())
        booked = sums.setdefault(book_month, _Sums())
        name = reversed_kind or kind
        own.add(f"{name}_micros", -micros)
        if name != "opening":
            own.add(f"netted_{name}_micros", -micros)
        booked.adjustment += micros
        if paying:
            column, number = _customer_column(name, paying, is_reversal=reversed_kind is not None)
            for prefix in ("", "netted_") if name != "opening" else ("",):
                own.add(f"{prefix}{column}", -number)
                booked.add(f"{prefix}{column}", number)


def _customer_column(kind: str, paying_delta: int, *, is_reversal: bool) -> tuple[str, int]:
    """Return which count of customers an entry moves, and by how much; a reversal takes from the count of its entry."""
    begins = (paying_delta > 0) is not is_reversal
    if not begins:
        return "churned_customers", -paying_delta
    return {"opening": "opening_customers", "reactivation": "reactivated_customers"}.get(
        kind, "new_customers"
    ), paying_delta


def _month(month: date, cell: _Sums, before: int, customers: int, view: View, *, is_running: bool) -> Month:
    opening = before + cell["opening_micros"]
    prefix = "netted_" if view is View.NETTED else ""
    new, expansion, reactivation, contraction, churn = (
        cell[f"{prefix}{name}_micros"] for name in ("new", "expansion", "reactivation", "contraction", "churn")
    )
    parts = [new, expansion, reactivation, contraction, churn, cell.adjustment, 0]
    closing = opening + sum(parts)
    shown_parts = parts_shown(shown(closing) - shown(opening), parts)
    opening_customers = customers + cell["opening_customers"]
    netted = {name: cell[f"netted_{name}_micros"] for name in ("expansion", "contraction", "churn")}
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
        opening_micros=opening,
        new_micros=new,
        expansion_micros=expansion,
        reactivation_micros=reactivation,
        contraction_micros=contraction,
        churn_micros=churn,
        adjustment_micros=cell.adjustment,
        fx_micros=0,
        closing_micros=closing,
        opening_minor=shown(opening),
        new_minor=shown_parts[0],
        expansion_minor=shown_parts[1],
        reactivation_minor=shown_parts[2],
        contraction_minor=shown_parts[3],
        churn_minor=shown_parts[4],
        adjustment_minor=shown_parts[5],
        fx_minor=shown_parts[6],
        closing_minor=shown(closing),
        customers=counts,
        nrr=metrics.nrr(opening=opening, **netted),
        grr=metrics.grr(opening=opening, contraction=netted["contraction"], churn=netted["churn"]),
        logo_churn=metrics.logo_churn(
            opening_customers=opening_customers, churned_customers=cell["netted_churned_customers"]
        ),
        quick_ratio=metrics.quick_ratio(
            new=new, expansion=expansion, reactivation=reactivation, contraction=contraction, churn=churn
        ),
    )


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
