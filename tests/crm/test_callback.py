"""A Flow's callback: nothing of it is believed, it only hastens a read, and it cannot use up the day's calls."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from crm import accounts, callback, matching
from crm.models import Account, SalesforceOrg, SyncRecord
from tests.crm.conftest import reads

pytestmark = pytest.mark.django_db

ADDRESS = "/callbacks/salesforce/"
ACCOUNT_ID = "0015g00000AbCdEAAV"


@pytest.fixture
def secret(shadow) -> str:
    return callback.make_secret(by="ada")


def posts(raw: bytes | str, secret: str | None, *, scheme: str = "Bearer"):
    headers = {"authorization": f"{scheme} {secret}"} if secret is not None else {}
    return Client(enforce_csrf_checks=True).post(ADDRESS, data=raw, content_type="application/json", headers=headers)


def ids(*given: object) -> str:
    return json.dumps({"ids": list(given)})


def test_an_account_made_after_the_customer_is_matched_at_once(scenario, salesforce, live):
    """Nobody does anything: webhook, callback, read, match, and the held records stand in Salesforce in order."""
    reads(salesforce)
    secret = callback.make_secret(by="ada")
    story = scenario.customer("Acme", email="ana@acme.example")
    story.subscribes("team", monthly="30.00", on="2026-01-10")
    story.moves_to("business", monthly="50.00", on="2026-02-01")
    assert set(SyncRecord.objects.values_list("state", flat=True)) == {"held"}
    assert not salesforce.records("MRR_Schedule__c")
    account = salesforce.add_account(Name="Acme")
    salesforce.add_contact(AccountId=account, Email="ana@acme.example")
    salesforce.add_opportunity(AccountId=account)

    SalesforceOrg.objects.update(mirrored_to=timezone.now() - accounts.HASTE)
    assert matching.keep_up(now=timezone.now()) == 0  # nobody told us, and it is not time
    answer = posts(ids(account), secret)
    assert matching.keep_up(now=timezone.now()) == 1
    scenario.drain()

    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "ignored": 0})
    rows = salesforce.records("MRR_Schedule__c")
    assert [(row["Account__c"], row["MRR_Delta__c"]) for row in rows] == [(account, 30), (account, 20)]
    assert salesforce.record(account)["MRR__c"] == 50
    assert not SyncRecord.objects.filter(state="held").exists()


def test_the_same_by_the_next_poll(scenario, salesforce, live):
    reads(salesforce)
    story = scenario.customer("Acme", email="ana@acme.example")
    story.subscribes("team", monthly="30.00", on="2026-01-10")
    account = salesforce.add_account(Name="Acme")
    salesforce.add_contact(AccountId=account, Email="ana@acme.example")
    salesforce.add_opportunity(AccountId=account)

    SalesforceOrg.objects.update(mirrored_to=timezone.now() - accounts.EVERY)
    assert matching.keep_up(now=timezone.now()) == 1
    scenario.drain()

    assert salesforce.record(account)["MRR__c"] == 30


@pytest.mark.parametrize("given", [None, "", "wrong", "Bearer", "\x00", "ü"])
def test_without_the_secret_nobody_is_let_in(secret, given):
    answer = posts(ids(ACCOUNT_ID), given)

    assert answer.status_code == 401 and answer.headers["WWW-Authenticate"] == "Bearer"
    assert secret not in answer.content.decode()
    assert SalesforceOrg.objects.get().hastened_at is None


def test_another_scheme_is_refused(secret):
    assert posts(ids(ACCOUNT_ID), secret, scheme="Basic").status_code == 401


def test_where_no_secret_is_set_an_empty_one_opens_nothing(shadow):
    assert posts(ids(ACCOUNT_ID), "").status_code == 401
    assert posts(ids(ACCOUNT_ID), None).status_code == 401


def test_without_a_connection_it_is_refused(db):
    assert posts(ids(ACCOUNT_ID), "x").status_code == 401
    with pytest.raises(callback.NoOrg):
        callback.make_secret(by="ada")


def test_a_new_secret_ends_the_old_one(secret):
    newer = callback.make_secret(by="ada")

    assert posts(ids(ACCOUNT_ID), secret).status_code == 401
    assert posts(ids(ACCOUNT_ID), newer).status_code == 202


@pytest.mark.parametrize(
    "raw",
    [b"", b"\xff\xfe", b"{", b"[]", b"null", b'{"ids": "001"}', b'{"ids": {}}', b"[" * 100_000, b"9" * 5000],
)
def test_garbage_is_refused(secret, raw):
    assert posts(raw, secret).status_code == 400
    assert SalesforceOrg.objects.get().hastened_at is None


@pytest.mark.parametrize("one", ["", "x", "' OR Id != '", "../../services", 15, None, ["001"], "5005g00000AbCdE"])
def test_an_id_of_nothing_we_read_is_ignored(secret, one):
    assert posts(ids(one), secret).status_code == 400
    assert posts(ids(one, ACCOUNT_ID), secret).json() == {"accepted": 1, "ignored": 1}


def test_nothing_of_the_body_is_believed(secret, salesforce):
    raw = json.dumps({"ids": [ACCOUNT_ID], "records": [{"Id": ACCOUNT_ID, "Name": "Forged"}]})

    assert posts(raw, secret).status_code == 202
    matching.keep_up(now=timezone.now() + accounts.HASTE)

    assert not Account.objects.filter(salesforce_id=ACCOUNT_ID).exists()


def test_thousands_of_ids_cost_one_call(secret, salesforce):
    salesforce.forgets_requests()

    answer = posts(ids(*[f"001{number:012d}" for number in range(20_000)]), secret)
    matching.keep_up(now=timezone.now() + accounts.HASTE)

    assert answer.json()["accepted"] == 20_000
    assert len(salesforce.requests) == 1


def test_too_large_a_body_is_refused(secret):
    assert posts(b" " * (1024 * 1024 + 1), secret).status_code == 413
    assert posts(b" " * (3 * 1024 * 1024), secret).status_code == 413


def test_a_flood_of_callbacks_is_one_read_in_fifteen_seconds(secret, salesforce):
    salesforce.forgets_requests()
    now = timezone.now() + accounts.HASTE

    for second in range(60):
        SalesforceOrg.objects.update(hastened_at=now + timedelta(seconds=second))
        matching.keep_up(now=now + timedelta(seconds=second))

    assert len(salesforce.requests) == 4


def test_calls_leave_the_day_to_the_polls_and_to_people(secret, salesforce):
    salesforce.forgets_requests()
    org = SalesforceOrg.objects.get()
    now = timezone.now()
    org.api_hours.update_or_create(
        hour=now.replace(minute=0, second=0, microsecond=0), defaults={"reads": org.read_allowance - 50}
    )

    posts(ids(ACCOUNT_ID), secret)
    matching.keep_up(now=now + accounts.HASTE)

    assert not salesforce.requests  # the next poll reads it


def test_it_comes_by_post_alone(secret):
    answer = Client().get(ADDRESS, headers={"authorization": f"Bearer {secret}"})

    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
