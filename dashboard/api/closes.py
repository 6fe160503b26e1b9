"""Closes: every month that was closed, what was signed, what is known of it now, and where its evidence is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.urls import reverse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard.api import params
from dashboard.api.routes import amounts, moment, month_text, route
from dashboard.roles import Ability
from mrr import selectors as ledger


class SealShape(serializers.Serializer[Any]):
    number = serializers.IntegerField()
    sha256 = serializers.CharField()


class ClosedCurrencyShape(serializers.Serializer[Any]):
    currency = serializers.CharField()
    signed_minor = serializers.IntegerField(help_text="Closing MRR as closed.")
    signed_micros = serializers.IntegerField()
    now_minor = serializers.IntegerField(help_text="Closing MRR of the same month as known now.")
    now_micros = serializers.IntegerField()


class CloseShape(serializers.Serializer[Any]):
    month = serializers.CharField(help_text="YYYY-MM")
    number = serializers.IntegerField(help_text="Its place among all that was done with months.")
    in_force = serializers.BooleanField(help_text="False for a close that was taken back by a reopening.")
    closed_at = serializers.DateTimeField()
    closed_by = serializers.CharField()
    policy_version = serializers.IntegerField()
    entries = serializers.IntegerField(help_text="Booked in the month, reversals too.")
    entries_sha256 = serializers.CharField()
    sha256 = serializers.CharField(help_text="Of the close itself, which covers the step before.")
    seal = SealShape()
    currencies = ClosedCurrencyShape(many=True)
    evidence_url = serializers.URLField(allow_null=True, help_text="For a browser that is signed in and may export.")


class ClosesShape(serializers.Serializer[Any]):
    closed_through = serializers.CharField(allow_null=True, help_text="The last closed month, null when none is.")
    closes = CloseShape(many=True)


EXAMPLE = {
    "closed_through": "2026-02",
    "closes": [
        {
            "month": "2026-02",
            "number": 2,
            "in_force": True,
            "closed_at": "2026-03-03T09:12:44.120000Z",
            "closed_by": "fiona",
            "policy_version": 1,
            "entries": 1284,
            "entries_sha256": "9b3db660c683dce142a2b30784407b952b3e7427187e4ea6fa4fbc016f66a5a0",
            "sha256": "f52e012fa7c16345141db57103a10860ee539a4174248e681e05f70fbba342ed",
            "seal": {
                "number": 40211,
                "sha256": "3450c0ad33ed8acae095b99c13144bb2c655e63bd9183532030180704eaca6e7",
            },
            "currencies": [
                {"currency": "usd", **amounts(signed=(3079133, 3079133000000), now=(3720133, 3720133000000))}
            ],
            "evidence_url": "https://mrr.example.com/dashboard/close/2026-02/evidence.zip",
        }
    ],
}


@route(
    "GET",
    Ability.SEE_FIGURES,
    summary="Closed months: signed and as known now",
    shape=ClosesShape,
    example=EXAMPLE,
    parameters=[params.SOURCE],
    errors=[400],
)
def closes(request: Request) -> Response:
    """Every close, the newest first. A month that was reopened and closed again stands twice, once in force."""
    sources = params.source_pks(request)
    found = ledger.closed_months()
    months = sorted({close.month for close in found})
    both = ledger.both_bases(months[0], months[-1], today=params.today(), sources=sources) if months else {}
    through = next((close.month for close in found if not close.is_open_again), None)
    return Response(
        {
            "closed_through": month_text(through) if through else None,
            "closes": [_close(close, both.get(close.month, [])) for close in found],
        }
    )


def _close(close: ledger.ClosedMonth, both: Sequence[ledger.BothBases]) -> dict[str, Any]:
    month = month_text(close.month)
    evidence = f"{settings.BASE_URL}{reverse('dashboard:close_evidence', args=[month])}"
    return {
        "month": month,
        "number": close.number,
        "in_force": not close.is_open_again,
        "closed_at": moment(close.closed_at),
        "closed_by": close.closed_by,
        "policy_version": close.policy_version,
        "entries": close.entries,
        "entries_sha256": close.entries_digest,
        "sha256": close.digest,
        "seal": {"number": close.seal_number, "sha256": close.seal_digest},
        "currencies": [_currency(one) for one in both] if not close.is_open_again else [],
        "evidence_url": None if close.is_open_again else evidence,
    }


def _currency(one: ledger.BothBases) -> dict[str, Any]:
    signed, now = one.closed, one.restated
    return {
        "currency": one.currency,
        **amounts(
            signed=(signed.closing_minor, signed.closing_micros),
            now=(now.closing_minor, now.closing_micros),
        ),
    }
