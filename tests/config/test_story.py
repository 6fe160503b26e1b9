"""The demo's story: the same every time, coherent, and with all that the pages must show."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from config.demo import companies, story

NOW = 1_795_000_000  # 2026-11-18
Json = dict[str, Any]


@pytest.fixture(scope="module")
def events() -> list[Json]:
    told = story.events(now=NOW, customers=120, months=24)
    return [json.loads(one.text) for found in told.values() for one in found]


def test_the_story_is_the_same_every_time() -> None:
    assert story.events(now=NOW, customers=30) == story.events(now=NOW, customers=30)


def test_every_event_has_its_own_id_and_lies_in_the_two_years(events: list[Json]) -> None:
    ids = [event["id"] for event in events]

    assert len(set(ids)) == len(ids)
    assert all(NOW - 26 * 31 * 86_400 < event["created"] <= NOW for event in events)


def test_previous_attributes_lead_from_what_was_told_before(events: list[Json]) -> None:
    told: dict[str, Json] = {}
    for event in sorted(events, key=lambda event: event["created"]):
        obj = event["data"]["object"]
        if event["type"] == "customer.subscription.updated":
            before = told[obj["id"]]
            for key, was in event["data"]["previous_attributes"].items():
                if key == "items":
                    assert was["data"] == before["items"]["data"]
                elif not isinstance(was, dict):
                    assert was == before[key]
                assert obj[key] != before[key]
        told[obj["id"]] = obj


def test_both_layouts_are_told(events: list[Json]) -> None:
    subscriptions = [event for event in events if event["data"]["object"]["object"] == "subscription"]
    old = [event for event in subscriptions if event["api_version"] == "2025-02-24.acacia"]

    assert 0 < len(old) < len(subscriptions)
    assert all("current_period_end" in event["data"]["object"] for event in old)
    assert all(
        "current_period_end" in item
        for event in subscriptions
        if event not in old
        for item in event["data"]["object"]["items"]["data"]
    )


def test_what_the_pages_must_show_happens_even_to_few_customers() -> None:
    told = story.events(now=NOW, customers=22, months=24)
    subscriptions = {
        event["data"]["object"]["id"]: event["data"]["object"]
        for found in told.values()
        for event in map(json.loads, (one.text for one in found))
        if event["data"]["object"]["object"] == "subscription"
    }
    kinds = Counter(one.kind for found in told.values() for one in found)
    statuses = Counter(sub["status"] for sub in subscriptions.values())

    assert {"active", "past_due", "trialing", "canceled", "incomplete_expired"} <= statuses.keys()
    assert any(sub["cancel_at_period_end"] and sub["status"] == "active" for sub in subscriptions.values())
    assert {"charge.dispute.created", "charge.dispute.closed", "charge.refunded", "payout.paid"} <= kinds.keys()


def test_four_hundred_customers_pay_in_three_currencies_and_some_thirty_are_unmatched() -> None:
    found = [companies.company(index) for index in range(400)]
    unmatched = Counter(one.found_by for one in found if one.found_by in companies.UNMATCHED)

    assert {one.currency for one in found} == {"usd", "eur", "gbp"}
    assert len({one.name for one in found}) == 400
    assert 10 <= unmatched.total() <= 40
    assert len(unmatched) >= 5


def test_the_fixture_of_accounts_is_the_one_the_story_makes() -> None:
    kept = Path(companies.__file__).with_name("accounts.json").read_text(encoding="utf-8")

    assert kept == companies.fixture(), "run: python -m config.demo.companies > config/demo/accounts.json"
