"""The log of writes: what was asked of Salesforce and what came back, kept for as many days as the connection says."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from crm import statements
from crm.channels.kinds import ChannelError, Outcome, Parcel, Permanent, Sent, Unclear, Wait, WouldSend
from crm.models import LoggedWrite, SalesforceOrg, SyncRecord, WriteOutcome
from crm.selectors.sync import SOBJECTS

DELETED_AT_ONCE = 5000


def keep(parcel: Parcel, outcomes: Mapping[int, Outcome], *, now: datetime) -> None:
    """Log what became of each row of a parcel that was, or would have been, written; runs in the caller's transaction.

    What was not tried, because nothing differed, a person is needed or the lane is closed, leaves no line.
    """
    lines = [_line(row, outcomes.get(row.ref), parcel.asked.get(row.ref), now) for row in parcel.rows]
    statements.insert_new([line for line in lines if line is not None])


def forget_old(*, now: datetime) -> int:
    """Delete what is older than the connection keeps; returns how many lines."""
    org = SalesforceOrg.objects.order_by("pk").first()
    if org is None:
        return 0
    old = LoggedWrite.objects.filter(at__lt=now - timedelta(days=org.log_days)).order_by("pk")
    count = 0
    while pks := list(old.values_list("pk", flat=True)[:DELETED_AT_ONCE]):
        count += LoggedWrite.objects.filter(pk__in=pks).delete()[0]
    return count


def _line(row: Any, outcome: Outcome | None, asked: Mapping[str, Any] | None, now: datetime) -> LoggedWrite | None:
    found = _said(outcome)
    if found is None:
        return None
    kind, answer, fields = found
    is_record = isinstance(row, SyncRecord)
    return LoggedWrite(
        at=now,
        outcome=kind,
        record_id=row.pk if is_record else None,
        message_id=None if is_record else row.pk,
        customer_id=row.customer_id,
        sobject=SOBJECTS[row.kind] if is_record else _told_as(row),
        key=row.key if is_record else row.dedupe_key,
        method=(asked or {}).get("method", ""),
        path=str((asked or {}).get("path", ""))[:500],
        before=_before(row) if is_record else None,
        request=dict((asked or {}).get("fields") or fields or {}) or None,
        response=answer,
        error_code=str((answer or {}).get("errorCode", ""))[:80],
    )


def _said(outcome: Outcome | None) -> tuple[str, dict[str, Any] | None, Mapping[str, Any] | None] | None:
    match outcome:
        case Sent(called=False) | None | Wait():
            return None
        case Sent(fields=fields, their_id=their_id):
            return WriteOutcome.SENT, {"success": True, "id": their_id or None}, fields
        case WouldSend(fields=fields):
            return WriteOutcome.WOULD_SEND, None, fields
        case ChannelError() as error:
            kind = WriteOutcome.LATER
            if isinstance(error, Permanent):
                kind = WriteOutcome.REFUSED
            elif isinstance(error, Unclear):
                kind = WriteOutcome.UNCLEAR
            answer = {"success": False, "errorCode": error.code, "message": error.message}
            return kind, {**answer, "fields": list(error.fields)}, None
        case _:
            return None


def _before(row: SyncRecord) -> dict[str, Any] | None:
    """What stood there as far as we know: our last confirmed write, or what we saw when we looked."""
    return row.fields_sent if row.confirmed else row.there


def _told_as(row: Any) -> str:
    elsewhere = {"slack": "Slack", "email": "E-mail"}
    return elsewhere.get(row.channel) or {"closed_won": "FeedItem"}.get(row.topic, "Task")
