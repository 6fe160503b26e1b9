"""The buttons of whoever is on call, in a real browser on a working installation: retry, replace, roll, forget."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from billing.examining import RIGHTS
from tests import builders
from tests.fakes.stripe import FakeStripe
from tests.installations import environment, free_port, manage, served
from tests.test_browser import shoot

KEY, BETTER_KEY, WORSE_KEY = "rk_live_first_0123456789", "rk_live_second_012345678", "rk_live_third_0123456789"
FIRST_SECRET, SECOND_SECRET = "whsec_first_0123456789abcdef", "whsec_second_0123456789abcd"
PASSWORD = "a long enough password"
ADMIN = f"""
from django.contrib.auth import get_user_model
get_user_model().objects.create_superuser("ada", "ada@example.com", "{PASSWORD}")
"""
READS = {f"{right.name}_read" for right in RIGHTS}
TIERS = [{"up_to": None, "unit_amount": 900, "unit_amount_decimal": "900", "flat_amount": None}]

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@dataclass
class Install:
    """A live source on an installation with a worker, beside the Stripe account that it reads and is signed by."""

    address: str
    made: dict[str, str]
    stripe: FakeStripe
    secret: str = FIRST_SECRET

    def delivers(self, kind: str, obj: dict[str, Any], *, secret: str = "", **more: Any) -> int:
        """Post a signed event to the webhook and return the status of the answer."""
        told = builders.event(kind, obj | {"livemode": True}, at=int(time.time()), livemode=True, **more)
        body = json.dumps(told).encode()
        signed = {
            "Stripe-Signature": builders.sign(body, secret=secret or self.secret),
            "Content-Type": "application/json",
        }
        asked = urllib.request.Request(f"{self.address}/webhooks/stripe/main/", body, signed)
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            return refused.code


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path) -> Iterator[Install]:
    folder, port = tmp_path_factory.mktemp("install"), free_port()
    (folder / migrated_sqlite.name).write_bytes(migrated_sqlite.read_bytes())
    address = f"http://127.0.0.1:{port}"
    with FakeStripe(key=KEY, livemode=True) as stripe:
        stripe.add_key(KEY, READS - {"plan_read"})
        made = environment(folder, STRIPE_API_BASE=stripe.url, BASE_URL=address, LOG_LEVEL="CRITICAL")
        manage(made, "shell", stdin=ADMIN)
        given = ("--label", "Main", "--signing-secret", FIRST_SECRET, "--api-key", KEY)
        manage(made, "add_source", "main", *given)
        with served(made, port, "--web", "1", "--workers", "1"):
            yield Install(address, made, stripe)


@pytest.fixture
def admin(page: Any, install: Install) -> Iterator[Any]:
    """A page on which the admin has signed in; nothing may be complained of in its console but forms given back."""
    complaints: list[str] = []
    page.on(
        "console",
        lambda said: complaints.append(said.text) if said.type == "error" and "status of 4" not in said.text else None,
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{install.address}/accounts/login/")
    page.get_by_label(re.compile("user|login|name", re.I)).first.fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name=re.compile("sign in|log in", re.I)).click()
    page.wait_for_url(re.compile("/dashboard/"))
    yield page
    assert complaints == []


def press(page: Any, name: str | re.Pattern[str]) -> None:
    page.get_by_role("button", name=name).first.click()
    page.wait_for_load_state()


def says(page: Any, words: str) -> None:
    page.locator("main").get_by_text(words).first.wait_for(timeout=30_000)


def comes_to_say(page: Any, words: str, *, seconds: int = 90, instead_of: str = "") -> None:
    """Load the page again until the workers have done what it then says."""
    until = time.monotonic() + seconds
    while True:
        shown = page.locator("main").inner_text()
        if words in shown and (not instead_of or instead_of not in shown):
            return
        assert time.monotonic() < until, f"{words!r} does not stand on the page: {shown[:2000]}"
        time.sleep(1)
        page.reload()


def test_a_parked_event_is_processed_again_from_the_health_page(admin: Any, install: Install) -> None:
    elsewhere = builders.customer("cus_parked", name="Was Parked Ltd")
    assert install.delivers("customer.created", elsewhere, account=install.stripe.account_id) == 200
    admin.goto(f"{install.address}/dashboard/health/")
    comes_to_say(admin, "main: 1 event is parked.")
    shoot(admin, "health-parked")

    manage(install.made, "add_source", "main", "--account", install.stripe.account_id)  # as its help says
    press(admin, re.compile("Process again"))

    admin.get_by_text("1 event: waits again and is processed within seconds.").wait_for()
    admin.goto(f"{install.address}/dashboard/search/?q=cus_parked")
    comes_to_say(admin, "Was Parked Ltd")
    admin.goto(f"{install.address}/dashboard/health/")
    assert "event is parked" not in admin.locator("main").inner_text()


def test_what_a_key_may_not_read_is_read_again_once_it_may(admin: Any, install: Install) -> None:
    sold = builders.price("price_tiered", amount=None, billing_scheme="tiered", tiers_mode="graduated", livemode=True)
    install.stripe.add(sold | {"tiers": TIERS})
    buyer = builders.customer("cus_tiers", livemode=True)
    held = builders.subscription("sub_tiers", customer="cus_tiers", items=[builders.item("si_t", sold=sold)])
    install.stripe.add(buyer)
    install.stripe.add(held | {"livemode": True})
    assert install.delivers("customer.created", buyer) == 200
    assert install.delivers("customer.subscription.created", held) == 200
    admin.goto(f"{install.address}/dashboard/health/")
    comes_to_say(admin, "main: 1 object to be read from Stripe; 1 customer lacks them.")

    install.stripe.add_key(KEY, READS)  # somebody grants the right in Stripe's Dashboard
    press(admin, re.compile("Try again"))

    admin.get_by_text("1 read: is due again.").wait_for()
    comes_to_say(admin, "Health", instead_of="to be read from Stripe")
    admin.goto(f"{install.address}/dashboard/")
    comes_to_say(admin, "$9.00")


def test_a_key_is_replaced_only_by_one_that_does_as_much(admin: Any, install: Install) -> None:
    install.stripe.add_key(KEY, READS)
    install.stripe.add_key(WORSE_KEY, READS - {"invoice_read"})
    install.stripe.add_key(BETTER_KEY, READS)
    admin.goto(f"{install.address}/dashboard/health/main/keys/")

    admin.get_by_label("Restricted key").fill(WORSE_KEY)
    press(admin, "Replace key")
    says(admin, "The key in use was kept, because this one does less.")
    shoot(admin, "keys-refused")
    admin.get_by_label("Restricted key").fill(BETTER_KEY)
    press(admin, "Replace key")

    admin.get_by_text("The key is in use.").wait_for()
    assert BETTER_KEY not in admin.content()


def test_a_signing_secret_is_rolled_without_a_lost_delivery(admin: Any, install: Install) -> None:
    told = builders.customer("cus_rolled")
    assert install.delivers("customer.created", told) == 200
    assert install.delivers("customer.updated", told, secret=SECOND_SECRET) == 400
    admin.goto(f"{install.address}/dashboard/health/main/keys/")

    admin.get_by_label("Signing secret", exact=True).fill(SECOND_SECRET)
    press(admin, "Add secret")
    admin.get_by_text("Both secrets are taken now.").wait_for()
    assert install.delivers("customer.updated", told, secret=SECOND_SECRET) == 200
    assert install.delivers("customer.updated", told) == 200  # a server of Stripe's that still signs with the old one

    admin.reload()
    remove = f"Remove whsec_…{FIRST_SECRET[-4:]}"
    press(admin, remove)
    admin.get_by_text("Tick the box to remove it all the same").wait_for()
    admin.get_by_label(f"In use; remove whsec_…{FIRST_SECRET[-4:]} all the same").check()
    press(admin, remove)

    admin.get_by_text(f"whsec_…{FIRST_SECRET[-4:]} is out.").wait_for()
    assert install.delivers("customer.updated", told) == 400
    assert install.delivers("customer.updated", told, secret=SECOND_SECRET) == 200
    install.secret = SECOND_SECRET


def test_a_customer_is_forgotten_from_its_page_after_its_id_was_typed(admin: Any, install: Install) -> None:
    jane = builders.customer("cus_jane", name="Jane Qanary", email="jane@qanary.example")
    assert install.delivers("customer.created", jane) == 200
    admin.goto(f"{install.address}/dashboard/search/?q=cus_jane")
    comes_to_say(admin, "Jane Qanary")
    admin.get_by_role("link", name="Jane Qanary").first.click()

    admin.get_by_role("link", name=re.compile("Forget")).click()
    says(admin, "It cannot be undone.")
    admin.get_by_label("Type cus_jane to confirm").fill("cus_john")
    admin.get_by_label("Why, without a name").fill("Asked by letter")
    press(admin, "Forget")
    says(admin, "Type the customer's id as it stands above.")
    admin.get_by_label("Type cus_jane to confirm").fill("cus_jane")
    admin.get_by_label("Why, without a name").fill("Jane Qanary asked")
    press(admin, "Forget")
    says(admin, "The reason names the person.")
    assert "Jane Qanary" in admin.locator("main").inner_text()
    admin.get_by_label("Type cus_jane to confirm").fill("cus_jane")
    admin.get_by_label("Why, without a name").fill("Asked by letter")
    shoot(admin, "forget-asking")
    press(admin, "Forget")

    comes_to_say(admin, "Forgotten", instead_of="Waits for its turn")
    shoot(admin, "forget-done")
    assert "Jane" not in admin.content()
    admin.goto(f"{install.address}/dashboard/search/?q=qanary")
    assert "Nothing" in admin.locator("main").inner_text()
    assert install.delivers("customer.updated", jane) == 200  # Stripe tells of her once more
    admin.goto(f"{install.address}/dashboard/search/?q=cus_jane")
    assert "Jane" not in admin.content()
