"""How figures, dates and ages are written on pages: exact values in, text out.

Amounts come as integers of minor units; ratios as exact numbers (an int, a Fraction, a Decimal or a decimal string,
where 1 is 100 %), or None where a figure cannot be known. Floats are refused, because what they show may differ from
what is meant.
"""

from __future__ import annotations

from datetime import date, datetime, tzinfo
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from babel import Locale
from babel.dates import format_date, format_datetime
from babel.numbers import NumberPattern, get_decimal_symbol, parse_pattern

from mrr.engine.money import exponent

Exact = int | str | Decimal | Fraction

LOCALE = "en_US"
NOT_KNOWN = "n/a"
MINUS = "\u2212"  # a hyphen is shorter than the plus and breaks at line ends


def money(minor: int, currency: str, *, signed: bool = False, locale: str = LOCALE) -> str:
    """Write minor units with symbol, grouping and the currency's decimals: $802,821.21, −€5.00, ¥12,000.

    `signed` puts a plus before gains, for movements: +$468.00. Zero never has a sign.
    """
    places = exponent(currency)
    pattern = _pattern(locale, "currency", places)
    text = pattern.apply(Decimal(abs(minor)).scaleb(-places), locale, currency=currency.upper(), currency_digits=False)
    return _sign(minor, signed=signed) + _spaced(text, currency)


def money_parts(minor: int, currency: str, *, signed: bool = False, locale: str = LOCALE) -> tuple[str, str]:
    """Split money() before its decimals, which tiles set small: ("$802,821", ".21"); yen give ("¥12,000", "")."""
    text = money(minor, currency, signed=signed, locale=locale)
    whole, mark, cents = text.rpartition(get_decimal_symbol(locale)) if exponent(currency) else (text, "", "")
    return whole, mark + cents


def amount(minor: int, currency: str, *, locale: str = LOCALE) -> str:
    """Write minor units without a symbol, for columns whose header names the currency: 2,400.00."""
    places = exponent(currency)
    return _sign(minor, signed=False) + _number(Decimal(abs(minor)).scaleb(-places), places, locale)


def count(number: int, *, signed: bool = False, locale: str = LOCALE) -> str:
    """Write a whole number with grouping: 1,286."""
    return _sign(number, signed=signed) + _number(Decimal(abs(number)), 0, locale)


def ratio(value: Exact | None, *, places: int = 1, locale: str = LOCALE) -> str:
    """Write a ratio as a percentage, rounded half-even: 98.2%; None is n/a, never 0."""
    if value is None:
        return NOT_KNOWN
    scaled = round(_exact(value) * 100 * 10**places)
    pattern = _pattern(locale, "percent", places)
    return _sign(scaled, signed=False) + pattern.apply(Decimal(abs(scaled)).scaleb(-places - 2), locale)


def points(change: Exact | None, *, places: int = 1, locale: str = LOCALE) -> str:
    """Write the change of a ratio in percentage points: +0.4 pt, −1.2 pt, ±0.0 pt."""
    if change is None:
        return NOT_KNOWN
    scaled = round(_exact(change) * 100 * 10**places)
    text = _number(Decimal(abs(scaled)).scaleb(-places), places, locale)
    return f"{_sign(scaled, signed=True) or '±'}{text} pt"


def multiple(value: Exact | None, *, places: int = 2, signed: bool = False, locale: str = LOCALE) -> str:
    """Write a plain quotient, as the quick ratio is: 2.82."""
    if value is None:
        return NOT_KNOWN
    scaled = round(_exact(value) * 10**places)
    return _sign(scaled, signed=signed) + _number(Decimal(abs(scaled)).scaleb(-places), places, locale)


def day(on: date, *, year: bool = True, locale: str = LOCALE) -> str:
    """Write a date: 31 Mar 2026, or 12 Mar in tables of the year."""
    return format_date(on, "d MMM yyyy" if year else "d MMM", locale=locale)


def month(on: date, *, long: bool = False, locale: str = LOCALE) -> str:
    """Write the month of a date: Mar 2026, or March 2026."""
    return format_date(on, "MMMM yyyy" if long else "MMM yyyy", locale=locale)


def days(first: date, last: date, *, locale: str = LOCALE) -> str:
    """Write a range, both ends included, as short as it stays clear: 1–31 Mar 2026, 28 Feb – 3 Mar 2026."""
    if first == last:
        return day(first, locale=locale)
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day}–{day(last, locale=locale)}"
    return f"{day(first, year=first.year != last.year, locale=locale)} – {day(last, locale=locale)}"


def clock(at: datetime, zone: tzinfo, *, locale: str = LOCALE) -> str:
    """Write the time of day in a zone, which the table's header names: 16:41."""
    return format_datetime(at.astimezone(zone), "HH:mm", locale=locale)


def moment(at: datetime, zone: tzinfo, *, seconds: bool = True, locale: str = LOCALE) -> str:
    """Write date, time and zone: 12 Mar 2026 09:14:05 UTC."""
    local = at.astimezone(zone)
    text = format_datetime(local, "d MMM yyyy HH:mm:ss" if seconds else "d MMM yyyy HH:mm", locale=locale)
    return f"{text} {local.tzname()}"


def age(seconds: int) -> str:
    """Write how long ago in the largest whole unit: 4 s, 41 min, 6 h, 9 d. A clock that runs ahead gives 0 s."""
    seconds = max(0, seconds)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def initials(name: str) -> str:
    """Give the one or two letters that stand for a person: Maya Okafor is MO."""
    words = name.split("@")[0].replace(".", " ").split()
    return "".join(word[0] for word in (words if len(words) < 3 else [words[0], words[-1]])).upper() or "?"


def _exact(value: Exact) -> Fraction:
    if isinstance(value, float):
        raise TypeError("A ratio must be exact: give a Fraction, a Decimal, an int or a decimal string, not a float.")
    return Fraction(value)


def _sign(number: int, *, signed: bool) -> str:
    if number < 0:
        return MINUS
    return "+" if signed and number else ""


def _spaced(text: str, currency: str) -> str:
    # A currency without a symbol of its own is written by its code, which must not touch the figure.
    code = currency.upper()
    return text.replace(code, f"{code}\u00a0", 1) if text.startswith(code) and text[len(code)].isdigit() else text


def _number(value: Decimal, places: int, locale: str) -> str:
    return _pattern(locale, "decimal", places).apply(value, locale)


@lru_cache(maxsize=128)
def _pattern(locale: str, kind: str, places: int) -> NumberPattern:
    """Return the locale's own pattern with a fixed number of decimals."""
    cldr = Locale.parse(locale)
    own = {"currency": cldr.currency_formats["standard"], "percent": cldr.percent_formats[None]}
    pattern = parse_pattern(own.get(kind, cldr.decimal_formats[None]).pattern)
    pattern.frac_prec = (places, places)
    return pattern
