"""What the mirror knows about customers, as frozen rows: who they are, what they hold, owe, dispute and paid."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.db.models import F, Q, QuerySet, Window
from django.db.models.functions import RowNumber

from billing.models import Charge, Customer, Dispute, Invoice, Product, Refund, Snapshot, Subscription

COUNTED = ("active", "past_due")
UNCOLLECTED = ("void", "mark_uncollectible")
DISPUTE_OPEN = ("needs_response", "under_review", "appeal_needs_response", "appeal_under_review")


@dataclass(frozen=True, slots=True)
class CustomerRow:
    """A customer as Stripe told it last. Holds personal data."""

    pk: int
    source_pk: int
    source_slug: str
    source_label: str
    livemode: bool
    stripe_id: str
    name: str
    email: str
    phone: str
    metadata: Mapping[str, Any]
    country: str
    postal_code: str
    created_at: datetime | None
    deleted_at: datetime | None


@dataclass(frozen=True, slots=True)
class SubscriptionRow:
    """A subscription as it stands. `ends_at` is its scheduled end, None without one."""

    stripe_id: str
    customer_pk: int
    status: str
    currency: str
    pause_behavior: str
    items: Sequence[Mapping[str, Any]]
    metadata: Mapping[str, Any]
    started_at: datetime | None
    trial_end_at: datetime | None
    current_period_end_at: datetime | None
    ends_at: datetime | None
    canceled_at: datetime | None
    ended_at: datetime | None
    feedback: str
    version_at: datetime | None

    @property
    def is_counted(self) -> bool:
        """It has MRR: paying or past due, and its invoices are collected."""
        return self.status in COUNTED and self.pause_behavior not in UNCOLLECTED

    @property
    def is_past_due(self) -> bool:
        return self.status == "past_due"

    @property
    def is_annual(self) -> bool:
        """At least one item is billed every 12 months or longer."""
        return any(
            (item.get("interval") == "year")
            or (item.get("interval") == "month" and item.get("interval_count", 1) >= 12)
            for item in self.items
        )


@dataclass(frozen=True, slots=True)
class InvoiceRow:
    customer_pk: int
    stripe_id: str
    number: str
    status: str
    currency: str
    collection_method: str
    remaining_minor: int
    paid_minor: int
    attempts: int
    next_attempt_at: datetime | None
    last_failed_at: datetime | None
    created_at: datetime | None
    due_at: datetime | None
    paid_at: datetime | None
    subscription_id: str

    @property
    def name(self) -> str:
        return self.number or self.stripe_id


@dataclass(frozen=True, slots=True)
class DisputeRow:
    customer_pk: int
    amount_minor: int
    currency: str
    reason: str
    created_at: datetime | None


@dataclass(frozen=True, slots=True)
class RefundRow:
    customer_pk: int
    amount_minor: int
    currency: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NamedCustomer:
    """A customer that an id from Stripe stands for; several sources may know the same id."""

    pk: int
    source_slug: str
    livemode: bool


@dataclass(frozen=True, slots=True)
class NamedObject:
    """A subscription or an invoice, and the customer it belongs to."""

    stripe_id: str
    status: str
    customer_pk: int
    customer_id: str


Pks = Collection[int] | None  # None: all customers of live sources


def customers_named(stripe_ids: Collection[str]) -> dict[str, list[NamedCustomer]]:
    """Return whom ids from Stripe stand for, in all sources; unknown ids are left out. One query."""
    rows = Customer.objects.filter(stripe_id__in=stripe_ids).order_by("pk")
    found: dict[str, list[NamedCustomer]] = {}
    for stripe_id, pk, slug, livemode in rows.values_list("stripe_id", "pk", "source__slug", "source__livemode"):
        found.setdefault(stripe_id, []).append(NamedCustomer(pk, slug, livemode))
    return found


def customers(pks: Collection[int]) -> dict[int, CustomerRow]:
    """Return customers by our key; unknown keys are left out."""
    rows = Customer.objects.filter(pk__in=pks).select_related("source")
    return {
        row.pk: CustomerRow(
            row.pk,
            row.source_id,
            row.source.slug,
            row.source.label or row.source.slug,
            row.source.livemode,
            row.stripe_id,
            row.name,
            row.email,
            row.phone,
            row.metadata or {},
            row.country,
            row.postal_code,
            row.created_at,
            row.deleted_at,
        )
        for row in rows
    }


def names_by_email(emails: Collection[str]) -> dict[str, dict[int, str]]:
    """Return who pays by an e-mail: for each of the addresses, as Stripe has it, names of live customers by our key."""
    rows = Customer.objects.filter(email__in=emails, source__livemode=True, deleted_at=None).exclude(name="")
    found: dict[str, dict[int, str]] = {}
    for pk, email, name in rows.values_list("pk", "email", "name"):
        found.setdefault(email, {})[pk] = name
    return found


def customer_pks(source_pks: Collection[int] | None = None) -> list[int]:
    """Return the keys of all customers, or of those of these sources, ascending."""
    rows = Customer.objects.all() if source_pks is None else Customer.objects.filter(source_id__in=source_pks)
    return list(rows.order_by("pk").values_list("pk", flat=True))


def next_customer_pks(*, after: int, limit: int, source_pk: int | None = None) -> list[int]:
    """Return the next keys of all customers, or of one source's, ascending: to go through them in slices."""
    rows = Customer.objects.filter(pk__gt=after)
    if source_pk is not None:
        rows = rows.filter(source_id=source_pk)
    return list(rows.order_by("pk").values_list("pk", flat=True)[:limit])


