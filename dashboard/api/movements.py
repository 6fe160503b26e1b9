"""The MRR schedule: movements, and how one came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing import selectors as billing
from crm import selectors as crm
from dashboard.api import paging, params
from dashboard.api.errors import bad_parameter, not_found
from dashboard.api.lookup import customer_pk
from dashboard.api.permissions import sees_people
from dashboard.api.routes import amounts, moment, month_text, page_of, route
from dashboard.roles import Ability
from mrr import selectors as ledger
from mrr.engine.money import shown
from mrr.engine.policy import MetricPolicy
from mrr.explain import Side, explanation
from mrr.selectors import Movement, MovementFilter, Place

TYPES = ("opening", "new", "expansion", "reactivation", "contraction", "churn", "reversal")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class LineShape(serializers.Serializer[Any]):
    subscription = serializers.CharField()
    item = serializers.CharField()
    price = serializers.CharField()
    product = serializers.CharField()
    reason = serializers.CharField()
    amount_minor = serializers.IntegerField()
    amount_micros = serializers.IntegerField()


class MovementShape(serializers.Serializer[Any]):
    id = serializers.CharField(help_text="The entry's key, in Salesforce too (Ledger_Key__c).")
    source = serializers.CharField()  # type: ignore[assignment]
    customer = serializers.CharField()
    account_id = serializers.CharField(allow_null=True, help_text="Salesforce Account, null while unmatched.")
    type = serializers.ChoiceField(TYPES)
    reason = serializers.CharField()
    currency = serializers.CharField()
    amount_minor = serializers.IntegerField(help_text="Difference of the customer's shown balances.")
    amount_micros = serializers.IntegerField()
    arr_minor = serializers.IntegerField()
    arr_micros = serializers.IntegerField()
    effective_at = serializers.DateTimeField(help_text="When it was true.")
    posted_at = serializers.DateTimeField(help_text="When we learned it.")
    book_month = serializers.CharField(help_text="YYYY-MM")
    event_ids = serializers.ListField(child=serializers.CharField())
    lines = LineShape(many=True)
    reverses = serializers.CharField(allow_null=True)
    reversed_by = serializers.CharField(allow_null=True)
    backdated_from = serializers.DateField(allow_null=True)
    policy_version = serializers.IntegerField()


LINE_EXAMPLE = {
    "subscription": "sub_1Q",
    "item": "si_1Q",
    "price": "price_team",
    "product": "prod_team",
    "reason": "quantity",
    **amounts(amount=(9000, 9000000000)),
}
EXAMPLE = {
    "id": "mle_4f1c9a7be2d05863aa17c94e21",
    "source": "main",
    "customer": "cus_Ng4x",
    "account_id": "0015g00000XyZabAAF",
    "type": "expansion",
    "reason": "quantity",
    "currency": "usd",
    **amounts(amount=(9000, 9000000000), arr=(108000, 108000000000)),
    "effective_at": "2026-03-12T09:14:05Z",
    "posted_at": "2026-03-12T09:14:06.120000Z",
    "book_month": "2026-03",
    "event_ids": ["evt_1QxYz"],
    "lines": [LINE_EXAMPLE],
    "reverses": None,
    "reversed_by": None,
    "backdated_from": None,
    "policy_version": 1,
}


@route(
    "GET",
    Ability.SEE_FIGURES,
    summary="Movements, oldest first",
    shape=page_of(MovementShape),
    example={"next": None, "previous": None, "results": [EXAMPLE]},
    parameters=[
        OpenApiParameter("from", str, description="First day, YYYY-MM-DD, in the reporting zone."),
        OpenApiParameter("to", str, description="Last day, included."),
        OpenApiParameter("type", str, enum=TYPES),
        OpenApiParameter("customer", str, description="cus_…"),
        OpenApiParameter("currency", str, description="Three letters; all currencies unless given."),
        OpenApiParameter("basis", str, enum=list(ledger.Basis), description="Closed: days of the book month."),
        OpenApiParameter("all", str, enum=["0", "1"], description="1: also entries taken back, and reversals."),
        params.SOURCE,
        *paging.PARAMETERS,
    ],
    errors=[400, 409],
)
def movements(request: Request) -> Response:
    """The entries that stand, by the time they were true. With `all=1` also those taken back, and their reversals."""
    kind = params.text(request, "type")
    if kind and kind not in TYPES:
        raise bad_parameter("type", f"Known are: {', '.join(TYPES)}.")
    first, last = params.day(request, "from"), params.day(request, "to")
    if first and last and first > last:
        raise bad_parameter("from", "The first day must not come after the last.")
    named = params.text(request, "customer")
    sources = params.source_pks(request)
    chosen = MovementFilter(
        sources=sources,
        first=first,
        last=last,
        types=(kind,) if kind else (),
        customer_pks=_customers(named, sources) if named else None,
        currency=params.currency(request),
        basis=params.choice(request, "basis", ledger.Basis, default=ledger.Basis.RESTATED),
        has_reversed=params.flag(request, "all"),
    )
    size, asked = paging.limit(request), paging.cursor(request, kinds=(int, int))
    place = Place(_time(asked[1][0]), asked[1][1]) if asked else None
    goes_back = asked is not None and asked[0] == "previous"
    page = ledger.movements(chosen, limit=size, after=None if goes_back else place, before=place if goes_back else None)
    rows = page.movements
    return Response(
        paging.page(
            request,
            movements_as_json(rows),
            following=_place(rows[-1]) if rows and page.has_later else None,
            preceding=_place(rows[0]) if rows and page.has_earlier else None,
        )
    )


class TermsShape(serializers.Serializer[Any]):
    price = serializers.CharField()
    product = serializers.CharField()
    unit_amount_decimal = serializers.CharField(allow_null=True, help_text="Minor units, as Stripe writes them.")
    quantity = serializers.IntegerField(allow_null=True)
    interval = serializers.CharField()
    interval_count = serializers.IntegerField()
    mrr_minor = serializers.IntegerField()
    mrr_micros = serializers.IntegerField()
    gross_micros = serializers.IntegerField(help_text="A month before discounts.")
    tiers_mode = serializers.CharField(allow_null=True)
    tiers = serializers.ListField(
        child=serializers.ListField(), help_text="[[up to, unit amount, flat amount], …], decimal text in minor units."
    )
    discounts = serializers.ListField(
        child=serializers.DictField(),
        help_text="In the order taken: {id, percent}, or {id, amount, share} of a fixed amount.",
    )
    tax = serializers.CharField(allow_null=True, help_text="Rate inside the price, exact, such as 21/100.")
    months = serializers.CharField(help_text="How many months a billing period is, exact: 12, 3/13 for a week.")
    missing = serializers.CharField(allow_null=True, help_text="Code: why it counts nothing, such as tiers_unknown.")
    formula = serializers.CharField(help_text="Can be computed as it stands, from left to right.")


class ExplainedLineShape(LineShape):
    before = TermsShape(allow_null=True)
    after = TermsShape(allow_null=True)


class EntryEventShape(serializers.Serializer[Any]):
    id = serializers.CharField()
    type = serializers.CharField()
    created_at = serializers.DateTimeField(allow_null=True)
    received_at = serializers.DateTimeField()
    state = serializers.CharField()
    url = serializers.CharField(help_text="Where the event stands with all that became of it.")
    sha256 = serializers.CharField(help_text="Of the body as received.")
    body = serializers.JSONField(allow_null=True, help_text="As received; null for who may only see figures.")


class PolicyShape(serializers.Serializer[Any]):
    version = serializers.IntegerField()
    settings = serializers.DictField(help_text="Every rule by name.")


class ExplanationShape(MovementShape):
    lines = ExplainedLineShape(many=True)
    formula = serializers.CharField(help_text="After lines, less before lines, and their total.")
    mrr_before_minor = serializers.IntegerField(allow_null=True)
    mrr_before_micros = serializers.IntegerField(allow_null=True)
    mrr_after_minor = serializers.IntegerField(allow_null=True)
    mrr_after_micros = serializers.IntegerField(allow_null=True)
    events = EntryEventShape(many=True)
    policy = PolicyShape()


_TERMS_EXAMPLE: dict[str, Any] = {
    "price": "price_team",
    "product": "prod_team",
    "unit_amount_decimal": "3000",
    "quantity": 5,
    "interval": "month",
    "interval_count": 1,
    **amounts(mrr=(15000, 15000000000)),
    "gross_micros": 15000000000,
    "tiers_mode": None,
    "tiers": [],
    "discounts": [],
    "tax": None,
    "months": "1",
    "missing": None,
    "formula": "$30.00 × 5 ÷ 1 month",
}


@route(
    "GET",
    Ability.SEE_FIGURES,
    summary="How a movement came about",
    shape=ExplanationShape,
    example={
        **EXAMPLE,
        "lines": [
            {
                **LINE_EXAMPLE,
                "before": _TERMS_EXAMPLE,
                "after": {
                    **_TERMS_EXAMPLE,
                    "quantity": 8,
                    **amounts(mrr=(24000, 24000000000)),
                    "gross_micros": 24000000000,
                    "formula": "$30.00 × 8 ÷ 1 month",
                },
            }
        ],
        "formula": "$30.00 × 8 ÷ 1 month − $30.00 × 5 ÷ 1 month = $90.00",
        **amounts(mrr_before=(15000, 15000000000), mrr_after=(24000, 24000000000)),
        "events": [
            {
                "id": "evt_1QxYz",
                "type": "customer.subscription.updated",
                "created_at": "2026-03-12T09:14:05Z",
                "received_at": "2026-03-12T09:14:05.871000Z",
                "state": "processed",
                "url": "/api/v1/events/evt_1QxYz?source=main",
                "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                "body": {"id": "evt_1QxYz", "object": "event", "type": "customer.subscription.updated"},
            }
        ],
        "policy": {"version": 1, "settings": {"grouping_minutes": 60, "churn_at": "effective_end"}},
    },
    errors=[404],
)
def movement_explain(request: Request, key: str) -> Response:
    """The entry's lines with their items before and after, the formula written out, its events and the policy."""
    found = explanation(key)
    if found is None:
        raise not_found("There is no entry with this id.")
    entry = found.entry
    (row,) = movements_as_json([entry])
    before, after = entry.before_micros, entry.after_micros
    return Response(
        {
            **row,
            "lines": [
                {**plain, "before": _terms(line.before), "after": _terms(line.after)}
                for plain, line in zip(row["lines"], found.lines, strict=True)
            ],
            "formula": found.written,
            **amounts(
                mrr_before=(None, None) if before is None else (shown(before), before),
                mrr_after=(None, None) if after is None else (shown(after), after),
            ),
            "events": [_event(event, has_body=sees_people(request)) for event in found.events],
            "policy": {"version": found.policy.version, "settings": _settings(found.policy)},
        }
    )


