"""What discounts take off a customer's MRR, movement by movement. (pure)

Gross MRR is what the items of a paying customer would be worth a month without their discounts, tax taken out as in
MRR. A customer that pays nothing has none, however much its items would cost: so it begins, churns and returns in the
same movements as in MRR. An item is known from the first movement that names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mrr.engine.terms import Terms


class Line(Protocol):
    """What is read of a movement's line: `after` are the item's terms from then on, None where it is gone."""

    @property
    def subscription(self) -> str: ...
    @property
    def item(self) -> str: ...
    @property
    def after(self) -> Terms | None: ...


class Movement(Protocol):
    """What is read of a standing movement. `micros` is what it moved MRR by."""

    @property
    def type(self) -> str: ...
    @property
    def currency(self) -> str: ...
    @property
    def micros(self) -> int: ...
    @property
    def effective_at(self) -> int: ...
    @property
    def lines(self) -> Sequence[Line]: ...


@dataclass(frozen=True, slots=True)
class DiscountStep:
    """By how much one movement changed what discounts take off: gross movement = `net_micros` + `micros`."""

    type: str
    currency: str
    effective_at: int
    net_micros: int
    micros: int


def discount_steps(movements: Iterable[Movement]) -> list[DiscountStep]:
    """Return the movements of one customer by which its discounts changed, oldest first.

    Movements that moved gross and net alike are left out. What all steps up to a moment come to is what discounts take
    off then.
    """
    found: list[DiscountStep] = []
    items: dict[str, dict[tuple[str, str], int]] = {}
    net: dict[str, int] = {}
    off: dict[str, int] = {}
    for one in sorted(movements, key=lambda movement: movement.effective_at):
        known = items.setdefault(one.currency, {})
        for line in one.lines:
            known.pop((line.subscription, line.item), None)
            if line.after is not None:
                known[line.subscription, line.item] = line.after.gross_micros
        net[one.currency] = net.get(one.currency, 0) + one.micros
        pays = net[one.currency] > 0
        now = sum(known.values()) - net[one.currency] if pays else 0
        change = now - off.get(one.currency, 0)
        off[one.currency] = now
        if change:
            found.append(DiscountStep(one.type, one.currency, one.effective_at, one.micros, change))
    return found
