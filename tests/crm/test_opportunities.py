"""The five rules by which a subscription finds its Opportunity, as pure decisions and as stories."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from django.utils import timezone

from crm import choices, decisions, outbox
from crm.models import SalesforceOrg, SyncRecord
from crm.opportunities import Candidate, Chosen, Unclear, as_told, choose, to_choose_from
from tests.crm.conftest import reads

BEGAN = date(2026, 3, 1)


def opportunity(name: str, *, sub: str = "", closed: bool = False, won: bool = False, on: date = BEGAN) -> Candidate:
    return Candidate(name, "001A", sub, closed or won, won, on)


def chosen(*found: Candidate, **more) -> Chosen | Unclear:
    return choose("sub_1", "001A", BEGAN, found, **more)


def test_the_one_that_carries_the_subscription_comes_first():
    found = chosen(opportunity("006A"), opportunity("006B", sub="SUB_1"), named_id="006A")

    assert found == Chosen("006B", closes=True, rule="subscription_id")


def test_one_that_was_won_before_stays_as_it_is():
    assert chosen(opportunity("006B", sub="sub_1", won=True)) == Chosen("006B", closes=False, rule="subscription_id")


def test_then_the_one_that_the_metadata_names():
    found = chosen(opportunity("006A"), opportunity("006B"), named_id="006B")

    assert found == Chosen("006B", closes=True, rule="metadata")


def test_a_named_one_of_another_subscription_needs_a_person():
    assert chosen(opportunity("006B", sub="sub_2"), named_id="006B").code == "opportunity_taken"


def test_a_named_one_that_is_not_there_needs_a_person():
    assert chosen(opportunity("006A"), named_id="006B").code == "opportunity_not_found"


def test_then_the_single_one_won_lately_is_linked_and_left_alone():
    won = opportunity("006W", won=True, on=date(2026, 1, 5))

    assert chosen(won, opportunity("006A")) == Chosen("006W", closes=False, rule="won_lately")


def test_one_won_long_ago_does_not_count():
    won = opportunity("006W", won=True, on=date(2025, 12, 30))

    assert chosen(won, opportunity("006A")) == Chosen("006A", closes=True, rule="only_open")


def test_several_open_ones_need_a_person():
    assert chosen(opportunity("006A"), opportunity("006B")).code == "several_open_opportunities"


def test_several_subscriptions_do_not_share_an_open_one():
    assert chosen(opportunity("006A"), rivals=1).code == "several_subscriptions"


def test_none_is_made_unless_the_setting_allows_it():
    assert chosen().code == "no_opportunity"
    assert chosen(may_create=True) == Chosen("", closes=True, rule="create")


def test_opportunities_of_other_accounts_do_not_count():
    other = Candidate("006X", "001B", "", False, False, BEGAN)

    assert chosen(other).code == "no_opportunity"


def test_one_named_of_another_account_needs_a_person():
    other = Candidate("006X", "001B", "", False, False, BEGAN)

    assert chosen(other, named_id="006X").code == "opportunity_elsewhere"


def test_the_amount_of_one_with_products_is_left_to_them():
    found = chosen(Candidate("006A", "001A", "", False, False, BEGAN, has_products=True))

    assert found == Chosen("006A", closes=True, rule="only_open", keeps_amount=True)


def test_what_a_person_chose_stands_unless_it_was_taken_since():
    closed = opportunity("006W", won=True)

    assert as_told("sub_1", "006W", [closed]) == Chosen("006W", closes=False, rule="person")
    assert as_told("sub_1", "", []) == Chosen("", closes=True, rule="create")
    assert as_told("sub_1", "006W", [opportunity("006W", sub="sub_2")]).code == "opportunity_taken"
    assert as_told("sub_1", "006W", []).code == "opportunity_not_found"


def test_people_see_the_likeliest_first():
    old = opportunity("006D", won=True, on=date(2024, 1, 1))
    near, far = opportunity("006A", on=date(2026, 3, 5)), opportunity("006B", on=date(2026, 9, 1))
    won = opportunity("006C", won=True, on=date(2026, 2, 1))

    listed = to_choose_from("001A", BEGAN, [old, far, near, won, opportunity("006E", sub="sub_9")])

    assert [one.id for one in listed] == ["006C", "006A", "006B", "006D"]


# ---- stories: a signed webhook in, an Opportunity there ----


@pytest.fixture
def account(salesforce, live):
    found = salesforce.add_account(Name="Acme")
    reads(salesforce)
    return found


def begins(scenario, account, *, plan: str = "team", name: str = "Acme", **metadata: str):
    customer = scenario.customer(name, salesforce_account_id=account)
    return customer, customer.subscribes(plan, monthly="30.00", on="2026-01-10", **metadata)


def held() -> SyncRecord:
    return SyncRecord.objects.get(kind="opportunity", state="held")


def nothing_more_is_written(scenario, salesforce) -> None:
    """A second pass over all writes nothing."""
    salesforce.forgets_requests()
    decisions.retry(list(SyncRecord.objects.values_list("pk", flat=True)), by="", now=timezone.now())
    for record in SyncRecord.objects.filter(state="sent"):
        outbox.retry(record.pk, now=timezone.now())
    scenario.drain()
    assert [one for one in salesforce.requests if one.method != "GET"] == []


@pytest.mark.django_db
def test_rule_1_the_opportunity_that_carries_the_subscription(scenario, salesforce, account):
    customer = scenario.customer("Acme", salesforce_account_id=account)
    scenario.is_held = True
    sub = customer.subscribes("team", monthly="30.00", on="2026-01-10")
    scenario.is_held = False
    salesforce.add_opportunity(Name="Open", AccountId=account)
    carrying = salesforce.add_opportunity(Name="Carries", AccountId=account, Stripe_Subscription_Id__c=sub["id"])

    scenario.arrives(scenario.events[-1:])

    won = salesforce.record(carrying)
    assert won["IsWon"] and won["Amount"] == Decimal(360)
    assert len(salesforce.records("Opportunity", IsWon=False)) == 1
    nothing_more_is_written(scenario, salesforce)


@pytest.mark.django_db
def test_rule_2_the_opportunity_that_the_metadata_names(scenario, salesforce, account):
    salesforce.add_opportunity(Name="Open", AccountId=account)
    named = salesforce.add_opportunity(Name="Named", AccountId=account)

    begins(scenario, account, salesforce_opportunity_id=named)

    assert salesforce.record(named)["IsWon"]
    assert [one["Name"] for one in salesforce.records("Opportunity", IsClosed=False)] == ["Open"]
    nothing_more_is_written(scenario, salesforce)


@pytest.mark.django_db
def test_rule_3_the_one_won_lately_is_linked_and_left_as_the_rep_set_it(scenario, salesforce, account):
    won = salesforce.add_opportunity(
        Name="Won", AccountId=account, StageName="Closed Won", CloseDate="2025-12-20", Amount=Decimal(999)
    )
    salesforce.add_opportunity(Name="Open", AccountId=account)

    _, sub = begins(scenario, account)

    linked = salesforce.record(won)
    assert (linked["StageName"], linked["CloseDate"], linked["Amount"]) == ("Closed Won", "2025-12-20", Decimal(999))
    assert (linked["Stripe_Subscription_Id__c"], linked["Committed_ARR__c"]) == (sub["id"], Decimal(360))
    assert salesforce.records("MRR_Schedule__c")[0]["Opportunity__c"] == won
    nothing_more_is_written(scenario, salesforce)


@pytest.mark.django_db
def test_rule_4_the_accounts_only_open_one(scenario, salesforce, account):
    only = salesforce.add_opportunity(Name="Open", AccountId=account)
    salesforce.add_opportunity(Name="Lost", AccountId=account, StageName="Closed Lost")

    begins(scenario, account)

    assert salesforce.record(only)["IsWon"]
    nothing_more_is_written(scenario, salesforce)


@pytest.mark.django_db
def test_rule_5_a_new_one_where_the_setting_says_so(scenario, salesforce, account):
    SalesforceOrg.objects.update(makes_opportunities=True)

    _, sub = begins(scenario, account)

    (made,) = salesforce.records("Opportunity")
    assert made["Name"] == "Acme, subscription from 10 Jan 2026" and made["AccountId"] == account
    assert (made["StageName"], made["CloseDate"], made["Amount"]) == ("Closed Won", "2026-01-10", Decimal(360))
    assert made["Stripe_Subscription_Id__c"] == sub["id"] and made["Committed_ARR__c"] == Decimal(360)
    nothing_more_is_written(scenario, salesforce)
    assert len(salesforce.records("Opportunity")) == 1


@pytest.mark.django_db
def test_rule_5_a_person_is_asked_by_default_and_chooses(scenario, salesforce, account):
    first = salesforce.add_opportunity(Name="First", AccountId=account, Amount=Decimal(100))
    second = salesforce.add_opportunity(Name="Second", AccountId=account)
    _, sub = begins(scenario, account)
    assert held().error_code == "several_open_opportunities"

    choices.choose(held().pk, second, by="revops", now=timezone.now())
    scenario.drain()

    assert salesforce.record(second)["Stripe_Subscription_Id__c"] == sub["id"]
    assert salesforce.record(second)["IsWon"] and not salesforce.record(first)["IsClosed"]
    nothing_more_is_written(scenario, salesforce)


@pytest.mark.django_db
def test_a_choice_is_undone_and_the_opportunity_is_as_it_was(scenario, salesforce, account):
    first = salesforce.add_opportunity(Name="First", AccountId=account, Amount=Decimal(100), CloseDate="2026-05-01")
    salesforce.add_opportunity(Name="Second", AccountId=account)
    begins(scenario, account)
    record = held()
    choices.choose(record.pk, first, by="revops", now=timezone.now())
    scenario.drain()
    assert salesforce.record(first)["IsWon"]

    choices.undo(record.pk, by="revops", now=timezone.now())
    scenario.drain()

    found = salesforce.record(first)
    assert (found["StageName"], found["CloseDate"], found["Amount"]) == ("Prospecting", "2026-05-01", Decimal(100))
    assert found["Stripe_Subscription_Id__c"] is None and found["Committed_ARR__c"] is None
    assert salesforce.records("MRR_Schedule__c")[0]["Opportunity__c"] is None
    assert held().error_code == "undone"


@pytest.mark.django_db
def test_a_choice_can_be_a_new_opportunity(scenario, salesforce, account):
    _, sub = begins(scenario, account)
    assert held().error_code == "no_opportunity"

    choices.choose(held().pk, "", by="revops", now=timezone.now())
    scenario.drain()

    (made,) = salesforce.records("Opportunity")
    assert made["Stripe_Subscription_Id__c"] == sub["id"]


@pytest.mark.django_db
def test_a_question_answers_itself_when_a_rep_makes_the_opportunity(scenario, salesforce, account):
    begins(scenario, account)
    made = salesforce.add_opportunity(Name="By the rep", AccountId=account)

    choices.look_again_at_all(now=timezone.now())
    scenario.drain()

    assert salesforce.record(made)["IsWon"]


@pytest.mark.django_db
def test_two_subscriptions_do_not_share_the_only_open_one_whenever_they_come(scenario, salesforce, account):
    customer, _ = begins(scenario, account)
    assert held().error_code == "no_opportunity"
    salesforce.add_opportunity(Name="Open", AccountId=account)

    customer.subscribes("extra", monthly="10.00", on="2026-01-20")

    codes = set(SyncRecord.objects.filter(kind="opportunity").values_list("state", "error_code"))
    assert ("held", "several_subscriptions") in codes
    assert not salesforce.records("Opportunity", IsWon=True)


@pytest.mark.django_db
def test_who_comes_second_is_told_that_the_choice_was_made(scenario, salesforce, account):
    begins(scenario, account)
    record = held()
    choices.choose(record.pk, "", by="first", now=timezone.now())

    with pytest.raises(choices.NotAsked):
        choices.choose(record.pk, "", by="second", now=timezone.now())
