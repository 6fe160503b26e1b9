"""Customers with their MRR now, the largest first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from django.conf import settings
from django.db.models import Case, IntegerField, Q, Value, When

from billing import selectors as billing
from mrr.engine.money import shown
from mrr.models import CustomerBalance
from mrr.selectors.scope import sources_or_live
from mrr.selectors.segment import Segment, of_customers


@dataclass(frozen=True, slots=True)
class Balance:
    """A customer's MRR now in one currency, and what it began with."""

    customer_pk: int
    currency: str
    mrr_micros: int
    scheduled_micros: int
    incomplete_items: int
    first_paid_at: datetime | None
    cohort_month: date | None
    acquired_micros: int
    last_movement_at: datetime | None

    @property
    def mrr_minor(self) -> int:
        return shown(self.mrr_micros)

    @property
    def arr_micros(self) -> int:
        return 12 * self.mrr_micros

    @property
    def arr_minor(self) -> int:
        return shown(self.arr_micros)

    @property
    def cmrr_micros(self) -> int:
        return self.mrr_micros + self.scheduled_micros

    @property
    def cmrr_minor(self) -> int:
        return shown(self.cmrr_micros)

    @property
    def is_paying(self) -> bool:
        return self.mrr_micros > 0


@dataclass(frozen=True, slots=True)
class CustomerRow:
    """One line of the list of customers: a customer with its balance in one currency."""

    pk: int
    source: str
    customer_id: str
    name: str
    email: str
    balance: Balance


@dataclass(frozen=True, slots=True)
class CustomerPlace:
    """A place in the list of customers. `rank` is 0 for the reporting currency, else 1."""

    rank: int
    currency: str
    mrr_micros: int
    pk: int


@dataclass(frozen=True, slots=True)
class CustomerPage:
    """Customers, the largest MRR first, and the place after the last, None at the end."""

    customers: tuple[CustomerRow, ...]
    following: CustomerPlace | None


def balances(customer_pks: Iterable[int]) -> dict[int, list[Balance]]:
    """Return the balances of customers, largest first; a customer that never had any has an empty list."""
    pks = list(customer_pks)
    found: dict[int, list[Balance]] = {pk: [] for pk in pks}
    for row in CustomerBalance.objects.filter(customer_id__in=pks).order_by("-mrr_micros", "currency"):
        found[row.customer_id].append(_balance(row))
    return found


def paying_customers(sources: Sequence[int] | None = None) -> dict[int, list[Balance]]:
    """Return the balances of all customers that pay now, by customer."""
    found: dict[int, list[Balance]] = {}
    for row in CustomerBalance.objects.filter(source_id__in=sources_or_live(sources), mrr_micros__gt=0).order_by(
        "-mrr_micros", "currency"
    ):
        found.setdefault(row.customer_id, []).append(_balance(row))
    return found


def customers(
    *,
    limit: int,
    after: CustomerPlace | None = None,
    search: str = "",
    searches_people: bool = True,
    currency: str | None = None,
    is_paying: bool | None = None,
    sources: Sequence[int] | None = None,
    segment: Segment | None = None,
) -> CustomerPage:
    """Return customers that ever had MRR, largest first: those of the reporting currency, then by currency.

    `search` looks in name, e-mail and id, in the id alone unless `searches_people`: a hit by name would tell the name.
    `is_paying` keeps those that pay now, or those that no longer do; `segment` those that are in it.
    """
    kept = sources_or_live(sources)
    listed = CustomerBalance.objects.filter(of_customers(segment), source_id__in=kept, cohort_month__isnull=False)
    rows = listed.annotate(
        rank=Case(When(currency=settings.REPORTING_CURRENCY, then=0), default=Value(1), output_field=IntegerField())
    )
    if currency:
        rows = rows.filter(currency=currency)
    if is_paying is not None:
        rows = rows.filter(mrr_micros__gt=0) if is_paying else rows.filter(mrr_micros=0)
    if search and searches_people:
        rows = rows.filter(customer_id__in=billing.customers_matching(search, sources=kept))
    elif search:
        rows = rows.filter(customer__stripe_id__icontains=search)
    if after is not None:
        rows = rows.filter(
            Q(rank__gt=after.rank)
            | Q(rank=after.rank, currency__gt=after.currency)
            | Q(rank=after.rank, currency=after.currency, mrr_micros__lt=after.mrr_micros)
            | Q(rank=after.rank, currency=after.currency, mrr_micros=after.mrr_micros, pk__gt=after.pk)
        )
    # The places come first: sorting whole rows with their customers would cost many times as much.
    rows = rows.order_by("rank", "currency", "-mrr_micros", "pk")
    places = [CustomerPlace(*row) for row in rows.values_list("rank", "currency", "mrr_micros", "pk")[: limit + 1]]
    page = places[:limit]
    return CustomerPage(_rows([place.pk for place in page]), page[-1] if len(places) > limit else None)


def _rows(pks: Sequence[int]) -> tuple[CustomerRow, ...]:
    found = CustomerBalance.objects.select_related("customer", "source").in_bulk(pks)
    rows = [found[pk] for pk in pks]
    return tuple(
        CustomerRow(
            row.customer_id,
            row.source.slug,
            row.customer.stripe_id,
            row.customer.name,
            row.customer.email,
            _balance(row),
        )
        for row in rows
    )


def _balance(row: CustomerBalance) -> Balance:
    return Balance(
        row.customer_id,
        row.currency,
        row.mrr_micros,
        row.scheduled_micros,
        row.incomplete_items,
        row.first_paid_at,
        row.cohort_month,
        row.acquired_micros,
        row.last_movement_at,
    )
