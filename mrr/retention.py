"""Retention: what the customers of a period's start still pay at its end, and whom it lost. From balances. (pure)

A period is so many whole months. Its start is what was paid when its first month began, with what was taken over as
opening MRR in that month; its end is what is paid when its last month ends. Months are numbers (rollups.month_number).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Protocol, TypeVar

from mrr import metrics

SPANS: Final = (1, 3, 12)
LONG_SPANS: Final = SPANS[1:]  # a month by itself is in the netted columns of the month sums
LONGEST: Final = SPANS[-1]
COLUMNS: Final = ("expansion_micros", "contraction_micros", "churn_micros", "churned_customers")
TENURES: Final = ((3, "under 3 months"), (6, "3 to 5 months"), (12, "6 to 11 months"), (24, "12 to 23 months"))
LONG_TENURE: Final = "24 months and more"
# Lost to a payment that failed, not to a decision. A lost dispute was one: somebody took the money back.
INVOLUNTARY: Final = frozenset({"payment_failed"})

Key = TypeVar("Key", bound=Hashable)


class Entry(Protocol):
    """What is read of a standing entry; `month` is its month in the reporting zone."""

    @property
    def type(self) -> str: ...
    @property
    def currency(self) -> str: ...
    @property
    def micros(self) -> int: ...
    @property
    def at(self) -> int: ...
    @property
    def month(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def product(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Loss:
    """A customer that paid when a month began and paid nothing when it ended, in one currency.

    `back` is the first month that ends with MRR again. `starts` are what it paid at the start of this month, of the one
    before, and so on: whichever of them a period begins with, that is what the period lost.
    """

    currency: str
    month: int
    back: int | None
    reason: str
    product: str
    tenure_months: int
    starts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of the customers of a period's start. Micros of one currency; contraction and churn are negative."""

    start: int
    expansion: int
    contraction: int
    churn: int
    customers: int
    churned: int

    @property
    def end(self) -> int:
        return self.start + self.expansion + self.contraction + self.churn

    @property
    def nrr(self) -> Fraction | None:
        """What they pay at the end ÷ at the start; None where nobody paid at the start."""
        return metrics.nrr(opening=self.start, expansion=self.expansion, contraction=self.contraction, churn=self.churn)

    @property
    def grr(self) -> Fraction | None:
        """The same, gains left out."""
        return metrics.grr(opening=self.start, contraction=self.contraction, churn=self.churn)

    @property
    def logo_churn(self) -> Fraction | None:
        """The share of customers that pay nothing at the end."""
        return metrics.logo_churn(opening_customers=self.customers, churned_customers=self.churned)

    @property
    def revenue_churn(self) -> Fraction | None:
        """Churn and contraction ÷ start."""
        return metrics.revenue_churn(opening=self.start, lost=self.contraction + self.churn)

    @property
    def churn_alone(self) -> Fraction | None:
        """Churn ÷ start."""
        return metrics.revenue_churn(opening=self.start, lost=self.churn)


def kept_of(entries: Sequence[Entry]) -> dict[tuple[str, int, int], dict[str, int]]:
    """Return one customer's part of the long periods: (currency, months, last month) → column → amount.

    Periods at whose end a customer pays what it paid at the start are left out: they change nothing.
    """
    found: dict[tuple[str, int, int], dict[str, int]] = {}
    for currency, balances in _balances(entries).items():
        for span in LONG_SPANS:
            for last in {month + later for month in balances.changed for later in range(span)}:
                start, end = balances.starting(last - span + 1), balances.ending(last)
                if start > 0 and start != end:
                    cell = {f"{_name(start, end)}_micros": end - start}
                    found[currency, span, last] = cell if end else cell | {"churned_customers": 1}
    return found


def losses_of(entries: Sequence[Entry], cohort: int | None) -> list[Loss]:
    """Return the months in which one customer was lost, oldest first; `cohort` is the month it was acquired in."""
    found: list[Loss] = []
    for currency, balances in _balances(entries).items():
        for month in balances.changed:
            if balances.starting(month) <= 0 or balances.ending(month) > 0:
                continue
            last = max(
                (one for one in entries if one.currency == currency and one.month == month and one.micros < 0),
                key=lambda one: one.at,
            )
            found.append(
                Loss(
                    currency,
                    month,
                    next((later for later in balances.changed if later > month and balances.ending(later) > 0), None),
                    last.reason,
                    last.product,
                    month - (balances.changed[0] if cohort is None else cohort),
                    tuple(balances.starting(month - earlier) for earlier in range(LONGEST)),
                )
            )
    return found


def tenure(months: int) -> str:
    """Name how long a customer had been one, from its month of acquisition to that of its loss."""
    return next((name for end, name in TENURES if months < end), LONG_TENURE)


def is_voluntary(reason: str) -> bool:
    """Say whether a customer was lost to a decision, not to a payment that failed."""
    return reason not in INVOLUNTARY


def come_to(total: int, parts: Mapping[Key, int]) -> dict[Key, int]:
    """Return parts, each rounded by itself, corrected so that they come to their total: the largest take the rest."""
    found = dict(parts)
    missing = total - sum(found.values())
    step = 1 if missing > 0 else -1
    ranked = sorted(found, key=lambda key: -abs(found[key]))
    for at in range(abs(missing)):
        found[ranked[at % len(ranked)]] += step
    return found


def converted(parts: Mapping[Key, int], convert: Callable[[int], int | None]) -> dict[Key, int]:
    """Convert amounts of one currency so that they come to their converted sum; what has no rate is nothing."""
    total = convert(sum(parts.values())) or 0
    return come_to(total, {key: convert(micros) or 0 for key, micros in parts.items()})


# ---- one customer's balances ----


class _Balances:
    """One customer's balances in one currency: `changed` are the months with entries, oldest first."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        moved: dict[int, int] = defaultdict(int)
        self._opened: dict[int, int] = defaultdict(int)
        for entry in entries:
            moved[entry.month] += entry.micros
            if entry.type == "opening":
                self._opened[entry.month] += entry.micros
        self.changed = sorted(moved)
        self._ends: dict[int, int] = {}
        balance = 0
        for month, following in zip(self.changed, [*self.changed[1:], self.changed[-1] + LONGEST], strict=True):
            balance += moved[month]
            self._ends.update(dict.fromkeys(range(month, following), balance))

    def ending(self, month: int) -> int:
        """Return what is paid when a month ends, up to a year after the last change."""
        return self._ends.get(month, 0)

    def starting(self, month: int) -> int:
        """Return what is paid when a month begins, and what is taken over in it."""
        return self._ends.get(month - 1, 0) + self._opened.get(month, 0)


def _balances(entries: Sequence[Entry]) -> dict[str, _Balances]:
    by_currency: dict[str, list[Entry]] = {}
    for entry in entries:
        by_currency.setdefault(entry.currency, []).append(entry)
    return {currency: _Balances(own) for currency, own in by_currency.items()}


def _name(start: int, end: int) -> str:
    if not end:
        return "churn"
    return "expansion" if end > start else "contraction"
