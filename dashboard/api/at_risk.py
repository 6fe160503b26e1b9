"""Who is at risk, and why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from crm import selectors as crm
from crm.selectors import RiskPart, RiskPlace, RiskRow
from dashboard.api import paging, params
from dashboard.api.routes import amounts, moment, page_of, route
from dashboard.roles import Ability


class PartShape(serializers.Serializer[Any]):
    signal = serializers.CharField()
    points = serializers.IntegerField()
    evidence = serializers.CharField()
    at = serializers.DateTimeField(allow_null=True)


class RiskRowShape(serializers.Serializer[Any]):
    source = serializers.CharField()  # type: ignore[assignment]
    customer = serializers.CharField()
    account_id = serializers.CharField(allow_null=True)
    mrr_minor = serializers.IntegerField()
    mrr_micros = serializers.IntegerField()
    currency = serializers.CharField()
    score = serializers.IntegerField(help_text="Sum of the parts, at most 100.")
    severity = serializers.ChoiceField(["low", "medium", "high"])
    parts = PartShape(many=True)


EXAMPLE = {
    "source": "main",
    "customer": "cus_Jd82",
    "account_id": "0015g00000AbCdeAAF",
    **amounts(mrr=(186000, 186000000000)),
    "currency": "usd",
    "score": 45,
    "severity": "medium",
    "parts": [
        {
            "signal": "failed_payment",
            "points": 30,
            "evidence": "Invoice F-0042, USD 1,860.00: 2 attempts, last 12 Mar 2026",
            "at": "2026-03-12T06:00:00Z",
        },
        {
            "signal": "past_due",
            "points": 15,
            "evidence": "Past due since 12 Mar 2026, 3 days",
            "at": "2026-03-12T06:00:00Z",
        },
    ],
}


@route(
    "GET",
    Ability.SEE_FIGURES,
    summary="Customers at risk, the highest score first",
    shape=page_of(RiskRowShape),
    example={"next": None, "previous": None, "results": [EXAMPLE]},
    parameters=[params.SOURCE, *paging.PARAMETERS],
    errors=[400],
)
def at_risk(request: Request) -> Response:
    """Paying customers with at least one signal. `mrr` is the largest balance, in its currency."""
    size, asked = paging.limit(request), paging.cursor(request, kinds=(int, int))
    place = RiskPlace(*asked[1]) if asked else None
    goes_back = asked is not None and asked[0] == "previous"
    page = crm.at_risk_rows(
        limit=size,
        after=None if goes_back else place,
        before=place if goes_back else None,
        sources=params.source_pks(request),
    )
    return Response(
        paging.page(
            request,
            [_as_json(row) for row in page.rows],
            following=_place(page.following),
            preceding=_place(page.preceding),
        )
    )


def parts_as_json(parts: Iterable[RiskPart]) -> list[dict[str, Any]]:
    """Return the parts of a score as the API writes them."""
    return [
        {"signal": part.signal, "points": part.points, "evidence": part.evidence, "at": moment(part.at)}
        for part in parts
    ]


def _as_json(row: RiskRow) -> dict[str, Any]:
    return {
        "source": row.source,
        "customer": row.customer_id,
        "account_id": row.account_id or None,
        **amounts(mrr=(row.mrr_minor, row.mrr_micros)),
        "currency": row.currency,
        "score": row.score,
        "severity": row.severity,
        "parts": parts_as_json(row.parts),
    }


def _place(place: RiskPlace | None) -> tuple[int, int] | None:
    return None if place is None else (place.score, place.customer_pk)
