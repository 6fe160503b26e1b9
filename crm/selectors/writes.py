"""The log of writes and decisions, messages on their way, and how fast work leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, F, Q, QuerySet
from django.db.models.functions import TruncHour

from crm.channels.salesforce.errors import Explanation, explain
from crm.differences import agree
from crm.models import Account, LoggedWrite, Message, WriteOutcome
from crm.selectors.sync import TROUBLED, FieldChange, fitting

HOURS = 24


@dataclass(frozen=True, slots=True)
class WriteRow:
    """One line of the log: what was asked and what came back, or what a person decided."""

    pk: int
    at: datetime
    outcome: str
    sobject: str
    key: str
    record_pk: int | None
    message_pk: int | None
    customer_pk: int | None
    customer_id: str
    customer_name: str
    method: str
    path: str
    before: Mapping[str, Any] | None
    request: Mapping[str, Any]
    response: Mapping[str, Any]
    error_code: str
    by: str
    account_name: str = ""
    explanation: Explanation | None = None

    @property
    def their_id(self) -> str:
        return str(self.response.get("id") or "")

    @property
    def changes(self) -> list[FieldChange]:
        """Return the fields that were written, the changed ones first; before is empty where it is not known."""
        before = self.before or {}
        found = [
            FieldChange(name, before.get(name), value, not agree(value, before.get(name)))
            for name, value in self.request.items()
        ]
        return sorted(found, key=lambda change: not change.is_changed)


@dataclass(frozen=True, slots=True)
class WritePage:
    """Lines of the log, the newest first, and the key after which it goes on, None at the end."""

    rows: tuple[WriteRow, ...]
    following: int | None


def logged_writes(
    *,
    limit: int,
    before_pk: int | None = None,
    outcome: str = "",
    sobject: str = "",
    search: str = "",
    searches_people: bool = True,
) -> WritePage:
    """Return the log, the newest first. Two queries, up to four more for a search."""
    rows = LoggedWrite.objects.all()
    if outcome:
        rows = rows.filter(outcome=outcome)
    if sobject:
        rows = rows.filter(sobject=sobject)
    if search:
        records = fitting(search.strip(), searches_people=searches_people).values("pk")
        rows = rows.filter(Q(record_id__in=records) | Q(key=search.strip()))
    if before_pk is not None:
        rows = rows.filter(pk__lt=before_pk)
    named = rows.annotate(customer_stripe_id=F("customer__stripe_id"), customer_name=F("customer__name"))
    found: list[Any] = list(named.order_by("-pk")[: limit + 1])
    shown = found[:limit]
    ids = [row.key for row in shown if row.sobject == "Account"]
    names = dict(Account.objects.filter(salesforce_id__in=ids).values_list("salesforce_id", "name")) if ids else {}
    return WritePage(tuple(_row(row, names) for row in shown), shown[-1].pk if len(found) > limit else None)


def _row(row: Any, names: Mapping[str, str]) -> WriteRow:
    response = row.response or {}
    said = str(response.get("message") or "")
    fields = tuple(str(name) for name in response.get("fields") or ())
    return WriteRow(
        row.pk,
        row.at,
        row.outcome,
        row.sobject,
        row.key,
        row.record_id,
        row.message_id,
        row.customer_id,
        row.customer_stripe_id or "",
        row.customer_name or "",
        row.method,
        row.path,
        row.before,
        row.request or {},
        response,
        row.error_code,
        row.by,
        names.get(row.key, "") if row.sobject == "Account" else "",
        explain(row.error_code, said, sobject=row.sobject, fields=fields) if said else None,
    )


@dataclass(frozen=True, slots=True)
class Throughput:
    """Records and messages that Salesforce took, hour by hour, the running hour last."""

    hours: tuple[int, ...]
    refused: int

    @property
    def last_hour(self) -> int:
        return sum(self.hours[-1:])

    @property
    def total(self) -> int:
        return sum(self.hours)


def throughput(*, now: datetime) -> Throughput:
    """Return what left within a day. One query."""
    running = now.replace(minute=0, second=0, microsecond=0)
    first = running - timedelta(hours=HOURS - 1)
    rows = LoggedWrite.objects.filter(at__gte=first, outcome__in=(WriteOutcome.SENT, WriteOutcome.REFUSED))
    counted = rows.annotate(hour=TruncHour("at")).values_list("hour", "outcome").annotate(count=Count("pk")).order_by()
    sent: dict[datetime, int] = {}
    refused = 0
    for hour, outcome, count in counted:
        if outcome == WriteOutcome.SENT:
            sent[hour] = count
        else:
            refused += count
    return Throughput(tuple(sent.get(first + timedelta(hours=at), 0) for at in range(HOURS)), refused)


# ---- messages ----


@dataclass(frozen=True, slots=True)
class MessageRow:
    """One thing to tell somebody: where it goes, and how it stands. `ref` names it among records: below zero."""

    pk: int
    channel: str
    topic: str
    dedupe_key: str
    customer_pk: int | None
    customer_id: str
    customer_name: str
    state: str
    attempts: int
    due_at: datetime
    sent_at: datetime | None
    created_at: datetime
    error_code: str
    error: str
    body: Mapping[str, Any]
    their_id: str
    explanation: Explanation | None

    @property
    def ref(self) -> int:
        return -self.pk


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Messages, the newest first, and the key after which the list goes on, None at the end."""

    rows: tuple[MessageRow, ...]
    following: int | None


def message_rows(
    *, limit: int, before_pk: int | None = None, state: str = "", search: str = "", searches_people: bool = True
) -> MessagePage:
    """Return messages, the newest first. One query; a search finds customers by id, and by name if it may."""
    rows: QuerySet[Any] = Message.objects.all()
    if state:
        rows = rows.filter(state=state)
    if search:
        fits = Q(customer__stripe_id=search.strip()) | Q(dedupe_key__startswith=search.strip())
        rows = rows.filter(fits | Q(customer__name__icontains=search.strip()) if searches_people else fits)
    if before_pk is not None:
        rows = rows.filter(pk__lt=before_pk)
    named = rows.annotate(customer_stripe_id=F("customer__stripe_id"), customer_name=F("customer__name"))
    found = list(named.order_by("-pk")[: limit + 1])
    following = found[limit - 1].pk if len(found) > limit else None
    return MessagePage(tuple(_message(row) for row in found[:limit]), following)


def _message(row: Any) -> MessageRow:
    is_troubled = row.error_code and row.state in TROUBLED and row.channel == "salesforce"
    return MessageRow(
        row.pk,
        row.channel,
        row.topic,
        row.dedupe_key,
        row.customer_id,
        row.customer_stripe_id or "",
        row.customer_name or "",
        row.state,
        row.attempts,
        row.due_at,
        row.sent_at,
        row.created_at,
        row.error_code,
        row.error,
        row.body or {},
        row.their_id,
        explain(row.error_code, row.error, sobject="Task", fields=tuple(row.error_fields)) if is_troubled else None,
    )
