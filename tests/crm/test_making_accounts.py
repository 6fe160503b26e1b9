"""An Account that a person has made for a customer is made once, whatever becomes of Salesforce's answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
import time_machine

from billing.models import Customer
from config import pipeline
from crm import matching, selectors
from crm.models import MadeAccount, Match, SalesforceOrg
from tests.crm.conftest import reads

pytestmark = pytest.mark.django_db(transaction=False)

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def zebra(scenario, salesforce, live):
    SalesforceOrg.objects.update(makes_accounts=True)
    story = scenario.customer("Zebra", email="ana@zebra.io")
    story.subscribes("team", monthly="30.00", on="2026-01-10")
    return Customer.objects.get(stripe_id=story.id)


def made(customer, now=NOW) -> Match:
    return matching.create_account(customer.pk, by="ana", now=now)


def test_it_is_made_matched_and_what_was_held_goes(scenario, salesforce, zebra):
    match = made(zebra)
    scenario.drain()

    (account,) = salesforce.records("Account")
    assert (account["Name"], account["Website"], account["MRR__c"]) == ("Zebra", "zebra.io", 30)
    assert (match.account.salesforce_id, match.matched_by) == (account["Id"], "ana")
    assert match.evidence[0]["kind"] == "made_account"
    assert salesforce.records("MRR_Schedule__c")[0]["Account__c"] == account["Id"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [({"makes_accounts": False}, "Accounts are made in Salesforce only"), ({"mode": "shadow"}, "Zebra (zebra.io)")],
)
def test_by_setting_and_not_in_shadow_mode(salesforce, zebra, changed, words):
    SalesforceOrg.objects.update(**changed)

    with pytest.raises(matching.NotMade) as refusal:
        made(zebra)

    assert words in str(refusal.value)
    assert salesforce.records("Account") == [] and not MadeAccount.objects.exists()


def test_a_lost_answer_never_makes_a_second_one(salesforce, zebra):
    salesforce.cuts_next("response", match="sobjects/Account$")
    with pytest.raises(matching.NotMade, match="may have been made"):
        made(zebra)
    with pytest.raises(matching.NotMade, match="ana asked for one"):
        matching.create_account(zebra.pk, by="bo", now=NOW + timedelta(minutes=1))

    for minutes in (1, 12, 13):
        with time_machine.travel(NOW + timedelta(minutes=minutes), tick=False):
            pipeline.drain_outbox(now=NOW + timedelta(minutes=minutes))

    (account,) = salesforce.records("Account")
    assert Match.objects.get().account.salesforce_id == account["Id"]
    assert Match.objects.get().matched_by == "ana"


def test_a_call_that_never_arrived_may_be_asked_for_again(salesforce, zebra):
    salesforce.cuts_next("request", match="sobjects/Account$")
    with pytest.raises(matching.NotMade):
        made(zebra)
    later = NOW + timedelta(minutes=12)
    with time_machine.travel(later, tick=False):
        assert matching.look_for_made(now=later) == 0
        assert salesforce.records("Account") == []

        made(zebra, now=later)

    assert len(salesforce.records("Account")) == 1


def test_a_refusal_says_why(salesforce, zebra):
    salesforce.rejects_next("DUPLICATES_DETECTED", "Use one of these records?", sobject="Account")

    with pytest.raises(matching.NotMade, match="DUPLICATES_DETECTED"):
        made(zebra)

    assert made(zebra).account.name == "Zebra"  # the next try is free


def test_who_has_an_account_gets_no_other(salesforce, zebra):
    made(zebra)

    with pytest.raises(matching.AlreadyMatched):
        made(zebra)
    assert len(salesforce.records("Account")) == 1


# ---- how well matching goes ----


def test_metrics_say_how_long_people_waited_and_how_often_the_machine_was_wrong(
    scenario, salesforce, live, django_assert_num_queries
):
    account = salesforce.add_account(Name="Acme")
    reads(salesforce)
    for number in range(3):
        scenario.customer(f"Sure {number}", salesforce_account_id=account)
    slow = Customer.objects.get(stripe_id=scenario.customer("Slow", email="ana@slow.io").id)
    now = datetime.now(UTC)
    matching.match(slow.pk, account, by="ana", now=now + timedelta(days=4))
    wrong = Match.objects.filter(how="metadata").order_by("pk")[0]
    matching.unmatch(wrong.pk, by="bo", now=now + timedelta(hours=1))
    Match.objects.filter(customer=slow).update(waited_since=now)

    with django_assert_num_queries(2):
        found = selectors.match_metrics(now=now + timedelta(days=5))

    assert (found.automatic, found.by_people, found.changed) == (3, 1, 1)
    assert found.automatic_precision == Fraction(2, 3)
    assert found.median_wait == timedelta()
    assert selectors.match_metrics(now=now + timedelta(days=5), days=2).median_wait == timedelta(days=4)
    assert selectors.match_metrics(now=now + timedelta(days=400)).median_wait is None
