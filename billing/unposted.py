"""Customers of whom a listing told something new: their ledger is brought in step once the lists are read."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from django.db.models import Q, QuerySet

from billing.models import ListingState, Unposted


def is_due(*, now: datetime) -> bool:
    """Say whether somebody is to be posted now."""
    return _due(now).exists()


def customers(*, now: datetime, limit: int) -> list[int]:
    """Return customers to post, ascending. While lists are read they wait: more may come, and one posting will do."""
    return list(_due(now).order_by("customer_id").values_list("customer_id", flat=True)[:limit])


def take(customer_pks: Collection[int]) -> None:
    """Forget that customers waited; their rows are locked and they are posted in this transaction."""
    Unposted.objects.filter(customer_id__in=customer_pks).delete()


def put_off(customer_pk: int, *, until: datetime) -> None:
    """Leave a customer that could not be posted for later."""
    Unposted.objects.filter(customer_id=customer_pk).update(due_at=until)


def _due(now: datetime) -> QuerySet[Unposted]:
    is_time = Q(due_at__isnull=True) | Q(due_at__lte=now)
    return Unposted.objects.filter(is_time).exclude(listing__state=ListingState.LISTING)
