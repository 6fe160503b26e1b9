"""Acknowledged means kept: a hundred kills at random moments lose nothing and double nothing."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest

from config.benchmarks.load import signed
from config.benchmarks.stand import descendants
from config.benchmarks.stream import bodies

ROOT = Path(__file__).parent.parent
SECRET = "whsec_kills_0123456789"
KILLS = 100

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


@pytest.fixture
def environment(postgres_url, tmp_path) -> dict[str, str]:
    made = {
        **os.environ,
        "DATABASE_URL": postgres_url.replace("postgres://", "postgresql://"),
        "DATA_DIR": str(tmp_path),
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


def test_a_hundred_kills_lose_no_acknowledged_event_and_process_none_twice(environment):
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
        wait_until(lambda: answers(port), 60)
        for courier in couriers:
            courier.start()
        killed = 0
        while killed < KILLS:
            time.sleep(chance.uniform(0.05, 0.6))
            victims = descendants(serve.pid)
            if victims:
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
