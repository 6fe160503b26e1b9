"""The console in a real browser: each of Salesforce's refusals is named, explained, cured, retried, and ends green."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.fakes.salesforce import FakeSalesforce
from tests.installations import environment, free_port, manage, served
from tests.test_browser import shoot

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PASSWORD = "a long enough password"
# Code, Salesforce's words, the fields it lists; what the page must name.
REFUSALS = [
    ("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record", (), "saving this Account"),
    ("SERVER_UNAVAILABLE", "Server unavailable", (), "not available"),
    ("REQUIRED_FIELD_MISSING", "Required fields are missing: [Region__c]", ("Region__c",), "Region__c"),
    ("FIELD_CUSTOM_VALIDATION_EXCEPTION", "MRR may not fall without a note", (), "MRR may not fall without a note"),
    ("DUPLICATES_DETECTED", "Use one of these records?", (), "Use one of these records?"),
    ("DUPLICATE_VALUE", "duplicate value found: Erp_Key__c duplicates value", (), "Erp_Key__c"),
    (
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
        "Billing status: bad value for restricted picklist field: active",
        ("Billing_Status__c",),
        "Billing_Status__c",
    ),
    ("INVALID_FIELD", "No such column 'CMRR__c' on sobject of type Account", (), "CMRR__c"),
    ("INVALID_FIELD_FOR_INSERT_UPDATE", "Unable to create/update fields: ARR__c.", ("ARR__c",), "ARR__c"),
    ("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", (), "points at one that is not there"),
    ("INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id", (), "may not edit this record"),
    (
        "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
        "insufficient access rights on cross-reference id",
        (),
        "may not use the Account",
    ),
    ("ENTITY_IS_DELETED", "entity is deleted", (), "recycle bin"),
    ("STRING_TOO_LONG", "Reasons: data value too large", ("Churn_Risk_Reasons__c",), "Churn_Risk_Reasons__c"),
    ("MALFORMED_ID", "Parent: id value of incorrect type", ("ParentId",), "ParentId"),
    ("NUMBER_OUTSIDE_VALID_RANGE", "MRR: value outside of valid range", ("MRR__c",), "MRR__c"),
    ("INVALID_TYPE", "sObject type 'Account' is not supported.", (), "does not exist"),
]

DEALS = ("Deal 1", "Deal 2", "Deal 3")  # each Account has two open Opportunities, so a person must choose

WORLD = """
import json, os
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone
from crm import connections
from tests.scenario import Scenario

login = connections.Login(**json.loads(os.environ["LOGIN"]))
connections.connect(login, mode="live", now=timezone.now())
scenario = Scenario("acme")
scenario.client = Client(SERVER_NAME="127.0.0.1")
scenario.is_held = True
for name, account in json.loads(os.environ["ACCOUNTS"]).items():
    customer = scenario.customer(name, salesforce_account_id=account)
    customer.subscribes("Team", monthly="30.00", on="2026-01-10")
for event in scenario.events:
    answer = scenario.deliver(json.dumps(event).encode())
    assert answer.status_code == 200, answer.content
for role in ("revops", "admin", "viewer"):
    user = get_user_model().objects.create_user(role, password=os.environ["PASSWORD"])
    user.groups.add(Group.objects.get(name=role))
