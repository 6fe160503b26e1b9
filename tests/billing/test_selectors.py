"""What the rest of the product reads of sources and events."""

from __future__ import annotations

from datetime import date

import pytest

from billing import inbox, selectors
from billing.models import EventState, Origin, StripeEvent
from billing.selectors import EventCounts
from tests import builders
from tests.billing.conftest import NOW
from tests.builders import T0, as_bytes, event

pytestmark = pytest.mark.django_db


def keep(source, count, kind="customer.created", **fields):
    told = [event(kind, builders.customer(f"cus_{n}"), **fields) for n in range(count)]
    inbox.keep_many(source, [as_bytes(one) for one in told], origin=Origin.WEBHOOK, now=NOW)
    return [one["id"] for one in told]


def test_sources_are_listed_without_their_secrets(source):
    live = builders.source("beta", livemode=True)

    first, second = selectors.sources()

    assert (first.slug, first.livemode, second.slug) == ("acme", False, "beta")
    assert selectors.live_source_pks() == [live.pk]
    assert builders.SECRET not in repr([first, second])


def test_every_event_is_counted_in_one_state(source):
    ids = keep(source, 5)
    keep(source, 1, livemode=True)
    StripeEvent.objects.filter(stripe_id__in=ids[:2]).update(state=EventState.PROCESSED)
    StripeEvent.objects.filter(stripe_id=ids[2]).update(state=EventState.IGNORED)
    other = builders.source("other")

    counts = selectors.event_counts([source.pk])

    assert counts == EventCounts(waiting=2, processed=2, ignored=1, parked=1)
    assert counts.received == StripeEvent.objects.count()
    assert selectors.event_counts([other.pk]) == EventCounts()
    assert selectors.event_counts() == counts
    assert selectors.unprocessed_counts() == EventCounts(waiting=2, ignored=1, parked=1)
    assert (selectors.has_events([source.pk]), selectors.has_events([other.pk])) == (True, False)


def test_events_are_paged_both_ways_newest_first(source):
    ids = keep(source, 5)[::-1]

    first = selectors.events(limit=2)
    second = selectors.events(limit=2, before_pk=first[-1].pk)
    back = selectors.events(limit=2, after_pk=second[0].pk)

    assert [row.stripe_id for row in first + second] == ids[:4]
    assert back == first


def test_events_are_filtered_by_source_state_type_and_customer(source):
    keep(source, 3)
    keep(source, 2, "customer.updated")
    keep(builders.source("other"), 1)

    assert len(selectors.events(source_pks=[source.pk])) == 5
    assert len(selectors.events(source_pks=[source.pk], type_prefix="customer.u")) == 2
    assert len(selectors.events(customer_id="cus_0")) == 3
    assert selectors.events(states=["parked"]) == []


def test_an_event_is_shown_with_its_body_from_each_source_that_knows_it(source):
    other = builders.source("other")
    raw = as_bytes(event("customer.created", builders.customer(), id="evt_1"))
    for one in (source, other):
        inbox.keep(one, raw, origin=Origin.WEBHOOK, now=NOW)

    both = selectors.event_details("evt_1")
    (mine,) = selectors.event_details("evt_1", source_pks=[source.pk])

    assert [found.row.source_slug for found in both] == ["acme", "other"]
    assert mine.body["data"]["object"]["email"] == "anna@example.test"
    assert mine.text.encode() == raw
    assert selectors.event_details("evt_2") == []


def test_a_body_that_cannot_be_read_is_shown_as_received(source):
    raw = b'{"id": "evt_deep", "data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    inbox.keep(source, raw, origin=Origin.WEBHOOK, now=NOW)

    (found,) = selectors.event_details("evt_deep")

    assert (found.body, found.pretty) == (None, raw.decode())


def test_customers_are_found_by_name_mail_and_id(source, take):
    take([event("customer.created", builders.customer("cus_1", name="Northwind", email="ada@north.test"))])

    for search in ("north", "ADA@", "us_1"):
        assert len(selectors.customers_matching(search, sources=[source.pk])) == 1
    assert not selectors.customers_matching("south", sources=[source.pk])
    (found,) = selectors.customers_by_stripe_id("cus_1")
    assert (found.name, selectors.customers_by_stripe_id("cus_1", source_pks=[])) == ("Northwind", [])


def test_histories_carry_where_the_source_s_history_begins(source, take):
    source.history_from = date(2026, 1, 1)
    source.save()
    take([event("customer.subscription.created", builders.subscription())])

    (history,) = selectors.histories(selectors.customer_pks()).values()

    assert (history.source_pk, history.history_from, history.deleted) == (source.pk, date(2026, 1, 1), None)
    (step,) = history.steps["sub_1"]
    assert (step.created, step.event_type, step.is_live) == (T0, "customer.subscription.created", True)


def test_reading_histories_takes_two_statements(source, take, django_assert_num_queries):
    take(
        [
            event("customer.subscription.created", builders.subscription(f"sub_{n}", customer=f"cus_{n}"))
            for n in range(9)
        ]
    )
    pks = selectors.customer_pks()

    with django_assert_num_queries(2):
        assert len(selectors.histories(pks)) == 9
