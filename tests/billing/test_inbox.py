"""The inbox: kept once, handed out once, tried five times."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from billing import inbox, selectors
from billing.envelope import NotAnEvent
from billing.inbox import Kept, Outcome
from billing.models import EventState, Origin, StripeEvent
from billing.selectors import EventCounts
from tests import builders
from tests.billing.conftest import NOW
from tests.builders import as_bytes, event

pytestmark = pytest.mark.django_db


def bodies(count: int, *, customers: int = 1) -> list[bytes]:
    return [as_bytes(event("customer.updated", builders.customer(f"cus_{n % customers}"))) for n in range(count)]


def keep(source, raws):
    return inbox.keep_many(source, raws, origin=Origin.LOADED, now=NOW)


def claim(limit=100, now=NOW):
    return inbox.claim_batch(limit=limit, now=now)


def test_bodies_are_kept_once_and_counted(source):
    raws = bodies(3)
    thin = as_bytes(event("x", {}, object="v2.core.event"))

    assert keep(source, [*raws, raws[0], thin]) == Kept(kept=4, already=1, parked=1)
    assert keep(source, [*raws, thin]) == Kept(kept=0, already=4, parked=0)
    assert selectors.event_counts() == EventCounts(waiting=3, parked=1)


def test_a_body_that_is_no_event_keeps_nothing(source):
    with pytest.raises(NotAnEvent):
        keep(source, [*bodies(1), b"[]"])

    assert not StripeEvent.objects.exists()


def test_what_is_claimed_is_nobody_else_s_and_counts_as_an_attempt(source):
    keep(source, bodies(5))

    first, second = claim(), claim()

    assert (len(first), second) == (5, [])
    assert {event.attempts for event in first} == {1}
    assert [event.pk for event in first] == sorted(event.pk for event in first)


def test_a_lease_that_ran_out_is_taken_over(source):
    keep(source, bodies(1))
    claim()
    StripeEvent.objects.update(leased_until=timezone.now() - timedelta(seconds=1))

    assert [event.attempts for event in claim()] == [2]


def test_nothing_is_claimed_before_it_is_due(source):
    keep(source, bodies(1))
    StripeEvent.objects.update(due_at=NOW + timedelta(seconds=10))

    assert claim() == []
    assert len(claim(now=NOW + timedelta(seconds=10))) == 1


def test_other_events_of_the_same_customers_come_along(source):
    keep(source, bodies(40, customers=20))

    claimed = claim(limit=4)

    assert sorted(event.customer_id for event in claimed) == sorted(["cus_0", "cus_1", "cus_2", "cus_3"] * 2)


def test_no_more_than_twice_the_limit_comes_along(source):
    keep(source, bodies(50))

    assert len(claim(limit=10)) == 20


def test_claimed_events_carry_their_bodies(source):
    (raw,) = bodies(1)
    keep(source, [raw])

    (claimed,) = claim()

    assert bytes(claimed.body) == raw
    assert (claimed.source_id, claimed.type, claimed.origin) == (source.pk, "customer.updated", "loaded")


def test_outcomes_are_written_and_leases_given_back(source):
    keep(source, bodies(3))
    one, two, three = claim()

    inbox.mark(
        {
            one.pk: Outcome(EventState.PROCESSED),
            two.pk: Outcome(EventState.IGNORED, "not_needed"),
            three.pk: Outcome(EventState.PARKED, "no_customer", "It names no customer."),
        },
        now=NOW,
    )

    rows = StripeEvent.objects.order_by("pk").values_list("state", "reason", "error", "leased_until", "processed_at")
    assert list(rows) == [
        ("processed", "", "", None, NOW),
        ("ignored", "not_needed", "", None, NOW),
        ("parked", "no_customer", "It names no customer.", None, NOW),
    ]


def test_a_failure_waits_longer_each_time_and_is_parked_after_the_fifth(source):
    keep(source, bodies(1))
    now, waits = NOW, []

    for _ in range(inbox.ATTEMPTS):
        (claimed,) = claim(now=now)
        parked = inbox.release([claimed.pk], ValueError("boom"), now=now)
        row = StripeEvent.objects.get()
        waits.append((row.due_at - now).total_seconds())
        now = max(now, row.due_at)

    assert [3 <= waits[0] <= 5, 6 <= waits[1] <= 10, 12 <= waits[2] <= 20, 24 <= waits[3] <= 40] == [True] * 4
    assert (parked, row.state, row.reason, row.error) == (1, "parked", "failed", "ValueError: boom")
    assert claim(now=now + timedelta(days=1)) == []


def test_processing_again_starts_afresh(source):
    keep(source, bodies(1))
    (claimed,) = claim()
    inbox.mark({claimed.pk: Outcome(EventState.PARKED, "failed", "ValueError: boom")}, now=NOW)

    assert inbox.reprocess(claimed.pk, now=NOW)
    assert not inbox.reprocess(claimed.pk + 1000, now=NOW)
    row = StripeEvent.objects.get()
    assert (row.state, row.reason, row.error, row.attempts) == ("waiting", "", "", 0)
    assert len(claim()) == 1


def test_the_age_of_the_oldest_due_event(source):
    assert inbox.oldest_due_age(now=NOW) == timedelta()
    keep(source, bodies(1))

    assert inbox.oldest_due_age(now=NOW + timedelta(minutes=3)) == timedelta(minutes=3)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("cannot use anna@example.test"), "ValueError: cannot use [hidden]"),
        (KeyError("sk_live_abc123"), "KeyError: 'sk_live_[hidden]'"),
        (RuntimeError("Bearer abc.def\nsecond line with names"), "RuntimeError: Bearer [hidden]"),
        (RuntimeError("call +49 151 2345678"), "RuntimeError: call [hidden]"),
        (RuntimeError("x" * 1000), "RuntimeError: " + "x" * 286),
    ],
)
def test_an_error_is_told_without_secrets_and_people(error, said):
    assert inbox.described(error) == said
