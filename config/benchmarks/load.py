"""Sends signed events to a webhook address, at a fixed rate or as fast as it answers."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sent:
    """What came of a run. Times are milliseconds; in an open loop they count from when the event was due."""

    statuses: dict[str, int]
    seconds: float
    median_ms: float
    p95_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        return sum(self.statuses.values()) / self.seconds


def closed_loop(port: int, path: str, bodies: Sequence[bytes], *, connections: int, secret: str) -> Sent:
    """Send all bodies, each connection its next when the last was answered."""
    return asyncio.run(_run(port, path, bodies, connections=connections, secret=secret, rate=None))


def open_loop(port: int, path: str, bodies: Sequence[bytes], *, rate: float, secret: str) -> Sent:
    """Send bodies at fixed times, whatever the server does: a stall cannot hide its queue."""
    return asyncio.run(_run(port, path, bodies, connections=64, secret=secret, rate=rate))


def signed(body: bytes, secret: str, at: int) -> str:
    """Return the Stripe-Signature header of a body."""
    mac = hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={mac}"


async def _run(
    port: int, path: str, bodies: Sequence[bytes], *, connections: int, secret: str, rate: float | None
) -> Sent:
    queue: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()
    statuses: Counter[str] = Counter()
    times: list[float] = []

    async def work() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (job := await queue.get()) is not None:
            due, body = job
            started = due or time.perf_counter()
            try:
                status, keeps = await _post(reader, writer, port, path, body, secret)
            except (OSError, asyncio.IncompleteReadError, ValueError) as error:
                status, keeps = type(error).__name__, False
            statuses[status] += 1
            times.append((time.perf_counter() - started) * 1000)
            if not keeps:
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()

    workers = [asyncio.create_task(work()) for _ in range(connections)]
    began = time.perf_counter()
    if rate is None:
        for body in bodies:
            queue.put_nowait((0.0, body))
    else:
        for place, body in enumerate(bodies):
            due = began + place / rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            queue.put_nowait((due, body))
    for _ in workers:
        queue.put_nowait(None)
    await asyncio.gather(*workers)
    seconds = time.perf_counter() - began
    times.sort()
    return Sent(dict(statuses), seconds, _at(times, 0.5), _at(times, 0.95), _at(times, 0.99))


async def _post(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, path: str, body: bytes, secret: str
) -> tuple[str, bool]:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json; charset=utf-8\r\n"
        f"Stripe-Signature: {signed(body, secret, int(time.time()))}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    answer = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = answer.partition(b"content-length:")[2].partition(b"\r\n")[0]
    if not length:  # the answer ends with the connection
        return answer[9:12].decode(), False
    await reader.readexactly(int(length))
    return answer[9:12].decode(), b"connection: close" not in answer


def _at(ordered: Sequence[float], share: float) -> float:
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2) if ordered else 0.0
