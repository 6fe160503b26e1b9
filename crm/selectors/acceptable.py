"""Unmatched customers with one candidate alone, which a person may accept all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from crm.models import Unmatched
from mrr import selectors as mrr

NEAR: Final = 20  # points below the best: who stands so near is a rival, and is never passed over


@dataclass(frozen=True, slots=True)
class Acceptable:
    """How many customers there are, their MRR by currency, and each with the Account it would get."""

    count: int
    mrr_micros: Mapping[str, int]
    pairs: tuple[tuple[int, str], ...]


def acceptable(min_score: int, *, sources: Sequence[int] | None = None, limit: int = 2000) -> Acceptable:
    """Return customers whose only candidate, with no other near it, has at least so many points. Two queries.

    Whom a person ignored, snoozed or set aside is left out; at most `limit`, those that wait longest.
    """
    rows = Unmatched.objects.filter(ignored_because="", waits_for="", snoozed_until=None).exclude(candidates=[])
    if sources is not None:
        rows = rows.filter(customer__source_id__in=sources)
    pairs: list[tuple[int, str]] = []
    for pk, candidates in rows.order_by("since", "pk").values_list("customer_id", "candidates").iterator():
        best = candidates[0]
        if best["score"] >= min_score and stands_alone(candidates, best["account_id"]):
            pairs.append((pk, best["account_id"]))
        if len(pairs) == limit:
            break
    totals: dict[str, int] = {}
    for held in mrr.balances([pk for pk, _ in pairs]).values():
        for one in held:
            totals[one.currency] = totals.get(one.currency, 0) + one.mrr_micros
    return Acceptable(len(pairs), totals, tuple(pairs))


def stands_alone(candidates: Sequence[Mapping[str, Any]], account_id: str) -> bool:
    """Say whether an Account is the best candidate and no other is near it."""
    if not candidates or candidates[0]["account_id"] != account_id:
        return False
    return all(one["score"] < candidates[0]["score"] - NEAR for one in candidates[1:])
