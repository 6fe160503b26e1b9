"""Writes out how an item's monthly amount comes about, from the terms an entry keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from billing import selectors as billing
from mrr import policies, selectors
from mrr.engine import formulas
from mrr.engine.money import shown
from mrr.engine.policy import DEFAULT, MetricPolicy, differences
from mrr.engine.terms import Terms
from mrr.models import LedgerEntry
from mrr.selectors import Line, Movement


@dataclass(frozen=True, slots=True)
class Side:
    """An item before or after: its terms as kept, what it was worth a month, and how that is computed."""

    terms: Mapping[str, Any]
    micros: int
    formula: str

    @property
    def minor(self) -> int:
        return shown(self.micros)

    @property
    def full(self) -> Terms:
        """The terms with what a ledger line leaves out."""
        return Terms.from_json(self.terms)


@dataclass(frozen=True, slots=True)
class ExplainedLine:
    """A line of an entry: after − before is its amount, exactly. A side is None where the item was not there."""

    line: Line
    before: Side | None
    after: Side | None


@dataclass(frozen=True, slots=True)
class ItemNow:
    """An item that counts now, as the last line about it left it."""

    subscription: str
    item: str
    side: Side


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that made an entry: its lines, the sum written out, its events with their bodies, the policy."""

    entry: Movement
    lines: list[ExplainedLine]
    written: str
    events: list[billing.EventDetail]
    policy: MetricPolicy


def explanation(name: str) -> Explanation | None:
    """Return what made an entry, named by its key or our number; None when there is none. Bodies hold personal data."""
    if name.isascii() and name.isdigit():
        name = LedgerEntry.objects.filter(pk=int(name)).values_list("key", flat=True).first() or ""
    entry = selectors.movement(name)
    if entry is None:
        return None
    events = [
        event for event_id in entry.event_ids for event in billing.event_details(event_id, source_pks=[entry.source_pk])
    ]
    policy = policies.version(entry.policy_version) or DEFAULT
    return Explanation(entry, explained(entry), sum_written(entry), events, policy)


def policy_named(version: int) -> str:
    """Name a version of the policy by what it does otherwise than our own preset: `2: churn_at request`."""
    return policy_written(policies.version(version) or DEFAULT)


def policy_written(policy: MetricPolicy) -> str:
    settings = ", ".join(f"{key} {theirs}" for key, (_, theirs) in differences(DEFAULT, policy).items())
    return f"{policy.version}: {settings}" if settings else f"{policy.version}: our own preset"


def items_now(standing: Iterable[Movement]) -> list[ItemNow]:
    """Return the items that standing movements (one customer's, one currency, oldest first) leave, the largest first.

    Together they are the customer's MRR, exactly.
    """
    found: dict[tuple[str, str], Side] = {}
    for entry in standing:
        for line in entry.lines:
            side = _side(line.after, entry.currency)
            if side is None or not side.micros:  # what costs nothing may leave without an entry
                found.pop((line.subscription, line.item), None)
            else:
                found[line.subscription, line.item] = side
    rows = [ItemNow(subscription, item, side) for (subscription, item), side in found.items()]
    return sorted(rows, key=lambda row: (-row.side.micros, row.subscription, row.item))


def explained(entry: Movement) -> list[ExplainedLine]:
    """Return the lines of an entry with their formulas; a reversal's say what its entry's say."""
    return [
        ExplainedLine(line, _side(line.before, entry.currency), _side(line.after, entry.currency))
        for line in entry.lines
    ]


def sum_written(entry: Movement) -> str:
    """Write an entry's amount as the sum of its lines: after, less before, and the total rounded to micros.

    `$30.00 × 8 ÷ 1 month − $30.00 × 5 ÷ 1 month = $90.00`; a reversal turns the whole sum around.
    """
    lines = explained(entry)
    parts = [("+", line.after) for line in lines if line.after] + [("−", line.before) for line in lines if line.before]
    written = [(sign, side.formula if len(parts) == 1 else formulas.term(side.formula)) for sign, side in parts]
    text = " ".join(f"{sign} {part}" for sign, part in written).removeprefix("+ ")
    if entry.reverses:
        text = f"−({text})"
    return f"{text} = {formulas.exact(entry.amount_micros, entry.currency)}"


def formula(terms: Mapping[str, Any], currency: str) -> str:
    """Write an item's monthly amount as people compute it, from its terms as a ledger line keeps them."""
    return formulas.formula(Terms.from_json({"micros": 0, **terms}), currency)


def _side(terms: Mapping[str, Any] | None, currency: str) -> Side | None:
    return Side(terms, terms["micros"], formula(terms, currency)) if terms else None
