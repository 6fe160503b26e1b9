"""Workers that fetch side by side never ask for the same, and one that is killed loses nothing."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests import builders
from tests.builders import T0
from tests.fakes.stripe import FakeStripe
from tests.installations import manage, reported, start
from tests.test_kills import company

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

KEY = "rk_live_0123456789"
SUBSCRIPTIONS = 40


@pytest.fixture
def stripe() -> Iterator[FakeStripe]:
    with FakeStripe(key=KEY, livemode=True, latency_seconds=0.1) as fake:
        yield fake


@pytest.fixture
def environment(postgres_url: str, tmp_path: Path, stripe: FakeStripe) -> dict[str, str]:
    """An installation with forty customers whose subscriptions have a discount that is known by its id alone."""
    made = company(postgres_url, tmp_path) | {"STRIPE_API_BASE": stripe.url}
    terms = {"created": T0, "duration": "forever", "percent_off": 50, "amount_off": None, "currency": None}
    stripe.add({"id": "HALF", "object": "coupon", "valid": True} | terms)
    events = []
    for number in range(SUBSCRIPTIONS):
        discount = {"id": f"di_{number}", "object": "discount", "customer": f"cus_{number}", "start": T0, "end": None,
                    "source": {"type": "coupon", "coupon": "HALF"}, "subscription": f"sub_{number}"}  # fmt: skip
        items = [builders.item(f"si_{number}")]
        sub = builders.subscription(
            f"sub_{number}", customer=f"cus_{number}", items=items, livemode=True, discounts=[discount]
        )
        stripe.add(sub)
        sent = sub | {"discounts": [discount["id"]]}
        events.append(builders.event("customer.subscription.created", sent, livemode=True, id=f"evt_w_{number}"))
    file = tmp_path / "events.jsonl"
    file.write_text("".join(json.dumps(event) + "\n" for event in events))
    manage(made, "load_events", "acme", str(file))
    manage(made, "drain", "--until-empty")
    manage(made, "add_source", "acme", "--api-key", "-", stdin=KEY)
    return made


def rows(url: str, sql: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as server:
        found = server.execute(sql)  # type: ignore[call-overload]
        return found.fetchall() if found.description else []


def test_a_killed_worker_loses_nothing_and_workers_side_by_side_never_ask_for_the_same(
    environment, postgres_url, stripe
):
    stripe.latency_seconds = 0.5
    killed = start(environment, "drain", "--until-empty")
    stripe.waits_for(6, timeout_seconds=60)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    in_work = rows(postgres_url, "SELECT count(*) FROM billing_owedfetch WHERE leased_until > now()")[0][0]
    done = rows(postgres_url, "SELECT count(*) FROM billing_owedfetch WHERE state = 'done'")[0][0]
    assert in_work > 0

    rows(postgres_url, "UPDATE billing_owedfetch SET leased_until = now() - interval '1 second'")  # their time is up
    stripe.latency_seconds = 0.1
    stripe.forgets_requests()
    workers = [start(environment, "drain", "--until-empty") for _ in range(3)]
    for worker in workers:
        assert worker.wait(timeout=300) == 0
    manage(environment, "drain", "--until-empty")

    asked = [request.path for request in stripe.requests]
    assert (len(asked), len(set(asked))) == (SUBSCRIPTIONS - done, SUBSCRIPTIONS - done)
    whole = "SELECT count(*), sum(mrr_micros) FROM mrr_customerbalance WHERE incomplete_items = 0"
    assert rows(postgres_url, whole) == [(SUBSCRIPTIONS, SUBSCRIPTIONS * 500 * 10**6)]
    assert rows(postgres_url, "SELECT count(*) FROM billing_fetchwaiter") == [(0,)]
    assert reported(environment, "check_ledger")["differences"] == 0
