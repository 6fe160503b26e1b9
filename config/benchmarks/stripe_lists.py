"""A Stripe account that only answers lists, fast: made-up objects as ready bytes, with a latency and Stripe's limits.

Run as a module it serves on a free port and prints {"url": …}; GET /stats says how it was asked.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from config.demo import objects

DAY = 86_400
YEARS = 3


class Account:
    """Objects by list, each as (created, id, bytes), newest first; calls are counted by the second they came in."""

    def __init__(self, *, customers: int, invoices: int, per_second: int) -> None:
        self.per_second = per_second
        self.lists: dict[str, list[tuple[int, str, bytes]]] = defaultdict(list)
        self.calls: list[float] = []
        self.refused = 0
        self.lock = threading.Lock()
        now = int(time.time())
        for obj in _company(customers, invoices, now=now):
            path = {"subscription": "subscriptions", "customer": "customers", "invoice": "invoices"}[obj["object"]]
            self.lists[path].append((obj["created"], obj["id"], json.dumps(obj).encode()))
        for rows in self.lists.values():
            rows.sort(key=lambda row: (-row[0], row[1]))
        self.places = {path: {row[1]: place for place, row in enumerate(rows)} for path, rows in self.lists.items()}

    def admit(self) -> bool:
        """Count a call; False when more came within the last second than are allowed."""
        with self.lock:
            now = time.monotonic()
            self.calls.append(now)
            if len(self.calls) - bisect_left(self.calls, now - 1.0) > self.per_second:
                self.refused += 1
                return False
            return True

    def page(self, path: str, asked: dict[str, str]) -> bytes:
        rows = self.lists.get(path, [])
        limit = int(asked.get("limit", 10))
        begin = bisect_left(rows, -int(asked.get("created[lte]", 2**40)), key=lambda row: -row[0])
        end = bisect_right(rows, -int(asked.get("created[gte]", 0)), key=lambda row: -row[0])
        if asked.get("status", "all") != "all":
            begin = end  # nothing is open here
        if cursor := asked.get("starting_after"):
            begin = self.places[path][cursor] + 1
        body = b",".join(row[2] for row in rows[begin : min(end, begin + limit)])
        more = b"true" if end > begin + limit else b"false"
        return b'{"object":"list","data":[' + body + b'],"has_more":' + more + b',"url":"/v1/' + path.encode() + b'"}'

    def stats(self) -> dict[str, Any]:
        with self.lock:
            busiest = max(
                (place - bisect_left(self.calls, at - 1.0) + 1 for place, at in enumerate(self.calls)), default=0
            )
            return {"calls": len(self.calls), "refused": self.refused, "most_in_a_second": busiest}


def _company(customers: int, invoices: int, *, now: int) -> Iterable[dict[str, Any]]:
    """Customers over three years, more of them lately, each with a subscription; invoices of the last month."""
    span = YEARS * 365 * DAY
    sold = objects.price(
        "price_bench", "prod_bench", nickname="Team", currency="usd", amount=3000, interval="month", at=now - span
    )
    for number in range(customers):
        at = now - span + int(span * (number / customers) ** 0.5) - DAY
        cus_id, sub_id = f"cus_bench{number:06d}", f"sub_bench{number:06d}"
        buyer = objects.customer(
            cus_id, name=f"Company {number}", email=f"billing@company{number}.example", phone="", address={}, at=at
        )
        yield buyer
        item = objects.item(f"si_bench{number:06d}", sub_id, sold, number % 9 + 1, at=at, period=(at, at + 30 * DAY))
        sub = objects.subscription(sub_id, cus_id, currency="usd", items=[item], at=at) | {"status": "active"}
        if number % 10 == 0:
            sub |= {"status": "canceled", "ended_at": at + 60 * DAY, "canceled_at": at + 50 * DAY}
        yield sub
        for count in range(invoices // customers):
            invoice_id = f"in_bench{number:06d}_{count}"
            billed_at = now - (number * 97 + count * 7) % (29 * DAY) - 60
            text = "1 × Team"
            lines = [
                objects.line(f"il_{invoice_id}", invoice_id, sold, item, amount=3000, text=text, is_proration=False)
            ]
            yield objects.invoice(
                invoice_id, sub, buyer, number=invoice_id, reason="subscription_cycle", lines=lines, at=billed_at
            )


def serve(account: Account, *, latency_seconds: float) -> ThreadingHTTPServer:
    """Return a server of this account, bound to a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == "/stats":
                self._answer(200, json.dumps(account.stats()).encode())
            elif not account.admit():
                refused = {"error": {"type": "invalid_request_error", "code": "rate_limit", "message": "Too many."}}
                self._answer(429, json.dumps(refused).encode())
            else:
                body = account.page(url.path.removeprefix("/v1/"), dict(parse_qsl(url.query)))
                time.sleep(latency_seconds)
                self._answer(200, body)

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: Any) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    return server


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--customers", type=int, required=True)
    parser.add_argument("--invoices", type=int, required=True)
    parser.add_argument("--latency", type=float, required=True)
    parser.add_argument("--per-second", type=int, required=True)
    given = parser.parse_args()
    made = Account(customers=given.customers, invoices=given.invoices, per_second=given.per_second)
    server = serve(made, latency_seconds=given.latency)
    print(json.dumps({"url": f"http://127.0.0.1:{server.server_port}"}), flush=True)  # noqa: T201
    server.serve_forever()
