"""What stands against trusting the figures: the last check's differences, unsealed entries, unknown prices."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from mrr import seals
from mrr.models import CheckRun, CustomerBalance


@dataclass(frozen=True, slots=True)
class Proof:
    """The last finished check (None: never) with its differences, and when the oldest unsealed entry was posted."""

    checked_at: datetime | None
    differences: int
    first_difference: str
    unsealed_since: datetime | None


def proof() -> Proof:
    """Return how the ledger's last check ended and what waits for a seal. Three queries."""
    last = CheckRun.objects.filter(finished_at__isnull=False).order_by("-pk").first()
    unsealed = seals.waiting_since()
    if last is None:
        return Proof(None, 0, "", unsealed)
    return Proof(last.finished_at, last.differences, str(last.findings[0]) if last.findings else "", unsealed)


def incomplete_balances() -> QuerySet[CustomerBalance]:
    """Return the live customers whose MRR lacks an item's price, for a selector to ask about within its own query."""
    return CustomerBalance.objects.filter(incomplete_items__gt=0, source__livemode=True)
