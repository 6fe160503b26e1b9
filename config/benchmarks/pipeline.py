"""What one event costs from delivery to owed work: processor time of all processes, and events drained a second."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable

from config.benchmarks import load
from config.benchmarks.stand import SECRET, database_seconds, processor_seconds, stand
from config.benchmarks.stream import bodies
from config.benchmarks.webhook import BARE, PATH, PRODUCT, THREADS, WEB_WORKERS, warm_up


def run(*, events: int, connections: int, tell: Callable[[str], None]) -> dict[str, object]:
    """Deliver events to the web server, then drain them in one process; return processor milliseconds an event."""
    stream = bodies(events)
    with stand() as ground:
        tell(f"{len(stream)} events to a bare view")
        with ground.server(BARE, workers=WEB_WORKERS, threads=THREADS) as (port, pid):
            warm_up(port)
            before = processor_seconds(pid) + database_seconds()
            load.closed_loop(port, PATH, stream, connections=connections, secret=SECRET)
            bare = processor_seconds(pid) + database_seconds() - before
        tell(f"{len(stream)} events to the product")
        with ground.server(PRODUCT, workers=WEB_WORKERS, threads=THREADS) as (port, pid):
            warm_up(port)
            web, database = processor_seconds(pid), database_seconds()
            sent = load.closed_loop(port, PATH, stream, connections=connections, secret=SECRET)
            web, ack_database = processor_seconds(pid) - web, database_seconds() - database
        tell("draining")
        start = _children_seconds()
        database, began = database_seconds(), time.monotonic()
        answer = json.loads(ground.manage("drain", "--until-empty").stdout.splitlines()[-1])
        seconds = time.monotonic() - began
        drain, drain_database = _children_seconds() - start, database_seconds() - database
        start = _children_seconds()
        ground.manage("drain")  # finds nothing: the cost of starting a process, which a worker pays once
        idle = _children_seconds() - start
    count = len(stream)

    def per(seconds: float) -> float:
        return round(seconds * 1000 / count, 3)

    total = web + ack_database + drain - idle + drain_database
    return {
        "database": ground.vendor,
        "events": count,
        "statuses": sent.statuses,
        "drained": answer,
        "processor_ms_an_event": {
            "bare_view": per(bare),
            "acknowledge_web": per(web),
            "acknowledge_database": per(ack_database),
            "drain": per(drain - idle),
            "drain_database": per(drain_database),
            "all": per(total),
        },
        "drained_a_second": round(count / answer["seconds"], 1) if answer["seconds"] else None,
        "wall_seconds": round(seconds, 2),
        "ratio_all_to_bare_view": round(total / bare, 2) if bare else None,
    }


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
