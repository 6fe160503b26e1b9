"""Filters for amounts that must not be rounded: {% load exact %}."""

from __future__ import annotations

from django import template

from dashboard import formats
from mrr.engine.money import MICROS, exponent

register = template.Library()


@register.filter
def exact(micros: int, currency: str) -> str:
    """{{ row.micros|exact:"usd" }} is $8.33333333: all digits an amount has, at least the currency's decimals."""
    minor, rest = divmod(abs(micros), MICROS)
    digits = f"{rest:06}".rstrip("0")
    point = "." if digits and not exponent(currency) else ""
    return f"{formats.MINUS if micros < 0 else ''}{formats.money(minor, currency)}{point}{digits}"


@register.filter
def exact_signed(micros: int, currency: str) -> str:
    """{{ row.micros|exact_signed:"usd" }} is +$8.33333333, for movements."""
    return f"{'+' if micros > 0 else ''}{exact(micros, currency)}"
