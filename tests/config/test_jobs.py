"""Scheduled jobs write down how they ended, and the health page says which ones do not run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django_q.models import Schedule

from config import jobs, machine, schedules, tasks
from dashboard.models import JobRun

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 20, 12, 0, tzinfo=UTC)


def told(name: str, *, now: datetime = NOW) -> machine.Job:
    return next(job for job in machine.look(now).jobs if job.name == name)


def test_a_schedule_runs_its_job_by_name() -> None:
    schedules.sync()

    row = Schedule.objects.get(name="keep books")

    assert (row.func, row.args) == ("config.jobs.run", "'keep books'")


def test_a_job_that_goes_well_says_when() -> None:
    with time_machine.travel(NOW, tick=False):
        jobs.run("beat")

    assert told("beat").went_well_at == NOW
    assert not told("beat").is_late


def test_the_beat_that_serve_asks_for_counts_as_a_run() -> None:
    with time_machine.travel(NOW, tick=False):
        tasks.beat()

    assert told("beat").went_well_at == NOW


def test_a_job_that_fails_says_why_and_still_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ValueError("key sk_live_abc is bad")

    monkeypatch.setattr(tasks, "keep_rates", broken)

    with pytest.raises(ValueError, match="is bad"):
        jobs.run("keep rates")

    assert told("keep rates").error == "ValueError: key sk_live_[hidden] is bad"
    assert told("keep rates").went_well_at is None


def test_a_failure_is_forgotten_when_the_next_run_goes_well() -> None:
    JobRun.objects.create(name="beat", started_at=NOW, error="ValueError: no")

    jobs.run("beat")

    assert told("beat").error == ""


@pytest.mark.parametrize(
    ("name", "age", "is_late"),
    [
        ("keep books", timedelta(minutes=10), False),
        ("keep books", timedelta(minutes=12), True),
        ("clear old", timedelta(hours=8), False),
        ("clear old", timedelta(days=2), True),
        ("assess risks", timedelta(hours=5), False),
        ("assess risks", timedelta(hours=13), True),
    ],
)
def test_a_job_is_late_when_its_next_time_has_passed_by_ten_minutes(name: str, age: timedelta, is_late: bool) -> None:
    JobRun.objects.create(name=name, started_at=NOW - age, went_well_at=NOW - age)

    assert told(name).is_late is is_late


def test_what_never_ran_is_not_called_late() -> None:
    assert not told("clear old").is_late


def test_each_job_says_in_words_how_often_it_runs() -> None:
    words = {job.name: job.every for job in machine.look(NOW).jobs}

    assert words["sweep"] == "each minute"
    assert words["compare shadow"] == "every 10 minutes"
    assert words["assess risks"] == "every 6 hours"
    assert words["patrol records"] == "every 5 minutes in the hours 02 and 03 UTC"
    assert words["keep rates"] == "daily at 00:35 and 16:35 UTC"
