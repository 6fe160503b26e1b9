"""Cursor paging: a list goes on from a place in its order, so rows added meanwhile neither repeat nor hide others."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from dashboard.api.errors import bad_parameter

DEFAULT_LIMIT = 100
LARGEST_LIMIT = 1_000

PARAMETERS = [
    OpenApiParameter("limit", int, description="Rows on a page: 100 unless told, at most 1,000."),
    OpenApiParameter("cursor", str, description="A place in the list; taken from `next` or `previous`."),
]


def limit(request: Request) -> int:
    """Return how many rows to give; raises a 400 for anything that is not 1 to 1,000."""
    text = request.query_params.get("limit")
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= LARGEST_LIMIT):
        raise bad_parameter("limit", f"A page has 1 to {LARGEST_LIMIT:,} rows.")
    return int(text)


def cursor(request: Request, *, kinds: Sequence[type]) -> tuple[str, list[Any]] | None:
    """Return the direction ("next" or "previous") and place a cursor stands for; None without one, 400 for a bad one.

    `kinds` are the types of the place's values, in order.
    """
    text = request.query_params.get("cursor")
    if not text:
        return None
    try:
        direction, *place = json.loads(base64.urlsafe_b64decode(text.encode() + b"=="))
    except (ValueError, TypeError, RecursionError) as error:
        raise _unusable() from error
    fits = len(place) == len(kinds) and all(type(value) is kind for value, kind in zip(place, kinds, strict=False))
    if direction not in ("next", "previous") or not fits:
        raise _unusable()
    if any(isinstance(value, int) and abs(value) >= 2**63 for value in place):
        raise _unusable()
    return direction, place


def page(
    request: Request, results: list[Any], *, following: Sequence[Any] | None, preceding: Sequence[Any] | None
) -> dict[str, Any]:
    """Return a page of results with the absolute addresses of the pages around it, null at the ends."""
    return {
        "next": _address(request, "next", following),
        "previous": _address(request, "previous", preceding),
        "results": results,
    }


def _address(request: Request, direction: str, place: Sequence[Any] | None) -> str | None:
    if place is None:
        return None
    text = base64.urlsafe_b64encode(json.dumps([direction, *place], separators=(",", ":")).encode()).decode()
    asked = {name: value for name, value in request.query_params.items() if name != "cursor"}
    query = urlencode({**asked, "cursor": text.rstrip("=")})
    return request.build_absolute_uri(f"{request.path}?{query}")


def _unusable() -> Exception:
    return bad_parameter("cursor", "This cursor is not one of ours. Take it from `next` or `previous`.")
