"""The ways to look at a waterfall, which of them go together, and both ends of a period compared. (pure)

Source: definitions.md 3.5 (event and netted view), 4 (constant currency), 6 (CMRR).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, TypeVar

PARTS: Final = ("new", "expansion", "reactivation", "contraction", "churn")
COUNTS: Final = ("opening", "new", "reactivated", "churned", "closing")


class View(StrEnum):
    """Event view lists movements; the netted view compares the balances at both ends of a period."""

    EVENT = "event"
    NETTED = "netted"


class Basis(StrEnum):
    """Restated counts an entry when it was true; closed counts it in the month it was booked in."""

    RESTATED = "restated"
    CLOSED = "closed"


class Level(StrEnum):
    """Whose balances are compared: each Stripe customer's, each Salesforce Account's, each topmost Account's."""

    CUSTOMER = "customer"
    ACCOUNT = "account"
    PARENT = "parent"


class Discounts(StrEnum):
    """Net is what customers pay; gross is what the same items would be worth without their discounts."""

    NET = "net"
    GROSS = "gross"


class Rates(StrEnum):
    """Reported converts at the rates of the time, so that FX moves; constant at those of one pinned day."""

    REPORTED = "reported"
    CONSTANT = "constant"


class Counted(StrEnum):
    """MRR, or CMRR: MRR and all that was scheduled to change it, as known then."""

    MRR = "mrr"
    CMRR = "cmrr"


@dataclass(frozen=True, slots=True)
class Options:
    """How a waterfall is looked at. Each field's name is the parameter of pages and API."""

    view: View = View.EVENT
    basis: Basis = Basis.RESTATED
    level: Level = Level.CUSTOMER
    discounts: Discounts = Discounts.NET
    rates: Rates = Rates.REPORTED
    measure: Counted = Counted.MRR

    @property
    def is_usual(self) -> bool:
        return self == Options()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why options do not go together: the parameter that cannot be had, and the sentence that says so."""

    field: str
    reason: str


def refusal(asked: Options) -> Refusal | None:
    """Return why these options have no meaning together, None when they have."""
    is_event = asked.view is View.EVENT
    if asked.level is not Level.CUSTOMER and is_event:
        return Refusal(
            "level", "The event view lists movements of Stripe customers. Accounts are compared: use netted."
        )
    if asked.measure is Counted.CMRR and is_event:
        return Refusal(
            "measure", "CMRR has no entries of its own, so it can only be compared at both ends: use netted."
        )
    if asked.measure is Counted.CMRR and asked.discounts is Discounts.GROSS:
        return Refusal("discounts", "What is scheduled is known after discounts alone: CMRR is net.")
    if asked.basis is Basis.CLOSED and not is_event:
        return Refusal("basis", "As closed counts entries by the month they were booked in: use the event view.")
    if asked.basis is Basis.CLOSED and asked.discounts is Discounts.GROSS:
        return Refusal("discounts", "A close signs what is paid after discounts: as closed is net.")
    return None


def with_meaning(asked: Options, *, wanted: str) -> Options:
    """Return the nearest options that go together; the one `wanted` stays as it is, others give way."""
    if refusal(asked) is None:
        return asked
    if wanted in ("level", "measure") and asked.view is View.EVENT:
        asked = replace(asked, view=View.NETTED, basis=Basis.RESTATED)
    elif wanted in ("view", "basis") and (asked.view is View.EVENT or asked.basis is Basis.CLOSED):
        if wanted == "basis":
            asked = replace(asked, view=View.EVENT)
        asked = replace(asked, level=Level.CUSTOMER, measure=Counted.MRR)
    if asked.view is View.NETTED:
        asked = replace(asked, basis=Basis.RESTATED)
    if wanted == "discounts":
        return replace(asked, measure=Counted.MRR, basis=Basis.RESTATED)
    return asked if refusal(asked) is None else replace(asked, discounts=Discounts.NET)


@dataclass(frozen=True, slots=True)
class Ends:
    """One customer's balance in one currency at both ends of a period, in micros; `had` says it had MRR before it."""

    source_pk: int
    customer_pk: int
    currency: str
    start: int
    end: int
    had: bool


