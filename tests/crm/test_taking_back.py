"""A match that was undone leaves Salesforce as it was before, however late it is undone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from auditlog.models import LogEntry

from billing.models import Customer
from config import pipeline
from crm import matching, outbox, rules, selectors
from crm.models import Match, Message, OpportunityChoice, SalesforceOrg, SyncRecord
from mrr import selectors as mrr
from mrr.cohorts import Measure
from mrr.waterfalls import Level, Options, View
from tests.crm.conftest import reads
from tests.crm.test_payments import pays

pytestmark = pytest.mark.django_db(transaction=False)

START = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0)
OURS = ("Account", "Opportunity", "MRR_Schedule__c", "Task", "FeedItem")
STAMPS = ("SystemModstamp", "LastModifiedDate", "LastModifiedById", "LastActivityDate")


def pk_of(story) -> int:
    return Customer.objects.get(stripe_id=story.id).pk


def whole(salesforce) -> dict[str, list[dict[str, Any]]]:
    """All that stands in Salesforce apart from who touched it when; an empty field is no field."""
    return {
        name: [
            {key: value for key, value in row.items() if value not in (None, "", False) and key not in STAMPS}
            for row in salesforce.records(name)
        ]
        for name in OURS
    }


def day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


@pytest.fixture
def clock():
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


@pytest.fixture
def account(clock, scenario, salesforce, live):
    """An Account with a customer of its own and an open Opportunity that sales works on."""
    SalesforceOrg.objects.update(live_since=START - timedelta(days=1))
    account = salesforce.add_account(Name="Acme")
    reads(salesforce)
    acme = scenario.customer("Acme", salesforce_account_id=account)
    salesforce.add_opportunity(
        Name="Old", AccountId=account, StageName="Closed Won", Stripe_Subscription_Id__c="sub_old"
    )
    acme.subscribes("team", monthly="100.00", on="2026-01-10")
    salesforce.add_opportunity(Name="Deal", AccountId=account, StageName="Negotiation", Amount=1200)
    scenario.drain()
    return account


@pytest.fixture
def zebra(scenario, account):
    """A customer without an Account that began, grew and paid just now."""
    SyncRecord.objects.filter(kind="opportunity", state="held").update(state="dropped")  # Acme's asks nobody here
    OpportunityChoice.objects.all().delete()
    story = scenario.customer("Zebra", email="ana@zebra.io", on=day(START))
    story.subscribes("team", monthly="30.00", on=day(START - timedelta(hours=5)))
    story.moves_to("business", monthly="50.00", on=day(START - timedelta(hours=2)))
    pays(scenario, story)
    return story


def goes_on(scenario, clock, **later: int) -> None:
    clock.shift(timedelta(**later))
    scenario.drain()


def undone(scenario, story, now=None) -> Match:
    made = Match.objects.get(customer_id=pk_of(story), undone_at__isnull=True)
    matching.unmatch(made.pk, by="cy", now=now or datetime.now(UTC))
    scenario.drain()
    return made


def matched(scenario, story, account) -> None:
    matching.match(pk_of(story), account, by="ana", now=datetime.now(UTC))
    scenario.drain()


def test_undone_after_30_days_salesforce_is_as_before(scenario, salesforce, clock, account, zebra):
    rules.change_org({"deletes_tasks": True}, by="ana")
    before = whole(salesforce)

    matched(scenario, zebra, account)
    goes_on(scenario, clock, hours=2)
    zebra.moves_to("team", monthly="30.00", on=day(datetime.now(UTC) - timedelta(minutes=1)))
    goes_on(scenario, clock, days=20)
    zebra.cancels(on=day(datetime.now(UTC) - timedelta(minutes=1)))
    goes_on(scenario, clock, hours=2)
    goes_on(scenario, clock, days=10)

    between = whole(salesforce)
    assert len(between["MRR_Schedule__c"]) == len(before["MRR_Schedule__c"]) + 4
    assert [one["Subject"] for one in between["Task"]] == ["Paid: USD 30.00, invoice A-0001", "Win back Zebra"]
    assert len(between["FeedItem"]) == len(before["FeedItem"]) + 1
    deal = salesforce.records("Opportunity", Name="Deal")[0]
    assert (deal["StageName"], deal["Amount"], deal["Stripe_Subscription_Id__c"][:4]) == ("Closed Won", 360, "sub_")

    undone(scenario, zebra)

    assert whole(salesforce) == before
    states = SyncRecord.objects.filter(customer_id=pk_of(zebra))
    assert set(states.values_list("state", "error_code", "takes_back", "confirmed", "salesforce_id")) == {
        ("held", "unmatched", False, 0, "")
    }


def figures(day: date) -> dict[str, Any]:
    """What a CFO reads of all customers on a day: cohorts, and movements by Account, with what each Account holds."""
    accounts = selectors.account_ids(list(Customer.objects.values_list("pk", flat=True)))
    first, month = date(2026, 1, 1), day.replace(day=1)
    by_account = Options(view=View.NETTED, level=Level.ACCOUNT)
    return {
        "cohorts": [mrr.cohorts(measure, today=day, currency="usd", first=first) for measure in Measure],
        "by customer": mrr.waterfall(month, month, today=day, currency="usd"),
        "by Account": mrr.waterfall(month, month, today=day, options=by_account, currency="usd", accounts=accounts),
        "Accounts": accounts,
    }


def test_undone_after_30_days_cohorts_and_what_is_read_by_account_are_as_before(scenario, clock, account, zebra):
    before = figures(START.date())

    matched(scenario, zebra, account)
    goes_on(scenario, clock, days=30)

    between = figures(START.date())
    assert (between["cohorts"], between["by customer"]) == (before["cohorts"], before["by customer"])
    added = [(one["by Account"].minor["new"], one["by Account"].minor["expansion"]) for one in (before, between)]
    assert added == [
        (50_00, 0),
        (0, 50_00),
    ]  # the Account paid before: an upsell
    assert set(between["Accounts"].values()) == {account} and len(between["Accounts"]) == 2

    undone(scenario, zebra)

    assert figures(START.date()) == before


def test_matched_again_all_stands_on_the_right_account(scenario, salesforce, account, zebra):
    right = salesforce.add_account(Name="Zebra")
    salesforce.add_opportunity(Name="Zebra deal", AccountId=right, StageName="Prospecting")
    reads(salesforce)
    matched(scenario, zebra, account)
    made = Match.objects.get(customer_id=pk_of(zebra), undone_at__isnull=True)
    matching.unmatch(made.pk, by="cy", now=datetime.now(UTC))

    matched(scenario, zebra, right)  # before anything was taken back
    scenario.drain()

    entries = salesforce.records("MRR_Schedule__c", Stripe_Customer_Id__c=zebra.id)
    mine, wrong = (salesforce.records("Opportunity", Name=name)[0] for name in ("Zebra deal", "Deal"))
    assert len(entries) == 2
    assert {(one["Account__c"], one["Opportunity__c"]) for one in entries} == {(right, mine["Id"])}
    assert (mine["IsWon"], mine["Amount"]) == (True, 360)
    assert (wrong["StageName"], wrong["Amount"]) == ("Negotiation", Decimal(1200))
    assert wrong["Stripe_Subscription_Id__c"] is None
    (task,) = salesforce.records("Task")
    assert (task["WhatId"], task["Subject"]) == (right, "Paid: USD 30.00, invoice A-0001")
    assert salesforce.record(account)["MRR__c"] == 100 and salesforce.record(right)["MRR__c"] == 50


def test_tasks_are_closed_and_say_why_unless_they_are_to_be_deleted(scenario, salesforce, account, zebra):
    matched(scenario, zebra, account)
    undone(scenario, zebra)

    (task,) = salesforce.records("Task")
    assert (task["Subject"], task["Status"]) == ("Withdrawn: Paid: USD 30.00, invoice A-0001", "Completed")
    assert task["Description"].startswith("Withdrawn on ") and "Invoice A-0001" in task["Description"]
    assert set(Message.objects.filter(topic="payment").values_list("state", "error_code")) == {("dropped", "withdrawn")}


def test_what_a_rep_changed_since_stays_and_the_history_says_so(scenario, salesforce, account, zebra):
    matched(scenario, zebra, account)
    deal = salesforce.records("Opportunity", Name="Deal")[0]
    salesforce.edits(deal["Id"], Amount=999)

    undone(scenario, zebra)

    deal = salesforce.record(deal["Id"])
    assert (deal["StageName"], deal["Amount"], deal["Stripe_Subscription_Id__c"]) == ("Negotiation", 999, None)
    line = LogEntry.objects.order_by("-pk")[0]
    assert line.changes == {f"not_as_it_was {deal['Id']}": ["", "Amount"]} and line.object_repr == zebra.id


def test_an_opportunity_that_we_made_goes(scenario, salesforce, account, zebra):
    rules.change_org({"makes_opportunities": True}, by="ana")
    salesforce.deletes(salesforce.records("Opportunity", Name="Deal")[0]["Id"])
    before = whole(salesforce)["Opportunity"]
    matched(scenario, zebra, account)
    assert len(salesforce.records("Opportunity")) == len(before) + 1

    undone(scenario, zebra)

    assert whole(salesforce)["Opportunity"] == before


def test_an_opportunity_that_was_given_to_another_subscription_is_left(scenario, salesforce, account, zebra):
    matched(scenario, zebra, account)
    deal = salesforce.records("Opportunity", Name="Deal")[0]
    salesforce.edits(deal["Id"], Stripe_Subscription_Id__c="sub_other")

    undone(scenario, zebra)

    deal = salesforce.record(deal["Id"])
    assert (deal["StageName"], deal["Stripe_Subscription_Id__c"]) == ("Closed Won", "sub_other")


def test_a_lost_answer_takes_nothing_back_twice(scenario, salesforce, clock, account, zebra):
    before = whole(salesforce)
    rules.change_org({"deletes_tasks": True}, by="ana")
    matched(scenario, zebra, account)
    salesforce.cuts_next("response", match="composite$")

    undone(scenario, zebra)
    for _ in range(3):
        goes_on(scenario, clock, minutes=5)

    assert whole(salesforce) == before


def test_where_we_may_not_delete_the_entries_lose_their_account(scenario, salesforce, account, zebra):
    matched(scenario, zebra, account)
    salesforce.refuses_deletes("MRR_Schedule__c")

    undone(scenario, zebra)

    entries = salesforce.records("MRR_Schedule__c", Stripe_Customer_Id__c=zebra.id)
    assert {(one["Account__c"], one["Opportunity__c"]) for one in entries} == {(None, None)}
    assert set(SyncRecord.objects.filter(customer_id=pk_of(zebra)).values_list("state", flat=True)) == {"held"}


def test_undone_while_it_is_being_sent_nothing_is_left(scenario, salesforce, account, zebra):
    """The channel had the rows when the match was undone: what its call wrote is taken back as well."""
    before = whole(salesforce)
    now = datetime.now(UTC)
    matching.match(pk_of(zebra), account, by="ana", now=now)
    channel = next(one for one in pipeline.CHANNELS if one.name == "salesforce")
    parcel = outbox.claim(channel, now=now)
    assert parcel is not None
    made = Match.objects.get(customer_id=pk_of(zebra), undone_at__isnull=True)
    outcomes = outbox.deliver(channel, parcel, now=now)
    matching.unmatch(made.pk, by="cy", now=now)
    outbox.settle(parcel, outcomes, now=now)
    rules.change_org({"deletes_tasks": True}, by="ana")

    scenario.drain()

    assert whole(salesforce) == before


def test_held_entries_go_in_the_order_in_which_they_were_effective(scenario, salesforce, account):
    story = scenario.customer("Late", email="ana@late.io")
    scenario.is_held = True
    story.subscribes("team", monthly="30.00", on="2026-02-10")
    story.moves_to("business", monthly="50.00", on="2026-03-10")
    story.cancels(on="2026-04-10")
    scenario.is_held = False
    scenario.arrives(scenario.events[-3:], order="reversed")
    SalesforceOrg.objects.update(is_won_stage_chosen=True)

    matched(scenario, story, account)

    entries = salesforce.records("MRR_Schedule__c", Stripe_Customer_Id__c=story.id)
    starts = [one["Effective_At__c"] for one in entries]
    assert len(starts) >= 3 and starts == sorted(starts)