def _event(event: billing.EventDetail, *, has_body: bool) -> dict[str, Any]:
    row = event.row
    body = event.text if event.body is None else event.body
    return {
        "id": row.stripe_id,
        "type": row.type,
        "created_at": moment(row.created_at),
        "received_at": moment(row.received_at),
        "state": row.state,
        "url": f"/api/v1/events/{row.stripe_id}?source={row.source_slug}",
        "sha256": event.sha256,
        "body": body if has_body else None,
    }


def _settings(policy: MetricPolicy) -> dict[str, Any]:
    return {name: value for name, value in policy.as_json().items() if name != "version"}


def movements_as_json(rows: Sequence[Movement]) -> list[dict[str, Any]]:
    """Return movements as the API writes them, with the Accounts of their customers."""
    accounts = crm.account_ids({row.customer_pk for row in rows}) if rows else {}
    return [_as_json(row, accounts) for row in rows]


def _as_json(row: Movement, accounts: Mapping[int, str]) -> dict[str, Any]:
    return {
        "id": row.key,
        "source": row.source,
        "customer": row.customer_id,
        "account_id": accounts.get(row.customer_pk),
        "type": row.type,
        "reason": row.reason,
        "currency": row.currency,
        **amounts(amount=(row.amount_minor, row.amount_micros), arr=(row.arr_minor, row.arr_micros)),
        "effective_at": moment(row.effective_at),
        "posted_at": moment(row.posted_at),
        "book_month": month_text(row.book_month),
        "event_ids": list(row.event_ids),
        "lines": [
            {
                "subscription": line.subscription,
                "item": line.item,
                "price": line.price,
                "product": line.product,
                "reason": line.reason,
                **amounts(amount=(line.minor, line.micros)),
            }
            for line in row.lines
        ],
        "reverses": row.reverses,
        "reversed_by": row.reversed_by,
        "backdated_from": None if row.backdated_from is None else row.backdated_from.isoformat(),
        "policy_version": row.policy_version,
    }


