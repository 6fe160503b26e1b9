"""Minor units, micros, and rounding that adds up."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

MICROS = 1_000_000

# Stripe's own table, which differs from ISO 4217: ISK and UGX are sent with two decimals that are always 00,
# HUF and TWD have two for charges. https://docs.stripe.com/currencies
_ZERO_DECIMAL = frozenset("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split())
_THREE_DECIMAL = frozenset("bhd jod kwd omr tnd".split())


def exponent(currency: str) -> int:
    """Return how many decimals the minor unit of a currency has: 0, 2 or 3."""
    code = currency.lower()
    if code in _ZERO_DECIMAL:
        return 0
    return 3 if code in _THREE_DECIMAL else 2


def to_micros(amount_minor: Fraction) -> int:
    """Round an exact amount of minor units to micros, half to even. The only rounding before figures are shown."""
    return round(amount_minor * MICROS)


def shown(micros: int) -> int:
    """Round a balance in micros to minor units as people see it, half to even."""
    whole, rest = divmod(micros, MICROS)
    if rest * 2 > MICROS or (rest * 2 == MICROS and whole % 2):
        return whole + 1
    return whole


def shown_together(total_minor: int, parts_micros: Sequence[int]) -> list[int]:
    """Round parts to minor units so that they add up to a total that is already shown.

    Largest remainder: each part is first rounded down, then the parts that lost most get one unit each, ties in the
    order given. A total further away than one unit a part (it may be a difference of two rounded balances) is still
    met: the units left go round once more.
    """
    floors = [part // MICROS for part in parts_micros]
    missing = total_minor - sum(floors)
    by_loss = sorted(range(len(parts_micros)), key=lambda place: -(parts_micros[place] % MICROS))
    while missing and by_loss:
        step = 1 if missing > 0 else -1
        for place in by_loss if step > 0 else reversed(by_loss):
            if not missing:
                break
            floors[place] += step
            missing -= step
    return floors


def major(amount_minor: int, currency: str) -> str:
    """Write minor units as a plain decimal of major units, such as `12.34`: exact text for exports and Salesforce."""
    return _decimal(amount_minor, exponent(currency))


def major_exact(micros: int, currency: str) -> str:
    """Write micros as a plain decimal of major units with all their digits, such as `8.33333333`."""
    return _decimal(micros, exponent(currency) + 6)


def _decimal(amount: int, places: int) -> str:
    if not places:
        return str(amount)
    sign = "-" if amount < 0 else ""
    digits = str(abs(amount)).rjust(places + 1, "0")
    return f"{sign}{digits[:-places]}.{digits[-places:]}"
