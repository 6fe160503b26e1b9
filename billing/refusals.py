"""Counts deliveries that leave no event, by source, reason and hour: refused ones, and those of events we had."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import F, Sum

from billing.models import DeliveryRefusal

EVERY_SECONDS = 1.0  # anybody can send what is refused: it costs a write no oftener than this
KEPT: Final = timedelta(days=90)
DUPLICATE: Final = "duplicate_updates"
MODE: Final = re.compile(rb'"livemode"\s*:\s*(true|false)')


@dataclass(frozen=True, slots=True)
class RefusalRow:
    """How often a source refused deliveries for one reason since a moment, and the last time.

    `code` is bad_signature, wrong_mode (a signature we do not know, on an event of the other mode), bad_timestamp,
    no_signing_secret or bad_json. `seconds_off` is how far our clock was ahead at the last bad_timestamp.
    """

    source_pk: int
    code: str
    count: int
    last_at: datetime
    seconds_off: int | None


_lock = threading.Lock()
_waiting: dict[tuple[int, str], int] = {}
_written: dict[tuple[int, str], float] = {}


def note(source_pk: int, code: str, *, now: datetime, seconds_off: int | None = None) -> None:
    """Count one such delivery. The first is written at once, those of the next seconds with the one after them."""
    key = (source_pk, code)
    with _lock:
        count = _waiting[key] = _waiting.get(key, 0) + 1
        if time.monotonic() - _written.get(key, -EVERY_SECONDS) < EVERY_SECONDS:
            return
        _written[key], _waiting[key] = time.monotonic(), 0
    hour = now.replace(minute=0, second=0, microsecond=0)
    rows = DeliveryRefusal.objects.filter(source_id=source_pk, code=code, hour=hour)
    told = {"last_at": now, "seconds_off": seconds_off}
    if rows.update(count=F("count") + count, **told):
        return
    row = DeliveryRefusal(source_id=source_pk, code=code, hour=hour, count=count, **told)
    DeliveryRefusal.objects.bulk_create([row], ignore_conflicts=True)  # another process may have been first


def says_other_mode(raw: bytes, *, livemode: bool) -> bool:
    """Say whether a body that nobody vouches for claims to be of the other mode: a hint at whose secret was used."""
    found = MODE.findall(raw)  # the event's own stands after that of the object in it
    return bool(found) and (found[-1] == b"true") is not livemode


def refusals(*, since: datetime, source_pk: int | None = None) -> list[RefusalRow]:
    """Return what was refused since a moment (by whole hours), by source and reason, the latest first."""
    rows = DeliveryRefusal.objects.filter(last_at__gte=since).exclude(code=DUPLICATE).order_by("-last_at")
    if source_pk is not None:
        rows = rows.filter(source_id=source_pk)
    found: dict[tuple[int, str], RefusalRow] = {}
    for row in rows:
        key = (row.source_id, row.code)
        known = found.get(key)
        if known is None:
            found[key] = RefusalRow(row.source_id, row.code, row.count, row.last_at, row.seconds_off)
        else:
            found[key] = RefusalRow(row.source_id, row.code, known.count + row.count, known.last_at, known.seconds_off)
    return list(found.values())


def duplicates(*, since: datetime) -> dict[int, int]:
    """Return by source how many deliveries since a moment (by whole hours) were of events that were there before."""
    rows = DeliveryRefusal.objects.filter(last_at__gte=since, code=DUPLICATE).order_by()
    return dict(rows.values_list("source_id").annotate(Sum("count")))


def clear_old(*, now: datetime) -> None:
    DeliveryRefusal.objects.filter(hour__lt=now - KEPT).delete()
