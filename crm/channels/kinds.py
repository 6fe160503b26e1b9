"""What the outbox and its channels say to each other: parcels, outcomes and the four kinds of failure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol


class ChannelError(Exception):
    """Work did not leave. `code` is the other side's own, the message is safe to show: no secrets, no queries."""

    def __init__(self, code: str, message: str, *, fields: tuple[str, ...] = ()) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.fields = fields


class Permanent(ChannelError):
    """Trying again will not help: wrong field, deleted record. Parked, shown with its cure."""


class Transient(ChannelError):
    """Try again later, with spacing: a lock, a 503."""


class Unclear(ChannelError):
    """It may have happened: look before repeating. Upserts by key and changes by id may simply be repeated."""


class Wait(ChannelError):
    """Nobody gets through now: limit reached, org down. The lane pauses until the given time."""

    def __init__(self, code: str, message: str, *, until: datetime) -> None:
        super().__init__(code, message)
        self.until = until


@dataclass(frozen=True, slots=True)
class Sent:
    """The other side holds these values now. `called` is False where it held them before and nothing was sent."""

    fields: Mapping[str, Any]
    their_id: str = ""
    called: bool = True


@dataclass(frozen=True, slots=True)
class WouldSend:
    """Shadow mode: these values would have been sent; nothing was."""

    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Held:
    """Not now: it waits for a person or a match."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """Nothing is owed any more: what it was about was taken back."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Postponed:
    """There was no time to try within the lease: it is due as before."""


@dataclass(frozen=True, slots=True)
class LookedUp:
    """What the record may belong to is known now; it goes with the next call."""

    candidates: tuple[Mapping[str, Any], ...]


Outcome = Sent | WouldSend | Held | Dropped | Postponed | LookedUp | ChannelError


@dataclass(frozen=True, slots=True)
class Parcel:
    """Rows claimed for one channel under one lease: records, and the messages that go with them.

    A send may begin until `send_until` (of time.monotonic): later another worker may have the rows, and newer values.
    `asked` is what the channel asked the other side for each row, {method, path, fields} by its `ref`, for the log.
    """

    rows: tuple[Any, ...]
    send_until: float
    asked: dict[int, Mapping[str, Any]] = field(default_factory=dict)


class Channel(Protocol):
    """How one kind of work leaves. `work` says whether it carries records (and messages with them) or messages."""

    name: str
    work: str
    batch: int

    def is_open(self, *, now: datetime) -> bool:
        """Say whether anything may be claimed for this channel now."""

    def deliver(self, parcel: Parcel, *, now: datetime) -> dict[int, Outcome]:
        """Send what the parcel holds and return what became of each row, by its `ref`."""
