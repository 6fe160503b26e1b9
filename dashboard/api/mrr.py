"""MRR on a day, and month by month."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard.api import params
from dashboard.api.errors import bad_parameter
from dashboard.api.routes import amounts, month_text, ratio, route
from dashboard.roles import Ability
from mrr import metrics
from mrr import selectors as ledger

LONGEST_MONTHS = 600


class GapShape(serializers.Serializer[Any]):
    code = serializers.ChoiceField(
        ["unpriced_items", "subscriptions_unknown", "events_waiting", "events_parked", "rate_missing"]
    )
    count = serializers.IntegerField()


class CurrencyShape(serializers.Serializer[Any]):
    currency = serializers.CharField()
    mrr_minor = serializers.IntegerField()
    mrr_micros = serializers.IntegerField()
    arr_minor = serializers.IntegerField()
    arr_micros = serializers.IntegerField()
    cmrr_minor = serializers.IntegerField(allow_null=True, help_text="Null for a past day.")
    cmrr_micros = serializers.IntegerField(allow_null=True)
    customers = serializers.IntegerField()


class ReportingShape(serializers.Serializer[Any]):
    currency = serializers.CharField()
    mrr_minor = serializers.IntegerField()
    mrr_micros = serializers.IntegerField()
    arr_minor = serializers.IntegerField()
    arr_micros = serializers.IntegerField()


class MrrShape(serializers.Serializer[Any]):
    at = serializers.DateField()
    time_zone = serializers.CharField()
    policy_version = serializers.IntegerField()
    complete = serializers.BooleanField()
    incomplete = GapShape(many=True)
    currencies = CurrencyShape(many=True)
    reporting = ReportingShape()


MRR_EXAMPLE = {
    "at": "2026-03-31",
    "time_zone": "UTC",
    "policy_version": 1,
    "complete": False,
    "incomplete": [{"code": "unpriced_items", "count": 2}],
    "currencies": [
        {
            "currency": "usd",
            "mrr_minor": 80282121,
            "mrr_micros": 80282121333333,
            "arr_minor": 963385456,
            "arr_micros": 963385455999996,
            "cmrr_minor": 80171121,
            "cmrr_micros": 80171121333333,
            "customers": 1286,
        }
    ],
    "reporting": {
        "currency": "usd",
        "mrr_minor": 80282121,
        "mrr_micros": 80282121333333,
        "arr_minor": 963385456,
        "arr_micros": 963385455999996,
    },
}


@route(
    "GET",
    Ability.SEE_FIGURES,
    summary="MRR at the end of a day",
    shape=MrrShape,
    example=MRR_EXAMPLE,
    parameters=[
        OpenApiParameter("at", str, description="YYYY-MM-DD in the reporting zone; today unless given."),
        params.SOURCE,
    ],
    errors=[400],
)
def mrr(request: Request) -> Response:
    """Balances at the end of a day, per currency, with what the totals lack. CMRR is only known for today.

    `reporting` is all of them in the reporting currency at the day's exchange rates. A currency without a rate of the
    seven days before is not in it, and counted under `rate_missing`.
    """
    today = params.today()
    day = params.day(request, "at") or today
    if day > today:
        raise bad_parameter("at", "This day has not come yet.")
    found = ledger.mrr_at(day, today=today, sources=params.source_pks(request))
    return Response(
        {
            "at": found.at.isoformat(),
            "time_zone": found.time_zone,
            "policy_version": found.policy_version,
            "complete": found.is_complete,
            "incomplete": [{"code": gap.code, "count": gap.count} for gap in found.gaps],
            "currencies": [
                {
                    **_both(one),
                    **amounts(cmrr=(one.cmrr_minor, one.cmrr_micros)),
                    "customers": one.customers,
                }
                for one in found.currencies
            ],
            "reporting": _both(found.reporting),
        }
    )


class CustomersShape(serializers.Serializer[Any]):
    opening = serializers.IntegerField()
    new = serializers.IntegerField()
    reactivated = serializers.IntegerField()
    churned = serializers.IntegerField()
    closing = serializers.IntegerField()


class MonthShape(serializers.Serializer[Any]):
    month = serializers.CharField(help_text="YYYY-MM")
    opening_minor = serializers.IntegerField()
    opening_micros = serializers.IntegerField()
    new_minor = serializers.IntegerField()
    new_micros = serializers.IntegerField()
    expansion_minor = serializers.IntegerField()
    expansion_micros = serializers.IntegerField()
    reactivation_minor = serializers.IntegerField()
    reactivation_micros = serializers.IntegerField()
    contraction_minor = serializers.IntegerField()
    contraction_micros = serializers.IntegerField()
    churn_minor = serializers.IntegerField()
    churn_micros = serializers.IntegerField()
    adjustment_minor = serializers.IntegerField()
    adjustment_micros = serializers.IntegerField()
    fx_minor = serializers.IntegerField()
    fx_micros = serializers.IntegerField()
    closing_minor = serializers.IntegerField()
    closing_micros = serializers.IntegerField()
    customers = CustomersShape()
    nrr = ratio()
    grr = ratio()
    logo_churn = ratio()
    quick_ratio = ratio()
    complete = serializers.BooleanField(help_text="False where a currency lacks an exchange rate.")


class SeriesShape(serializers.Serializer[Any]):
    currency = serializers.CharField()
    months = MonthShape(many=True)


PARTS = ("new", "expansion", "reactivation", "contraction", "churn", "adjustment", "fx")
SERIES_EXAMPLE = {
    "currency": "usd",
    "months": [
        {
            "month": "2026-03",
            **amounts(
                opening=(78302237, 78302237000000),
                new=(1864000, 1864000000000),
                expansion=(1238550, 1238550000000),
                reactivation=(114000, 114000000000),
                contraction=(-391225, -391225000000),
                churn=(-748000, -748000000000),
                adjustment=(0, 0),
                fx=(0, 0),
                closing=(80379562, 80379562000000),
            ),
            "customers": {"opening": 1252, "new": 46, "reactivated": 3, "churned": 15, "closing": 1286},
            "nrr": "1.001268",
            "grr": "0.985451",
            "logo_churn": "0.011981",
            "quick_ratio": "2.823455",
            "complete": True,
        }
    ],
}


@route(
    "GET",
    Ability.SEE_FIGURES,
    summary="Months: opening, movements, closing",
    shape=SeriesShape,
    example=SERIES_EXAMPLE,
    parameters=[
        OpenApiParameter("from", str, description="First month, YYYY-MM; eleven months before `to` unless given."),
        OpenApiParameter("to", str, description="Last month, YYYY-MM; the running month unless given."),
        params.CURRENCY,
        OpenApiParameter(
            "view",
            str,
            enum=list(ledger.View),
            description="Single movements, or balances at both ends of a month.",
        ),
        OpenApiParameter(
            "basis", str, enum=list(ledger.Basis), description="By when it was true, or by the month it was booked in."
        ),
        params.SOURCE,
    ],
    errors=[400],
)
def mrr_series(request: Request) -> Response:
    """The months of one currency, or of all in the reporting one. Losses are negative: opening and parts make closing.

    Of all currencies, a movement is converted at its day's exchange rate, a balance at the month's last; `fx` is the
    difference. Ratios, and the movements of the netted view, are then in constant currency. Retention and logo churn
    come from balances in either view; a ratio is null where it cannot be known.
    """
    today = params.today()
    last = params.month(request, "to") or today.replace(day=1)
    first = params.month(request, "from") or _months_before(last, 11)
    if first > last:
        raise bad_parameter("from", "The first month must not come after the last.")
    if (last.year - first.year) * 12 + last.month - first.month >= LONGEST_MONTHS:
        raise bad_parameter("from", f"A series has at most {LONGEST_MONTHS} months.")
    found = ledger.series(
        first,
        last,
        today=today,
        currency=params.currency(request),
        view=params.choice(request, "view", ledger.View, default=ledger.View.EVENT),
        basis=params.choice(request, "basis", ledger.Basis, default=ledger.Basis.RESTATED),
        sources=params.source_pks(request),
    )
    return Response({"currency": found.currency, "months": [_month(month) for month in found.months]})


def _month(month: ledger.Month) -> dict[str, Any]:
    row: dict[str, Any] = {"month": month_text(month.month)}
    for name in ("opening", *PARTS, "closing"):
        row |= amounts(**{name: (getattr(month, f"{name}_minor"), getattr(month, f"{name}_micros"))})
    counts = month.customers
    row["customers"] = {
        "opening": counts.opening,
        "new": counts.new,
        "reactivated": counts.reactivated,
        "churned": counts.churned,
        "closing": counts.closing,
    }
    for name in ("nrr", "grr", "logo_churn", "quick_ratio"):
        row[name] = metrics.decimal_text(getattr(month, name))
    row["complete"] = not month.held
    return row


def _both(one: ledger.Amounts) -> dict[str, Any]:
    return {
        "currency": one.currency,
        **amounts(mrr=(one.mrr_minor, one.mrr_micros), arr=(one.arr_minor, one.arr_micros)),
    }


def _months_before(month: Any, number: int) -> Any:
    years, index = divmod(month.year * 12 + month.month - 1 - number, 12)
    return month.replace(year=years, month=index + 1)
