"""Tells machines how we are: /healthz, /readyz and /metrics. No login, no names, no money."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.core.cache import cache
from django.db import DatabaseError
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from billing.models import StripeEvent
from config.due import Health, health
from crm.models import Message, SyncRecord

COUNTS_LAST_SECONDS = 15

Counts = tuple[dict[tuple[str, ...], int], dict[tuple[str, ...], int]]


@login_not_required
@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    """Say that this process answers."""
    return HttpResponse("ok\n", content_type="text/plain")


@login_not_required
@require_safe
@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    """Say whether the database is reachable, the oldest due work young and the workers beating; 503 when not."""
    try:
        found = health(now=timezone.now())
    except DatabaseError:
        return JsonResponse({"ready": False, "database": False}, status=503)
    answer = {
        "ready": found.is_ready,
        "database": True,
        "oldest_due_seconds": round(found.oldest_due_seconds, 1),
        "workers_beat_seconds_ago": None if found.beat_seconds is None else round(found.beat_seconds, 1),
    }
    return JsonResponse(answer, status=200 if found.is_ready else 503)


@login_not_required
@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Return the same and the counts by state as Prometheus text."""
    registry = CollectorRegistry()
    registry.register(_Ledger(timezone.now()))
    return HttpResponse(generate_latest(registry), content_type="text/plain; version=0.0.4; charset=utf-8")


class _Ledger(Collector):
    def __init__(self, now: datetime) -> None:
        self.now = now

    def collect(self) -> Iterable[Metric]:
        try:
            found = health(now=self.now)
            events, outbox = _counts()
        except DatabaseError:
            yield GaugeMetricFamily("ledger_database_up", "1 when the database answers", value=0)
            return
        yield GaugeMetricFamily("ledger_database_up", "1 when the database answers", value=1)
        yield GaugeMetricFamily("ledger_ready", "1 when /readyz says 200", value=int(found.is_ready))
        yield _ages(found)
        yield _by_state("ledger_events", "Stripe events by state", ["state"], events)
        yield _by_state("ledger_outbox", "Outgoing work by kind and state", ["kind", "state"], outbox)


def _ages(found: Health) -> Metric:
    family = GaugeMetricFamily("ledger_age_seconds", "Age of the oldest due work, and of the last beat", labels=["of"])
    family.add_metric(["inbox"], found.inbox_seconds or 0.0)
    family.add_metric(["fetches"], found.fetches_seconds or 0.0)
    family.add_metric(["outbox"], found.outbox_seconds or 0.0)
    if found.beat_seconds is not None:
        family.add_metric(["worker_beat"], found.beat_seconds)
    return family


def _by_state(name: str, text: str, labels: list[str], counts: dict[tuple[str, ...], int]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, count in sorted(counts.items()):
        family.add_metric(list(key), count)
    return family


def _counts() -> Counts:
    """Counting walks through whole tables: a scraper that asks each second gets the answer of some seconds ago."""
    counts: Counts | None = cache.get("metrics-counts")
    if counts is None:
        counts = (
            {(state,): total for state, total in _totals(StripeEvent.objects.all(), "state")},
            {(kind, state): total for kind, state, total in _totals(SyncRecord.objects.all(), "kind", "state")}
            | {(channel, state): total for channel, state, total in _totals(Message.objects.all(), "channel", "state")},
        )
        cache.set("metrics-counts", counts, COUNTS_LAST_SECONDS)
    return counts


def _totals(rows: QuerySet[Any], *fields: str) -> Iterable[tuple[Any, ...]]:
    return rows.values_list(*fields).annotate(Count("id")).order_by()
