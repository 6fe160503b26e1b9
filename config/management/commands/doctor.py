"""Checks the installation and says what to do."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from config import doctor


class Command(BaseCommand):
    help = "Check database, keys, sources, workers, due work, Salesforce and schedules, and say what to do about each."
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="only the JSON line")

    def handle(self, *args: Any, **options: Any) -> None:
        findings = doctor.examine(now=timezone.now())
        if not options["json"]:
            for one in findings:
                self.stderr.write(f"{'ok  ' if one.is_well else 'MEND'} {one.check:18} {one.seen}")
                if one.cure:
                    self.stderr.write(f"     {'':18} {one.cure}")
        failed = sum(not one.is_well for one in findings)
        checks = [
            {"check": one.check, "ok": one.is_well, "seen": one.seen, "cure": one.cure, "code": one.code}
            for one in findings
        ]
        self.stdout.write(json.dumps({"ok": failed == 0, "failed": failed, "checks": checks}))
        if failed:
            sys.exit(1)
