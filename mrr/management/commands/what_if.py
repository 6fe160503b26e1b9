"""Compare the policy in force with another one: two month series and what each setting makes of them."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from mrr import policies
from mrr.engine.money import major, shown
from mrr.engine.policy import PRESETS, PolicyError
from mrr.what_if import PARTS, ComparedMonth, Figures, WhatIf, what_if

WRONG_USE = 2


class Command(BaseCommand):
    help = (
        "Replay the whole company under another policy, in memory, and show MRR month by month under both with what "
        "each setting makes of the difference. Settings are applied one after another, in the order shown. Nothing is "
        "written; set_policy puts a policy in force."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("rules", nargs="*", metavar="KEY=VALUE", help="such as discounts=none churn_at=request")
        parser.add_argument("--preset", default="", metavar="NAME", help=f"start from one of: {', '.join(PRESETS)}")
        parser.add_argument("--json", action="store_true", help="the last line is JSON in any case; no table")

    def handle(self, *, rules: list[str], preset: str, **options: Any) -> None:
        if not rules and not preset:
            raise CommandError("Name a preset (--preset stripe) or settings (KEY=VALUE).", returncode=WRONG_USE)
        try:
            theirs = policies.chosen(rules, preset=preset)
        except PolicyError as error:
            raise CommandError(str(error), returncode=WRONG_USE) from None
        began = time.process_time()
        found = what_if(theirs, now=timezone.now(), tell=self._tell)
        seconds = time.process_time() - began
        if not options["json"]:
            self._write_table(found)
        self.stdout.write(json.dumps({**as_json(found), "preset": preset or None, "seconds": f"{seconds:.2f}"}))

    def _tell(self, done: int, of: int) -> None:
        self.stderr.write(f"{done} of {of} customers")

    def _write_table(self, found: WhatIf) -> None:
        for cause in found.causes:
            self.stdout.write(f"{cause.key}: {cause.ours} → {cause.theirs}")
        if not found.causes:
            self.stdout.write("The policies are the same.")
        for currency, months in found.currencies.items():
            heads = ["Month", "In force", "What if", "Difference", *[cause.key for cause in found.causes]]
            rows = [heads, *[_row(month, currency) for month in months]]
            widths = [max(len(row[place]) for row in rows) for place in range(len(heads))]
            self.stdout.write(f"\nMRR in {currency.upper()}, balance at the month's end")
            for row in rows:
                cells = [
                    cell.ljust(width) if not place else cell.rjust(width)
                    for place, (cell, width) in enumerate(zip(row, widths, strict=True))
                ]
                self.stdout.write("  ".join(cells))


def as_json(found: WhatIf) -> dict[str, Any]:
    """Return the comparison as the command prints it; amounts in minor units as shown and in exact micros."""
    return {
        "policy_version": found.ours.version,
        "order": [cause.key for cause in found.causes],
        "causes": [{"key": cause.key, "ours": cause.ours, "theirs": cause.theirs} for cause in found.causes],
        "customers": found.customers,
        "currencies": [
            {
                "currency": currency,
                "difference_micros": months[-1].difference_micros,
                "causes_micros": dict(months[-1].causes),
                "months": [
                    {
                        "month": f"{month.month:%Y-%m}",
                        "ours": _figures(month.ours),
                        "theirs": _figures(month.theirs),
                        "difference_micros": month.difference_micros,
                        "causes_micros": dict(month.causes),
                    }
                    for month in months
                ],
            }
            for currency, months in found.currencies.items()
        ],
    }


def _figures(figures: Figures) -> dict[str, int]:
    return {
        "opening_micros": figures.opening_micros,
        **{f"{part}_micros": figures.parts[part] for part in PARTS},
        "closing_micros": figures.closing_micros,
        "closing_minor": shown(figures.closing_micros),
    }


def _row(month: ComparedMonth, currency: str) -> list[str]:
    def written(micros: int) -> str:
        return major(shown(micros), currency)

    return [
        f"{month.month:%Y-%m}",
        written(month.ours.closing_micros),
        written(month.theirs.closing_micros),
        written(month.difference_micros),
        *[written(micros) for micros in month.causes.values()],
    ]
