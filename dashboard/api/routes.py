"""What every route of the API states: its method, the ability it asks for, and its description."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.decorators import api_view, permission_classes
from rest_framework.response import Response

from dashboard.api.permissions import needs
from dashboard.roles import Ability

View = Callable[..., Response]
Shape = type[serializers.Serializer[Any]]


class ErrorFacts(serializers.Serializer[Any]):
    code = serializers.CharField(help_text="For programs.")
    message = serializers.CharField(help_text="For people.")
    field = serializers.CharField(allow_null=True, help_text="The parameter or field that is wrong.")


class Error(serializers.Serializer[Any]):
    error = ErrorFacts()


ERRORS = {
    400: "A parameter is wrong; `field` names it.",
    401: "No login: send a token, or sign in.",
    403: "The role may not do this.",
    404: "There is no such thing.",
    409: "It conflicts with what is there.",
}


def route(
    method: str,
    ability: Ability,
    *,
    summary: str,
    shape: Any = None,
    body: Any = None,
    example: Any = None,
    body_example: Any = None,
    parameters: Sequence[OpenApiParameter] = (),
    errors: Sequence[int] = (),
    status: int = 200,
) -> Callable[[View], View]:
    """Make a function a route of the API, open to whoever has the ability, and describe it.

    `shape` and `body` are serializers of answer and request, used for the description; `errors` are the statuses it can
    answer with beside 401 and 403.
    """

    def wrap(view: View) -> View:
        made = api_view([method])(permission_classes([needs(ability)])(view))
        described: dict[int, Any] = {status: shape if shape is not None else OpenApiResponse(description="Done.")}
        described |= {code: OpenApiResponse(Error, ERRORS[code]) for code in sorted({401, 403, *errors})}
        examples = [OpenApiExample("Answer", value=example, response_only=True, status_codes=[str(status)])] * bool(
            example
        )
        examples += [OpenApiExample("Request", value=body_example, request_only=True)] * bool(body_example)
        made = extend_schema(
            operation_id=view.__name__,
            summary=summary,
            description=view.__doc__,
            request=body,
            responses=described,
            parameters=list(parameters),
            examples=examples,
        )(made)
        made.ability = ability  # type: ignore[attr-defined]  # the matrix of roles and routes reads it
        return made

    return wrap


def page_of(shape: Shape) -> Any:
    """Return the shape of a page of rows."""
    fields: dict[str, Any] = {
        "next": serializers.URLField(allow_null=True, help_text="Address of the next page."),
        "previous": serializers.URLField(allow_null=True, help_text="Address of the page before."),
        "results": shape(many=True),
    }
    return inline_serializer(f"{shape.__name__}Page", fields)


def ratio(**options: Any) -> serializers.CharField:
    """Decimal text with six decimals, or null where it cannot be known."""
    return serializers.CharField(allow_null=True, help_text="Decimal text; null where it cannot be known.", **options)


def amounts(**named: tuple[int | None, int | None]) -> dict[str, int | None]:
    """Return each amount twice: `mrr=(shown, exact)` becomes mrr_minor and mrr_micros."""
    found: dict[str, int | None] = {}
    for name, (minor, micros) in named.items():
        found[f"{name}_minor"], found[f"{name}_micros"] = minor, micros
    return found


def moment(at: datetime | None) -> str | None:
    """Write a time as ISO 8601 UTC, such as 2026-03-12T09:14:05Z."""
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def month_text(month: date | None) -> str | None:
    return None if month is None else f"{month:%Y-%m}"
