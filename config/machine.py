"""Tells the health page how queues, workers and scheduled jobs stand: what only the wiring knows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from croniter import croniter
from django.db.models import Model

from billing.models import OwedFetch, StripeEvent
from config import due
from config.jobs import BACKUP
from config.schedules import JOBS
from config.schedules import Job as Planned
from crm.models import Message, SyncRecord
from dashboard.machine import Job, Machine, Queue
from dashboard.models import JobRun

GRACE = timedelta(minutes=10)  # a restart, a long drain before it: not every late run is a fault


def look(now: datetime) -> Machine:
    """Return how the machine stands. About a dozen short queries."""
    found = due.health(now=now)
    runs = {row.name: row for row in JobRun.objects.all()}
    return Machine(
        queues=(
            Queue("Stripe events", _waiting(StripeEvent), _ago(found.inbox_seconds, now)),
            Queue("Reads from Stripe", _waiting(OwedFetch), _ago(found.fetches_seconds, now)),
            Queue("Salesforce and messages", _waiting(SyncRecord) + _waiting(Message), _ago(found.outbox_seconds, now)),
        ),
        beat_at=_ago(found.beat_seconds, now),
        is_beating=found.is_beating,
        is_moving=found.is_ready,
        tasks_waiting=_tasks_waiting(),
        jobs=tuple(_job(job, runs.get(job.name), now) for job in JOBS),
        backup_at=runs[BACKUP].went_well_at if BACKUP in runs else None,
    )


def _waiting(kind: type[Model]) -> int:
    return kind._default_manager.filter(state="waiting").count()


def _ago(seconds: float | None, now: datetime) -> datetime | None:
    return None if seconds is None else now - timedelta(seconds=seconds)


def _tasks_waiting() -> int:
    from django_q.brokers import get_broker

    return int(get_broker().queue_size())


def _job(job: Planned, run: JobRun | None, now: datetime) -> Job:
    if run is None:
        return Job(job.name, _words(job), None, None, "", False)
    due_at = _next_run(job, run.started_at)
    return Job(job.name, _words(job), run.started_at, run.went_well_at, run.error, now > due_at + GRACE)


def _next_run(job: Planned, after: datetime) -> datetime:
    if job.cron:
        moment: datetime = croniter(job.cron, after.astimezone(UTC)).get_next(datetime)
        return moment
    return after + timedelta(minutes=job.minutes or 1)


def _words(job: Planned) -> str:
    if not job.cron:
        return "each minute" if job.minutes == 1 else f"every {job.minutes} minutes"
    minute, hour, *_ = job.cron.split()
    hours = [f"{one:0>2}" for one in hour.split(",")]
    if minute.startswith("*/"):
        return f"every {minute.removeprefix('*/')} minutes in the hours {' and '.join(hours)} UTC"
    if hour.startswith("*"):
        return f"every {hour.removeprefix('*/')} hours" if "/" in hour else "each hour"
    return f"daily at {' and '.join(f'{one}:{minute:0>2}' for one in hours)} UTC"
