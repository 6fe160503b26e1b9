"""The product as a person meets it: sign in, open every page, in a real browser, light and dark, wide and narrow."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHOTS = ROOT / "test-artefacts"
PAGES = ["", "movements/", "cohorts/", "customers/", "unmatched/", "at-risk/", "sync/", "events/"]

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Iterator[tuple[str, str]]:
    """Serve a small demo company on its own database; gives its address and the users' password."""
    folder = tmp_path_factory.mktemp("demo")
    environment = {
        **os.environ,
        "DATA_DIR": str(folder),
        "DATABASE_URL": f"sqlite:///{folder}/ledger.sqlite3",
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "LOG_LEVEL": "ERROR",
    }
    words = [sys.executable, "manage.py"]
    made = subprocess.run(
        [*words, "demo", "--no-serve", "--customers", "60", "--months", "14", "--bind", f"127.0.0.1:{free_port()}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr[-3000:]
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    serve = subprocess.Popen(
        [*words, "serve", "--bind", f"127.0.0.1:{port}"],
        cwd=ROOT,
        env={**environment, "BASE_URL": address},
        stdout=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 120
        while not listens(port):
            assert time.monotonic() < until, "the server does not listen"
            time.sleep(0.2)
        yield address, (folder / "demo" / "password").read_text().strip()
    finally:
        serve.send_signal(signal.SIGTERM)
        serve.wait(timeout=20)


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
@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_every_page_draws_within_its_width_and_policy(signed_in, demo, theme, width):
    address, _ = demo
    signed_in.set_viewport_size({"width": width, "height": 900})
    for path in PAGES:
        signed_in.goto(f"{address}/dashboard/{path}?theme={theme}")
        drawn(signed_in)
        shoot(signed_in, f"{path.strip('/') or 'overview'}-{theme}-{width}")
        overflow = signed_in.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert overflow <= 0, f"{path or 'overview'} is {overflow} px wider than the window"
        assert signed_in.get_by_role("heading", level=1).count() == 1

    assert signed_in.complaints == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_has_a_serious_accessibility_fault(signed_in, demo, theme):
    from axe_playwright_python.sync_playwright import Axe

    address, _ = demo
    axe = Axe()
    found = {}
    for path in PAGES:
        signed_in.goto(f"{address}/dashboard/{path}?theme={theme}")
        drawn(signed_in)
        violations = axe.run(signed_in).response["violations"]
        serious = [one["id"] for one in violations if one["impact"] in ("serious", "critical")]
        if serious:
            found[path or "overview"] = serious

    assert found == {}


def drawn(page) -> None:
    """Wait until the charts, if the page has any, are drawn."""
    if page.locator("[data-plot]").count():
        page.wait_for_selector("html[data-drawn='1']")


def shoot(page, name: str) -> None:
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
