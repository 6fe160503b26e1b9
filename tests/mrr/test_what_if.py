"""Replaying the company under another policy: two series, the bridge between them, and nothing written."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from io import StringIO

import pytest
from django.apps import apps
from django.core.management import CommandError, load_command_class

from mrr import check, policies, rollups
from mrr.engine.policy import DEFAULT, KEYS, PRESETS, parse
from mrr.models import MonthRollup
from mrr.what_if import PARTS, what_if
from tests.scenario import Scenario, seconds

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)


@pytest.fixture
def company():
    """One plain customer, one that asked to leave, one that paused, one that changed plans over a month's end."""
    acme = Scenario("acme")
    acme.customer("Plain").subscribes("team", monthly="100.00", on="2026-01-10")
    leaving = acme.customer("Leaving")
    leaving.subscribes("team", monthly="40.00", on="2026-01-10")
    leaving.changes(on="2026-03-10", cancel_at_period_end=True, cancel_at=seconds("2026-04-10"))
    leaving.cancels(on="2026-04-10")
    pausing = acme.customer("Pausing")
    pausing.subscribes("team", monthly="25.00", on="2026-02-01", currency="eur")
    pausing.changes(on="2026-05-02", pause_collection={"behavior": "void", "resumes_at": None})
    moving = acme.customer("Moving")
    moving.subscribes("team", monthly="60.00", on="2026-01-10")
    moving.cancels(on="2026-03-31 23:50")
    moving.subscribes("business", monthly="90.00", on="2026-04-01 00:10")
    weekly = acme.customer("Yearly")
    weekly.subscribes("team", yearly="120.00", on="2026-01-10")
    Scenario("sandbox", livemode=False).customer("Test").subscribes("team", monthly="9.00", on="2026-01-10")
    return acme


def closings(found, currency, side):
    return {
        f"{month.month:%Y-%m}": getattr(month, side).closing_micros // 1_000_000 for month in found.currencies[currency]
    }


def test_under_our_own_policy_nothing_differs(company):
    found = what_if(PRESETS["ours"], now=NOW)

    assert found.causes == ()
    assert {month.difference_micros for months in found.currencies.values() for month in months} == {0}
    assert closings(found, "usd", "ours") == closings(found, "usd", "theirs")


def test_the_series_in_force_is_the_one_that_is_kept(company):
    found = what_if(PRESETS["stripe"], now=NOW)

    kept = {(row.currency, row.month): row for row in MonthRollup.objects.filter(source=company.source)}
    for currency, months in found.currencies.items():
        for month in months:
            row = kept.get((currency, month.month))
            expected = {part: getattr(row, rollups.EVENT_COLUMN[part]) if row else 0 for part in PARTS}
            assert dict(month.ours.parts) == expected


def test_stripes_rules_end_a_subscription_when_it_is_asked_and_count_paused_ones(company):
    found = what_if(PRESETS["stripe"], now=NOW)

    assert closings(found, "usd", "ours") == {
        "2026-01": 21000, "2026-02": 21000, "2026-03": 21000, "2026-04": 20000, "2026-05": 20000, "2026-06": 20000
    }  # fmt: skip
    assert closings(found, "usd", "theirs") == {
        "2026-01": 21000, "2026-02": 21000, "2026-03": 11000, "2026-04": 20000, "2026-05": 20000, "2026-06": 20000
    }  # fmt: skip
    march = next(month for month in found.currencies["usd"] if month.month == date(2026, 3, 1))
    assert {key: micros for key, micros in march.causes.items() if micros} == {
        "grouping_minutes": -6000_000_000,
        "churn_at": -4000_000_000,
    }
    assert closings(found, "eur", "ours")["2026-06"] == 0
    assert closings(found, "eur", "theirs")["2026-06"] == 2500
    assert {key for key, micros in found.currencies["eur"][-1].causes.items() if micros} == {"pauses"}


