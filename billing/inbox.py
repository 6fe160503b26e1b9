"""Keeps every Stripe event as received, once, and hands out those that are due: the row is the queue."""

# ruff: noqa: S608  (statements are put together from our own names; values travel apart)
from __future__ import annotations

import hashlib
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from django.db import connection, transaction
from django.db.models import Min, Q

from billing import envelope, redactions, statements
from billing.envelope import Envelope
from billing.models import EventState, Origin, StripeEvent

ATTEMPTS: Final = 5
LEASE_SECONDS: Final = 60


class Source(Protocol):
    """What keeping an event needs of its source; a StripeSource row is one."""

    @property
    def pk(self) -> int: ...
    @property
    def livemode(self) -> bool: ...
    @property
    def account_id(self) -> str: ...
    @property
    def has_forgotten(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A source's key, mode and Connect account, and whether customers of it are forgotten."""

    pk: int
    livemode: bool
    account_id: str
    has_forgotten: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of bodies: `kept` are new, `parked` says how many of these are parked, `already` were there."""

    kept: int = 0
    already: int = 0
    parked: int = 0

    def __add__(self, other: Kept) -> Kept:
        return Kept(self.kept + other.kept, self.already + other.already, self.parked + other.parked)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the work on one event ended: processed, ignored or parked, with the code of the reason."""

    state: EventState
    reason: str = ""
    error: str = ""


def keep(source: Source, raw: bytes, *, origin: Origin, now: datetime) -> Kept:
    """Keep one body, once for its source and event id; what cannot be worked on is kept parked, with its reason.

    Raises envelope.NotAnEvent when the body is no JSON object. Outside a transaction it is committed on return.
    """
    return keep_many(source, [raw], origin=origin, now=now)


def keep_many(source: Source, raws: Sequence[bytes], *, origin: Origin, now: datetime) -> Kept:
    """Keep several bodies in one statement; raises envelope.NotAnEvent (then none of them is kept)."""
    read = [(raw, envelope.read(raw, livemode=source.livemode, account_id=source.account_id)) for raw in raws]
    return keep_read(source, read, origin=origin, now=now)


def keep_read(source: Source, read: Sequence[tuple[bytes, Envelope]], *, origin: Origin, now: datetime) -> Kept:
    """Keep bodies whose envelopes are read already; what tells of a forgotten customer is redacted before."""
    if not read:
        return Kept()
    hidden = redactions.of_arrivals(source.pk, read) if source.has_forgotten else {}
    rows = [_row(source.pk, raw, event, origin, now) for raw, event in read]
    if not hidden:
        states = [state for (state,) in _insert(rows, "state")]
    else:
        with transaction.atomic():
            states = _insert_hidden(rows, hidden, now)
    return Kept(len(states), len(read) - len(states), states.count(EventState.PARKED.value))


def _insert_hidden(rows: list[tuple[Any, ...]], hidden: Mapping[str, tuple[int, bytes]], now: datetime) -> list[str]:
    """Insert rows with the bodies that stand for what was received; the SHA-256 stays that of what was received."""
    name, body = COLUMNS.index("stripe_id"), COLUMNS.index("body")
    kept = [(*row[:body], hidden[row[name]][1], *row[body + 1 :]) if row[name] in hidden else row for row in rows]
    new = _insert(kept, "state, id, stripe_id")
    redactions.note({pk: hidden[event_id] for _, pk, event_id in new if event_id in hidden}, now=now)
    return [state for state, _, _ in new]


def _insert(rows: list[tuple[Any, ...]], returning: str) -> list[tuple[Any, ...]]:
    if connection.vendor == "postgresql" and len(rows) > 1:
        given, values = FROM_ARRAYS, [list(column) for column in zip(*rows, strict=True)]
    else:
        given, values = f"VALUES {', '.join([ONE_ROW] * len(rows))}", [value for row in rows for value in row]
    return statements.run(f"{INSERT} {given} ON CONFLICT DO NOTHING RETURNING {returning}", values)


def claim_batch(*, limit: int, now: datetime, lease_seconds: int = LEASE_SECONDS) -> list[StripeEvent]:
    """Take up to `limit` due events, and more of the same customers (up to as many again), for this worker alone.

    An event is due when `due_at` has come and nobody holds a lease on it by the database's clock. Its attempt is
    counted before the work, because a worker that dies must not try for ever. Events come with their bodies, oldest
    first.
    """
    taken = _take("", [], limit, now, lease_seconds)
    customers = {(event.source_id, event.customer_id) for event in taken if event.customer_id}
    if len(taken) == limit and customers:  # there may be more than was asked for
        same = f"AND {statements.within('source_id')} AND {statements.within('customer_id', 'text')}"
        keys: list[set[Any]] = [{source_pk for source_pk, _ in customers}, {name for _, name in customers}]
        taken += _take(same, [statements.listed(key) for key in keys], limit, now, lease_seconds)
    return sorted(taken, key=lambda event: event.pk)


def mark(outcomes: Mapping[int, Outcome], *, now: datetime) -> None:
    """Write how the work on events ended and give their leases back; runs in the transaction of the work itself."""
    groups: dict[Outcome, list[int]] = defaultdict(list)
    for pk, outcome in outcomes.items():
        groups[outcome].append(pk)
    at = connection.ops.adapt_datetimefield_value(now)
    for outcome, pks in groups.items():
        statements.run(
            f"UPDATE {TABLE} SET state = %s, reason = %s, error = %s, processed_at = %s, leased_until = NULL "
            f"WHERE {statements.within('id')}",
            [outcome.state.value, outcome.reason, outcome.error, at, statements.listed(pks)],
        )


def release(event_pks: Iterable[int], error: BaseException, *, now: datetime) -> int:
    """Give events back after a failure and return how many are parked, having had 5 attempts.

    The others are due again later: 4 s after the first attempt, then 8, 16 and 32 s, each a quarter more or less.
    """
    told, parked = described(error), 0
    tried = StripeEvent.objects.filter(pk__in=list(event_pks), state=EventState.WAITING)
    for pk, attempts in tried.order_by("pk").values_list("pk", "attempts"):
        event = StripeEvent.objects.filter(pk=pk, state=EventState.WAITING)
        if attempts >= ATTEMPTS:
            event.update(state=EventState.PARKED, reason="failed", error=told, processed_at=now, leased_until=None)
            parked += 1
        else:
            seconds = 2 ** (attempts + 1) * random.uniform(0.75, 1.25)
            event.update(error=told, due_at=now + timedelta(seconds=seconds), leased_until=None)
    return parked


def reprocess(event_pk: int, *, now: datetime) -> bool:
    """Put an event back to waiting, with all its attempts, and say whether there was such an event."""
    return bool(StripeEvent.objects.filter(pk=event_pk).update(**_again(now)))


def reprocess_parked(source_pk: int, reason: str, *, now: datetime) -> int:
    """Put all events of a source that are parked for one reason back to waiting; returns how many."""
    parked = StripeEvent.objects.filter(source_id=source_pk, state=EventState.PARKED, reason=reason)
    return parked.update(**_again(now))


def park(event_pk: int, *, by: str, now: datetime) -> bool:
    """Take a waiting event out of the queue because a person says so; False when it waits no more, or is worked on."""
    is_free = Q(leased_until__isnull=True) | Q(leased_until__lte=now)
    waiting = StripeEvent.objects.filter(is_free, pk=event_pk, state=EventState.WAITING)
    return bool(
        waiting.update(state=EventState.PARKED, reason="parked_by_person", error=f"{by} parked it.", processed_at=now)
    )


def _again(now: datetime) -> dict[str, Any]:
    return {
        "state": EventState.WAITING,
        "reason": "",
        "error": "",
        "attempts": 0,
        "due_at": now,
        "leased_until": None,
        "processed_at": None,
    }


def oldest_due_age(*, now: datetime) -> timedelta:
    """Return for how long the oldest due event has been waiting; zero when none is."""
    oldest = StripeEvent.objects.filter(state=EventState.WAITING, due_at__lte=now).aggregate(at=Min("due_at"))["at"]
    return now - oldest if oldest else timedelta()


SECRET = re.compile(r"\b((?:whsec|[srp]k_live|[srp]k_test)_)\w+|(Bearer\s+|Token\s+)\S+")
PERSONAL = re.compile(r"[^\s'\"<>(),;:]+@[^\s'\"<>(),;:]+|\+?\d[\d\s().-]{6,}\d")


def described(error: BaseException) -> str:
    """Return an error as one short line without secrets, e-mail addresses, phone numbers or rows of a table."""
    line = str(error).strip().partition("\n")[0]
    line = SECRET.sub(lambda found: (found[1] or found[2]) + "[hidden]", line)
    return f"{type(error).__name__}: {PERSONAL.sub('[hidden]', line)}"[:300]


# ---- rows ----

COLUMNS = (
    "source_id",
    "stripe_id",
    "type",
    "created_at",
    "livemode",
    "api_version",
    "object_id",
    "customer_id",
    "body",
    "body_sha256",
    "origin",
    "received_at",
    "state",
    "reason",
    "error",
    "attempts",
    "due_at",
)
TABLE = StripeEvent._meta.db_table
INSERT = f"INSERT INTO {TABLE} ({', '.join(COLUMNS)})"
ONE_ROW = f"({', '.join(['%s'] * len(COLUMNS))})"
# One text, and one plan, however many rows.
TYPES = {
    "source_id": "bigint",
    "created_at": "timestamptz",
    "livemode": "boolean",
    "body": "bytea",
    "received_at": "timestamptz",
    "attempts": "integer",
    "due_at": "timestamptz",
}
FROM_ARRAYS = f"SELECT * FROM unnest({', '.join(['%s::' + TYPES.get(column, 'text') + '[]' for column in COLUMNS])})"


def _row(source_pk: int, raw: bytes, event: Envelope, origin: Origin, now: datetime) -> tuple[Any, ...]:
    moment = connection.ops.adapt_datetimefield_value
    received_at = moment(now)
    return (
        source_pk,
        event.stripe_id,
        event.type,
        moment(event.created_at),
        event.livemode,
        event.api_version,
        event.object_id,
        event.customer_id,
        raw,
        hashlib.sha256(raw).hexdigest(),
        origin.value,
        received_at,
        "parked" if event.reason else "waiting",
        event.reason,
        "",
        0,
        received_at,
    )


# ---- claiming ----

FREE = "state = 'waiting' AND due_at <= %s AND (leased_until IS NULL OR leased_until <= {clock})"
CLOCK = {"postgresql": "statement_timestamp()", "sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')"}
LATER = {
    "postgresql": "statement_timestamp() + make_interval(secs => %s)",
    "sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', '+' || %s || ' seconds')",
}
# An array is made once; a plain IN (SELECT … LIMIT …) may be run again for each row, and locks more than asked for.
PICKED = {
    "postgresql": "id = ANY(ARRAY({rows} LIMIT %s FOR UPDATE SKIP LOCKED))",
    "sqlite": "id IN ({rows} LIMIT %s)",
}


# What the work needs, in the model's order; the rest is read only when asked for.
CLAIMED = ("id", "source_id", "stripe_id", "type", "object_id", "customer_id", "body", "origin", "attempts")


def _take(only: str, values: Sequence[Any], limit: int, now: datetime, lease_seconds: int) -> list[StripeEvent]:
    vendor = connection.vendor
    free = FREE.format(clock=CLOCK[vendor])
    due = connection.ops.adapt_datetimefield_value(now)
    rows = f"SELECT id FROM {TABLE} WHERE {free} {only} ORDER BY due_at, id"
    taken = statements.run(
        f"UPDATE {TABLE} SET attempts = attempts + 1, leased_until = {LATER[vendor]} "
        f"WHERE {PICKED[vendor].format(rows=rows)} RETURNING {', '.join(CLAIMED)}",
        [lease_seconds, due, *values, limit],
        has_bodies=True,
    )
    return [StripeEvent.from_db(connection.alias, CLAIMED, row) for row in taken]
