"""How fast a backfill reads a Stripe account with a real latency and Stripe's limits, and what it costs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings

from config.benchmarks.stand import Stand, memory_mib, processor_seconds, stand

LATENCY_SECONDS = 0.1
PER_SECOND = 100
KEY = "rk_live_benchmark"


def run(*, objects: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Read a made-up account of so many objects, a third customers, a third subscriptions, a third invoices."""
    customers = objects // 3
    with stand() as ground, _account(customers, objects - 2 * customers) as url:
        ground.environment["STRIPE_API_BASE"] = url
        ground.manage("add_source", "live", "--label=Live", "--api-key=-", stdin=KEY.encode())
        tell(f"{customers} customers, each with a subscription and an invoice")
        first = _backfill(ground, url)
        tell("once more")
        again = _backfill(ground, url)
    return {
        "database": ground.vendor,
        "latency_ms": LATENCY_SECONDS * 1000,
        "calls_a_second_allowed": PER_SECOND,
        "first": first,
        "again": again,
        "failures": [] if first["complete"] and not first["refused"] else ["not complete, or refused"],
    }


@contextmanager
def _account(customers: int, invoices: int) -> Iterator[str]:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "config.benchmarks.stripe_lists",
            f"--customers={customers}",
            f"--invoices={invoices}",
            f"--latency={LATENCY_SECONDS}",
            f"--per-second={PER_SECOND}",
        ],
        cwd=settings.BASE_DIR,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        yield str(json.loads(process.stdout.readline())["url"])
    finally:
        process.terminate()
        process.wait(timeout=15)


def _backfill(ground: Stand, url: str) -> dict[str, Any]:
    """Run the command to its end; the lists and what follows them (events, the ledger) are timed apart."""
    before = _stats(url)
    process = subprocess.Popen(
        [sys.executable, "manage.py", "backfill", "live"],
        cwd=settings.BASE_DIR,
        env=ground.environment,
        stdout=subprocess.PIPE,
    )
    peak, used = 0.0, 0.0
    while process.poll() is None:
        peak, used = max(peak, memory_mib(process.pid)), max(used, processor_seconds(process.pid))
        time.sleep(0.2)
    assert process.stdout is not None
    answer = json.loads(process.stdout.read().splitlines()[-1])
    stats = _stats(url)
    calls = stats["calls"] - before["calls"]
    listed = answer["listed"]
    return {
        "complete": answer["complete"],
        "objects": listed,
        "reading_seconds": answer["reading_seconds"],
        "objects_a_second": round(listed / answer["reading_seconds"]),
        "posting_seconds": answer["posting_seconds"],
        "calls": calls,
        "calls_per_100_objects": round(100 * calls / listed, 2),
        "most_calls_in_a_second": stats["most_in_a_second"],
        "refused": stats["refused"],
        "processor_ms_an_object": round(used * 1000 / listed, 3),
        "peak_mib": round(peak),
    }


def _stats(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/stats") as answer:  # noqa: S310
        return dict(json.load(answer))
