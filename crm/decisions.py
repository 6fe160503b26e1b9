"""What people decide about outgoing work: retry it, skip it, hold it, one piece or many. Who decided is logged."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet

from crm import statements
from crm.models import LoggedWrite, Message, SalesforceOrg, SyncRecord, WorkState, WriteOutcome
from crm.selectors.sync import SOBJECTS

SKIPPED = "skipped"
HELD_BY_PERSON = "held_by_person"


def retry(refs: Collection[int], *, by: str, now: datetime) -> int:
    """Make work due now; returns how many pieces. Records are named by their key, messages by theirs below zero.

    What was sent is not told again. A pause that an earlier refusal began ends, so that the retry really tries.
    """
    with transaction.atomic():
        records = list(_records(refs).exclude(state=WorkState.SENT))
        messages = list(_messages(refs).filter(state__in=(WorkState.PARKED, WorkState.WAITING, WorkState.HELD)))
        due = {"state": WorkState.WAITING, "due_at": now, "attempts": 0, "error_code": "", "error": ""}
        _those(SyncRecord, records).update(**due, error_fields=[], wanted=F("wanted") + 1)
        _those(Message, messages).update(**due, error_fields=[])
        SalesforceOrg.objects.update(paused_until=None)  # at the reserve this asks at once whether calls are free again
        return _logged(records, messages, WriteOutcome.RETRIED, by=by, now=now)


def skip(refs: Collection[int], *, by: str, now: datetime) -> int:
    """Leave work undone; returns how many pieces. A record comes back by itself when its value changes again."""
    words = f"{by} skipped it. It comes back when its value changes again, or by a retry."
    return _put_by(refs, WorkState.DROPPED, SKIPPED, words, WriteOutcome.SKIPPED, by=by, now=now)


def hold(refs: Collection[int], *, by: str, now: datetime) -> int:
    """Keep work until a person retries it, whatever changes meanwhile; returns how many pieces."""
    words = f"{by} holds it. A retry sends it in its newest state."
    return _put_by(refs, WorkState.HELD, HELD_BY_PERSON, words, WriteOutcome.HELD, by=by, now=now)


DECISIONS: dict[str, Callable[..., int]] = {"retry": retry, "skip": skip, "hold": hold}


def _put_by(
    refs: Collection[int], state: WorkState, code: str, words: str, outcome: WriteOutcome, *, by: str, now: datetime
) -> int:
    open_states = (WorkState.WAITING, WorkState.PARKED, WorkState.HELD, WorkState.WOULD_SEND)
    with transaction.atomic():
        records = list(_records(refs).filter(state__in=open_states).exclude(state=state, error_code=code))
        messages = list(_messages(refs).filter(state__in=open_states).exclude(state=state, error_code=code))
        put = {"state": state, "error_code": code, "error": words, "attempts": 0}
        _those(SyncRecord, records).update(**put)
        _those(Message, messages).update(**put)
        return _logged(records, messages, outcome, by=by, now=now)


def _records(refs: Collection[int]) -> QuerySet[SyncRecord]:
    return SyncRecord.objects.filter(pk__in=[ref for ref in refs if ref > 0]).order_by("pk").select_for_update()


def _messages(refs: Collection[int]) -> QuerySet[Message]:
    return Message.objects.filter(pk__in=[-ref for ref in refs if ref < 0]).order_by("pk").select_for_update()


def _those(model: Any, rows: list[Any]) -> QuerySet[Any]:
    found: QuerySet[Any] = model.objects.filter(pk__in=[row.pk for row in rows])
    return found


def _logged(
    records: list[SyncRecord], messages: list[Message], outcome: WriteOutcome, *, by: str, now: datetime
) -> int:
    lines = [
        LoggedWrite(
            at=now, outcome=outcome, record=row, customer_id=row.customer_id, sobject=SOBJECTS[row.kind], key=row.key,
            error_code=row.error_code, by=by,
        )
        for row in records
    ]  # fmt: skip
    lines += [
        LoggedWrite(
            at=now, outcome=outcome, message=row, customer_id=row.customer_id, sobject=row.topic, key=row.dedupe_key,
            error_code=row.error_code, by=by,
        )
        for row in messages
    ]  # fmt: skip
    statements.insert_new(lines)
    return len(lines)
