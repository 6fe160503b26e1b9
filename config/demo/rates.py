"""Made-up exchange rates for the demo, labelled so: plausible, the same on every run, one a working day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from fractions import Fraction

from mrr.engine.rates import Origin, Quote

# In ten-thousandths of a dollar: where a currency stands, and how far and how slowly (in days) it swings about that.
_COURSES = {
    "usd": (10_000, ()),
    "eur": (11_240, ((420, 290), (130, 61), (40, 11))),
    "gbp": (13_080, ((360, 340), (150, 73), (50, 13))),
}
DECIMALS = 6


def quotes(first: date, last: date, *, reporting: str) -> Iterator[Quote]:
    """Yield what the demo's other currencies are worth in the reporting one on each working day, both ends included."""
    if reporting not in _COURSES:
        return
    for number in range(first.toordinal(), last.toordinal() + 1):
        day = date.fromordinal(number)
        if day.weekday() < 5:
            for currency in sorted(_COURSES.keys() - {reporting}):
                rate = round(Fraction(_worth(currency, number), _worth(reporting, number)) * 10**DECIMALS)
                whole, part = divmod(rate, 10**DECIMALS)
                yield Quote(day, currency, reporting, f"{whole}.{part:0{DECIMALS}}", Origin.DEMO)


def beginning(today: date, *, months: int) -> date:
    """Return from which day on a demo of so many months needs rates, a fiscal year's first day among them."""
    return today - timedelta(days=max(31 * (months + 1), 380))


def _worth(currency: str, day: int) -> int:
    middle, swings = _COURSES[currency]
    return middle + sum(_swing(day, size, length) for size, length in swings)


def _swing(day: int, size: int, length: int) -> int:
    """Go evenly from -size to size and back within twice `length` days: whole numbers, the same everywhere."""
    at = day % (2 * length)
    return size * (2 * min(at, 2 * length - at) - length) // length
