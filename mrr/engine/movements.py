"""From what is known of one customer's subscriptions to the movements of its MRR."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from billing.layouts import Item, SubscriptionState
from mrr.engine.policy import DEFAULT, MetricPolicy
from mrr.engine.prices import monthly_micros

COUNTED = frozenset({"active", "past_due"})
UNCOLLECTED = frozenset({"void", "mark_uncollectible"})
DAY = 86_400


class Step(Protocol):
    """One event's word about one subscription, as the mirror keeps it. Times are Unix seconds."""

    @property
    def created(self) -> int: ...
    @property
    def event_id(self) -> str: ...
    @property
    def event_type(self) -> str: ...
    @property
    def is_live(self) -> bool: ...
    @property
    def state(self) -> SubscriptionState: ...
    @property
    def before(self) -> SubscriptionState | None: ...


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
class Terms:
    """What an item cost at one moment: enough to write its monthly amount out."""

    price: str
    product: str
    unit_amount_decimal: str | None
    quantity: int | None
    interval: str
    interval_count: int
    micros: int
    divide_by: int | None = None
    round: str | None = None


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
class Replay:
    """What a customer's history comes to."""

    movements: tuple[Movement, ...] = ()
    balances: Mapping[str, int] = field(default_factory=dict)
    scheduled: Mapping[str, int] = field(default_factory=dict)
    incomplete: Mapping[str, int] = field(default_factory=dict)
    cohort_at: int | None = None


def replay(
    subscriptions: Mapping[str, Sequence[Step]],
    *,
    as_of: int,
    deleted: tuple[int, str, bool] | None = None,
    history_from: int | None = None,
    policy: MetricPolicy = DEFAULT,
) -> Replay:
    """Replay one customer's subscriptions and say what each moment did to MRR.

    `subscriptions` maps ids to steps in their true order; `deleted` is when (and by which event, live or not) the
    customer was deleted, which ends what still counts; what began before `history_from` enters as `opening` then.
    The result depends on these values alone: any order of arrival gives the same.
    """
    points: list[Point] = []
    began: dict[str, int] = {}
    for subscription_id, steps in subscriptions.items():
        found = _points(subscription_id, steps, deleted)
        if found:
            began[subscription_id] = steps[0].state.started_at
            points += found if history_from is None else _from(found, history_from)
    points.sort(key=lambda point: (point.at, point.subscription, point.place))
    points = [point for point in points if point.at <= as_of]
    return _Walk(policy, began).through(points, subscriptions, as_of)


Known = TypeVar("Known", bound=Hashable)


def reconcile(expected: Iterable[Known], posted: Iterable[Known]) -> tuple[list[Known], list[Known]]:
    """Say what to post and what to reverse so that the ledger says what history says."""
    want, have = Counter(expected), Counter(posted)
    return list((want - have).elements()), list((have - want).elements())


def counts(state: SubscriptionState) -> bool:
    """Say whether a subscription in this state has MRR: paying or past due, and its invoices are collected."""
    return state.status in COUNTED and state.pause_behavior not in UNCOLLECTED


# ---- one subscription: the moments at which its worth changed ----


@dataclass(frozen=True, slots=True)
class Point:
    """From this moment on a subscription is worth these items."""

    at: int
    place: int
    subscription: str
    items: Mapping[str, Terms]
    currency: str
    reason: str  # why it began or stopped to count; empty while it goes on counting
    event_id: str
    is_live: bool
    is_opening: bool = False
    is_silent: bool = False  # same amounts on other terms: later changes are told against these