def _terms(side: Side | None) -> dict[str, Any] | None:
    if side is None:
        return None
    terms = side.full
    return {
        "price": terms.price,
        "product": terms.product,
        "unit_amount_decimal": terms.unit_amount_decimal,
        "quantity": terms.quantity,
        "interval": terms.interval,
        "interval_count": terms.interval_count,
        **amounts(mrr=(side.minor, side.micros)),
        "gross_micros": terms.gross_micros,
        "tiers_mode": terms.tiers_mode,
        "tiers": [list(tier) for tier in terms.tiers],
        "discounts": list(side.terms.get("discounts", ())),
        "tax": terms.tax,
        "months": terms.factor,
        "missing": terms.code or None,
        "formula": side.formula,
    }


def _customers(customer_id: str, sources: Sequence[int] | None) -> list[int]:
    """Return the key of the customer a list is narrowed to; an unknown one gives an empty list, not an error."""
    pk = customer_pk(customer_id, sources)
    return [] if pk is None else [pk]


# A cursor carries whole microseconds: floats of seconds would lose the last of them.
def _place(row: Movement) -> tuple[int, int]:
    return (row.effective_at - EPOCH) // timedelta(microseconds=1), row.pk


def _time(microseconds: int) -> datetime:
    try:
        return EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        raise bad_parameter("cursor", "This cursor is not one of ours. Take it from `next` or `previous`.") from None
