"""Spreads calls to one account over time, for all threads and processes of this machine together."""

from __future__ import annotations

import fcntl
import struct
import time
from collections.abc import Callable

from django.conf import settings

STORED = struct.Struct("d")
OF_ANOTHER_BOOT = 300.0  # seconds ahead that nobody ever waits: the clock began anew since


def take(name: str, per_second: float) -> None:
    """Wait for the next free place among so many a second."""
    wait = _moved(name, lambda now, next_at: (max(now, next_at), max(now, next_at) + 1.0 / per_second))
    if wait > 0:
        time.sleep(wait)


def hold(name: str, *, seconds: float) -> None:
    """Let nobody through for so long: Stripe said that it is too much."""
    _moved(name, lambda now, next_at: (now, max(next_at, now + seconds)))


def _moved(name: str, move: Callable[[float, float], tuple[float, float]]) -> float:
    """Change the time of the next free place under a lock; return how long until the place that was taken."""
    folder = settings.DATA_DIR / "lanes"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"pace-{name}").open("a+b", buffering=0) as file:  # the lock goes with the file, even at a kill
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        stored = file.read(STORED.size)
        now = time.monotonic()  # counted from the machine's start: the same for all its processes
        next_at = STORED.unpack(stored)[0] if len(stored) == STORED.size else 0.0
        mine, then = move(now, next_at if next_at < now + OF_ANOTHER_BOOT else 0.0)
        file.truncate(0)
        file.write(STORED.pack(then))
    return mine - now
