"""An item's terms at one moment: enough to write its monthly amount out, and how they are kept on a ledger line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Taken:
    """A discount as it was taken off an item: a percentage of what remained, or this item's share of a fixed amount.

    `percent` is decimal text, `amount` minor units off the invoice, `share` exact text such as `1/3`.
    """

    id: str
    percent: str | None = None
    amount: int | None = None
    share: str = "1"


TierText = tuple[int | None, str, str]  # up to (None: without end), unit amount, flat amount; decimal text, minor units


@dataclass(frozen=True, slots=True)
class Terms:
    """What an item cost at one moment. `micros` is its net monthly amount, `gross_micros` that before discounts.

    Net = (((units × price, or the tiers) less the discounts in order, never below 0) ÷ (1 + tax)) ÷ factor, rounded
    once, half to even. `tax` and `factor` are exact text; a factor of 12 makes a year's amount a month's.
    """

    price: str
    product: str
    unit_amount_decimal: str | None
    quantity: int | None
    interval: str
    interval_count: int
    micros: int
    divide_by: int | None = None
    round: str | None = None
    gross_micros: int = 0
    tiers_mode: str | None = None
    tiers: tuple[TierText, ...] = ()
    discounts: tuple[Taken, ...] = ()
    tax: str | None = None
    factor: str = ""
    code: str = ""  # why it counts 0: metered, or what its price lacks

    @property
    def per(self) -> tuple[str, int]:
        return self.interval, self.interval_count

    def as_json(self) -> dict[str, Any]:
        """Return the terms as a ledger line keeps them: without what is empty or follows from the rest."""
        packages = {"divide_by": self.divide_by, "round": self.round} if self.divide_by else {}
        kept: dict[str, Any] = packages | {
            "price": self.price,
            "product": self.product,
            "unit_amount_decimal": self.unit_amount_decimal,
            "quantity": self.quantity,
            "interval": self.interval,
            "interval_count": self.interval_count,
            "micros": self.micros,
        }
        if self.gross_micros != self.micros:
            kept["gross_micros"] = self.gross_micros
        if self.tiers:
            kept["tiers_mode"] = self.tiers_mode
            kept["tiers"] = [list(tier) for tier in self.tiers]
        if self.discounts:
            kept["discounts"] = [_taken_as_json(taken) for taken in self.discounts]
        if self.tax:
            kept["tax"] = self.tax
        if self.factor != usual_factor(self.interval, self.interval_count):
            kept["factor"] = self.factor
        if self.code:
            kept["code"] = self.code
        return kept

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Terms:
        """Return the terms that as_json wrote."""
        found = {
            "gross_micros": kept["micros"],
            "factor": usual_factor(kept["interval"], kept["interval_count"]),
            **kept,
        }
        if "tiers" in kept:
            found["tiers"] = tuple([tuple(tier) for tier in kept["tiers"]])
        if "discounts" in kept:
            found["discounts"] = tuple([Taken(**taken) for taken in kept["discounts"]])
        return cls(**found)


WEEKS_PER_YEAR: Final = 52
DAYS_PER_YEAR: Final = 365


@lru_cache(maxsize=256)
def factor(
    interval: str, interval_count: int, weeks_per_year: int = WEEKS_PER_YEAR, days_per_year: int = DAYS_PER_YEAR
) -> Fraction:
    """Return how many months a billing period lasts: 12 for a year, 3/13 for a week where a year has 52.

    Raises KeyError for an interval that Stripe does not have. Source: definitions.md 1.5.
    """
    months = {
        "year": Fraction(12),
        "month": Fraction(1),
        "week": Fraction(12, weeks_per_year),
        "day": Fraction(12, days_per_year),
    }
    return months[interval] * interval_count


@lru_cache(maxsize=256)
def usual_factor(interval: str, interval_count: int) -> str:
    """Return the text of the factor in a year of 52 weeks and 365 days; empty for what does not recur."""
    return str(factor(interval, interval_count)) if interval else ""


def _taken_as_json(taken: Taken) -> dict[str, Any]:
    if taken.percent is not None:
        return {"id": taken.id, "percent": taken.percent}
    return {"id": taken.id, "amount": taken.amount, "share": taken.share}
