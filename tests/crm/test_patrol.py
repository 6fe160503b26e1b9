"""The patrol: every record we wrote is compared with what stands there, whoever changed it and whenever."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from crm import drift, patrol
from crm.models import ApiHour, Drift, SalesforceOrg, SyncRecord
from tests.crm.conftest import reads

pytestmark = pytest.mark.django_db(transaction=False)


@pytest.fixture
def acme(scenario, salesforce, live):
    """An Account whose three records stand in Salesforce."""
    account = salesforce.add_account(Name="Acme")
    salesforce.add_opportunity(Name="Acme team", AccountId=account)
    reads(salesforce)
    scenario.customer("Acme", salesforce_account_id=account).subscribes("team", monthly="30.00", on="2026-01-10")
    scenario.drain()
    drift.check(now=timezone.now())
    salesforce.forgets_requests()
    return account


def turn(**more) -> drift.Checked:
    return patrol.take_turn(now=timezone.now(), **more)


def changes_as_us(salesforce, record_id: str, **fields) -> None:
    """Another program that signs in as our integration user changes a record."""
    salesforce.store.update(salesforce._sobject_of(record_id), record_id, fields)


def open_fields() -> dict[str, str]:
    return dict(Drift.objects.filter(state="open").values_list("field", "changed_by"))


def test_what_our_own_user_changed_elsewhere_is_found(salesforce, acme):
    changes_as_us(salesforce, acme, MRR__c=Decimal(99))
    assert drift.check(now=timezone.now(), everything=True).found == 0

    found = turn()

    assert (found.records, found.found) == (3, 1)
    assert open_fields() == {"MRR__c": "Integration User"}


def test_a_round_takes_a_call_for_each_kind_and_none_again_the_same_night(salesforce, acme):
    before = sum(ApiHour.objects.values_list("writes", flat=True))

    turn()
    assert [request.path.rsplit("/", 1)[-1] for request in salesforce.requests] == [
        "MRR_Schedule__c", "Account", "Opportunity",
    ]  # fmt: skip
    turn()

    assert len(salesforce.requests) == 3
    assert sum(ApiHour.objects.values_list("writes", flat=True)) == before
    SalesforceOrg.objects.update(patrolled_at=timezone.now() - timedelta(hours=21))
    turn()
    assert len(salesforce.requests) == 6


def test_where_a_turn_ends_the_next_one_goes_on(scenario, salesforce, acme, monkeypatch):
    other = salesforce.add_account(Name="Other")
    reads(salesforce)
    scenario.customer("Other", salesforce_account_id=other).subscribes("team", monthly="30.00", on="2026-01-10")
    monkeypatch.setattr(patrol, "AT_ONCE", 1)
    salesforce.edits(other, MRR__c=Decimal(99))
    salesforce.forgets_requests()

    counts = [turn(calls=2).records for _ in range(4)]

    # Two schedule entries, two Accounts, one Opportunity: the other customer's waits for a person.
    assert counts == [2, 2, 1, 0]
    assert open_fields() == {"MRR__c": "Ada Admin"}


def test_what_is_gone_for_good_is_found_and_written_again(scenario, salesforce, acme):
    (schedule,) = salesforce.records("MRR_Schedule__c")
    salesforce.deletes(schedule["Id"])
    salesforce.purges(schedule["Id"])

    turn()
    assert open_fields() == {"IsDeleted": ""}
    drift.overwrite(list(Drift.objects.values_list("pk", flat=True)), by="revops", now=timezone.now())
    scenario.drain()

    assert len(salesforce.records("MRR_Schedule__c")) == 1


def test_records_on_their_way_and_fields_left_to_salesforce_are_no_news(salesforce, acme):
    salesforce.edits(acme, MRR__c=Decimal(99))
    turn()
    drift.adopt(list(Drift.objects.values_list("pk", flat=True)), by="revops", now=timezone.now())
    SalesforceOrg.objects.update(patrolled_at=None)
    SyncRecord.objects.filter(kind="schedule").update(wanted=5, state="waiting")

    assert turn() == drift.Checked(records=2)


def test_what_is_sent_while_it_is_read_is_no_difference(scenario, salesforce, acme, monkeypatch):
    def suspects(kind, found):
        if kind == "account":
            SyncRecord.objects.filter(kind="account").update(fields_sent={"MRR__c": "50.00"}, sent_at=timezone.now())
        return []

    monkeypatch.setattr(drift, "suspects", suspects)

    assert turn() == drift.Checked(records=3)


def test_records_that_agree_cost_no_query_each(scenario, salesforce, acme, django_assert_max_num_queries):
    for number in range(5):
        account = salesforce.add_account(Name=f"Other {number}")
        reads(salesforce)
        story = scenario.customer(f"Other {number}", salesforce_account_id=account)
        story.subscribes("team", monthly="30.00", on="2026-01-10")

    with django_assert_max_num_queries(75):
        assert turn().records == 13


def test_it_leaves_the_day_s_reads_for_the_mirror(salesforce, acme):
    SalesforceOrg.objects.update(read_allowance=10)

    with pytest.raises(drift.NotChecked, match="reads are used up"):
        turn()

    assert salesforce.requests == []
