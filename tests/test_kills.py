"""Acknowledged means kept: a hundred kills at random moments lose nothing and double nothing."""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import signal
import sqlite3
import threading
import time
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from config.benchmarks.load import signed
from config.benchmarks.stand import descendants
from config.benchmarks.stream import bodies
from config.demo import objects
from tests.fakes.salesforce import FakeSalesforce
from tests.installations import environment, free_port, manage, reported, served, start, wait_until
from tests.scenario import seconds

SECRET = "whsec_kills_0123456789"
KILLS = 100
DELIVERED = 6  # events acknowledged, on average, from one kill to the next

pytestmark = pytest.mark.slow


def company(database_url: str, folder: Path) -> dict[str, str]:
    """Add one source to a database with every table, and return the environment that reaches it."""
    made = environment(folder, database_url)
    manage(made, "add_source", "acme", "--label", "Acme", "--signing-secret", "-", stdin=SECRET)
    return made


class Stripe(threading.Thread):
    """Delivers events as Stripe does: what is not acknowledged is sent again, now and then twice what is."""

    def __init__(self, port: int, events: list[bytes], lot: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.port, self.events, self.stop_event = port, events, stop
        self.random = random.Random(lot)
        self.acknowledged: set[str] = set()

    def run(self) -> None:
        for body in self.events:
            times = 2 if self.random.random() < 0.1 else 1
            while times and not self.stop_event.is_set():
                if self.deliver(body) == 200:
                    self.acknowledged.add(json.loads(body)["id"])
                    times -= 1
                else:
                    time.sleep(0.05)
            time.sleep(self.random.uniform(0, 0.02))

    def deliver(self, body: bytes) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request(
                "POST",
                "/webhooks/stripe/acme/",
                body,
                {"Stripe-Signature": signed(body, SECRET, int(time.time())), "Content-Type": "application/json"},
            )
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()


@pytest.mark.postgres
def test_a_hundred_kills_lose_no_acknowledged_event_and_process_none_twice(postgres_url, tmp_path):
    made = company(postgres_url, tmp_path)
    port = free_port()
    stop = threading.Event()
    events = bodies(6000)
    couriers = [Stripe(port, events[lot::4], lot, stop) for lot in range(4)]
    chance = random.Random(7)
    with served(made, port) as serve:
        for courier in couriers:
            courier.start()
        killed = 0
        while killed < KILLS:
            time.sleep(chance.uniform(0.05, 0.4))
            # On a busy machine a new process needs its time to answer: kills without deliveries between prove nothing.
            wait_until(lambda: sum(len(one.acknowledged) for one in couriers) >= DELIVERED * killed, 60)  # noqa: B023
            victims = descendants(serve.pid)
            with suppress(ProcessLookupError, IndexError):  # it may have gone by itself, or nothing run just now
                os.kill(chance.choice(victims), signal.SIGKILL)
                killed += 1
        stop.set()
        for courier in couriers:
            courier.join(timeout=30)
        with psycopg.connect(postgres_url, autocommit=True) as database:
            wait_until(lambda: count(database, "state = 'waiting'") == 0, 180)
            kept = {row[0] for row in database.execute("SELECT stripe_id FROM billing_stripeevent")}
            states = dict(database.execute("SELECT state, count(*) FROM billing_stripeevent GROUP BY state").fetchall())

    acknowledged = set().union(*(courier.acknowledged for courier in couriers))
    assert len(acknowledged) > 500, "too few events got through for the kills to mean anything"
    assert acknowledged <= kept
    assert not states.get("parked")
    checked = reported(made, "check_ledger")
    assert checked["differences"] == 0
    assert reported(made, "check_ledger", "--repair") == checked


def test_a_worker_killed_between_send_and_commit_leaves_one_record(tmp_path, monkeypatch, migrated_sqlite):
    database = shutil.copy(migrated_sqlite, tmp_path)
    with FakeSalesforce() as salesforce:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", salesforce.ca_file)
        account = salesforce.add_account(Name="Acme")
        salesforce.add_opportunity(AccountId=account, Name="Acme", StageName="Prospecting", CloseDate="2026-12-31")
        made = company("", tmp_path)
        login = ["--instance-url", salesforce.url, "--client-id", salesforce.client_id, "--mode", "live"]
        manage(made, "connect_salesforce", *login, "--client-secret", "-", stdin=salesforce.client_secret)
        events = [
            objects.event("evt_1", "customer.created", buyer(account), seconds("2026-01-10")),
            objects.event("evt_2", "customer.subscription.created", subscription(), seconds("2026-01-10")),
        ]
        manage(made, "drain", "--until-empty")  # Accounts are read now: one Composite request, too
        manage(made, "load_events", "acme", "-", stdin="".join(json.dumps(one) + "\n" for one in events))
        salesforce.forgets_requests()
        salesforce.delays_next(1.0, match="/composite$")
        worker = start(made, "drain")

        salesforce.waits_for(1, "/composite$", timeout_seconds=30)
        lock = sqlite3.connect(database, isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")  # what the worker sent, it cannot write down
        wait_until(lambda: salesforce.records("MRR_Schedule__c"), 10)
        worker.kill()
        worker.wait()
        lock.execute("ROLLBACK")
        unconfirmed = lock.execute("SELECT count(*) FROM crm_syncrecord WHERE confirmed = 0").fetchone()
        lock.execute("UPDATE crm_syncrecord SET leased_until = NULL")  # two minutes later
        manage(made, "drain", "--until-empty")

        states = lock.execute("SELECT DISTINCT state FROM crm_syncrecord").fetchall()
        assert unconfirmed == (3,)
        assert states == [("sent",)]
        assert len(salesforce.records("MRR_Schedule__c")) == 1
        assert [one["StageName"] for one in salesforce.records("Opportunity")] == ["Closed Won"]


def buyer(account: str) -> dict[str, object]:
    found = objects.customer("cus_1", name="Acme", email=None, phone="", address={}, at=seconds("2026-01-10"))
    return found | {"metadata": {"salesforce_account_id": account}}


def subscription() -> dict[str, object]:
    at = seconds("2026-01-10")
    sold = objects.price("price_1", "prod_1", nickname="Team", currency="usd", amount=3000, interval="month", at=at)
    item = objects.item("si_1", "sub_1", sold, 1, at=at, period=(at, at + 30 * 86_400))
    return objects.subscription("sub_1", "cus_1", currency="usd", items=[item], at=at)


def count(database: psycopg.Connection, where: str) -> int:
    row = database.execute(f"SELECT count(*) FROM billing_stripeevent WHERE {where}").fetchone()
    return row[0] if row else 0
