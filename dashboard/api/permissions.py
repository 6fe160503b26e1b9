"""Which role a route asks for, and what of the answer it may not see."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import NotAuthenticated
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from dashboard.api.errors import ApiError
from dashboard.roles import Ability, may

MASK = "•••"


def needs(ability: Ability) -> type[BasePermission]:
    """Return the permission that lets in whoever has an ability, within the role of the token used."""

    class Needs(BasePermission):
        def has_permission(self, request: Request, view: Any) -> bool:
            if not request.user.is_authenticated:
                raise NotAuthenticated("Send a token (Authorization: Token mrr_…) or sign in.")
            if not may(request, ability):
                raise ApiError(403, "forbidden", f"Your role may not do this: it needs '{ability}'.")
            return True

    Needs.__name__ = f"Needs_{ability}"
    return Needs


def sees_people(request: Request) -> bool:
    """Say whether names, e-mails and other personal data may be shown."""
    return may(request, Ability.SEE_PEOPLE)


def masked(text: str | None, *, is_shown: bool) -> str | None:
    """Return a text as it is, or as dots when it may not be shown; what is empty is null either way."""
    if not text:
        return None
    return text if is_shown else MASK
