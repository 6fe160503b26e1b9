"""How a page that is worked on without loads is asked for parts, and how a decision leads back where nobody scripts."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse


class Outcome(StrEnum):
    """What becomes of the row that was decided on: it goes, stays as it was, comes back, or says something else."""

    GONE = "gone"
    STAYS = "stays"
    BACK = "back"
    CHANGED = "changed"


def is_asked(request: HttpRequest, name: str) -> bool:
    """Say whether only a part of the page is asked for, because the rest is there already."""
    return request.headers.get("HX-Target") == name


def is_script(request: HttpRequest) -> bool:
    """Say whether a script sent the decision, which takes parts for an answer."""
    return request.headers.get("HX-Request") == "true"


def way_back(request: HttpRequest, query: Mapping[str, str], *, refused: str = "", done: str = "") -> HttpResponse:
    """Go back to the workbench as it was filtered, and say what became of the decision."""
    if refused:
        messages.error(request, refused)
    elif done:
        messages.success(request, done)
    kept = urlencode({name: value for name, value in query.items() if value})
    return redirect(f"{reverse('dashboard:unmatched')}{'?' if kept else ''}{kept}")
