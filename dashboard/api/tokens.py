"""API tokens: made once, kept as a digest, expiring, with a role of their own."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from dashboard.models import ApiToken
from dashboard.roles import ABILITIES, Role, abilities_of

PREFIX = "mrr_"
USE_NOTED_EVERY = timedelta(minutes=1)


class RoleTooHigh(Exception):
    """The token's role could do what its user may not."""


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token as its owner sees it, this once."""

    text: str
    role: Role
    expires_at: datetime


def make(user: Any, role: Role, *, days: int, now: datetime) -> NewToken:
    """Make another token for a user; raises RoleTooHigh when the role has an ability that the user lacks."""
    lacking = ABILITIES[role] - abilities_of(user)
    if lacking:
        raise RoleTooHigh(
            f"A token of role {role} may {_listed(lacking)}, which {user.get_username()} may not. "
            f"Choose a role within {user.get_username()}'s own."
        )
    text = PREFIX + secrets.token_urlsafe(32)
    expires_at = (now + timedelta(days=days)).replace(microsecond=0)
    ApiToken.objects.create(
        user=user, role=role.value, digest=digest(text), last4=text[-4:], created_at=now, expires_at=expires_at
    )
    return NewToken(text, role, expires_at)


def digest(text: str) -> str:
    """Return what is kept of a token. It holds 256 random bits, so a plain SHA-256 cannot be searched for it."""
    return hashlib.sha256(text.encode()).hexdigest()


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Token mrr_…`. The request acts for the token's user, within the token's role."""

    def authenticate(self, request: Request) -> tuple[Any, ApiToken] | None:
        parts = get_authorization_header(request).split()
        if not parts or parts[0].lower() != b"token":
            return None
        if len(parts) != 2:
            raise AuthenticationFailed("Send the header as: Authorization: Token mrr_….")
        now = timezone.now()
        token = ApiToken.objects.select_related("user").filter(digest=digest(parts[1].decode("latin-1"))).first()
        if token is None:
            raise AuthenticationFailed("This token is not known.")
        if token.expires_at <= now:
            raise AuthenticationFailed(f"This token expired on {token.expires_at:%Y-%m-%d}.")
        if not token.user.is_active:
            raise AuthenticationFailed("This token's user is not active any more.")
        _note_use(token, now)
        # dashboard.roles.may looks on Django's own request.
        request._request.token_role = Role(token.role)  # type: ignore[attr-defined]
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return "Token"


def _note_use(token: ApiToken, now: datetime) -> None:
    """Write when the token was used, at most once a minute, so that reading stays reading."""
    if token.last_used_at is None or token.last_used_at < now - USE_NOTED_EVERY:
        stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=now - USE_NOTED_EVERY)
        ApiToken.objects.filter(stale, pk=token.pk).update(last_used_at=now)


def _listed(abilities: frozenset[Any]) -> str:
    return ", ".join(sorted(ability.value.replace("_", " ") for ability in abilities))
