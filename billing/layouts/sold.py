"""Reads what is sold: products, prices and their terms, the tax rates that an amount includes."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from billing import values
from billing.rows import (
    PriceRow,
    ProductRow,
    TaxRateRow,
)
from billing.values import Json, LayoutError


def inclusive_percentage(rates: Any) -> str | None:
    """The percentages of inclusive tax rates together, as decimal text; None when there is none."""
    if not rates:
        return None
    found = [Decimal(rate.percentage) for rate in tax_rates(values.objects(rates))]
    return format(sum(found, Decimal(0)), "f") if found else None


def tax_rates(rates: list[dict[str, Any]]) -> tuple[TaxRateRow, ...]:
    """The inclusive tax rates among those that travel whole, each once."""
    found: dict[str, TaxRateRow] = {}
    for rate in rates:
        percentage = rate.get("percentage")
        if rate.get("inclusive") is True and percentage is not None:
            row = TaxRateRow(values.id_of(rate), values.decimal_text(str(percentage), "percentage"))
            found[row.id] = row
    return tuple(found.values())


@dataclass(frozen=True, slots=True)
class Terms:
    interval: str
    interval_count: int
    usage_type: str
    billing_scheme: str
    unit_amount_decimal: str | None


INTERVALS: Final = frozenset({"day", "week", "month", "year"})


def terms_of(sold: Json) -> Terms:
    recurring = sold.get("recurring")
    if not isinstance(recurring, dict):
        recurring = {}
    interval = values.said(recurring, "interval", 10)
    if interval and interval not in INTERVALS:
        raise LayoutError(f"An interval we do not know: {interval!r}.")
    return Terms(
        interval,
        values.whole(recurring, "interval_count", least=1, most=values.MOST_SMALL) or 1,
        values.said(recurring, "usage_type", 20) or "licensed",
        values.said(sold, "billing_scheme", 20) or "per_unit",
        unit_amount(sold),
    )


def unit_amount(sold: Json) -> str | None:
    """The exact amount as text: `unit_amount_decimal`, else `unit_amount` (older layouts have only that)."""
    exact = sold.get("unit_amount_decimal")
    if isinstance(exact, str) and exact:
        return values.decimal_text(exact, "unit_amount_decimal")
    whole = values.amount(sold, "unit_amount", required=False)
    return None if whole is None else str(whole)


def price(obj: Json) -> PriceRow:
    """Read a price; raises LayoutError."""
    terms = terms_of(obj)
    tiers = obj.get("tiers")
    packed = obj.get("transform_quantity")
    return PriceRow(
        id=values.id_of(obj),
        created=values.time(obj, "created"),
        product=values.reference(obj, "product"),
        nickname=values.said(obj, "nickname", 500),
        currency=values.currency(obj),
        unit_amount_decimal=terms.unit_amount_decimal or "",
        interval=terms.interval,
        interval_count=terms.interval_count,
        usage_type=terms.usage_type if terms.interval else "",
        billing_scheme=terms.billing_scheme,
        tiers_mode=values.said(obj, "tiers_mode", 20),
        tiers=tiers if isinstance(tiers, list) else None,
        transform_quantity=packed if isinstance(packed, dict) else None,
        is_active=obj.get("active") is not False,
        currency_options=_currency_options(obj.get("currency_options")),
    )


def _currency_options(options: Any) -> dict[str, dict[str, Any]] | None:
    """What a price costs in each currency: its exact amount (None if it has none) and its tiers, if they travelled."""
    if not isinstance(options, dict):
        return None
    found: dict[str, dict[str, Any]] = {}
    for code, option in options_of(options):
        found[code] = {"unit_amount_decimal": unit_amount(option)}
        if isinstance(option.get("tiers"), list):
            found[code]["tiers"] = option["tiers"]
    return found


def product(obj: Json) -> ProductRow:
    """Read a product; raises LayoutError."""
    return ProductRow(
        values.id_of(obj), values.time(obj, "created"), values.said(obj, "name", 500), obj.get("active") is not False
    )


def options_of(options: Json) -> list[tuple[str, dict[str, Any]]]:
    return [(code.lower(), option) for code, option in sorted(options.items()) if isinstance(option, dict)]
