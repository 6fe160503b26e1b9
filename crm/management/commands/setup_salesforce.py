"""Say what the org lacks for our writes, deploy it, or name the org's own fields."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from crm import org_setup
from crm.channels.salesforce.checks import Finding
from crm.commands import print_result, wrong_use
from crm.models import SalesforceOrg


class Command(BaseCommand):
    help = (
        "Compare the objects, fields, types, rights, stages and rules that our writes meet with what the connected org "
        "has; deploy what it lacks; or take a mapping to the org's own fields. Exit 1 when something is missing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--check", action="store_true", help="compare (what happens without options)")
        what.add_argument(
            "--deploy",
            action="store_true",
            help="make our object, fields and permission set and assign it; repeated it changes nothing",
        )
        what.add_argument("--mapping", metavar="FILE", help="try a mapping of our fields to the org's, and use it")
        what.add_argument("--show-mapping", action="store_true", help="print the mapping in use, to be changed")
        parser.add_argument("--json", action="store_true", help="the result is JSON in any case")

    def handle(self, *, deploy: bool, mapping: str | None, show_mapping: bool, **_options: Any) -> None:
        org = SalesforceOrg.objects.order_by("pk").first()
        if org is None or org.is_demo:
            raise wrong_use("No Salesforce org is connected. Connect one with connect_salesforce.")
        if show_mapping:
            self.stdout.write(org_setup.mapping_file().rstrip())
            return
        try:
            if mapping is not None:
                self._map(mapping)
            elif deploy:
                self._deploy(org.org_id)
            else:
                findings = org_setup.check(now=timezone.now(), report=self._say)
                self._end(org.org_id, findings, {})
        except org_setup.NotDone as error:
            raise CommandError(str(error)) from None

    def _deploy(self, org_id: str) -> None:
        done, findings = org_setup.deploy(now=timezone.now(), report=self._say)
        if not done.is_done:
            raise CommandError("Salesforce still works on the deployment. Run the same command again to go on with it.")
        for name in done.changed:
            self._say(f"Made or changed: {name}")
        if done.is_assigned:
            self._say("The permission set was assigned to the integration user.")
        if not done.has_changed:
            self._say("Nothing to change: the org has all of it.")
        self._end(org_id, findings, {"changed": list(done.changed), "assigned": done.is_assigned})

    def _map(self, path: str) -> None:
        try:
            text = sys.stdin.read() if path == "-" else Path(path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise wrong_use(f"--mapping: {path} cannot be read: {error}.") from None
        found = org_setup.use_mapping(text, now=timezone.now())
        rows = [
            {"object": one.sobject, "fields": dict(one.fields), "taken": one.is_taken, "message": one.text or None}
            for one in found.tried
        ]
        for one in found.refused:
            self._say(f"Refused: {one.sobject}: {one.text}")
        print_result(self, {"kept": found.is_kept, "objects_owed_again": list(found.changed), "tried": rows})
        if not found.is_kept:
            sys.exit(1)

    def _end(self, org_id: str, findings: Sequence[Finding], more: dict[str, Any]) -> None:
        for finding in findings:
            self._say(f"{'May refuse: ' if finding.is_remark else ''}{finding.text}")
        missing = [one for one in findings if not one.is_remark]
        print_result(
            self,
            {
                "org_id": org_id,
                "ready": not missing,
                **more,
                "findings": [_row(one) for one in missing],
                "remarks": [_row(one) for one in findings if one.is_remark],
            },
        )
        if missing:
            sys.exit(1)

    def _say(self, text: str) -> None:
        self.stderr.write(text)


def _row(one: Finding) -> dict[str, str | None]:
    return {"object": one.sobject or None, "field": one.field or None, "code": one.code, "message": one.text}
