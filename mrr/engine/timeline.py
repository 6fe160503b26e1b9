"""One subscription through time: the moments at which its worth changed, by events, by rulings and by the clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from billing.facts import FETCHED, CustomerDiscount, Facts, Plan, Ruling
from billing.layouts import SubscriptionState
from mrr.engine.phases import gone_by
from mrr.engine.policy import ChurnAt, MetricPolicy, Pauses, StartsOn
from mrr.engine.terms import Terms
from mrr.engine.worth import Gap, OnceSeen, total, worth

COUNTED: Final = frozenset({"active", "past_due"})
UNCOLLECTED: Final = frozenset({"void", "mark_uncollectible"})
DAY: Final = 86_400


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


Deletion = tuple[int, str, bool]  # when a customer was deleted, by which event, and whether that was a live delivery


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


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a subscription at the moment asked for: its state, whether it counts, what its worth lacks."""

    state: SubscriptionState
    counts: bool
    gaps: tuple[Gap, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """A subscription's points, those after the moment asked for too, and what is known of it then (None: nothing)."""

    points: tuple[Point, ...]
    known: Known | None


def timeline(
    subscription_id: str,
    steps: Sequence[Step],
    *,
    as_of: int,
    deleted: Deletion | None,
    facts: Facts,
    policy: MetricPolicy,
) -> Timeline:
    """Tell one subscription's life from its steps in their true order."""
    telling = _Telling(subscription_id, facts, policy, as_of)
    plan = next((each for each in facts.plans if each.subscription == subscription_id), None)
    held = _held(steps, plan)
    for place, (state, at, step) in enumerate(held):
        until = held[place + 1][1] if place + 1 < len(held) else None
        telling.enter(state, at, step)
        for moment in telling.moments(until):
            telling.look(moment)
    points = telling.points
    if deleted is not None:
        points = _ended_by_deletion(points, held, deleted)
    return Timeline(tuple(points), telling.known)


def counts(state: SubscriptionState) -> bool:
    """Say whether a subscription in this state has MRR: paying or past due, and its invoices are collected."""
    return state.status in COUNTED and state.pause_behavior not in UNCOLLECTED


# ---- which state stood when ----


def _held(steps: Sequence[Step], plan: Plan | None) -> list[tuple[SubscriptionState, int, Step]]:
    """Return each known state with the time it became true; what was said of the time after its end is void."""
    held: list[tuple[SubscriptionState, int, Step]] = []
    for state, at, step in _states(steps, plan):
        if state.ended_at is not None and state.ended_at < at:
            at = state.ended_at
            held = [known for known in held if known[1] <= at]
        held.append((state, at, step))
    return held


def _states(steps: Sequence[Step], plan: Plan | None) -> list[tuple[SubscriptionState, int, Step]]:
    """Return each known state with the time it was told for.

    The earliest known state began at the subscription's start (after a trial: at its end) if it counts. When the first
    event seen is not the creation, the state before it is rebuilt from its previous attributes. What Stripe's lists
    show and had ended when we first heard of it counted from its start to its end, as it was when it ended; an event
    of an end alone does not say that there was anything before. What its schedule's phases say of the time before the
    first event is taken likewise.
    """
    first = steps[0]
    is_listed = any(step.event_type == FETCHED for step in steps)
    found: list[tuple[SubscriptionState, int, Step]] = []
    if first.before is not None and not first.event_type.endswith(".created"):
        earliest = first.before
        found.append((earliest, min(_start(earliest), first.created), first))
        found.append((first.state, first.created, first))
    else:
        state = first.state
        if is_listed and (lived := _while_it_lasted(state)) is not None:
            found.append((lived, _start(lived), first))
        found.append((state, min(_start(state), first.created) if counts(state) else first.created, first))
    if plan is not None and is_listed and counts(found[0][0]) and not first.event_type.endswith(".created"):
        earliest, since, _ = found[0]
        earlier = gone_by(plan, earliest, since=since, until=first.created)
        found[:1] = [(state, at, first) for state, at in earlier]
    found += [(step.state, step.created, step) for step in steps[1:]]
    return found


def _while_it_lasted(state: SubscriptionState) -> SubscriptionState | None:
    """The state of a subscription before it ended; None for one that has not ended, or ended in its trial."""
    if state.status != "canceled" or state.ended_at is None or _start(state) >= state.ended_at:
        return None
    return replace(state, status="active", ended_at=None, canceled_at=None, ends_at=None, cancellation_reason=None)


def _start(state: SubscriptionState) -> int:
    if state.trial_end is not None and state.status != "trialing":
        return max(state.trial_end, state.started_at)
    return state.started_at


# ---- what it was worth then ----


class _Telling:
    """Walks through a subscription's states and writes a point whenever its worth, or its terms, changed."""

    def __init__(self, subscription_id: str, facts: Facts, policy: MetricPolicy, as_of: int) -> None:
        self.subscription_id = subscription_id
        self.facts = facts
        self.policy = policy
        self.as_of = as_of
        self.rulings: Sequence[Ruling] = facts.rulings.get(subscription_id, ()) if policy.lost_disputes_count else ()
        self.once = OnceSeen()
        self.points: list[Point] = []
        self.known: Known | None = None
        self.items: Mapping[str, Terms] = {}
        self.why_out: str | None = None  # at the moment looked at last; "" = it counted, None = nothing known yet
        self.past_due_since: int | None = None
        self.state: SubscriptionState
        self.since = 0
        self.step: Step

    def enter(self, state: SubscriptionState, at: int, step: Step) -> None:
        """Take the next state and look at its first moment."""
        if state.status != "past_due":
            self.past_due_since = None
        elif self.past_due_since is None:
            self.past_due_since = at
        self.state, self.since, self.step = state, at, step
        self.look(at)

    def moments(self, until: int | None) -> list[int]:
        """Return the moments after this state began, and before the next one, at which something besides may change."""
        found: set[int] = set()
        state, facts, policy = self.state, self.facts, self.policy
        if self.rulings:
            found.update(ruling.at for ruling in self.rulings)
        if policy.starts_on is StartsOn.FIRST_PAID_INVOICE and self.subscription_id in facts.first_paid:
            found.add(facts.first_paid[self.subscription_id])
        if policy.past_due_cutoff_days and self.past_due_since is not None:
            found.add(self.past_due_since + policy.past_due_cutoff_days * DAY)
        if facts.discounts or facts.customer_discounts:
            found.update(self._discount_moments(state))
        return sorted(moment for moment in found if moment > self.since and (until is None or moment < until))

    def _discount_moments(self, state: SubscriptionState) -> Iterable[int]:
        names = set(state.discounts)
        for item in state.items:
            names.update(item.discounts)
        for applied in self.facts.customer_discounts:
            names.add(applied.id)
            yield applied.start
            if applied.end is not None:
                yield applied.end
        for name in names:
            terms = self.facts.discounts.get(name)
            if terms is None:
                continue
            if terms.end is not None:
                yield terms.end
            if terms.duration == "once":
                yield from (item.period_end for item in state.items if item.period_end is not None)
        yield from self.once.moments()

    def look(self, at: int) -> None:
        """Say what the subscription is worth from this moment on."""
        state = self.state
        why_out = self._why_out(at)
        items: Mapping[str, Terms] = {}
        gaps: tuple[Gap, ...] = ()
        if not why_out:
            items, gaps = worth(state, at, since=self.since, facts=self.facts, policy=self.policy, once=self.once)
        if at <= self.as_of:
            self.known = Known(state, not why_out, gaps)
        if items != self.items:
            self._note(at, items, why_out)
        self.why_out = why_out

    def _note(self, at: int, items: Mapping[str, Terms], why_out: str) -> None:
        silent = _amounts(items) == _amounts(self.items)
        event_id, is_live = self._cause(at)
        self.points.append(
            Point(
                at,
                len(self.points),
                self.subscription_id,
                items,
                self.state.currency,
                "" if silent else self._status_reason(why_out, had=total(self.items) > 0, has=total(items) > 0),
                event_id,
                is_live,
                is_silent=silent,
            )
        )
        self.items = items

    def _cause(self, at: int) -> tuple[str, bool]:
        """Name the event behind a change: this state's, a ruling's, a customer discount's, or the last change's."""
        if at == self.since:
            return self.step.event_id, self.step.is_live
        ruling = next((ruling for ruling in self.rulings if ruling.at == at), None)
        if ruling is not None:
            return ruling.event_id, ruling.is_live
        applied = next((each for each in self.facts.customer_discounts if at in (each.start, each.end)), None)
        if isinstance(applied, CustomerDiscount) and applied.event_id:
            return applied.event_id, self.step.is_live
        if self.points:
            return self.points[-1].event_id, self.points[-1].is_live
        return self.step.event_id, self.step.is_live

    def _why_out(self, at: int) -> str:
        """Say why the subscription has no MRR at a moment; empty when it counts. Source: definitions.md 2."""
        state, policy = self.state, self.policy
        if not _is_counted(state.status, policy):
            if state.status == "canceled":
                return "payment_failed" if state.cancellation_reason == "payment_failed" else "canceled"
            return {"unpaid": "payment_failed", "paused": "paused", "trialing": "trialing"}.get(
                state.status, "incomplete"
            )
        if state.pause_behavior and _is_paused(state.pause_behavior, policy):
            return "paused"
        if self._is_past_cutoff(at):
            return "payment_failed"
        if policy.churn_at is ChurnAt.REQUEST and state.ends_at is not None:
            return "canceled"
        if self.rulings:
            ruled = [ruling for ruling in self.rulings if ruling.at <= at]
            if ruled and ruled[-1].is_lost:
                return "dispute_lost"
        if policy.starts_on is StartsOn.FIRST_PAID_INVOICE:
            paid_at = self.facts.first_paid.get(self.subscription_id)
            if paid_at is None or at < paid_at:
                return "not_begun"
        return ""

    def _is_past_cutoff(self, at: int) -> bool:
        days, since = self.policy.past_due_cutoff_days, self.past_due_since
        return bool(days) and since is not None and at >= since + days * DAY

    def _status_reason(self, why_out: str, *, had: bool, has: bool) -> str:
        """Name why it began or stopped to count as a whole; empty when its items changed while it counted."""
        if has and not had:
            if self.why_out == "":
                return ""
            if self.why_out in ("paused", "payment_failed", "canceled"):
                return "resumed"
            if self.why_out == "dispute_lost":
                return "dispute_recovered"
            tried = self.state.status != "trialing" and (self.state.trial_end is not None or self.why_out == "trialing")
            return "trial_converted" if tried else "subscribed"
        if had and not has:
            # Who is put on trial again has not left: it pays nothing for a while.
            return {"trialing": "paused", "incomplete": "canceled", "not_begun": "canceled"}.get(why_out, why_out)
        return ""


def _is_counted(status: str, policy: MetricPolicy) -> bool:
    if status == "trialing":
        return policy.trials_count
    if status == "unpaid":
        return policy.unpaid_counts
    return status in COUNTED


def _is_paused(behavior: str, policy: MetricPolicy) -> bool:
    if policy.pauses is Pauses.NEVER:
        return False
    return policy.pauses is Pauses.ALWAYS or behavior in UNCOLLECTED


def _ended_by_deletion(
    points: list[Point], held: Sequence[tuple[SubscriptionState, int, Step]], deleted: Deletion
) -> list[Point]:
    """End what still counted when its customer was deleted; the clock moves nothing after that."""
    at, event_id, is_live = deleted
    told = {moment for _, moment, _ in held}
    points = [point for point in points if point.at <= at or point.at in told]
    if not points or not points[-1].items:
        return points
    last = points[-1]
    end = Point(max(at, last.at), len(points), last.subscription, {}, last.currency, "canceled", event_id, is_live)
    return [*points, end]


def _amounts(items: Mapping[str, Terms]) -> dict[str, int]:
    return {item_id: terms.micros for item_id, terms in items.items() if terms.micros}
