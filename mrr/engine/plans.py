"""What is scheduled to change a customer's MRR, by date: what CMRR adds to MRR."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from billing.facts import Facts, Phase, Plan
from billing.layouts import SubscriptionState
from mrr.engine.phases import items_of
from mrr.engine.policy import MetricPolicy
from mrr.engine.timeline import Known
from mrr.engine.worth import Gap, OnceSeen, total, worth


@dataclass(frozen=True, slots=True)
class Planned:
    """A movement that is scheduled as known now. `subscription` is the schedule's id while none has begun."""

    at: int
    currency: str
    subscription: str
    micros: int
    reason: str


@dataclass(frozen=True, slots=True)
class Ahead:
    """What is scheduled, oldest first, and what of it cannot be priced yet."""

    planned: tuple[Planned, ...] = ()
    gaps: tuple[tuple[str, Gap], ...] = ()  # with the subscription or schedule they are about


def ahead(
    held: Mapping[str, int], known: Mapping[str, Known], *, as_of: int, facts: Facts, policy: MetricPolicy
) -> Ahead:
    """Return what is scheduled to change; `held` is what each subscription is worth now, in micros.

    Scheduled ends take all; a schedule's later phases count by what they change; a schedule that has not begun counts
    from its start (after a trial: its end). Source: definitions.md 6, CMRR.
    """
    planned: list[Planned] = []
    gaps: list[tuple[str, Gap]] = []
    plans = {plan.subscription: plan for plan in facts.plans if plan.subscription}
    for subscription_id, now in known.items():
        if not now.counts:
            continue
        state = now.state
        plan = plans.get(subscription_id)
        ends_at = state.ends_at if state.ends_at is not None and state.ended_at is None else None
        worth_now = held.get(subscription_id, 0)
        if plan is not None:
            steps, lacking = _phases(plan, worth_now, as_of, ends_at, facts, policy)
            planned += [Planned(at, plan.currency, subscription_id, micros, reason) for at, micros, reason in steps]
            gaps += [(subscription_id, gap) for gap in lacking]
        elif ends_at is not None and worth_now:
            planned.append(Planned(ends_at, state.currency, subscription_id, -worth_now, "canceled"))
    for plan in facts.plans:
        if not plan.subscription:
            steps, lacking = _phases(plan, 0, as_of, None, facts, policy)
            planned += [Planned(at, plan.currency, plan.schedule, micros, reason) for at, micros, reason in steps]
            gaps += [(plan.schedule, gap) for gap in lacking]
    return Ahead(tuple(sorted(planned, key=lambda each: (each.at, each.subscription, each.reason))), tuple(gaps))


def _phases(
    plan: Plan, worth_now: int, as_of: int, ends_at: int | None, facts: Facts, policy: MetricPolicy
) -> tuple[list[tuple[int, int, str]], list[Gap]]:
    """Return (when, micros, reason) of each change that the plan still brings, and what cannot be priced."""
    steps: list[tuple[int, int, str]] = []
    gaps: list[Gap] = []
    before = worth_now
    last_end: int | None = None
    for phase in sorted(plan.phases, key=lambda phase: phase.start):
        last_end = phase.end
        at = phase.start if phase.trial_end is None else max(phase.start, phase.trial_end)
        if at <= as_of or (ends_at is not None and at >= ends_at):
            continue
        micros, lacking = _phase_worth(phase, plan.currency, at, facts, policy)
        gaps += lacking
        if lacking and not micros:
            continue  # an unknown price is no price of 0
        if micros != before:
            steps.append((at, micros - before, "plan_change" if before else "subscribed"))
        before = micros
    end = ends_at
    if end is None and plan.ends_with == "cancel" and last_end is not None and last_end > as_of:
        end = last_end
    if end is not None and before:
        steps.append((end, -before, "canceled"))
    return steps, gaps


def _phase_worth(
    phase: Phase, currency: str, at: int, facts: Facts, policy: MetricPolicy
) -> tuple[int, tuple[Gap, ...]]:
    unknown = tuple([Gap("planned_price_unknown", "", item.price) for item in phase.items if not item.interval])
    items = items_of(phase, currency)
    state = SubscriptionState(status="active", currency=currency, items=items, started_at=at, discounts=phase.discounts)
    found, gaps = worth(state, at, since=at, facts=facts, policy=policy, once=OnceSeen())
    return total(found), (*unknown, *gaps)
