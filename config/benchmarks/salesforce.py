"""How fast ledger changes reach Salesforce and how few calls they take, against a strict org with a real latency."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings

from config.benchmarks import load
from config.benchmarks.stand import SECRET, Stand, free_port, stand, wait_for
from config.demo import objects

PATH = "/webhooks/stripe/bench/"
LATENCY_SECONDS = 0.2
WARM_UP_EVENTS = 5
# What tests/fakes/salesforce knows its app by.
CLIENT_ID, CLIENT_SECRET = "3MVG9fake.client.id", "fake-client-secret"


@dataclass(frozen=True)
class Org:
    """The strict fake org, running as a process of its own."""

    url: str
    ca_file: str

    def ask(self, path: str, *, method: str = "GET", body: Any = None) -> Any:
        import ssl

        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/__control/{path}", data=data, method=method)  # noqa: S310
        with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=self.ca_file)) as answer:  # noqa: S310
            return json.load(answer)

    @property
    def calls(self) -> int:
        return int(self.ask("calls")["calls"])


def run(*, events: int, rate: float, seconds: int, tell: Callable[[str], None]) -> dict[str, object]:
    """Bring so many new subscriptions to the org in one go, then changes at a steady rate; return what was measured."""
    customers = max(events, int(rate * seconds) + WARM_UP_EVENTS)
    with stand() as ground, _org(Path(ground.environment["DATA_DIR"])) as org:
        ground.environment["REQUESTS_CA_BUNDLE"] = org.ca_file
        ground.environment["REPORTING_TIME_ZONE"] = _zone_at_noon(datetime.now(UTC))
        tell(f"{customers} Accounts, each with an open Opportunity")
        accounts = [_account(org, number) for number in range(customers)]
        _connect(ground, org)
        org.ask("latency", method="POST", body={"seconds": LATENCY_SECONDS})
        tell(f"{customers} subscriptions at once")
        burst = _burst(ground, org, accounts)
        tell(f"{rate:g} changes a second for {seconds} s")
        steady = _steady(ground, org, accounts, rate=rate, seconds=seconds)
    return {"database": ground.vendor, "latency_ms": LATENCY_SECONDS * 1000, "at_once": burst, "steady": steady}


def _zone_at_noon(now: datetime) -> str:
    """Return a zone where it is about noon: just after midnight a day's calls are held to its pace from the first."""
    return f"Etc/GMT{now.hour - 12:+d}"  # Etc/GMT-5 is five hours ahead of UTC


@contextmanager
def _org(folder: Path) -> Iterator[Org]:
    if not (settings.BASE_DIR / "tests" / "fakes" / "salesforce").is_dir():
        raise RuntimeError("This benchmark needs tests/fakes/salesforce: run it from a checkout of the project.")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.salesforce", "--ca", str(folder / "org.pem")],
        cwd=settings.BASE_DIR,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        yield Org(said["url"], said["ca_file"])
    finally:
        process.terminate()
        process.wait(timeout=15)


def _account(org: Org, number: int) -> str:
    made = str(org.ask("records/Account", method="POST", body={"Name": f"Company {number}"})["id"])
    deal = {"Name": "Deal", "AccountId": made, "StageName": "Prospecting", "CloseDate": "2030-01-01"}
    org.ask("records/Opportunity", method="POST", body=deal)
    return made


def _connect(ground: Stand, org: Org) -> None:
    ground.manage(
        "connect_salesforce",
        f"--instance-url={org.url}",
        f"--client-id={CLIENT_ID}",
        "--client-secret=-",
        "--mode=live",
        stdin=CLIENT_SECRET.encode(),
    )


# ---- all at once ----


def _burst(ground: Stand, org: Org, accounts: list[str]) -> dict[str, Any]:
    began = int(time.time()) - 86_400
    lines = [line for number, one in enumerate(accounts) for line in _beginning(number, one, began)]
    ground.manage("load_events", "bench", "-", stdin="\n".join(json.dumps(line) for line in lines).encode())
    calls = org.calls
    answer = json.loads(ground.manage("drain", "--until-empty").stdout.splitlines()[-1])
    calls = org.calls - calls
    records = len(org.ask("records/MRR_Schedule__c")) + 2 * len(accounts)
    return {
        "events": len(lines),
        "confirmed_records": records,
        "seconds": answer["seconds"],
        "records_a_second": round(records / answer["seconds"], 1) if answer["seconds"] else None,
        "calls": calls,
        "calls_a_record": round(calls / records, 4),
    }


