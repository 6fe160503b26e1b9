"""From what is known of one customer's subscriptions to the movements of its MRR."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from billing.facts import NOTHING_KNOWN, Facts
from mrr.engine.plans import Planned, ahead
from mrr.engine.policy import DEFAULT, MetricPolicy
from mrr.engine.terms import Taken, Terms
from mrr.engine.timeline import DAY, Deletion, Known, Point, Step, counts, timeline
from mrr.engine.worth import run_rate, total

__all__ = [
    "Line",
    "Movement",
    "Planned",
    "Replay",
    "Step",
    "Taken",
    "Terms",
    "Unknown",
    "counts",
    "line_as_json",
    "line_from_json",
    "reconcile",
    "replay",
]

# What makes a total incomplete; the other codes (a price without an amount, tax that nobody told) are findings alone.
INCOMPLETE: Final = frozenset({"tiers_unknown", "currency_option_unknown", "discount_unknown", "items_missing"})

# What a link to another customer's subscription explains: its end and its beginning, not its pauses.
ENDED: Final = frozenset({"canceled", "payment_failed"})
BEGUN: Final = frozenset({"subscribed", "trial_converted"})


@dataclass(frozen=True, slots=True)
class Line:
    """What one subscription item contributed to a movement; `before` and `after` are its terms, None if absent."""

    subscription: str
    item: str
    price: str
    product: str
    reason: str
    micros: int
    before: Terms | None
    after: Terms | None


@dataclass(frozen=True, slots=True)
class Movement:
    """One change of a customer's MRR in one currency."""

    type: str
    reason: str
    currency: str
    micros: int
    paying_delta: int
    effective_at: int
    event_ids: tuple[str, ...]
    lines: tuple[Line, ...]
    days_lapsed: int | None = None
    is_live: bool = field(default=True, compare=False)  # how we learned it, not what happened


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something that a subscription's MRR lacks. `ref` names the price, the discount or nothing further."""

    code: str
    subscription: str
    item: str
    ref: str


@dataclass(frozen=True, slots=True)
class Replay:
    """What a customer's history comes to at one moment; amounts in micros by currency.

    `scheduled` is the sum of `planned`; `incomplete` counts what is counted as 0 because it is unknown; `usage` is what
    metered items come to a month; `clock` is when, in a currency, the clock alone changes something next.
    """

    movements: tuple[Movement, ...] = ()
    balances: Mapping[str, int] = field(default_factory=dict)
    scheduled: Mapping[str, int] = field(default_factory=dict)
    incomplete: Mapping[str, int] = field(default_factory=dict)
    cohort_at: int | None = None
    planned: tuple[Planned, ...] = ()
    unknown: tuple[Unknown, ...] = ()
    usage: Mapping[str, int] = field(default_factory=dict)
    clock: Mapping[str, int] = field(default_factory=dict)

    @property
    def next_at(self) -> int | None:
        """When the clock alone changes something next, None if never."""
        return min(self.clock.values(), default=None)


def replay(
    subscriptions: Mapping[str, Sequence[Step]],
    *,
    as_of: int,
    deleted: Deletion | None = None,
    history_from: int | None = None,
    facts: Facts = NOTHING_KNOWN,
    policy: MetricPolicy = DEFAULT,
) -> Replay:
    """Replay one customer's subscriptions and say what each moment did to MRR.

    `subscriptions` maps ids to steps in their true order; `deleted` is when (and by which event, live or not) the
    customer was deleted, which ends what still counts; what began before `history_from` enters as `opening` then.
    The result depends on these values alone: any order of arrival gives the same. Source: definitions.md 1 to 3.
    """
    points: list[Point] = []
    began: dict[str, int] = {}
    known: dict[str, Known] = {}
    for subscription_id, steps in subscriptions.items():
        told = timeline(subscription_id, steps, as_of=as_of, deleted=deleted, facts=facts, policy=policy)
        if told.known is not None:
            known[subscription_id] = told.known
        if told.points:
            began[subscription_id] = steps[0].state.started_at
            points += told.points if history_from is None else _from(told.points, history_from)
    points.sort(key=lambda point: (point.at, point.subscription, point.place))
    due = [point for point in points if point.at <= as_of]
    clock: dict[str, int] = {}
    for point in points[len(due) :]:
        clock.setdefault(point.currency, point.at)
    walk = _Walk(policy, began, facts)
    walk.through(due)
    if deleted is not None and deleted[0] <= as_of:
        known = {}
    held = {subscription_id: total(walk.held.get(subscription_id, {})) for subscription_id in known}
    coming = ahead(held, known, as_of=as_of, facts=facts, policy=policy)
    unknown = [
        Unknown(gap.code, subscription_id, gap.item, gap.ref)
        for subscription_id, now in known.items()
        for gap in now.gaps
        if now.counts
    ]
    return Replay(
        movements=tuple(walk.movements),
        balances={currency: micros for currency, micros in walk.totals.items() if micros},
        scheduled=_scheduled(coming.planned),
        incomplete=_incomplete(unknown, known),
        cohort_at=walk.cohort_at,
        planned=coming.planned,
        unknown=(*unknown, *(Unknown(gap.code, name, gap.item, gap.ref) for name, gap in coming.gaps)),
        usage=_usage(known, facts, policy),
        clock=clock,
    )


