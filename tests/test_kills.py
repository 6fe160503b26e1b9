"""Acknowledged means kept: a hundred kills at random moments lose nothing and double nothing."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
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
from tests.scenario import seconds

ROOT = Path(__file__).parent.parent
SECRET = "whsec_kills_0123456789"
KILLS = 100

pytestmark = pytest.mark.slow


def company(database_url: str, folder: Path) -> dict[str, str]:
    """Make a migrated database with one source, and return the environment that reaches it."""
    made = {
        **os.environ,
        "DATABASE_URL": database_url,
        "DATA_DIR": str(folder),
        "SECRET_KEY": "k" * 50,
        "FIELD_ENCRYPTION_KEYS": "dGVzdHMtdGVzdHMtdGVzdHMtdGVzdHMtdGVzdHMtMTI=",
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "LOG_LEVEL": "ERROR",
    }
    manage(made, "migrate", "-v0")
    manage(made, "add_source", "acme", "--label", "Acme", "--signing-secret", "-", stdin=SECRET)
    return made


def manage(environment: dict[str, str], *words: str, stdin: str | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *words], cwd=ROOT, env=environment, input=stdin, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.postgres
def test_a_hundred_kills_lose_no_acknowledged_event_and_process_none_twice(postgres_url, tmp_path):
    environment = company(postgres_url.replace("postgres://", "postgresql://"), tmp_path)
    port = free_port()
    serve = subprocess.Popen(
        [sys.executable, "manage.py", "serve", "--bind", f"127.0.0.1:{port}"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    stop = threading.Event()
    events = bodies(6000)
    couriers = [Stripe(port, events[lot::4], lot, stop) for lot in range(4)]
    chance = random.Random(7)
    try:
        wait_until(lambda: answers(port), 120)
        for courier in couriers:
            courier.start()
        killed = 0
        while killed < KILLS:
            time.sleep(chance.uniform(0.05, 0.6))
            victims = descendants(serve.pid)
            with suppress(ProcessLookupError, IndexError):  # it may have gone by itself, or nothing run just now
                os.kill(chance.choice(victims), signal.SIGKILL)
                killed += 1
        stop.set()
        for courier in couriers:
            courier.join(timeout=30)
        with psycopg.connect(environment["DATABASE_URL"], autocommit=True) as database:
            wait_until(lambda: count(database, "state = 'waiting'") == 0, 180)
            kept = {row[0] for row in database.execute("SELECT stripe_id FROM billing_stripeevent")}
            states = dict(database.execute("SELECT state, count(*) FROM billing_stripeevent GROUP BY state").fetchall())
    finally:
        serve.send_signal(signal.SIGTERM)
        serve.wait(timeout=20)

    acknowledged = set().union(*(courier.acknowledged for courier in couriers))
    assert len(acknowledged) > 500, "too few events got through for the kills to mean anything"
    assert acknowledged <= kept
    assert not states.get("parked")
    checked = json.loads(manage(environment, "check_ledger").splitlines()[-1])
    assert checked["differences"] == 0
    again = json.loads(manage(environment, "check_ledger", "--repair").splitlines()[-1])
    assert again == checked


def test_a_worker_killed_between_send_and_commit_leaves_one_record(tmp_path, monkeypatch):
    database = tmp_path / "ledger.sqlite3"
    with FakeSalesforce() as salesforce:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", salesforce.ca_file)
        account = salesforce.add_account(Name="Acme")
        salesforce.add_opportunity(AccountId=account, Name="Acme", StageName="Prospecting", CloseDate="2026-12-31")
        environment = company(f"sqlite:///{database}", tmp_path)
        login = ["--instance-url", salesforce.url, "--client-id", salesforce.client_id, "--mode", "live"]
        manage(environment, "connect_salesforce", *login, "--client-secret", "-", stdin=salesforce.client_secret)
        told = [
            objects.event("evt_1", "customer.created", buyer(account), seconds("2026-01-10")),
            objects.event("evt_2", "customer.subscription.created", subscription(), seconds("2026-01-10")),
        ]
        manage(environment, "load_events", "acme", "-", stdin="".join(json.dumps(one) + "\n" for one in told))
        salesforce.delays_next(1.0, match="/composite$")
        worker = subprocess.Popen([sys.executable, "manage.py", "drain"], cwd=ROOT, env=environment)

        salesforce.waits_for(1, "/composite$", timeout_seconds=30)
        lock = sqlite3.connect(database, isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")  # what the worker sent, it cannot write down
        wait_until(lambda: salesforce.records("MRR_Schedule__c"), 10)
        worker.kill()
        worker.wait()
        lock.execute("ROLLBACK")
        unconfirmed = lock.execute("SELECT count(*) FROM crm_syncrecord WHERE confirmed = 0").fetchone()
        lock.execute("UPDATE crm_syncrecord SET leased_until = NULL")  # two minutes later
        manage(environment, "drain", "--until-empty")

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


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def count(database: psycopg.Connection, where: str) -> int:
    row = database.execute(f"SELECT count(*) FROM billing_stripeevent WHERE {where}").fetchone()
    return row[0] if row else 0


def wait_until(holds, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if holds():
            return
        time.sleep(0.25)
    raise AssertionError(f"did not hold within {seconds} s")
