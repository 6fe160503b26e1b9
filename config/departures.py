"""Tells finance once when the last closed month is no longer what was signed, and once when it is again."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from crm import alerts
from dashboard import formats
from mrr import departures
from mrr.engine.money import shown
from mrr.models import Departure


def watch(*, now: datetime) -> bool:
    """Look at the last closed month; where its state changed, owe the mail about it. Returns whether one is owed."""
    with transaction.atomic():
        found = departures.look(now=now)
        if found is None:
            return False
        title, text = words(found)
        month, key = f"{found.close.month:%Y-%m}", f"{found.close.number}:{found.pk}"
        return bool(alerts.departed(key, to=departures.rule().addresses, title=title, text=text, month=month, now=now))


def words(found: Departure) -> tuple[str, str]:
    """Return title and text of the mail: amounts only, for a mail is read where no role is asked."""
    month = formats.month(found.close.month, long=True)
    signed, restated = (
        formats.money(shown(micros), found.currency) for micros in (found.signed_micros, found.restated_micros)
    )
    if not found.departs:
        return f"{month} is as signed again", f"It closed with {signed}, and comes to {restated} by now."
    change = formats.money(shown(found.restated_micros) - shown(found.signed_micros), found.currency, signed=True)
    text = (
        f"{signed} was signed as closing MRR of {month}. With what was learned since it comes to {restated}, {change}. "
        "The closed month stays as it was; the next one carries the difference. The page lists the entries."
    )
    return f"{month} departs from what was signed: {change}", text
