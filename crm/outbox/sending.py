"""Claims what is due under a lease, lets its channel send it, and has the outcome settled."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from crm.channels.kinds import Channel, ChannelError, Outcome, Parcel
from crm.channels.salesforce import budget
from crm.channels.salesforce.errors import LOCKED
from crm.models import BulkJob, BulkState, Message, Mode, SalesforceOrg, SyncRecord, WorkState
from crm.outbox.owing import SALESFORCE
from crm.outbox.settling import Settled, settle

LEASE = timedelta(seconds=60)
LONGEST_CALL = timedelta(seconds=40)  # connect and read time-outs of one call, with room
SOON = timedelta(seconds=5)
MESSAGES_AT_ONCE = 100  # beside records


def send_due(channels: Sequence[Channel], *, now: datetime) -> Settled:
    """Send one batch of what is due through each channel; no transaction is open while a channel talks."""
    counts = Settled()
    for channel in channels:
        parcel = claim(channel, now=now)
        if parcel is not None:
            counts += settle(parcel, deliver(channel, parcel, now=now), now=now)
    return counts


def is_due(channels: Sequence[Channel], *, now: datetime) -> bool:
    """Say whether a channel that is open, or soon will be, has something to send now.

    A lane that is closed for longer, by a limit, the day's pace or a person's absence, is left to the sweep.
    """
    for channel in channels:
        if channel.name == SALESFORCE:
            if not _opens_soon(now):
                continue
            if due_jobs(now=now).exists() or any(queue.exists() for queue in due_to_take_back(now=now)):
                return True
        if any(queue.exists() for queue in _due(channel, now=now)):
            return True
    return False


def _opens_soon(now: datetime) -> bool:
    org = SalesforceOrg.objects.order_by("pk").first()
    if org is None or org.error_code or org.held_since or (org.paused_until or now) > now + SOON:
        return False
    is_live = org.mode == Mode.LIVE and not org.is_demo
    return not is_live or budget.wait_seconds(org, now=now) <= SOON.total_seconds()


def due_jobs(*, now: datetime) -> QuerySet[BulkJob]:
    """Return the Bulk jobs that have a step to be done now."""
    free = Q(leased_until__isnull=True) | Q(leased_until__lte=now)
    ended = (BulkState.ENDED, BulkState.ABORTED)
    return BulkJob.objects.filter(free, due_at__lte=now).exclude(state__in=ended)


def claim(channel: Channel, *, now: datetime, limit: int | None = None) -> Parcel | None:
    """Take the oldest due rows of a channel under a lease; None when nothing is due or the lane is closed.

    The attempt is counted before the work: a worker that dies must not try for ever.
    """
    if not channel.is_open(now=now):
        return None
    due = _due(channel, now=now)
    if not any(queue.exists() for queue in due):  # SQLite's transaction would take the write lock for nothing
        return None
    until = now + LEASE
    send_until = time.monotonic() + (LEASE - LONGEST_CALL).total_seconds()
    most = limit or channel.batch
    with transaction.atomic():
        rows: list[Any] = []
        for queue in due:
            taken = _take(queue, most - len(rows), until=until)
            rows += taken
    return Parcel(tuple(rows), send_until) if rows else None


def _take(due: QuerySet[Any], most: int, *, until: datetime) -> list[Any]:
    if most <= 0:
        return []
    if connection.features.has_select_for_update_skip_locked:
        due = due.select_for_update(skip_locked=True)
    rows = list(due[:most])
    due.model.objects.filter(pk__in=[row.pk for row in rows]).update(leased_until=until, attempts=F("attempts") + 1)
    for row in rows:
        row.leased_until, row.attempts = until, row.attempts + 1
    return rows


def deliver(channel: Channel, parcel: Parcel, *, now: datetime) -> dict[int, Outcome]:
    """Let a channel send; a failure of the whole parcel is that of each row."""
    try:
        return channel.deliver(parcel, now=now)
    except ChannelError as error:
        return {row.ref: error for row in parcel.rows}


def _due(channel: Channel, *, now: datetime) -> list[QuerySet[Any]]:
    """Return what a channel may take, what matters most and is oldest first; a few messages go with the records."""
    free = Q(leased_until__isnull=True) | Q(leased_until__lte=now)
    told = Message.objects.filter(
        free, channel=channel.name, state=WorkState.WAITING, due_at__lte=now, takes_back=False
    )
    told = told.order_by("priority", "due_at", "pk")
    if channel.work != "records":
        return [told]
    return [told[:MESSAGES_AT_ONCE], due_records(now=now).order_by("priority", "due_at", "pk")]


def due_records(*, now: datetime) -> QuerySet[SyncRecord]:
    """Return the records that may be sent now: one whose Account was locked waits while a sibling is being sent."""
    free = Q(leased_until__isnull=True) | Q(leased_until__lte=now)
    siblings = SyncRecord.objects.filter(parent_id=OuterRef("parent_id"), leased_until__gt=now, bulk_job__isnull=True)
    locked = Q(error_code=LOCKED) & ~Q(parent_id="")
    due = SyncRecord.objects.filter(free, state=WorkState.WAITING, due_at__lte=now, takes_back=False)
    return due.filter(~locked | ~Exists(siblings))


def due_to_take_back(*, now: datetime) -> tuple[QuerySet[SyncRecord], QuerySet[Message]]:
    """Return the records and messages of undone matches that may be taken back now."""
    free = Q(leased_until__isnull=True) | Q(leased_until__lte=now)
    due = Q(free, state=WorkState.WAITING, due_at__lte=now, takes_back=True)
    return SyncRecord.objects.filter(due), Message.objects.filter(due, channel=SALESFORCE)


def claim_to_take_back(*, now: datetime, limit: int) -> Parcel | None:
    """Take what is oldest of it under a lease; None where nothing is due. The attempt is counted before the work."""
    queues = due_to_take_back(now=now)
    if not any(queue.exists() for queue in queues):
        return None
    until, send_until = now + LEASE, time.monotonic() + (LEASE - LONGEST_CALL).total_seconds()
    rows: list[Any] = []
    with transaction.atomic():
        for queue in queues:
            rows += _take(queue.order_by("due_at", "pk"), limit - len(rows), until=until)
    return Parcel(tuple(rows), send_until) if rows else None
