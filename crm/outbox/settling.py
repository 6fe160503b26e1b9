"""What became of what was sent, written on its row: done, held, dropped, parked, or due again later."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F

from crm import statements, writes
from crm.channels.kinds import (
    ChannelError,
    Dropped,
    Held,
    LookedUp,
    Outcome,
    Parcel,
    Permanent,
    Postponed,
    Sent,
    Transient,
    Unclear,
    Wait,
    WouldSend,
)
from crm.channels.salesforce.errors import LOCKED
from crm.models import Message, RecordKind, SyncRecord, WorkState
from crm.outbox.owing import WITHOUT_ACCOUNT

ATTEMPTS = 8
FIRST_PAUSE_SECONDS = 5
LONGEST_PAUSE_SECONDS = 3600

SEND_AGAIN = "send_again"

COLUMNS = (
    "state",
    "attempts",
    "due_at",
    "leased_until",
    "error_code",
    "error",
    "error_fields",
    "sent_at",
    "takes_back",
)
RECORD_COLUMNS = (
    "wanted",
    "confirmed",
    "salesforce_id",
    "fields_sent",
    "fields_before",
    "parent_id",
    "bulk_job",
    "looked_up",
    "looked_up_at",
    "was",
)
MESSAGE_COLUMNS = ("body", "their_id")


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of the work of one round."""

    sent: int = 0
    would_send: int = 0
    parked: int = 0
    waiting: int = 0

    @property
    def total(self) -> int:
        return self.sent + self.would_send + self.parked + self.waiting

    def __add__(self, other: Settled) -> Settled:
        return Settled(
            self.sent + other.sent,
            self.would_send + other.would_send,
            self.parked + other.parked,
            self.waiting + other.waiting,
        )


def settle(parcel: Parcel, outcomes: Mapping[int, Outcome], *, now: datetime) -> Settled:
    """Write down what became of each row.

    A record is confirmed at the version that was read when it was claimed; one wanted anew meanwhile stays due.
    """
    if not parcel.rows:
        return Settled()
    counted: dict[str, int] = {}
    with transaction.atomic():
        for model in (SyncRecord, Message):
            claimed = {row.pk: row for row in parcel.rows if isinstance(row, model)}
            if claimed:
                _settle_rows(model, claimed, outcomes, counted, now)
        writes.keep(parcel, outcomes, now=now)
    return Settled(
        sent=counted.get(WorkState.SENT, 0),
        would_send=counted.get(WorkState.WOULD_SEND, 0),
        parked=counted.get(WorkState.PARKED, 0),
        waiting=counted.get(WorkState.WAITING, 0) + counted.get(WorkState.HELD, 0) + counted.get(WorkState.DROPPED, 0),
    )


def _settle_rows(
    model: Any, claimed: Mapping[int, Any], outcomes: Mapping[int, Outcome], counted: dict[str, int], now: datetime
) -> None:
    rows = list(model.objects.filter(pk__in=claimed).order_by("pk").select_for_update())
    linked: set[int] = set()
    for row in rows:
        known_before = getattr(row, "salesforce_id", "")
        _settle_row(row, claimed[row.pk], outcomes.get(row.ref), now)
        counted[row.state] = counted.get(row.state, 0) + 1
        if model is SyncRecord and row.kind == RecordKind.OPPORTUNITY and row.salesforce_id != known_before:
            linked.add(row.customer_id)
    statements.save(rows, COLUMNS + (RECORD_COLUMNS if model is SyncRecord else MESSAGE_COLUMNS))
    if linked:
        pointing = {pk for pk, row in claimed.items() if _points(outcomes.get(row.ref))}
        _point_at_opportunities(linked, but=pointing, now=now)


def _points(outcome: Outcome | None) -> bool:
    return isinstance(outcome, Sent) and bool(outcome.fields.get("Opportunity__c"))


def _point_at_opportunities(customer_pks: Collection[int], *, but: Collection[int], now: datetime) -> None:
    """Owe the schedule entries that went before their Opportunity was found; those that went with it point at it."""
    earlier = SyncRecord.objects.filter(
        customer_id__in=customer_pks, kind=RecordKind.SCHEDULE, state=WorkState.SENT
    ).exclude(pk__in=but)
    earlier.update(state=WorkState.WAITING, wanted=F("wanted") + 1, due_at=now, attempts=0)


