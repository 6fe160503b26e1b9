"""Who may change the books: people of the roles finance and admin, which are Django groups."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.auth import get_user_model
from django.db.models import Q

FINANCE: Final = "finance"
ADMIN: Final = "admin"


def named(username: str) -> Any | None:
    """Return the active user of this name, None when there is none."""
    return get_user_model()._default_manager.filter(username=username, is_active=True).first()


def may_keep_books(user: Any) -> bool:
    """Say whether somebody may close months and change the policy."""
    return bool(user.is_active) and has_role(user, FINANCE, ADMIN)


def has_role(user: Any, *roles: str) -> bool:
    return bool(user.is_superuser) or user.groups.filter(name__in=roles).exists()


def others_in_finance(user: Any) -> int:
    """Count the other active people of the role finance."""
    people = get_user_model()._default_manager.filter(is_active=True, groups__name=FINANCE)
    return people.exclude(pk=user.pk).distinct().count()


def is_right_code(user: Any, code: str) -> bool:
    """Say whether this is the one-time code that somebody's authenticator shows now; it is good once."""
    from allauth.mfa.models import Authenticator
    from allauth.mfa.totp.internal.auth import TOTP

    kept = Authenticator.objects.filter(user=user, type=Authenticator.Type.TOTP).first()
    return kept is not None and TOTP(kept).validate_code(code)


def with_authenticator(*, besides: Any) -> list[str]:
    """Return the names of other active admins who can give a one-time code."""
    admins = Q(groups__name=ADMIN) | Q(is_superuser=True)
    people = get_user_model()._default_manager.filter(admins, is_active=True, authenticator__type="totp")
    return sorted(set(people.exclude(pk=besides.pk).values_list("username", flat=True)))
