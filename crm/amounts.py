"""Writes amounts as Salesforce takes them, as exact text, and adds up what an Account has in each currency. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mrr.engine import money

MRR_PLACES = 6
ARR_PLACES = 2

Convert = Callable[[int, str], int | None]  # micros and their currency to micros of the reporting one; None: no rate


def decimal(micros: int, currency: str, places: int) -> str:
    """Write micros as major units with so many decimals, half to even."""
    return _text(_rounded(micros, currency, places), places)


def difference(before: int, after: int, currency: str, places: int) -> str:
    """The difference of two balances as they are written, so that the written deltas add up to the written balance."""
    return _text(_rounded(after, currency, places) - _rounded(before, currency, places), places)


def total(
    parts: Sequence[tuple[str, int]], places: int, *, reporting: str, convert: Convert, times: int = 1
) -> str | None:
    """Add up (currency, micros) in the reporting currency and write the sum, `times` as much of it.

    What is in the reporting currency is added as each part is written, so that it equals the written deltas. Each other
    currency is summed exactly and converted once, as the dashboard does. None (unknown) where a rate is missing.
    """
    others: dict[str, int] = {}
    units = 0
    for currency, micros in parts:
        if currency == reporting:
            units += _rounded(times * micros, reporting, places)
        else:
            others[currency] = others.get(currency, 0) + micros
    for currency, micros in others.items():
        converted = convert(micros, currency) if micros else 0
        if converted is None:
            return None
        units += _rounded(times * converted, reporting, places)
    return _text(units, places)


def _rounded(micros: int, currency: str, places: int) -> int:
    """Return an amount in units of its last written decimal."""
    digits = money.exponent(currency) + 6 - places
    if digits <= 0:
        return micros * 10**-digits
    whole, rest = divmod(micros, 10**digits)
    half = 10**digits // 2
    return whole + (rest > half or (rest == half and whole % 2 == 1))


def _text(units: int, places: int) -> str:
    sign, digits = "-" if units < 0 else "", str(abs(units)).rjust(places + 1, "0")
    return f"{sign}{digits[:-places]}.{digits[-places:]}"
