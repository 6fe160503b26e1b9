"""The true order of one object's events does not depend on the order they came in."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from billing.ordering import in_order


@dataclass(frozen=True)
class Event:
    created: int
    event_id: str
    event_type: str = "customer.subscription.updated"
    state: Any = None
    before: Any = None


def ids(events: list[Event]) -> list[str]:
    return [event.event_id for event in in_order(events)]


def test_earlier_seconds_come_first():
    assert ids([Event(20, "evt_a"), Event(10, "evt_b")]) == ["evt_b", "evt_a"]


def test_within_a_second_each_event_begins_where_the_last_one_ended():
    one = Event(10, "evt_c", state=2, before=1)
    two = Event(10, "evt_b", state=3, before=2)
    three = Event(10, "evt_a", state=4, before=3)

    assert ids([three, one, two]) == ["evt_c", "evt_b", "evt_a"]


def test_the_state_before_the_second_says_where_to_begin():
    there, back = Event(10, "evt_b", state=2, before=1), Event(10, "evt_a", state=1, before=2)

    assert ids([Event(5, "evt_0", state=1), back, there]) == ["evt_0", "evt_b", "evt_a"]
    assert ids([Event(5, "evt_0", state=2), back, there]) == ["evt_0", "evt_a", "evt_b"]


def test_a_creation_is_first_and_a_deletion_last():
    created = Event(10, "evt_z", "customer.subscription.created", state=1)
    updated = Event(10, "evt_m", state=2, before=1)
    deleted = Event(10, "evt_a", "customer.subscription.deleted", state=3)

    assert ids([deleted, updated, created]) == ["evt_z", "evt_m", "evt_a"]


def test_without_a_hint_what_usually_comes_first_does():
    failed = Event(10, "evt_z", "invoice.payment_failed", state=1)
    paid = Event(10, "evt_a", "invoice.payment_succeeded", state=2)
    final = Event(10, "evt_y", "invoice.finalized", state=0)

    assert ids([paid, failed, final]) == ["evt_y", "evt_z", "evt_a"]


def test_a_link_counts_more_than_what_is_usual():
    paid = Event(10, "evt_a", "invoice.paid", state=2)
    updated = Event(10, "evt_b", "invoice.updated", state=3, before=2)

    assert ids([updated, paid]) == ["evt_a", "evt_b"]


def test_where_nothing_tells_the_id_does():
    assert ids([Event(10, "evt_b"), Event(10, "evt_a")]) == ["evt_a", "evt_b"]


def test_an_event_given_twice_comes_once():
    event = Event(10, "evt_a")

    assert ids([event, event]) == ["evt_a"]


def test_a_long_chain_within_one_second_is_followed():
    chain = [Event(10, f"evt_{97 * n % 40:02d}", state=n + 1, before=n) for n in range(40)]
    mixed = [Event(10, "evt_first", "customer.subscription.created", state=0), *chain]
    random.Random(3).shuffle(mixed)

    assert [event.state for event in in_order(mixed)] == list(range(41))


# A few states, so that loops, gaps and equal states are common; up to ten events a second, so that both ways are taken.
events = st.lists(
    st.builds(
        Event,
        created=st.integers(1, 2),
        event_id=st.integers(0, 30).map("evt_{}".format),
        event_type=st.sampled_from(
            ["customer.subscription.created", "customer.subscription.updated", "customer.subscription.deleted"]
        ),
        state=st.integers(0, 3),
        before=st.none() | st.integers(0, 3),
    ),
    max_size=14,
    unique_by=lambda event: event.event_id,
)


@given(events, st.randoms())
def test_the_order_of_arrival_does_not_matter(history, rng):
    arrived = [*history, *history[:3]]
    rng.shuffle(arrived)

    assert in_order(arrived) == in_order(history)


@given(st.integers(2, 9), st.randoms())
def test_a_whole_chain_is_always_found(length, rng):
    names = [f"evt_{n}" for n in range(length)]
    rng.shuffle(names)
    chain = [Event(10, name, state=n + 1, before=n) for n, name in enumerate(names)]
    arrived = rng.sample(chain, length)

    assert in_order(arrived) == chain
