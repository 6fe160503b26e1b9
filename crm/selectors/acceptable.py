"""Unmatched customers with one candidate alone, which a person may accept all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crm import scoring
from crm.models import SalesforceOrg, Unmatched
from mrr import selectors as mrr


@dataclass(frozen=True, slots=True)
class Acceptable:
    """How many customers there are, their MRR by currency, and each with the Account it would get."""

    count: int
    mrr_micros: Mapping[str, int]
    pairs: tuple[tuple[int, str], ...]


def acceptable(min_score: int, *, sources: Sequence[int] | None = None, limit: int = 2000) -> Acceptable:
    """Return customers whose only candidate, as scoring.acceptable says, has at least so many points. Three queries.

    Whom a person ignored, snoozed or set aside is left out; at most `limit`, those that wait longest.
    """
    rows = Unmatched.objects.filter(ignored_because="", waits_for="", snoozed_until=None).exclude(candidates=[])
    if sources is not None:
        rows = rows.filter(customer__source_id__in=sources)
    pairs: list[tuple[int, str]] = []
    threshold = match_threshold()
    for pk, candidates in rows.order_by("since", "pk").values_list("customer_id", "candidates").iterator():
        best = scoring.acceptable([scoring.read(one) for one in candidates], threshold=threshold)
        if best is not None and best.score >= min_score:
            pairs.append((pk, best.account_id))
        if len(pairs) == limit:
            break
    totals: dict[str, int] = {}
    for held in mrr.balances([pk for pk, _ in pairs]).values():
        for one in held:
            totals[one.currency] = totals.get(one.currency, 0) + one.mrr_micros
    return Acceptable(len(pairs), totals, tuple(pairs))


def match_threshold() -> int:
    """Return the points from which a customer is matched without a person; those of a new org where there is none."""
    found = SalesforceOrg.objects.order_by("pk").values_list("match_threshold", flat=True).first()
    return int(SalesforceOrg._meta.get_field("match_threshold").default) if found is None else found
