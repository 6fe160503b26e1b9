"""What pages know of queues, workers and scheduled jobs. These are config's, which tells by `look` when it is ready."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Queue:
    """One kind of work that the workers do: how much waits, and since when the oldest of it could be done."""

    name: str
    waiting: int
    due_since: datetime | None


@dataclass(frozen=True, slots=True)
class Job:
    """A scheduled job: how often, when it ran last and went well last (None: never), its last error, if it is late."""

    name: str
    every: str
    started_at: datetime | None
    went_well_at: datetime | None
    error: str
    is_late: bool


@dataclass(frozen=True, slots=True)
class Machine:
    """`beat_at` is the workers' last sign of life; `is_moving` says that due work is young and the workers beat.

    `backup_at` is when our command last wrote a backup.
    """

    queues: tuple[Queue, ...]
    beat_at: datetime | None
    is_beating: bool
    is_moving: bool
    tasks_waiting: int
    jobs: tuple[Job, ...]
    backup_at: datetime | None = None

    @property
    def due_since(self) -> datetime | None:
        return min((queue.due_since for queue in self.queues if queue.due_since), default=None)


def _not_told(now: datetime) -> Machine:
    return Machine((), None, False, False, 0, ())


look: Callable[[datetime], Machine] = _not_told
