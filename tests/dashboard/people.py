"""People of each role, and clients that act for them."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone

from dashboard.api import tokens
from dashboard.roles import Role


def person(role: Role | str, username: str = "") -> Any:
    """Make a user with one role."""
    user = get_user_model().objects.create_user(username or f"{role}-person", password="a long enough password")
    user.groups.add(Group.objects.get(name=str(role)))
    return user


def api(role: Role | str, *, user: Any = None, token_role: Role | None = None) -> Client:
    """Return a client with a token of this role."""
    made = tokens.make(user or person(role), token_role or Role(role), days=1, now=timezone.now())
    return Client(headers={"authorization": f"Token {made.text}"})
