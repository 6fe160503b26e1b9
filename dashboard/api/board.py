"""The board pack of a month: every figure exactly, and the hash that paper, page and workbook share."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import BadRequest
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard import periods
from dashboard.api import params
from dashboard.api.errors import bad_parameter
from dashboard.api.mrr import GapShape
from dashboard.api.routes import month_text, route
from dashboard.pages import board_figures, shared
from dashboard.roles import Ability


class BoardFigureShape(serializers.Serializer[Any]):
    part = serializers.CharField(help_text="The table it stands in.")
    row = serializers.CharField(allow_blank=True, help_text="Its month, cohort, movement or reason.")
    figure = serializers.CharField()
    unit = serializers.CharField(allow_blank=True, help_text="Such as `micros usd`, `ratio` or `count`.")
    value = serializers.CharField(help_text="Exact; `n/a` where it is not known.")


class BoardShape(serializers.Serializer[Any]):
    month = serializers.CharField(help_text="YYYY-MM")
    currency = serializers.CharField()
    time_zone = serializers.CharField()
    policy_version = serializers.IntegerField()
    running = serializers.BooleanField(help_text="The month has not ended: its figures will move.")
    closed = serializers.BooleanField(help_text="The month is signed; `closes` says by whom.")
    complete = serializers.BooleanField()
    incomplete = GapShape(many=True)
    sha256 = serializers.CharField(help_text="Of `figures`: cells joined by tabs, each row ended by a newline, UTF-8.")
    figures = BoardFigureShape(many=True)


EXAMPLE = {
    "month": "2026-03",
    "currency": "usd",
    "time_zone": "UTC",
    "policy_version": 1,
    "running": False,
    "closed": True,
    "complete": True,
    "incomplete": [],
    "sha256": "f52e012fa7c16345141db57103a10860ee539a4174248e681e05f70fbba342ed",
    "figures": [
        {"part": "key", "row": "", "figure": "MRR", "unit": "micros usd", "value": "80282121333333"},
        {"part": "month", "row": "2026-03", "figure": "churn", "unit": "micros usd", "value": "-97000000000"},
    ],
}


@route(
    "GET",
    Ability.SEE_FIGURES,
    summary="The board pack of a month, exactly",
    shape=BoardShape,
    example=EXAMPLE,
    parameters=[
        OpenApiParameter("month", str, description="YYYY-MM; the last month that has ended unless given."),
        OpenApiParameter("months", int, description="How many months it shows, 12 or 24.", enum=[12, 24]),
        params.CURRENCY,
        params.SOURCE,
    ],
    errors=[400],
)
def board(request: Request) -> Response:
    """Every figure of the pack that `/dashboard/board/` prints. Without `currency` all currencies, converted."""
    params.source(request), params.currency(request)  # refused by name where there is no such one
    now = timezone.now()
    today = shared.today(now)
    month = params.month(request, "month") or periods.plus_months(today, -1)
    if month > periods.month_of(today):
        raise bad_parameter("month", "This month has not come yet.")
    length = params.text(request, "months") or "12"
    if length not in ("12", "24"):
        raise bad_parameter("months", "Known are: 12, 24.")
    plain = request._request
    try:
        scope = shared.read_scope(plain, consolidates=True)
    except BadRequest as error:
        raise bad_parameter("currency", str(error)) from None
    pack = board_figures.gather(month, int(length), scope, today=today, sees_people=False)
    policy = shared.policy_version(plain)
    lines = board_figures.exact_lines(pack, scope, zone=settings.REPORTING_TIME_ZONE, policy_version=policy)
    gaps = [{"code": gap.code, "count": gap.count} for gap in shared.gaps(plain, scope, now=now)]
    gaps += [{"code": "rate_missing", "count": len(pack.held)}] if pack.held else []
    return Response(
        {
            "month": month_text(month),
            "currency": scope.currency,
            "time_zone": settings.REPORTING_TIME_ZONE,
            "policy_version": policy,
            "running": pack.is_running,
            "closed": pack.signed is not None,
            "complete": not gaps,
            "incomplete": gaps,
            "sha256": board_figures.digest(lines),
            "figures": [dict(zip(("part", "row", "figure", "unit", "value"), line, strict=True)) for line in lines],
        }
    )
