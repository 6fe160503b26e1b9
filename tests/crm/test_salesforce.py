"""Whole stories against the fake Salesforce: a signed webhook in, records there."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from config import pipeline
from crm import connections, outbox
from crm.channels import CHANNELS
from crm.channels.kinds import Permanent
from crm.channels.salesforce.client import Client
from crm.channels.salesforce.session import PinnedSession
from crm.models import SalesforceOrg, SyncRecord
from tests.crm.conftest import reads

pytestmark = pytest.mark.django_db(transaction=False)

COMPOSITE = "POST .*/composite$"


@pytest.fixture
def acme(salesforce, live):
    """An Account with one open Opportunity, mirrored."""
    account = salesforce.add_account(Name="Acme")
    salesforce.add_opportunity(Name="Acme team", AccountId=account)
    reads(salesforce)
    return account


def retry_all() -> None:
    """Let everything that waits for a later try be due now."""
    SyncRecord.objects.filter(state="waiting").update(due_at=timezone.now(), leased_until=None)


def sends() -> outbox.Settled:
    return outbox.send_due(CHANNELS, now=timezone.now())


def test_a_subscription_that_begins_to_count_is_won_in_one_composite_call(scenario, salesforce, acme):
    customer = scenario.customer("Acme", salesforce_account_id=acme)
    scenario.drain()
    salesforce.forgets_requests()
    sub = customer.subscribes("team", monthly="30.00", on="2026-01-10")

    scenario.drain()

    (schedule,) = salesforce.records("MRR_Schedule__c")
    (won,) = salesforce.records("Opportunity")
    account = salesforce.record(acme)
    assert schedule["Account__c"] == acme and schedule["Opportunity__c"] == won["Id"]
    assert (schedule["Type__c"], schedule["MRR_Delta__c"], schedule["ARR_Delta__c"]) == (
        "new",
        Decimal(30),
        Decimal(360),
    )
    assert schedule["Start_Date__c"] == "2026-01-10" and schedule["Stripe_Subscription_Id__c"] == sub["id"]
    assert (won["StageName"], won["Amount"], won["CloseDate"]) == ("Closed Won", Decimal(360), "2026-01-10")
    assert won["Committed_ARR__c"] == Decimal(360) and won["Stripe_Subscription_Id__c"] == sub["id"]
    assert (account["MRR__c"], account["ARR__c"]) == (Decimal(30), Decimal(360))
    assert account["Billing_Status__c"] == "active" and account["Payment_Risk__c"] == "none"
    assert account["Stripe_Customer_Ids__c"] == customer.id
    assert len(salesforce.requests_to(COMPOSITE)) == 1
    assert len(salesforce.requests_to("query")) == 1


def test_later_changes_leave_the_booked_amount_alone(scenario, salesforce, acme):
    customer = scenario.customer("Acme", salesforce_account_id=acme)
    customer.subscribes("team", monthly="30.00", on="2026-01-10")
    customer.moves_to("business", monthly="50.00", on="2026-02-01")
    customer.cancels(on="2026-03-15")

    (won,) = salesforce.records("Opportunity")
    schedules = salesforce.records("MRR_Schedule__c")
    account = salesforce.record(acme)
    assert (won["Amount"], won["Committed_ARR__c"], won["StageName"]) == (Decimal(360), Decimal(0), "Closed Won")
    assert [one["Type__c"] for one in schedules] == ["new", "expansion", "churn"]
    assert sum(one["MRR_Delta__c"] for one in schedules) == account["MRR__c"] == 0
    assert account["Last_Expansion_Date__c"] == "2026-02-01"


def test_a_second_pass_writes_nothing(scenario, salesforce, acme):
    customer = scenario.customer("Acme", salesforce_account_id=acme)
    customer.subscribes("team", monthly="30.00", on="2026-01-10")
    salesforce.forgets_requests()

    for record in SyncRecord.objects.all():
        outbox.retry(record.pk, now=timezone.now())
    scenario.drain()

    assert salesforce.requests == []
    assert set(SyncRecord.objects.values_list("state", flat=True)) == {"sent"}


def test_shadow_mode_records_and_calls_nobody(scenario, salesforce, shadow):
    account = salesforce.add_account(Name="Acme")
    salesforce.add_opportunity(AccountId=account)
    reads(salesforce)
    customer = scenario.customer("Acme", salesforce_account_id=account)
    customer.subscribes("team", monthly="30.00", on="2026-01-10")

    scenario.drain()

    assert salesforce.requests == []
    records = {record.kind: record for record in SyncRecord.objects.all()}
    assert {record.state for record in records.values()} == {"would_send"}
    assert records["schedule"].fields_sent["MRR_Delta__c"] == "30.000000"
    assert records["account"].fields_sent["ARR__c"] == "360.00"
    assert records["opportunity"].fields_sent["StageName"] == "Closed Won"
    assert records["opportunity"].fields_sent["Amount"] == "360.00"


def test_going_live_sends_the_newest_state_once(scenario, salesforce, shadow):
    account = salesforce.add_account(Name="Acme")
    salesforce.add_opportunity(AccountId=account)
    reads(salesforce)
    customer = scenario.customer("Acme", salesforce_account_id=account)
    customer.subscribes("team", monthly="30.00", on="2026-01-10")
    customer.moves_to("business", monthly="50.00", on="2026-02-01")

    connections.go_live(now=timezone.now())
    scenario.drain()

    assert salesforce.record(account)["MRR__c"] == Decimal(50)
    assert len(salesforce.records("MRR_Schedule__c")) == 2
    assert len(salesforce.requests_to(COMPOSITE)) == 1


def test_an_answer_that_is_lost_makes_no_second_record(scenario, salesforce, acme):
    customer = scenario.customer("Acme", salesforce_account_id=acme)
    salesforce.cuts_next("response", match="composite")
    customer.subscribes("team", monthly="30.00", on="2026-01-10")
    assert set(SyncRecord.objects.values_list("error_code", flat=True)) >= {"no_answer"}
    assert len(salesforce.records("MRR_Schedule__c")) == 1

    retry_all()
    scenario.drain()

    assert len(salesforce.records("MRR_Schedule__c")) == len(salesforce.records("Opportunity")) == 1
    assert set(SyncRecord.objects.values_list("state", flat=True)) == {"sent"}


def test_a_worker_that_dies_between_send_and_commit_makes_no_second_record(scenario, salesforce, acme):
    customer = scenario.customer("Acme", salesforce_account_id=acme)
    scenario.is_held = True
    customer.subscribes("team", monthly="30.00", on="2026-01-10")
    scenario.deliver(json.dumps(scenario.events[-1]).encode())
    pipeline.drain_inbox()
    parcel = outbox.claim(CHANNELS[0], now=timezone.now())
    outbox.deliver(CHANNELS[0], parcel, now=timezone.now())  # sent, and never settled
    assert sends().total == 0  # leased

    retry_all()
    scenario.drain()

    assert len(salesforce.records("MRR_Schedule__c")) == len(salesforce.records("Opportunity")) == 1
    assert set(SyncRecord.objects.values_list("state", flat=True)) == {"sent"}


def test_a_dead_session_is_renewed_once(scenario, salesforce, acme):
    customer = scenario.customer("Acme", salesforce_account_id=acme)
    grants = salesforce.login.grants
    salesforce.expires_sessions()

    customer.subscribes("team", monthly="30.00", on="2026-01-10")

    assert salesforce.login.grants == grants + 1
    assert len(salesforce.records("MRR_Schedule__c")) == 1


def test_a_withdrawn_login_stops_the_lane_without_hammering(scenario, salesforce, acme):
    customer = scenario.customer("Acme", salesforce_account_id=acme)
    salesforce.revokes_access()
    salesforce.forgets_requests()

    customer.subscribes("team", monthly="30.00", on="2026-01-10")
    for _ in range(5):
        sends()

    org = SalesforceOrg.objects.get()
    assert org.error_code == "invalid_grant" and "Connect again" in org.error
    assert len(salesforce.requests_to("oauth2/token")) == 1
    assert SyncRecord.objects.filter(state="waiting").count() == 3


def test_a_reached_limit_pauses_and_goes_on_by_itself(scenario, salesforce, acme):
    customer = scenario.customer("Acme", salesforce_account_id=acme)
    salesforce.daily_limit = 0
    salesforce.forgets_requests()

    customer.subscribes("team", monthly="30.00", on="2026-01-10")
    for _ in range(5):
        sends()

    assert len(salesforce.requests) == 1
    record = SyncRecord.objects.filter(kind="schedule").get()
    assert (record.state, record.error_code, record.attempts) == ("waiting", "REQUEST_LIMIT_EXCEEDED", 0)
    salesforce.daily_limit = 15_000
    later = timezone.now() + timedelta(minutes=16)
    outbox.send_due(CHANNELS, now=later)
    assert len(salesforce.records("MRR_Schedule__c")) == 1


def test_a_refused_record_is_parked_alone(scenario, salesforce, acme):
    salesforce.adds_rule("MRR_Schedule__c", lambda record: "Start date is too early")
    customer = scenario.customer("Acme", salesforce_account_id=acme)

    customer.subscribes("team", monthly="30.00", on="2026-01-10")

    states = dict(SyncRecord.objects.values_list("kind", "state"))
    assert states == {"schedule": "parked", "account": "sent", "opportunity": "sent"}
    parked = SyncRecord.objects.get(kind="schedule")
    assert parked.error_code == "FIELD_CUSTOM_VALIDATION_EXCEPTION" and "too early" in parked.error
    salesforce.store.rules.clear()
    outbox.retry(parked.pk, now=timezone.now())
    scenario.drain()
    assert len(salesforce.records("MRR_Schedule__c")) == 1


def test_a_lock_is_tried_again(scenario, salesforce, acme):
    salesforce.rejects_next("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access", sobject="MRR_Schedule__c")
    customer = scenario.customer("Acme", salesforce_account_id=acme)
    customer.subscribes("team", monthly="30.00", on="2026-01-10")
    record = SyncRecord.objects.get(kind="schedule")
    assert (record.state, record.error_code) == ("waiting", "UNABLE_TO_LOCK_ROW")
    assert record.due_at > timezone.now()

    retry_all()
    scenario.drain()

    assert len(salesforce.records("MRR_Schedule__c")) == 1


@pytest.mark.parametrize("status", [200, 503])
def test_a_page_for_people_is_no_success(scenario, salesforce, acme, status):
    customer = scenario.customer("Acme", salesforce_account_id=acme)
    salesforce.html_next(status, match="composite")

    customer.subscribes("team", monthly="30.00", on="2026-01-10")

    assert SyncRecord.objects.filter(state="sent", kind="schedule").count() == 0
    retry_all()
    scenario.drain()
    assert len(salesforce.records("MRR_Schedule__c")) == 1


def test_without_an_opportunity_a_person_is_asked(scenario, salesforce, live):
    account = salesforce.add_account(Name="Acme")
    for name in ("one", "other"):
        salesforce.add_opportunity(Name=name, AccountId=account)
    reads(salesforce)
    customer = scenario.customer("Acme", salesforce_account_id=account)

    customer.subscribes("team", monthly="30.00", on="2026-01-10")

    held = SyncRecord.objects.get(kind="opportunity")
    assert (held.state, held.error_code) == ("held", "several_open_opportunities")
    assert not any(one["IsClosed"] for one in salesforce.records("Opportunity"))
    assert SyncRecord.objects.get(kind="schedule").state == "sent"

    (chosen, other) = salesforce.records("Opportunity")
    salesforce.deletes(other["Id"])
    outbox.retry(held.pk, now=timezone.now())
    scenario.drain()

    assert salesforce.record(chosen["Id"])["IsWon"]
    assert salesforce.records("MRR_Schedule__c")[0]["Opportunity__c"] == chosen["Id"]


def test_a_stale_worker_sends_nothing(scenario, salesforce, acme):
    customer = scenario.customer("Acme", salesforce_account_id=acme)
    scenario.is_held = True
    customer.subscribes("team", monthly="30.00", on="2026-01-10")
    scenario.deliver(json.dumps(scenario.events[-1]).encode())
    pipeline.drain_inbox()
    channel, now = CHANNELS[0], timezone.now()
    parcel = outbox.claim(channel, now=now)
    stalled = outbox.Parcel(parcel.rows, send_until=0.0)
    salesforce.forgets_requests()

    outcomes = outbox.deliver(channel, stalled, now=now)

    assert not salesforce.requests_to(COMPOSITE)
    assert outbox.settle(parcel, outcomes, now=now).waiting == len(parcel.rows)


def test_what_was_wanted_anew_while_it_was_sent_stays_due(scenario, salesforce, acme):
    customer = scenario.customer("Acme", salesforce_account_id=acme)
    customer.subscribes("team", monthly="30.00", on="2026-01-10")
    channel, now = CHANNELS[0], timezone.now()
    record = SyncRecord.objects.get(kind="account")
    outbox.retry(record.pk, now=now)
    parcel = outbox.claim(channel, now=now)
    outcomes = outbox.deliver(channel, parcel, now=now)

    outbox.owe_accounts([acme], now=now)
    outbox.settle(parcel, outcomes, now=now)

    record.refresh_from_db()
    assert record.state == "waiting" and record.confirmed < record.wanted


def test_an_account_has_the_sum_of_its_customers(scenario, salesforce, acme):
    for name in ("Acme one", "Acme two"):
        customer = scenario.customer(name, salesforce_account_id=acme)
        customer.subscribes("team", monthly="30.00", on="2026-01-10")

    assert salesforce.record(acme)["MRR__c"] == Decimal(60)
    assert sum(one["MRR_Delta__c"] for one in salesforce.records("MRR_Schedule__c", Account__c=acme)) == 60


def test_odd_amounts_add_up_as_written(scenario, salesforce, acme):
    for number, yearly in enumerate(("100.00", "100.00", "77.77")):
        customer = scenario.customer(f"Acme {number}", salesforce_account_id=acme)
        customer.subscribes("team", yearly=yearly, on="2026-01-10")
        customer.changes(on="2026-02-10", quantity=3)

    account = salesforce.record(acme)
    schedules = salesforce.records("MRR_Schedule__c", Account__c=acme)
    assert sum(one["MRR_Delta__c"] for one in schedules) == account["MRR__c"]
    assert account["ARR__c"] == Decimal("833.31")


def test_the_token_goes_to_our_own_hosts_alone(salesforce):
    with PinnedSession([salesforce.url]) as session:
        for url in (
            "https://evil.example/services/data/",
            f"http://127.0.0.1:{salesforce.port}/services/data/",
            "https://127.0.0.1:1/services/data/",
            f"https://user@127.0.0.1:{salesforce.port}/",
            f"{salesforce.url}/services/data/../../oauth2",
            f"{salesforce.url}/services/data//evil.example",
            f"{salesforce.url}/services/data/%2e%2e/x",
        ):
            with pytest.raises(Permanent):
                session.get(url)
    assert salesforce.requests == []


def test_usage_of_the_org_is_read_from_each_answer(salesforce, live):
    with Client(live, now=timezone.now()) as client:
        list(client.query("SELECT Id FROM Account"))

    live.refresh_from_db()
    assert (live.calls_used, live.calls_limit) == (salesforce.calls, 15_000)


def test_busy_work_goes_in_collections(scenario, salesforce, live):
    accounts = [salesforce.add_account(Name=f"Acme {number}") for number in range(30)]
    reads(salesforce)
    scenario.is_held = True
    for account in accounts:
        customer = scenario.customer(account, salesforce_account_id=account)
        customer.subscribes("team", monthly="30.00", on="2026-01-10")
    for event in scenario.events:
        scenario.deliver(json.dumps(event).encode())
    while pipeline.drain_inbox():
        pass
    salesforce.forgets_requests()

    scenario.drain()

    assert len(salesforce.records("MRR_Schedule__c")) == 30
    assert len(salesforce.requests_to(COMPOSITE)) == 1
    assert {salesforce.record(account)["MRR__c"] for account in accounts} == {Decimal(30)}
