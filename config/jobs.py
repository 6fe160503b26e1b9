"""Runs a scheduled job by its name and writes down how it ended, so that a page can say which one does not run."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone
from django.utils.module_loading import import_string

from billing.inbox import described
from config.schedules import JOBS
from dashboard.models import JobRun

BACKUP = "backup"  # no job of ours: people run it, or their own clock does


def note(name: str, *, now: datetime) -> None:
    """Write down that something went well that nobody of ours runs by the clock."""
    JobRun.objects.update_or_create(name=name, defaults={"started_at": now, "ended_at": now, "went_well_at": now})


def run(name: str) -> None:
    """Run one job of config.schedules; raises what it raised, and KeyError for a job that is not in the list."""
    work = import_string({job.name: job.task for job in JOBS}[name])
    JobRun.objects.update_or_create(name=name, defaults={"started_at": timezone.now(), "ended_at": None})
    row = JobRun.objects.filter(name=name)
    try:
        work()
    except Exception as error:
        row.update(ended_at=timezone.now(), error=described(error))
        raise
    now = timezone.now()
    row.update(ended_at=now, went_well_at=now, error="")
