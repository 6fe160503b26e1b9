"""Fills the frame around every page from the request's user and the settings."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest

from dashboard.context import Frame, company_name, nav_groups
from dashboard.roles import Role, abilities_of


def load_frame(request: HttpRequest) -> Frame:
    """Return the frame for the request's user; asks the database nothing that the page's own guard has not asked."""
    user = request.user
    return Frame(
        company=company_name(),
        currency=settings.REPORTING_CURRENCY.upper(),
        groups=nav_groups(abilities_of(user), path=request.path, badges={}),
        user_name=(user.get_full_name() or user.get_username()) if user.is_authenticated else "",
        role_words=_role_words(user),
    )


def _role_words(user: Any) -> str:
    if user.is_superuser:
        return "Admin"
    names = getattr(user, "_role_names", ())  # left on the user by abilities_of
    return ", ".join(role.value.capitalize() for role in Role if role.value in names)
