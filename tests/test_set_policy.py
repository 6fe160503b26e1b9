"""Changing the policy: a version is added, everybody is replayed, what still holds stays, and nobody is told."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.management import CommandError, load_command_class
from django.utils import timezone

from config import repricing, tasks
from crm.models import SyncRecord
from mrr import check, policies
from mrr.engine.policy import PRESETS, parse
from mrr.models import LedgerEntry, PolicyVersion, Repricing
from tests.scenario import Scenario, seconds

pytestmark = pytest.mark.django_db


@pytest.fixture
def finance():
    return person("fay", "finance")


def person(name: str, role: str) -> str:
    user = get_user_model().objects.create(username=name)
    user.groups.add(Group.objects.get_or_create(name=role)[0])
    return name


@pytest.fixture
def company():
    """One customer whose entries hold under any policy, one that asked to leave, one that paused."""
    acme = Scenario("acme")
    acme.plain = acme.customer("Plain")
    acme.plain.subscribes("team", monthly="100.00", on="2026-01-10")
    acme.leaving = acme.customer("Leaving")
    acme.leaving.subscribes("team", monthly="40.00", on="2026-01-10")
    acme.leaving.changes(on="2026-03-10", cancel_at_period_end=True, cancel_at=seconds("2026-04-10"))
    acme.leaving.cancels(on="2026-04-10")
    acme.pausing = acme.customer("Pausing")
    acme.pausing.subscribes("team", monthly="25.00", on="2026-02-01")
    acme.pausing.changes(on="2026-05-02", pause_collection={"behavior": "void", "resumes_at": None})
    return acme


def run(*arguments: str):
    """Run the command as from a shell: Django has options of its own, whose names ours must not take."""
    out, err = StringIO(), StringIO()
    command = load_command_class("config", "set_policy")
    parser = command.create_parser("manage.py", "set_policy")
    options = vars(parser.parse_args(arguments))
    assert options["settings"] is None
    command.execute(**options | {"stdout": out, "stderr": err})
    *listed, last = out.getvalue().splitlines()
    return listed, json.loads(last)


def rows():
    return {model._meta.label: model.objects.count() for model in apps.get_models()}


def test_what_no_longer_holds_is_reversed_and_what_holds_stays(company, finance):
    listed, result = run("--preset", "stripe", "--user", finance)

    assert company.ledger(company.leaving) == ["2026-01-10 new          +40.00", "2026-03-10 churn        -40.00"]
    assert company.ledger(company.pausing) == ["2026-02-01 new          +25.00"]
    assert (result["version"], result["customers"], result["posted"], result["reversed"]) == (2, 3, 1, 2)
    assert result["changed"]["churn_at"] == ["effective_end", "request"]
    assert listed == [
        f"− {company.leaving.id} 2026-04-10 churn -40.00000000 USD (canceled)",
        f"+ {company.leaving.id} 2026-03-10 churn -40.00000000 USD (canceled)",
        f"− {company.pausing.id} 2026-05-02 churn -25.00000000 USD (paused)",
    ]
    assert set(LedgerEntry.objects.filter(reverses=None, reversed_by=None).values_list("type", "policy_version")) == {
        ("new", 1),
        ("churn", 2),
    }
    assert check.check(now=timezone.now()).differences == 0


def test_nobody_is_told_but_the_records_are_brought_in_step(company, finance):
    wanted = sum(SyncRecord.objects.values_list("wanted", flat=True))

    run("churn_at=request", "--user", finance)

    assert set(LedgerEntry.objects.filter(policy_version=2).values_list("is_live", flat=True)) == {False}
    assert sum(SyncRecord.objects.values_list("wanted", flat=True)) > wanted


def test_going_back_leaves_the_ledger_as_it_was(company, finance):
    before = check.check(now=timezone.now()).fingerprint

    run("--preset", "stripe", "--user", finance)
    changed = check.check(now=timezone.now()).fingerprint
    run("--preset", "ours", "--user", finance)

    assert changed != before == check.check(now=timezone.now()).fingerprint
    assert [(row.version, row.preset, row.made_by) for row in PolicyVersion.objects.order_by("version")] == [
        (2, "stripe", "fay"),
        (3, "ours", "fay"),
    ]


def test_a_dry_run_says_the_same_and_writes_nothing(company, finance):
    before = rows()

    told, result = run("--preset", "stripe", "--user", finance, "--dry-run")

    assert rows() == before
    assert (result["dry_run"], result["version"], result["posted"], result["reversed"]) == (True, 1, 1, 2)
    listed, _ = run("--preset", "stripe", "--user", finance)
    assert sorted(told) == sorted(listed)


def test_settings_in_force_already_make_no_version(company, finance):
    _, result = run("grouping_minutes=60", "--user", finance)

    assert (result["version"], result["customers"], result["changed"]) == (1, 0, {})
    assert not PolicyVersion.objects.exists()


# ---- stopped half way ----


def test_a_replay_that_stopped_is_taken_up_where_it_was(company, monkeypatch):
    monkeypatch.setattr(repricing, "CHUNK", 1)
    repricing.put_in_force(PRESETS["stripe"], preset="stripe", user="fay", now=timezone.now())
    turns = iter([False, False, True])

    half = repricing.carry_on(until=lambda: next(turns))

    assert (half.customers, half.finished_at) == (2, None)
    assert company.ledger(company.pausing)[-1] == "2026-05-02 churn        -25.00"
    whole = repricing.carry_on()
    assert (whole.customers, whole.posted, whole.reversed) == (3, 1, 2)
    assert whole.finished_at is not None
    assert company.ledger(company.pausing) == ["2026-02-01 new          +25.00"]
    assert repricing.carry_on() is None


def test_the_sweep_takes_up_what_was_abandoned(company, monkeypatch):
    monkeypatch.setattr(tasks, "LINGER_SECONDS", 0)
    repricing.put_in_force(PRESETS["stripe"], preset="stripe", user="fay", now=timezone.now())
    tasks.sweep()
    assert repricing.unfinished() is not None  # somebody may be at it

    Repricing.objects.update(touched_at=timezone.now() - timedelta(minutes=5))
    tasks.sweep()

    assert repricing.unfinished() is None
    assert check.check(now=timezone.now()).differences == 0


def test_an_event_before_its_customer_is_reached_tells_its_own_news_alone(company):
    repricing.put_in_force(parse(["pauses=never"]), preset="", user="fay", now=timezone.now() - timedelta(days=1))
    company.pausing.changes(on=f"{timezone.now():%Y-%m-%d %H:%M}", quantity=2)

    entries = LedgerEntry.objects.filter(customer__stripe_id=company.pausing.id, policy_version=2).order_by("sequence")

    assert [(entry.type, entry.is_live) for entry in entries] == [("reversal", False), ("expansion", True)]
    repricing.carry_on()
    assert check.check(now=timezone.now()).differences == 0


def test_a_newer_version_takes_over(company, monkeypatch):
    monkeypatch.setattr(repricing, "CHUNK", 1)
    repricing.put_in_force(PRESETS["stripe"], preset="stripe", user="fay", now=timezone.now())
    turns = iter([False, True])
    repricing.carry_on(until=lambda: next(turns))

    repricing.put_in_force(PRESETS["ours"], preset="ours", user="fay", now=timezone.now())
    done = repricing.carry_on()

    assert (done.version.version, done.customers) == (3, 3)
    assert repricing.unfinished() is None
    assert check.check(now=timezone.now()).differences == 0


def test_a_customer_that_cannot_be_replayed_leaves_the_others_alone(company, finance, monkeypatch):
    post = repricing.ledger.post
    bad = company.leaving

    def failing(histories, **options):
        if any(
            step.event_id in {event["id"] for event in company.events if bad.id in json.dumps(event)}
            for history in histories.values()
            for steps in history.steps.values()
            for step in steps
        ):
            raise ValueError("a fault of this customer")
        return post(histories, **options)

    monkeypatch.setattr(repricing.ledger, "post", failing)
    with pytest.raises(SystemExit) as ended:
        run("--preset", "stripe", "--user", finance)

    assert ended.value.code == 1
    assert company.ledger(company.pausing) == ["2026-02-01 new          +25.00"]
    monkeypatch.undo()
    assert repricing.carry_on().failed == []
    assert company.ledger(company.leaving)[-1] == "2026-03-10 churn        -40.00"


# ---- who, and what else may be wrong ----


@pytest.mark.parametrize("role", ["finance", "admin"])
def test_finance_and_admins_may_change_it(role):
    assert run("grouping_minutes=0", "--user", person("ann", role))[1]["version"] == 2


@pytest.mark.parametrize("role", ["viewer", "analyst", "revops"])
def test_nobody_else_may(role):
    with pytest.raises(CommandError, match="it takes role finance or admin") as error:
        run("grouping_minutes=0", "--user", person("ann", role))

    assert error.value.returncode == 2
    assert not PolicyVersion.objects.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["grouping_minutes=0", "--user", "nobody"], "There is no active user 'nobody'"),
        (["--preset", "theirs", "--user", "fay"], "There is no preset 'theirs'"),
        (["grouping_minutes=soon", "--user", "fay"], "whole number from 0 to 1440"),
        (["colour=blue", "--user", "fay"], "There is no setting 'colour'"),
    ],
)
def test_wrong_use_says_what_would_do(finance, arguments, said):
    with pytest.raises(CommandError, match=said) as error:
        run(*arguments)

    assert error.value.returncode == 2
    assert policies.current().version == 1
