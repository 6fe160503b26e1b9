"""Import how much customers use the product."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from dashboard.imports import command
from dashboard.imports.usage import USAGE


class Command(BaseCommand):
    help = (
        "Import usage from a CSV file with the columns customer,metric,value,at (and source where several Stripe "
        "sources know an id). A bad row is named by line and reason, and nothing is applied unless all rows are good "
        "or --skip-bad is given; bad rows end with exit code 1 either way. The page Imports can undo it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="a .csv file; - reads standard input")
        parser.add_argument("--skip-bad", action="store_true", help="apply the good rows and leave out the bad ones")
        parser.add_argument("--json", action="store_true", help="the result is JSON in any case")

    def handle(self, *, file: str, skip_bad: bool, **_options: Any) -> None:
        result = command.run(self, USAGE, file, skips_bad=skip_bad, now=timezone.now())
        self.stdout.write(json.dumps(result))
        if result["bad"]:
            sys.exit(1)