@dataclass(frozen=True, slots=True)
class Compared:
    """What both ends come to: `parts` in micros, losses negative, and how many began, came back, left, paid."""

    parts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))

    def plus(self, other: Compared, *, sign: int = 1) -> Compared:
        return Compared(
            {name: self.parts[name] + sign * other.parts[name] for name in PARTS},
            {name: self.counts[name] + sign * other.counts[name] for name in COUNTS},
        )


@dataclass(frozen=True, slots=True)
class Group:
    """What one customer, or one Account, comes to at both ends, in micros of one currency."""

    start: int
    end: int
    had: bool

    @property
    def part(self) -> str:
        """Name the movement; empty where nothing changed."""
        return name_of(self.start, self.end, had=self.had)


Convert = Callable[[int, str], int]
Key = TypeVar("Key", bound=Hashable)


def name_of(start: int, end: int, *, had: bool) -> str:
    """Name what became of a balance between two moments; empty for one that is the same."""
    if start == end:
        return ""
    if start <= 0:
        return "reactivation" if had else "new"
    if end <= 0:
        return "churn"
    return "expansion" if end > start else "contraction"


def grouped(ends: Iterable[Ends], key_of: Callable[[Ends], Key], convert: Convert | None = None) -> dict[Key, Group]:
    """Add up balances by a key. `convert` gives micros of the figures' currency; without it they are in it already."""
    found: dict[Key, list[int]] = defaultdict(lambda: [0, 0, 0])
    for one in ends:
        cell = found[key_of(one)]
        cell[0] += convert(one.start, one.currency) if convert else one.start
        cell[1] += convert(one.end, one.currency) if convert else one.end
        cell[2] |= one.had
    return {key: Group(start, end, bool(had)) for key, (start, end, had) in found.items()}


def compared(groups: Iterable[Group]) -> Compared:
    """Sort groups by what became of them and add up."""
    found = Compared()
    for one in groups:
        name = one.part
        if name:
            found.parts[name] += one.end - one.start
        found.counts["opening"] += one.start > 0
        found.counts["closing"] += one.end > 0
        found.counts["new"] += name == "new"
        found.counts["reactivated"] += name == "reactivation"
        found.counts["churned"] += name == "churn"
    return found


def regrouped(
    base: Mapping[str, Compared],
    ends: Iterable[Ends],
    key_of: Callable[[Ends], Hashable],
    convert: Convert | None,
    *,
    plain: Iterable[Ends],
) -> Compared:
    """Return what `base`, customers by currency each for himself, comes to when some of them are seen another way.

    `plain` are those customers as they are in the base, `ends` the same as they are to be seen, taken together by
    `key_of`. All others are converted a currency at once, so that nothing is rounded twice.
    """
    left = dict(base)
    for currency, own in _by_currency(plain).items():
        seen = compared(grouped(own, lambda one: one.customer_pk).values())
        left[currency] = left.get(currency, Compared()).plus(seen, sign=-1)
    total = Compared()
    for currency, one in left.items():
        parts = {name: convert(micros, currency) if convert else micros for name, micros in one.parts.items()}
        total = total.plus(Compared(parts, one.counts))
    return total.plus(compared(grouped(ends, key_of, convert).values()))


def _by_currency(ends: Iterable[Ends]) -> dict[str, list[Ends]]:
    found: dict[str, list[Ends]] = {}
    for one in ends:
        found.setdefault(one.currency, []).append(one)
    return found


def tied(parts: Mapping[str, int], total: int) -> dict[str, int]:
    """Return converted parts so that they come to their converted total: what rounding left goes to the largest.

    Parts and total were rounded to micros one by one, so they may miss each other by some micros, never by more.
    """
    found = dict(parts)
    missing = total - sum(found.values())
    if missing:
        found[max(PARTS, key=lambda name: abs(found[name]))] += missing
    return found
