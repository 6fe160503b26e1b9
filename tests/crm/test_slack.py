"""Closed-won movements are told once, not too early, never about the past."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
import time_machine
from django.utils import timezone

from config import pipeline
from crm.messages import Win, escaped, owed, slack_body
from crm.models import Message, SalesforceOrg
from tests.fakes.slack import FakeSlack, block_faults

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)


def decided(**changed):
    facts = {
        "customer_pk": 7, "event_ids": ["evt_1"], "is_live": True, "effective_at": NOW, "live_since": None, "now": NOW
    }  # fmt: skip
    return owed(changed.pop("kind", "new"), **{**facts, **changed})


def test_it_waits_for_the_grouping_window():
    assert decided().due_at == NOW + timedelta(minutes=60)
    assert decided(effective_at=NOW - timedelta(hours=5)).due_at == NOW


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "expansion"},
        {"kind": "opening"},
        {"is_live": False},
        {"effective_at": NOW - timedelta(hours=73)},
        {"live_since": NOW + timedelta(seconds=1)},
        {"event_ids": []},
    ],
)
def test_what_is_not_told(changed):
    assert decided(**changed) is None


def test_texts_ring_nobody():
    win = Win("<!channel> & <@U1>", "new", date(2026, 3, 31), 3_000, 36_000, "usd", url="https://x.example/1/")

    body = slack_body(win, channel="#closed-won")

    assert escaped("<a&b>") == "&lt;a&amp;b&gt;"
    assert block_faults(body["blocks"]) == []
    assert "<!channel>" not in str(body) and "<@U1>" not in str(body)
    assert body["text"] == "New: &lt;!channel&gt; &amp; &lt;@U1&gt;. MRR USD 30.00, ARR USD 360.00."


# ---- against the fake ----


@pytest.fixture
def slack(settings) -> Iterator[FakeSlack]:
    with FakeSlack() as fake:
        fake.add_channel("closed-won")
        settings.SLACK_BOT_TOKEN = fake.token
        settings.SLACK_API_BASE = fake.api_url
        settings.SLACK_CLOSED_WON_CHANNEL = "#closed-won"
        yield fake


@pytest.fixture
def live_since_yesterday(db) -> SalesforceOrg:
    yesterday = NOW - timedelta(days=1)
    return SalesforceOrg.objects.create(instance_url="https://acme.invalid", mode="live", live_since=yesterday)


@pytest.fixture(autouse=True)
def noon():
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def one_hour_on():
    def drains(**more: int) -> None:
        Message.objects.filter(state="waiting").update(leased_until=None)
        pipeline.drain_outbox(now=timezone.now() + timedelta(**(more or {"minutes": 61})))

    return drains


def test_a_win_is_told_once(scenario, slack, live_since_yesterday, one_hour_on):
    acme = scenario.customer("Acme & Sons")
    acme.subscribes("team", monthly="30.00", on="2026-03-31 11:59")
    assert slack.messages == []

    one_hour_on()
    one_hour_on()

    (told,) = slack.messages
    assert told.text == "New: Acme &amp; Sons. MRR USD 30.00, ARR USD 360.00." and told.mentions == []
    assert Message.objects.get(channel="slack").state == "sent"


def test_one_that_is_taken_back_is_dropped(scenario, slack, live_since_yesterday, one_hour_on):
    acme = scenario.customer("Acme")
    acme.subscribes("team", monthly="30.00", on="2026-03-31 11:40")
    acme.cancels(on="2026-03-31 11:50")

    one_hour_on()

    assert slack.messages == []
    assert Message.objects.get(channel="slack").state == "dropped"


def test_what_was_grouped_is_told_as_a_whole(scenario, slack, live_since_yesterday, one_hour_on):
    acme = scenario.customer("Acme")
    acme.subscribes("team", monthly="30.00", on="2026-03-31 11:40")
    acme.moves_to("business", monthly="50.00", on="2026-03-31 11:50")

    one_hour_on()

    (told,) = slack.messages
    assert "MRR USD 50.00" in told.text


def test_shadow_records_what_it_would_tell(scenario, slack, live_since_yesterday, one_hour_on):
    SalesforceOrg.objects.update(mode="shadow", live_since=None)
    scenario.customer("Acme").subscribes("team", monthly="30.00", on="2026-03-31 11:59")

    one_hour_on()

    message = Message.objects.get(channel="slack")
    assert slack.requests == [] and message.state == "would_send"
    assert message.body["channel"] == "#closed-won" and "Acme" in message.body["text"]


def test_nothing_is_owed_without_a_channel(scenario, slack, live_since_yesterday, settings):
    settings.SLACK_CLOSED_WON_CHANNEL = ""
    scenario.customer("Acme").subscribes("team", monthly="30.00", on="2026-03-31 11:59")

    assert not Message.objects.filter(channel="slack").exists()


def test_the_past_is_not_told(scenario, slack, live_since_yesterday):
    scenario.customer("Acme").subscribes("team", monthly="30.00", on="2026-03-01")

    assert not Message.objects.filter(channel="slack").exists()


def test_too_late_is_dropped(scenario, slack, live_since_yesterday, one_hour_on):
    scenario.customer("Acme").subscribes("team", monthly="30.00", on="2026-03-31 11:59")

    one_hour_on(hours=73)

    assert slack.messages == [] and Message.objects.get(channel="slack").error_code == "too_old"


def test_a_lost_answer_is_left_to_a_person(scenario, slack, live_since_yesterday, one_hour_on):
    slack.cuts_next("response")
    scenario.customer("Acme").subscribes("team", monthly="30.00", on="2026-03-31 11:59")

    one_hour_on()
    one_hour_on(hours=3)

    assert len(slack.messages) == 1
    assert (Message.objects.get(channel="slack").state, Message.objects.get(channel="slack").error_code) == (
        "parked",
        "no_answer",
    )


def test_a_rate_limit_is_waited_for(scenario, slack, live_since_yesterday, one_hour_on):
    slack.limits_next(30)
    for number in range(3):
        scenario.customer(f"Acme {number}").subscribes("team", monthly="30.00", on="2026-03-31 11:59")

    one_hour_on()
    assert len(slack.requests) == 1
    one_hour_on(hours=2)

    assert len(slack.messages) == 3


def test_a_missing_channel_is_parked_with_its_name(scenario, slack, live_since_yesterday, one_hour_on, settings):
    settings.SLACK_CLOSED_WON_CHANNEL = "#nowhere"
    scenario.customer("Acme").subscribes("team", monthly="30.00", on="2026-03-31 11:59")

    one_hour_on()

    assert (Message.objects.get(channel="slack").state, Message.objects.get(channel="slack").error_code) == (
        "parked",
        "channel_not_found",
    )
