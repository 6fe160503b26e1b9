"""Thousands of one kind: a Bulk job in rows, its steps, its results, and what a killed worker leaves behind."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from billing.models import Customer, StripeSource
from config import pipeline
from crm import outbox
from crm.channels.salesforce import bulk
from crm.ids import long_id
from crm.models import Account, BulkJob, BulkRow, LoggedWrite, Match, SalesforceOrg, SyncRecord

pytestmark = pytest.mark.django_db

JOBS = "jobs/ingest"
NOW = timezone.now()


@pytest.fixture(autouse=True)
def room() -> Iterator[None]:
    """Jobs of a few rows, so that most tests stay quick."""
    before = bulk.BULK_FROM, bulk.FEWEST_ROWS, bulk.goes_by_bulk
    bulk.BULK_FROM, bulk.FEWEST_ROWS = 20, 5
    bulk.goes_by_bulk = lambda due: due > 20
    yield
    bulk.BULK_FROM, bulk.FEWEST_ROWS, bulk.goes_by_bulk = before


def accounts(fake, org: SalesforceOrg, count: int) -> list[str]:
    """So many Accounts there, each matched with a customer here, and each owed a refresh."""
    ids = [fake.add_account(Name=f"Acme {number}") for number in range(count)]
    source = StripeSource.objects.create(slug="many", label="Many")
    Account.objects.bulk_create(Account(org=org, salesforce_id=long_id(one), name=one) for one in ids)
    Customer.objects.bulk_create(Customer(source=source, stripe_id=f"cus_{one}") for one in ids)
    mirrored = dict(Account.objects.values_list("salesforce_id", "pk"))
    Match.objects.bulk_create(
        Match(customer_id=pk, account_id=mirrored[long_id(stripe_id[4:])], how="person", matched_at=NOW)
        for pk, stripe_id in Customer.objects.filter(source=source).values_list("pk", "stripe_id")
    )
    outbox.owe_accounts(ids, now=NOW)
    return ids


def works(*, minutes: int = 3) -> None:
    """Do what workers do for some minutes."""
    for step in range(minutes * 12):
        pipeline.drain_outbox(now=NOW + timedelta(seconds=5 * step))


def carries_on(*, minutes: int = 0) -> None:
    """Do the job's steps of a minute, from so many minutes on, and nothing else."""
    for step in range(12):
        bulk.carry_on(now=NOW + timedelta(minutes=minutes, seconds=5 * step))


def states() -> set[str]:
    return set(SyncRecord.objects.values_list("state", flat=True))


def test_many_of_one_kind_go_in_one_job_and_are_joined_by_their_key(salesforce, live):
    ids = accounts(salesforce, live, 30)

    works()

    assert states() == {"sent"}
    assert {salesforce.record(one)["Stripe_Customer_Ids__c"] for one in ids} == {f"cus_{one}" for one in ids}
    assert not salesforce.requests_to("composite$")
    assert len(salesforce.requests_to(JOBS)) <= 8
    job = BulkJob.objects.get()
    assert (job.state, job.rows, job.failed) == ("ended", 30, 0)
    assert not BulkRow.objects.exists() and not SyncRecord.objects.exclude(bulk_job=None).exists()
    assert set(SyncRecord.objects.values_list("leased_until", flat=True)) == {None}


@pytest.mark.slow
@pytest.mark.any_database  # it counts calls
def test_twenty_thousand_changed_records_take_at_most_twenty_calls(salesforce, live, room):
    bulk.FEWEST_ROWS, bulk.BULK_FROM = 1000, 2000
    bulk.goes_by_bulk = lambda due: due > 2000
    accounts(salesforce, live, 20_000)
    salesforce.forgets_requests()

    works(minutes=5)

    assert states() == {"sent"}
    assert len(salesforce.requests) <= 20


def test_a_true_blank_empties_a_field_and_what_is_not_written_stays(salesforce, live):
    ids = accounts(salesforce, live, 30)
    for one in ids:
        salesforce.edits(one, MRR__c="7", Billing_Status__c="active", Description="theirs")

    works()

    record = salesforce.record(ids[0])
    assert (record["MRR__c"], record["Billing_Status__c"], record["Description"]) == (Decimal(0), None, "theirs")
    (upload,) = salesforce.requests_to(f"PUT .*{JOBS}")
    rows = list(csv.reader(io.StringIO(upload.text, newline="")))
    assert rows[0] == ["Id", *sorted(rows[0][1:])] and b"\r" not in upload.body
    assert rows[1][rows[0].index("Billing_Status__c")] == "#N/A"
    assert rows[1][rows[0].index("In_Dispute__c")] == "false"


def test_a_text_that_bulk_takes_for_a_blank_goes_by_collection(salesforce, live):
    ids = accounts(salesforce, live, 30)
    Customer.objects.filter(stripe_id=f"cus_{ids[3]}").update(stripe_id="#N/A")

    works()

    assert states() == {"sent"}
    assert salesforce.record(ids[3])["Stripe_Customer_Ids__c"] == "#N/A"
    (upload,) = salesforce.requests_to(f"PUT .*{JOBS}")
    assert ids[3] not in upload.text and len(salesforce.requests_to("composite$")) == 1