def customers_by_stripe_id(stripe_id: str, *, source_pks: Collection[int] | None = None) -> list[CustomerRow]:
    """Return the customers of this id: none, one, or one of each source that knows it."""
    rows = Customer.objects.filter(stripe_id=stripe_id)
    if source_pks is not None:
        rows = rows.filter(source_id__in=source_pks)
    found = customers(list(rows.values_list("pk", flat=True)))
    return sorted(found.values(), key=lambda row: row.source_slug)


def customers_matching(search: str, *, sources: Collection[int]) -> QuerySet[Any, Any]:
    """Return, to be used inside another query, the keys of customers with this text in name, e-mail or id."""
    rows = Customer.objects.filter(source_id__in=sources)
    named = Q(name__icontains=search) | Q(email__icontains=search) | Q(stripe_id__icontains=search)
    return rows.filter(named).values("pk")


def customers_searched(search: str, *, by_name: bool, sources: Collection[int], limit: int) -> list[CustomerRow]:
    """Return customers with this id, and with `by_name` those with this text in name or e-mail, in order of name."""
    rows = Customer.objects.filter(source_id__in=sources)
    fits = Q(stripe_id=search)
    if by_name:
        fits |= Q(name__icontains=search) | Q(email__icontains=search)
    pks = list(rows.filter(fits).order_by("name", "pk").values_list("pk", flat=True)[:limit])
    found = customers(pks)
    return [found[pk] for pk in pks if pk in found]


def named_objects(stripe_id: str, *, sources: Collection[int]) -> list[NamedObject]:
    """Return the subscription or invoice of this id, one of each source that knows it. One query, by an index."""
    model = Invoice if stripe_id.startswith("in_") else Subscription
    rows = model._default_manager.filter(source_id__in=sources, stripe_id=stripe_id)
    told = rows.values_list("stripe_id", "status", "customer_id", "customer__stripe_id")
    return [NamedObject(*row) for row in told]


def in_test_mode(pks: Collection[int]) -> set[int]:
    """Return those of these customers that belong to test sources."""
    return set(Customer.objects.filter(pk__in=pks, source__livemode=False).values_list("pk", flat=True))


def subscriptions_of(pks: Pks, *, counted_only: bool = False) -> dict[int, list[SubscriptionRow]]:
    """Return the subscriptions of customers, oldest first."""
    rows = _of(Subscription.objects.filter(version_at__isnull=False), pks).order_by("pk")
    if counted_only:
        rows = rows.filter(status__in=COUNTED)
    found: dict[int, list[SubscriptionRow]] = {}
    for row in rows:
        ends_at = row.cancel_at or (row.current_period_end_at if row.cancel_at_period_end else None)
        found.setdefault(row.customer_id, []).append(
            SubscriptionRow(
                row.stripe_id,
                row.customer_id,
                row.status,
                row.currency,
                row.pause_behavior,
                row.items,
                row.metadata or {},
                row.started_at,
                row.trial_end_at,
                row.current_period_end_at,
                ends_at,
                row.canceled_at,
                row.ended_at,
                row.cancellation_feedback,
                row.version_at,
            )
        )
    return found


def subscription(source_pk: int, stripe_id: str) -> SubscriptionRow | None:
    """Return one subscription by Stripe's id, None when nothing is known of it."""
    owner = Subscription.objects.filter(source_id=source_pk, stripe_id=stripe_id).values_list("customer_id", flat=True)
    rows = subscriptions_of(list(owner))
    return next((row for held in rows.values() for row in held if row.stripe_id == stripe_id), None)


def open_invoices_of(pks: Pks) -> dict[int, list[InvoiceRow]]:
    """Return the invoices of customers that still ask for money, oldest first."""
    rows = _of(Invoice.objects.filter(status="open", amount_remaining_minor__gt=0), pks).order_by("created_at", "pk")
    return _grouped(_invoice(row) for row in rows)


