"""The list of scheduled jobs. `sync_schedules` installs it; nothing else may write schedules.

The scheduler looks twice a minute, so a minute is its finest grain. What must be done oftener (the sweep every 30 s,
the workers' heartbeat) is asked for by the watchdog of `serve`; the two below are for a `qcluster` run by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

RUNNER = "config.jobs.run"


@dataclass(frozen=True)
class Job:
    """A function of config.tasks without arguments; every so many minutes, or by cron in UTC."""

    name: str
    task: str
    minutes: int | None = None
    cron: str | None = None


JOBS = (
    Job("sweep", "config.tasks.sweep", minutes=1),
    Job("beat", "config.tasks.beat", minutes=1),
    Job("keep books", "config.tasks.keep_books", minutes=1),
    Job("read accounts", "config.tasks.read_accounts", minutes=1),
    Job("tell summaries", "config.tasks.tell_summaries", minutes=5),
    Job("compare shadow", "config.tasks.compare_shadow", minutes=10),
    Job("finish restore", "config.tasks.finish_restore", minutes=1),
    Job("catch up", "config.tasks.catch_up", cron="25 * * * *"),
    Job("recount", "config.tasks.recount", cron="50 1 * * *"),
    Job("find drift", "config.tasks.find_drift", cron="40 1 * * *"),
    Job("patrol records", "config.tasks.patrol_records", cron="*/5 2,3 * * *"),
    Job("assess risks", "config.tasks.assess_risks", cron="20 */6 * * *"),
    Job("keep rates", "config.tasks.keep_rates", cron="35 0,16 * * *"),
    Job("keep scheduled", "config.tasks.keep_scheduled", cron="15 * * * *"),
    Job("check sources", "config.tasks.check_sources", cron="50 4 * * *"),
    Job("clear old", "config.tasks.clear_old", cron="10 3 * * *"),
)


@dataclass(frozen=True)
class Synced:
    installed: int
    updated: int
    removed: int


def sync() -> Synced:
    """Make the scheduler's rows say what JOBS says; rows that are not ours go, for one bad row stops all schedules."""
    from django.db import transaction
    from django.utils import timezone
    from django_q.models import Schedule

    installed = updated = 0
    with transaction.atomic():
        removed, _ = Schedule.objects.exclude(name__in=[job.name for job in JOBS]).delete()
        for job in JOBS:
            wanted = {
                "func": RUNNER,
                "args": repr(job.name),
                "kwargs": None,
                "hook": None,
                "schedule_type": Schedule.CRON if job.cron else Schedule.MINUTES,
                "minutes": job.minutes,
                "cron": job.cron,
                "repeats": -1,
            }
            rows = list(Schedule.objects.filter(name=job.name).order_by("id"))
            for extra in rows[1:]:
                extra.delete()
                removed += 1
            if not rows:
                Schedule.objects.create(name=job.name, next_run=timezone.now(), **wanted)
                installed += 1
            elif any(getattr(rows[0], field) != value for field, value in wanted.items()):
                Schedule.objects.filter(pk=rows[0].pk).update(**wanted)
                updated += 1
    return Synced(installed, updated, removed)


def missing_jobs() -> list[str]:
    """Return the names of jobs that are not installed, for doctor."""
    from django_q.models import Schedule

    known = set(Schedule.objects.values_list("name", flat=True))
    return [job.name for job in JOBS if job.name not in known]
