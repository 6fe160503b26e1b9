"""Who looks after a customer: the CSM's lookup, else the owner, and nobody who has left."""

from __future__ import annotations

import pytest
from django.utils import timezone

from crm import accounts, org_setup, rules
from crm.models import Account, Match, Message, SalesforceOrg
from crm.people import Looking, Person, looks_after
from crm.selectors import looking_after
from tests.crm.conftest import reads
from tests.crm.test_salesforce import after_the_window, minutes_ago
from tests.fakes.salesforce.schema import reference

pytestmark = pytest.mark.django_db(transaction=False)

ANA, BOB = Person("005A", True), Person("005B", True)


@pytest.mark.parametrize(
    ("csm", "owner", "found"),
    [
        (ANA, BOB, Looking("005A")),
        (Person(), BOB, Looking("005B")),
        (Person("005A"), BOB, Looking("", "csm_inactive")),
        (Person(), Person("005B"), Looking("", "owner_inactive")),
        (Person(), Person(), Looking("", "no_owner")),
    ],
)
def test_the_lookup_counts_before_the_owner_and_nobody_who_left(csm, owner, found):
    assert looks_after(csm, owner) == found


@pytest.fixture
def people(salesforce, live):
    """An owner and a CSM, and an Account that names them, in an org whose lookup is called CSM__c."""
    salesforce.adds_field("Account", reference("CSM__c", "User"))
    SalesforceOrg.objects.update(csm_field="CSM__c", live_since=timezone.now().replace(year=2020))
    owner, csm = salesforce.add_user(Name="Olga Owner"), salesforce.add_user(Name="Carl Success")
    account = salesforce.add_account(Name="Acme", OwnerId=owner, CSM__c=csm)
    salesforce.add_opportunity(AccountId=account)
    reads(salesforce)
    return account, owner, csm


def leaves(scenario, account):
    customer = scenario.customer("Acme", salesforce_account_id=account)
    customer.subscribes("team", monthly="30.00", on="2026-01-10")
    customer.cancels(on=minutes_ago(5))
    after_the_window()


def test_the_win_back_task_is_the_csms(scenario, salesforce, people):
    account, _, csm = people

    leaves(scenario, account)

    (task,) = salesforce.records("Task")
    assert task["OwnerId"] == csm


def test_without_a_lookup_it_is_the_owners(scenario, salesforce, people):
    account, owner, _ = people
    salesforce.edits(account, CSM__c=None)
    reads(salesforce)

    leaves(scenario, account)

    (task,) = salesforce.records("Task")
    assert task["OwnerId"] == owner


def test_who_left_gets_no_task_and_is_named(scenario, salesforce, people):
    account, _, csm = people
    salesforce.edits(csm, IsActive=False)

    assert accounts.refresh(now=timezone.now()).users
    leaves(scenario, account)

    (task,) = salesforce.records("Task")
    assert task["OwnerId"] is None or task["OwnerId"] == salesforce.user_id
    assert Message.objects.get(topic="win_back").state == "sent"
    remark = next(one for one in org_setup.check(now=timezone.now()) if one.is_remark)
    assert (remark.code, account in remark.text) == ("csm_inactive", True)


def test_a_lookup_that_is_gone_does_not_stop_the_mirror(salesforce, people):
    account, owner, _ = people
    del salesforce.store.objects["Account"].fields["CSM__c"]
    salesforce.edits(account, Name="Acme Ltd")

    reads(salesforce)

    row = Account.objects.get(salesforce_id=account)
    assert (row.name, row.owner_id, row.csm_id) == ("Acme Ltd", owner, "")


def test_a_lookup_must_be_one_of_a_user(salesforce, people):
    assert rules.fault_of_lookup("CSM__c", now=timezone.now()) == ""
    assert "has no field Nobody__c" in rules.fault_of_lookup("Nobody__c", now=timezone.now())
    assert "no lookup of a User" in rules.fault_of_lookup("ParentId", now=timezone.now())


def test_another_lookup_is_read_anew(scenario, salesforce, people):
    account, owner, _ = people
    scenario.customer("Acme", salesforce_account_id=account).subscribes("team", monthly="30.00", on="2026-01-10")
    rules.change_org({"csm_field": ""}, by="ada")
    assert SalesforceOrg.objects.get().mirrored_to is None

    accounts.refresh(now=timezone.now())

    customer_pk = Match.objects.get().customer_id
    assert looking_after([customer_pk]) == {customer_pk: Looking(owner)}
