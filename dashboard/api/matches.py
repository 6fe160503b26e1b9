"""Customers without an Account, and the decisions that end it."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from crm import matching
from crm import selectors as crm
from crm.ids import MalformedId
from crm.selectors import CandidateRow, UnmatchedPlace, UnmatchedRow
from dashboard.api import lookup, paging, params
from dashboard.api.errors import bad_parameter, conflict, not_found
from dashboard.api.permissions import masked, sees_people
from dashboard.api.routes import amounts, moment, page_of, route
from dashboard.roles import Ability

LARGEST_KEY = 2**63 - 1


class ReasonShape(serializers.Serializer[Any]):
    kind = serializers.CharField()
    weight = serializers.IntegerField()
    text = serializers.CharField(allow_null=True)


class CandidateShape(serializers.Serializer[Any]):
    account_id = serializers.CharField()
    name = serializers.CharField(allow_null=True)
    score = serializers.IntegerField()
    reasons = ReasonShape(many=True)


class UnmatchedShape(serializers.Serializer[Any]):
    source = serializers.CharField()  # type: ignore[assignment]
    customer = serializers.CharField()
    name = serializers.CharField(allow_null=True)
    email = serializers.CharField(allow_null=True)
    mrr_minor = serializers.IntegerField()
    mrr_micros = serializers.IntegerField()
    currency = serializers.CharField()
    since = serializers.DateTimeField()
    status = serializers.ChoiceField(["waiting", "snoozed"])
    reason = serializers.CharField(help_text="Code of why it has no Account.")
    candidates = CandidateShape(many=True)


UNMATCHED_EXAMPLE = {
    "source": "main",
    "customer": "cus_Ng4x",
    "name": "Kestrel Robotics Inc.",
    "email": "billing@kestrel.example",
    **amounts(mrr=(24000, 24000000000)),
    "currency": "usd",
    "since": "2026-03-12T09:14:06Z",
    "status": "waiting",
    "reason": "no_contact",
    "candidates": [
        {
            "account_id": "0015g00000XyZabAAF",
            "name": "Kestrel Robotics",
            "score": 80,
            "reasons": [
                {"kind": "website_domain", "weight": 45, "text": "The e-mail's domain kestrel.example is the website"},
                {"kind": "company_name", "weight": 35, "text": "The names agree"},
            ],
        }
    ],
}


@route(
    "GET",
    Ability.SEE_FIGURES,
    summary="Customers without an Account, the largest MRR first",
    shape=page_of(UnmatchedShape),
    example={"next": None, "previous": None, "results": [UNMATCHED_EXAMPLE]},
    parameters=[params.SOURCE, *paging.PARAMETERS],
    errors=[400],
)
def unmatched(request: Request) -> Response:
    """Each with the Accounts it might be and the evidence. Names and e-mails are dots for who may only see figures."""
    size, asked = paging.limit(request), paging.cursor(request, kinds=(int, int))
    place = UnmatchedPlace(*asked[1]) if asked else None
    goes_back = asked is not None and asked[0] == "previous"
    page = crm.unmatched(
        crm.UnmatchedFilter(sources=params.source_pks(request)),
        limit=size,
        after=None if goes_back else place,
        before=place if goes_back else None,
    )
    is_shown = sees_people(request)
    return Response(
        paging.page(
            request,
            [_as_json(row, is_shown=is_shown) for row in page.rows],
            following=_place(page.following),
            preceding=_place(page.preceding),
        )
    )


class NewMatchShape(serializers.Serializer[Any]):
    source = serializers.CharField(required=False, help_text="Slug; needed when several sources know the customer.")  # type: ignore[assignment]
    customer = serializers.CharField(max_length=255)
    account_id = serializers.CharField(max_length=18, help_text="15 or 18 characters.")


class MatchShape(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    source = serializers.CharField()  # type: ignore[assignment]
    customer = serializers.CharField()
    account_id = serializers.CharField()
    how = serializers.CharField()
    matched_by = serializers.CharField()
    matched_at = serializers.DateTimeField()


@route(
    "POST",
    Ability.MATCH,
    summary="Match a customer to an Account",
    body=NewMatchShape,
    shape=MatchShape,
    body_example={"source": "main", "customer": "cus_Ng4x", "account_id": "0015g00000XyZabAAF"},
    example={
        "id": 17,
        "source": "main",
        "customer": "cus_Ng4x",
        "account_id": "0015g00000XyZabAAF",
        "how": "person",
        "matched_by": "ana",
        "matched_at": "2026-03-12T16:40:00Z",
    },
    errors=[400, 404, 409],
    status=201,
)
def match_create(request: Request) -> Response:
    """Held records of the customer are released. 409 `already_matched` says who was first, when, and to which one."""
    asked = NewMatchShape(data=request.data)
    asked.is_valid(raise_exception=True)
    given = asked.validated_data
    sources = [params.source_by_slug(given["source"]).pk] if given.get("source") else None
    customer = lookup.customer(given["customer"], sources)
    try:
        made = matching.match(customer.pk, given["account_id"], by=request.user.get_username(), now=timezone.now())
    except MalformedId as error:
        raise bad_parameter("account_id", str(error)) from error
    except matching.UnknownAccount as error:
        raise not_found(str(error), field="account_id") from error
    except matching.UnknownCustomer as error:
        raise not_found(str(error), field="customer") from error
    except matching.AlreadyMatched as error:
        raise conflict(
            "already_matched",
            str(error),
            field="customer",
            matched_by=error.who or None,
            matched_at=moment(error.when),
            account_id=error.account_id,
        ) from error
    return Response(
        {
            "id": made.pk,
            "source": customer.source_slug,
            "customer": customer.stripe_id,
            "account_id": made.account.salesforce_id,
            "how": made.how,
            "matched_by": made.matched_by,
            "matched_at": moment(made.matched_at),
        },
        status=201,
    )


@route("DELETE", Ability.MATCH, summary="Undo a match", errors=[404], status=204)
def match_delete(request: Request, match_id: int) -> Response:
    """The match stays as history, the customer waits again, and its records wait with it."""
    try:
        if match_id > LARGEST_KEY:
            raise matching.UnknownMatch("There is no match with this id.")
        matching.unmatch(match_id, by=request.user.get_username(), now=timezone.now())
    except matching.UnknownMatch as error:
        raise not_found(str(error)) from error
    return Response(status=204)


def _as_json(row: UnmatchedRow, *, is_shown: bool) -> dict[str, Any]:
    return {
        "source": row.source,
        "customer": row.customer_id,
        "name": masked(row.name, is_shown=is_shown),
        "email": masked(row.email, is_shown=is_shown),
        **amounts(mrr=(row.mrr_minor, row.mrr_micros)),
        "currency": row.currency,
        "since": moment(row.since),
        "status": row.status,
        "reason": row.reason,
        "candidates": [_candidate(one, is_shown=is_shown) for one in row.candidates],
    }


def _candidate(one: CandidateRow, *, is_shown: bool) -> dict[str, Any]:
    return {
        "account_id": one.account_id,
        "name": masked(one.name, is_shown=is_shown),
        "score": one.score,
        "reasons": [{**reason, "text": masked(reason["text"], is_shown=is_shown)} for reason in one.reasons],
    }


def _place(place: UnmatchedPlace | None) -> tuple[int, int] | None:
    return None if place is None else (place.value, place.customer_pk)
