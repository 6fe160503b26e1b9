"""Makes an API token, and its user if need be, and prints it this once."""

from __future__ import annotations

import json
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from dashboard.api import tokens
from dashboard.roles import ABILITIES, Role, abilities_of

WRONG_USE = 2
LONGEST_DAYS = 3_650


class Command(BaseCommand):
    help = (
        "Makes an API token and prints it, this once, as JSON on the last line. A user that does not exist is made, "
        "with the token's role and no password. Each call makes another token; an existing user's role stays."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", help="whose token it is")
        parser.add_argument(
            "--role",
            choices=[role.value for role in Role],
            help="what the token may do, within the user's own role (default: the user's role; viewer for a new user)",
        )
        parser.add_argument("--days", type=int, default=365, help="for how long it is good (default 365)")
        parser.add_argument("--json", action="store_true", help="the result is JSON with or without this")

    def handle(self, *args: Any, **options: Any) -> None:
        if not 1 <= options["days"] <= LONGEST_DAYS:
            raise CommandError(f"--days takes 1 to {LONGEST_DAYS}.", returncode=WRONG_USE)
        asked = Role(options["role"]) if options["role"] else None
        with transaction.atomic():
            user = _user(options["username"], asked or Role.VIEWER)
            role = asked or own_role(user)
            try:
                token = tokens.make(user, role, days=options["days"], now=timezone.now())
            except tokens.RoleTooHigh as error:
                raise CommandError(str(error), returncode=WRONG_USE) from error
        self.stdout.write(
            json.dumps(
                {
                    "username": user.get_username(),
                    "role": token.role.value,
                    "token": token.text,
                    "expires": token.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
                }
            )
        )


def own_role(user: Any) -> Role:
    """Return the role that can do most of what a user may; raises CommandError for a user without any."""
    held = abilities_of(user)
    within = [role for role in Role if ABILITIES[role] <= held]
    if not within:
        raise CommandError(f"{user.get_username()} has no role, so no token can act for it.", returncode=WRONG_USE)
    return max(within, key=lambda role: (len(ABILITIES[role]), role is Role.ADMIN))


def _user(username: str, role: Role) -> Any:
    """Return the user, made with the role's group when there is none yet."""
    users = get_user_model()
    user = users.objects.filter(username=username).first()
    if user is None:
        user = users(username=username)
        user.set_unusable_password()
        try:
            user.full_clean(exclude=["password"])
        except ValidationError as error:
            raise CommandError(" ".join(error.messages), returncode=WRONG_USE) from error
        user.save()
        user.groups.add(Group.objects.get_or_create(name=role.value)[0])
    if not user.is_active:
        raise CommandError(f"{username} is not active any more.", returncode=WRONG_USE)
    return user