def _points(subscription_id: str, steps: Sequence[Step], deleted: tuple[int, str, bool] | None) -> list[Point]:
    states = _states(steps)
    points: list[Point] = []
    last: SubscriptionState | None = None
    worth: Mapping[str, Terms] = {}
    for state, at, step in states:
        items = _worth(state)
        if state.ended_at is not None and state.ended_at < at:
            at = state.ended_at
            points = [point for point in points if point.at <= at]  # what was said of the time after its end is void
            worth = points[-1].items if points else {}
        if items != worth:
            silent = _amounts(items) == _amounts(worth)
            reason = "" if silent else _status_reason(last, state, had=_sum(worth) > 0, has=_sum(items) > 0)
            points.append(
                Point(
                    at,
                    len(points),
                    subscription_id,
                    items,
                    state.currency,
                    reason,
                    step.event_id,
                    step.is_live,
                    is_silent=silent,
                )
            )
            worth = items
        last = state
    if deleted and worth and last is not None:
        at = max(deleted[0], points[-1].at)
        points.append(Point(at, len(points), subscription_id, {}, last.currency, "canceled", deleted[1], deleted[2]))
    return points


def _states(steps: Sequence[Step]) -> list[tuple[SubscriptionState, int, Step]]:
    """Return each known state with the time it became true.

    The earliest known state began at the subscription's start (after a trial: at its end) if it counts. When the first
    event seen is not the creation, the state before it is rebuilt from its previous attributes.
    """
    first = steps[0]
    found: list[tuple[SubscriptionState, int, Step]] = []
    earliest = first.state
    if first.before is not None and not first.event_type.endswith(".created"):
        earliest = first.before
        found.append((earliest, min(_start(earliest), first.created), first))
        found.append((first.state, first.created, first))
    else:
        found.append((earliest, _start(earliest) if counts(earliest) else first.created, first))
    found += [(step.state, step.created, step) for step in steps[1:]]
    return found


def _start(state: SubscriptionState) -> int:
    if state.trial_end is not None and state.status != "trialing":
        return max(state.trial_end, state.started_at)
    return state.started_at


def _worth(state: SubscriptionState) -> dict[str, Terms]:
    return {item.id: _terms(item) for item in state.items} if counts(state) else {}


def _amounts(items: Mapping[str, Terms]) -> dict[str, int]:
    return {item_id: terms.micros for item_id, terms in items.items() if terms.micros}


def _terms(item: Item) -> Terms:
    return Terms(
        item.price,
        item.product,
        item.unit_amount_decimal,
        item.quantity,
        item.interval,
        item.interval_count,
        monthly_micros(item) or 0,
        item.divide_by,
        item.round,
    )


def _status_reason(last: SubscriptionState | None, state: SubscriptionState, *, had: bool, has: bool) -> str:
    """Name why a subscription as a whole began or stopped to count; empty when its items changed while it counted."""
    if has and not had:
        if last is not None and counts(last):
            return ""
        if last is not None and (last.status in ("paused", "unpaid") or last.pause_behavior in UNCOLLECTED):
            return "resumed"
        tried = state.trial_end is not None or (last is not None and last.status == "trialing")
        return "trial_converted" if tried else "subscribed"
    if had and not has:
        if counts(state):
            return ""
        if state.status == "unpaid" or state.cancellation_reason == "payment_failed":
            return "payment_failed"
        if state.status == "paused" or state.status in COUNTED:
            return "paused"
        return "canceled"
    return ""


def _from(points: list[Point], history_from: int) -> list[Point]:
    """Fold what happened before the history begins into one opening point."""
    earlier = [point for point in points if point.at < history_from]
    later = [point for point in points if point.at >= history_from]
    if not earlier or not _sum(earlier[-1].items):
        return later
    last = earlier[-1]
    opening = Point(
        history_from, -1, last.subscription, last.items, last.currency, "subscribed", last.event_id, last.is_live, True
    )
    return [opening, *later]


# ---- the customer: moments grouped into movements ----


