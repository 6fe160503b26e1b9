"""Look now for deliveries that a source missed, or recount it against Stripe; both run by the clock anyway."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any, Final

from django.core.management.base import BaseCommand
from django.utils import timezone

from billing import catch_up
from billing import selectors as billing
from billing.commands import print_result, say, wrong_use
from billing.models import StripeSource
from billing.progress import counters
from config import reading

SHOWN: Final = 200


class Command(BaseCommand):
    help = (
        "Ask Stripe for events that it could not deliver, and for all since the last one that came: what is new to us "
        "is named, kept and processed, and nobody is told. With --recount every object that MRR rests on is held "
        "against our rows too, and every customer's MRR against what Stripe says now. Exit 1 when something was found."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slug", help="the source")
        parser.add_argument("--recount", action="store_true", help="hold objects and MRR against Stripe too")
        parser.add_argument("--json", action="store_true", help="the result is JSON in any case")

    def handle(self, *, slug: str, recount: bool, **_options: Any) -> None:
        source = StripeSource.objects.filter(slug=slug).first()
        if source is None:
            raise wrong_use(f"There is no source '{slug}'. Add it with add_source.")
        start = catch_up.start_recount if recount else catch_up.start
        listing = start(source, by="command", now=timezone.now())
        with counters("Asking Stripe") as shown:
            found = reading.read(listing, tell=shown)
        if found.row.code:
            say(self, f"Stopped ({found.row.code}): {found.row.error}")
        named = [
            {"kind": one.kind, "id": one.stripe_id, "how": one.how, "repaired": one.repaired_at is not None}
            for one in billing.findings(listing.pk, limit=SHOWN)
        ]
        print_result(self, found.as_json() | {"found": found.row.findings, "findings": named})
        if found.row.findings or not found.row.is_complete:
            sys.exit(1)
