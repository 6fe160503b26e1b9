"""Who may do what: five roles, held as Django groups, and the abilities each brings."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase


class Role(StrEnum):
    VIEWER = "viewer"
    ANALYST = "analyst"
    REVOPS = "revops"
    FINANCE = "finance"
    ADMIN = "admin"


class Ability(StrEnum):
    """What a route asks for. Who maps does not close; who connects does neither, but may agree to a reopening."""

    SEE_FIGURES = "see_figures"
    SEE_PEOPLE = "see_people"
    EXPORT = "export"
    ANNOTATE = "annotate"
    MATCH = "match"
    RETRY = "retry"
    CLOSE = "close"
    REOPEN = "reopen"
    IMPORT = "import"
    SUMMARISE = "summarise"
    CONNECT = "connect"
    MANAGE_USERS = "manage_users"
    FORGET = "forget"


ABILITIES: dict[Role, frozenset[Ability]] = {
    Role.VIEWER: frozenset({Ability.SEE_FIGURES}),
    Role.ANALYST: frozenset({Ability.SEE_FIGURES, Ability.SEE_PEOPLE, Ability.EXPORT}),
    Role.REVOPS: frozenset(
        {
            Ability.SEE_FIGURES,
            Ability.SEE_PEOPLE,
            Ability.EXPORT,
            Ability.ANNOTATE,
            Ability.MATCH,
            Ability.RETRY,
            Ability.IMPORT,
        }
    ),
    Role.FINANCE: frozenset(
        {
            Ability.SEE_FIGURES,
            Ability.SEE_PEOPLE,
            Ability.EXPORT,
            Ability.ANNOTATE,
            Ability.CLOSE,
            Ability.REOPEN,
            Ability.IMPORT,
            Ability.SUMMARISE,
        }
    ),
    Role.ADMIN: frozenset(
        {
            Ability.SEE_FIGURES,
            Ability.SEE_PEOPLE,
            Ability.EXPORT,
            Ability.ANNOTATE,
            Ability.REOPEN,
            Ability.RETRY,
            Ability.SUMMARISE,
            Ability.CONNECT,
            Ability.MANAGE_USERS,
            Ability.FORGET,
        }
    ),
}


def abilities_of(user: Any, *, limited_to: Role | None = None) -> frozenset[Ability]:
    """Return what a user may do: the union over the user's groups; a superuser may do all.

    `limited_to` is the role of an API token: it can only take abilities away.
    """
    if not user.is_authenticated or not user.is_active:
        return frozenset()
    if user.is_superuser:
        held = frozenset(Ability)
    else:
        names = getattr(user, "_role_names", None)
        if names is None:
            names = user._role_names = set(user.groups.values_list("name", flat=True))
        held = frozenset().union(*(ABILITIES[role] for role in Role if role.value in names))
    return held & ABILITIES[limited_to] if limited_to else held


def may(request: HttpRequest, ability: Ability) -> bool:
    """Say whether the request's user, within the role of its token if there is one, has an ability."""
    return ability in abilities_of(request.user, limited_to=getattr(request, "token_role", None))


def requires(ability: Ability) -> Callable[[Callable[..., HttpResponseBase]], Callable[..., HttpResponseBase]]:
    """Close a view to everybody without the ability: 403 for them, the login page for strangers."""

    def wrap(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not may(request, ability):
                raise PermissionDenied(
                    f"This needs the ability '{ability}'. Ask an administrator for a role that has it."
                )
            return view(request, *args, **kwargs)

        guarded.ability = ability  # type: ignore[attr-defined]  # the route matrix test reads it
        return guarded

    return wrap
