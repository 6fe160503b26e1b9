"""Who has an account: invited, given a role, switched off and on again; each change leaves an audit line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from allauth.usersessions.models import UserSession
from auditlog.models import LogEntry
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.contrib.contenttypes.models import ContentType
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import Count, Q
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.http import urlsafe_base64_decode, urlsafe_base64_encode

from dashboard.context import company_name
from dashboard.models import ApiToken
from dashboard.roles import ABILITIES, Ability, Role

ROLE_NAMES = [role.value for role in Role]
UNSENT = ("console", "dummy")  # mail back ends that reach nobody


class NotChanged(Exception):
    """An account cannot be changed like this; the message says why and what to do."""


class _Links(PasswordResetTokenGenerator):
    """Signs links that set a password: each works until it is used, the person signs in, or three days are over."""

    key_salt = "dashboard.people.links"


links = _Links()


@dataclass(frozen=True, slots=True)
class PersonRow:
    """One account. `role` is "" without any; `state` is active, invited (no password yet) or off."""

    pk: int
    name: str
    email: str
    role: str
    is_superuser: bool
    state: str
    last_login: datetime | None
    tokens: int


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One change of an account: who did what to whom, and when."""

    at: datetime
    by: str
    person: str
    what: str


def people() -> list[PersonRow]:
    """Return every account, those that are on first. Two queries."""
    users = get_user_model().objects.annotate(tokens=Count("api_tokens")).prefetch_related("groups")
    return [_row(user) for user in users.order_by("-is_active", "username")]


def able_to(ability: Ability) -> dict[int, str]:
    """Return who has an ability now: {key: username}, by name. One query."""
    roles = [role.value for role, held in ABILITIES.items() if ability in held]
    may = Q(is_superuser=True) | Q(groups__name__in=roles)
    users = get_user_model().objects.filter(may, is_active=True).order_by("username").distinct()
    return dict(users.values_list("pk", "username"))


def name_of(username: str) -> str:
    """Return how a person is called: the full name, or the username where there is none. One query."""
    user = get_user_model().objects.filter(username=username).first()
    return (user.get_full_name() if user else "") or username


def audit_lines(*, limit: int = 20) -> list[AuditLine]:
    """Return the newest changes of accounts. One query, once the kind of entry is known."""
    kind = ContentType.objects.get_for_model(get_user_model())
    rows = LogEntry.objects.filter(content_type=kind).select_related("actor").order_by("-timestamp", "-pk")[:limit]
    return [AuditLine(row.timestamp, _by(row), row.object_repr, _words(row.changes or {})) for row in rows]


def can_send() -> bool:
    """Say whether e-mail goes anywhere on this installation."""
    return not any(name in settings.EMAIL_BACKEND for name in UNSENT)


def invite(email: str, role: Role, *, by: Any) -> Any:
    """Make an account without a password and return it; raises NotChanged when the e-mail has one already."""
    users = get_user_model().objects
    with transaction.atomic():
        if users.filter(Q(email__iexact=email) | Q(username__iexact=email)).exists():
            raise NotChanged("Somebody has an account with this e-mail. Make a new link for it below.")
        user = users.create_user(_free_name(email), email)
        user.groups.add(Group.objects.get(name=role))
        _note(user, {"account": ["", "invited"], "role": ["", role.value]}, by=by)
    return user


def new_link(user: Any, *, by: Any) -> str:
    """Return an address that sets the account's password, once, within three days.

    For somebody who was invited and has not come yet, links given out before stop working.
    """
    if not user.is_active:
        raise NotChanged("This account is off. Switch it on first.")
    if not user.has_usable_password():
        user.set_unusable_password()  # another one: what was signed over the old one fits no more
        user.save(update_fields=["password"])
    _note(user, {"link": ["", "made"]}, by=by)
    uid = urlsafe_base64_encode(str(user.pk).encode())
    return settings.BASE_URL + reverse("dashboard:new_password", args=[uid, links.make_token(user)])


def send_link(user: Any, link: str) -> None:
    """Mail a link to the account's owner."""
    context = {"user": user, "link": link, "company": company_name(), "is_new": not user.has_usable_password()}
    subject = f"{company_name()}: {'your account' if context['is_new'] else 'a new password'}"
    send_mail(subject, render_to_string("email/new_password.txt", context), None, [user.email])


