"""What a paid invoice owes Salesforce: a completed Task, and the Amount of an Opportunity where that is the rule."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any

from django.db.models import F

from billing import selectors as billing
from crm import messages, statements
from crm.models import (
    AmountFrom,
    Match,
    Message,
    PaymentTasks,
    Priority,
    RecordKind,
    SalesforceOrg,
    SourceRules,
    SyncRecord,
    WorkState,
)
from mrr import selectors as mrr

TOPIC = messages.PAYMENT
PAID = ("invoice.paid", "invoice.payment_succeeded")
CHANNEL = "salesforce"
UNMATCHED = "unmatched"

Name = tuple[int, str]  # source and Stripe's id


def owe(invoices: Collection[Name], *, now: datetime) -> int:
    """Owe what live deliveries of paid invoices ask for, once for each invoice; returns how many Tasks.

    Runs in the caller's transaction; nothing is read where nothing was paid or no org is connected. Which invoices
    make a Task is a rule of their source: the first of a subscription, every one, or none.
    """
    org = SalesforceOrg.objects.order_by("pk").first() if invoices else None
    if org is None:
        return 0
    paid = billing.paid_invoices(invoices)
    in_test = billing.in_test_mode({one.customer_pk for one in paid}) if paid else set()
    paid = [one for one in paid if one.customer_pk not in in_test]
    if not paid:
        return 0
    rules = {row.source_id: row for row in SourceRules.objects.all()}
    _want_amounts([one for one in paid if one.is_first and _amount_from(rules, one.source_pk)], now=now)
    told = [one for one in paid if _is_told(one, rules, org, now)]
    matched = set(
        Match.objects.filter(customer_id__in=[one.customer_pk for one in told], undone_at__isnull=True).values_list(
            "customer_id", flat=True
        )
    )
    statements.insert_new([_message(one, is_held=one.customer_pk not in matched, now=now) for one in told])
    return len(told)


def fields_of(rows: Sequence[Message]) -> dict[int, dict[str, Any] | None]:
    """Return the fields of each message's Task by its ref, None where the invoice is not there any more."""
    names = {row.ref: _named(row.dedupe_key) for row in rows}
    found = {(one.source_pk, one.stripe_id): one for one in billing.paid_invoices(set(names.values()))}
    keys = {one.subscription_id for one in found.values() if one.subscription_id}
    linked = SyncRecord.objects.filter(kind=RecordKind.OPPORTUNITY, key__in=keys, takes_back=False).exclude(
        salesforce_id=""
    )
    opportunities = dict(linked.values_list("key", "salesforce_id"))
    return {
        ref: _task(found[name], opportunities.get(found[name].subscription_id, "")) if name in found else None
        for ref, name in names.items()
    }


def _task(one: billing.PaidInvoice, opportunity_id: str) -> dict[str, Any]:
    zone = mrr.reporting_zone()
    lines = [(line.description, line.amount_minor, _days(line, zone)) for line in one.lines]
    paid_on = one.paid_at.astimezone(zone).date()
    said = messages.payment_task(one.name, one.paid_minor, one.currency, paid_on=paid_on, lines=lines)
    return {**said, "WhatId": opportunity_id} if opportunity_id else said


def _days(line: billing.PaidLine, zone: tzinfo) -> str:
    if line.starts_at is None or line.ends_at is None:
        return ""
    first, last = (at.astimezone(zone).date() for at in (line.starts_at, line.ends_at))
    return f"{first:%-d %b %Y} to {last:%-d %b %Y}"


def first_amounts(subscriptions: Mapping[str, int]) -> dict[str, tuple[str, int] | None]:
    """Return what the first invoice of each subscription paid, where that is its source's rule; None: not paid yet.

    `subscriptions` holds each one's source. One query while every source has the default.
    """
    rules = {row.source_id: row for row in SourceRules.objects.filter(amount_from=AmountFrom.FIRST_INVOICE)}
    keys = [key for key, source_pk in subscriptions.items() if source_pk in rules]
    paid = billing.first_payments(keys) if keys else {}
    return {key: paid.get(key) for key in keys}


def _amount_from(rules: Mapping[int, SourceRules], source_pk: int) -> bool:
    return source_pk in rules and rules[source_pk].amount_from == AmountFrom.FIRST_INVOICE


def _is_told(one: billing.PaidInvoice, rules: Mapping[int, SourceRules], org: SalesforceOrg, now: datetime) -> bool:
    """Nothing about the past is told: only what was paid lately, and since the connection is live."""
    rule = rules[one.source_pk].payment_tasks if one.source_pk in rules else PaymentTasks.FIRST_INVOICE
    if rule == PaymentTasks.NONE or (rule == PaymentTasks.FIRST_INVOICE and not one.is_first):
        return False
    if now - one.paid_at > messages.TOO_OLD:
        return False
    return org.live_since is None or one.paid_at >= org.live_since


def _want_amounts(paid: Sequence[billing.PaidInvoice], *, now: datetime) -> None:
    """Owe the Opportunities whose Amount the first invoice decides."""
    keys = [one.subscription_id for one in paid if one.subscription_id]
    if keys:
        rows = SyncRecord.objects.filter(kind=RecordKind.OPPORTUNITY, key__in=keys, state=WorkState.SENT)
        rows.update(state=WorkState.WAITING, wanted=F("wanted") + 1, due_at=now, attempts=0)


def _message(one: billing.PaidInvoice, *, is_held: bool, now: datetime) -> Message:
    return Message(
        channel=CHANNEL,
        topic=TOPIC,
        dedupe_key=f"{TOPIC}:{one.source_pk}:{one.stripe_id}"[:120],
        customer_id=one.customer_pk,
        priority=Priority.REFRESH,
        state=WorkState.HELD if is_held else WorkState.WAITING,
        error_code=UNMATCHED if is_held else "",
        due_at=now,
        created_at=now,
    )


def _named(dedupe_key: str) -> Name:
    _, source_pk, stripe_id = dedupe_key.split(":", 2)
    return int(source_pk), stripe_id
