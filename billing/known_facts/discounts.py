"""What discounts take off, and when a customer had which."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from billing.facts import CustomerDiscount, DiscountTerms
from billing.known_facts.rows import Key, rows_of
from billing.models import CouponTerms, Discount, Needs
from billing.statements import select

if TYPE_CHECKING:
    from billing.known_facts.asked import Asked


@dataclass(frozen=True, slots=True)
class Applied:
    source_pk: int
    id: str
    customer_pk: int | None
    coupon: str
    start: int | None
    end: int | None
    deleted: int | None
    is_of_customer: bool
    first_at: int | None
    first_event: str


@dataclass(frozen=True, slots=True)
class KnownCoupon:
    created: int
    percent: str
    amount: int | None
    currency: str
    duration: str
    applies_to: list[str] | None
    options: dict[str, int] | None

    def terms(self, name: str, start: int | None, end: int | None) -> DiscountTerms:
        amounts = dict(self.options or {})
        if self.amount is not None and self.currency:
            amounts[self.currency] = self.amount
        return DiscountTerms(
            name,
            self.duration,
            self.percent or None,
            tuple(sorted(amounts.items())),
            tuple(self.applies_to) if self.applies_to else None,
            start,
            end,
        )


def created_of(coupon: KnownCoupon) -> int:
    return coupon.created


def applied_of(asked: Sequence[Asked]) -> list[Applied]:
    """Discounts that states name, and those on the customers themselves."""
    names = {name for each in asked for name in each.discounts}
    theirs = {each.asker.pk for each in asked if each.asker.needs & Needs.DISCOUNT}
    wanted: list[dict[str, Collection[Any]]] = []
    if names:
        wanted.append({"source_id": {each.asker.source_pk for each in asked}, "stripe_id": names})
    if theirs:
        wanted.append({"customer_id": theirs})
    if not wanted:
        return []
    columns = (
        "source_id",
        "stripe_id",
        "customer_id",
        "coupon_id",
        "start_at",
        "end_at",
        "deleted_at",
        "is_of_customer",
        "first_at",
        "first_event",
    )
    return sorted(
        [Applied(*row) for row in select(Discount, columns, *wanted)], key=lambda row: (row.start or 0, row.id)
    )


def timeline_of(applied: Sequence[Applied]) -> tuple[CustomerDiscount, ...]:
    """A customer has one discount at a time: the next one takes the place of the one before."""
    found: list[CustomerDiscount] = []
    known = [(each, start) for each in applied if (start := each.start if each.start is not None else each.first_at)]
    for place, (each, start) in enumerate(known):
        ends = [each.deleted] if each.deleted is not None else []
        ends += [later for _, later in known[place + 1 : place + 2]]
        found.append(CustomerDiscount(each.id, start, min(ends, default=None), each.first_event))
    return tuple(found)


def coupons_of(asked: Sequence[Asked], applied: Sequence[Applied]) -> dict[Key, list[KnownCoupon]]:
    keys = {(each.source_pk, each.coupon) for each in applied if each.coupon}
    keys |= {(each.asker.source_pk, name) for each in asked for name in each.coupons}
    names = ("created_at", "percent_off", "amount_off_minor", "currency", "duration", "applies_to", "currency_options")
    found: dict[Key, list[KnownCoupon]] = defaultdict(list)
    for key, created, percent, amount, currency, duration, applies_to, options in rows_of(
        CouponTerms, "coupon_id", keys, names
    ):
        limits = json.loads(applies_to) if applies_to else None
        others = json.loads(options) if options else None
        found[key].append(KnownCoupon(created, percent, amount, currency, duration, limits, others))
    return found
