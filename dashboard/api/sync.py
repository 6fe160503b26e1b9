"""How events come in and records go out: counts, the age of the oldest due work, calls used, refusals."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing import inbox
from billing import selectors as billing
from crm import selectors as crm
from dashboard.api import params
from dashboard.api.permissions import masked, sees_people
from dashboard.api.routes import moment, route
from dashboard.roles import Ability


class EventCountsShape(serializers.Serializer[Any]):
    waiting = serializers.IntegerField()
    processed = serializers.IntegerField()
    ignored = serializers.IntegerField()
    parked = serializers.IntegerField()


class OutboxShape(serializers.Serializer[Any]):
    waiting = serializers.IntegerField()
    held = serializers.IntegerField()
    sent = serializers.IntegerField()
    would_send = serializers.IntegerField()
    parked = serializers.IntegerField()


class BudgetShape(serializers.Serializer[Any]):
    mode = serializers.ChoiceField(["none", "shadow", "live"])
    calls_used = serializers.IntegerField(allow_null=True, help_text="Of the org's day, as Salesforce said last.")
    calls_limit = serializers.IntegerField(allow_null=True)
    paused_until = serializers.DateTimeField(allow_null=True)
    stopped_at = serializers.DateTimeField(allow_null=True, help_text="Set while only the reserve is left.")
    reserve = serializers.IntegerField(help_text="Of the org's calls, left to others.")
    writes = serializers.IntegerField(help_text="Our calls of this day that write.")
    write_allowance = serializers.IntegerField()
    forecast = serializers.IntegerField(help_text="What our writes of this day will come to.")
    reads = serializers.IntegerField()
    read_allowance = serializers.IntegerField()


class RefusalShape(serializers.Serializer[Any]):
    code = serializers.CharField()
    message = serializers.CharField(allow_null=True)
    count = serializers.IntegerField()
    why = serializers.CharField()
    fix = serializers.CharField()
    fields = serializers.ListField(child=serializers.CharField())  # type: ignore[assignment]


class SyncShape(serializers.Serializer[Any]):
    events = EventCountsShape()
    outbox = OutboxShape()
    oldest_due_seconds = serializers.IntegerField(help_text="Of all due work, in and out.")
    budget = BudgetShape()
    errors = RefusalShape(many=True)  # type: ignore[assignment]  # the contract names it as DRF names its own


EXAMPLE = {
    "events": {"waiting": 3, "processed": 18204, "ignored": 911, "parked": 0},
    "outbox": {"waiting": 2, "held": 14, "sent": 0, "would_send": 5120, "parked": 1},
    "oldest_due_seconds": 1,
    "budget": {
        "mode": "shadow",
        "calls_used": 412,
        "calls_limit": 15000,
        "paused_until": None,
        "stopped_at": None,
        "reserve": 1000,
        "writes": 0,
        "write_allowance": 3000,
        "forecast": 0,
        "reads": 84,
        "read_allowance": 500,
    },
    "errors": [
        {
            "code": "INVALID_FIELD_FOR_INSERT_UPDATE",
            "message": "Unable to create/update fields: In_Dispute__c.",
            "count": 1,
            "why": "The integration user may not write the field: it is read-only, a formula, or hidden.",
            "fix": "Give edit access to In_Dispute__c in the permission set.",
            "fields": ["In_Dispute__c"],
        }
    ],
}


@route(
    "GET",
    Ability.SEE_FIGURES,
    summary="Where events and records are",
    shape=SyncShape,
    example=EXAMPLE,
    parameters=[params.SOURCE],
    errors=[400],
)
def sync(request: Request) -> Response:
    """Nothing is silent: waiting, processed, ignored and parked events are all that were received."""
    now = timezone.now()
    sources = params.source_pks(request)
    events = billing.event_counts(billing.live_source_pks() if sources is None else sources)
    outbox = crm.outbox_counts(now=now)
    oldest = max(int(inbox.oldest_due_age(now=now).total_seconds()), outbox.oldest_due_seconds(now=now))
    is_shown = sees_people(request)
    return Response(
        {
            "events": {
                "waiting": events.waiting,
                "processed": events.processed,
                "ignored": events.ignored,
                "parked": events.parked,
            },
            "outbox": {
                "waiting": outbox.waiting,
                "held": outbox.held,
                "sent": outbox.sent,
                "would_send": outbox.would_send,
                "parked": outbox.parked,
            },
            "oldest_due_seconds": oldest,
            "budget": _budget(crm.connection(), crm.budget(now=now)),
            "errors": [
                {
                    "code": one.code,
                    "message": masked(one.text, is_shown=is_shown),
                    "count": one.count,
                    "why": one.explanation.why,
                    "fix": one.explanation.fix,
                    "fields": list(one.explanation.fields),
                }
                for one in crm.sync_errors()
            ],
        }
    )


def _budget(connection: crm.Connection | None, budget: crm.Budget | None) -> dict[str, Any]:
    return {
        "mode": connection.mode if connection else "none",
        "calls_used": connection.calls_used if connection else None,
        "calls_limit": connection.calls_limit if connection else None,
        "paused_until": moment(connection.paused_until) if connection else None,
        "stopped_at": moment(budget.stopped_at) if budget else None,
        "reserve": budget.reserve if budget else 0,
        "writes": budget.writes if budget else 0,
        "write_allowance": budget.write_allowance if budget else 0,
        "forecast": budget.forecast if budget else 0,
        "reads": budget.reads if budget else 0,
        "read_allowance": budget.read_allowance if budget else 0,
    }
