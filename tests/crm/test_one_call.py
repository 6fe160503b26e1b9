"""A subscription that begins takes one call: Salesforce finds its Opportunity and takes it, or says all there are."""

from __future__ import annotations

import json
import ssl
import urllib.request
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config import pipeline
from crm.channels.kinds import LookedUp
from crm.channels.salesforce import finding, guarded
from crm.channels.salesforce.mapping import FieldMap
from crm.channels.salesforce.packing import Write
from crm.models import SyncRecord
from crm.opportunities import Chosen, choose
from tests.crm.conftest import reads

COMPOSITE = "POST .*/composite$"
BEGAN = "2026-01-10"
NOW = datetime(2026, 1, 10, tzinfo=UTC)


@pytest.fixture
def acme(scenario, salesforce, live):
    """A matched customer, and its Account."""
    account = salesforce.add_account(Name="Acme")
    reads(salesforce)
    customer = scenario.customer("Acme", salesforce_account_id=account)
    salesforce.forgets_requests()
    return customer, account


def won(salesforce, account: str, on: str, **more: Any) -> str:
    return salesforce.add_opportunity(AccountId=account, StageName="Closed Won", CloseDate=on, **more)


def opportunity_of_the_entry(salesforce) -> str | None:
    (entry,) = salesforce.records("MRR_Schedule__c")
    return entry["Opportunity__c"]


@pytest.mark.django_db
def test_the_single_one_won_lately_is_linked_and_left_alone_in_one_call(acme, salesforce):
    customer, account = acme
    lately, still_open = (
        won(salesforce, account, "2025-12-20", Amount="1"),
        salesforce.add_opportunity(AccountId=account),
    )

    sub = customer.subscribes("team", monthly="30.00", on=BEGAN)

    assert len(salesforce.requests) == 1
    linked = salesforce.record(lately)
    assert (linked["Stripe_Subscription_Id__c"], linked["CloseDate"], int(linked["Amount"])) == (
        sub["id"],
        "2025-12-20",
        1,
    )
    assert salesforce.record(still_open)["StageName"] != "Closed Won"
    assert opportunity_of_the_entry(salesforce) == lately
    assert SyncRecord.objects.get(kind="opportunity").salesforce_id == lately


@pytest.mark.django_db
@pytest.mark.parametrize(("count", "code"), [(0, "no_opportunity"), (2, "several_open_opportunities")])
def test_where_none_is_sure_a_person_is_asked_after_one_call(acme, salesforce, count, code):
    customer, account = acme
    for _ in range(count):
        salesforce.add_opportunity(AccountId=account)

    customer.subscribes("team", monthly="30.00", on=BEGAN)

    held = SyncRecord.objects.get(kind="opportunity")
    assert len(salesforce.requests) == 1
    assert (held.state, held.error_code, len(held.choice.candidates)) == ("held", code, count)
    assert not any(one["IsWon"] for one in salesforce.records("Opportunity"))
    assert opportunity_of_the_entry(salesforce) is None
    assert SyncRecord.objects.get(kind="schedule").state == "sent"


@pytest.mark.django_db
def test_a_cut_answer_makes_it_take_no_second_one(acme, salesforce):
    customer, account = acme
    lately, still_open = won(salesforce, account, "2025-12-20"), salesforce.add_opportunity(AccountId=account)
    salesforce.cuts_next("response", match=COMPOSITE)

    customer.subscribes("team", monthly="30.00", on=BEGAN)
    assert SyncRecord.objects.get(kind="opportunity").error_code == "no_answer"
    for minutes in (1, 2, 3):
        pipeline.drain_outbox(now=timezone.now() + timedelta(minutes=minutes))

    assert SyncRecord.objects.get(kind="opportunity").salesforce_id == lately
    assert salesforce.record(still_open)["Stripe_Subscription_Id__c"] is None
    assert opportunity_of_the_entry(salesforce) == lately


