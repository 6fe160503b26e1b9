"""Writes out how an item's monthly amount comes about, from the terms an entry keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from babel.numbers import get_currency_symbol

from mrr.engine.money import exponent, shown
from mrr.selectors import Line, Movement

LOCALE = "en_US"
_MONTHS = {"month": (1, 1), "year": (1, 12), "week": (52, 12), "day": (365, 12)}


@dataclass(frozen=True, slots=True)
class Side:
    """An item before or after: its terms as kept, what it was worth a month, and how that is computed."""

    terms: Mapping[str, Any]
    micros: int
    formula: str

    @property
    def minor(self) -> int:
        return shown(self.micros)


@dataclass(frozen=True, slots=True)
class ExplainedLine:
    """A line of an entry: after − before is its amount, exactly. A side is None where the item was not there."""

    line: Line
    before: Side | None
    after: Side | None


def explained(entry: Movement) -> list[ExplainedLine]:
    """Return the lines of an entry with their formulas; a reversal's say what its entry's say."""
    return [
        ExplainedLine(line, _side(line.before, entry.currency), _side(line.after, entry.currency))
        for line in entry.lines
    ]


def sum_written(entry: Movement) -> str:
    """Write an entry's amount as the sum of its lines: after, less before, and the exact total.

    `$30.00 × 8 ÷ 1 month − $30.00 × 5 ÷ 1 month = $90.00`; a reversal turns the whole sum around.
    """
    lines = explained(entry)
    terms = [("+", line.after) for line in lines if line.after] + [("−", line.before) for line in lines if line.before]
    text = " ".join(f"{sign} {side.formula}" for sign, side in terms).removeprefix("+ ")
    if entry.reverses:
        text = f"−({text})"
    sign = "−" if entry.amount_micros < 0 else ""
    return f"{text} = {sign}{price(str(Decimal(abs(entry.amount_micros)).scaleb(-6)), entry.currency)}"


def formula(terms: Mapping[str, Any], currency: str) -> str:
    """Write an item's monthly amount as people compute it: `$30.00 × 5 ÷ 1 month`, `$10.00 × 1 × 52 ÷ 12 months`.

    A week counts as 52 a year and a day as 365. Without an amount the price is not known yet.
    """
    if terms.get("unit_amount_decimal") is None:
        return "price not known yet"
    times, months = _MONTHS[terms["interval"]]
    months *= terms["interval_count"]
    quantity = terms["quantity"] if terms.get("quantity") is not None else 1
    parts = [price(terms["unit_amount_decimal"], currency), _units(quantity, terms)]
    if times > 1:
        parts.append(str(times))
    return f"{' × '.join(parts)} ÷ {months} {'month' if months == 1 else 'months'}"


def price(unit_amount_decimal: str, currency: str) -> str:
    """Write a unit amount (decimal text of minor units) in major units, with all its decimals: `$0.0015`, `¥12000`."""
    places = exponent(currency)
    amount = Decimal(unit_amount_decimal).scaleb(-places)
    digits = -int(amount.normalize().as_tuple().exponent)
    symbol = get_currency_symbol(currency.upper(), locale=LOCALE)
    space = "\u00a0" if symbol[-1].isalpha() else ""
    return f"{symbol}{space}{amount:,.{max(digits, places)}f}"


def _side(terms: Mapping[str, Any] | None, currency: str) -> Side | None:
    return Side(terms, terms["micros"], formula(terms, currency)) if terms else None


def _units(quantity: int, terms: Mapping[str, Any]) -> str:
    size = terms.get("divide_by")
    if not size:
        return f"{quantity:,}"
    up = terms.get("round") == "up"
    packages = -(-quantity // size) if up else quantity // size
    return f"{packages:,} (packages of {size:,} in {quantity:,}, rounded {'up' if up else 'down'})"