class _Walk:
    """Carries a customer's worth through time while movements are written."""

    def __init__(self, policy: MetricPolicy, began: Mapping[str, int]) -> None:
        self.policy = policy
        self.began = began
        self.held: dict[str, Mapping[str, Terms]] = {}
        self.currency: dict[str, str] = {}
        self.totals: dict[str, int] = {}
        self.movements: list[Movement] = []
        self.churned_at: int | None = None
        self.cohort_at: int | None = None

    def through(self, points: Sequence[Point], subscriptions: Mapping[str, Sequence[Step]], as_of: int) -> Replay:
        openings = [point for point in points if point.is_opening]
        rest = [point for point in points if not point.is_opening]
        if openings:
            self._take(openings, is_opening=True)
        while rest:
            if rest[0].is_silent:
                self.held[rest[0].subscription] = rest[0].items
                rest = rest[1:]
                continue
            until = rest[0].at + self.policy.grouping_seconds
            size = next((n for n, point in enumerate(rest) if point.at > until), len(rest))
            self._take(rest[:size])
            rest = rest[size:]
        scheduled, incomplete = self._ahead(subscriptions)
        return Replay(
            tuple(self.movements),
            {currency: micros for currency, micros in self.totals.items() if micros},
            scheduled,
            incomplete,
            self.cohort_at,
        )

    def _take(self, window: Sequence[Point], *, is_opening: bool = False) -> None:
        held_before = {point.subscription: self.held.get(point.subscription, {}) for point in window}
        totals_before = dict(self.totals)
        moved_at: dict[str, int] = {}
        causes: dict[str, list[Point]] = {}
        for point in window:
            change = _sum(point.items) - _sum(self.held.get(point.subscription, {}))
            self.held[point.subscription] = point.items
            if point.is_silent:
                continue
            self.currency[point.subscription] = point.currency
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
            lines = _lines(currency, causes[currency], held_before, self.held)
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

    def _ahead(self, subscriptions: Mapping[str, Sequence[Step]]) -> tuple[dict[str, int], dict[str, int]]:
        """Return, per currency, what is already scheduled to go and how many items have no price yet."""
        scheduled: dict[str, int] = {}
        incomplete: dict[str, int] = {}
        for subscription_id, steps in subscriptions.items():
            state = steps[-1].state
            if not counts(state):
                continue
            if state.ends_at is not None and (worth := _sum(self.held.get(subscription_id, {}))):
                scheduled[state.currency] = scheduled.get(state.currency, 0) - worth
            unknown = sum(monthly_micros(item) is None for item in state.items) + (not state.has_all_items)
            if unknown:
                incomplete[state.currency] = incomplete.get(state.currency, 0) + unknown
        return scheduled, incomplete


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
) -> tuple[Line, ...]:
    touched = dict.fromkeys(point.subscription for point in window)
    left = [name for name in touched if _sum(held_before[name]) and not held_after[name]]
    entered = [name for name in touched if _sum(held_after[name]) and not held_before[name]]
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
            if replaced and (name in left or name in entered):
                reason = replaced
            elif (name in left or name in entered) and status:
                reason = status
            else:
                reason = _item_reason(old, new, stays=_sum(after) > 0)
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
    if _per(old) != _per(new):
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
        return "quantity_zero" if new.quantity == 0 else "moved_to_free"
    if _per(old) != _per(new):
        return "interval_change"
    if old.product != new.product:
        return "plan_change"
    if old.price != new.price or old.unit_amount_decimal != new.unit_amount_decimal:
        return "price_change"
    return "quantity"


def _per(terms: Terms) -> tuple[str, int]:
    return terms.interval, terms.interval_count


def _sum(items: Mapping[str, Terms]) -> int:
    return sum(terms.micros for terms in items.values())


def line_as_json(line: Line) -> dict[str, Any]:
    """Return a line as the ledger keeps it."""
    return {
        "subscription": line.subscription,
        "item": line.item,
        "price": line.price,
        "product": line.product,
        "reason": line.reason,
        "micros": line.micros,
        "before": _terms_as_json(line.before),
        "after": _terms_as_json(line.after),
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
        Terms(**before) if before else None,
        Terms(**after) if after else None,
    )


def _terms_as_json(terms: Terms | None) -> dict[str, Any] | None:
    if terms is None:
        return None
    packages = {"divide_by": terms.divide_by, "round": terms.round} if terms.divide_by else {}
    return packages | {
        "price": terms.price,
        "product": terms.product,
        "unit_amount_decimal": terms.unit_amount_decimal,
        "quantity": terms.quantity,
        "interval": terms.interval,
        "interval_count": terms.interval_count,
        "micros": terms.micros,
    }
