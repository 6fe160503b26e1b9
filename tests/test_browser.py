"""The product as a person meets it: sign in, open every page, in a real browser, light and dark, wide and narrow."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator

import pytest

from tests.installations import ROOT, environment, free_port, manage, served

SHOTS = ROOT / "test-artefacts"
PAGES = [
    *("", "movements/", "cohorts/", "retention/", "customers/", "unmatched/", "at-risk/", "close/", "sync/", "events/"),
    *("board/", "health/", "health/findings/", "imports/", "search/?q=an", "help/", "help/bad_signature/"),
]
WIDTHS = [390, 1024, 1440]  # narrow first: a phone draws it so

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def demo(tmp_path_factory, migrated_sqlite) -> Iterator[tuple[str, str]]:
    """Serve a small demo company on its own database; gives its address and the users' password."""
    folder, port = tmp_path_factory.mktemp("demo"), free_port()
    shutil.copy(migrated_sqlite, folder)
    address = f"http://127.0.0.1:{port}"
    made = environment(folder, BASE_URL=address)
    manage(made, "demo", "--no-serve", "--customers", "40", "--months", "14")
    with served(made, port, "--web", "1", "--workers", "0"):
        yield address, (folder / "demo" / "password").read_text().strip()


@pytest.fixture
def signed_in(page, demo):
    """A page on which the analyst has signed in by the form; remembers what the console complains about."""
    address, password = demo
    page.complaints = []
    page.on("console", lambda said: page.complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(f"{address}/")
    page.get_by_label(re.compile("user|login|name", re.I)).first.fill("revops")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name=re.compile("sign in|log in", re.I)).click()
    page.wait_for_url(re.compile("/dashboard/"))
    return page


def test_signing_in_shows_the_dashboard(signed_in, demo):
    drawn(signed_in)

    assert signed_in.get_by_role("heading", level=1).inner_text() == "Overview"
    assert re.search(r"\$[\d,]+", signed_in.locator("main").inner_text())
    shoot(signed_in, "overview-after-sign-in")
    assert signed_in.complaints == []


def test_a_wrong_password_stays_outside(page, demo):
    address, _ = demo
    page.goto(f"{address}/accounts/login/")
    page.get_by_label(re.compile("user|login|name", re.I)).first.fill("revops")
    page.get_by_label("Password").fill("not the password")
    page.get_by_role("button", name=re.compile("sign in|log in", re.I)).click()

    assert "/accounts/login/" in page.url
    page.goto(f"{address}/dashboard/")
    assert "/accounts/login/" in page.url


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_draws_within_its_width_and_policy_and_has_no_serious_accessibility_fault(signed_in, demo, theme):
    from axe_playwright_python.sync_playwright import Axe

    address, _ = demo
    axe, found = Axe(), {}
    for path in PAGES:
        name = path.partition("?")[0].strip("/").replace("/", "-") or "overview"
        signed_in.set_viewport_size({"width": WIDTHS[0], "height": 900})
        signed_in.goto(f"{address}/dashboard/{path}{'&' if '?' in path else '?'}theme={theme}")
        drawn(signed_in)
        for width in WIDTHS:
            signed_in.set_viewport_size({"width": width, "height": 900})
            shoot(signed_in, f"{name}-{theme}-{width}")
            overflow = signed_in.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert overflow <= 0, f"{name} is {overflow} px wider than the window"
        assert signed_in.get_by_role("heading", level=1).count() == 1
        violations = axe.run(signed_in).response["violations"]
        if serious := [one["id"] for one in violations if one["impact"] in ("serious", "critical")]:
            found[name] = serious

    assert signed_in.complaints == []
    assert found == {}


def drawn(page) -> None:
    """Wait until the charts, if the page has any, are drawn."""
    if page.locator("[data-plot]").count():
        page.wait_for_selector("html[data-drawn='1']")


def shoot(page, name: str) -> None:
    """Picture the page under test-artefacts/, where somebody asked for it with SCREENSHOTS=1: it takes a second."""
    if not os.environ.get("SCREENSHOTS"):
        return
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)
