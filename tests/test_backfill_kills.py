"""A backfill that is killed outright goes on where it stopped, for hardly a call more."""

from __future__ import annotations

import time

import pytest

from billing import backfill
from tests import builders
from tests.builders import DAY
from tests.fakes.stripe import FakeStripe
from tests.installations import manage, reported, start, wait_until

KEY = "rk_live_0123456789"
CUSTOMERS = 600

pytestmark = pytest.mark.slow


def account(fake: FakeStripe, customers: int) -> None:
    """So many customers over two years, each with a subscription; one in five has ended."""
    for number in range(customers):
        at = int(time.time()) - 700 * DAY + number * 600 * DAY // customers
        fake.add(builders.customer(f"cus_{number:05d}", at=at, livemode=True))
        sub = builders.subscription(f"sub_{number:05d}", customer=f"cus_{number:05d}", at=at + 60, livemode=True)
        sub["items"]["data"][0] |= {"id": f"si_{number:05d}", "quantity": number % 7 + 1}
        if number % 5 == 0:
            sub |= {"status": "canceled", "ended_at": at + 30 * DAY, "canceled_at": at + 30 * DAY}
        fake.add(sub)


def test_a_backfill_that_is_killed_outright_goes_on_where_it_stopped(installed, tmp_path):
    with FakeStripe(key=KEY, livemode=True, latency_seconds=0.05) as fake, installed(tmp_path) as made:
        account(fake, CUSTOMERS)
        environment = made | {"STRIPE_API_BASE": fake.url}
        manage(environment, "add_source", "acme", "--label", "Acme", "--api-key", "-", stdin=KEY)
        killed = start(environment, "backfill", "acme")
        wait_until(lambda: fake.calls >= 18, 120)
        killed.kill()
        killed.wait()
        found = reported(environment, "backfill", "acme")

    assert found["complete"]
    assert {name: part["kept"] for name, part in found["lists"].items() if part["kept"]} == {
        "customers": CUSTOMERS,
        "subscriptions": CUSTOMERS,
    }
    assert found["entries"] == CUSTOMERS + CUSTOMERS // 5
    assert fake.calls <= found["calls"] + backfill.AT_ONCE
    assert found["calls"] <= 2 * CUSTOMERS / 100 + 25
