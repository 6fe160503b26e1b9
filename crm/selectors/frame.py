"""What waits for people, for the frame of every page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Exists, Subquery

from crm.models import (
    CustomerRisk,
    SalesforceOrg,
    SyncRecord,
    Unmatched,
    WorkState,
)
from crm.selectors.lists import counted
from mrr import selectors as mrr


@dataclass(frozen=True, slots=True)
class CrmPulse:
    """What waits for people: unmatched customers, those at risk, parked records; and how Salesforce is connected.

    `mode` is live or shadow, and held while all writes are.

    `is_reopening_asked`: somebody wants a closed month open again (mrr.reopening_asked says who); it is read here along
    with the rest, since every page must tell. So is `is_departed`: the last closed month is no longer what was signed
    (mrr.departed says by how much). So is `is_incomplete`: an item's price is not known. `policy_version` is
    None while Salesforce is not connected.
    """

    unmatched: int = 0
    at_risk: int = 0
    parked: int = 0
    mode: str = ""
    error: str = ""
    is_reopening_asked: bool = False
    policy_version: int | None = None
    is_incomplete: bool = False
    is_departed: bool = False


def pulse() -> CrmPulse:
    """Return the pulse for the frame of every page: one query, two while Salesforce is not connected."""
    counts = {
        "unmatched": counted(Unmatched.objects.filter(ignored_because="")),
        "at_risk": counted(CustomerRisk.objects.filter(customer__source__livemode=True)),
        "parked": counted(SyncRecord.objects.filter(state=WorkState.PARKED)),
    }
    org = SalesforceOrg.objects.order_by("pk").annotate(**{name: Subquery(rows) for name, rows in counts.items()})
    org = org.annotate(asked=Exists(mrr.waiting_reopening()), policy=Subquery(mrr.newest_policy()))
    org = org.annotate(lacks=Exists(mrr.incomplete_balances()), departed=Exists(mrr.waiting_departure()))
    found: Any = org.values_list(
        "unmatched", "at_risk", "parked", "mode", "error", "asked", "policy", "held_since", "lacks", "departed"
    ).first()
    if found is not None:
        unmatched, at_risk, parked, mode, error, asked, policy, held_since, lacks, departed = found
        mode, policy = "held" if held_since else mode, policy or mrr.FIRST_POLICY
        return CrmPulse(unmatched or 0, at_risk or 0, parked or 0, mode, error, asked, policy, lacks, departed)
    alone: Any = mrr.marks().annotate(unmatched=Subquery(counts["unmatched"]))
    unmatched, asked, lacks, departed = alone.values_list("unmatched", "asked", "lacks", "departed").get()
    return CrmPulse(unmatched or 0, is_reopening_asked=asked, is_incomplete=lacks, is_departed=departed)
