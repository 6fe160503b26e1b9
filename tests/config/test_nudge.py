"""Nudges coalesce; drains share lanes; the watchdog believes only what gets done."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from billing.models import StripeEvent, StripeSource
from config import due, nudge, pipeline, tasks, watchdog

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_thousand_nudges_make_one_task_at_once_and_one_later(monkeypatch: pytest.MonkeyPatch) -> None:
    enqueued: list[float] = []
    monkeypatch.setattr(nudge, "enqueue", lambda lane: enqueued.append(time.monotonic()))
    monkeypatch.setattr(nudge, "INTERVAL_SECONDS", 0.2)
    nudger = nudge._Nudger("inbox")

    started = time.monotonic()
    for _ in range(1000):
        nudger.nudge()
    time.sleep(0.5)

    assert 1 <= len(enqueued) <= 2
    assert enqueued[0] - started < 0.15


def test_a_broker_that_fails_costs_the_caller_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("the broker is away")

    monkeypatch.setattr("django_q.tasks.async_task", fail)

    assert nudge.enqueue("inbox") is False


def test_a_lane_is_taken_by_one_drain_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with tasks._a_lane("inbox") as first, tasks._a_lane("inbox") as second:
        assert (first, second) == (True, False)
    with tasks._a_lane("inbox") as again:
        assert again


def test_a_drain_lingers_for_what_comes_just_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "LINGER_SECONDS", 0.3)
    waiting = [1]
    threading.Timer(0.15, lambda: waiting.append(1)).start()

    done = tasks._drain("outbox", lambda now: waiting.pop(), lambda now: bool(waiting))

    assert done == 2


@pytest.mark.django_db
def test_draining_the_inbox_nudges_the_outbox(monkeypatch: pytest.MonkeyPatch) -> None:
    nudged: list[str] = []
    monkeypatch.setattr(tasks, "nudge", nudged.append)
    monkeypatch.setattr(pipeline, "drain_inbox", lambda now: pipeline.Drained(events=3))

    assert tasks._inbox_batch(NOW) == 3
    assert nudged == ["outbox"]


@pytest.mark.django_db
def test_work_that_is_due_and_does_not_move_restarts_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    _an_event(due_at=timezone.now() - timedelta(seconds=50))
    tasks.beat()
    now = time.time()

    assert watchdog.Watchdog(started=now - 100).reason_to_restart(now + 45) is not None
    assert watchdog.Watchdog(started=now - 30).reason_to_restart(now) is None  # a fresh cluster gets its time


@pytest.mark.django_db
def test_work_that_moves_is_left_alone_however_old(monkeypatch: pytest.MonkeyPatch) -> None:
    _an_event(due_at=timezone.now() - timedelta(hours=2))
    tasks.beat()
    tasks.marks.progressed()

    assert watchdog.Watchdog(started=time.time() - 100).reason_to_restart(time.time()) is None


@pytest.mark.django_db
def test_restarts_that_do_not_help_come_more_seldom() -> None:
    dog = watchdog.Watchdog(started=0)

    dog.restart(1000.0)
    dog.restart(2000.0)

    assert dog.patience == 160.0
    assert tasks.marks.take_restart()
    assert not tasks.marks.take_restart()


@pytest.mark.django_db
def test_health_is_the_age_of_the_oldest_due_work() -> None:
    _an_event(due_at=NOW - timedelta(seconds=90))

    found = due.health(now=NOW)

    assert found.inbox_seconds == 90.0
    assert found.outbox_seconds is None
    assert found.is_young
    assert not found.is_ready  # no worker beats


def _an_event(*, due_at: datetime) -> StripeEvent:
    source = StripeSource.objects.create(slug="main", label="Main")
    return StripeEvent.objects.create(
        source=source,
        stripe_id="evt_1",
        type="customer.created",
        body=b"{}",
        body_sha256="0" * 64,
        received_at=due_at,
        due_at=due_at,
    )
