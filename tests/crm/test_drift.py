"""What people change in Salesforce of what we wrote: found, and overwritten, adopted or ignored."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from crm import accounts, connections, drift, outbox
from crm.differences import agree, without_accepted
from crm.models import Drift, LoggedWrite, SalesforceOrg, SyncRecord
from tests.crm.conftest import reads

pytestmark = pytest.mark.django_db(transaction=False)


@pytest.fixture
def acme(salesforce, live):
    account = salesforce.add_account(Name="Acme")
    salesforce.add_opportunity(Name="Acme team", AccountId=account)
    reads(salesforce)
    return account


@pytest.fixture
def customer(scenario, acme):
    """A customer whose three records stand in Salesforce."""
    story = scenario.customer("Acme", salesforce_account_id=acme)
    story.subscribes("team", monthly="30.00", on="2026-01-10")
    scenario.drain()
    return story


@pytest.fixture
def edited(salesforce, customer, acme):
    """A person has changed three fields of ours."""
    salesforce.edits(acme, MRR__c=Decimal(99), Billing_Status__c="canceled")
    (schedule,) = salesforce.records("MRR_Schedule__c")
    salesforce.edits(schedule["Id"], Reason__c="changed by hand")
    salesforce.forgets_requests()
    return schedule["Id"]


def check(**more) -> drift.Checked:
    return drift.check(now=timezone.now(), **more)


def decide(act, *fields: str) -> int:
    pks = list(Drift.objects.filter(state="open", field__in=fields).values_list("pk", flat=True))
    return act(pks, by="revops", now=timezone.now())


def open_fields() -> set[str]:
    return set(Drift.objects.filter(state="open").values_list("field", flat=True))


def test_three_fields_that_a_person_changed_are_three_found(salesforce, edited):
    found = check()

    assert (found.found, found.gone) == (3, 0)
    rows = {row.field: row for row in Drift.objects.all()}
    assert (rows["MRR__c"].ours, Decimal(str(rows["MRR__c"].theirs))) == ("30.000000", 99)
    assert rows["Reason__c"].theirs == "changed by hand"
    assert {row.changed_by for row in rows.values()} == {"Ada Admin"}
    assert {request.method for request in salesforce.requests} == {"GET"}
    assert len(salesforce.requests) == 3


def test_a_second_check_finds_nothing_new(edited):
    check()

    assert check().found == 0
    assert check(everything=True).found == 0
    assert Drift.objects.count() == 3


def test_overwriting_writes_ours_again(scenario, salesforce, acme, edited):
    check()

    assert decide(drift.overwrite, "MRR__c", "Reason__c") == 2
    scenario.drain()

    assert salesforce.record(acme)["MRR__c"] == Decimal(30)
    assert salesforce.record(edited)["Reason__c"] != "changed by hand"
    check()
    assert open_fields() <= {"Billing_Status__c"}


def test_adopting_leaves_theirs_until_ours_changes(scenario, salesforce, acme, customer, edited):
    check()
    decide(drift.adopt, "Billing_Status__c")
    decide(drift.overwrite, "MRR__c")

    scenario.drain()
    assert salesforce.record(acme)["Billing_Status__c"] == "canceled"
    assert check().found == 0

    customer.changes(on="2026-02-01", status="past_due")
    assert salesforce.record(acme)["Billing_Status__c"] == "past_due"


def test_ignoring_says_no_more_until_theirs_changes(salesforce, acme, edited):
    check()
    decide(drift.ignore, "MRR__c", "Billing_Status__c", "Reason__c")

    assert check(everything=True).found == 0
    assert open_fields() == set()
    salesforce.edits(acme, MRR__c=Decimal(98))
    assert check().found == 1
    assert open_fields() == {"MRR__c"}


def test_what_agrees_again_is_closed(salesforce, acme, edited):
    check()

    salesforce.edits(acme, MRR__c=Decimal(30), Billing_Status__c="active")

    assert check().gone == 2
    assert open_fields() == {"Reason__c"}


def test_our_own_changes_are_not_reacted_to(scenario, salesforce, customer):
    customer.moves_to("business", monthly="50.00", on="2026-02-01")
    waiting = SyncRecord.objects.exclude(state="sent").count()

    assert check(everything=True) == drift.Checked()
    scenario.drain()
    assert SyncRecord.objects.exclude(state="sent").count() == waiting == 0


def test_what_a_rep_does_to_a_won_opportunity_is_the_reps(salesforce, customer):
    (won,) = salesforce.records("Opportunity")

    salesforce.edits(won["Id"], Amount=Decimal(400), CloseDate="2026-01-12")

    assert check().found == 0


def test_a_subscription_taken_off_its_opportunity_is_found(salesforce, customer):
    (won,) = salesforce.records("Opportunity")

    salesforce.edits(won["Id"], Stripe_Subscription_Id__c=None)

    check()
    assert open_fields() == {"Stripe_Subscription_Id__c"}


def test_a_deleted_schedule_entry_is_found_and_written_again(scenario, salesforce, customer):
    (schedule,) = salesforce.records("MRR_Schedule__c")
    salesforce.deletes(schedule["Id"])

    check()
    assert open_fields() == {"IsDeleted"}
    decide(drift.overwrite, "IsDeleted")
    scenario.drain()

    assert len(salesforce.records("MRR_Schedule__c")) == 1
    assert check().found == 0


def test_a_deleted_schedule_entry_may_stay_deleted(scenario, salesforce, customer):
    (schedule,) = salesforce.records("MRR_Schedule__c")
    salesforce.deletes(schedule["Id"])
    check()

    decide(drift.adopt, "IsDeleted")
    scenario.drain()

    assert salesforce.records("MRR_Schedule__c") == []
    assert SyncRecord.objects.get(kind="schedule").state == "dropped"


def test_two_people_cannot_both_decide(edited):
    check()

    assert decide(drift.ignore, "MRR__c") == 1
    row = Drift.objects.get(field="MRR__c")
    assert drift.overwrite([row.pk], by="other", now=timezone.now()) == 0


def test_a_record_with_a_newer_value_on_its_way_is_left_alone(salesforce, acme, edited):
    outbox.owe_accounts([acme], now=timezone.now())

    check()

    assert open_fields() == {"Reason__c"}


def test_in_shadow_there_is_nothing_to_compare(edited):
    connections.go_shadow(now=timezone.now())

    with pytest.raises(drift.NotChecked, match="shadow"):
        check()


def test_every_write_is_logged_with_request_and_answer(salesforce, customer, acme):
    lines = {line.sobject: line for line in LoggedWrite.objects.all()}

    account = lines["Account"]
    assert (account.outcome, account.method, account.path) == ("sent", "PATCH", f"sobjects/Account/{acme}")
    assert account.request["MRR__c"] == "30.000000"
    assert lines["MRR_Schedule__c"].path.startswith("sobjects/MRR_Schedule__c/Ledger_Key__c/")
    assert lines["MRR_Schedule__c"].response["success"] is True
    assert set(lines) == {"Account", "Opportunity", "MRR_Schedule__c"}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("50.000000", 50.0),
        ("0.30", 0.3),
        (3, 3.0),
        (None, ""),
        ("a\nb", "a\r\nb "),
        ("2026-01-10T00:00:00Z", "2026-01-10T00:00:00.000+0000"),
        (True, True),
    ],
)
def test_values_that_salesforce_writes_its_own_way_agree(ours, theirs):
    assert agree(ours, theirs)


@pytest.mark.parametrize(
    ("ours", "theirs"), [("50.00", 50.01), (False, None), (None, 0.0), ("a", "b"), (True, 1.0), ("2026-01-10", None)]
)
def test_values_that_differ_do_not_agree(ours, theirs):
    assert not agree(ours, theirs)


def test_what_was_left_to_salesforce_is_written_again_when_ours_changes():
    accepted = {"MRR__c": {"ours": "30.000000", "theirs": 99.0}}

    assert without_accepted({"MRR__c": "30.000000", "ARR__c": "360.00"}, accepted) == {"ARR__c": "360.00"}
    assert without_accepted({"MRR__c": "31.000000"}, accepted) == {"MRR__c": "31.000000"}


def test_the_stamp_of_our_own_writes_starts_no_new_matching(salesforce, customer):
    SalesforceOrg.objects.update(mirrored_to=timezone.now() - timedelta(hours=1))

    read = accounts.refresh(now=timezone.now())

    assert (read.accounts, read.news) == (1, 0)
    salesforce.edits(salesforce.records("Account")[0]["Id"], Website="https://acme.example")
    assert accounts.refresh(now=timezone.now()).news == 1
