"""From an empty install to a first true MRR in a real browser, without a shell; what goes wrong is said in words."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from billing.examining import RIGHTS
from tests.builders import customer, event, item, price, subscription
from tests.fakes.front import Front
from tests.fakes.salesforce import FakeSalesforce
from tests.fakes.stripe import FakeStripe
from tests.installations import environment, free_port, served
from tests.test_browser import shoot

KEY = "rk_live_0123456789"
NAME, PASSWORD = "maya", "correct horse battery"
READS = {f"{right.name}_read" for right in RIGHTS}

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@dataclass
class Install:
    """An empty install behind TLS, beside a Stripe account in live mode and an org that has none of our fields."""

    address: str
    link: str
    front: Front
    stripe: FakeStripe
    salesforce: FakeSalesforce

    def delivers(self, *, livemode: bool = True, secret: str = "") -> list[int]:
        told = event("customer.updated", customer("cus_1", livemode=livemode), livemode=livemode)
        return self.stripe.delivers(told, secret=secret, ca_file=self.front.ca_file)


@pytest.fixture(scope="module")
def browser_context_args(browser_context_args: dict[str, Any]) -> dict[str, Any]:
    return {**browser_context_args, "ignore_https_errors": True}


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path) -> Iterator[Install]:
    folder, port = tmp_path_factory.mktemp("install"), free_port()
    shutil.copy(migrated_sqlite, folder)
    stripe = FakeStripe(key=KEY, livemode=True)
    salesforce = FakeSalesforce(package=False)
    with Front() as front, stripe, salesforce, (folder / "printed").open("w+") as out:
        front.target_port = port
        salesforce.set_up.polls = 0
        made = environment(
            folder,
            REQUESTS_CA_BUNDLE=str(salesforce.ca_file),
            STRIPE_API_BASE=stripe.url,
            BASE_URL=front.url,
            EMAIL_URL="consolemail://",
            LOG_LEVEL="CRITICAL",
        )
        with served(made, port, "--web", "1", "--workers", "1", out=out):
            found = re.search(r"https://\S+\?code=\S+", (folder / "printed").read_text())
            assert found, "serve printed no link"
            yield Install(front.url, found[0], front, stripe, salesforce)


def has_three_subscribers(stripe: FakeStripe) -> None:
    """Three live subscriptions of 10.00 a month, begun before anybody looked."""
    begun = int(time.time()) - 90 * 86_400
    plan = price("price_1", livemode=True)
    stripe.add(plan)
    for number in (1, 2, 3):
        stripe.add(customer(f"cus_{number}", at=begun, name=f"Customer {number}", livemode=True))
        items = [item(f"si_{number}", sold=plan)]
        held = subscription(f"sub_{number}", customer=f"cus_{number}", items=items, at=begun, livemode=True)
        stripe.add(held)


def test_from_an_empty_install_to_a_first_true_mrr(page, install):
    complaints: list[str] = []
    # A form that is given back with its fault is a 422, of which the console tells.
    page.on(
        "console",
        lambda said: complaints.append(said.text) if said.type == "error" and "422" not in said.text else None,
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    has_three_subscribers(install.stripe)
    begun = time.monotonic()

    def says(words: str) -> None:
        page.get_by_text(words).first.wait_for(timeout=30_000)

    def press(name: str) -> None:
        page.get_by_role("button", name=name, exact=True).click()
        page.wait_for_load_state()

    # The first account
    page.goto(install.link)
    page.get_by_label("User name").fill(NAME)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password again").fill(PASSWORD)
    press("Make the account")

    # A key without all its rights (fault 1), then with them
    install.stripe.add_key(KEY, READS - {"invoice_read"} | {"webhook_write"})
    page.get_by_label("Name", exact=True).fill("Acme US")
    page.get_by_label("Short name").fill("acme-us")
    page.get_by_label("Restricted key", exact=True).fill(KEY)
    press("Save source and try it")
    says("The key may not read Invoices")
    install.stripe.add_key(KEY, READS | {"webhook_write"})
    press("Check again")
    says("The key reads all that is needed")

    # The endpoint, and what can be wrong with it (faults 2 and 3)
    press("Create the endpoint")
    says("gets every event that we read")
    install.stripe.endpoint()["enabled_events"].remove("customer.subscription.updated")
    press("Check again")
    says("does not send 1 of the 68 events that we read: customer.subscription.updated")
    press("Mend the endpoint")
    says("gets every event that we read")
    install.stripe.endpoint()["api_version"] = "2022-11-15"
    press("Check again")
    says("sends events in the old layout of 2022-11-15")
    press("Replace the endpoint")
    says("gets every event that we read")

    # Deliveries that are refused (faults 4 to 6; the first is seen without a reload), and one that is taken
    assert install.delivers(secret="whsec_of_another_endpoint") == [400]
    says("signed with a secret that this source does not have")
    assert install.delivers(secret="whsec_of_the_test_endpoint", livemode=False) == [400]
    press("Check again")
    says("it was a test-mode event, and this source is live")
    install.stripe.clock = lambda: time.time() - 900
    assert install.delivers() == [400]
    press("Check again")
    says("its time is not ours")
    says("clock is 15 min ahead of Stripe's")
    shoot(page, "setup-faults")
    install.stripe.clock = time.time
    press("Check again")
    assert install.delivers() == [200]
    says("customer.updated, came")

    # History, and the first true MRR
    press("Read history")
    says("were listed and every one of them is kept")
    says("MRR stands")
    page.goto(f"{install.address}/dashboard/")
    says("$30")
    minutes = (time.monotonic() - begun) / 60
    print(f"from the empty install to the first true MRR: {minutes:.2f} min of a browser that does not hesitate")

    # Salesforce: an app that it does not know yet (fault 7), then a right that is missing (fault 8)
    install.salesforce.app.known = False
    page.goto(f"{install.address}/dashboard/salesforce/?way=client")
    connects(page, install.salesforce, press)
    page.goto(f"{install.address}/dashboard/setup/")
    says("Salesforce does not know the app yet")
    install.salesforce.app.known = True
    page.goto(f"{install.address}/dashboard/salesforce/?way=client")
    connects(page, install.salesforce, press)
    press("Deploy what is missing")
    says("Every write could be made")
    install.salesforce.hides_field("Account", "MRR__c")
    press("Check")
    page.goto(f"{install.address}/dashboard/setup/")
    says("Account.MRR__c")
    install.salesforce.assigns_permission_set()
    page.goto(f"{install.address}/dashboard/salesforce/")
    press("Check")
    page.goto(f"{install.address}/dashboard/setup/")
    says("The org has every object, field and right that we write with")

    # Everybody else, by a link that is shown because no e-mail is set up
    page.get_by_role("link", name="Users").first.click()
    page.get_by_label("E-mail").fill("ana@acme.example")
    page.get_by_label("Role", exact=True).select_option("finance")
    press("Invite")
    says("It is shown this once")
    link = page.locator("#link").inner_text()
    shoots(page, install.address)
    assert link not in page.content()
    assert complaints == []


def connects(page: Any, salesforce: FakeSalesforce, press: Any) -> None:
    page.get_by_label("My Domain address").fill(salesforce.url)
    page.get_by_label("Consumer key").fill(salesforce.client_id)
    page.get_by_label("Consumer secret").fill(salesforce.client_secret)
    press("Try it and connect")


def shoots(page: Any, address: str) -> None:
    """Every new page, light and dark, wide and narrow, none of them wider than the window, without a serious fault."""
    from axe_playwright_python.sync_playwright import Axe

    faults = {}
    for name, path in (("setup", "setup/?add=1"), ("users", "settings/users/"), ("settings", "settings/")):
        for theme in ("light", "dark"):
            for width in (1440, 390):
                page.set_viewport_size({"width": width, "height": 900})
                page.goto(f"{address}/dashboard/{path}{'&' if '?' in path else '?'}theme={theme}")
                shoot(page, f"{name}-{theme}-{width}")
                assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, (name, width)
            found = Axe().run(page).response["violations"]
            serious = [one["id"] for one in found if one["impact"] in ("serious", "critical")]
            if serious:
                faults[name, theme] = serious
    assert faults == {}
