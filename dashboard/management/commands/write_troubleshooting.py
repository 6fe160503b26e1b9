"""Writes docs/troubleshooting.md from the table of help."""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from dashboard import help as table


class Command(BaseCommand):
    help = "Writes docs/troubleshooting.md from the table of help, so that both say the same."
    requires_system_checks = ()

    def handle(self, **_options: Any) -> None:
        path = settings.BASE_DIR / "docs" / "troubleshooting.md"
        path.write_text(table.markdown(), encoding="utf-8")
        self.stdout.write(json.dumps({"written": str(path.relative_to(settings.BASE_DIR)), "codes": len(table.TOPICS)}))
