"""What we wrote about a customer that stands in other systems: nobody deletes it there but their own people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from crm.models import Match, Message, SyncRecord, WorkState
from crm.selectors.sync import SOBJECTS


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """One thing that stands outside: in `where` (Salesforce, Slack, Email), what it is, and its id there."""

    where: str
    what: str
    their_id: str


def elsewhere(customer_pk: int) -> list[Elsewhere]:
    """Return what stands outside of a customer, for people to look through. Three queries."""
    return list(dict.fromkeys(_found(customer_pk)))


def _found(customer_pk: int) -> Iterator[Elsewhere]:
    matches = Match.objects.filter(customer_id=customer_pk, undone_at__isnull=True)
    for account_id in matches.values_list("account__salesforce_id", flat=True):
        yield Elsewhere("Salesforce", "Account", account_id)
    written = SyncRecord.objects.filter(customer_id=customer_pk, confirmed__gt=0).exclude(salesforce_id="")
    for kind, their_id in written.order_by("pk").values_list("kind", "salesforce_id"):
        yield Elsewhere("Salesforce", SOBJECTS[kind], their_id)
    sent = Message.objects.filter(customer_id=customer_pk, state=WorkState.SENT)
    for channel, topic, their_id in sent.order_by("pk").values_list("channel", "topic", "their_id"):
        yield Elsewhere(channel.capitalize(), f"message, {topic.replace('_', ' ')}", their_id)
