"""A backfill that is killed outright goes on where it stopped, for hardly a call more."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from billing import backfill
from tests import builders
from tests.builders import DAY
from tests.fakes.stripe import FakeStripe
from tests.installations import manage, wait_until

ROOT = Path(__file__).parent.parent
KEY = "rk_live_0123456789"
NOW = int(time.time())
CUSTOMERS = 600

pytestmark = pytest.mark.slow


def account(fake: FakeStripe, customers: int) -> None:
    for number in range(customers):
        at = NOW - 700 * DAY + number * 600 * DAY // customers
        fake.add(builders.customer(f"cus_{number:05d}", at=at, livemode=True))
        sub = builders.subscription(f"sub_{number:05d}", customer=f"cus_{number:05d}", at=at + 60, livemode=True)
        sub["items"]["data"][0] |= {"id": f"si_{number:05d}", "quantity": number % 7 + 1}
        if number % 5 == 0:
            sub |= {"status": "canceled", "ended_at": at + 30 * DAY, "canceled_at": at + 30 * DAY}
        fake.add(sub)


def listed(folder: Path) -> int:
    with sqlite3.connect(f"file:{folder}/ledger.sqlite3?mode=ro", uri=True, timeout=20) as database:
        return int(database.execute("SELECT coalesce(sum(listed), 0) FROM billing_listingpart").fetchone()[0])


def test_a_backfill_that_is_killed_outright_goes_on_where_it_stopped(tmp_path):
    environment = {
        **os.environ,
        "DATABASE_URL": f"sqlite:///{tmp_path}/ledger.sqlite3",
        "DATA_DIR": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "LOG_LEVEL": "ERROR",
    }
    with FakeStripe(key=KEY, livemode=True, latency_seconds=0.05) as fake:
        account(fake, CUSTOMERS)
        environment["STRIPE_API_BASE"] = fake.url
        manage(environment, "migrate", "-v0")
        manage(environment, "add_source", "acme", "--label", "Acme", "--api-key", "-", stdin=KEY)
        command = [sys.executable, "manage.py", "backfill", "acme"]
        killed = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
        wait_until(lambda: listed(tmp_path) >= CUSTOMERS // 2, 120)
        killed.kill()
        killed.wait()
        found = json.loads(manage(environment, *command[2:]).splitlines()[-1])

    assert found["complete"]
    assert {name: part["kept"] for name, part in found["lists"].items() if part["kept"]} == {
        "customers": CUSTOMERS,
        "subscriptions": CUSTOMERS,
    }
    assert found["entries"] == CUSTOMERS + CUSTOMERS // 5
    assert fake.calls <= found["calls"] + backfill.AT_ONCE
    assert found["calls"] <= 2 * CUSTOMERS / 100 + 25