"""


@dataclass
class Console:
    """A served installation, live against a fake org; `accounts` by the code each is refused with, or their name."""

    address: str
    salesforce: FakeSalesforce
    environment: dict[str, str]
    accounts: dict[str, str] = field(default_factory=dict)

    def drain(self) -> None:
        manage(self.environment, "drain", "--until-empty")

    def owes(self, account: str) -> None:
        """Let one Account be written again, and nothing else."""
        words = [
            "from crm import outbox; from django.utils import timezone; from crm.models import SyncRecord",
            f"SyncRecord.objects.filter(key='{account}').update(fields_sent={{}})",
            f"outbox.owe_accounts(['{account}'], now=timezone.now())",
        ]
        manage(self.environment, "shell", "-c", "\n".join(words))


@pytest.fixture(scope="module")
def console(tmp_path_factory, migrated_sqlite) -> Iterator[Console]:
    folder: Path = tmp_path_factory.mktemp("console")
    port = free_port()
    with FakeSalesforce() as fake:
        accounts = {f"Acme {code}": fake.add_account(Name=f"Acme {code}") for code, *_ in REFUSALS}
        for account in accounts.values():
            fake.add_opportunity(AccountId=account)
        for deal in DEALS:
            accounts[deal] = fake.add_account(Name=deal)
            for place in ("A", "B"):
                fake.add_opportunity(AccountId=accounts[deal], Name=f"{deal} {place}")
        login = {"instance_url": fake.url, "client_id": fake.client_id, "client_secret": fake.client_secret}
        shutil.copy(migrated_sqlite, folder)
        made = environment(
            folder,
            REQUESTS_CA_BUNDLE=str(fake.ca_file),
            BASE_URL=f"http://127.0.0.1:{port}",
            PASSWORD=PASSWORD,
            ACCOUNTS=json.dumps(accounts),
            LOGIN=json.dumps(login),
        )
        manage(made, "shell", stdin=WORLD)
        with served(made, port, "--web", "1", "--workers", "0"):
            by_code = {code: accounts[f"Acme {code}"] for code, *_ in REFUSALS} | {
                deal: accounts[deal] for deal in DEALS
            }
            yield Console(f"http://127.0.0.1:{port}", fake, made, by_code)


def signed_in(page, console: Console, who: str = "revops"):
    page.complaints = []
    page.on("console", lambda said: page.complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(f"{console.address}/")
    page.get_by_label(re.compile("user|login|name", re.I)).first.fill(who)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name=re.compile("sign in|log in", re.I)).click()
    page.wait_for_url(re.compile("/dashboard/"))
    return page


def test_each_refusal_is_named_explained_and_ends_green_after_a_retry(page, console):
    for code, message, fields, _ in REFUSALS:
        console.salesforce.rejects_next(
            code, message, sobject="Account", fields=fields, matching={"Id": console.accounts[code]}
        )
    console.drain()
    signed_in(page, console)

    page.goto(f"{console.address}/dashboard/sync/?kind=account")
    shoot(page, "console-refusals")
    for code, _, _, named in REFUSALS:
        account = console.accounts[code]
        page.get_by_role("button", name=re.compile(f"^Open Acme {code}\\b")).click()
        row = page.locator(".expand:visible")
        said = row.inner_text()
        assert code in said and named in said, f"{code}: {said}"
        assert "retry" in said.lower() or "tried again" in said.lower(), f"{code} names no fix: {said}"
        link = row.locator(f'a[href="{console.salesforce.url}/{account}"]')
        assert link.count() == 1, f"{code} does not link the record"
        with page.expect_navigation():
            row.get_by_role("button", name="Retry").click()

    console.drain()

    page.goto(f"{console.address}/dashboard/sync/?kind=account")
    states = page.locator("tbody tr:not(.expand) .st").all_inner_texts()
    assert len(states) == len(REFUSALS) + len(DEALS) and set(states) == {"Sent"}
    assert page.get_by_text("Nothing refused").count() == 1
    shoot(page, "console-green")
    assert page.complaints == []


def test_a_record_that_is_not_there_is_told_when_it_goes_alone(page, console):
    account = console.accounts["STRING_TOO_LONG"]
    console.salesforce.rejects_next("NOT_FOUND", "The requested resource does not exist", matching={"Id": account})
    console.owes(account)
    console.drain()
    signed_in(page, console)
    page.goto(f"{console.address}/dashboard/sync/?kind=account&q={account}")
    page.get_by_role("button", name=re.compile("^Open Acme")).click()
    said = page.locator(".expand:visible").inner_text()
    assert "NOT_FOUND" in said and "The record is not there" in said and "setup_salesforce --check" in said

    page.locator(".expand:visible").get_by_role("button", name="Retry").click()
    console.drain()

    page.goto(f"{console.address}/dashboard/sync/?kind=account&q={account}")
    assert page.locator("tbody tr:not(.expand) .st").all_inner_texts() == ["Sent"]


def test_a_spent_limit_is_told_and_a_retry_ends_the_pause(page, console):
    account = console.accounts["INVALID_TYPE"]
    console.drain()
    allowed, console.salesforce.daily_limit = console.salesforce.daily_limit, 0
    console.owes(account)
    console.drain()
    signed_in(page, console)
    page.goto(f"{console.address}/dashboard/sync/?kind=account&q={account}")
    assert "REQUEST_LIMIT_EXCEEDED" in page.locator("main").inner_text()

    console.salesforce.daily_limit = allowed
    page.get_by_role("button", name=re.compile("^Open Acme")).click()
    page.locator(".expand:visible").get_by_role("button", name="Retry").click()
    console.drain()

    page.goto(f"{console.address}/dashboard/sync/?kind=account&q={account}")
    assert page.locator("tbody tr:not(.expand) .st").all_inner_texts() == ["Sent"]


def test_a_person_decides_about_drift_from_the_keyboard(page, console):
    account = console.accounts["MALFORMED_ID"]
    console.drain()
    console.salesforce.edits(account, MRR__c=99, Billing_Status__c="canceled")
    signed_in(page, console)
    page.goto(f"{console.address}/dashboard/sync/?tab=drift")
    page.get_by_role("button", name="Compare with Salesforce").click()
    page.wait_for_url(re.compile("tab=drift"))
    assert "MRR__c" in page.locator("main").inner_text()
    shoot(page, "console-drift")

    page.get_by_role("checkbox", name=re.compile("Choose MRR__c")).check()
    page.keyboard.press("o")
    page.wait_for_load_state()
    console.drain()

    assert console.salesforce.record(account)["MRR__c"] == 30
    page.goto(f"{console.address}/dashboard/sync/?tab=drift")
    assert "Billing_Status__c" in page.locator("main").inner_text()


def test_opportunities_are_chosen_and_a_choice_is_undone_from_the_keyboard_alone(page, console):
    console.drain()
    signed_in(page, console)
    page.goto(f"{console.address}/dashboard/unmatched/?tab=opportunities")

    def stands_at(name: str) -> None:
        expect(page.locator("#o-h")).to_have_text(name)

    first, second, third = page.locator("[data-rows] a.who").all_inner_texts()
    stands_at(first)
    shoot(page, "console-opportunities")
    for key, name in (("j", second), ("j", third), ("k", second), ("k", first)):
        page.keyboard.press(key)
        stands_at(name)
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    stands_at(second)
    page.keyboard.press("Enter")
    stands_at(third)
    page.keyboard.press("u")
    stands_at(second)
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    stands_at(third)
    console.drain()

    for deal, won in ((first, [f"{first} B"]), (second, [f"{second} B"]), (third, [])):
        account = console.accounts[deal]
        found = console.salesforce.records("Opportunity", AccountId=account, IsWon=True)
        assert [one["Name"] for one in found] == won
    assert page.complaints == []


def test_every_list_draws_within_its_width_and_policy(page, console):
    signed_in(page, console, "admin")
    paths = {
        "records": "sync/",
        "messages": "sync/?tab=messages",
        "drift": "sync/?tab=drift",
        "log": "sync/?tab=log",
        "live": "sync/live/",
        "opportunities": "unmatched/?tab=opportunities",
    }
    for name, path in paths.items():
        for theme in ("light", "dark"):
            page.set_viewport_size({"width": 390, "height": 900})
            page.goto(f"{console.address}/dashboard/{path}{'&' if '?' in path else '?'}theme={theme}")
            for width in (390, 1440):
                page.set_viewport_size({"width": width, "height": 900})
                shoot(page, f"console-{name}-{theme}-{width}")
                overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
                assert overflow <= 0, f"{name} is {overflow} px wider than the window"
            assert page.get_by_role("heading", level=1).count() == 1
    assert page.complaints == []
