"""Writes out how an item's monthly amount comes about, as people compute it: `$1,200.00 × 3 ÷ 12 months − 20 %`.

The text can be computed as it stands, exactly, from left to right: × and ÷ before + and −, a percentage is of all that
stands before it within its brackets, words are remarks and so are brackets without a number; but `rounded up`,
`rounded down` and `not below 0` are done.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, auto
from fractions import Fraction
from functools import lru_cache

from babel.numbers import get_currency_symbol

from mrr.engine.money import exponent
from mrr.engine.prices import packages
from mrr.engine.terms import Taken, Terms

LOCALE = "en_US"

NOT_COUNTED = {
    "": "price not known yet",
    "tiers_unknown": "tiers not known yet",
    "currency_option_unknown": "price in this currency not known yet",
    "custom_amount": "the customer chooses the amount",
    "no_amount": "the price has no amount",
    "metered": "usage is not committed",
}


def formula(terms: Terms, currency: str) -> str:
    """Write an item's net monthly amount in major units, before it is rounded to micros.

    What counts as nothing because its price is unknown, chosen by the customer or metered says so: `$0.00 (…)`.
    """
    if terms.code or not terms.interval or (terms.unit_amount_decimal is None and not terms.tiers):
        return f"{price('0', currency)} ({NOT_COUNTED[terms.code]})"
    written = _period(terms, currency)
    if all(taken.percent is not None for taken in terms.discounts):
        # Percentages may be taken off the month as well as off the period, and read better there.
        written = _per_month(_without_tax(written, terms), terms)
        for taken in terms.discounts:
            written = _less(written, taken, currency)
        return written.text
    for taken in terms.discounts:
        written = _less(written, taken, currency)
    return _per_month(_without_tax(written, terms), terms).text


def price(unit_amount_decimal: str, currency: str) -> str:
    """Write a unit amount (decimal text of minor units) in major units, with all its decimals: `$0.0015`, `¥12000`."""
    places = exponent(currency)
    amount = Decimal(unit_amount_decimal).scaleb(-places)
    digits = -int(amount.normalize().as_tuple().exponent)
    symbol = _symbol(currency)
    space = "\u00a0" if symbol[-1].isalpha() else ""
    sign = "−" if amount < 0 else ""
    return f"{sign}{symbol}{space}{abs(amount):,.{max(digits, places)}f}"


def term(formula: str) -> str:
    """Put a formula into brackets where it needs them to stand in a sum."""
    depth = 0
    for place, letter in enumerate(formula):
        depth += (letter == "(") - (letter == ")")
        if not depth and place and letter in "+−":
            return f"({formula})"
    return formula


def exact(micros: int, currency: str) -> str:
    """Write micros in major units with all their decimals: `$8.33333333`."""
    return price(str(Decimal(micros).scaleb(-6)), currency)


# ---- an expression, its worth, and what it is made of ----


class _Made(Enum):
    """What an expression is made of at its top: whether it needs brackets before the next step."""

    PRODUCT = auto()
    SUM = auto()
    DISCOUNTED = auto()


@dataclass(frozen=True, slots=True)
class _Written:
    """An amount as text and as what it comes to in minor units, exactly."""

    text: str
    worth: Fraction
    made: _Made = _Made.PRODUCT

    @property
    def to_multiply(self) -> str:
        return self.text if self.made is _Made.PRODUCT else f"({self.text})"

    @property
    def to_discount(self) -> str:
        return f"({self.text})" if self.made is _Made.SUM else self.text


def _period(terms: Terms, currency: str) -> _Written:
    """Write what one billing period costs before discounts."""
    quantity = terms.quantity if terms.quantity is not None else 1
    if terms.tiers:
        return _tiered(terms, quantity, currency)
    unit = terms.unit_amount_decimal or "0"
    units = packages(quantity, terms.divide_by, terms.round)
    return _Written(f"{price(unit, currency)} × {_units(quantity, terms)}", Fraction(unit) * units)


def _units(quantity: int, terms: Terms) -> str:
    if not terms.divide_by:
        return f"{quantity:,}"
    return f"({quantity:,} ÷ {terms.divide_by:,}, rounded {'up' if terms.round == 'up' else 'down'})"


def _tiered(terms: Terms, quantity: int, currency: str) -> _Written:
    parts: list[str] = []
    worth = Fraction(0)
    for units, unit, flat in _entered(terms, quantity):
        parts.append(f"{price(unit, currency)} × {units:,}")
        worth += Fraction(unit) * units
        if Fraction(flat):
            parts.append(f"{price(flat, currency)} flat")
            worth += Fraction(flat)
    if not parts:
        return _Written(f"{price('0', currency)} × {quantity:,}", worth)
    return _Written(" + ".join(parts), worth, _Made.SUM if len(parts) > 1 else _Made.PRODUCT)


def _entered(terms: Terms, quantity: int) -> list[tuple[int, str, str]]:
    """Return the tiers that a quantity enters: the units priced there, the unit's and the flat amount."""
    if quantity <= 0:
        return []
    if terms.tiers_mode == "volume":
        reached = next((tier for tier in terms.tiers if tier[0] is None or quantity <= tier[0]), terms.tiers[-1])
        return [(quantity, reached[1], reached[2])]
    found: list[tuple[int, str, str]] = []
    below = 0
    for place, (up_to, unit, flat) in enumerate(terms.tiers):
        if quantity <= below:
            break
        top = quantity if up_to is None or place == len(terms.tiers) - 1 else min(quantity, up_to)
        found.append((top - below, unit, flat))
        below = top
    return found


