"""Whose balance changes by the clock alone: a discount ends, a cutoff passes, and no event says so."""

from __future__ import annotations

from datetime import datetime

from mrr.models import CustomerBalance


def due_by_the_clock(*, now: datetime, limit: int) -> list[int]:
    """Return the keys of at most `limit` customers whose balance the clock has changed, the longest due first."""
    rows = CustomerBalance.objects.filter(clock_at__lte=now).order_by("clock_at", "customer_id")
    return sorted(set(rows.values_list("customer_id", flat=True)[:limit]))
