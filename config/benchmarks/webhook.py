"""How fast a signed event is acknowledged, beside a bare view on the same server, database and durability."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from config.benchmarks import load
from config.benchmarks.stand import SECRET, Stand, database_seconds, memory_mib, processor_seconds, stand
from config.benchmarks.stream import bodies

PATH = "/webhooks/stripe/bench/"
BARE, PRODUCT = "config.benchmarks.bare_wsgi:application", "config.wsgi:application"
WEB_WORKERS, THREADS = 2, 4
WARM_UP_SECONDS = 3  # a nudge imports the task queue in the background


@dataclass(frozen=True)
class Side:
    """One side's figures. Processor time covers the web server's processes and the database's."""

    name: str
    closed_per_second: float
    closed_processor_ms: float
    closed_database_ms: float
    open_median_ms: float
    open_p99_ms: float
    open_processor_ms: float
    statuses: dict[str, int]
    memory_mib: float


def run(*, events: int, rate: float, connections: int, rounds: int, tell: Callable[[str], None]) -> dict[str, object]:
    """Measure both sides in turns and return their figures with the ratios product ÷ bare of the medians."""
    needed = bodies(events * rounds * 2 + 200)
    sides: dict[str, list[Side]] = {"bare": [], "product": []}
    with stand() as ground:
        for place in range(rounds):
            part = needed[place * events * 2 : (place + 1) * events * 2]
            for name, application in (
                ("bare", BARE),
                ("product", PRODUCT),
            ):
                tell(f"round {place + 1} of {rounds}: {name}")
                sides[name].append(_measure(ground, name, application, part, rate, connections))
        vendor = ground.vendor
    middle = {name: _middle(found) for name, found in sides.items()}
    bare, product = middle["bare"], middle["product"]
    return {
        "database": vendor,
        "events_a_side": events * 2 * rounds,
        "rate": rate,
        "sides": [asdict(bare), asdict(product)],
        "ratios": {
            "closed_rate": round(product.closed_per_second / bare.closed_per_second, 2),
            "closed_processor": round(product.closed_processor_ms / bare.closed_processor_ms, 2),
            "open_p99": round(product.open_p99_ms / bare.open_p99_ms, 2),
        },
    }


def _measure(
    ground: Stand, name: str, application: str, events: Sequence[bytes], rate: float, connections: int
) -> Side:
    half = len(events) // 2
    with ground.server(application, workers=WEB_WORKERS, threads=THREADS) as (port, pid):
        warm_up(port)
        web, database = processor_seconds(pid), database_seconds()
        closed = load.closed_loop(port, PATH, events[:half], connections=connections, secret=SECRET)
        web, database = processor_seconds(pid) - web, database_seconds() - database
        open_web, open_database = processor_seconds(pid), database_seconds()
        opened = load.open_loop(port, PATH, events[half:], rate=rate, secret=SECRET)
        open_cpu = processor_seconds(pid) - open_web + database_seconds() - open_database
        memory = memory_mib(pid)
    return Side(
        name,
        round(closed.per_second, 1),
        round((web + database) * 1000 / half, 3),
        round(database * 1000 / half, 3),
        opened.median_ms,
        opened.p99_ms,
        round(open_cpu * 1000 / (len(events) - half), 3),
        {
            status: closed.statuses.get(status, 0) + opened.statuses.get(status, 0)
            for status in {**closed.statuses, **opened.statuses}
        },
        round(memory, 1),
    )


def warm_up(port: int) -> None:
    """Let every process and thread do what is done once: imports, connections, prepared statements."""
    lot = secrets.token_hex(6).encode()
    load.closed_loop(port, PATH, [_warm(place, lot) for place in range(80)], connections=8, secret=SECRET)
    time.sleep(WARM_UP_SECONDS)


def _warm(place: int, lot: bytes) -> bytes:
    return (
        b'{"id":"evt_warm_%s_%d","object":"event","type":"warm.up","created":1767225600,"livemode":true,"data":{"object":{}}}'
        % (
            lot,
            place,
        )
    )


def _middle(found: Sequence[Side]) -> Side:
    return sorted(found, key=lambda side: side.closed_processor_ms)[len(found) // 2]
