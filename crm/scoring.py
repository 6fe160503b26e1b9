"""Evidence that a customer is an Account, and what it weighs. Pure: values in, values out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

WEIGHTS = {"metadata_id": 100, "contact_email": 90, "website_domain": 45, "company_name": 35, "postal_code": 10}


@dataclass(frozen=True, slots=True)
class Reason:
    """One piece of evidence: what it is, what it weighs, and how to say it."""

    kind: str
    weight: int
    text: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """An Account that may be the customer, with all evidence for it. The score is the sum, at most 100."""

    account_id: str
    name: str
    reasons: tuple[Reason, ...]

    @property
    def score(self) -> int:
        return min(100, sum(reason.weight for reason in self.reasons))

    def as_json(self) -> dict[str, object]:
        reasons = [{"kind": reason.kind, "weight": reason.weight, "text": reason.text} for reason in self.reasons]
        return {"account_id": self.account_id, "name": self.name, "score": self.score, "reasons": reasons}


def evidence(kind: str, text: str) -> Reason:
    """Return a piece of evidence with its weight."""
    return Reason(kind, WEIGHTS[kind], text)


def candidates(found: Iterable[tuple[str, str, Reason]]) -> list[Candidate]:
    """Gather (account id, account name, evidence) into one candidate an Account, the best first."""
    names: dict[str, str] = {}
    reasons: dict[str, dict[str, Reason]] = {}
    for account_id, name, reason in found:
        names[account_id] = name
        reasons.setdefault(account_id, {}).setdefault(reason.kind, reason)
    ranked = [Candidate(account_id, names[account_id], tuple(kinds.values())) for account_id, kinds in reasons.items()]
    return sorted(ranked, key=lambda one: (-one.score, one.name, one.account_id))
