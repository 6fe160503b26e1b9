"""Say what the org lacks for our writes."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from crm.channels.kinds import ChannelError
from crm.commands import print_result, wrong_use
from crm.models import SalesforceOrg


class Command(BaseCommand):
    help = (
        "Compare the objects, fields, types and rights we write with what the connected org has. "
        "Exit 1 when something is missing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--check", action="store_true", help="compare (what happens without options)")
        what.add_argument(
            "--deploy", action="store_true", help="not offered: deploy the metadata from Setup or the CLI"
        )
        parser.add_argument("--json", action="store_true", help="the result is JSON in any case")

    def handle(self, *, deploy: bool, **_options: Any) -> None:
        from crm.channels.salesforce import setup
        from crm.channels.salesforce.client import Client

        if deploy:
            raise wrong_use("This version does not deploy metadata. Make the fields that --check names in Setup.")
        org = SalesforceOrg.objects.order_by("pk").first()
        if org is None or org.is_demo:
            raise wrong_use("No Salesforce org is connected. Connect one with connect_salesforce.")
        try:
            with Client(org, now=timezone.now()) as client:
                findings = setup.check(client, report=lambda sobject: self.stderr.write(f"Reading {sobject} …"))
        except ChannelError as error:
            raise CommandError(f"{error.message} ({error.code})") from None
        for finding in findings:
            self.stderr.write(finding.text)
        rows = [
            {"object": one.sobject, "field": one.field or None, "code": one.code, "message": one.text}
            for one in findings
        ]
        print_result(self, {"org_id": org.org_id, "ready": not findings, "findings": rows})
        if findings:
            sys.exit(1)
