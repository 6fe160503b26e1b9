"""Add a Stripe source, or change one."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import date
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from billing import sources
from billing.commands import HOW_TO_GIVE, print_result, read_secret, say, wrong_use
from billing.models import SigningSecret


class Command(BaseCommand):
    help = (
        "Add a Stripe account in one mode as a source, or change what is given of one that exists. Several signing "
        "secrets may be active at once, so that one can be rolled without losing an event."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slug", help="short name, part of the endpoint's address: letters, digits, - and _")
        parser.add_argument("--label", default="", metavar="TEXT", help="the name people see; a new source needs one")
        parser.add_argument(
            "--signing-secret", action="append", default=[], metavar="whsec_…", help=f"add one; {HOW_TO_GIVE}"
        )
        parser.add_argument("--remove-signing-secret", default="", metavar="LAST4", help="take one out")
        parser.add_argument(
            "--api-key", default="", metavar="rk_…", help=f"a restricted key that may read; {HOW_TO_GIVE}"
        )
        parser.add_argument("--allow-secret-key", action="store_true", help="accept a full secret key (sk_live_…)")
        mode = parser.add_mutually_exclusive_group()
        mode.add_argument("--test-mode", action="store_true", help="Stripe's test data: left out of every total")
        mode.add_argument("--live-mode", action="store_true", help="real money (what a new source is without this)")
        parser.add_argument("--account", default=None, metavar="acct_…", help="the Connect account its events name")
        parser.add_argument("--history-from", type=date.fromisoformat, metavar="DATE", help="when the history begins")
        parser.add_argument("--json", action="store_true", help="the result is JSON in any case")

    def handle(self, *, slug: str, **options: Any) -> None:
        account = options["account"]
        if account and not account.startswith("acct_"):
            raise wrong_use("--account: an account starts with acct_.")
        secrets = [read_secret(self, given, option="--signing-secret") for given in options["signing_secret"]]
        key = read_secret(self, options["api_key"], option="--api-key") if options["api_key"] else ""
        livemode = {(True, False): False, (False, True): True}.get((options["test_mode"], options["live_mode"]))
        try:
            source, is_new = sources.add(
                slug,
                label=options["label"],
                signing_secrets=secrets,
                api_key=key,
                livemode=livemode,
                account_id=account,
                history_from=options["history_from"],
                remove_last4=options["remove_signing_secret"],
                allow_secret_key=options["allow_secret_key"],
            )
        except sources.SourceError as error:
            raise wrong_use(str(error)) from None
        active = list(SigningSecret.objects.filter(source=source).order_by("pk").values_list("last4", flat=True))
        if not active:
            say(self, "Without a signing secret nothing can be received yet. Add it with --signing-secret.")
        print_result(
            self,
            {
                "slug": source.slug,
                "label": source.label,
                "mode": "live" if source.livemode else "test",
                "created": is_new,
                "webhook_url": f"{settings.BASE_URL}/webhooks/stripe/{source.slug}/",
                "signing_secrets": active,
                "api_key": f"…{source.api_key[-4:]}" if source.api_key else None,
                "account": source.account_id or None,
                "history_from": source.history_from.isoformat() if source.history_from else None,
            },
        )
