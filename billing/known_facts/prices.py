"""What a price costs in a currency: what events do not carry, tiers and other currencies' amounts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from billing.facts import PriceTerms, Tier
from billing.known_facts.rows import Key, rows_of
from billing.models import Price

if TYPE_CHECKING:
    from billing.known_facts.asked import Asked


@dataclass(frozen=True, slots=True)
class KnownPrice:
    product: str
    currency: str
    unit_amount: str | None
    interval: str
    interval_count: int
    usage_type: str
    billing_scheme: str
    tiers_mode: str | None
    tiers: list[dict[str, Any]] | None
    transform: dict[str, Any]
    options: dict[str, dict[str, Any]]

    def terms(self, currency: str) -> PriceTerms | None:
        """What it costs in a currency; None while that is not known."""
        option = self.options.get(currency, {})
        tiers = self.tiers if currency == self.currency and self.tiers is not None else option.get("tiers")
        if self.billing_scheme == "tiered":
            return PriceTerms(None, self.tiers_mode, tuple([_tier(tier) for tier in tiers])) if tiers else None
        if currency == self.currency:
            return PriceTerms(self.unit_amount)
        return PriceTerms(option.get("unit_amount_decimal")) if option else None


def _tier(tier: Mapping[str, Any]) -> Tier:
    return Tier(tier.get("up_to"), _exact(tier, "unit_amount"), _exact(tier, "flat_amount"))


def _exact(tier: Mapping[str, Any], name: str) -> str:
    found = tier.get(f"{name}_decimal")
    if found is None:
        found = tier.get(name)
    return "0" if found is None else str(found)


def prices_of(asked: Iterable[Asked]) -> dict[Key, KnownPrice]:
    keys = {(each.asker.source_pk, price_id) for each in asked for price_id in each.prices}
    names = (
        "product_id",
        "currency",
        "unit_amount_decimal",
        "interval",
        "interval_count",
        "usage_type",
        "billing_scheme",
        "tiers_mode",
        "tiers",
        "transform_quantity",
        "currency_options",
    )
    return {row[0]: _price(*row[1:]) for row in rows_of(Price, "stripe_id", keys, names)}


def _price(
    product: str,
    currency: str,
    unit_amount: str,
    interval: str,
    interval_count: int,
    usage_type: str,
    billing_scheme: str,
    tiers_mode: str,
    tiers: str | None,
    transform: str | None,
    options: str | None,
) -> KnownPrice:
    return KnownPrice(
        product,
        currency,
        unit_amount or None,
        interval,
        interval_count,
        usage_type or "licensed",
        billing_scheme,
        tiers_mode or None,
        json.loads(tiers) if tiers else None,
        json.loads(transform) if transform else {},
        json.loads(options) if options else {},
    )
