"""Connections cut after the commit and workers killed outright: no record twice, no update lost.

Sixty writes and four kills by default; NEVER_TWICE="500 10" is the whole of it.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from config.benchmarks.load import signed
from config.demo import objects
from tests.fakes.salesforce import FakeSalesforce
from tests.installations import ROOT, wait_until
from tests.killable import SECRET

WRITES, KILLS = (int(word) for word in os.environ.get("NEVER_TWICE", "60 4").split())
ACCOUNTS = 12
COMPOSITE = "POST .*/composite$"


class Killable:
    """The processes of tests/killable.py, of which the worker may be killed at any moment."""

    def __init__(self, environment: dict[str, str], org: FakeSalesforce) -> None:
        command = [sys.executable, "-m", "tests.killable", org.url, org.client_id, org.client_secret]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        said = self._line()
        self.port, self.token, self.worker, self.kills = said["port"], said["token"], self._line()["worker"], 0
        threading.Thread(target=self._follow, daemon=True).start()

    def _line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the installation ended"
        return json.loads(line)

    def _follow(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.worker = json.loads(line)["worker"]

    def kill(self) -> None:
        """Kill the worker, and wait until there is another."""
        killed = self.worker
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: self.worker != killed, 10)
        self.kills += 1

    def deliver(self, event: dict[str, Any]) -> None:
        body = json.dumps(event).encode()
        headers = {
            "Stripe-Signature": signed(body, SECRET, int(time.time())),
            "Content-Type": "application/json",
            "Host": "127.0.0.1",
        }
        assert self._asked("POST", "/webhooks/stripe/acme/", body, headers)[0] == 200

    def outbox(self) -> dict[str, int]:
        status, body = self._asked("GET", "/api/v1/sync", None, {"Authorization": f"Token {self.token}"})
        assert status == 200, body
        return json.loads(body)["outbox"]

    def _asked(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        asked = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            asked.request(method, path, body, headers)
            answer = asked.getresponse()
            return answer.status, answer.read()
        finally:
            asked.close()

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=20)


@pytest.fixture
def org(monkeypatch) -> Iterator[FakeSalesforce]:
    with FakeSalesforce() as fake:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", fake.ca_file)
        for number in range(ACCOUNTS):
            fake.add_opportunity(AccountId=fake.add_account(Name=f"Acme {number}"))
        yield fake


@pytest.fixture
def killable(org, tmp_path, installed) -> Iterator[Killable]:
    with installed(tmp_path) as environment:
        made = Killable(environment, org)
        try:
            yield made
        finally:
            made.stop()


def test_what_is_cut_or_killed_is_neither_doubled_nor_lost(org, killable):
    chance = random.Random(7)
    events = changes([one["Id"] for one in org.records("Account")])
    org.latency_seconds = 0.02
    org.forgets_requests()  # what was read with one Composite request is no write
    org.cuts_next("response", count=None, match=COMPOSITE, every=10)
    kill_at = [round((number + 1) * WRITES / (KILLS + 1)) for number in range(KILLS)]
    until = time.monotonic() + 2 * WRITES

    while (written := len(org.requests_to(COMPOSITE))) < WRITES and time.monotonic() < until:
        for _ in range(2):
            killable.deliver(next(events))
        with suppress(TimeoutError):  # the worker may just have taken both with one call, or lie dead
            org.waits_for(written + 1, COMPOSITE, timeout_seconds=0.5)
        if killable.kills < KILLS and written >= kill_at[killable.kills]:
            time.sleep(chance.uniform(0, 0.06))
            killable.kill()
    wait_until(lambda: killable.outbox()["waiting"] == 0, 30 + WRITES / 5)

    cut = sum(one.status is None for one in org.requests_to(COMPOSITE))
    assert (killable.kills, cut >= WRITES // 10) == (KILLS, True)
    assert killable.outbox()["parked"] == killable.outbox()["held"] == 0
    assert len(org.records("Opportunity")) == ACCOUNTS
    assert {one["StageName"] for one in org.records("Opportunity")} == {"Closed Won"}
    script = [sys.executable, "tests/independent_salesforce.py"]
    address = f"http://127.0.0.1:{killable.port}"
    found = subprocess.run(
        [*script, org.url, address, killable.token], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.stdout == "no difference\n", found.stdout + found.stderr


def changes(accounts: list[str]) -> Iterator[dict[str, Any]]:
    """Customers who begin and change one after the other, for ever; each event tells of one."""
    began = int(time.time()) - 80 * 86_400
    for number, account in enumerate(accounts):
        name = f"cus_{number}"
        buyer = objects.customer(name, name=f"Acme {number}", email=None, phone="", address={}, at=began)
        buyer["metadata"] = {"salesforce_account_id": account}
        yield objects.event(f"evt_buyer_{number}", "customer.created", buyer, began)
    turn = 0
    while True:
        for number in range(len(accounts)):
            held = _subscription(number, 1 + turn % 7, began)
            before = _subscription(number, 1 + (turn - 1) % 7, began) if turn else None
            kind = "updated" if turn else "created"
            at = began + 60 * (turn * len(accounts) + number)
            yield objects.event(f"evt_{turn}_{number}", f"customer.subscription.{kind}", held, at, before=before)
        turn += 1


def _subscription(number: int, quantity: int, at: int) -> dict[str, Any]:
    sold = objects.price("price_1", "prod_1", nickname="Team", currency="usd", amount=2999, interval="month", at=at)
    item = objects.item(f"si_{number}", f"sub_{number}", sold, quantity, at=at, period=(at, at + 30 * 86_400))
    made = objects.subscription(f"sub_{number}", f"cus_{number}", currency="usd", items=[item], at=at)
    return made | {"status": "active"}
