"""Salesforce connected, compared, set up and mapped in a real browser, against the strict fake over TLS."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.salesforce import FakeSalesforce
from tests.installations import environment, free_port, manage, served
from tests.test_browser import shoot

PASSWORD = "a long enough password"
PEOPLE = f"""
from django.contrib.auth import get_user_model
from billing.models import StripeSource
get_user_model().objects.create_superuser("ada", "ada@example.com", "{PASSWORD}")
StripeSource.objects.create(slug="main", label="Main account", livemode=True)
"""

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def browser_context_args(browser_context_args: dict[str, Any]) -> dict[str, Any]:
    return {**browser_context_args, "ignore_https_errors": True}


@pytest.fixture(scope="module")
def install(tmp_path_factory) -> Iterator[tuple[str, FakeSalesforce]]:
    """Serve an empty install beside an org that has none of our fields; gives both."""
    folder, port = tmp_path_factory.mktemp("install"), free_port()
    address = f"http://127.0.0.1:{port}"
    with FakeSalesforce(package=False) as fake:
        fake.app.redirect_uris = (f"{address}/salesforce/callback/",)
        fake.app.rotates_refresh_tokens = True
        fake.set_up.polls = 0
        made = environment(folder, REQUESTS_CA_BUNDLE=str(fake.ca_file), BASE_URL=address, LOG_LEVEL="CRITICAL")
        with served(made, port, "--web", "1", "--workers", "0"):
            manage(made, "shell", stdin=PEOPLE)
            yield address, fake


def test_from_the_set_up_page_to_an_org_that_takes_every_write(page, install):
    address, fake = install
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{address}/accounts/login/")
    page.get_by_label(re.compile("user|login|name", re.I)).first.fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name=re.compile("sign in|log in", re.I)).click()
    page.wait_for_url(re.compile("/dashboard/"))

    page.goto(f"{address}/dashboard/setup/")
    page.get_by_role("link", name="Connect Salesforce").click()
    page.get_by_label("My Domain address").fill(fake.url)
    page.get_by_label("Consumer key").fill(fake.client_id)
    page.get_by_role("button", name="Sign in at Salesforce").click()
    page.wait_for_url(f"{address}/dashboard/salesforce/")
    assert "shadow: nothing is written" in page.locator("main").inner_text()

    page.get_by_role("button", name="Check").click()
    page.get_by_text("Account: 16 fields").wait_for()
    for theme in ("light", "dark"):
        for width in (1440, 390):
            page.set_viewport_size({"width": width, "height": 900})
            page.goto(f"{address}/dashboard/salesforce/?theme={theme}")
            shoot(page, f"salesforce-{theme}-{width}")
            assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    page.set_viewport_size({"width": 1440, "height": 900})
    page.get_by_role("button", name="Deploy what is missing").click()
    page.get_by_text("Every write could be made", exact=True).wait_for()
    assert fake.set_up.permission_sets and len(fake.records("PermissionSetAssignment")) == 1

    page.get_by_role("link", name="Mapping").click()
    page.get_by_label("Field of Account for CMRR").fill("")
    page.get_by_role("button", name="Try it and use it").click()
    page.get_by_text("1 differs from ours").wait_for()

    fake.revokes_access()
    page.goto(f"{address}/dashboard/salesforce/")
    page.get_by_role("button", name="Check").click()
    page.get_by_role("link", name="Sign in again").wait_for()
    page.get_by_role("button", name="Sign in at Salesforce").click()
    page.get_by_role("button", name="Check").wait_for()
    assert page.get_by_role("link", name="Sign in again").count() == 0
    assert complaints == []


def test_the_pages_have_no_serious_accessibility_fault(page, install):
    from axe_playwright_python.sync_playwright import Axe

    address, _ = install
    page.goto(f"{address}/accounts/login/")
    page.get_by_label(re.compile("user|login|name", re.I)).first.fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name=re.compile("sign in|log in", re.I)).click()
    page.wait_for_url(re.compile("/dashboard/"))
    found = {}
    for path in ("salesforce/", "salesforce/?way=jwt", "salesforce/mapping/"):
        for theme in ("light", "dark"):
            page.goto(f"{address}/dashboard/{path}{'&' if '?' in path else '?'}theme={theme}")
            violations = Axe().run(page).response["violations"]
            serious = [one["id"] for one in violations if one["impact"] in ("serious", "critical")]
            if serious:
                found[path, theme] = serious

    assert found == {}
