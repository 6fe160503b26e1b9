"""A backfill that is killed outright goes on where it stopped, for hardly a call more.

Six hundred customers and one kill by default; BACKFILL_KILLS="20000 5" is the whole of it.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from billing import backfill, stripe_api
from tests import builders
from tests.builders import DAY
from tests.fakes.stripe import FakeStripe
from tests.installations import manage, reported, start, wait_until

KEY = "rk_live_0123456789"
CUSTOMERS, KILLS = (int(word) for word in os.environ.get("BACKFILL_KILLS", "600 1").split())

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


def test_a_backfill_that_is_killed_outright_ends_as_one_that_is_not(installed, tmp_path):
    at = datetime.now(UTC).isoformat()
    with FakeStripe(key=KEY, livemode=True, latency_seconds=0.05) as fake:
        account(fake, CUSTOMERS)
        with installed(folder(tmp_path, "unbroken")) as made:
            environment = with_source(made, fake)
            unbroken = reported(environment, "backfill", "acme")
            expected = fingerprint(environment, at)
        before = fake.calls
        with installed(folder(tmp_path, "killed")) as made:
            environment = with_source(made, fake)
            for kill in range(1, KILLS + 1):
                mark = before + kill * unbroken["calls"] // (KILLS + 1)
                killed = start(environment, "backfill", "acme")
                wait_until(partial(reached, fake, mark), 300)
                killed.kill()
                killed.wait()
            found = reported(environment, "backfill", "acme")
            calls = fake.calls - before
            again = reported(environment, "backfill", "acme")

            assert fingerprint(environment, at) == expected

    assert found["complete"]
    assert kept(found) == kept(unbroken) == {"customers": CUSTOMERS, "subscriptions": CUSTOMERS}
    assert found["entries"] == CUSTOMERS + CUSTOMERS // 5
    assert calls <= found["calls"] + KILLS * backfill.AT_ONCE
    assert calls <= unbroken["calls"] * 1.05 + KILLS * backfill.AT_ONCE
    assert again["entries"] == 0, "a second backfill changes nothing"
    print(f"{CUSTOMERS} customers: {unbroken['calls']} calls unbroken, {calls} with {KILLS} kills")


def test_refusals_and_failures_lose_nothing_of_a_whole_account(installed, tmp_path):
    with FakeStripe(key=KEY, livemode=True, latency_seconds=0.05) as fake:
        account(fake, CUSTOMERS)
        fake.rate_per_second = stripe_api.LIVE_PER_SECOND
        fake.limits_next(count=None, every=20)
        fake.fails_next(500, count=None, every=50)
        with installed(tmp_path) as made:
            found = reported(with_source(made, fake), "backfill", "acme")

    assert found["complete"]
    assert kept(found) == {"customers": CUSTOMERS, "subscriptions": CUSTOMERS}
    statuses = [request.status for request in fake.requests]
    assert statuses.count(429) == len(statuses) // 20, "none but those that were planned"
    times = sorted(request.at for request in fake.requests)
    busiest = max(place - bisect_left(times, at - 1.0) + 1 for place, at in enumerate(times))
    assert busiest <= stripe_api.LIVE_PER_SECOND
    print(f"{len(statuses)} calls, {statuses.count(429)} refused, at most {busiest} in a second")


def folder(within: Path, name: str) -> Path:
    (within / name).mkdir()
    return within / name


def with_source(made: dict[str, str], fake: FakeStripe) -> dict[str, str]:
    environment = made | {"STRIPE_API_BASE": fake.url}
    manage(environment, "add_source", "acme", "--label", "Acme", "--api-key", "-", stdin=KEY)
    return environment


def reached(fake: FakeStripe, calls: int) -> bool:
    return fake.calls >= calls


def fingerprint(environment: dict[str, str], at: str) -> str:
    checked = reported(environment, "check_ledger", "--json", "--as-of", at)
    assert checked["differences"] == [] or checked["differences"] == 0
    return str(checked["fingerprint"])


def kept(found: dict[str, Any]) -> dict[str, int]:
    return {name: part["kept"] for name, part in found["lists"].items() if part["kept"]}
