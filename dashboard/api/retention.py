"""Retention over one, three or twelve months, and whom the last period lost."""

from __future__ import annotations

from datetime import date
from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing import selectors as billing
from dashboard import losses
from dashboard.api import params
from dashboard.api.errors import bad_parameter
from dashboard.api.permissions import sees_people
from dashboard.api.routes import amounts, month_text, ratio, route
from dashboard.losses import By
from dashboard.periods import months_between, plus_months
from dashboard.roles import Ability
from mrr import metrics
from mrr import selectors as ledger

LONGEST_MONTHS = 600
PARTS = ("start", "expansion", "contraction", "churn", "end")
RATIOS = ("nrr", "grr", "logo_churn", "revenue_churn", "churn_alone")


class PeriodShape(serializers.Serializer[Any]):
    first_month = serializers.CharField(help_text="YYYY-MM; the start is when it begins.")
    last_month = serializers.CharField(help_text="YYYY-MM; the end is when it ends.")
    running = serializers.BooleanField(help_text="The last month has not ended: the end is now.")
    complete = serializers.BooleanField(help_text="False where a currency lacks an exchange rate.")
    customers = serializers.IntegerField(help_text="Who paid at the start.")
    churned = serializers.IntegerField(help_text="Who of them pays nothing at the end.")
    start_minor = serializers.IntegerField()
    start_micros = serializers.IntegerField()
    expansion_minor = serializers.IntegerField()
    expansion_micros = serializers.IntegerField()
    contraction_minor = serializers.IntegerField()
    contraction_micros = serializers.IntegerField()
    churn_minor = serializers.IntegerField()
    churn_micros = serializers.IntegerField()
    end_minor = serializers.IntegerField()
    end_micros = serializers.IntegerField()
    left_out_micros = serializers.IntegerField(
        help_text="Taken over after the first month: what it was at the start is not known."
    )
    nrr = ratio()
    grr = ratio()
    logo_churn = ratio()
    revenue_churn = ratio()
    churn_alone = ratio()


class GroupShape(serializers.Serializer[Any]):
    key = serializers.CharField()
    name = serializers.CharField()
    customers = serializers.IntegerField()
    churn_minor = serializers.IntegerField()
    churn_micros = serializers.IntegerField()
    share = ratio()


class RetentionShape(serializers.Serializer[Any]):
    currency = serializers.CharField()
    months = serializers.ChoiceField(list(ledger.SPANS))
    by = serializers.ChoiceField(list(By))
    periods = PeriodShape(many=True)
    churn = GroupShape(many=True, help_text="The groups of the last period; they come to its churn.")


EXAMPLE = {
    "currency": "usd",
    "months": 12,
    "by": "reason",
    "periods": [
        {
            "first_month": "2025-04",
            "last_month": "2026-03",
            "running": False,
            "complete": True,
            "customers": 3,
            "churned": 1,
            **amounts(
                start=(60000, 60000000000),
                expansion=(5000, 5000000000),
                contraction=(-10000, -10000000000),
                churn=(-30000, -30000000000),
                end=(25000, 25000000000),
            ),
            "left_out_micros": 0,
            "nrr": "0.416667",
            "grr": "0.333333",
            "logo_churn": "0.333333",
            "revenue_churn": "0.666667",
            "churn_alone": "0.500000",
        }
    ],
    "churn": [
        {
            "key": "canceled",
            "name": "Canceled",
            "customers": 1,
            **amounts(churn=(-30000, -30000000000)),
            "share": "1.000000",
        }
    ],
}


@route(
    "GET",
    Ability.SEE_FIGURES,
    summary="Retention over one, three or twelve months",
    shape=RetentionShape,
    example=EXAMPLE,
    parameters=[
        OpenApiParameter("months", int, enum=list(ledger.SPANS), description="Length of a period; 12 unless given."),
        OpenApiParameter("from", str, description="First month that a period ends with, YYYY-MM; `to` unless given."),
        OpenApiParameter("to", str, description="Last month that a period ends with; the last full one unless given."),
        OpenApiParameter("by", str, enum=list(By), description="What the churn of the last period is told apart by."),
        params.CURRENCY,
        params.SOURCE,
    ],
    errors=[400],
)
def retention(request: Request) -> Response:
    """What the customers of a period's start pay at its end, from balances; losses are negative.

    Of all currencies, figures are in constant currency and a customer of several is one customer. Ratios are null
    where nobody paid at the start.
    """
    span, last = _span(request), _last(request)
    first = params.month(request, "from") or last
    if first > last:
        raise bad_parameter("from", "The first month must not come after the last.")
    if months_between(first, last) >= LONGEST_MONTHS:
        raise bad_parameter("from", f"A series has at most {LONGEST_MONTHS} months.")
    by, currency, named = (
        params.choice(request, "by", By, default=By.REASON),
        params.currency(request),
        params.source_pks(request),
    )
    sources = billing.live_source_pks() if named is None else named
    found = ledger.retention(span, first, last, today=params.today(), currency=currency, sources=sources)
    rows = ledger.lost(span, last, currency=currency, sources=sources)
    grouped = losses.grouped(
        rows,
        by,
        churn_minor=found.periods[-1].minor["churn"],
        sources=sources,
        sees_people=sees_people(request),
    )
    return Response(
        {
            "currency": found.currency,
            "months": span,
            "by": by.value,
            "periods": [_period(period) for period in found.periods],
            "churn": [_group(group) for group in grouped.groups],
        }
    )


def _span(request: Request) -> int:
    asked = params.text(request, "months") or "12"
    if asked not in map(str, ledger.SPANS):
        raise bad_parameter("months", f"Known are: {', '.join(map(str, ledger.SPANS))}.")
    return int(asked)


def _last(request: Request) -> date:
    running = params.today().replace(day=1)
    last = params.month(request, "to") or plus_months(running, -1)
    if last > running:
        raise bad_parameter("to", "The period must not lie in the future.")
    return last


def _period(period: ledger.KeptPeriod) -> dict[str, Any]:
    kept, minor = period.kept, period.minor
    return {
        "first_month": month_text(period.first),
        "last_month": month_text(period.month),
        "running": period.is_running,
        "complete": not period.held,
        "customers": kept.customers,
        "churned": kept.churned,
        **amounts(**{name: (minor[name], getattr(kept, name)) for name in PARTS}),
        "left_out_micros": period.left_out_micros,
        **{name: metrics.decimal_text(getattr(kept, name)) for name in RATIOS},
    }


def _group(group: losses.Group) -> dict[str, Any]:
    return {
        "key": group.key,
        "name": group.label,
        "customers": group.customers,
        **amounts(churn=(group.minor, group.micros)),
        "share": metrics.decimal_text(group.share),
    }
