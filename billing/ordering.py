"""Puts the events of one object into the order in which they happened, whatever the order they came in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol, TypeVar

from billing.facts import FETCHED


class Told(Protocol):
    """What one event tells of one object: its state after the event and, where the event says so, before it."""

    @property
    def created(self) -> int: ...
    @property
    def event_id(self) -> str: ...
    @property
    def event_type(self) -> str: ...
    @property
    def state(self) -> Any: ...
    @property
    def before(self) -> Any | None: ...


Event = TypeVar("Event", bound=Told)


def in_order(events: Iterable[Event]) -> list[Event]:
    """Return one object's events in their true order; an event given twice comes once.

    Stripe's `created` has whole seconds, so ties are normal. Within a second: what creates the object first, what
    deletes it last; between them the order in which most events begin with the state that the one before left; then
    by what usually comes first; then by event id. A fetched state comes after all events of its second. The result
    depends on the set of events alone.
    """
    ordered: list[Event] = []
    for second in _seconds(events):
        if len(second) == 1:
            ordered += second
            continue
        fetched = sorted([event for event in second if event.event_type == FETCHED], key=lambda event: event.event_id)
        told = [event for event in second if event.event_type != FETCHED] if fetched else second
        known = ordered[-1].state if ordered else None
        ordered += told if len(told) == 1 else in_order_within_a_second(told, known=known) if told else []
        ordered += fetched
    return ordered


def in_order_within_a_second(events: Sequence[Event], *, known: Any | None) -> list[Event]:
    """Return different events of one second in their true order; `known` is the state before that second, if known."""
    events = sorted(events, key=lambda event: (_rank(event.event_type), event.event_id))
    return _best(events, known) if len(events) <= SEARCHED else _chain(events, known)


def needs_known_state(events: Sequence[Told]) -> bool:
    """Say whether the order within this second can depend on the state before it: nothing precedes a creation."""
    return len(events) > 1 and not any(event.event_type.endswith(CREATED) for event in events)


SEARCHED: Final = 8  # larger groups are chained greedily
CREATED: Final = ".created"
USUAL: Final = {
    "created": 0,
    "finalized": 10,
    "sent": 12,
    "updated": 20,
    "funds_withdrawn": 22,
    "payment_action_required": 30,
    "payment_failed": 32,
    "failed": 32,
    "overdue": 34,
    "paused": 36,
    "resumed": 38,
    "pending_update_applied": 40,
    "pending_update_expired": 40,
    "pending": 42,
    "succeeded": 44,
    "payment_succeeded": 46,
    "paid": 48,
    "captured": 50,
    "refunded": 52,
    "canceled": 60,
    "expired": 60,
    "voided": 62,
    "marked_uncollectible": 64,
    "funds_reinstated": 66,
    "closed": 70,
    "reconciliation_completed": 72,
    "deleted": 100,
}


def _rank(event_type: str) -> int:
    return USUAL.get(event_type.rpartition(".")[2], USUAL["updated"])


def _seconds(events: Iterable[Event]) -> list[list[Event]]:
    seconds: dict[int, dict[str, Event]] = {}
    for event in events:
        seconds.setdefault(event.created, {})[event.event_id] = event
    return [list(seconds[created].values()) for created in sorted(seconds)]


Score = tuple[int, int, int]  # creations and deletions in their place, unbroken links, usual order


def _best(events: Sequence[Event], known: Any | None) -> list[Event]:
    """Search all orders at once: the best way to go on depends only on what is placed and what came last."""
    count = len(events)
    everything = (1 << count) - 1
    ranks = [_rank(event.event_type) for event in events]
    follows = [[_follows(event, other.state) for event in events] for other in events]
    starts = [_follows(event, known) for event in events]
    best: dict[tuple[int, int], Score] = {(everything, last): (0, 0, 0) for last in range(count)}

    def gain(placed: int, last: int, chosen: int) -> Score:
        late = [ranks[index] for index in range(count) if placed >> index & 1 and ranks[index] > ranks[chosen]]
        hard = sum(rank == USUAL["deleted"] or ranks[chosen] == USUAL["created"] for rank in late)
        return -hard, follows[last][chosen] if placed else starts[chosen], -len(late)

    def onwards(placed: int, last: int, chosen: int) -> Score:
        first, then = gain(placed, last, chosen), best[placed | 1 << chosen, chosen]
        return first[0] + then[0], first[1] + then[1], first[2] + then[2]

    for placed in range(everything - 1, -1, -1):
        lasts = [index for index in range(count) if placed >> index & 1] or [0]
        left = [index for index in range(count) if not placed >> index & 1]
        for last in lasts:
            best[placed, last] = max(onwards(placed, last, chosen) for chosen in left)

    order: list[Event] = []
    placed = last = 0
    while placed != everything:
        left = [index for index in range(count) if not placed >> index & 1]
        last = next(index for index in left if onwards(placed, last, index) == best[placed, last])
        placed |= 1 << last
        order.append(events[last])
    return order


def _chain(events: Sequence[Event], known: Any | None) -> list[Event]:
    """Take what follows from the last state; where nothing does, the beginning of another chain."""
    left, order = list(events), list[Event]()
    while left:
        first_rank, last_rank = USUAL["created"], USUAL["deleted"]
        kept_back = [event for event in left if _rank(event.event_type) == last_rank]
        open_now = [event for event in left if _rank(event.event_type) == first_rank]
        open_now = open_now or [event for event in left if event not in kept_back] or kept_back
        chosen = next((event for event in open_now if _follows(event, known)), None)
        chosen = chosen or next((event for event in open_now if not _is_reached(event, open_now)), open_now[0])
        left.remove(chosen)
        order.append(chosen)
        known = chosen.state
    return order


def _is_reached(event: Told, others: Sequence[Told]) -> bool:
    return any(other is not event and _follows(event, other.state) for other in others)


def _follows(event: Told, state: Any | None) -> bool:
    return state is not None and event.before is not None and event.before == state
