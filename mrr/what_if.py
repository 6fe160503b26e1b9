"""Replays the whole company under another policy, in memory: two month series and the bridge between them by cause."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Final

from billing import selectors as billing
from billing.selectors import History
from mrr import ledger, links, policies
from mrr.engine.movements import Movement
from mrr.engine.policy import MetricPolicy, differences

CHUNK = 500
PARTS: Final = ("new", "expansion", "reactivation", "contraction", "churn")

Place = tuple[str, date]  # currency, month


@dataclass(frozen=True, slots=True)
class Cause:
    """A setting that differs, with its value before and after."""

    key: str
    ours: Any
    theirs: Any


@dataclass(frozen=True, slots=True)
class Figures:
    """A month under one policy, in micros. What was taken over with a history counts in the opening of its month."""

    opening_micros: int
    parts: Mapping[str, int]
    closing_micros: int


@dataclass(frozen=True, slots=True)
class ComparedMonth:
    """A month under both policies. `causes` (micros by setting) add up to the difference of the closings exactly."""

    month: date
    ours: Figures
    theirs: Figures
    causes: Mapping[str, int]

    @property
    def difference_micros(self) -> int:
        return self.theirs.closing_micros - self.ours.closing_micros


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Both policies, what differs in the order in which it was applied, and the months of each currency."""

    ours: MetricPolicy
    theirs: MetricPolicy
    causes: tuple[Cause, ...]
    customers: int
    replays: int
    currencies: Mapping[str, tuple[ComparedMonth, ...]]


def what_if(theirs: MetricPolicy, *, now: datetime, tell: Callable[[int, int], None] = lambda done, of: None) -> WhatIf:
    """Compare the policy in force with another one, over all live sources. Reads only.

    The settings that differ are applied one after another, in the order of MetricPolicy; a cause is the difference its
    step makes. A customer whose history cannot depend on a setting is not replayed for it.
    """
    ours = policies.current()
    steps = tuple(_steps(ours, theirs))
    first, last, by_cause = _sums(), _sums(), {key: _sums() for key, _ in steps}
    replays = 0
    customer_pks = billing.customer_pks(billing.live_source_pks())
    for start in range(0, len(customer_pks), CHUNK):
        histories = billing.histories(customer_pks[start : start + CHUNK], with_first_paid=True)
        for history in links.linked(histories).values():
            moments = Moments.of(history)
            policy = ours
            movements = ledger.replayed(history, now=now, policy=policy).movements
            replays += 1
            _add(first, movements, 1)
            for key, following in steps:
                if moments.may_depend_on(key, policy, following):
                    changed = ledger.replayed(history, now=now, policy=following).movements
                    replays += 1
                    _add(by_cause[key], changed, 1)
                    _add(by_cause[key], movements, -1)
                    movements = changed
                policy = following
            _add(last, movements, 1)
        tell(min(start + CHUNK, len(customer_pks)), len(customer_pks))
    causes = tuple(Cause(key, before, after) for key, (before, after) in differences(ours, theirs).items())
    through = ledger.month_of(int(now.timestamp()))
    return WhatIf(ours, theirs, causes, len(customer_pks), replays, _compared(first, last, by_cause, through))


def _steps(ours: MetricPolicy, theirs: MetricPolicy) -> Iterator[tuple[str, MetricPolicy]]:
    """Yield each setting that differs with the policy that has it and all before it changed."""
    policy = ours
    for key in differences(ours, theirs):
        policy = replace(policy, **{key: getattr(theirs, key)})
        yield key, policy


# ---- what a customer's result may depend on ----


