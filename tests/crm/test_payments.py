"""What a paid invoice leaves in Salesforce: a completed Task by the source's rule, an Amount that is never changed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.core.management import call_command

from billing.models import StripeEvent
from config.demo import objects
from crm.models import Message, SalesforceOrg, SourceRules, SyncRecord
from tests.crm.conftest import reads
from tests.scenario import Scenario

pytestmark = pytest.mark.django_db(transaction=False)

TODAY = datetime.now(UTC)


@pytest.fixture
def account(salesforce, live):
    """An Account with one open Opportunity; the connection has been live for a week."""
    found = salesforce.add_account(Name="Acme")
    salesforce.add_opportunity(Name="Deal", AccountId=found)
    reads(salesforce)
    SalesforceOrg.objects.update(live_since=TODAY - timedelta(days=7))
    return found


@pytest.fixture
def customer(scenario, account):
    return scenario.customer("Acme", salesforce_account_id=account)


def day(days_ago: int = 0) -> str:
    return f"{TODAY - timedelta(days=days_ago):%Y-%m-%d}"


def pays(scenario: Scenario, customer, *, number: int = 1, minor: int = 3000, on: str = "", kind: str = "invoice.paid"):
    """Tell of a paid invoice of the customer's last subscription."""
    sub = customer.subscriptions[-1]
    item = sub["items"]["data"][0]
    at = int(TODAY.timestamp()) - 60 if not on else int(datetime.fromisoformat(f"{on}T12:00:00+00:00").timestamp())
    name = f"in_{customer.id[4:]}{number:04d}"
    line = objects.line(f"il_{name}", name, item["price"], item, amount=minor, text="1 × Team", is_proration=False)
    billed = objects.invoice(
        name, sub, customer.object, number=f"A-{number:04d}", reason="subscription_create", lines=[line], at=at
    )
    billed |= {"status": "paid", "amount_paid": minor, "amount_remaining": 0}
    billed["status_transitions"] = {**billed["status_transitions"], "paid_at": at}
    scenario.tell(kind, billed, on or day())
    scenario.drain()


def test_the_first_invoice_leaves_a_completed_task_on_the_opportunity(scenario, salesforce, customer):
    customer.subscribes("team", monthly="30.00", on=day(1))
    pays(scenario, customer)
    pays(scenario, customer, kind="invoice.payment_succeeded")
    pays(scenario, customer, number=2)

    (task,) = [one for one in salesforce.records("Task") if one["Status"] == "Completed"]
    (won,) = salesforce.records("Opportunity")
    assert task["Subject"] == "Paid: USD 30.00, invoice A-0001"
    assert "1 × Team: USD 30.00" in task["Description"]
    assert task["WhatId"] == won["Id"]
    assert salesforce.record(won["AccountId"])["Last_Payment_Amount__c"] == Decimal(30)


def test_every_invoice_leaves_one_where_the_source_says_so(scenario, salesforce, customer):
    SourceRules.objects.create(source=scenario.source, payment_tasks="every")
    customer.subscribes("team", monthly="30.00", on=day(1))
    pays(scenario, customer)
    pays(scenario, customer, number=2)

    assert len([one for one in salesforce.records("Task") if one["Status"] == "Completed"]) == 2


def test_none_leaves_one_where_the_source_says_so(scenario, salesforce, customer):
    SourceRules.objects.create(source=scenario.source, payment_tasks="none")
    customer.subscribes("team", monthly="30.00", on=day(1))
    pays(scenario, customer)

    assert not Message.objects.filter(topic="payment").exists()


def test_payments_of_the_past_are_told_to_nobody(scenario, customer):
    customer.subscribes("team", monthly="30.00", on=day(20))
    pays(scenario, customer, on=day(5))
    SalesforceOrg.objects.update(live_since=TODAY)
    pays(scenario, customer, number=2, on=day(1))
    assert not Message.objects.filter(topic="payment").exists()


def test_an_imported_payment_is_told_to_nobody(scenario, customer, tmp_path):
    customer.subscribes("team", monthly="30.00", on=day(1))
    scenario.is_held = True
    pays(scenario, customer)
    file = tmp_path / "events.jsonl"
    file.write_text(json.dumps(scenario.events[-1]) + "\n")

    call_command("load_events", scenario.source.slug, str(file))
    scenario.drain()

    assert StripeEvent.objects.filter(type="invoice.paid", state="processed").exists()
    assert not Message.objects.filter(topic="payment").exists()


def test_without_an_account_the_task_waits_for_the_match(scenario, salesforce, account):
    stranger = scenario.customer("Stranger")
    stranger.subscribes("team", monthly="30.00", on=day(1))
    pays(scenario, stranger)

    assert Message.objects.get(topic="payment").state == "held"


def test_the_amount_may_be_that_of_the_first_invoice_and_stays_so(scenario, salesforce, customer):
    SourceRules.objects.create(source=scenario.source, amount_from="first_invoice", payment_tasks="none")
    customer.subscribes("team", monthly="30.00", on=day(1))
    (won,) = salesforce.records("Opportunity")
    assert won["IsWon"] and won["Amount"] is None

    pays(scenario, customer, minor=2500)
    pays(scenario, customer, number=2, minor=9900)
    customer.moves_to("business", monthly="50.00", on=day())

    (won,) = salesforce.records("Opportunity")
    assert (won["Amount"], won["Committed_ARR__c"]) == (Decimal(25), Decimal(600))
    assert SyncRecord.objects.get(kind="opportunity").state == "sent"