def invoices_of(pks: Collection[int], *, limit: int = 100) -> dict[int, list[InvoiceRow]]:
    """Return the invoices of customers, the newest `limit` of them all, newest first; deleted drafts left out."""
    rows = Invoice.objects.filter(customer_id__in=pks, version_at__isnull=False).exclude(status="deleted")
    return _grouped(_invoice(row) for row in rows.order_by("-created_at", "-pk")[:limit])


def product_names(source_pks: Collection[int], product_ids: Collection[str]) -> dict[tuple[int, str], str]:
    """Return the names of products by source and Stripe's id; those without a known name are left out."""
    rows = Product.objects.filter(source_id__in=source_pks, stripe_id__in=product_ids).exclude(name="")
    return {
        (source_pk, stripe_id): name
        for source_pk, stripe_id, name in rows.values_list("source_id", "stripe_id", "name")
    }


def countries(source_pks: Collection[int]) -> list[str]:
    """Return the countries of customers' addresses, two capitals each, "" where some have none."""
    rows = Customer.objects.filter(source_id__in=source_pks).values_list("country", flat=True)
    return sorted(rows.order_by().distinct())


def last_payments_of(pks: Pks) -> dict[int, InvoiceRow]:
    """Return the latest invoice that each customer paid."""
    rows = _of(Invoice.objects.filter(paid_at__isnull=False, amount_paid_minor__gt=0), pks)
    return {row.customer_id: _invoice(row) for row in _latest(rows, "paid_at")}


def open_disputes_of(pks: Pks) -> dict[int, list[DisputeRow]]:
    """Return the disputes of customers that are not decided; inquiries are no loss and left out."""
    rows = _of(Dispute.objects.filter(status__in=DISPUTE_OPEN), pks).order_by("pk")
    return _grouped(
        DisputeRow(row.customer_id, row.amount_minor, row.currency, row.reason, row.created_at)
        for row in rows
        if row.customer_id is not None
    )


def refunds_of(pks: Pks, *, since: datetime) -> dict[int, list[RefundRow]]:
    """Return the refunds of customers since a moment, those that failed left out."""
    rows = _of(Refund.objects.filter(created_at__gte=since).exclude(status__in=("failed", "canceled")), pks)
    return _grouped(
        RefundRow(row.customer_id, row.amount_minor, row.currency, row.created_at)
        for row in rows.order_by("created_at", "pk")
        if row.customer_id is not None and row.created_at is not None
    )


def card_expiries_of(pks: Pks, *, since: datetime) -> dict[int, date]:
    """Return the last day of the card that each customer paid with last, of payments since a moment."""
    rows = _of(Charge.objects.filter(status="succeeded", created_at__gte=since), pks)
    latest = _latest(rows, "created_at")
    return {row.customer_id: row.card_expires_on for row in latest if row.customer_id and row.card_expires_on}


def states_since(subscription_ids: Collection[str]) -> dict[str, datetime]:
    """Return since when each subscription has had its present status and pause.

    It is the first of the unbroken run of snapshots, at the end of what we know, that agree in both.
    """
    since: dict[str, datetime] = {}
    held: dict[str, tuple[Any, Any]] = {}
    rows = Snapshot.objects.filter(subscription_id__in=subscription_ids).order_by("created_at", "pk")
    for subscription_id, created_at, state in rows.values_list("subscription_id", "created_at", "state"):
        now = state.get("status"), state.get("pause_behavior")
        if held.get(subscription_id) != now:
            since[subscription_id], held[subscription_id] = created_at, now
    return since


def _of(rows: QuerySet[Any], pks: Pks) -> QuerySet[Any]:
    if pks is None:
        return rows.filter(customer__source__livemode=True)
    return rows.filter(customer_id__in=pks)


def _latest(rows: QuerySet[Any], by: str) -> QuerySet[Any]:
    """Of each customer the one row with the newest time."""
    newest = Window(
        RowNumber(), partition_by=[F("customer_id")], order_by=[F(by).desc(nulls_last=True), F("pk").desc()]
    )
    return rows.filter(~Q(customer_id=None)).annotate(place=newest).filter(place=1)


def _grouped(rows: Any) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for row in rows:
        found.setdefault(row.customer_pk, []).append(row)
    return found


def _invoice(row: Invoice) -> InvoiceRow:
    return InvoiceRow(
        row.customer_id,
        row.stripe_id,
        row.number,
        row.status,
        row.currency,
        row.collection_method,
        row.amount_remaining_minor,
        row.amount_paid_minor,
        row.attempt_count,
        row.next_payment_attempt_at,
        row.last_failed_at,
        row.created_at,
        row.due_at,
        row.paid_at,
        row.subscription_id,
    )