def _less(written: _Written, taken: Taken, currency: str) -> _Written:
    """Take one discount off, never below 0."""
    if taken.percent is not None:
        off = min(Fraction(taken.percent), Fraction(100))
        return _Written(f"{written.to_discount} − {_plain(off)} %", written.worth * (1 - off / 100), _Made.DISCOUNTED)
    amount, share = taken.amount or 0, Fraction(taken.share)
    if not share:
        return written  # all of it fell to the other items
    part = "" if share == 1 else f" × {share.numerator} ÷ {share.denominator}"
    text = f"{written.to_discount} − {price(str(amount), currency)}{part}"
    left = written.worth - amount * share
    if left < 0:
        return _Written(f"({text}, not below 0)", Fraction(0))
    return _Written(text, left, _Made.DISCOUNTED)


def _without_tax(written: _Written, terms: Terms) -> _Written:
    if not terms.tax:
        return written
    rate = Fraction(terms.tax)
    return _Written(f"{written.to_multiply} ÷ (1 + {_plain(rate * 100)} % tax)", written.worth / (1 + rate))


def _per_month(written: _Written, terms: Terms) -> _Written:
    """Spread a period over its months. A year has as many weeks or days as the policy said; the factor keeps it."""
    factor = Fraction(terms.factor)
    months = terms.interval_count if terms.interval == "month" else 12 * terms.interval_count
    per_year = months / factor
    times = "" if per_year == 1 else f" × {_plain(per_year)}"
    text = f"{written.to_multiply}{times} ÷ {months:,} {'month' if months == 1 else 'months'}"
    return _Written(text, written.worth / factor)


def _plain(number: Fraction) -> str:
    """Write an exact number with all its decimals, as a division where they would not end."""
    places = 0
    scaled = number
    while scaled.denominator % 2 == 0 or scaled.denominator % 5 == 0:
        scaled *= 10
        places += 1
    if scaled.denominator != 1:
        return f"({number.numerator} ÷ {number.denominator})"
    return f"{Decimal(scaled.numerator).scaleb(-places):,f}"


@lru_cache(maxsize=512)
def _symbol(currency: str) -> str:
    return get_currency_symbol(currency.upper(), locale=LOCALE)
