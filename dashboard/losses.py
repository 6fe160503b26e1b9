"""Whom a period lost, by reason, plan, tenure, owner, or whether it was a decision: the groups that pages show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from billing import selectors as billing
from crm import selectors as crm
from dashboard.pages.shared import reason
from mrr import selectors as mrr
from mrr.engine.money import shown


class By(StrEnum):
    """What losses are grouped by."""

    REASON = "reason"
    CAUSE = "cause"
    TENURE = "tenure"
    PLAN = "plan"
    OWNER = "owner"


BY = {
    By.REASON: "Reason",
    By.CAUSE: "Decision or payment",
    By.TENURE: "Tenure",
    By.PLAN: "Plan",
    By.OWNER: "Owner",
}
MEANINGS = {
    By.REASON: "The reason is that of the movement that ended the customer's MRR.",
    By.CAUSE: "Lost to a failed payment, or to a decision: everything else.",
    By.TENURE: "Tenure runs from the month of acquisition to the month of the loss.",
    By.PLAN: "The plan is the product that moved most in the movement that ended the customer's MRR.",
    By.OWNER: "The owner is who owns the customer's Salesforce Account now.",
}
_NO_PLAN, _NO_OWNER = "No plan", "No owner known"
_DECISION, _PAYMENT = "decision", "failed payment"


@dataclass(frozen=True)
class Group:
    """The customers lost in one way. Losses are negative; `share` is of the period's churn."""

    key: str
    label: str
    rows: tuple[mrr.Lost, ...]
    micros: int
    minor: int
    share: Fraction | None

    @property
    def customers(self) -> int:
        return len(self.rows)

    @property
    def width(self) -> str:
        """The length of its bar, in percent."""
        return f"{round((self.share or 0) * 100)}%"


@dataclass(frozen=True)
class Losses:
    """The losses of a period in groups, the largest first: they come to its churn, exactly."""

    by: By
    groups: tuple[Group, ...]
    micros: int
    customers: int


def grouped(rows: Sequence[mrr.Lost], by: By, *, churn_minor: int, sources: Sequence[int], sees_people: bool) -> Losses:
    """Group losses; shown amounts are rounded so that they come to the churn as shown.

    Who does not see people reads the ids of owners instead of their names.
    """
    key_of, names = _keys(rows, by, sources, sees_people=sees_people)
    members: dict[str, list[mrr.Lost]] = {}
    for row in rows:
        members.setdefault(key_of(row), []).append(row)
    sums = {key: sum(row.micros for row in own) for key, own in members.items()}
    ranked = sorted(sums, key=lambda key: (sums[key], key))
    total = sum(sums.values())
    # A row of figures may show churn a cent off its own rounding; further off it is wrong, and the tie mark says so.
    total_minor = churn_minor if abs(churn_minor - shown(total)) <= 1 else shown(total)
    minors = mrr.parts_shown(total_minor, [sums[key] for key in ranked])
    return Losses(
        by,
        tuple(
            Group(
                key,
                names(key),
                tuple(members[key]),
                sums[key],
                minor,
                Fraction(sums[key], total) if total else None,
            )
            for key, minor in zip(ranked, minors, strict=True)
        ),
        total,
        len(rows),
    )


def _keys(
    rows: Sequence[mrr.Lost], by: By, sources: Sequence[int], *, sees_people: bool
) -> tuple[Callable[[mrr.Lost], str], Callable[[str], str]]:
    """Return how a loss is told to its group, and how a group is named."""
    if by is By.REASON:
        return (lambda row: row.reason), reason
    if by is By.CAUSE:
        return (lambda row: _DECISION if mrr.is_voluntary(row.reason) else _PAYMENT), str.capitalize
    if by is By.TENURE:
        return (lambda row: mrr.tenure(row.tenure_months)), str.capitalize
    if by is By.PLAN:
        plans = plan_names(rows, sources)
        return (lambda row: row.product or _NO_PLAN), lambda key: plans.get(key, key)
    owners = crm.owners_of([row.customer_pk for row in rows])
    keys = {pk: owner.id or (owner.name if sees_people else _NO_OWNER) for pk, owner in owners.items()}
    named = {keys[pk]: owner.name or owner.id for pk, owner in owners.items()} if sees_people else {}
    return (lambda row: keys.get(row.customer_pk, _NO_OWNER)), lambda key: named.get(key, key)


def plan_names(rows: Sequence[mrr.Lost], sources: Sequence[int]) -> Mapping[str, str]:
    """Return the names of the products that losses were of."""
    found = billing.product_names(sources, {row.product for row in rows if row.product})
    return {product: name for (_, product), name in found.items() if name}
