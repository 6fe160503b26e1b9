"""The exchange rates that people gave: what is kept, what was closed with them, and taking them away."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import date, datetime, timedelta
from typing import Final

from django.conf import settings

from mrr import fx
from mrr.engine.rates import Origin
from mrr.models import FrozenRates, Rate

REACH: Final = timedelta(days=7)  # a day's rate counts for so long where no newer one is known

Key = tuple[date, str]
"""The day, and the currency that is quoted against the reporting one."""


def rates(keys: Iterable[Key]) -> dict[Key, str]:
    """Return the rate of each of these, decimal text as it was given; those without one are left out."""
    return {key: rate for key, (_, rate) in _rates(keys).items()}


def remove(keys: Collection[Key]) -> None:
    """Take rates away and convert anew what they touched; months that are closed keep theirs."""
    if keys:
        fx.remove([pk for pk, _ in _rates(keys).values()])


def closed_with(days: Iterable[date], *, since: datetime) -> date | None:
    """Return the first month that rates of these days reach and that was closed since a moment, None without one."""
    months = {day.replace(day=1) for day in (end for day in days for end in (day, day + REACH))}
    closed = FrozenRates.objects.filter(frozen_at__gte=since).order_by("month").values_list("month", flat=True)
    return next((month for month in closed if month in months), None)


def _rates(keys: Iterable[Key]) -> dict[Key, tuple[int, str]]:
    wanted = set(keys)
    if not wanted:
        return {}
    days = {day for day, _ in wanted}
    rows = Rate.objects.filter(
        day__gte=min(days), day__lte=max(days), origin=Origin.MANUAL, against=settings.REPORTING_CURRENCY
    )
    told = rows.values_list("pk", "day", "currency", "rate")
    found = {(day, currency): (pk, rate) for pk, day, currency, rate in told}
    return {key: found[key] for key in wanted & found.keys()}