def _settle_row(row: Any, claimed: Any, outcome: Outcome | None, now: datetime) -> None:
    if row.leased_until != claimed.leased_until:
        _after_a_lost_lease(row, claimed, outcome)
        return
    row.leased_until = None
    resend = row.error_code == SEND_AGAIN
    row.error_code, row.error, row.error_fields = "", "", []
    if isinstance(row, SyncRecord):
        row.parent_id, row.bulk_job_id = claimed.parent_id or row.parent_id, None
        row.looked_up, row.looked_up_at = None, None
        if isinstance(outcome, Sent | Unclear):
            row.was = row.was or claimed.was
    if isinstance(outcome, ChannelError):
        row.error_fields = list(outcome.fields)
    match outcome:
        case Sent() | WouldSend():
            _done(row, claimed, outcome, now, resend=resend)
        case Held(code=code, message=message):
            row.state, row.error_code, row.error, row.attempts = WorkState.HELD, code, message, 0
        case Dropped(code=code, message=message):
            row.state, row.error_code, row.error = WorkState.DROPPED, code, message
        case Permanent() as error:
            row.state, row.error_code, row.error = WorkState.PARKED, error.code, error.message
        case Wait() as error:
            row.error_code, row.error = error.code, error.message
            row.attempts = max(0, row.attempts - 1)
            row.due_at = max(now, error.until)
        case Postponed():
            row.attempts = max(0, row.attempts - 1)
        case LookedUp(candidates=candidates):
            row.attempts = max(0, row.attempts - 1)
            row.looked_up, row.looked_up_at = [dict(one) for one in candidates], now
        case Transient() | Unclear() as error:
            try_later(row, error, now)
        case _:
            try_later(row, Transient("no_outcome", "The channel did not say what became of it."), now)


def _done(row: Any, claimed: Any, outcome: Sent | WouldSend, now: datetime, *, resend: bool) -> None:
    row.attempts, row.sent_at = 0, now
    is_record = isinstance(row, SyncRecord)
    if not is_record:
        row.body = dict(outcome.fields)
        row.their_id = outcome.their_id if isinstance(outcome, Sent) else ""
    if isinstance(outcome, WouldSend):
        row.state = WorkState.WOULD_SEND
        if is_record:
            row.fields_before = row.fields_sent if row.confirmed else row.fields_before
            row.fields_sent, row.confirmed = dict(outcome.fields), 0
    else:
        row.state = WorkState.SENT
        if is_record:
            if outcome.called:
                row.fields_before = row.fields_sent if row.confirmed else None
            row.fields_sent = None if resend else dict(outcome.fields)
            row.confirmed = claimed.wanted
            row.salesforce_id = outcome.their_id or row.salesforce_id
    if is_record and (row.wanted > claimed.wanted or resend):
        row.state, row.due_at = WorkState.WAITING, now


def _after_a_lost_lease(row: Any, claimed: Any, outcome: Outcome | None) -> None:
    """We came late: another worker has, or had, the row. If we wrote, ours may stand on top: send again."""
    if row.state == WorkState.HELD and row.error_code in WITHOUT_ACCOUNT and isinstance(outcome, Sent | Unclear):
        _take_back(row, claimed, outcome)
    elif isinstance(row, SyncRecord) and isinstance(outcome, Sent | Unclear):
        row.wanted += 1
        row.fields_sent = None
        row.error_code = SEND_AGAIN if row.leased_until else row.error_code
        if row.state in (WorkState.SENT, WorkState.WOULD_SEND):
            row.state = WorkState.WAITING


def _take_back(row: Any, claimed: Any, outcome: Sent | Unclear) -> None:
    """The match was undone while we wrote: what stands there belongs to nobody, and goes."""
    row.state, row.takes_back, row.error_code, row.error, row.attempts = WorkState.WAITING, True, "", "", 0
    their_id = outcome.their_id if isinstance(outcome, Sent) else ""
    if isinstance(row, SyncRecord):
        row.confirmed, row.salesforce_id, row.wanted = claimed.wanted, their_id or row.salesforce_id, row.wanted + 1
        row.fields_sent = dict(outcome.fields) if isinstance(outcome, Sent) else None
        row.was = row.was or claimed.was
    else:
        row.their_id = their_id or row.their_id


def try_later(row: Any, error: ChannelError, now: datetime) -> None:
    row.error_code, row.error = error.code, error.message
    if row.attempts >= ATTEMPTS:
        row.state = WorkState.PARKED
        row.error = f"{error.message} Given up after {row.attempts} attempts."
    else:
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 3 ** (row.attempts - 1))
        row.due_at = now + timedelta(seconds=pause * _jitter(row, error))


def _jitter(row: Any, error: ChannelError) -> float:
    """Scatter what is tried again, but let records whose Account was locked meet again in one call."""
    if error.code == LOCKED and isinstance(row, SyncRecord) and row.parent_id:
        return random.Random(f"{row.parent_id} {row.attempts}").uniform(0.8, 1.2)
    return random.uniform(0.8, 1.2)
