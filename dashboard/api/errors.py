"""Every failure of the API in one shape: {"error": {"code", "message", "field"}}."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

logger = logging.getLogger(__name__)

_CODES = {
    HTTPStatus.BAD_REQUEST: "bad_request",
    HTTPStatus.UNAUTHORIZED: "not_authenticated",
    HTTPStatus.FORBIDDEN: "forbidden",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.NOT_ACCEPTABLE: "not_acceptable",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "unsupported_media_type",
    HTTPStatus.INTERNAL_SERVER_ERROR: "server_error",
}


class ApiError(Exception):
    """A failure that the caller can do something about: a status, a code for programs, words for people."""

    def __init__(self, status: int, code: str, message: str, *, field: str | None = None, **facts: Any) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.field, self.facts = status, code, message, field, facts


def bad_parameter(field: str, message: str) -> ApiError:
    """400, naming the parameter or the field of the body."""
    return ApiError(400, "bad_parameter", message, field=field)


def not_found(message: str, *, field: str | None = None) -> ApiError:
    return ApiError(404, "not_found", message, field=field)


def conflict(code: str, message: str, *, field: str | None = None, **facts: Any) -> ApiError:
    """409; `facts` are added to the error, such as who was first and when."""
    return ApiError(409, code, message, field=field, **facts)


def handle(error: Exception, context: dict[str, Any]) -> Response:
    """Turn whatever a view raised into the answer; what nobody expected is logged and answered without details."""
    set_rollback()
    if isinstance(error, ApiError):
        return _answer(error.status, error.code, error.message, field=error.field, facts=error.facts)
    if isinstance(error, Http404):
        return _answer(404, "not_found", "There is nothing at this address.")
    if isinstance(error, PermissionDenied):
        return _answer(403, "forbidden", str(error) or "Your role may not do this.")
    if isinstance(error, exceptions.ValidationError):
        field, message = _first(error.detail)
        return _answer(400, "bad_parameter", message, field=field)
    if isinstance(error, exceptions.APIException):
        return _known(error)
    logger.exception("api_failed path=%s", context["request"].path)
    return _answer(500, "server_error", "This did not work, and the reason is in our log. Try again later.")


def body(code: str, message: str, *, field: str | None = None, **facts: Any) -> dict[str, Any]:
    """Return the body of an error."""
    return {"error": {"code": code, "message": message, "field": field, **facts}}


def _known(error: exceptions.APIException) -> Response:
    status = HTTPStatus(error.status_code)
    code = _CODES.get(status, "error")
    if isinstance(error, exceptions.ParseError):
        return _answer(400, "bad_json", "The body is not valid JSON.")
    if isinstance(error, exceptions.AuthenticationFailed):
        code = "bad_token"
    elif "CSRF" in str(error.detail):
        code = "csrf_failed"
    headers = {}
    if header := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = header
    return _answer(status, code, _sentence(str(error.detail)), headers=headers)


def _answer(
    status: int,
    code: str,
    message: str,
    *,
    field: str | None = None,
    facts: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    return Response(body(code, message, field=field, **(facts or {})), status=status, headers=headers)


def _first(detail: Any, field: str | None = None) -> tuple[str | None, str]:
    """Return the first field and message of DRF's nested errors; what concerns the whole body has no field."""
    if isinstance(detail, dict):
        name, inner = next(iter(detail.items()))
        return _first(inner, None if name == "non_field_errors" else str(name))
    if isinstance(detail, list):
        return _first(detail[0], field)
    return field, _sentence(str(detail))


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
