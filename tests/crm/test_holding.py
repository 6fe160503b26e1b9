"""All writes to Salesforce held: nothing goes, nothing is lost, and after a restore nothing is believed."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from config import due, pipeline
from crm import holding, outbox
from crm.channels import CHANNELS
from crm.models import BulkJob, Message, SalesforceOrg, SyncRecord
from tests.crm.conftest import reads

pytestmark = pytest.mark.django_db

NOW = timezone.now()


@pytest.fixture
def acme(scenario, salesforce, live):
    """A customer whose subscription was sent."""
    account = salesforce.add_account(Name="Acme")
    salesforce.add_opportunity(AccountId=account)
    reads(salesforce)
    customer = scenario.customer("Acme", salesforce_account_id=account)
    customer.subscribes("team", monthly="30.00", on="2026-01-10")
    salesforce.forgets_requests()
    return customer, account


def test_while_held_nothing_goes_and_nobody_is_late(acme, salesforce):
    customer, _ = acme
    assert holding.hold_all("Restored from a backup.", by="restore", now=NOW)

    customer.moves_to("business", monthly="50.00", on="2026-02-01")

    assert salesforce.requests == []
    assert SyncRecord.objects.filter(state="waiting").count() == 3
    assert not outbox.is_due(CHANNELS, now=timezone.now())
    assert due.outbox_due_since(now=timezone.now()) is None


def test_once_released_the_newest_state_goes(acme, salesforce, scenario):
    customer, account = acme
    holding.hold_all("Looking into it.", by="ann", now=NOW)
    customer.moves_to("business", monthly="50.00", on="2026-02-01")
    customer.moves_to("business", monthly="60.00", on="2026-02-02")

    assert holding.release_held(by="ann", now=NOW)
    scenario.drain()

    assert salesforce.record(account)["MRR__c"] == Decimal(60)
    assert len(salesforce.requests_to("composite$")) == 1
    assert not holding.release_held(by="ann", now=NOW)


def test_a_job_under_way_waits_too(live):
    job = BulkJob.objects.create(
        org=live, sobject="Account", operation="update", key_field="Id", rows=0, due_at=NOW, created_at=NOW
    )
    holding.hold_all("Looking into it.", by="ann", now=NOW)

    pipeline.drain_outbox(now=NOW + timedelta(minutes=1))

    job.refresh_from_db()
    assert (job.state, job.attempts) == ("making", 0)


def test_after_a_restore_what_stands_there_is_not_believed(acme, salesforce, scenario, live):
    _, account = acme
    salesforce.edits(account, MRR__c="99")  # written after the backup was made: this database knows nothing of it
    BulkJob.objects.create(
        org=live,
        sobject="Account",
        operation="update",
        key_field="Id",
        rows=1,
        due_at=NOW,
        created_at=NOW,
        job_id="750",
    )
    Message.objects.create(channel="salesforce", topic="closed_won", dedupe_key="k", due_at=NOW, created_at=NOW)

    holding.hold_all("Restored from a backup.", by="restore", now=timezone.now(), is_restored=True)

    assert BulkJob.objects.get().state == "aborted"
    assert Message.objects.get().attempts == 1  # so the next try looks for the post before it makes one
    Message.objects.all().delete()
    holding.release_held(by="ann", now=NOW)
    scenario.drain()
    assert salesforce.record(account)["MRR__c"] == Decimal(30)
    assert [one["StageName"] for one in salesforce.records("Opportunity")] == ["Closed Won"]
    assert len(salesforce.records("MRR_Schedule__c")) == 1
    assert set(SyncRecord.objects.values_list("state", flat=True)) == {"sent"}


def test_the_first_moment_stands_and_the_newest_reason_is_told(live):
    holding.hold_all("First.", by="ann", now=NOW)
    holding.hold_all("Second." + "x" * 400, by="bob", now=NOW + timedelta(hours=1))

    org = SalesforceOrg.objects.get()
    assert org.held_since == NOW and org.held_by == "bob"
    assert org.held_because.startswith("Second.") and len(org.held_because) == 300


def test_without_an_org_there_is_nothing_to_hold(db):
    assert not holding.hold_all("Restored.", by="restore", now=NOW)