def owner_of(uid: str, token: str) -> Any:
    """Return the account that a link sets the password of; None when the link does not work (any more)."""
    try:
        pk = int(urlsafe_base64_decode(uid))
    except ValueError:
        return None
    user = get_user_model().objects.filter(pk=pk, is_active=True).first()
    return user if user is not None and links.check_token(user, token) else None


def take_password(user: Any, password: str) -> None:
    """Set the password, by which the link is used up, and end what was signed in by the old one."""
    with transaction.atomic():
        user.set_password(password)
        user.save(update_fields=["password"])
        _note(user, {"password": ["", "set by link"]}, by=user)
    _end_sessions(user)


def set_role(user: Any, role: Role, *, by: Any) -> None:
    """Give an account exactly this role; raises NotChanged for the last administrator's."""
    with transaction.atomic():
        _lock()
        before = _row(user).role
        if role != Role.ADMIN:
            _keep_an_admin(user)
        user.groups.remove(*Group.objects.filter(name__in=ROLE_NAMES))
        user.groups.add(Group.objects.get(name=role))
        user.is_superuser = user.is_staff = False
        user.save(update_fields=["is_superuser", "is_staff"])
        _note(user, {"role": [before, role.value]}, by=by)


def switch_off(user: Any, *, by: Any) -> None:
    """Take an account out of use: it is signed out everywhere and its API tokens are gone. Raises NotChanged."""
    if user.pk == by.pk:
        raise NotChanged("You cannot switch your own account off. Another administrator can.")
    with transaction.atomic():
        _lock()
        _keep_an_admin(user)
        user.is_active = False
        user.save(update_fields=["is_active"])
        gone, _ = ApiToken.objects.filter(user=user).delete()
        _note(user, {"account": ["on", "off"], "API tokens": [str(gone), "0"]}, by=by)
    _end_sessions(user)


def switch_on(user: Any, *, by: Any) -> None:
    """Let an account in again, with the password and role it had; tokens have to be made anew."""
    user.is_active = True
    user.save(update_fields=["is_active"])
    _note(user, {"account": ["off", "on"]}, by=by)


# ---- below ----


def _row(user: Any) -> PersonRow:
    held = {group.name for group in user.groups.all()}
    role = "admin" if user.is_superuser else next((name for name in reversed(ROLE_NAMES) if name in held), "")
    state = "off" if not user.is_active else "active" if user.has_usable_password() else "invited"
    return PersonRow(
        user.pk,
        user.get_username(),
        user.email,
        role,
        user.is_superuser,
        state,
        user.last_login,
        getattr(user, "tokens", 0),
    )


def _free_name(email: str) -> str:
    """Return a user name made of the e-mail's first part, with a number where it is taken."""
    name = re.sub(r"[^\w.+-]", "", email.partition("@")[0])[:100] or "user"
    taken = set(get_user_model().objects.filter(username__istartswith=name).values_list("username", flat=True))
    tries: Sequence[str] = [name, *(f"{name}{number}" for number in range(2, len(taken) + 3))]
    lowered = {one.lower() for one in taken}
    return next(one for one in tries if one.lower() not in lowered)


def _lock() -> None:
    """Let one change of administrators go after the other, so that two at once cannot leave none."""
    list(Group.objects.select_for_update().filter(name=Role.ADMIN))


def _keep_an_admin(user: Any) -> None:
    admins = get_user_model().objects.filter(Q(is_superuser=True) | Q(groups__name=Role.ADMIN), is_active=True)
    others = [one for one in admins.exclude(pk=user.pk).distinct() if one.has_usable_password()]
    if not others:
        raise NotChanged("This is the last administrator with a password. Make somebody else one first.")


def _end_sessions(user: Any) -> None:
    for session in UserSession.objects.filter(user=user):
        session.end()


def _note(user: Any, changes: dict[str, list[str]], *, by: Any) -> None:
    LogEntry.objects.create(
        content_type=ContentType.objects.get_for_model(user),
        object_pk=str(user.pk),
        object_id=user.pk,
        object_repr=user.get_username(),
        action=LogEntry.Action.UPDATE,
        changes=changes,
        actor=by,
    )


def _by(row: Any) -> str:
    return row.actor.get_username() if row.actor else "somebody whose account is gone"


def _words(changes: dict[str, list[str]]) -> str:
    """Say what changed, such as: role viewer → finance."""
    named = sorted(changes.items())  # a database may keep them in an order of its own
    return ", ".join(f"{name} {before} → {after}" if before else f"{name} {after}" for name, (before, after) in named)
