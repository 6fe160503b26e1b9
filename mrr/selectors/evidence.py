"""What proves a closed month, for an archive that is read elsewhere: a row at a time, so that memory stays flat."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any, Final

from django.db.models import F

from billing import selectors as billing
from mrr import policies
from mrr.models import ActionKind, BookAction, FrozenRates, Seal
from mrr.selectors.closing import booked_in

CHUNK: Final = 200
ENTRY_COLUMNS: Final = (
    "entry",
    "source",
    "source_id",
    "customer",
    "customer_id",
    "sequence",
    "type",
    "reason",
    "currency",
    "amount_micros",
    "paying_delta",
    "lines",
    "event_ids",
    "effective_at",
    "posted_at",
    "book_month",
    "backdated_from",
    "days_lapsed",
    "is_live",
    "policy_version",
    "reverses",
    "reverses_type",
    "sha256",
)
EVENT_COLUMNS: Final = ("entry", "source", "event", "type", "created_at", "received_at", "sha256")


@dataclass(frozen=True, slots=True)
class Close:
    """The close that an archive proves, and the seal that covers it."""

    action: dict[str, Any]
    seal: dict[str, Any]
    head: tuple[int, str]


def entry_rows(month: date) -> Iterator[tuple[Any, ...]]:
    """Yield every entry booked in a month with all that its hash covers but the events, in the order of their rows."""
    rows = booked_in(month).order_by("pk").select_related("source", "customer", "reverses")
    for row in rows.iterator(chunk_size=CHUNK):
        yield (
            row.key,
            row.source.slug,
            row.source_id,
            row.customer.stripe_id,
            row.customer_id,
            row.sequence,
            row.type,
            row.reason,
            row.currency,
            row.amount_micros,
            row.paying_delta,
            _json(row.lines),
            _json(row.event_ids),
            moment(row.effective_at),
            moment(row.posted_at),
            row.book_month,
            row.backdated_from,
            row.days_lapsed,
            row.is_live,
            row.policy_version,
            row.reverses.key if row.reverses else "",
            row.reverses.type if row.reverses else "",
            row.digest,
        )


def event_rows(month: date) -> Iterator[tuple[Any, ...]]:
    """Yield every event of every entry booked in a month, in the entries' order; of an event not ours only its id."""
    columns = ("key", "source_id", "event_ids")
    found = booked_in(month).order_by("pk").annotate(slug=F("source__slug")).values_list(*columns, "slug")
    rows = found.iterator(chunk_size=CHUNK)
    while some := list(islice(rows, CHUNK)):
        known = billing.events_told({(source_pk, one) for _, source_pk, ids, _ in some for one in ids})
        for key, source_pk, event_ids, slug in some:
            for event_id in event_ids:
                kind, created_at, received_at, sha256 = known.get((source_pk, event_id), ("", None, None, ""))
                yield (
                    key,
                    slug,
                    event_id,
                    kind,
                    moment(created_at) if created_at else "",
                    moment(received_at) if received_at else "",
                    sha256,
                )


def close_proof(number: int) -> Close:
    """Return a close by its number, with the seal that covers it, and the chain's head now."""
    action = BookAction.objects.select_related("made_by", "seconded_by", "seal").get(number=number)
    assert action.seal is not None
    later = Seal.objects.filter(number__gt=action.seal.number, books=action.digest)
    seal = later.order_by("number")[:1].get()
    head = Seal.objects.order_by("-number").values_list("number", "digest")[:1].get()
    return Close(_action(action), _seal(seal), head)


def all_steps() -> list[dict[str, Any]]:
    """Return everything that was ever done with months, as its hash covers it, and who did it by name."""
    rows = BookAction.objects.select_related("made_by", "seconded_by").order_by("number")
    return [_action(row) for row in rows]


def used_policies(versions: Sequence[int]) -> dict[str, Any]:
    """Return the rules of policy versions, every setting by name."""
    found = {number: policies.version(number) for number in sorted(set(versions))}
    return {str(number): policy.as_json() for number, policy in found.items() if policy is not None}


def policies_in(month: date) -> list[int]:
    """Return under which policy versions the entries of a month were posted."""
    return sorted(set(booked_in(month).order_by().values_list("policy_version", flat=True).distinct()))


def frozen_rates(month: date) -> dict[str, Any]:
    """Return the exchange rates that the close of a month froze: currency → list of [day, rate]."""
    return FrozenRates.objects.filter(month=month).values_list("rates", flat=True).first() or {}


def moment(at: datetime) -> str:
    """Write a time as hashes do."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _action(row: BookAction) -> dict[str, Any]:
    return {
        "number": row.number,
        "kind": str(ActionKind(row.kind)),
        "month": row.month.isoformat(),
        "made_by": row.made_by.get_username(),
        "made_by_id": row.made_by_id,
        "made_at": moment(row.made_at),
        "seal_id": row.seal_id,
        "policy_version": row.policy_version,
        "entries": row.entries,
        "entries_digest": row.entries_digest,
        "figures": row.figures,
        "notes": row.notes,
        "reason": row.reason,
        "reason_sha256": row.reason_sha256,
        "answers_id": row.answers_id,
        "manner": row.manner,
        "seconded_by": row.seconded_by.get_username() if row.seconded_by else "",
        "seconded_by_id": row.seconded_by_id,
        "previous": row.previous,
        "digest": row.digest,
    }


def _seal(row: Seal) -> dict[str, Any]:
    return {
        "number": row.number,
        "previous": row.previous,
        "made_at": moment(row.made_at),
        "ranges": row.ranges,
        "entries": row.entries,
        "books": row.books,
        "digest": row.digest,
    }


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
