"""What became of work that was taken back because its match was undone: it waits for the next match, or goes anew."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F

from crm import messages, statements, writes
from crm.channels.kinds import ChannelError, Outcome, Parcel, Permanent, Postponed, Sent, Transient, Wait
from crm.models import Drift, DriftState, Match, Message, RecordKind, SyncRecord, Unmatched, WorkState
from crm.outbox.owing import IGNORED, UNMATCHED, WITHDRAWN
from crm.outbox.settling import COLUMNS, MESSAGE_COLUMNS, RECORD_COLUMNS, Settled, try_later

RECORD_ALSO = ("there", "there_at", "accepted")


def settle_taken_back(parcel: Parcel, outcomes: Mapping[int, Outcome], *, now: datetime) -> Settled:
    """Write down what was taken back. Where the customer has an Account again meanwhile, it is due for that one."""
    sent = parked = waiting = 0
    with transaction.atomic():
        customers = {row.customer_id for row in parcel.rows}
        matched = set(
            Match.objects.filter(customer_id__in=customers, undone_at__isnull=True).values_list(
                "customer_id", flat=True
            )
        )
        ignored = set(
            Unmatched.objects.filter(customer_id__in=customers)
            .exclude(ignored_because="")
            .values_list("customer_id", flat=True)
        )
        for model, columns in ((SyncRecord, (*RECORD_COLUMNS, *RECORD_ALSO)), (Message, MESSAGE_COLUMNS)):
            claimed = {row.pk: row for row in parcel.rows if isinstance(row, model)}
            rows: list[Any] = list(model.objects.filter(pk__in=claimed).order_by("pk").select_for_update())
            for row in rows:
                outcome = outcomes.get(row.ref) or Transient("no_outcome", "Nothing was said of what became of it.")
                hold = "" if row.customer_id in matched else IGNORED if row.customer_id in ignored else UNMATCHED
                is_ours = row.leased_until == claimed[row.pk].leased_until
                _settle(row, outcome, hold=hold, is_ours=is_ours, now=now)
                sent += isinstance(outcome, Sent)
                parked += row.state == WorkState.PARKED
            waiting += len(rows)
            statements.save(rows, (*COLUMNS, *columns))
        _close_differences(parcel, outcomes, now=now)
        writes.keep(parcel, outcomes, now=now)
    return Settled(sent=sent, parked=parked, waiting=waiting - sent - parked)


def _settle(row: Any, outcome: Outcome, *, hold: str, is_ours: bool, now: datetime) -> None:
    if is_ours:
        row.leased_until = None
    if isinstance(outcome, Sent):
        _taken(row, hold=hold, is_ours=is_ours, now=now)
    elif not is_ours:
        return
    elif isinstance(outcome, Permanent):
        row.state, row.error_code, row.error = WorkState.PARKED, outcome.code, outcome.message
    elif isinstance(outcome, Wait):
        row.attempts, row.due_at = max(0, row.attempts - 1), max(now, outcome.until)
    elif isinstance(outcome, Postponed):
        row.attempts = max(0, row.attempts - 1)
    else:
        nothing = Transient("no_outcome", "Nothing was said of what became of it.")
        try_later(row, outcome if isinstance(outcome, ChannelError) else nothing, now)


def _taken(row: Any, *, hold: str, is_ours: bool, now: datetime) -> None:
    """Nothing of the row stands in Salesforce any more. One that was released meanwhile (not ours) is written anew."""
    row.attempts, row.error_code, row.error, row.error_fields = 0, "", "", []
    if isinstance(row, Message):
        is_fresh = row.created_at > now - messages.TOO_OLD
        row.their_id, row.takes_back, row.due_at = "", False, now
        row.state = WorkState.WAITING if not hold and is_fresh else WorkState.DROPPED
        row.error_code = "" if row.state == WorkState.WAITING else WITHDRAWN
        return
    row.salesforce_id, row.confirmed, row.wanted = "", 0, row.wanted + 1
    row.fields_sent = row.fields_before = row.was = row.there = row.there_at = row.looked_up = row.looked_up_at = None
    row.accepted = {}
    if is_ours:
        row.takes_back, row.due_at = False, now
        row.state, row.error_code = (WorkState.HELD, hold) if hold else (WorkState.WAITING, "")
    elif row.state == WorkState.SENT:
        row.state, row.due_at = WorkState.WAITING, now


def _close_differences(parcel: Parcel, outcomes: Mapping[int, Outcome], *, now: datetime) -> None:
    """What others changed on records that are gone is no difference any more; entries that stand lose their link."""
    taken = [row for row in parcel.rows if isinstance(row, SyncRecord) and isinstance(outcomes.get(row.ref), Sent)]
    Drift.objects.filter(record__in=taken, state=DriftState.OPEN).update(state=DriftState.GONE)
    lost = {row.customer_id or 0 for row in taken if row.kind == RecordKind.OPPORTUNITY}
    pointing = SyncRecord.objects.filter(customer_id__in=lost, kind=RecordKind.SCHEDULE, state=WorkState.SENT)
    pointing.update(state=WorkState.WAITING, wanted=F("wanted") + 1, due_at=now, attempts=0)
