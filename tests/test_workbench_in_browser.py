"""The workbench as people work on it: the keyboard alone, over a slow line, two at once, against the strict fake."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.salesforce import FakeSalesforce
from tests.installations import free_port, manage, served

PASSWORD = "a long enough password"
CUSTOMERS = 30
# Each customer pays, has grown once, and fits two Accounts: nobody but a person can decide.
COMPANY = """
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.utils import timezone
from crm import accounts, connections, matching
from tests.scenario import Scenario
for name, first, last in (("ana", "Ana", "Duarte"), ("ben", "Ben", "Okoro")):
    user = get_user_model().objects.create_user(name, password={password!r}, first_name=first, last_name=last)
    user.groups.add(Group.objects.get(name="revops"))
login = connections.Login(instance_url={url!r}, client_id={id!r}, client_secret={secret!r})
connections.connect(login, mode="live", now=timezone.now())
accounts.refresh(now=timezone.now())
company = Scenario("acme")
company.is_held = True
for number in range({count}):
    story = company.customer(f"Kestrel {{number}} Ltd", on="2026-01-02", email=f"pay@kestrel{{number}}.example")
    story.subscribes("team", monthly=f"{{900 - 10 * number}}.00", on="2026-01-10")
    story.moves_to("business", monthly=f"{{1800 - 10 * number}}.00", on="2026-02-10")
