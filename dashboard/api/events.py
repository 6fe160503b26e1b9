"""One Stripe event as it was received: its state, what became of it, and another try."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing import inbox
from billing import selectors as billing
from dashboard.api import lookup, params
from dashboard.api.errors import not_found
from dashboard.api.movements import EXAMPLE as MOVEMENT_EXAMPLE
from dashboard.api.movements import MovementShape, movements_as_json
from dashboard.api.permissions import sees_people
from dashboard.api.routes import moment, route
from dashboard.roles import Ability
from mrr import selectors as ledger


class EventShape(serializers.Serializer[Any]):
    id = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment]
    type = serializers.CharField()
    customer = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField(allow_null=True)
    received_at = serializers.DateTimeField()
    processed_at = serializers.DateTimeField(allow_null=True)
    origin = serializers.CharField()
    api_version = serializers.CharField()
    livemode = serializers.BooleanField()
    state = serializers.ChoiceField(["waiting", "processed", "ignored", "parked"])
    reason = serializers.CharField(help_text="Code: why it is parked or ignored.")
    error = serializers.CharField()
    attempts = serializers.IntegerField()
    sha256 = serializers.CharField(help_text="Of the body as received.")
    body = serializers.JSONField(
        allow_null=True,
        help_text="The raw event, as text where it is no readable JSON; null for who may only see figures.",
    )
    entries = MovementShape(many=True, help_text="Entries it had a part in, reversed ones too.")


EXAMPLE = {
    "id": "evt_1QxYz",
    "source": "main",
    "type": "customer.subscription.updated",
    "customer": "cus_Ng4x",
    "created_at": "2026-03-12T09:14:05Z",
    "received_at": "2026-03-12T09:14:05.871000Z",
    "processed_at": "2026-03-12T09:14:06.120000Z",
    "origin": "webhook",
    "api_version": "2026-02-25.clover",
    "livemode": True,
    "state": "processed",
    "reason": "",
    "error": "",
    "attempts": 1,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "body": {"id": "evt_1QxYz", "object": "event", "type": "customer.subscription.updated"},
    "entries": [MOVEMENT_EXAMPLE],
}


@route(
    "GET",
    Ability.SEE_FIGURES,
    summary="One event",
    shape=EventShape,
    example=EXAMPLE,
    parameters=[params.SOURCE],
    errors=[400, 404, 409],
)
def event(request: Request, event_id: str) -> Response:
    """The event as received, its state and attempts, and the entries it had a part in."""
    found = lookup.event(event_id, params.source_pks(request))
    row = found.row
    return Response(
        {
            "id": row.stripe_id,
            "source": row.source_slug,
            "type": row.type,
            "customer": row.customer_id or None,
            "created_at": moment(row.created_at),
            "received_at": moment(row.received_at),
            "processed_at": moment(row.processed_at),
            "origin": row.origin,
            "api_version": row.api_version,
            "livemode": row.livemode,
            "state": row.state,
            "reason": row.reason,
            "error": row.error,
            "attempts": row.attempts,
            "sha256": found.sha256,
            "body": _body(found) if sees_people(request) else None,
            "entries": _entries(row),
        }
    )


class ProcessShape(serializers.Serializer[Any]):
    id = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment]
    state = serializers.ChoiceField(["waiting"])


@route(
    "POST",
    Ability.RETRY,
    summary="Process an event again",
    shape=ProcessShape,
    example={"id": "evt_1QxYz", "source": "main", "state": "waiting"},
    parameters=[params.SOURCE],
    errors=[400, 404, 409],
    status=202,
)
def event_process(request: Request, event_id: str) -> Response:
    """The event waits again, with all its attempts. Nothing is counted twice: the same facts give the same entries."""
    row = lookup.event(event_id, params.source_pks(request)).row
    if not inbox.reprocess(row.pk, now=timezone.now()):
        raise not_found("There is no event with this id.")
    return Response({"id": row.stripe_id, "source": row.source_slug, "state": "waiting"}, status=202)


def _body(found: billing.EventDetail) -> Any:
    return found.text if found.body is None else found.body


def _entries(row: billing.EventRow) -> list[dict[str, Any]]:
    if not row.customer_id:
        return []
    customers = billing.customers_by_stripe_id(row.customer_id, source_pks=[row.source_pk])
    return movements_as_json(ledger.movements_of_event(row.stripe_id, customers[0].pk)) if customers else []
