"""What was decided about a customer's match: by people, as the audit trail keeps it, and by the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from auditlog.models import LogEntry
from django.contrib.contenttypes.models import ContentType

from crm.models import Match


@dataclass(frozen=True, slots=True)
class MatchDecision:
    """One decision: when, by whom (empty: the machine), and each thing it changed with its value before and after."""

    at: datetime
    by: str
    changes: Mapping[str, tuple[str, str]]


def match_decisions(customer_pk: int, *, limit: int = 20) -> list[MatchDecision]:
    """Return the newest decisions about a customer's match. Two queries, once the kind of entry is known."""
    kind = ContentType.objects.get_for_model(Match._meta.get_field("customer").related_model)
    lines = LogEntry.objects.filter(content_type=kind, object_pk=str(customer_pk), additional_data__isnull=False)
    said = [
        MatchDecision(
            line.timestamp,
            str((line.additional_data or {}).get("by", "")),
            {name: (str(before), str(after)) for name, (before, after) in (line.changes or {}).items()},
        )
        for line in lines.order_by("-timestamp", "-pk")[:limit]
    ]
    alone = Match.objects.filter(customer_id=customer_pk, matched_by="").select_related("account")
    for row in alone.order_by("-matched_at", "-pk")[:limit]:
        account_id = row.account.salesforce_id
        said.append(MatchDecision(row.matched_at, "", {"account": ("", account_id)}))
        if row.undone_at is not None and not row.undone_by:
            said.append(MatchDecision(row.undone_at, "", {"account": (account_id, "")}))
    return sorted(said, key=lambda one: one.at, reverse=True)[:limit]
