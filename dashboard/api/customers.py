"""One customer: its MRR per currency, subscriptions, match and risk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing import selectors as billing
from crm import selectors as crm
from dashboard.api import lookup, params
from dashboard.api.at_risk import PartShape, parts_as_json
from dashboard.api.permissions import masked, sees_people
from dashboard.api.routes import amounts, moment, month_text, route
from dashboard.roles import Ability
from mrr import selectors as ledger
from mrr.engine.money import shown


class BalanceShape(serializers.Serializer[Any]):
    currency = serializers.CharField()
    mrr_minor = serializers.IntegerField()
    mrr_micros = serializers.IntegerField()
    arr_minor = serializers.IntegerField()
    arr_micros = serializers.IntegerField()
    cmrr_minor = serializers.IntegerField()
    cmrr_micros = serializers.IntegerField()


class ItemShape(serializers.Serializer[Any]):
    id = serializers.CharField()
    price = serializers.CharField()
    product = serializers.CharField()
    quantity = serializers.IntegerField(allow_null=True)
    unit_amount_decimal = serializers.CharField(allow_null=True)
    interval = serializers.CharField()
    interval_count = serializers.IntegerField()


class SubscriptionShape(serializers.Serializer[Any]):
    id = serializers.CharField()
    status = serializers.CharField(help_text="Stripe's own word.")
    currency = serializers.CharField()
    mrr_minor = serializers.IntegerField()
    mrr_micros = serializers.IntegerField()
    started_at = serializers.DateTimeField(allow_null=True)
    trial_end_at = serializers.DateTimeField(allow_null=True)
    current_period_end_at = serializers.DateTimeField(allow_null=True)
    ends_at = serializers.DateTimeField(allow_null=True, help_text="Scheduled end.")
    ended_at = serializers.DateTimeField(allow_null=True)
    items = ItemShape(many=True)  # type: ignore[assignment]  # a field may be named like a method of dict


class CustomerMatchShape(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    account_id = serializers.CharField()
    account_name = serializers.CharField(allow_null=True)
    how = serializers.CharField()
    matched_by = serializers.CharField(allow_null=True, help_text="Null: the machine.")
    matched_at = serializers.DateTimeField()


class RiskShape(serializers.Serializer[Any]):
    score = serializers.IntegerField()
    severity = serializers.CharField()
    parts = PartShape(many=True)


class CustomerShape(serializers.Serializer[Any]):
    source = serializers.CharField()  # type: ignore[assignment]
    customer = serializers.CharField()
    name = serializers.CharField(allow_null=True)
    email = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField(allow_null=True)
    deleted_at = serializers.DateTimeField(allow_null=True)
    cohort = serializers.CharField(allow_null=True, help_text="YYYY-MM")
    mrr = BalanceShape(many=True)
    subscriptions = SubscriptionShape(many=True)
    match = CustomerMatchShape(allow_null=True)
    risk = RiskShape()


EXAMPLE = {
    "source": "main",
    "customer": "cus_Ng4x",
    "name": "Kestrel Robotics Inc.",
    "email": "billing@kestrel.example",
    "created_at": "2025-01-09T10:00:00Z",
    "deleted_at": None,
    "cohort": "2025-01",
    "mrr": [
        {
            "currency": "usd",
            **amounts(mrr=(24000, 24000000000), arr=(288000, 288000000000), cmrr=(24000, 24000000000)),
        }
    ],
    "subscriptions": [
        {
            "id": "sub_1Q",
            "status": "active",
            "currency": "usd",
            **amounts(mrr=(24000, 24000000000)),
            "started_at": "2025-01-10T00:00:00Z",
            "trial_end_at": None,
            "current_period_end_at": "2026-04-10T00:00:00Z",
            "ends_at": None,
            "ended_at": None,
            "items": [
                {
                    "id": "si_1Q",
                    "price": "price_team",
                    "product": "prod_team",
                    "quantity": 8,
                    "unit_amount_decimal": "3000",
                    "interval": "month",
                    "interval_count": 1,
                }
            ],
        }
    ],
    "match": {
        "id": 17,
        "account_id": "0015g00000XyZabAAF",
        "account_name": "Kestrel Robotics",
        "how": "email",
        "matched_by": None,
        "matched_at": "2025-01-09T10:00:04Z",
    },
    "risk": {"score": 0, "severity": "none", "parts": []},
}


@route(
    "GET",
    Ability.SEE_FIGURES,
    summary="One customer",
    shape=CustomerShape,
    example=EXAMPLE,
    parameters=[params.SOURCE],
    errors=[400, 404, 409],
)
def customer(request: Request, customer_id: str) -> Response:
    """The customer with its MRR per currency, its subscriptions, its Salesforce Account and why it may be at risk.

    Names and e-mails are dots for who may only see figures. An id that several sources know needs `source=`.
    """
    is_shown = sees_people(request)
    row = lookup.customer(customer_id, params.source_pks(request))
    balances = ledger.balances([row.pk])[row.pk]
    worth = ledger.mrr_by_subscription(row.pk)
    match = crm.matches_of([row.pk]).get(row.pk)
    risk = crm.risk_of(row.pk)
    return Response(
        {
            "source": row.source_slug,
            "customer": row.stripe_id,
            "name": masked(row.name, is_shown=is_shown),
            "email": masked(row.email, is_shown=is_shown),
            "created_at": moment(row.created_at),
            "deleted_at": moment(row.deleted_at),
            "cohort": month_text(next((one.cohort_month for one in balances if one.cohort_month), None)),
            "mrr": [_balance(one) for one in balances],
            "subscriptions": [
                _subscription(one, worth.get(one.stripe_id, 0))
                for one in billing.subscriptions_of([row.pk]).get(row.pk, [])
            ],
            "match": None if match is None else _match(match, is_shown=is_shown),
            "risk": {
                "score": risk.score if risk else 0,
                "severity": risk.severity if risk else "none",
                "parts": parts_as_json(risk.parts) if risk else [],
            },
        }
    )


def _balance(one: ledger.Balance) -> dict[str, Any]:
    return {
        "currency": one.currency,
        **amounts(
            mrr=(one.mrr_minor, one.mrr_micros),
            arr=(one.arr_minor, one.arr_micros),
            cmrr=(one.cmrr_minor, one.cmrr_micros),
        ),
    }


def _subscription(row: billing.SubscriptionRow, micros: int) -> dict[str, Any]:
    return {
        "id": row.stripe_id,
        "status": row.status,
        "currency": row.currency,
        **amounts(mrr=(shown(micros), micros)),
        "started_at": moment(row.started_at),
        "trial_end_at": moment(row.trial_end_at),
        "current_period_end_at": moment(row.current_period_end_at),
        "ends_at": moment(row.ends_at),
        "ended_at": moment(row.ended_at),
        "items": [_item(item) for item in row.items],
    }


def _item(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the terms of an item; the mirror leaves out what is empty."""
    return {
        "id": item["id"],
        "price": item.get("price", ""),
        "product": item.get("product", ""),
        "quantity": item.get("quantity"),
        "unit_amount_decimal": item.get("unit_amount_decimal"),
        "interval": item.get("interval", ""),
        "interval_count": item.get("interval_count", 1),
    }


def _match(row: crm.MatchRow, *, is_shown: bool) -> dict[str, Any]:
    return {
        "id": row.pk,
        "account_id": row.account_id,
        "account_name": masked(row.account_name, is_shown=is_shown),
        "how": row.how,
        "matched_by": masked(row.matched_by, is_shown=is_shown),
        "matched_at": moment(row.matched_at),
    }
