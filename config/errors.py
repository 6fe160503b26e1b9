"""Answers for what has no page: JSON under /api/ and to the webhook, a plain page elsewhere."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import TemplateDoesNotExist, loader
from django.views import defaults

MACHINE_PATHS = ("/api/v1/", "/webhooks/", "/callbacks/")


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """400: a part of the address cannot be read; the exception's text, which we wrote, says which."""
    words = str(exception) if type(exception) is BadRequest else ""
    if request.path.startswith(MACHINE_PATHS):
        return _json(400, "bad_request", words or "This cannot be read.")
    page: Any = loader.get_template("400.html")
    return HttpResponse(page.render({"words": words}, request), status=400)


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """403: logged in, but the role lacks the ability; the exception's text says which."""
    if request.path.startswith(MACHINE_PATHS):
        return _json(403, "forbidden", str(exception or "This is not open to your role."))
    return defaults.permission_denied(request, exception)  # type: ignore[arg-type]


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """404: no such address or object."""
    if request.path.startswith(MACHINE_PATHS):
        return _json(404, "not_found", "There is nothing at this address.")
    return defaults.page_not_found(request, exception)  # type: ignore[arg-type]


def broken(request: HttpRequest) -> HttpResponse:
    """500: our fault. Renders without context processors, since one of them may be what broke."""
    if request.path.startswith(MACHINE_PATHS):
        return _json(500, "internal", "Something broke on our side. It has been logged.")
    try:
        page: Any = loader.get_template("500.html")
    except TemplateDoesNotExist:
        return HttpResponse("Something broke on our side. It has been logged.\n", status=500, content_type="text/plain")
    return HttpResponse(page.render(), status=500)


def _json(status: int, code: str, message: str) -> JsonResponse:
    return JsonResponse({"error": {"code": code, "message": message, "field": None}}, status=status)
