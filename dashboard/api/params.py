"""Reads parameters of the API; a 400 names the one that is wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from enum import StrEnum
from typing import TypeVar

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from billing import selectors as billing
from billing.selectors import SourceRow
from dashboard.api.errors import bad_parameter
from mrr.selectors import reporting_zone

SOURCE = OpenApiParameter(
    "source", str, description="Slug of one Stripe source. Without it all live sources; test sources only by name."
)
CURRENCY = OpenApiParameter("currency", str, description="Three letters; the reporting currency unless given.")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MONTH = re.compile(r"\d{4}-\d{2}", re.ASCII)
_CURRENCY = re.compile(r"[a-z]{3}", re.ASCII)
Choice = TypeVar("Choice", bound=StrEnum)


def text(request: Request, name: str) -> str:
    """Return a parameter without spaces around it; empty when it is not given. NUL characters are refused."""
    value = request.query_params.get(name, "").strip()
    if "\x00" in value:
        raise bad_parameter(name, "This holds a character that no name has.")
    return value


def today() -> date:
    """Return the day it is in the reporting zone."""
    return timezone.now().astimezone(reporting_zone()).date()


def day(request: Request, name: str) -> date | None:
    """Return a day written as YYYY-MM-DD, None when not given."""
    value = text(request, name)
    if not value:
        return None
    try:
        if _DAY.fullmatch(value):
            return _in_reach(name, date.fromisoformat(value))
    except ValueError:
        pass
    raise bad_parameter(name, "Write a day as YYYY-MM-DD.")


def month(request: Request, name: str) -> date | None:
    """Return the first day of a month written as YYYY-MM, None when not given."""
    value = text(request, name)
    if not value:
        return None
    try:
        if _MONTH.fullmatch(value):
            return _in_reach(name, date.fromisoformat(f"{value}-01"))
    except ValueError:
        pass
    raise bad_parameter(name, "Write a month as YYYY-MM.")


def currency(request: Request) -> str | None:
    """Return a currency in lower case, None when not given."""
    value = text(request, "currency").lower()
    if value and not _CURRENCY.fullmatch(value):
        raise bad_parameter("currency", "A currency has three letters, such as usd.")
    return value or None


def choice(request: Request, name: str, kind: type[Choice], *, default: Choice) -> Choice:
    """Return one of the values of an enumeration."""
    value = text(request, name)
    if not value:
        return default
    try:
        return kind(value)
    except ValueError:
        raise bad_parameter(name, f"Known are: {', '.join(kind)}.") from None


def flag(request: Request, name: str) -> bool:
    """Return whether a parameter is set: 1 or true; 0, false or nothing is not."""
    value = text(request, name).lower()
    if value not in ("", "0", "1", "false", "true"):
        raise bad_parameter(name, "Give 1 or 0.")
    return value in ("1", "true")


def source(request: Request) -> SourceRow | None:
    """Return the source named by its slug, None when none is named."""
    value = text(request, "source")
    return source_by_slug(value) if value else None


def source_by_slug(slug: str) -> SourceRow:
    """Return a source by its slug; raises a 400 that names the field."""
    found = next((known for known in billing.sources() if known.slug == slug), None)
    if found is None:
        raise bad_parameter("source", f"There is no source '{slug}'.")
    return found


def source_pks(request: Request) -> Sequence[int] | None:
    """Return the sources a request is about, None for all live ones."""
    found = source(request)
    return None if found is None else [found.pk]


def _in_reach(name: str, value: date) -> date:
    # The days around a date are computed too, so the calendar's first and last years are out of reach.
    if not 1970 <= value.year <= 9000:
        raise bad_parameter(name, "Give a year from 1970 on.")
    return value
