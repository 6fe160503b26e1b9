"""Our fields by the org's names and values: read, refused, tried, written and read back."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from django.utils import timezone

from crm import choices, connections, org_setup
from crm.channels.salesforce import mapping
from crm.channels.salesforce.mapping import BadMapping, FieldMap, Target
from crm.models import FieldMapping, OpportunityChoice, SalesforceOrg, SyncRecord
from tests.crm.conftest import reads
from tests.fakes.salesforce import Field
from tests.fakes.salesforce.schema import number, picklist


def file(stage: str = "", **objects: dict) -> str:
    return json.dumps({"won_stage": stage, "fields": objects})


THEIRS = file(
    Account={
        "ARR__c": "ARR_Total__c",
        "CMRR__c": None,
        "Payment_Risk__c": {"field": "Dunning__c", "values": {"none": "OK", "high": "Urgent"}},
    },
    Opportunity={"Stripe_Subscription_Id__c": "Billing_Ref__c"},
)


@pytest.fixture
def theirs(salesforce):
    """An org with fields of its own for what we write."""
    salesforce.adds_field("Account", number("ARR_Total__c", 16, 2, type="currency"))
    salesforce.adds_field("Account", picklist("Dunning__c", "OK", "low", "medium", "Urgent", restricted=True))
    salesforce.adds_field("Opportunity", Field("Billing_Ref__c", length=255, unique=True, external_id=True))
    return salesforce


# ---- as values ----


def test_a_mapping_renames_fields_and_values_leaves_some_out_and_reads_them_back():
    found, _ = mapping.read(THEIRS)
    said = {"ARR__c": "360.00", "MRR__c": "30.000000", "CMRR__c": "30.000000", "Payment_Risk__c": "high"}

    there = found.apply("Account", said)

    assert there == {"ARR_Total__c": "360.00", "MRR__c": "30.000000", "Dunning__c": "Urgent"}
    assert found.back("Account", {"Id": "001", **there}) == {
        "Id": "001", "ARR__c": "360.00", "MRR__c": "30.000000", "Payment_Risk__c": "high",
    }  # fmt: skip
    assert found.apply("MRR_Schedule__c", {"Type__c": "new"}) == {"Type__c": "new"}
    assert FieldMap().apply("Account", said) == said


def test_a_field_of_theirs_that_has_our_name_but_is_not_ours_is_not_taken_for_it():
    found = FieldMap({("Account", "ARR__c"): Target("ARR_Total__c")})

    assert found.back("Account", {"ARR__c": 7, "ARR_Total__c": 8}) == {"ARR__c": 8}


def test_the_file_holds_every_field_and_comes_back_the_same():
    found, stage = mapping.read(THEIRS)

    again, stage_again = mapping.read(mapping.written(found, won_stage="Signed"))

    assert (again, stage, stage_again) == (found, "", "Signed")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "should hold"),
        ('{"fields": []}', "should hold"),
        ('{"fields": {}, "stage": 1}', "'stage' is not a part"),
        ('{"fields": {}, "won_stage": 3}', "won_stage is the API name"),
        (file(Account={"Nope__c": "A__c"}), "We write no field Nope__c of Account"),
        (file(Lead={"ARR__c": "A__c"}), "We write no field ARR__c of Lead"),
        (file(Account={"ARR__c": "no such name"}), "not an API name"),
        (file(Account={"ARR__c": "../query"}), "not an API name"),
        (file(Account={"ARR__c": "MRR__c"}), "would both be written into Account.MRR__c"),
        (file(Account={"ARR__c": 3}), "null for not written"),
        (file(Account={"ARR__c": {"field": "A__c", "values": {"a": "b"}}}), "holds no words"),
        (file(Account={"Payment_Risk__c": {"values": {"low": "x", "high": "x"}}}), "could not be told apart"),
        (file(MRR_Schedule__c={"Ledger_Key__c": None}), "must be written somewhere"),
        (file(Opportunity={"Stripe_Subscription_Id__c": ""}), "must be written somewhere"),
        (file(Opportunity={"StageName": "Stage__c"}), "stays as it is"),
    ],
)
def test_a_mapping_that_cannot_work_is_refused_and_says_what_to_write(text, said):
    with pytest.raises(BadMapping, match=said.replace(".", r"\.")):
        mapping.read(text)


# ---- tried, kept and used ----


def test_in_shadow_mode_a_mapping_is_compared_and_described_but_nothing_is_written(theirs, shadow):
    found = org_setup.use_mapping(THEIRS, now=timezone.now())

    assert found.is_kept and {one.is_taken for one in found.tried} == {None}
    assert next(one for one in found.tried if one.sobject == "Account").fields["Dunning__c"] == "OK"
    assert FieldMapping.objects.count() == 4
    assert theirs.writes() == []


def test_in_live_mode_a_mapping_is_tried_with_writes_that_are_taken_back(theirs, live):
    account = theirs.add_account(Name="Acme")
    deal = theirs.add_opportunity(AccountId=account)
    before = theirs.record(account), theirs.record(deal)

    found = org_setup.use_mapping(THEIRS, now=timezone.now())

    assert {(one.sobject, one.is_taken) for one in found.tried} == {
        ("Account", True), ("MRR_Schedule__c", True), ("Opportunity", True), ("Task", True),
    }  # fmt: skip
    assert found.is_kept and found.changed == ["Account", "Opportunity"]
    assert (theirs.record(account), theirs.record(deal)) == before
    assert theirs.records("MRR_Schedule__c") == theirs.records("Task") == []


def test_a_refused_trial_names_the_field_and_keeps_the_old_mapping(theirs, live):
    account = theirs.add_account(Name="Acme")
    theirs.adds_rule("Account", lambda record: "ARR is set by finance" if record["ARR_Total__c"] else None)

    found = org_setup.use_mapping(THEIRS, now=timezone.now())

    assert not found.is_kept and not FieldMapping.objects.exists()
    assert [(one.sobject, one.text) for one in found.refused] == [
        ("Account", "ARR is set by finance (FIELD_CUSTOM_VALIDATION_EXCEPTION)")
    ]
    assert theirs.record(account)["ARR_Total__c"] is None


def test_a_mapping_onto_a_field_that_is_not_there_is_refused_before_it_is_tried(salesforce, live):
    with pytest.raises(org_setup.NotDone, match=r"Nothing was changed\. Account\.ARR_Total__c is not there"):
        org_setup.use_mapping(THEIRS, now=timezone.now())

    assert not FieldMapping.objects.exists()


def test_a_restricted_picklist_that_lacks_our_words_is_refused(theirs, shadow):
    text = file(Account={"Payment_Risk__c": "Dunning__c"})

    with pytest.raises(org_setup.NotDone, match="does not offer high, none"):
        org_setup.use_mapping(text, now=timezone.now())


def test_the_won_stage_is_one_of_the_org_s(salesforce, shadow):
    salesforce.add_stage("Signed", closed=True, won=True)
    with pytest.raises(org_setup.NotDone, match=r"'Sold' is not an active won stage\. The org has: Closed Won, Signed"):
        org_setup.use_mapping(file("Sold"), now=timezone.now())

    org_setup.use_mapping(file("Signed"), now=timezone.now())

    org = SalesforceOrg.objects.get()
    assert (org.won_stage, org.is_won_stage_chosen) == ("Signed", True)
    assert org_setup.check(now=timezone.now()) == []


def test_records_are_written_and_opportunities_found_by_the_org_s_names(scenario, theirs, live):
    account = theirs.add_account(Name="Acme")
    deal = theirs.add_opportunity(AccountId=account)
    org_setup.use_mapping(THEIRS, now=timezone.now())
    reads(theirs)
    customer = scenario.customer("Acme", salesforce_account_id=account)
    customer.subscribes("team", monthly="30.00", on="2026-01-10")
    scenario.drain()

    record, won = theirs.record(account), theirs.record(deal)
    assert (record["ARR_Total__c"], record["ARR__c"], record["CMRR__c"]) == (Decimal(360), None, None)
    assert (record["MRR__c"], record["Dunning__c"]) == (Decimal(30), "OK")
    assert won["Billing_Ref__c"].startswith("sub_") and won["Stripe_Subscription_Id__c"] is None

    customer.moves_to("business", monthly="50.00", on="2026-02-01")
    scenario.drain()
    assert theirs.record(account)["ARR_Total__c"] == Decimal(600)
    assert len(theirs.records("Opportunity")) == 1


def test_an_amount_with_a_field_of_its_own_is_found_won_and_undone_there(scenario, salesforce, live):
    salesforce.adds_field("Opportunity", number("Booked__c", 16, 2, type="currency"))
    account = salesforce.add_account(Name="Acme")
    deal = salesforce.add_opportunity(AccountId=account, Amount=5, Booked__c=7, HasOpportunityLineItem=True)
    salesforce.add_opportunity(AccountId=account)
    org_setup.use_mapping(file(Opportunity={"Amount": "Booked__c"}), now=timezone.now())
    reads(salesforce)
    customer = scenario.customer("Acme", salesforce_account_id=account)
    customer.subscribes("team", monthly="30.00", on="2026-01-10")
    asked = OpportunityChoice.objects.get()
    assert next(one for one in asked.candidates if one["id"] == deal)["amount"] == "7.0"

    choices.choose(asked.record_id, deal, by="revops", now=timezone.now())
    scenario.drain()
    won = salesforce.record(deal)
    assert (won["IsWon"], won["Amount"], won["Booked__c"]) == (True, Decimal(5), Decimal(360))

    choices.undo(asked.record_id, by="revops", now=timezone.now())
    assert salesforce.record(deal)["Booked__c"] == Decimal(7)


def test_a_new_mapping_writes_again_what_was_written_by_the_old_one(scenario, theirs, live):
    account = theirs.add_account(Name="Acme")
    reads(theirs)
    customer = scenario.customer("Acme", salesforce_account_id=account)
    customer.subscribes("team", monthly="30.00", on="2026-01-10")
    scenario.drain()
    assert theirs.record(account)["ARR__c"] == Decimal(360)

    org_setup.use_mapping(THEIRS, now=timezone.now())
    scenario.drain()

    assert theirs.record(account)["ARR_Total__c"] == Decimal(360)
    assert SyncRecord.objects.get(kind="account").fields_sent["ARR__c"] == "360.00"


def test_the_permission_set_grants_the_org_s_own_fields(theirs, shadow):
    org_setup.use_mapping(THEIRS, now=timezone.now())
    theirs.hides_field("Account", "ARR_Total__c")
    assert [one.code for one in org_setup.check(now=timezone.now())] == ["field_hidden"]

    done, found = org_setup.deploy(now=timezone.now())

    assert found == [] and "PermissionSet MRR_Ledger_writer" in done.changed
    granted = theirs.set_up.permission_sets["MRR_Ledger_writer"].fields
    assert granted["Account.ARR_Total__c"] and "Account.ARR__c" not in granted and "Account.CMRR__c" not in granted


def test_the_command_takes_and_shows_a_mapping(run, theirs, shadow, tmp_path, capsys):
    path = tmp_path / "mapping.json"
    path.write_text(THEIRS)

    code, found = run("setup_salesforce", "--mapping", str(path))

    assert (code, found["kept"], found["objects_owed_again"]) == (0, True, ["Account", "Opportunity"])
    assert json.loads(org_setup.mapping_file())["fields"]["Account"]["ARR__c"] == "ARR_Total__c"


def test_connecting_again_keeps_the_mapping(theirs, shadow):
    from tests.crm.conftest import login

    org_setup.use_mapping(THEIRS, now=timezone.now())

    connections.connect(login(theirs), now=timezone.now())

    assert FieldMapping.objects.count() == 4
