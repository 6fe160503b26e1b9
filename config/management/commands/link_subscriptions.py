"""Say that a subscription of one customer replaces one of another; without names, list what looks like it."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from billing import selectors as billing
from config import pipeline
from crm import selectors as crm
from dashboard.roles import Role
from mrr import links, people
from mrr.links import LinkError, Suggestion
from mrr.models import SubscriptionLink

WRONG_USE = 2
MAY_LINK = (Role.REVOPS, Role.FINANCE, Role.ADMIN)


class Command(BaseCommand):
    help = (
        "Link a subscription that ended to one of another customer that replaced it: both movements get the reason "
        "'migrated'. Without names it lists what looks like a replacement: two customers of one Salesforce Account, "
        "the dates within 7 days. A link can be undone. Nobody is told."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("predecessor", nargs="?", default="", help="the subscription that ended, sub_…")
        parser.add_argument("successor", nargs="?", default="", help="the subscription that replaced it, sub_…")
        parser.add_argument("--source", default="", metavar="SLUG", help="whose they are, where there are several")
        parser.add_argument("--user", default="", metavar="U", help="who links: role revops, finance or admin")
        parser.add_argument("--undo", action="store_true", help="take the predecessor's link back")
        parser.add_argument("--json", action="store_true", help="the result is JSON in any case")

    def handle(self, *, predecessor: str, successor: str, source: str, **options: Any) -> None:
        if not predecessor:
            found = [_as_json(each) for each in suggested()]
            self.stdout.write(json.dumps({"suggestions": found}))
            return
        if bool(successor) == options["undo"]:
            raise CommandError("Name both subscriptions, or the predecessor with --undo.", returncode=WRONG_USE)
        user, source_pk = _user(options["user"]), _source(source)
        try:
            done = _change(source_pk, predecessor, successor, user=user)
        except LinkError as error:
            raise CommandError(str(error), returncode=1) from None
        self.stdout.write(
            json.dumps({"predecessor": done.predecessor, "successor": done.successor, "linked": done.undone_at is None})
        )


def suggested() -> list[Suggestion]:
    """Return what may be replacements among the customers of one Salesforce Account."""
    return links.suggestions(crm.account_ids(billing.customer_pks(billing.live_source_pks())))


def _change(source_pk: int, predecessor: str, successor: str, *, user: str) -> SubscriptionLink:
    """Make or undo the link and bring both customers in step, all or nothing."""
    now = timezone.now()
    with transaction.atomic():
        if successor:
            done = links.link(source_pk, predecessor, successor, user=user, now=now)
        else:
            done = links.undo(source_pk, predecessor, user=user, now=now)
        pipeline.repost(sorted([done.predecessor_customer_id, done.successor_customer_id]), now=now, is_told=False)
    return done


def _user(name: str) -> str:
    user = people.named(name)
    if user is None:
        raise CommandError(f"There is no active user '{name}': name one with --user.", returncode=WRONG_USE)
    if not people.has_role(user, *[role.value for role in MAY_LINK]):
        raise CommandError(f"{name} may not link: it takes role revops, finance or admin.", returncode=WRONG_USE)
    return str(user.get_username())


def _source(slug: str) -> int:
    known = {row.slug: row.pk for row in billing.sources()}
    if slug in known:
        return known[slug]
    if not slug and len(known) == 1:
        return next(iter(known.values()))
    raise CommandError(f"Name a source with --source. There are: {', '.join(known)}.", returncode=WRONG_USE)


def _as_json(each: Suggestion) -> dict[str, Any]:
    return {
        "predecessor": each.predecessor,
        "predecessor_customer": each.predecessor_customer_pk,
        "ended_at": each.ended_at.isoformat(),
        "successor": each.successor,
        "successor_customer": each.successor_customer_pk,
        "began_at": each.began_at.isoformat(),
    }
