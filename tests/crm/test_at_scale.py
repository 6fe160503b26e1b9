"""Many events: few calls, every record right, never twice, whatever is cut or killed."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

from config import pipeline
from crm import connections, outbox
from crm.channels import CHANNELS
from crm.models import Message, SalesforceOrg, SyncRecord
from tests.crm.conftest import reads
from tests.independent_salesforce import compare

pytestmark = pytest.mark.django_db

COMPOSITE = "POST .*/composite$"
DATA = "(POST|PATCH|PUT|DELETE) /services/data"


@pytest.fixture
def api(db):
    """Ask our API as a script would."""
    user = get_user_model().objects.create_superuser("script", password="x")
    client = Client()
    client.force_login(user)

    def get(path: str):
        answer = client.get(path.replace("http://testserver", ""))
        assert answer.status_code == 200, answer.content
        return answer.json()

    return get


def held_org(fake):
    """What the fake's export holds, as JSON."""
    return lambda sobject: json.loads(json.dumps(fake.records(sobject), default=str))


def customers(scenario, salesforce, count: int) -> list:
    """So many Accounts with an open Opportunity each, and their customers."""
    accounts = [salesforce.add_account(Name=f"Acme {number}") for number in range(count)]
    for account in accounts:
        salesforce.add_opportunity(AccountId=account)
    reads(salesforce)
    SalesforceOrg.objects.update(write_allowance=1_000_000)
    return [scenario.customer(account, salesforce_account_id=account) for account in accounts]


def lives(found: list, count: int) -> None:
    """So many events: each customer begins, then they change in turn, a day between."""
    for number in range(count):
        customer = found[number % len(found)]
        turn = number // len(found)
        if turn == 0:
            customer.subscribes("team", monthly="30.00", on="2026-01-10")
        else:
            customer.changes(on=f"2026-{1 + turn // 20:02d}-{11 + turn % 17:02d}", quantity=1 + turn % 5)


def kept(scenario) -> None:
    """Deliver all that was held back and post it to the ledger, with nothing sent yet."""
    for event in scenario.events:
        scenario.deliver(json.dumps(event).encode())
    while pipeline.drain_inbox():
        pass


@pytest.mark.slow
@pytest.mark.any_database  # thrice the time of the others, and calls are what it counts
def test_a_thousand_events_of_three_hundred_accounts_in_one_burst_take_at_most_twenty_calls(
    scenario, salesforce, live, api
):
    scenario.is_held = True
    lives(customers(scenario, salesforce, 300), 1000)
    kept(scenario)
    salesforce.forgets_requests()

    scenario.drain()

    assert len(salesforce.requests) <= 20
    assert set(SyncRecord.objects.values_list("state", flat=True)) == {"sent"}
    assert compare(held_org(salesforce), api) == []


@pytest.mark.slow
def test_one_by_one_each_event_takes_at_most_one_call(scenario, salesforce, live, api):
    found = customers(scenario, salesforce, 15)
    salesforce.forgets_requests()

    lives(found, 60)

    assert len(salesforce.requests) <= 60
    assert {one["StageName"] for one in salesforce.records("Opportunity")} == {"Closed Won"}
    assert compare(held_org(salesforce), api) == []


@pytest.mark.slow
def test_nothing_is_doubled_or_lost_when_answers_are_cut_and_workers_killed(scenario, salesforce, live, api):
    """In one process; tests/test_never_twice.py kills real ones."""
    found = customers(scenario, salesforce, 10)
    salesforce.cuts_next("response", count=None, match=COMPOSITE, every=10)
    scenario.is_held = True
    lives(found, 150)
    clock, kills = timezone.now(), 0

    for number, event in enumerate(scenario.events):
        scenario.deliver(json.dumps(event).encode())
        pipeline.drain_inbox()
        clock += timedelta(seconds=1)
        if number % 14 == 8 and (parcel := outbox.claim(CHANNELS[0], now=clock)):
            outbox.deliver(CHANNELS[0], parcel, now=clock)  # sent, and killed before it could be written down
            kills += 1
        else:
            pipeline.drain_outbox(now=clock)
    for _ in range(20):
        clock += timedelta(minutes=15)
        pipeline.drain_outbox(now=clock)

    assert kills >= 10 and sum(one.status is None for one in salesforce.requests) >= 10
    assert set(SyncRecord.objects.values_list("state", flat=True)) == {"sent"}
    assert compare(held_org(salesforce), api) == []
    assert len(salesforce.records("Opportunity")) == 10


@pytest.mark.slow
def test_a_demo_day_in_shadow_writes_nothing_then_live_the_newest_state_goes_once(scenario, salesforce, shadow, api):
    found = customers(scenario, salesforce, 20)
    scenario.is_held = True
    lives(found, 60)
    for one in found[:5]:
        one.cancels(on=f"{timezone.now() - timedelta(hours=2):%Y-%m-%d %H:%M}")
    kept(scenario)
    scenario.drain()
    pipeline.drain_outbox(now=timezone.now() + timedelta(hours=2))
    assert salesforce.requests_to(DATA) == []
    assert set(SyncRecord.objects.values_list("state", flat=True)) == {"would_send"}

    connections.go_live(now=timezone.now())
    scenario.drain()
    pipeline.drain_outbox(now=timezone.now() + timedelta(hours=3))

    assert compare(held_org(salesforce), api) == []
    assert salesforce.records("Task") == [] and salesforce.records("FeedItem") == []
    assert not Message.objects.filter(state="sent").exists()
    writes = len(salesforce.requests_to(DATA))
    for record in SyncRecord.objects.all():
        outbox.retry(record.pk, now=timezone.now())
    scenario.drain()
    assert len(salesforce.requests_to(DATA)) == writes