@pytest.mark.parametrize("preset", ["stripe", "everything"])
def test_the_causes_add_up_to_the_difference_exactly_in_every_month(company, preset):
    other = PRESETS.get(preset) or parse(
        [
            "grouping_minutes=1440",
            "past_due_cutoff_days=5",
            "trials_count=yes",
            "unpaid_counts=yes",
            "churn_at=request",
            "discounts=none",
            "pauses=always",
            "weeks_per_year=53",
            "days_per_year=360",
            "excludes_tax=no",
            "lost_disputes_count=no",
        ]
    )

    found = what_if(other, now=NOW)

    for months in found.currencies.values():
        for month in months:
            assert sum(month.causes.values()) == month.difference_micros
            for figures in (month.ours, month.theirs):
                assert figures.opening_micros + sum(figures.parts.values()) == figures.closing_micros
    assert [cause.key for cause in found.causes] == [
        key for key in KEYS if key in dict(found.currencies)["usd"][0].causes
    ]


def test_who_cannot_be_touched_by_a_setting_is_not_replayed_for_it(company):
    found = what_if(parse(["pauses=never", "weeks_per_year=53"]), now=NOW)

    assert found.customers == 5
    assert found.replays == 5 + 1


def test_leaving_customers_out_of_a_step_changes_nothing(company, monkeypatch):
    stripe = what_if(PRESETS["stripe"], now=NOW)
    monkeypatch.setattr("mrr.what_if.Moments.may_depend_on", lambda *_: True)

    assert what_if(PRESETS["stripe"], now=NOW).currencies == stripe.currencies


def test_nothing_is_written(company):
    before = _rows(), check.check(now=NOW).fingerprint

    what_if(PRESETS["stripe"], now=NOW)

    assert (_rows(), check.check(now=NOW).fingerprint) == before


def test_test_mode_is_left_out(company):
    assert what_if(PRESETS["stripe"], now=NOW).customers == 5


def test_a_policy_in_force_is_what_is_compared_with(company):
    policies.add(PRESETS["stripe"], preset="stripe", changed={}, user="ann", now=NOW)

    found = what_if(DEFAULT, now=NOW)

    assert found.ours.version == 2
    assert {cause.key: (cause.ours, cause.theirs) for cause in found.causes}["churn_at"] == ("request", "effective_end")


# ---- the command ----


def run(*arguments):
    out = StringIO()
    command = load_command_class("mrr", "what_if")
    options = vars(command.create_parser("manage.py", "what_if").parse_args(arguments))
    assert options["settings"] is None  # Django's own option
    command.execute(**options | {"stdout": out, "stderr": StringIO()})
    *table, last = out.getvalue().splitlines()
    return "\n".join(table), json.loads(last)


def test_the_command_prints_a_table_and_then_json(company):
    table, found = run("--preset", "stripe")

    assert "churn_at: effective_end → request" in table
    assert "2026-03    210.00   110.00     -100.00" in table
    assert found["order"] == ["grouping_minutes", "churn_at", "discounts", "pauses", "lost_disputes_count"]
    usd = next(row for row in found["currencies"] if row["currency"] == "usd")
    assert usd["difference_micros"] == sum(usd["causes_micros"].values()) == 0
    assert usd["months"][2]["causes_micros"]["churn_at"] == -4000_000_000


def test_the_command_takes_settings_alone(company):
    table, found = run("pauses=never", "--json")

    assert table == ""
    assert found["order"] == ["pauses"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Name a preset"),
        (["--preset", "theirs"], "There is no preset 'theirs'. There are: ours, stripe."),
        (["pauses=sometimes"], "pauses is one of uncollected, never, always"),
    ],
)
def test_wrong_use_says_what_would_do(arguments, said):
    with pytest.raises(CommandError, match=said) as error:
        run(*arguments)

    assert error.value.returncode == 2


def _rows():
    return {model._meta.label: model.objects.count() for model in apps.get_models()}