def test_the_log_tells_of_each_record_what_the_job_asked_and_what_came_back(salesforce, live):
    ids = accounts(salesforce, live, 30)
    salesforce.adds_rule("Account", lambda record: "No thanks" if record["Id"] == ids[3] else None)

    works(minutes=1)

    path = f"jobs/ingest/{BulkJob.objects.get().job_id}/batches"
    lines = {line.key: line for line in LoggedWrite.objects.all()}
    assert lines.keys() == set(ids) and {(line.method, line.path) for line in lines.values()} == {("PUT", path)}
    assert lines[ids[0]].request["Stripe_Customer_Ids__c"] == f"cus_{ids[0]}"
    assert lines[ids[0]].response == {"success": True, "id": ids[0]}
    refused = lines[ids[3]]
    assert (refused.outcome, refused.error_code) == ("refused", "FIELD_CUSTOM_VALIDATION_EXCEPTION")
    assert refused.request["Stripe_Customer_Ids__c"] == f"cus_{ids[3]}" and "No thanks" in refused.response["message"]


def test_each_refused_row_is_parked_alone(salesforce, live):
    ids = accounts(salesforce, live, 30)
    salesforce.adds_rule("Account", lambda record: "No thanks" if record["Id"] == ids[3] else None)
    salesforce.rejects_next("UNABLE_TO_LOCK_ROW", sobject="Account", matching={"Id": ids[4]})

    works(minutes=1)

    parked = SyncRecord.objects.get(state="parked")
    assert (parked.key, parked.error_code) == (ids[3], "FIELD_CUSTOM_VALIDATION_EXCEPTION")
    assert "No thanks" in parked.error
    works(minutes=1)
    assert SyncRecord.objects.filter(state="sent").count() == 29


def test_unprocessed_rows_go_again(salesforce, live):
    accounts(salesforce, live, 30)
    salesforce.bulk_stops_after = 12

    carries_on()

    codes = list(SyncRecord.objects.filter(state="waiting").values_list("error_code", flat=True))
    assert codes == ["BULK_UNPROCESSED"] * 18
    salesforce.bulk_stops_after = None
    works(minutes=3)
    assert states() == {"sent"}


def test_a_field_that_is_missing_there_parks_with_its_name(salesforce, live):
    accounts(salesforce, live, 30)
    salesforce.hides_field("Account", "CMRR__c")

    works(minutes=1)

    assert states() == {"parked"}
    record = SyncRecord.objects.first()
    assert (record.error_code, record.error_fields) == ("INVALID_FIELD", ["CMRR__c"])


def test_what_is_wanted_anew_meanwhile_goes_afterwards(salesforce, live):
    ids = accounts(salesforce, live, 30)
    bulk.carry_on(now=NOW)
    assert SyncRecord.objects.filter(leased_until__isnull=True).count() == 0

    outbox.owe_accounts(ids[:1], now=NOW)
    carries_on()

    record = SyncRecord.objects.get(key=ids[0])
    assert record.state == "waiting" and record.confirmed < record.wanted
    assert SyncRecord.objects.filter(state="sent").count() == 29


def test_unchanged_records_cost_no_call(salesforce, live):
    accounts(salesforce, live, 30)
    works()
    salesforce.forgets_requests()

    for record in SyncRecord.objects.all():
        outbox.retry(record.pk, now=NOW)
    works(minutes=1)

    assert salesforce.requests == []
    assert states() == {"sent"}


# ---- killed workers ----


class Killed(BaseException):
    """Nothing of ours catches it."""


def dies_at(monkeypatch, name: str) -> None:
    """The worker is killed when it begins to wait for the answer to this call: the request went out."""
    real = getattr(bulk.Client, name)

    def then_die(self, *args, **more):
        real(self, *args, **more)
        raise Killed

    monkeypatch.setattr(bulk.Client, name, then_die)


@pytest.mark.parametrize("call", ["restful", "put_csv", "text"])
def test_another_worker_carries_on_where_one_was_killed(salesforce, live, monkeypatch, call):
    ids = accounts(salesforce, live, 30)
    with monkeypatch.context() as killing:
        dies_at(killing, call)
        with pytest.raises(Killed):
            for step in range(20):
                bulk.carry_on(now=NOW + timedelta(seconds=5 * step))

    later = NOW + timedelta(minutes=10)
    for step in range(20):
        pipeline.drain_outbox(now=later + timedelta(seconds=5 * step))

    assert states() == {"sent"}
    assert {salesforce.record(one)["Stripe_Customer_Ids__c"] for one in ids} == {f"cus_{one}" for one in ids}
    assert {job.state for job in salesforce.jobs.values()} <= {"JobComplete", "Aborted"}
    assert not BulkRow.objects.exists()


def test_a_lost_answer_to_the_upload_is_looked_into(salesforce, live):
    accounts(salesforce, live, 30)
    salesforce.cuts_next("response", match=f"PUT .*{JOBS}")

    works(minutes=3)

    assert states() == {"sent"}
    assert sorted(job.state for job in salesforce.jobs.values()) == ["Aborted", "JobComplete"]


def test_a_limit_reached_in_the_middle_waits_and_goes_on(salesforce, live):
    accounts(salesforce, live, 30)
    bulk.carry_on(now=NOW)
    salesforce.fails_next(403, match=JOBS)

    bulk.carry_on(now=NOW + timedelta(seconds=10))
    assert BulkJob.objects.get().due_at > NOW + timedelta(minutes=10)
    SalesforceOrg.objects.update(paused_until=None)
    carries_on(minutes=20)

    assert states() == {"sent"}
