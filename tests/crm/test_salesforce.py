"""Whole stories against the fake Salesforce: a signed webhook in, records there."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from billing.models import Customer
from config import pipeline
from crm import connections, matching, outbox
from crm.channels import CHANNELS
from crm.channels.kinds import Parcel, Permanent, Sent
from crm.channels.salesforce import errors
from crm.channels.salesforce.client import Client
from crm.channels.salesforce.session import PinnedSession
from crm.models import Match, Message, SalesforceOrg, SyncRecord, Unmatched
from tests.crm.conftest import reads
from tests.scenario import Scenario

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
    assert len(salesforce.requests_to(COMPOSITE)) == len(salesforce.requests) == 1


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
    pipeline.drain_outbox(now=later)
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
    stalled = Parcel(parcel.rows, send_until=0.0)
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


# ---- what people are told ----


@pytest.fixture
def told(scenario, salesforce, live):
    """An Account whose customer began and left just now, while the connection has been live for days."""
    account = salesforce.add_account(Name="Acme")
    salesforce.add_opportunity(AccountId=account)
    reads(salesforce)
    now = timezone.now()
    SalesforceOrg.objects.update(live_since=now - timedelta(days=10))
    customer = scenario.customer("Acme", salesforce_account_id=account)
    return account, customer, now


def minutes_ago(minutes: int) -> str:
    return f"{timezone.now() - timedelta(minutes=minutes):%Y-%m-%d %H:%M:%S}"


def after_the_window(minutes: int = 62) -> None:
    Message.objects.filter(state="waiting").update(leased_until=None)
    pipeline.drain_outbox(now=timezone.now() + timedelta(minutes=minutes))


def test_a_win_is_posted_on_the_accounts_feed_once(salesforce, told):
    account, customer, _ = told
    customer.subscribes("team", monthly="30.00", on=minutes_ago(5))
    assert salesforce.records("FeedItem") == []

    after_the_window()
    after_the_window()

    (post,) = salesforce.records("FeedItem")
    assert post["ParentId"] == account and post["Body"].startswith("Closed won: Acme\nMRR USD 30.00, ARR USD 360.00")
    assert Message.objects.get().their_id == post["Id"]


def test_a_customer_who_left_makes_a_task_and_a_repeat_makes_no_second(salesforce, told):
    account, customer, _ = told
    customer.subscribes("team", monthly="30.00", on="2026-01-10")
    salesforce.cuts_next("response", match="composite$", every=2)
    customer.cancels(on=minutes_ago(5))

    for minutes in (62, 63, 64, 70):
        after_the_window(minutes)

    (task,) = salesforce.records("Task")
    assert (task["Subject"], task["WhatId"], task["Priority"]) == ("Win back Acme", account, "High")
    assert "MRR USD 30.00" in task["Description"]
    assert Message.objects.get(topic="win_back").state == "sent"


def test_who_comes_back_within_the_window_is_not_won_back(salesforce, told):
    _, customer, _ = told
    customer.subscribes("team", monthly="30.00", on="2026-01-10")
    customer.cancels(on=minutes_ago(30))
    customer.subscribes("team", monthly="30.00", on=minutes_ago(10))

    after_the_window()

    assert salesforce.records("Task") == []
    assert not Message.objects.filter(state__in=("waiting", "sent"), topic="win_back").exists()


def test_a_post_whose_answer_was_lost_is_looked_for_before_it_is_repeated(salesforce, told):
    _, customer, _ = told
    customer.subscribes("team", monthly="30.00", on=minutes_ago(5))
    salesforce.cuts_next("response", match="composite$")
    after_the_window()
    assert (Message.objects.get().state, Message.objects.get().error_code) == ("waiting", "no_answer")

    after_the_window(70)

    assert len(salesforce.records("FeedItem")) == 1
    assert Message.objects.get().state == "sent"


def test_a_post_that_never_arrived_is_repeated(salesforce, told):
    _, customer, _ = told
    customer.subscribes("team", monthly="30.00", on=minutes_ago(5))
    salesforce.cuts_next("request", match="composite$")
    after_the_window()

    after_the_window(70)

    assert len(salesforce.records("FeedItem")) == 1


def test_nothing_about_the_past_is_told_when_it_goes_live(scenario, salesforce, shadow):
    account = salesforce.add_account(Name="Acme")
    reads(salesforce)
    customer = scenario.customer("Acme", salesforce_account_id=account)
    customer.subscribes("team", monthly="30.00", on=minutes_ago(90))
    customer.cancels(on=minutes_ago(70))
    other = scenario.customer("Other", salesforce_account_id=account)
    other.subscribes("team", monthly="30.00", on=minutes_ago(20))
    pipeline.drain_outbox()
    assert "would_send" in set(Message.objects.values_list("state", flat=True))

    connections.go_live(now=timezone.now())
    scenario.drain()
    after_the_window()

    assert salesforce.records("Task") == [] and salesforce.records("FeedItem") == []
    assert salesforce.record(account)["MRR__c"] == Decimal(30)


def test_a_message_waits_for_the_account_and_goes_with_the_match(scenario, salesforce, live):
    SalesforceOrg.objects.update(live_since=timezone.now() - timedelta(days=10))
    customer = scenario.customer("Acme")
    customer.subscribes("team", monthly="30.00", on=minutes_ago(5))
    after_the_window()
    assert Message.objects.get().state == "held"
    account = salesforce.add_account(Name="Acme")
    reads(salesforce)

    matching.match(Customer.objects.get(stripe_id=customer.id).pk, account, by="rae", now=timezone.now())
    after_the_window()

    (post,) = salesforce.records("FeedItem")
    assert post["ParentId"] == account


# ---- several sources, and Accounts that go away ----


def test_several_sources_add_up_in_one_account_and_each_record_names_its_own(scenario, salesforce, acme):
    scenario.customer("Acme", salesforce_account_id=acme).subscribes("team", monthly="30.00", on="2026-01-10")
    other = Scenario("europe")
    other.customer("Acme GmbH", salesforce_account_id=acme).subscribes("team", monthly="20.00", on="2026-01-11")

    schedules = salesforce.records("MRR_Schedule__c", Account__c=acme)
    by_source = {one["Source_Label__c"]: one["MRR_Delta__c"] for one in schedules}
    assert by_source == {"Acme": Decimal(30), "Europe": Decimal(20)}
    assert salesforce.record(acme)["MRR__c"] == sum(by_source.values())
    assert "(Acme)" in salesforce.record(acme)["Stripe_Customer_Ids__c"]
    assert "(Europe)" in salesforce.record(acme)["Stripe_Customer_Ids__c"]


def test_a_merged_account_is_followed_and_the_history_says_so(scenario, salesforce, acme):
    customer = scenario.customer("Acme", salesforce_account_id=acme)
    customer.subscribes("team", monthly="30.00", on="2026-01-10")
    winner = salesforce.add_account(Name="Acme Holding")
    salesforce.merges(winner, acme)

    customer.moves_to("business", monthly="50.00", on="2026-02-01")
    retry_all()
    scenario.drain()

    assert salesforce.record(winner)["MRR__c"] == Decimal(50)
    assert {one["Account__c"] for one in salesforce.records("MRR_Schedule__c")} == {winner}
    old, new = Match.objects.order_by("pk")
    assert old.undone_at is not None and (new.how, new.account.salesforce_id) == ("merge", winner)
    assert acme in new.evidence[0]["text"]
    assert not SyncRecord.objects.filter(state="parked").exists()


def test_a_deleted_account_sends_its_customer_back_to_matching(scenario, salesforce, acme):
    customer = scenario.customer("Acme", salesforce_account_id=acme)
    customer.subscribes("team", monthly="30.00", on="2026-01-10")
    salesforce.deletes(acme)

    customer.moves_to("business", monthly="50.00", on="2026-02-01")
    retry_all()
    scenario.drain()

    assert Unmatched.objects.get().reason == "deleted_account"
    assert not Match.objects.filter(undone_at__isnull=True).exists()
    assert set(SyncRecord.objects.filter(kind="account").values_list("state", flat=True)) == {"dropped"}


def test_the_newer_value_ends_on_top_of_a_stalled_worker(scenario, salesforce, acme):
    customer = scenario.customer("Acme", salesforce_account_id=acme)
    customer.subscribes("team", monthly="30.00", on="2026-01-10")
    channel, now = CHANNELS[0], timezone.now()
    outbox.retry(SyncRecord.objects.get(kind="account").pk, now=now)
    SyncRecord.objects.filter(kind="account").update(fields_sent=None)
    stalled = outbox.claim(channel, now=now)
    customer.moves_to("business", monthly="50.00", on="2026-02-01")  # leased: nobody else sends it yet
    quick = now + outbox.LEASE
    outbox.send_due(CHANNELS, now=quick)
    assert salesforce.record(acme)["MRR__c"] == Decimal(50)

    salesforce.edits(acme, MRR__c="30")  # the older value arrives late, as if it had been on its way
    row = stalled.rows[0]
    outbox.settle(stalled, {row.ref: Sent({"MRR__c": "30.000000"})}, now=quick)
    outbox.send_due(CHANNELS, now=quick + timedelta(seconds=1))

    assert salesforce.record(acme)["MRR__c"] == Decimal(50)


# ---- every refusal ----


REFUSALS = [
    "REQUIRED_FIELD_MISSING",
    "FIELD_CUSTOM_VALIDATION_EXCEPTION",
    "DUPLICATES_DETECTED",
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
    "INVALID_FIELD",
    "INVALID_FIELD_FOR_INSERT_UPDATE",
    "INVALID_CROSS_REFERENCE_KEY",
    "INSUFFICIENT_ACCESS_OR_READONLY",
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
    "ENTITY_IS_DELETED",
    "STRING_TOO_LONG",
    "MALFORMED_ID",
    "NUMBER_OUTSIDE_VALID_RANGE",
    "INVALID_TYPE",
    "NOT_FOUND",
]


@pytest.mark.parametrize("code", [*REFUSALS, "DUPLICATE_VALUE", "UNABLE_TO_LOCK_ROW", "SERVER_UNAVAILABLE"])
def test_every_refusal_keeps_its_words_and_heals_once_its_cause_is_gone(scenario, salesforce, acme, code):
    customer = scenario.customer("Acme", salesforce_account_id=acme)
    salesforce.rejects_next(
        code, "Detail Url: refused on purpose", sobject="MRR_Schedule__c", fields=("Detail_Url__c",)
    )

    customer.subscribes("team", monthly="30.00", on="2026-01-10")

    record = SyncRecord.objects.get(kind="schedule")
    assert record.error_code == code and "refused on purpose" in record.error
    assert record.state == ("parked" if code in REFUSALS else "waiting")
    if code in REFUSALS:
        assert record.error_fields == ["Detail_Url__c"]
    assert errors.explain(code, record.error, sobject="MRR_Schedule__c").fix
    outbox.retry(record.pk, now=timezone.now())
    scenario.drain()
    record.refresh_from_db()
    assert (record.state, record.error, record.error_fields) == ("sent", "", [])


def test_records_whose_account_was_locked_meet_again_in_one_call(scenario, salesforce, acme):
    customer = scenario.customer("Acme", salesforce_account_id=acme)
    salesforce.rejects_next("UNABLE_TO_LOCK_ROW", "busy", count=3)

    customer.subscribes("team", monthly="30.00", on="2026-01-10")

    locked = SyncRecord.objects.filter(error_code="UNABLE_TO_LOCK_ROW")
    assert locked.count() == 3
    assert len(set(locked.values_list("parent_id", flat=True))) == 1
    moments = sorted(locked.values_list("due_at", flat=True))
    assert moments[-1] - moments[0] < timedelta(milliseconds=1)


def test_a_locked_record_waits_while_a_sibling_is_being_sent(scenario, salesforce, acme):
    customer = scenario.customer("Acme", salesforce_account_id=acme)
    customer.subscribes("team", monthly="30.00", on="2026-01-10")
    now = timezone.now()
    SyncRecord.objects.update(state="waiting", due_at=now, parent_id=acme)
    SyncRecord.objects.filter(kind="schedule").update(error_code="UNABLE_TO_LOCK_ROW")
    SyncRecord.objects.filter(kind="account").update(leased_until=now + timedelta(seconds=30))

    parcel = outbox.claim(CHANNELS[0], now=now)

    assert {row.kind for row in parcel.rows} == {"opportunity"}


def test_when_reads_run_short_the_question_rides_with_the_writes(scenario, salesforce, acme):
    other = salesforce.add_account(Name="Bolt")
    salesforce.add_opportunity(AccountId=other)
    reads(salesforce)
    SalesforceOrg.objects.update(read_allowance=0)
    customers = [scenario.customer(name, salesforce_account_id=name) for name in (acme, other)]
    salesforce.forgets_requests()
    scenario.is_held = True
    for customer in customers:  # two look at once, so one query is cheaper than two times five guards
        customer.subscribes("team", monthly="30.00", on="2026-01-10")
    for event in scenario.events[-2:]:
        scenario.deliver(json.dumps(event).encode())

    scenario.drain()

    assert not salesforce.requests_to("GET .*query")
    assert len(salesforce.requests_to(COMPOSITE)) <= 3  # the question rides, the answer is used, the entries point
    won = {one["AccountId"]: one["Id"] for one in salesforce.records("Opportunity") if one["IsWon"]}
    assert {one["Account__c"]: one["Opportunity__c"] for one in salesforce.records("MRR_Schedule__c")} == won
    assert won.keys() == {acme, other}
