"""Connect a Salesforce org, or connect it again."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from datetime import UTC
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from crm import callback, connections
from crm.commands import SECRET_HELP, print_result, read_secret, wrong_use


class Command(BaseCommand):
    help = (
        "Try a login to Salesforce, keep it encrypted, and read Accounts and Contacts for matching. A new connection "
        "is in shadow mode: all is worked out and recorded, nothing is written there until it is switched to live."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--instance-url", required=True, metavar="URL", help="https://NAME.my.salesforce.com")
        parser.add_argument("--login-url", default="", metavar="URL", help="where tokens are asked for, if elsewhere")
        parser.add_argument("--client-id", required=True, metavar="ID", help="consumer key of the External Client App")
        parser.add_argument("--client-secret", default="", metavar="S", help=f"client credentials; {SECRET_HELP}")
        parser.add_argument("--jwt-key", default="", metavar="FILE", help="JWT bearer: file of the private key (PEM)")
        parser.add_argument("--username", default="", metavar="U", help="JWT bearer: the integration user")
        parser.add_argument("--refresh-token", default="", metavar="T", help=f"of a person's consent; {SECRET_HELP}")
        parser.add_argument(
            "--callback-secret", default="", metavar="S", help=f"that a Flow calls /callbacks/ with; {SECRET_HELP}"
        )
        parser.add_argument("--mode", default="", choices=["shadow", "live"], help="a new connection is shadow")
        parser.add_argument("--json", action="store_true", help="the result is JSON in any case")

    def handle(self, **options: Any) -> None:
        login = self._login(options)
        callback_secret = self._secret(options, "callback_secret")
        try:
            found = connections.connect(login, mode=options["mode"], now=timezone.now(), report=self._report)
        except connections.NotKnownYet as wait:
            self.stderr.write(str(wait))
            until = wait.until.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            print_result(self, {"connected": False, "code": "invalid_client_id", "retry_until": until})
            sys.exit(1)
        except connections.NotConnected as error:
            raise CommandError(str(error)) from None
        org = found.org
        if callback_secret:
            callback.make_secret(by="connect_salesforce", secret=callback_secret)
        if not found.is_whole:
            self.stderr.write("Not all is read yet: the workers go on with it. Customers are matched once it is.")
        print_result(
            self,
            {
                "connected": True,
                "instance_url": org.instance_url,
                "org_id": org.org_id,
                "sandbox": org.is_sandbox,
                "api_version": org.api_version,
                "mode": org.mode,
                "won_stage": org.won_stage,
                "accounts": found.accounts,
                "contacts": found.contacts,
                "all_read": found.is_whole,
                "matched": found.matched,
                "calls_used": org.calls_used,
                "calls_limit": org.calls_limit,
            },
        )

    def _login(self, options: dict[str, Any]) -> connections.Login:
        ways = [name for name in ("client_secret", "jwt_key", "refresh_token") if options[name]]
        if ways not in (["client_secret"], ["jwt_key"], ["refresh_token"], ["client_secret", "refresh_token"]):
            raise wrong_use("Give one of --client-secret, --jwt-key (with --username) and --refresh-token.")
        if bool(options["jwt_key"]) != bool(options["username"]):
            raise wrong_use("--jwt-key and --username belong together.")
        return connections.Login(
            instance_url=options["instance_url"],
            login_url=options["login_url"],
            client_id=options["client_id"],
            client_secret=self._secret(options, "client_secret"),
            jwt_key=self._key(options["jwt_key"]),
            username=options["username"],
            refresh_token=self._secret(options, "refresh_token"),
        )

    def _secret(self, options: dict[str, Any], name: str) -> str:
        given = options[name]
        return read_secret(self, given, option=f"--{name.replace('_', '-')}") if given else ""

    def _key(self, given: str) -> str:
        """The key itself by env:NAME, or the file that holds it."""
        if not given:
            return ""
        if given.startswith("env:"):
            return read_secret(self, given, option="--jwt-key")
        try:
            return Path(given).read_text()
        except OSError as error:
            raise wrong_use(f"--jwt-key: {given} cannot be read: {error.strerror}.") from None

    def _report(self, count: int) -> None:
        self.stderr.write(f"{count:,} records read …")
