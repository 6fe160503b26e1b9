"""Shadow mode: what would be written, against what Salesforce holds, with nothing written there; and the switch."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from crm import connections, decisions, selectors, writes
from crm.models import ApiHour, LoggedWrite, Message, OpportunityChoice, SalesforceOrg, SyncRecord
from crm.shadow import Looked
from crm.shadow import look as look_now
from tests.crm.conftest import reads

pytestmark = pytest.mark.django_db(transaction=False)

WRITING = {"POST", "PATCH", "PUT", "DELETE"}


@pytest.fixture
def acme(salesforce, shadow):
    account = salesforce.add_account(Name="Acme")
    salesforce.edits(account, MRR__c=Decimal(12), ARR__c=Decimal(360))
    salesforce.add_opportunity(Name="Acme team", AccountId=account, Amount=Decimal(300))
    reads(salesforce)
    return account


@pytest.fixture
def customer(scenario, acme):
    story = scenario.customer("Acme", salesforce_account_id=acme)
    story.subscribes("team", monthly="30.00", on="2026-01-10")
    scenario.drain()
    return story


def look() -> Looked:
    return look_now(now=timezone.now())


def changed(kind: str) -> dict[str, tuple[object, object]]:
    (row,) = selectors.sync_rows(limit=10, kind=kind).rows
    return {one.name: (one.before, one.after) for one in row.changes if one.is_changed}


def test_a_would_be_write_is_compared_with_what_salesforce_holds(salesforce, customer):
    found = look()

    assert found == Looked(records=3)
    account = changed("account")
    assert account["MRR__c"] == (12.0, "30.000000")
    assert "ARR__c" not in account
    assert changed("opportunity")["Amount"] == (300.0, "360.00")
    assert SyncRecord.objects.get(kind="schedule").there == {}


def test_nothing_of_data_is_written_in_shadow(salesforce, customer):
    look()

    written = [one for one in salesforce.requests if one.method in WRITING and "oauth2" not in one.path]
    assert written == []
    assert salesforce.records("MRR_Schedule__c") == []


def test_what_was_compared_is_not_compared_again(salesforce, customer):
    look()
    salesforce.forgets_requests()

    assert look() == Looked()
    assert salesforce.requests == []


def test_a_newer_value_is_compared_again(scenario, customer):
    look()

    customer.moves_to("business", monthly="50.00", on="2026-02-01")
    scenario.drain()

    assert look().records >= 2
    assert changed("account")["MRR__c"] == (12.0, "50.000000")


def test_many_records_are_compared_in_a_few_calls(scenario, salesforce, shadow):
    accounts = [salesforce.add_account(Name=f"Acme {number}") for number in range(40)]
    reads(salesforce)
    scenario.is_held = True
    for account in accounts:
        scenario.customer(account, salesforce_account_id=account).subscribes("team", monthly="30.00", on="2026-01-10")
    scenario.is_held = False
    scenario.arrives(scenario.events)
    salesforce.forgets_requests()

    found = look()

    assert found.records == 80 and found.questions == 40  # no Account has an Opportunity
    assert len(salesforce.requests) <= 4


def test_it_stays_within_the_days_reads(salesforce, customer, shadow):
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    ApiHour.objects.update_or_create(org=shadow, hour=hour, defaults={"reads": 500})
    salesforce.forgets_requests()

    assert look() == Looked()
    assert salesforce.requests == []


def test_the_question_for_an_opportunity_comes_before_anything_is_live(scenario, salesforce, acme):
    salesforce.add_opportunity(Name="Another", AccountId=acme)
    story = scenario.customer("Acme", salesforce_account_id=acme)
    story.subscribes("team", monthly="30.00", on="2026-01-10")

    assert look().questions == 1
    record = SyncRecord.objects.get(kind="opportunity")
    assert (record.state, record.error_code) == ("held", "several_open_opportunities")
    assert [one["name"] for one in OpportunityChoice.objects.get().candidates] == ["Acme team", "Another"]


def test_a_won_opportunity_would_only_be_linked(scenario, salesforce, shadow):
    account = salesforce.add_account(Name="Acme")
    salesforce.add_opportunity(
        Name="Won", AccountId=account, StageName="Closed Won", CloseDate="2026-01-05", Amount=Decimal(999)
    )
    reads(salesforce)
    scenario.customer("Acme", salesforce_account_id=account).subscribes("team", monthly="30.00", on="2026-01-10")

    look()

    assert set(changed("opportunity")) == {"Stripe_Subscription_Id__c", "Committed_ARR__c"}


def test_the_log_keeps_every_would_be_write_with_its_difference(customer):
    look()

    line = LoggedWrite.objects.filter(sobject="Account").order_by("-pk")[0]
    assert line.outcome == "would_send"
    assert (line.before["MRR__c"], line.request["MRR__c"]) == (12.0, "30.000000")


def test_the_first_writes_are_counted_by_kind(customer):
    look()

    found = selectors.going_live()

    kinds = {kind.sobject: (kind.count, kind.new, kind.existing) for kind in found.kinds}
    assert kinds == {"Account": (1, 0, 1), "Opportunity": (1, 0, 1), "MRR_Schedule__c": (1, 1, 0)}
    assert (found.count, found.not_compared) == (3, 0)


def test_live_sends_the_newest_state_once_and_tells_nothing_of_the_past(scenario, salesforce, acme, customer):
    customer.moves_to("business", monthly="50.00", on="2026-02-01")
    look()
    connections.go_live(now=timezone.now())
    scenario.drain()

    assert salesforce.record(acme)["MRR__c"] == Decimal(50)
    assert [one["Type__c"] for one in salesforce.records("MRR_Schedule__c")] == ["new", "expansion"]
    assert salesforce.records("Task") == salesforce.records("FeedItem") == []
    assert not Message.objects.filter(state="sent").exists()


def test_live_can_be_taken_back(scenario, salesforce, acme, customer):
    connections.go_live(now=timezone.now())
    scenario.drain()
    connections.go_shadow(now=timezone.now())
    salesforce.forgets_requests()

    customer.moves_to("business", monthly="50.00", on="2026-02-01")
    scenario.drain()

    assert not [one for one in salesforce.requests if one.method in WRITING]
    assert salesforce.record(acme)["MRR__c"] == Decimal(30)
    assert SyncRecord.objects.get(kind="account").state == "would_send"


# ---- decisions ----


def test_work_is_skipped_until_its_value_changes_again(scenario, customer):
    record = SyncRecord.objects.get(kind="account")
    decisions.skip([record.pk], by="revops", now=timezone.now())
    record.refresh_from_db()
    assert (record.state, record.error_code) == ("dropped", "skipped")

    customer.moves_to("business", monthly="50.00", on="2026-02-01")

    record.refresh_from_db()
    assert record.state == "would_send" and record.fields_sent["MRR__c"] == "50.000000"


def test_work_is_held_until_a_person_retries_it(scenario, customer):
    record = SyncRecord.objects.get(kind="account")
    decisions.hold([record.pk], by="revops", now=timezone.now())
    customer.moves_to("business", monthly="50.00", on="2026-02-01")
    record.refresh_from_db()
    assert (record.state, record.error_code) == ("held", "held_by_person")

    decisions.retry([record.pk], by="revops", now=timezone.now())
    scenario.drain()

    record.refresh_from_db()
    assert record.state == "would_send" and record.fields_sent["MRR__c"] == "50.000000"
    assert list(LoggedWrite.objects.exclude(by="").order_by("pk").values_list("outcome", "by")) == [
        ("held", "revops"),
        ("retried", "revops"),
    ]


def test_a_retry_ends_a_pause(scenario, customer):
    SalesforceOrg.objects.update(paused_until=timezone.now() + timedelta(minutes=15))

    decisions.retry([SyncRecord.objects.get(kind="account").pk], by="revops", now=timezone.now())

    assert SalesforceOrg.objects.get().paused_until is None


# ---- the console's search and memory ----


def test_records_are_found_by_customer_account_and_event(scenario, customer, acme):
    def found(search: str) -> set[str]:
        return {row.kind for row in selectors.sync_rows(limit=10, search=search).rows}

    event = scenario.events[-1]["id"]
    assert found(customer.id) == found(acme) == found("acme") == {"account", "opportunity", "schedule"}
    assert found(event) == {"account", "schedule"}
    assert found("evt_nothing") == found("cus_nothing") == set()


def test_nobody_is_found_by_name_who_may_not_see_people(customer):
    assert selectors.sync_rows(limit=10, search="acme", searches_people=False).rows == ()


def test_the_log_forgets_after_as_many_days_as_are_set(customer):
    SalesforceOrg.objects.update(log_days=30)
    LoggedWrite.objects.filter(sobject="Account").update(at=timezone.now() - timedelta(days=31))

    assert writes.forget_old(now=timezone.now()) == 2
    assert LoggedWrite.objects.count() == 2
