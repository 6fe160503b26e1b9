"""What every page says when something is down, behind, incomplete or in shadow: one line each, the worst first."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import QuerySet
from django.urls import reverse

from billing import selectors as billing
from crm import selectors as crm
from dashboard import formats
from dashboard.models import JobRun
from dashboard.parts import Band

# `serve` asks for a beat every 10 s, the scheduler each minute; a drain may go before.
SILENT: Final = timedelta(minutes=3)
BEHIND: Final = timedelta(minutes=1)
BEAT: Final = "beat"


def last_beat() -> QuerySet[Any, Any]:
    """Return when a worker last ran the task that only shows that tasks run, to be read within another query."""
    return JobRun.objects.filter(name=BEAT).values("went_well_at")


def bands(inbox: billing.InboxPulse, waiting: crm.CrmPulse, *, now: datetime, is_test: bool) -> list[Band]:
    """Return what is to be said on every page. Of test data only what concerns all: that nothing is worked on."""
    health = reverse("dashboard:health")
    found = []
    if inbox.beat_at and now - inbox.beat_at > SILENT:
        silence = _since(inbox.beat_at, now)
        text = f"No worker has taken a task for {silence}. Events are kept; figures are those of before."
        found.append(Band("danger", "heartbeat", "Nothing is worked on.", text, "Health", health))
    if is_test:
        return found
    if inbox.oldest_due_at and now - inbox.oldest_due_at > BEHIND:
        events = f"{formats.count(inbox.waiting)} event{' waits' if inbox.waiting == 1 else 's wait'}"
        text = f"{events}, the oldest for {_since(inbox.oldest_due_at, now)}. Figures are those of before."
        found.append(Band("warn", "clock", "Behind.", text, "Health", health))
    if inbox.parked or waiting.is_incomplete:
        found.append(_incomplete(inbox.parked, health))
    if waiting.mode == "shadow":
        text = "Everything is recorded as it would be sent; nothing is written to Salesforce."
        found.append(Band("shadow", "eye", "Shadow.", text, "What would be sent", reverse("dashboard:sync")))
    return found


def not_said(found: Iterable[Band], said: Iterable[Band]) -> list[Band]:
    """Leave out what the page says by itself, and more exactly."""
    titles = {band.title for band in said}
    return [band for band in found if band.title not in titles]


def _incomplete(parked: int, health: str) -> Band:
    if parked:
        text = f"{formats.count(parked)} event{' is' if parked == 1 else 's are'} parked and not in the figures."
        return Band("warn", "circle-minus", "MRR is incomplete.", text, "Health", health)
    text = "Subscription items without a known price count as nothing until it is read from Stripe."
    return Band("warn", "hourglass", "MRR is incomplete.", text, "Health", health)


def _since(at: datetime, now: datetime) -> str:
    return formats.age(int((now - at).total_seconds()))
