"""The keys that matching finds Accounts and Contacts by: as the mirror writes them, and for rows from before."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import pytest
from django.apps import apps
from django.db import connection

from crm import forgetting
from crm.models import Account, Contact, Unmatched
from tests.crm.conftest import reads

pytestmark = pytest.mark.django_db


@pytest.fixture
def mirrored(salesforce, shadow):
    account = salesforce.add_account(
        Name="Harbor Analytics, Inc.",
        Website="https://www.Harbor.co.uk/en",
        Phone="(512) 555-1000",
        BillingCountry="United States",
    )
    salesforce.add_contact(AccountId=account, Email="Ana@mail.harbor.co.uk")
    salesforce.add_contact(AccountId=account, Email="ana@gmail.com")
    reads(salesforce)


def keys() -> list:
    accounts = Account.objects.values_list("name_key", "name_start", "domain", "phone_key")
    return [*accounts, *Contact.objects.order_by("email").values_list("email", "domain")]


def test_the_mirror_writes_them(mirrored):
    assert keys() == [
        ("harbor analytics", "harbo", "harbor.co.uk", "15125551000"),
        ("ana@gmail.com", ""),
        ("ana@mail.harbor.co.uk", "harbor.co.uk"),
    ]


def test_rows_from_before_are_filled_the_same(mirrored):
    now = keys()
    Account.objects.update(name_key="harbor analytics inc", name_start="", domain="www.harbor.co.uk", phone_key="")
    Contact.objects.update(domain="")

    filling = importlib.import_module("crm.migrations.0019_fill_matching_keys")
    filling.fill(apps, SimpleNamespace(connection=connection))

    assert keys() == now


def test_a_forgotten_account_stays_without(mirrored):
    account = Account.objects.get()
    forgetting.hide(["Harbor Analytics, Inc."], now=account.modified_at)
    filling = importlib.import_module("crm.migrations.0019_fill_matching_keys")
    filling.fill(apps, SimpleNamespace(connection=connection))

    assert keys()[0] == ("", "", "", "")


def test_rows_from_before_newer_rules_are_worked_out_anew_and_who_waits_is_tried_again(mirrored, scenario, salesforce):
    salesforce.add_account(Name="Seven Bridges Ferry Company", Website="https://bridges.wordpress.com")
    reads(salesforce)
    now = keys()
    Account.objects.filter(name_start="7brid").update(
        name_key="seven bridges ferry", name_start="seven", domain="wordpress.com"
    )
    Contact.objects.update(domain="harbor.example")
    scenario.customer("Nobody")
    assert Unmatched.objects.get().due_at is not None

    again = importlib.import_module("crm.migrations.0027_matching_keys_anew")
    again.work_out(apps, SimpleNamespace(connection=connection))

    assert keys() == now
    assert Unmatched.objects.get().due_at is None


def test_a_forgotten_account_stays_without_under_newer_rules(mirrored):
    forgetting.hide(["Harbor Analytics, Inc."], now=Account.objects.get().modified_at)

    again = importlib.import_module("crm.migrations.0027_matching_keys_anew")
    again.work_out(apps, SimpleNamespace(connection=connection))

    assert keys()[0] == ("", "", "", "")
