"""Exchange rates as exact fractions: which rate a day has, and what an amount comes to in the reporting currency."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from fractions import Fraction
from typing import Final

from mrr.engine.money import exponent

LONGEST_GAP_DAYS: Final = 7
"""After so many days without a newer one a rate is no longer known: currencies that were given up keep no price."""
PIVOT: Final = "eur"


class Origin(StrEnum):
    """Where a rate comes from. Of one day's, the first named here is taken."""

    MANUAL = "manual"
    ECB = "ecb"
    DEMO = "demo"


_RANK: Final = {origin.value: rank for rank, origin in enumerate(Origin)}


@dataclass(frozen=True, slots=True)
class Quote:
    """One rate as it was published: one major unit of `currency` is `rate` (decimal text) major units of `against`.

    The central bank quotes the euro against all others; other origins quote a currency against the reporting one.
    """

    day: date
    currency: str
    against: str
    rate: str
    origin: str


Frozen = Mapping[date, Mapping[str, Sequence[tuple[date, Fraction | None]]]]
"""First day of a closed month → currency → from which of its days on which rate holds (None: not known)."""


class _Course:
    """The quotes of one pair of currencies, one a day, oldest first."""

    def __init__(self, quotes: Iterable[Quote]) -> None:
        self._quotes = sorted(quotes, key=lambda quote: quote.day)
        self._days = [quote.day for quote in self._quotes]

    def last(self, day: date) -> Quote | None:
        """Return the last quote on or before a day, None when it is too old or there is none."""
        place = bisect_right(self._days, day) - 1
        if place < 0 or (day - self._days[place]).days > LONGEST_GAP_DAYS:
            return None
        return self._quotes[place]


class Rates:
    """What one unit of a currency is worth in the reporting currency on each day, as far as it is known."""

    def __init__(self, quotes: Iterable[Quote] = (), *, reporting: str, frozen: Frozen | None = None) -> None:
        """Take quotes in any order. In the months of `frozen` nothing but what stands there counts."""
        self.reporting = reporting
        self._frozen = frozen or {}
        best: dict[tuple[str, str, bool], dict[date, Quote]] = {}
        for quote in quotes:
            by_day = best.setdefault((quote.currency, quote.against, quote.origin == Origin.ECB), {})
            held = by_day.get(quote.day)
            if held is None or _RANK[quote.origin] < _RANK[held.origin]:
                by_day[quote.day] = quote
        self._courses = {pair: _Course(by_day.values()) for pair, by_day in best.items()}
        self._known: dict[tuple[str, date], Fraction | None] = {}

    def on(self, currency: str, day: date) -> Fraction | None:
        """Return the reporting units that one major unit is worth on a day; None when no rate is near enough.

        That is the last rate on or before the day. Where the central bank's and another are of the same day, the other
        counts if a person gave it, and the bank's if it is made up.
        """
        if currency == self.reporting:
            return Fraction(1)
        key = currency, day
        if key not in self._known:
            self._known[key] = self._look_up(currency, day)
        return self._known[key]

    def converted(self, micros: int, currency: str, day: date) -> int | None:
        """Return micros of the reporting currency at the rate of a day, rounded half to even; None without a rate."""
        rate = self.on(currency, day)
        return None if rate is None else converted(micros, currency, self.reporting, rate)

    def course(self, currency: str, month: date) -> list[tuple[date, Fraction | None]]:
        """Return from which days of a month (given by its first day) on which rate holds: what a close freezes."""
        found: list[tuple[date, Fraction | None]] = []
        day = month
        while (day.year, day.month) == (month.year, month.month):
            rate = self.on(currency, day)
            if not found or found[-1][1] != rate:
                found.append((day, rate))
            day += timedelta(days=1)
        return found

    def _look_up(self, currency: str, day: date) -> Fraction | None:
        held = self._frozen.get(day.replace(day=1), {}).get(currency)
        if held is not None:
            return next((rate for since, rate in reversed(held) if since <= day), None)
        direct = self._last(currency, self.reporting, day, is_bank=False)
        crossed = self._crossed(currency, day)
        if direct is None:
            return crossed[1] if crossed else None
        if crossed and (crossed[0], _RANK[direct.origin]) > (direct.day, _RANK[Origin.ECB]):
            return crossed[1]
        return Fraction(direct.rate)

    def _crossed(self, currency: str, day: date) -> tuple[date, Fraction] | None:
        """Cross two rates of the central bank: the euro in the reporting currency ÷ the euro in this one."""
        ours, theirs = self._in_pivot(self.reporting, day), self._in_pivot(currency, day)
        return (min(ours[0], theirs[0]), ours[1] / theirs[1]) if ours and theirs else None

    def _in_pivot(self, currency: str, day: date) -> tuple[date, Fraction] | None:
        if currency == PIVOT:
            return day, Fraction(1)
        quote = self._last(PIVOT, currency, day, is_bank=True)
        return (quote.day, Fraction(quote.rate)) if quote else None

    def _last(self, currency: str, against: str, day: date, *, is_bank: bool) -> Quote | None:
        course = self._courses.get((currency, against, is_bank))
        return course.last(day) if course else None


def converted(micros: int, currency: str, reporting: str, rate: Fraction) -> int:
    """Convert micros of one currency's minor unit to micros of another's at a rate of major units, half to even."""
    amount, unit = micros * rate.numerator, rate.denominator
    decimals = exponent(reporting) - exponent(currency)
    if decimals >= 0:
        amount *= 10**decimals
    else:
        unit *= 10**-decimals
    whole, rest = divmod(amount, unit)  # whole numbers alone: a page converts thousands
    if rest * 2 > unit or (rest * 2 == unit and whole % 2):
        return whole + 1
    return whole