@dataclass(frozen=True, slots=True)
class Moments:
    """What of a history a setting may touch: enough to leave most customers out of most steps."""

    has_discounts: bool
    has_scheduled_end: bool
    has_pause: bool
    statuses: frozenset[str]
    has_rulings: bool
    has_inclusive_tax: bool
    intervals: frozenset[str]
    times: tuple[int, ...]  # every moment that a movement could be dated at, ascending

    @classmethod
    def of(cls, history: History) -> Moments:
        steps = [step for steps in history.steps.values() for step in steps]
        earlier = [steps[0].before for steps in history.steps.values()]  # of later steps it repeats a state
        states = [state for state in (*earlier, *[step.state for step in steps]) if state is not None]
        items = [item for state in states for item in state.items]
        facts = history.facts
        times = {step.created for step in steps}
        for state in states:
            times.update((state.started_at, state.trial_end or 0, state.ended_at or 0))
        times.update(item.period_end or 0 for item in items)
        times.update(moment or 0 for terms in facts.discounts.values() for moment in (terms.start, terms.end))
        times.update(moment or 0 for each in facts.customer_discounts for moment in (each.start, each.end))
        times.update(ruling.at for rulings in facts.rulings.values() for ruling in rulings)
        times.update(facts.first_paid.values())
        times.add(history.deleted[0] if history.deleted else 0)
        return cls(
            has_discounts=bool(facts.customer_discounts)
            or any(state.discounts for state in states)
            or any(item.discounts for item in items),
            has_scheduled_end=any(state.ends_at is not None for state in states),
            has_pause=any(state.pause_behavior for state in states),
            statuses=frozenset(state.status for state in states),
            has_rulings=bool(facts.rulings),
            has_inclusive_tax=any(item.tax_behavior == "inclusive" for item in items),
            intervals=frozenset(item.interval for item in items),
            times=tuple(sorted(times - {0})),
        )

    def may_depend_on(self, key: str, before: MetricPolicy, after: MetricPolicy) -> bool:
        """Say whether a setting may change the result; True where it cannot be told without a replay."""
        match key:
            case "discounts":
                return self.has_discounts
            case "churn_at":
                return self.has_scheduled_end
            case "pauses":
                return self.has_pause
            case "past_due_cutoff_days":
                return "past_due" in self.statuses
            case "trials_count":
                return "trialing" in self.statuses
            case "unpaid_counts":
                return "unpaid" in self.statuses
            case "lost_disputes_count":
                return self.has_rulings
            case "excludes_tax":
                return self.has_inclusive_tax
            case "weeks_per_year":
                return "week" in self.intervals
            case "days_per_year":
                return "day" in self.intervals
            case "grouping_minutes":
                window = max(before.grouping_seconds, after.grouping_seconds)
                return before.past_due_cutoff_days > 0 or any(
                    later - earlier <= window for earlier, later in zip(self.times, self.times[1:], strict=False)
                )
        return True


# ---- sums ----


def _sums() -> defaultdict[Place, defaultdict[str, int]]:
    return defaultdict(lambda: defaultdict(int))


def _add(sums: defaultdict[Place, defaultdict[str, int]], movements: Sequence[Movement], sign: int) -> None:
    for movement in movements:
        place = movement.currency, ledger.month_of(movement.effective_at)
        sums[place][movement.type] += sign * movement.micros


def _compared(
    first: Mapping[Place, Mapping[str, int]],
    last: Mapping[Place, Mapping[str, int]],
    by_cause: Mapping[str, Mapping[Place, Mapping[str, int]]],
    through: date,
) -> dict[str, tuple[ComparedMonth, ...]]:
    found: dict[str, tuple[ComparedMonth, ...]] = {}
    places = {*first, *last}
    for currency in sorted({currency for currency, _ in places}):
        months: list[ComparedMonth] = []
        ours = theirs = 0
        causes = dict.fromkeys(by_cause, 0)
        for month in _months(min(month for of, month in places if of == currency), through):
            place = currency, month
            mine, other = _figures(ours, first.get(place, {})), _figures(theirs, last.get(place, {}))
            ours, theirs = mine.closing_micros, other.closing_micros
            for key, sums in by_cause.items():
                causes[key] += sum(sums.get(place, {}).values())
            months.append(ComparedMonth(month, mine, other, dict(causes)))
        found[currency] = tuple(months)
    return found


def _figures(opening_micros: int, parts: Mapping[str, int]) -> Figures:
    return Figures(
        opening_micros + parts.get("opening", 0),
        {part: parts.get(part, 0) for part in PARTS},
        opening_micros + sum(parts.values()),
    )


def _months(first: date, last: date) -> Iterator[date]:
    month = first
    while month <= last:
        yield month
        month = date(month.year + month.month // 12, month.month % 12 + 1, 1)
