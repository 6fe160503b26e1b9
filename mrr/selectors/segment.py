"""A part of the business that figures can be of: plans, billing intervals, countries, the customers of some owners."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from django.db.models import Q


@dataclass(frozen=True, slots=True)
class Segment:
    """What is in a part of the business; an empty set, or None, does not restrict. All that is set must hold.

    `products` are Stripe ids, "" where no product is known; `intervals` are as `interval_code` writes them;
    `countries` are two capitals as the customer's address has them today, "" where there is none; `customer_pks` are
    the customers of whom else was asked for, as of owners, and `other_pks` those that are not in it. Countries and
    owners are today's.
    """

    products: tuple[str, ...] = ()
    intervals: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    customer_pks: Collection[int] | None = None
    other_pks: Collection[int] = ()

    @property
    def is_of_items(self) -> bool:
        """Say whether it takes a part of a customer: what stands on some plans or intervals alone."""
        return bool(self.products or self.intervals)


def interval_code(interval: str, count: int) -> str:
    """Return the short name of a billing interval: month, year, 3-month; "" where none is known."""
    return interval if count == 1 or not interval else f"{count}-{interval}"


def of_customers(segment: Segment | None, *, customer: str = "customer") -> Q:
    """Return the condition that a row's customer is in a segment's countries and among its customers.

    `customer` is the row's way to its customer.
    """
    found = Q()
    if segment is None:
        return found
    if segment.countries:
        found &= Q(**{f"{customer}__country__in": segment.countries})
    if segment.customer_pks is not None:
        found &= Q(**{f"{customer}_id__in": list(segment.customer_pks)})
    if segment.other_pks:
        found &= ~Q(**{f"{customer}_id__in": list(segment.other_pks)})
    return found
