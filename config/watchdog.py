"""Watches over the workers: sweeps, asks for their heartbeat, and has a stuck cluster restarted.

A killed worker can leave django-q2's queue locked while the cluster looks alive, so only what got done is believed:
work that is due and does not move, or a heartbeat that no worker gives.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import structlog
from django.db import close_old_connections
from django.utils import timezone

from config import due, tasks
from config.nudge import enqueue
from dashboard.imports import working

log = structlog.get_logger(__name__)

LOOK_SECONDS = 2.0
BEAT_SECONDS = 10.0
SWEEP_SECONDS = 30.0
OVERDUE_SECONDS = 40.0
LONGEST_QUEUE = 20


def watch() -> None:
    """Run until killed. What fails (database away, broker away) is logged and tried again."""
    watchdog = Watchdog(started=time.time())
    while True:
        try:
            close_old_connections()
            watchdog.look()
        except Exception as error:  # the database or the broker is away: nothing to judge by
            log.warning("the watchdog could not look", error=str(error))
        time.sleep(LOOK_SECONDS)


@dataclass
class Watchdog:
    """Remembers when it last asked for what; times in seconds since the epoch."""

    started: float
    last_beat_asked: float = 0.0
    last_sweep: float = 0.0
    last_restart: float = 0.0
    patience: float = field(default_factory=lambda: OVERDUE_SECONDS)

    def look(self) -> None:
        now = time.time()
        if now - self.last_beat_asked >= BEAT_SECONDS and _queue_length() < LONGEST_QUEUE:
            self.last_beat_asked = now
            _ask_for_beat()
        if now - self.last_sweep >= SWEEP_SECONDS:
            self.last_sweep = now
            if _queue_length() < LONGEST_QUEUE:
                enqueue("inbox")
                enqueue("outbox")
                if due.is_fetch_due(now=timezone.now()):
                    enqueue("fetches")
                if working.is_due(now=timezone.now()):
                    enqueue("imports")
        if reason := self.reason_to_restart(now):
            log.error("the workers are stuck; restarting them", reason=reason)
            self.restart(now)

    def reason_to_restart(self, now: float) -> str | None:
        """Return why the cluster must be restarted, or None. A fresh one gets time, more if a restart did not help."""
        fresh_since = max(self.started, self.last_restart)
        if max(tasks.marks.progress_at, tasks.marks.beat_at) > self.last_restart:
            self.patience = OVERDUE_SECONDS  # the last restart helped
        if now - fresh_since < self.patience:
            return None
        health = due.health(now=timezone.now())
        moved_at = max(tasks.marks.progress_at, fresh_since)
        if health.oldest_due_seconds > OVERDUE_SECONDS and now - moved_at > OVERDUE_SECONDS:
            return f"work has been due for {health.oldest_due_seconds:.0f} s and nothing moves"
        beat_at = max(tasks.marks.beat_at, tasks.marks.progress_at, fresh_since)
        no_one_beats = health.beat_seconds is None or health.beat_seconds > OVERDUE_SECONDS
        if no_one_beats and now - beat_at > OVERDUE_SECONDS:
            return f"no worker has taken a task for {now - beat_at:.0f} s"
        return None

    def restart(self, now: float) -> None:
        """Ask `serve` for it: only the parent of the cluster may kill its session and start another."""
        self.last_restart = now
        self.last_sweep = 0.0  # the new cluster is told of the work at the next look
        self.patience = min(2 * self.patience, 600.0)
        tasks.marks.ask_restart()


def _ask_for_beat() -> None:
    from django_q.tasks import async_task

    async_task("config.tasks.beat", task_name="beat")


def _queue_length() -> int:
    from django_q.brokers import get_broker

    return int(get_broker().queue_size())
