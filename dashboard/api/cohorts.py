"""Cohorts: what is left of the customers of each month of acquisition."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard.api import params
from dashboard.api.routes import amounts, month_text, ratio, route
from dashboard.roles import Ability
from mrr import metrics
from mrr import selectors as ledger
from mrr.engine.money import MICROS, shown


class CellShape(serializers.Serializer[Any]):
    period = serializers.IntegerField(help_text="Months, quarters or years since that of acquisition.")
    month = serializers.CharField(help_text="YYYY-MM; the last month of the period, the running one while it lasts.")
    running = serializers.BooleanField(help_text="The period has not ended.")
    customers = serializers.IntegerField()
    mrr_minor = serializers.IntegerField()
    mrr_micros = serializers.IntegerField()
    ratio = ratio()
    arpa_minor = serializers.IntegerField(allow_null=True, help_text="MRR per paying customer; null when nobody pays.")


class CohortShape(serializers.Serializer[Any]):
    cohort = serializers.CharField(help_text="YYYY-MM, its first month.")
    customers = serializers.IntegerField(help_text="Customers acquired.")
    acquired_minor = serializers.IntegerField()
    acquired_micros = serializers.IntegerField()
    cells = CellShape(many=True)


class CohortsShape(serializers.Serializer[Any]):
    measure = serializers.ChoiceField(list(ledger.Measure))
    interval = serializers.ChoiceField(list(ledger.Interval))
    complete = serializers.BooleanField(help_text="False where a currency lacks an exchange rate.")
    cohorts = CohortShape(many=True)


EXAMPLE = {
    "measure": "net_mrr",
    "interval": "month",
    "complete": True,
    "cohorts": [
        {
            "cohort": "2026-02",
            "customers": 39,
            **amounts(acquired=(1743100, 1743100000000)),
            "cells": [
                {
                    "period": 0,
                    "month": "2026-02",
                    "running": False,
                    "customers": 39,
                    **amounts(mrr=(1743100, 1743100000000)),
                    "ratio": "1.000000",
                    "arpa_minor": 44695,
                },
                {
                    "period": 1,
                    "month": "2026-03",
                    "running": True,
                    "customers": 38,
                    **amounts(mrr=(1725669, 1725669000000)),
                    "ratio": "0.990000",
                    "arpa_minor": 45412,
                },
            ],
        }
    ],
}


@route(
    "GET",
    Ability.SEE_FIGURES,
    summary="Cohorts by month, quarter or year of acquisition",
    shape=CohortsShape,
    example=EXAMPLE,
    parameters=[
        OpenApiParameter("measure", str, enum=list(ledger.Measure), description="Logo unless given."),
        OpenApiParameter("interval", str, enum=list(ledger.Interval)),
        params.CURRENCY,
        params.SOURCE,
    ],
    errors=[400],
)
def cohorts(request: Request) -> Response:
    """What is left of each cohort at the end of each period until the running one, against what was acquired.

    Quarters and years are those of the fiscal year. Absolute and ARPA are of all MRR, as net_mrr is. Months before a
    cohort's history begins are left out. `mrr` of a gross cell is Σ min(acquired, balance). Without `currency` all are
    in the reporting currency, in constant currency: at the rates of one pinned day.
    """
    measure = params.choice(request, "measure", ledger.Measure, default=ledger.Measure.LOGO)
    interval = params.choice(request, "interval", ledger.Interval, default=ledger.Interval.MONTH)
    found = ledger.cohorts(
        measure,
        today=params.today(),
        currency=params.currency(request),
        sources=params.source_pks(request),
        interval=interval,
    )
    return Response(
        {
            "measure": measure.value,
            "interval": interval.value,
            "complete": not found.held,
            "cohorts": [
                {
                    "cohort": month_text(cohort.cohort),
                    "customers": cohort.customers,
                    **amounts(acquired=(shown(cohort.acquired_micros), cohort.acquired_micros)),
                    "cells": [
                        {
                            "period": cell.period,
                            "month": month_text(cell.month),
                            "running": cell.is_running,
                            "customers": cell.customers,
                            **amounts(mrr=(shown(cell.micros), cell.micros)),
                            "ratio": metrics.decimal_text(cell.ratio),
                            "arpa_minor": None if cell.arpa is None else round(cell.arpa / MICROS),
                        }
                        for cell in cohort.cells
                    ],
                }
                for cohort in found.cohorts
            ],
        }
    )
