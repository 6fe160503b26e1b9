"""Summaries of a week or a month: the rules that people set, which one is due, and its messages, each owed once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from auditlog.models import LogEntry
from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import Q

from billing import selectors as billing
from crm import statements
from crm.messages import TOO_OLD
from crm.models import Message, Priority, WorkState
from crm.summary_models import SummaryKind, SummaryRule
from crm.summary_periods import Period, last_month, last_week

TOPIC = "summary"
EMAIL, SLACK = "email", "slack"
DAYS = {SummaryKind.WEEKLY: 0, SummaryKind.MONTHLY: 2}  # where nobody chose: Monday; the second of the month
HOUR = 8
SET = ("is_on", "day", "hour", "addresses", "channel", "names_customers")


@dataclass(frozen=True, slots=True)
class Due:
    """A period whose summary is to be told now, by which rule."""

    rule: SummaryRule
    period: Period


@dataclass(frozen=True, slots=True)
class Change:
    """One setting of a summary that was changed: when, by whom, of which, and its value before and after."""

    at: datetime
    by: str
    kind: str
    field: str
    before: str
    after: str


def rules() -> dict[str, SummaryRule]:
    """Return the rule of each kind, its defaults where nobody has set it yet. One query."""
    kept = {row.kind: row for row in SummaryRule.objects.all()}
    return {kind: kept.get(kind) or SummaryRule(kind=kind, day=DAYS[kind], hour=HOUR) for kind in SummaryKind}


def set_rule(kind: str, wanted: Mapping[str, Any], *, by: str, now: datetime) -> list[str]:
    """Set when and to whom a summary is told; returns the names of what changed, which is kept with who changed it.

    Switched on, it begins with the next that falls due.
    """
    with transaction.atomic():
        default = {"day": DAYS[SummaryKind(kind)], "hour": HOUR}
        SummaryRule.objects.get_or_create(kind=kind, defaults=default)
        rule = SummaryRule.objects.select_for_update().get(kind=kind)
        changes = {
            name: [str(getattr(rule, name)), str(wanted[name])]
            for name in SET
            if name in wanted and getattr(rule, name) != wanted[name]
        }
        if not changes:
            return []
        if wanted.get("is_on") and not rule.is_on:
            rule.on_since = now
        for name in changes:
            setattr(rule, name, wanted[name])
        rule.save(update_fields=[*changes, "on_since"])
        LogEntry.objects.log_create(
            rule,
            changes=changes,
            action=LogEntry.Action.UPDATE,
            object_repr=f"{kind.capitalize()} summary",
            serialized_data=None,
            additional_data={"by": by},
        )
    return sorted(changes)


def last_changes(*, limit: int) -> list[Change]:
    """Return what was changed last, the newest first. One query."""
    kind = ContentType.objects.get_for_model(SummaryRule)
    rows = LogEntry.objects.filter(content_type=kind).order_by("-timestamp", "-pk")[:limit]
    return [
        Change(row.timestamp, str((row.additional_data or {}).get("by", "")), row.object_repr, name, *pair)
        for row in rows
        for name, pair in sorted((row.changes_dict or {}).items())
    ]


def period_of(rule: SummaryRule, *, now: datetime, zone: tzinfo, week_starts: int = 0) -> Period:
    """Return the newest period whose summary has fallen due, whether it is told or not."""
    if rule.kind == SummaryKind.WEEKLY:
        return last_week(now, zone, day=rule.day, hour=rule.hour, starts=week_starts)
    return last_month(now, zone, day=rule.day, hour=rule.hour)


def due(*, now: datetime, zone: tzinfo, week_starts: int = 0) -> list[Due]:
    """Return what is to be told now. One query where nothing is.

    Nothing of the past is told: not what fell due before it was switched on or more than 72 hours ago, nor a period
    that ended before Stripe's first live delivery. While a source's history is being read, it waits.
    """
    found = []
    for rule in SummaryRule.objects.filter(is_on=True).exclude(addresses="", channel="").order_by("kind"):
        if not receivers(rule):
            continue  # a channel without a token: the page says so
        period = period_of(rule, now=now, zone=zone, week_starts=week_starts)
        is_new = rule.told_through is None or rule.told_through < period.last
        if is_new and rule.on_since is not None and rule.on_since <= period.due_at and now - period.due_at <= TOO_OLD:
            found.append(Due(rule, period))
    if not found or billing.is_reading_history():
        return []
    began = billing.first_delivery_at()
    return [] if began is None else [one for one in found if one.period.last >= began.astimezone(zone).date()]


def tell(one: Due, body: Mapping[str, Any], *, now: datetime) -> int:
    """Owe a period's summary to each of its receivers; returns how many, 0 where another worker was first.

    The period is marked in the transaction that owes its messages, and each message has a key of its own as well.
    """
    with transaction.atomic():
        last = one.period.last
        untold = SummaryRule.objects.filter(Q(told_through__isnull=True) | Q(told_through__lt=last), pk=one.rule.pk)
        if not untold.update(told_through=last):
            return 0
        rows = [
            _message(channel, to, body, key=f"{one.rule.kind}:{last:%Y%m%d}", now=now)
            for channel, to in receivers(one.rule)
        ]
        statements.insert_new(rows)
    return len(rows)


def try_out(body: Mapping[str, Any], *, channel: str, to: str, now: datetime) -> None:
    """Owe a trial of a summary to one receiver: it is no period's, so that it may be tried as often as one likes."""
    marked = {**body, "title": f"Trial: {body['title']}"}
    statements.insert_new([_message(channel, to, marked, key=f"trial:{now:%Y%m%dT%H%M%S%f}", now=now)])


def receivers(rule: SummaryRule) -> list[tuple[str, str]]:
    """Return who is told: the channel of each, and its address or the name of Slack's channel; nobody twice."""
    addresses = dict.fromkeys(one.strip().lower() for one in rule.addresses.split(",") if one.strip())
    found = [(EMAIL, address) for address in addresses]
    if rule.channel and settings.SLACK_BOT_TOKEN:
        found.append((SLACK, rule.channel))
    return found


def told_lately(*, limit: int) -> list[tuple[str, str, str, str, datetime]]:
    """Return the newest summaries as (title, channel, receiver, state, when). One query."""
    rows = Message.objects.filter(topic=TOPIC).order_by("-pk")[:limit]
    return [
        (
            str(row.body.get("title", "")),
            row.channel,
            str(row.body.get("to", "")),
            row.state if row.state != WorkState.PARKED else row.error_code,
            row.sent_at or row.created_at,
        )
        for row in rows
    ]


def _message(channel: str, to: str, body: Mapping[str, Any], *, key: str, now: datetime) -> Message:
    """Return the message of a receiver; its key holds the receiver's hash, for a key names nobody."""
    receiver = hashlib.sha256(f"{channel}:{to}".encode()).hexdigest()[:16]
    return Message(
        channel=channel,
        topic=TOPIC,
        dedupe_key=f"{TOPIC}:{channel}:{key}:{receiver}",
        priority=Priority.REFRESH,
        due_at=now,
        created_at=now,
        body={**body, "to": to},
    )
