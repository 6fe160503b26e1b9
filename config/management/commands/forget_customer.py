"""Forget the person behind a customer."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from billing import forgetting as billing
from billing.commands import print_result, say, wrong_use
from billing.models import Forgetting
from config import forgetting
from dashboard.roles import Ability, abilities_of
from mrr.people import named


class Command(BaseCommand):
    help = (
        "Forget the person behind a customer, for good: names, e-mails, phones, addresses, descriptions and notes go "
        "from events, mirror, matches, messages and logs; what arrives later is redacted first. Figures, ids and "
        "hashes stay. What we wrote to Salesforce, Slack and by e-mail is not deleted there: it is listed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slug", help="the source's short name")
        parser.add_argument("customer", help="the customer's id in Stripe, cus_…")
        parser.add_argument("--user", required=True, metavar="U", help="who asks: an administrator's username")
        parser.add_argument("--reason", required=True, metavar="TEXT", help="why; it is kept, so it names nobody")
        parser.add_argument("--json", action="store_true", help="the result is JSON in any case")

    def handle(self, *, slug: str, customer: str, user: str, reason: str, **_options: Any) -> None:
        person = named(user)
        if person is None or Ability.FORGET not in abilities_of(person):
            raise wrong_use(f"--user: there is no administrator '{user}'.")
        if not reason.strip():
            raise wrong_use("--reason: say why.")
        now = timezone.now()
        try:
            row = billing.ask(slug, customer, by=user, reason=reason.strip(), now=now)
        except (billing.UnknownCustomer, billing.NamesSomebody) as error:
            raise wrong_use(str(error)) from None
        forgetting.run_due(now=now, tell=lambda step: say(self, step))
        row = Forgetting.objects.get(pk=row.pk)
        if row.done_at is None:
            say(self, f"Not done yet: {row.error} It is tried again in a few minutes.")
        print_result(self, {"source": slug, "customer": customer, "forgotten": row.done_at is not None, **row.result})
        if row.done_at is None:
            raise SystemExit(1)
