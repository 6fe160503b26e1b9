"""Tells the workers that there is work, so seldom that a thousand events in a second make one task."""

from __future__ import annotations

import os
import threading
import time
from typing import Literal

import structlog
from django.conf import settings
from django.db import connections

log = structlog.get_logger(__name__)

Lane = Literal["inbox", "fetches", "outbox", "listings", "imports", "accounts"]
INTERVAL_SECONDS = 2.0


def nudge(lane: Lane) -> None:
    """Wake the workers of a lane: at once, then at most every two seconds a process. Costs the caller nothing.

    A lost nudge loses nothing: the rows are the queue, and the sweep finds them half a minute later.
    """
    if getattr(settings, "NUDGES_ENABLED", True):
        _nudgers[lane].nudge()


def enqueue(lane: Lane) -> bool:
    """Put one drain task of a lane into the task queue now; False (and a log line) when that failed."""
    from django_q.tasks import async_task

    try:
        async_task(f"config.tasks.run_{lane}", task_name=f"drain the {lane}")
    except Exception as error:  # whatever the broker raises: the sweep will find the rows
        log.warning("nudge lost", lane=lane, error=str(error))
        return False
    return True


class _Nudger:
    """One thread a process and lane. It starts with the first nudge, so that it is on the right side of every fork."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.forget_thread()

    def forget_thread(self) -> None:
        self._event = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def nudge(self) -> None:
        self._event.set()
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name=f"nudge-{self.lane}", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        while True:
            self._event.wait()
            self._event.clear()
            enqueue(self.lane)
            time.sleep(INTERVAL_SECONDS)
            if not self._event.is_set():
                connections.close_all()  # this thread's own: quiet processes hold no idle connection


LANES: tuple[Lane, ...] = ("inbox", "fetches", "outbox", "listings", "imports", "accounts")
_nudgers: dict[Lane, _Nudger] = {lane: _Nudger(lane) for lane in LANES}


def _after_fork() -> None:
    for nudger in _nudgers.values():
        nudger.forget_thread()


os.register_at_fork(after_in_child=_after_fork)
