"""Installs the scheduled jobs from code."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand

from config import schedules


class Command(BaseCommand):
    help = "Install the scheduled jobs from code. Safe to repeat; jobs that code does not know are removed."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(json.dumps(asdict(schedules.sync())))
