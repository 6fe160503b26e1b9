"""Health, doctor and schedules, as people on call and machines ask for them."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import call_command
from django.test import Client
from django_q.models import Schedule

from billing.models import SigningSecret, StripeSource
from config import schedules, tasks

pytestmark = pytest.mark.django_db


def test_healthz_asks_for_no_login(client: Client) -> None:
    answer = client.get("/healthz")

    assert (answer.status_code, answer.content) == (200, b"ok\n")


def test_readyz_is_503_until_the_workers_beat(client: Client) -> None:
    before = client.get("/readyz")
    tasks.beat()
    after = client.get("/readyz")

    assert (before.status_code, after.status_code) == (503, 200)
    assert after.json()["ready"] is True


def test_metrics_tell_states_and_ages_and_no_names(client: Client) -> None:
    StripeSource.objects.create(slug="secretive-gmbh", label="Secretive GmbH")

    text = client.get("/metrics").content.decode()

    assert "ledger_ready 0.0" in text
    assert 'ledger_age_seconds{of="inbox"} 0.0' in text
    assert "ecretive" not in text


def test_schedules_come_from_code_alone() -> None:
    Schedule.objects.create(name="by hand", func="os.system", schedule_type=Schedule.MINUTES, minutes=1)
    out = StringIO()

    call_command("sync_schedules", stdout=out)
    call_command("sync_schedules", stdout=out)

    first, second = map(json.loads, out.getvalue().splitlines())
    assert first == {"installed": len(schedules.JOBS), "updated": 0, "removed": 1}
    assert second == {"installed": 0, "updated": 0, "removed": 0}


def test_every_job_names_a_function_there_is() -> None:
    for job in schedules.JOBS:
        module, _, name = job.task.rpartition(".")
        assert module == "config.tasks"
        assert callable(getattr(tasks, name))


def test_doctor_says_what_to_do() -> None:
    out = StringIO()

    with pytest.raises(SystemExit) as ended:
        call_command("doctor", "--json", stdout=out, stderr=StringIO())

    report = json.loads(out.getvalue().splitlines()[-1])
    cures = {check["check"]: check["cure"] for check in report["checks"] if not check["ok"]}
    assert ended.value.code == 1
    assert cures["sources"].startswith("Add one on the set-up page, or: manage.py add_source")
    assert cures["workers"] == "Start manage.py serve."
    assert cures["schedules"] == "Run manage.py sync_schedules."


def test_doctor_is_content_with_a_whole_installation() -> None:
    source = StripeSource.objects.create(slug="main", label="Main")
    SigningSecret.objects.create(source=source, secret="whsec_abcdefgh", last4="efgh")
    schedules.sync()
    tasks.beat()

    out = StringIO()
    call_command("doctor", "--json", stdout=out, stderr=StringIO())

    assert json.loads(out.getvalue())["ok"] is True


def test_a_key_that_does_not_fit_is_found_before_the_next_delivery(settings: pytest.FixtureRequest) -> None:
    source = StripeSource.objects.create(slug="main", label="Main")
    SigningSecret.objects.create(source=source, secret="whsec_abcdefgh", last4="efgh")
    settings.FIELD_ENCRYPTION_KEYS = ["b3RoZXItb3RoZXItb3RoZXItb3RoZXItb3RoZXItMTI="]  # type: ignore[attr-defined]

    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("doctor", "--json", stdout=out, stderr=StringIO())

    (found,) = [check for check in json.loads(out.getvalue())["checks"] if check["check"] == "keys"]
    assert not found["ok"]
    assert "FIELD_ENCRYPTION_KEYS" in found["cure"]


def test_sources_are_looked_at_each_day_without_anybody_asking() -> None:
    source = StripeSource.objects.create(slug="main", label="Main")

    tasks.check_sources()

    source.refresh_from_db()
    assert source.checked_at is not None and source.checks[0]["code"] == "no_api_key"
