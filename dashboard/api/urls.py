"""The addresses of the API, below /api/."""

from __future__ import annotations

from django.urls import include, path, re_path
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import api_view, authentication_classes, permission_classes
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard.api import (
    at_risk,
    board,
    closes,
    cohorts,
    customers,
    errors,
    events,
    matches,
    movements,
    mrr,
    retention,
    schema,
    sync,
)


@extend_schema(exclude=True)
@api_view(["GET", "POST", "PUT", "PATCH", "DELETE"])
@authentication_classes([])
@permission_classes([AllowAny])
def unknown(request: Request, path: str) -> Response:
    """Answer in the API's own words what no other address knows."""
    raise errors.not_found("There is nothing at this address. See /api/docs/.")


v1 = [
    path("mrr", mrr.mrr),
    path("mrr/series", mrr.mrr_series),
    path("movements", movements.movements),
    path("movements/<str:key>/explain", movements.movement_explain),
    path("customers/<str:customer_id>", customers.customer),
    path("cohorts", cohorts.cohorts),
    path("retention", retention.retention),
    path("unmatched", matches.unmatched),
    path("matches", matches.match_create),
    path("matches/<int:match_id>", matches.match_delete),
    path("at-risk", at_risk.at_risk),
    path("events/<str:event_id>", events.event),
    path("events/<str:event_id>/process", events.event_process),
    path("sync", sync.sync),
    path("closes", closes.closes),
    path("board", board.board),
]

urlpatterns = [
    path("v1/", include(v1)),
    path("schema/", schema.schema, name="api-schema"),
    path("docs/", schema.documentation, name="api-docs"),
    re_path(r"^(?P<path>.*)$", unknown),
]