@pytest.mark.django_db
def test_a_refusal_of_it_parks_it_alone(acme, salesforce):
    customer, account = acme
    deal = salesforce.add_opportunity(AccountId=account)
    salesforce.adds_rule("Opportunity", lambda record: "Needs a next step" if record["IsWon"] else None)

    customer.subscribes("team", monthly="30.00", on=BEGAN)

    parked = SyncRecord.objects.get(state="parked")
    assert (parked.kind, parked.error_code) == ("opportunity", "FIELD_CUSTOM_VALIDATION_EXCEPTION")
    assert parked.writes.get().path == f"sobjects/Opportunity/{deal}"
    assert SyncRecord.objects.filter(state="sent").count() == 2


# ---- the same as by our own rules ----

DEALS = st.lists(
    st.tuples(
        st.sampled_from(["open", "open with products", "lost", "won near", "won long ago"]),
        st.sampled_from([None, None, None, "sub_1", "sub_other"]),
    ),
    max_size=4,
).filter(lambda deals: len({key for _, key in deals if key}) == sum(key is not None for _, key in deals))


@given(DEALS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_salesforce_finds_is_what_our_rules_choose(salesforce, deals):
    """Where the guards take one, it is the one that the rules take; where they take none, all there are is told."""
    account = salesforce.add_account(Name="Acme")
    for state, key in deals:
        stage = "Closed Won" if state.startswith("won") else "Closed Lost" if state == "lost" else "Prospecting"
        on = "2025-03-01" if state == "won long ago" else "2026-01-02"
        deal = salesforce.add_opportunity(AccountId=account, StageName=stage, CloseDate=on)
        salesforce.edits(
            deal,
            Stripe_Subscription_Id__c=key and f"{key}_{account}",
            HasOpportunityLineItem=state == "open with products",
        )
    asked = _asked(account)
    entry = Write(2, account, "MRR_Schedule__c", {"Account__c": account}, key_field="Ledger_Key__c", key=f"k{account}")
    before = salesforce.records("Opportunity", AccountId=account)

    found = guarded.send(
        _Sender(salesforce), asked, [entry], FieldMap(), version="65.0", now=NOW, may_send=lambda: True
    )

    rule = choose(asked.subscription_id, account, asked.began_on, [finding.candidate(one) for one in before])
    is_sure = isinstance(rule, Chosen) and rule.rule != "subscription_id" and not rule.keeps_amount
    assert found.their_id == (rule.id if isinstance(rule, Chosen) and is_sure else "")
    assert found.pointing == (frozenset({2}) if is_sure else frozenset())
    if is_sure:
        assert isinstance(rule, Chosen) and found.fields == (asked.wins if rule.closes else asked.links)
    else:
        told = found.results[1]
        assert isinstance(told, LookedUp)
        free = [
            one["Id"] for one in before if not one["Stripe_Subscription_Id__c"] and one["StageName"] != "Closed Lost"
        ]
        assert set(free) <= {one["Id"] for one in told.candidates}
        assert salesforce.records("Opportunity", AccountId=account) == before


class _Sender:
    """Asks the fake as the product does, without a database."""

    def __init__(self, salesforce) -> None:
        self.salesforce = salesforce

    def composite(self, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        body = json.dumps({"allOrNone": False, "compositeRequest": parts}).encode()
        headers = {"Authorization": f"Bearer {self.salesforce.access_token()}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.salesforce.url}/services/data/v65.0/composite", body, headers)
        trusted = ssl.create_default_context(cafile=self.salesforce.ca_file)
        with urllib.request.urlopen(request, context=trusted) as answer:
            return json.load(answer)["compositeResponse"]


def _asked(account: str) -> guarded.Guarded:
    subscription = f"sub_1_{account}"
    links = {"Stripe_Subscription_Id__c": subscription, "Committed_ARR__c": "360.00"}
    question = (
        f"SELECT {finding.COLUMNS}, Amount, Stripe_Subscription_Id__c FROM Opportunity WHERE "
        f"Stripe_Subscription_Id__c = '{subscription}' "
        f"OR (AccountId = '{account}' AND Stripe_Subscription_Id__c = null)"
    )
    wins = {**links, "StageName": "Closed Won", "CloseDate": BEGAN, "Amount": "360.00"}
    began_on = date.fromisoformat(BEGAN)
    return guarded.Guarded(1, account, subscription, began_on, question, links, wins, frozenset({2}))
