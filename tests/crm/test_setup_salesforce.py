"""Setting an org up: what the check names, what a deployment makes, and that a second one changes nothing."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from io import BytesIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from crm import connections, org_setup
from crm.channels.salesforce import metadata, setup
from crm.channels.salesforce.client import Client
from crm.channels.salesforce.fields import NEEDED
from crm.models import SalesforceOrg
from tests.crm.conftest import login
from tests.fakes.salesforce import FakeSalesforce, Field
from tests.fakes.salesforce.schema import new_object

pytestmark = pytest.mark.django_db


@pytest.fixture
def empty(db, monkeypatch) -> Iterator[FakeSalesforce]:
    """An org that has none of our fields, connected in shadow mode."""
    with FakeSalesforce(package=False) as fake:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", fake.ca_file)
        fake.set_up.polls = 0
        connections.connect(login(fake), now=timezone.now())
        yield fake


def findings(*, remarks: bool = False) -> list[tuple[str, str, str]]:
    found = org_setup.check(now=timezone.now())
    return [(one.sobject, one.field, one.code) for one in found if one.is_remark == remarks]


def test_an_empty_org_is_checked_deployed_and_green_and_a_second_deployment_changes_nothing(run, empty):
    code, found = run("setup_salesforce", "--check")
    assert (code, found["ready"]) == (1, False)
    named = {(row["object"], row["field"]) for row in found["findings"]}
    assert ("MRR_Schedule__c", None) in named
    assert {(one.sobject, one.name) for one in NEEDED if one.is_ours and one.sobject != "MRR_Schedule__c"} < named
    assert {row["code"] for row in found["findings"]} == {"object_missing", "field_missing"}

    code, found = run("setup_salesforce", "--deploy")
    assert (code, found["ready"], found["findings"], found["assigned"]) == (0, True, [], True)
    assert "CustomField Activity.Message_Key__c" in found["changed"]

    assert run("setup_salesforce", "--check")[1]["findings"] == []
    code, found = run("setup_salesforce", "--deploy")
    assert (code, found["ready"], found["changed"], found["assigned"]) == (0, True, [], False)
    assert len(empty.records("PermissionSetAssignment")) == 1


def test_doctor_compares_an_org_that_nobody_has_compared_and_names_its_limit(run, empty):
    _, found = run("doctor", "--json")

    said = [one for one in found["checks"] if one["check"] in ("set-up", "limits")]
    assert {one["code"] for one in said if not one["ok"]} == {"object_missing", "field_missing"}
    assert any("of the org's" in one["seen"] and one["ok"] for one in said if one["check"] == "limits")


def test_what_is_deployed_is_what_the_fake_knows_as_our_package(empty):
    org_setup.deploy(now=timezone.now())

    with FakeSalesforce() as whole:
        for name in ("MRR_Schedule__c", "Account", "Opportunity", "Task"):
            expected = {one["name"]: one for one in whole.store.objects[name].described()["fields"]}
            found = {one["name"]: one for one in empty.store.objects[name].described()["fields"]}
            assert set(found) == set(expected)
            for field, said in expected.items():
                for key in ("type", "length", "precision", "scale", "unique", "externalId", "nillable", "referenceTo"):
                    assert found[field][key] == said[key], (name, field, key)


def test_one_right_removed_is_named_and_deploying_gives_it_back(run, empty):
    org_setup.deploy(now=timezone.now())
    empty.hides_field("Account", "In_Dispute__c")
    empty.makes_read_only("Opportunity", "Committed_ARR__c")

    code, found = run("setup_salesforce", "--check")

    assert code == 1
    assert [(row["object"], row["field"], row["code"]) for row in found["findings"]] == [
        ("Account", "In_Dispute__c", "field_hidden"),
        ("Opportunity", "Committed_ARR__c", "field_read_only"),
    ]
    assert "MRR Ledger writer" in found["findings"][0]["message"]
    code, found = run("setup_salesforce", "--deploy")
    assert (code, found["changed"]) == (0, ["PermissionSet MRR_Ledger_writer"])


def test_a_field_the_org_has_already_is_left_as_it_is(empty):
    empty.adds_field("Account", Field("ARR__c", "currency", precision=16, scale=2))

    done, found = org_setup.deploy(now=timezone.now())

    assert "CustomField Account.ARR__c" not in done.changed
    assert empty.store.objects["Account"].fields["ARR__c"].type == "currency"
    assert found == []


def test_without_a_look_at_the_set_up_missing_and_hidden_are_not_told_apart(shadow, salesforce):
    salesforce.set_up.may_read = False
    salesforce.hides_field("Account", "In_Dispute__c")

    assert findings() == [("Account", "In_Dispute__c", "field_missing")]
    assert findings(remarks=True) == [("", "", "rules_unreadable")]


def test_types_lengths_decimals_and_keys_are_compared(shadow, salesforce):
    account = salesforce.store.objects["Account"].fields
    account["MRR__c"].scale = 2
    account["CMRR__c"].type = "string"
    salesforce.store.objects["MRR_Schedule__c"].fields["Stripe_Event_Id__c"].length = 40
    salesforce.store.objects["Opportunity"].fields["Stripe_Subscription_Id__c"].unique = False
    salesforce.store.objects["Task"].fields["Message_Key__c"].required = True
    account["Payment_Risk__c"].values = ("none", "low", "high")

    assert findings() == [
        ("MRR_Schedule__c", "Stripe_Event_Id__c", "field_length"),
        ("Account", "MRR__c", "field_scale"),
        ("Account", "CMRR__c", "field_type"),
        ("Account", "Payment_Risk__c", "picklist_value"),
        ("Opportunity", "Stripe_Subscription_Id__c", "field_not_unique"),
        ("Task", "Message_Key__c", "field_required"),
    ]


def test_a_field_that_others_require_on_our_object_is_named(shadow, salesforce):
    salesforce.adds_field("MRR_Schedule__c", Field("Cost_Center__c", length=20, required=True))

    assert findings() == [("MRR_Schedule__c", "Cost_Center__c", "required_by_others")]


def test_rules_and_stages_that_may_refuse_are_remarks(shadow, salesforce):
    salesforce.add_stage("Signed", closed=True, won=True, probability=100)
    salesforce.add_record_type("Opportunity", "Renewal", stages=("Prospecting", "Signed"))
    salesforce.add_duplicate_rule("Account", "Same name")
    salesforce.add_duplicate_rule("Account", "Old one", active=False)
    salesforce.set_up.add_rule("Opportunity", "Amount_is_set", "Enter an amount")

    assert findings() == []
    assert findings(remarks=True) == [
        ("Opportunity", "StageName", "several_won_stages"),
        ("Opportunity", "StageName", "record_type_stage"),
        ("Account", "", "duplicate_rule"),
        ("Opportunity", "", "validation_rule"),
    ]


def test_an_org_without_a_won_stage_is_told_so(shadow, salesforce):
    for stage in salesforce.records("OpportunityStage", IsWon=True):
        salesforce.edits(stage["Id"], IsActive=False)

    assert findings() == [("Opportunity", "StageName", "no_won_stage")]


def test_the_check_is_kept_for_the_page(shadow, salesforce):
    salesforce.hides_field("Account", "In_Dispute__c")
    now = timezone.now()

    org_setup.check(now=now)

    org = SalesforceOrg.objects.get()
    assert org.checked_at == now and org.findings[0]["code"] == "field_hidden"


def test_a_refused_deployment_changes_nothing_and_names_the_part(empty):
    theirs = new_object("MRR_Schedule__c")
    theirs.fields["Type__c"] = Field("Type__c", "double", precision=3)
    theirs.hidden = True
    empty.store.objects["MRR_Schedule__c"] = theirs

    with pytest.raises(
        org_setup.NotDone, match=r"nothing of it stands\. MRR_Schedule__c\.Type__c: Cannot change field"
    ):
        org_setup.deploy(now=timezone.now())

    assert set(empty.store.objects["MRR_Schedule__c"].fields) == set(theirs.fields)
    assert empty.set_up.permission_sets == {}
    assert SalesforceOrg.objects.get().deploy_id == ""


def test_who_may_not_deploy_is_told_the_other_way(empty):
    empty.set_up.may_deploy = False

    with pytest.raises(org_setup.NotDone, match="sf project deploy start"):
        org_setup.deploy(now=timezone.now())


def test_who_may_not_assign_is_told_where_to(empty):
    empty.set_up.may_assign = False

    with pytest.raises(org_setup.NotDone, match="Manage Assignments"):
        org_setup.deploy(now=timezone.now())


def test_a_deployment_that_takes_long_is_gone_on_with(empty):
    empty.set_up.polls = 1
    done, _ = org_setup.deploy(now=timezone.now(), within_seconds=-1)
    assert not done.is_done and SalesforceOrg.objects.get().deploy_id

    done, found = org_setup.deploy(now=timezone.now())

    assert done.is_done and done.is_assigned and found == []
    assert len(empty.requests_to("POST .*deployRequest")) == 1


def test_the_header_of_an_upload_stays_with_the_upload(empty):
    org_setup.deploy(now=timezone.now())

    uploads = empty.requests_to("POST .*deployRequest")
    others = [one for one in empty.requests_to("/services/data/v") if one not in uploads]
    assert uploads[0].header("content-type").startswith("multipart/form-data")
    assert {one.header("content-type") for one in others} == {"application/json"}


def test_the_source_for_the_cli_is_what_is_deployed():
    source = metadata.source()

    for path, text in source.items():
        assert (metadata.PACKAGE / path).read_text("utf-8") == text, "run python -m crm.channels.salesforce.metadata"
    kept = {str(path.relative_to(metadata.PACKAGE)) for path in metadata.PACKAGE.rglob("*") if path.is_file()}
    assert kept == set(source)
    with zipfile.ZipFile(BytesIO(metadata.package(version="65.0", names={}))) as packed:
        sets = packed.read("permissionsets/MRR_Ledger_writer.permissionset").decode()
        deployed = "".join(packed.read(name).decode() for name in packed.namelist() if name.startswith("objects/"))
    assert sets == source["force-app/main/default/permissionsets/MRR_Ledger_writer.permissionset-meta.xml"]
    for one in NEEDED:
        assert (f"<fullName>{one.name}</fullName>" in deployed) == one.is_ours
    assert "Ledger_Key__c" not in sets  # a required field must not be listed
    assert "Task.Message_Key__c" in sets and "Event.Message_Key__c" in sets and "Activity." not in sets


def test_the_same_package_is_the_same_bytes():
    assert metadata.package(version="65.0", names={}) == metadata.package(version="65.0", names={})


def test_without_a_connection_the_command_is_wrong_use(db):
    with pytest.raises(CommandError) as refused:
        call_command("setup_salesforce", "--check")

    assert refused.value.returncode == 2


def test_a_check_costs_a_dozen_calls_at_most(shadow, salesforce):
    before = salesforce.calls

    with Client(shadow, now=timezone.now()) as client:
        setup.check(client)

    assert salesforce.calls - before <= 12
    assert salesforce.writes() == []
    assert json.dumps(SalesforceOrg.objects.get().findings) == "[]"
