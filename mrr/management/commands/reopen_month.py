"""Ask to reopen the last closed month, or grant what somebody else asked."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from mrr import close
from mrr.management.commands.close_month import iso, month, named
from mrr.models import ActionKind
from mrr.selectors.closing import NOTICE


class Command(BaseCommand):
    help = (
        "Ask to reopen the last closed month. The same call by another person of the role finance or admin grants it. "
        "Where nobody else is in finance, an admin's one-time code grants it too, or the asker's second call after 24 "
        "hours, during which every page shows what was asked. Exit 1, with the reason, when it cannot be done."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("month", type=month, metavar="YYYY-MM")
        parser.add_argument("--user", required=True, help="who asks, or grants")
        parser.add_argument("--reason", default="", metavar="TEXT", help="why; kept for ever, so name no customer")
        parser.add_argument("--code", default="", help="the one-time code an admin's authenticator shows now")
        parser.add_argument("--code-of", default="", metavar="USERNAME", help="whose code it is")
        parser.add_argument("--json", action="store_true", help="the result is JSON in any case")

    def handle(self, *, month: date, user: str, reason: str, code: str, code_of: str, **_options: Any) -> None:
        who = named(user)
        admin = named(code_of) if code_of else None
        try:
            action = close.reopen(month, user=who, reason=reason, now=timezone.now(), code=code, code_of=admin)
        except close.Refused as refused:
            raise CommandError(str(refused)) from None
        said: dict[str, Any] = {"month": f"{action.month:%Y-%m}", "state": action.kind, "by": user}
        if action.kind == ActionKind.REOPEN_ASKED:
            said |= {"asked_at": iso(action.made_at), "alone_at": iso(action.made_at + NOTICE)}
            self.stderr.write("Asked. The same call by another person of the role finance or admin reopens it.")
        else:
            assert action.answers is not None
            said |= {
                "asked_by": action.answers.made_by.get_username(),
                "manner": action.manner,
                "reopened_at": iso(action.made_at),
            }
        self.stdout.write(json.dumps(said))