# ---- at a steady rate ----


def _steady(ground: Stand, org: Org, accounts: list[str], *, rate: float, seconds: int) -> dict[str, Any]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "serve", f"--bind=127.0.0.1:{port}", "--web=1", "--workers=2"],
        cwd=settings.BASE_DIR,
        env=ground.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port, process, seconds=180)  # it migrates first
        warm = [_change(number, "warm") for number in range(WARM_UP_EVENTS)]
        load.open_loop(port, PATH, warm, rate=1, secret=SECRET)
        _wait_until_written(org, [_event_id("warm", number) for number in range(WARM_UP_EVENTS)])
        count, calls = int(rate * seconds), org.calls
        org.ask("requests", method="DELETE")
        bodies = [_change(WARM_UP_EVENTS + number, "steady") for number in range(count)]
        began = time.time()
        sent = load.open_loop(port, PATH, bodies, rate=rate, secret=SECRET)
        time.sleep(35)  # the slowest pace, so that what is late is counted too
        written = _written_at(org)
        calls = org.calls - calls
    finally:
        process.terminate()
        process.wait(timeout=30)
    late = sorted(
        written[name] - (began + number / rate)
        for number in range(count)
        if (name := _event_id("steady", WARM_UP_EVENTS + number)) in written
    )
    return {
        "events": count,
        "rate": rate,
        "statuses": sent.statuses,
        "confirmed": len(late),
        "median_ms": _at(late, 0.5),
        "p99_ms": _at(late, 0.99),
        "slowest_ms": _at(late, 1.0),
        "calls": calls,
        "calls_an_event": round(calls / count, 3),
    }


def _wait_until_written(org: Org, names: list[str]) -> None:
    """Wait until the workers have started and have sent these events' entries."""
    until = time.monotonic() + 180
    while time.monotonic() < until and not set(names) <= _written_at(org).keys():
        time.sleep(1)


def _written_at(org: Org) -> dict[str, float]:
    """Return when the org had answered the write of each event's schedule entry, by the event's id."""
    found: dict[str, float] = {}
    for one in org.ask("requests?match=composite")["requests"]:
        answered = one["at"] + LATENCY_SECONDS
        for part in json.loads(one["body"]).get("compositeRequest", ()):
            body = part.get("body") or {}
            for record in body.get("records", [body]):
                if name := record.get("Stripe_Event_Id__c"):
                    found.setdefault(name, answered)
    return found


def _at(ordered: list[float], share: float) -> float | None:
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 1) if ordered else None


# ---- events ----


def _beginning(number: int, account_id: str, at: int) -> Iterator[dict[str, Any]]:
    customer = objects.customer(
        f"cus_bench{number:06d}", name=f"Company {number}", email=None, phone="", address={}, at=at
    )
    customer["metadata"] = {"salesforce_account_id": account_id}
    yield objects.event(f"evt_customer_{number:06d}", "customer.created", customer, at)
    yield objects.event(f"evt_new_{number:06d}", "customer.subscription.created", _subscription(number, 1, at), at + 1)


def _change(number: int, name: str) -> bytes:
    at = int(time.time())
    before = _subscription(number, 1, at - 86_400)
    event = objects.event(
        _event_id(name, number),
        "customer.subscription.updated",
        _subscription(number, 2, at - 86_400),
        at,
        before=before,
    )
    return json.dumps(event).encode()


def _event_id(name: str, number: int) -> str:
    return f"evt_{name}_{number:06d}"


def _subscription(number: int, quantity: int, at: int) -> dict[str, Any]:
    sub_id, customer_id = f"sub_bench{number:06d}", f"cus_bench{number:06d}"
    price = objects.price(
        "price_bench", "prod_bench", nickname="Team", currency="usd", amount=3000, interval="month", at=at
    )
    item = objects.item(f"si_bench{number:06d}", sub_id, price, quantity, at=at, period=(at, at + 30 * 86_400))
    return objects.subscription(sub_id, customer_id, currency="usd", items=[item], at=at) | {"status": "active"}
