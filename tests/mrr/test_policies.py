"""The metric policy: presets, settings by name, and versions that are added and never changed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.db import DatabaseError, transaction

from mrr import policies
from mrr.engine.money import MICROS
from mrr.engine.movements import replay
from mrr.engine.policy import DEFAULT, KEYS, Discounts, MetricPolicy, PolicyError, differences, from_json, parse
from mrr.models import PolicyVersion
from tests.mrr.histories import Subscription, at, histories, item, state

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def test_settings_are_laid_over_a_policy():
    policy = parse(["grouping_minutes=0", "discounts=NONE", "excludes_tax=off"])

    assert (policy.grouping_minutes, policy.discounts, policy.excludes_tax) == (0, Discounts.NONE, False)
    assert policy.weeks_per_year == 52


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("grouping_minutes", "write KEY=VALUE"),
        ("grouping_minutes=soon", "whole number from 0 to 1440, not 'soon'"),
        ("grouping_minutes=-1", "whole number from 0 to 1440"),
        ("discounts=some", "one of none, forever, forever_and_repeating, all, not 'some'"),
        ("excludes_tax=perhaps", "true or false, not 'perhaps'"),
        ("colour=blue", "There is no setting 'colour'. There are: grouping_minutes, "),
        ("version=7", "There is no setting 'version'"),
    ],
)
def test_a_wrong_setting_says_what_would_do(pair, said):
    with pytest.raises(PolicyError) as error:
        parse([pair])

    assert said in str(error.value)


def test_a_policy_survives_json():
    policy = MetricPolicy(version=3, grouping_minutes=5, discounts=Discounts.ALL, excludes_tax=False)

    assert from_json(policy.as_json(), version=3) == policy


def test_differences_are_told_in_the_order_of_the_settings():
    other = parse(["excludes_tax=no", "grouping_minutes=0"])

    assert list(differences(DEFAULT, other).items()) == [
        ("grouping_minutes", (60, 0)),
        ("excludes_tax", (True, False)),
    ]
    assert set(differences(DEFAULT, other)) < set(KEYS)


# ---- what the settings do: those that no vector of the definitions tells ----


def told(subscription, *rules, as_of="2026-12-31"):
    found = replay(histories(subscription), as_of=at(as_of), policy=parse(rules))
    return [
        f"{datetime.fromtimestamp(each.effective_at, UTC):%Y-%m-%d} {each.type} {each.reason}"
        for each in found.movements
    ]


def test_trials_count_where_the_policy_says_so():
    on_trial = state(item(8000), status="trialing", trial_end="2026-01-24")
    sub = Subscription().says("2026-01-10", on_trial).says("2026-01-24", state(item(8000), trial_end="2026-01-24"))

    assert told(sub) == ["2026-01-24 new trial_converted"]
    assert told(sub, "trials_count=yes") == ["2026-01-10 new subscribed"]


def test_unpaid_counts_where_the_policy_says_so():
    sub = (
        Subscription()
        .says("2026-01-10", state(item(8000)))
        .says("2026-02-10", state(item(8000), status="past_due"))
        .says("2026-03-10", state(item(8000), status="unpaid"))
        .ends("2026-04-10")
    )

    assert told(sub) == ["2026-01-10 new subscribed", "2026-03-10 churn payment_failed"]
    assert told(sub, "unpaid_counts=yes") == ["2026-01-10 new subscribed", "2026-04-10 churn canceled"]
    assert told(sub, "past_due_cutoff_days=10") == ["2026-01-10 new subscribed", "2026-02-20 churn payment_failed"]


def test_pauses_count_as_the_policy_says():
    def paused(behavior):
        return (
            Subscription()
            .says("2026-01-10", state(item(8000)))
            .says("2026-02-10", state(item(8000), pause_behavior=behavior))
        )

    away = ["2026-01-10 new subscribed", "2026-02-10 churn paused"]
    assert told(paused("void")) == told(paused("keep_as_draft"), "pauses=always") == away
    assert told(paused("void"), "pauses=never") == told(paused("keep_as_draft")) == away[:1]


def test_a_year_has_as_many_weeks_and_days_as_the_policy_says():
    def worth(per, *rules):
        sub = Subscription().says("2026-01-10", state(item(1000, per=per)))
        return replay(histories(sub), as_of=at("2026-02-01"), policy=parse(rules)).balances["usd"]

    assert worth("week", "weeks_per_year=48") == 4000 * MICROS
    assert worth("day", "days_per_year=360") == 30000 * MICROS


@pytest.mark.django_db
def test_without_any_version_our_own_preset_is_in_force():
    assert policies.current() == DEFAULT
    assert policies.version(1) == DEFAULT
    assert policies.version(2) is None


@pytest.mark.django_db
def test_the_newest_version_is_in_force_and_older_ones_are_kept():
    first = policies.add(parse(["grouping_minutes=0"]), preset="", changed={}, user="ann", now=NOW)
    second = policies.add(parse(["discounts=none"]), preset="", changed={}, user="ann", now=NOW)

    assert (first.version, second.version) == (2, 3)
    assert policies.current() == second
    assert policies.version(2) == first


@pytest.mark.django_db
def test_a_version_is_never_changed():
    policies.add(parse(["grouping_minutes=0"]), preset="", changed={}, user="ann", now=NOW)

    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        PolicyVersion.objects.update(settings={})
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        PolicyVersion.objects.all().delete()
