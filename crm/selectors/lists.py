"""What several lists share: cutting a page at its place, counting inside a query, who stands behind a figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Count, QuerySet, Value


def cut(found: list[Any], limit: int, after: Any, before: Any) -> tuple[list[Any], Any, Any]:
    """Return the rows of a page in order, and the first and last of them where the list goes on beyond.

    `found` holds one row more than the page if there is one, and comes backwards when the page leads up to a place.
    """
    goes_on, rows = len(found) > limit, found[:limit]
    if before is not None:
        rows.reverse()
    has_earlier = goes_on if before is not None else after is not None
    has_later = True if before is not None else goes_on
    return rows, rows[0] if rows and has_earlier else None, rows[-1] if rows and has_later else None


def counted(rows: QuerySet[Any]) -> QuerySet[Any, Any]:
    """Count rows inside another query."""
    found: QuerySet[Any, Any] = rows.order_by().annotate(one=Value(1)).values("one").annotate(count=Count("pk"))
    return found.values("count")


@dataclass(frozen=True, slots=True)
class Largest:
    """The customer that stands for a list: the one with the most MRR in a currency."""

    customer_pk: int
    customer_id: str
    name: str
    micros: int


def largest_of(rows: QuerySet[Any], currency: str) -> Largest | None:
    found = (
        rows.filter(customer__balances__currency=currency, customer__balances__mrr_micros__gt=0)
        .order_by("-customer__balances__mrr_micros", "customer_id")
        .values_list("customer_id", "customer__stripe_id", "customer__name", "customer__balances__mrr_micros")
        .first()
    )
    return Largest(*found) if found else None


@dataclass(frozen=True, slots=True)
class Member:
    """One customer of a list behind a figure, and its exact part of it."""

    customer_pk: int
    customer_id: str
    name: str
    micros: int


def members_of(rows: QuerySet[Any], currency: str) -> list[Member]:
    found = rows.filter(customer__balances__currency=currency, customer__balances__mrr_micros__gt=0).order_by(
        "-customer__balances__mrr_micros", "customer_id"
    )
    return [
        Member(*row)
        for row in found.values_list(
            "customer_id", "customer__stripe_id", "customer__name", "customer__balances__mrr_micros"
        )
    ]