company.arrive_together()
matching.match_waiting(now=timezone.now())
"""

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def browser_context_args(browser_context_args: dict[str, Any]) -> dict[str, Any]:
    return {**browser_context_args, "ignore_https_errors": True, "viewport": {"width": 1440, "height": 900}}


@pytest.fixture(scope="module")
def install(tmp_path_factory, installed) -> Iterator[tuple[str, FakeSalesforce, dict[str, str]]]:
    """Serve a company whose customers all wait for a person, beside its org; gives address, org and environment."""
    folder, port = tmp_path_factory.mktemp("workbench"), free_port()
    address = f"http://127.0.0.1:{port}"
    with FakeSalesforce() as fake, installed(folder) as base:
        for number in range(CUSTOMERS):
            for name in (f"Kestrel {number}", f"Kestrel {number} Holding"):
                fake.add_account(Name=name, Website=f"https://www.kestrel{number}.example")
        made = {**base, "REQUESTS_CA_BUNDLE": str(fake.ca_file), "BASE_URL": address, "LOG_LEVEL": "CRITICAL"}
        told = {"password": PASSWORD, "url": fake.url, "id": fake.client_id, "secret": fake.client_secret}
        manage(made, "shell", stdin=COMPANY.format(**told, count=CUSTOMERS))
        with served(made, port, "--web", "1", "--workers", "0"):
            yield address, fake, made


def signed_in(page, address: str, name: str) -> Any:
    """Sign in and open the workbench; remembers complaints of the console and pages that were loaded."""
    page.complaints, page.loads = [], []
    page.on("console", lambda said: page.complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(f"{address}/accounts/login/")
    page.get_by_label(re.compile("user|login|name", re.I)).first.fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name=re.compile("sign in|log in", re.I)).click()
    page.wait_for_url(re.compile("/dashboard/"))
    page.goto(f"{address}/dashboard/unmatched/")
    page.on("request", lambda asked: page.loads.append(asked.url) if asked.is_navigation_request() else None)
    return page


class Keys:
    """A person at the keyboard: waits for the card, presses, and counts the presses of each customer."""

    def __init__(self, page) -> None:
        self.page = page
        self.presses: list[int] = []

    def clear(self, *keys: str) -> str:
        """Decide the chosen customer once its card is there; returns its name."""
        self.page.wait_for_function(SHOWN)
        row = self.page.locator('#bench-rows tr[aria-selected="true"]')
        name, row_id = row.locator(".who").inner_text(), row.get_attribute("id")
        for key in keys:
            self.page.keyboard.press(key)
        self.page.locator(f"#{row_id}").wait_for(state="detached")
        self.presses.append(len(keys))
        return str(name)

    def foot(self, words: str) -> None:
        self.page.locator("#bench-foot").get_by_text(words).first.wait_for()


SHOWN = """() => {
  const row = document.querySelector('#bench-rows tr[aria-selected="true"]');
  const card = document.getElementById("bench-card");
  return row && row.id === "row-" + card.dataset.pk && document.activeElement === row;
}"""


def test_twenty_customers_a_minute_from_the_keyboard_over_a_slow_line(page, install):
    address, fake, made = install
    keys = Keys(signed_in(page, address, "ana"))
    slow = page.context.new_cdp_session(page)
    slow.send("Network.enable")
    line = {"offline": False, "latency": 150, "downloadThroughput": -1, "uploadThroughput": -1}
    slow.send("Network.emulateNetworkConditions", line)
    began = time.monotonic()

    ignored = keys.clear("i", "1")
    snoozed = keys.clear("z")
    expected = keys.clear("w", "1")
    undone = keys.clear("Enter")
    keys.foot(f"{undone} to")
    page.keyboard.press("u")
    keys.foot("Undone. The customer waits again.")
    assert keys.clear("2", "Enter") == undone
    matched = [undone, *(keys.clear("Enter") for _ in range(16))]
    keys.foot(f"{matched[-1]} to")
    took = time.monotonic() - began

    assert took < 60, f"{len(keys.presses)} decisions took {took:.0f} s"
    assert len(keys.presses) >= 20 and max(keys.presses) <= 2
    assert page.loads == [] and page.complaints == []
    assert f"{CUSTOMERS - 20} waiting" in page.locator("#bench-heading").inner_text()
    for tab, name in (("Ignored", ignored), ("Snoozed", snoozed), ("Expected", expected)):
        page.locator("#bench-tabs").get_by_text(tab).click()
        page.wait_for_url(re.compile(f"tab={tab.lower()}"))
        assert page.locator("#bench-rows .who").all_inner_texts() == [name]

    manage(made, "drain", "--until-empty")
    accounts = {one["Id"]: one["Name"] for one in fake.records("Account")}
    written: dict[str, list[str]] = {}
    for one in fake.records("MRR_Schedule__c"):
        written.setdefault(accounts[one["Account__c"]], []).append(one["Type__c"])
    assert {name.removesuffix(" Holding") for name in written} == {name.removesuffix(" Ltd") for name in matched}
    assert all(types == ["new", "expansion"] for types in written.values()), written
    print(f"{len(keys.presses)} decisions in {took:.1f} s")


def test_opportunities_are_chosen_by_the_same_keys(page, install):
    address, fake, made = install
    keys = Keys(signed_in(page, address, "ana"))
    for _ in range(3):
        keys.clear("Enter")
    keys.foot("released")
    manage(made, "drain", "--until-empty")
    page.goto(f"{address}/dashboard/unmatched/?tab=opportunities")
    page.loads.clear()
    before = len(fake.records("Opportunity"))

    first = keys.clear("Enter")
    keys.foot("a new Opportunity")
    page.keyboard.press("u")
    keys.foot("Undone. The subscription waits for its Opportunity again.")
    assert keys.clear("1", "Enter") == first
    again = keys.clear("r")
    keys.foot("Salesforce is asked again.")

    assert page.loads == [] and page.complaints == []
    assert page.locator("#bench-rows").get_by_text(again, exact=True).count() == 0
    manage(made, "drain", "--until-empty")
    (made_one,) = fake.records("Opportunity")[before:]
    assert made_one["IsWon"]


def test_who_is_second_reads_who_was_first_and_goes_on(browser, install, browser_context_args):
    address, _, _ = install
    contexts = [browser.new_context(**browser_context_args) for _ in range(2)]
    ana, ben = (signed_in(one.new_page(), address, name) for one, name in zip(contexts, ("ana", "ben"), strict=True))
    theirs = ana.locator('#bench-rows tr[aria-selected="true"]').get_attribute("id")
    name = ana.locator(f"#{theirs} .who").inner_text()
    assert ben.locator('#bench-rows tr[aria-selected="true"]').get_attribute("id") == theirs

    ben.keyboard.press("5")  # no candidate has it, and the closed menus keep their digits to themselves
    ben.keyboard.press("2")
    ana.keyboard.press("Enter")
    ana.locator("#bench-foot").get_by_text(f"{name} to").wait_for()
    ben.keyboard.press("Enter")
    said = ben.locator("#bench-said .err")
    said.wait_for()

    assert re.match(
        rf"{name}\. Somebody was first\. Ana Duarte matched this customer at .*\. Nothing of", said.inner_text()
    )
    assert ben.locator(f"#{theirs}").count() == 0
    ben.wait_for_function(SHOWN)
    assert ana.loads == ben.loads == [] and ben.complaints == []
    for one in contexts:
        one.close()


def test_the_same_page_works_without_scripts(browser, install, browser_context_args):
    address, _, _ = install
    context = browser.new_context(**browser_context_args, java_script_enabled=False)
    page = signed_in(context.new_page(), address, "ben")
    name = page.locator('#bench-rows tr[aria-selected="true"] .who').inner_text()
    second = page.locator("#bench-rows .who").nth(1).inner_text()

    page.get_by_role("button", name="Accept").click()

    assert page.locator("#bench-card h2").inner_text() == second
    assert name in page.locator("#bench-foot").inner_text()
    page.get_by_role("button", name="Undo").click()
    assert page.locator("#bench-card h2").inner_text() == name
    context.close()
