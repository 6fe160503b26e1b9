"""Says what a row of the books comes to, as one SHA-256: of an entry, a seal, and of what was done with a month.

The texts below are for ever: what was hashed in one way is checked in that way. Another way would be another mark.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final, Protocol

ENTRY, SEAL, ACTION, BOOKED = "entry/1", "seal/1", "action/1", "booked/1"
GENESIS: Final = hashlib.sha256(b"The first seal follows nothing.").hexdigest()


class Entry(Protocol):
    """The columns of a ledger entry that its hash covers, beside its events' bodies and the entry it reverses."""

    key: str
    source_id: int
    customer_id: int
    sequence: int
    type: str
    reason: str
    currency: str
    amount_micros: int
    paying_delta: int
    lines: Any
    event_ids: Any
    effective_at: datetime
    posted_at: datetime
    book_month: date
    backdated_from: date | None
    days_lapsed: int | None
    is_live: bool
    policy_version: int


def of_entry(entry: Entry, *, reverses: str, bodies: Mapping[tuple[int, str], str]) -> str:
    """Return the hash of an entry. `reverses` is the key of the entry it takes back, empty if it is no reversal.

    `bodies` holds the SHA-256 of events' bodies by (source, event id); what is no event we received counts as empty.
    The bodies themselves are never covered: one may be redacted, its hash stays.
    """
    return of_value(
        [
            ENTRY,
            entry.key,
            entry.source_id,
            entry.customer_id,
            entry.sequence,
            str(entry.type),
            entry.reason,
            entry.currency,
            entry.amount_micros,
            entry.paying_delta,
            entry.lines,
            [[event_id, bodies.get((entry.source_id, event_id), "")] for event_id in entry.event_ids],
            _moment(entry.effective_at),
            _moment(entry.posted_at),
            entry.book_month.isoformat(),
            entry.backdated_from.isoformat() if entry.backdated_from else None,
            entry.days_lapsed,
            entry.is_live,
            entry.policy_version,
            reverses,
        ]
    )


def of_seal(
    *,
    number: int,
    previous: str,
    made_at: datetime,
    ranges: Sequence[Sequence[int]],
    books: str,
    entries: Iterable[str],
) -> str:
    """Return the hash of a seal: of the one before, its place, the entries' hashes in key order, the books' head."""
    found = hashlib.sha256(
        _text([SEAL, number, previous, _moment(made_at), [list(part) for part in ranges], books]).encode()
    )
    for digest in entries:
        found.update(b"\n" + digest.encode())
    return found.hexdigest()


def of_action(previous: str, columns: Mapping[str, Any]) -> str:
    """Return the hash of one thing done with a month; it covers the one before, so that none can be taken out."""
    plain = {name: _moment(value) if isinstance(value, datetime) else value for name, value in columns.items()}
    plain = {name: value.isoformat() if isinstance(value, date) else value for name, value in plain.items()}
    return of_value([ACTION, previous, plain])


def of_booked(entries: Iterable[tuple[str, str]]) -> tuple[int, str]:
    """Return how many entries a month holds and the hash of them: (key, hash) of each, in the order of their rows."""
    found = hashlib.sha256(BOOKED.encode())
    count = 0
    for key, digest in entries:
        found.update(f"\n{key} {digest}".encode())
        count += 1
    return count, found.hexdigest()


def of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def of_value(value: Any) -> str:
    """Return the hash of any plain JSON value."""
    return hashlib.sha256(_text(value).encode()).hexdigest()


def _text(value: Any) -> str:
    """Write a value in the one way there is: the database may give the keys of an object back in another order."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")