Value = TypeVar("Value", bound=Hashable)


def reconcile(expected: Iterable[Value], posted: Iterable[Value]) -> tuple[list[Value], list[Value]]:
    """Say what to post and what to reverse so that the ledger says what history says."""
    want, have = Counter(expected), Counter(posted)
    return list((want - have).elements()), list((have - want).elements())


def _scheduled(planned: Iterable[Planned]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for each in planned:
        sums[each.currency] = sums.get(each.currency, 0) + each.micros
    return sums


def _incomplete(unknown: Iterable[Unknown], known: Mapping[str, Known]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for each in unknown:
        if each.code in INCOMPLETE:
            currency = known[each.subscription].state.currency
            counted[currency] = counted.get(currency, 0) + 1
    return counted


def _usage(known: Mapping[str, Known], facts: Facts, policy: MetricPolicy) -> dict[str, int]:
    rates: dict[str, int] = {}
    if not facts.usage:
        return rates
    for now in known.values():
        for item in now.state.items if now.counts else ():
            if item.usage_type == "metered" and (rate := run_rate(item, facts.usage.get(item.id, ()), policy)):
                rates[now.state.currency] = rates.get(now.state.currency, 0) + rate
    return rates


def _from(points: Sequence[Point], history_from: int) -> list[Point]:
    """Fold what happened before the history begins into one opening point."""
    earlier = [point for point in points if point.at < history_from]
    later = [point for point in points if point.at >= history_from]
    if not earlier or not total(earlier[-1].items):
        return later
    last = earlier[-1]
    opening = Point(
        history_from, -1, last.subscription, last.items, last.currency, "subscribed", last.event_id, last.is_live, True
    )
    return [opening, *later]


# ---- the customer: moments grouped into movements ----


class _Walk:
    """Carries a customer's worth through time while movements are written."""

    def __init__(self, policy: MetricPolicy, began: Mapping[str, int], facts: Facts) -> None:
        self.policy = policy
        self.began = began
        self.facts = facts
        self.held: dict[str, Mapping[str, Terms]] = {}
        self.totals: dict[str, int] = {}
        self.movements: list[Movement] = []
        self.churned_at: int | None = None
        self.cohort_at: int | None = None

    def through(self, points: Sequence[Point]) -> None:
        openings = [point for point in points if point.is_opening]
        rest = [point for point in points if not point.is_opening]
        if openings:
            self._take(openings, is_opening=True)
        place = 0
        while place < len(rest):
            if rest[place].is_silent:
                self.held[rest[place].subscription] = rest[place].items
                place += 1
                continue
            until = rest[place].at + self.policy.grouping_seconds
            end = next((n for n in range(place, len(rest)) if rest[n].at > until), len(rest))
            self._take(rest[place:end])
            place = end

    def _take(self, window: Sequence[Point], *, is_opening: bool = False) -> None:
        held_before = {point.subscription: self.held.get(point.subscription, {}) for point in window}
        totals_before = dict(self.totals)
        moved_at: dict[str, int] = {}
        causes: dict[str, list[Point]] = {}
        for point in window:
            change = total(point.items) - total(self.held.get(point.subscription, {}))
            self.held[point.subscription] = point.items
            if point.is_silent:
                continue
            self.totals[point.currency] = self.totals.get(point.currency, 0) + change
            if change:
                moved_at[point.currency] = point.at
            causes.setdefault(point.currency, []).append(point)
        had_any, has_any = any(totals_before.values()), any(self.totals.values())
        lapsed_since = self.churned_at
        first = self.cohort_at is None
        for currency in sorted(moved_at):
            delta = self.totals[currency] - totals_before.get(currency, 0)
            if not delta:
                continue
            lines = _lines(currency, causes[currency], held_before, self.held, self.facts)
            kind = "opening" if is_opening else _kind(delta, had_any=had_any, has_any=has_any, first=first)
            at = moved_at[currency]
            self.movements.append(
                Movement(
                    type=kind,
                    reason=max(lines, key=lambda line: abs(line.micros)).reason,
                    currency=currency,
                    micros=delta,
                    paying_delta=(self.totals[currency] > 0) - (totals_before.get(currency, 0) > 0),
                    effective_at=at,
                    event_ids=tuple(dict.fromkeys(point.event_id for point in causes[currency])),
                    lines=lines,
                    days_lapsed=(at - lapsed_since) // DAY
                    if kind == "reactivation" and lapsed_since is not None
                    else None,
                    is_live=all(point.is_live for point in causes[currency]),
                )
            )
            if self.cohort_at is None:
                self.cohort_at = (
                    min(self.began.get(point.subscription, point.at) for point in window) if is_opening else at
                )
            if kind == "churn":
                self.churned_at = at


def _kind(delta: int, *, had_any: bool, has_any: bool, first: bool) -> str:
    """Name a movement; the customer as a whole decides, over all its currencies."""
    if delta > 0:
        if had_any:
            return "expansion"
        return "new" if first else "reactivation"
    return "contraction" if has_any else "churn"


def _lines(
    currency: str,
    window: Sequence[Point],
    held_before: Mapping[str, Mapping[str, Terms]],
    held_after: Mapping[str, Mapping[str, Terms]],
    facts: Facts,
) -> tuple[Line, ...]:
    touched = dict.fromkeys(point.subscription for point in window)
    left = [name for name in touched if total(held_before[name]) and not held_after[name]]
    entered = [name for name in touched if total(held_after[name]) and not held_before[name]]
    replaced = _replacement_reason(left, entered, held_before, held_after)
    lines: list[Line] = []
    for name in touched:
        before, after = held_before[name], held_after[name]
        status = next((point.reason for point in reversed(window) if point.subscription == name and point.reason), "")
        for item_id in sorted(before.keys() | after.keys()):
            old, new = before.get(item_id), after.get(item_id)
            micros = (new.micros if new else 0) - (old.micros if old else 0)
            if not micros:
                continue
            if (name in left and name in facts.migrated and status in ENDED) or (
                name in entered and name in facts.arrived and status in BEGUN
            ):
                reason = "migrated"
            elif replaced and (name in left or name in entered):
                reason = replaced
            elif (name in left or name in entered) and status:
                reason = status
            else:
                reason = _item_reason(old, new, stays=total(after) > 0)
            terms = new or old
            assert terms is not None
            lines.append(Line(name, item_id, terms.price, terms.product, reason, micros, old, new))
    return tuple(sorted(lines, key=lambda line: (line.subscription, line.item)))


def _replacement_reason(
    left: Sequence[str],
    entered: Sequence[str],
    held_before: Mapping[str, Mapping[str, Terms]],
    held_after: Mapping[str, Mapping[str, Terms]],
) -> str:
    """A subscription ended and another began within the window: a change of plan, not a loss and a gain."""
    if not left or not entered:
        return ""
    old = max((terms for name in left for terms in held_before[name].values()), key=lambda terms: terms.micros)
    new = max((terms for name in entered for terms in held_after[name].values()), key=lambda terms: terms.micros)
    if old.per != new.per:
        return "interval_change"
    if old.product == new.product and old.price == new.price:
        return "quantity" if old.quantity != new.quantity else "plan_change"
    return "plan_change" if old.product != new.product else "price_change"


def _item_reason(old: Terms | None, new: Terms | None, *, stays: bool) -> str:
    """Name why an item's amount changed while its subscription went on counting: the first rule that holds."""
    if old is None:
        return "item_added"
    if new is None:
        return "item_removed"
    if not stays and new.micros == 0:
        if new.quantity == 0:
            return "quantity_zero"
        return "fully_discounted" if new.gross_micros else "moved_to_free"
    if old.per != new.per:
        return "interval_change"
    if old.product != new.product:
        return "plan_change"
    if _price(old) != _price(new):
        return "price_change"
    if old.quantity != new.quantity:
        return "quantity"
    return "discount_started" if new.micros < old.micros else "discount_ended"


def _price(terms: Terms) -> tuple[Any, ...]:
    return terms.price, terms.unit_amount_decimal, terms.tiers, terms.tax


def line_as_json(line: Line) -> dict[str, Any]:
    """Return a line as the ledger keeps it."""
    return {
        "subscription": line.subscription,
        "item": line.item,
        "price": line.price,
        "product": line.product,
        "reason": line.reason,
        "micros": line.micros,
        "before": line.before.as_json() if line.before else None,
        "after": line.after.as_json() if line.after else None,
    }


def line_from_json(stored: Mapping[str, Any]) -> Line:
    """Return the line that line_as_json wrote."""
    before, after = stored["before"], stored["after"]
    return Line(
        stored["subscription"],
        stored["item"],
        stored["price"],
        stored["product"],
        stored["reason"],
        stored["micros"],
        Terms.from_json(before) if before else None,
        Terms.from_json(after) if after else None,
    )
