"""What we were not told is found, named and repaired: missed deliveries each hour, whatever else differs each night."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from billing import catch_up, selectors, sources
from billing.models import Customer, Listing, Origin, StripeEvent, StripeSource, Subscription
from config import tasks
from crm.models import Message
from mrr.models import CustomerBalance
from tests import builders
from tests.builders import DAY, Json
from tests.fakes.stripe import FakeStripe
from tests.scenario import Scenario

pytestmark = pytest.mark.django_db

KEY = "rk_live_0123456789"
NOW = int(time.time())


@pytest.fixture
def stripe(settings: Any, tmp_path: Any) -> Iterator[FakeStripe]:
    settings.DATA_DIR = tmp_path
    with FakeStripe(key=KEY, livemode=True) as fake:
        settings.STRIPE_API_BASE = fake.url
        yield fake


@pytest.fixture
def scenario(stripe: FakeStripe) -> Scenario:
    made = Scenario()
    sources.add(made.source.slug, api_key=KEY)
    StripeSource.objects.update(created_at=timezone.now() - timedelta(days=60))
    made.source.refresh_from_db()
    return made


def run(**options: Any) -> dict[str, Any]:
    out = StringIO()
    try:
        call_command("catch_up", "acme", stdout=out, **options)
    except SystemExit as end:
        assert end.code == 1
    return dict(json.loads(out.getvalue().splitlines()[-1]))


def subscribed(number: int, *, at: int, quantity: int = 1) -> tuple[Json, Json]:
    """A subscription of a customer of its own, and the event that it began."""
    sub = builders.subscription(f"sub_{number}", customer=f"cus_{number}", at=at, livemode=True)
    sub["items"]["data"][0] |= {"id": f"si_{number}", "quantity": quantity}
    told = builders.event("customer.subscription.created", sub, at=at, livemode=True, id=f"evt_{number:04d}")
    return sub, told


def mrr_micros() -> int:
    return sum(CustomerBalance.objects.values_list("mrr_micros", flat=True))


# ---- each hour ----


def test_dropped_deliveries_are_found_named_and_processed_and_nobody_is_told(scenario, stripe):
    told = [subscribed(number, at=NOW - 3600 - number)[1] for number in range(12)]
    for event in told:
        stripe.add_event(event, delivered=event in told[:4])
    scenario.arrives(told[:4])

    found = run()

    assert sorted(one["id"] for one in found["findings"]) == [f"evt_{number:04d}" for number in range(4, 12)]
    assert {(one["how"], one["repaired"]) for one in found["findings"]} == {("missing", True)}
    assert StripeEvent.objects.filter(origin=Origin.BACKFILL, state="processed").count() == 8
    assert mrr_micros() == 12 * 1000 * 10**6
    assert not Message.objects.filter(entry__event_ids__0__in=[one["id"] for one in found["findings"]]).exists()


def test_events_that_no_endpoint_asked_for_are_a_gap_too(scenario, stripe):
    """An endpoint that was switched off has no failed deliveries; what came since the last event shows it."""
    _, first = subscribed(1, at=NOW - 7200)
    _, second = subscribed(2, at=NOW - 3600)
    stripe.add_event(first)
    stripe.add_event(second)
    scenario.arrives([first])

    assert [one["id"] for one in run()["findings"]] == ["evt_0002"]


def test_what_may_still_be_on_its_way_is_not_missed_yet(scenario, stripe):
    stripe.add_event(subscribed(1, at=int(time.time()) - 5)[1], delivered=False)

    assert run()["findings"] == []


def test_a_quiet_hour_costs_two_calls(scenario, stripe):
    _, told = subscribed(1, at=NOW - 3600)
    stripe.add_event(told)
    scenario.arrives([told])
    calls = stripe.calls

    tasks.catch_up()

    row = selectors.last_catch_up(scenario.source.pk)
    assert row is not None
    assert (row.state, row.is_complete, row.findings, row.calls) == ("done", True, 0, 2)
    assert stripe.calls - calls == 2


def test_what_was_made_before_the_source_was_added_was_not_missed(scenario, stripe):
    StripeSource.objects.update(created_at=timezone.now())
    scenario.source.refresh_from_db()
    stripe.add_event(subscribed(1, at=NOW - DAY)[1], delivered=False)

    assert run()["findings"] == []


# ---- each night ----


def test_what_differs_is_named_by_its_columns_and_taken_as_stripe_says_it(scenario, stripe):
    sub, told = subscribed(1, at=NOW - 40 * DAY)
    scenario.arrives([told])
    stripe.add_all([builders.customer("cus_1", at=NOW - 40 * DAY), sub])
    run(recount=True)
    grown, _ = subscribed(1, at=NOW - 40 * DAY, quantity=3)
    stripe.add(grown)

    found = run(recount=True)

    assert found["findings"] == [{"kind": "subscription", "id": "sub_1", "how": "differs", "repaired": True}]
    row = selectors.last_recount(scenario.source.pk)
    assert row is not None
    assert selectors.findings(row.pk)[0].details == {"columns": ["items"]}
    assert mrr_micros() == 3 * 1000 * 10**6
    assert run(recount=True)["findings"] == []


def test_what_we_never_heard_of_is_named_as_missing(scenario, stripe):
    sub, _ = subscribed(1, at=NOW - 40 * DAY)
    stripe.add_all([builders.customer("cus_1", at=NOW - 40 * DAY), sub])

    found = run(recount=True)

    assert {(one["kind"], one["how"]) for one in found["findings"]} == {
        ("customer", "missing"),
        ("subscription", "missing"),
    }
    assert mrr_micros() == 1000 * 10**6


def test_what_was_deleted_at_stripe_is_asked_for_and_marked(scenario, stripe):
    for number in range(3):
        stripe.add(builders.customer(f"cus_{number}", at=NOW - 40 * DAY))
    run(recount=True)
    stripe.deletes("cus_1")

    found = run(recount=True)

    assert found["findings"] == [{"kind": "customer", "id": "cus_1", "how": "gone", "repaired": True}]
    assert list(Customer.objects.exclude(deleted_at=None).values_list("stripe_id", flat=True)) == ["cus_1"]
    assert run(recount=True)["findings"] == []


def test_objects_of_another_account_are_never_marked_as_deleted(scenario, stripe):
    """A key of the wrong account lists nothing of ours, and knows none of it."""
    scenario.customer("Acme", on="2026-01-01")

    found = run(recount=True)

    assert [(one["how"], one["repaired"]) for one in found["findings"]] == [("gone", False)]
    assert not Customer.objects.exclude(deleted_at=None).exists()


def test_mrr_is_recounted_by_customer_and_posted_anew_where_it_differs(scenario, stripe):
    sub, told = subscribed(1, at=NOW - 40 * DAY)
    scenario.arrives([told])
    stripe.add_all([builders.customer("cus_1", at=NOW - 40 * DAY), sub])
    run(recount=True)
    CustomerBalance.objects.update(mrr_micros=7)

    found = run(recount=True)

    assert found["findings"] == [{"kind": "mrr", "id": "cus_1", "how": "differs", "repaired": True}]
    row = selectors.last_recount(scenario.source.pk)
    assert row is not None
    assert selectors.findings(row.pk)[0].details == {"usd": {"ours_micros": 7, "stripe_micros": 10**9}}
    assert found["lists"]["mrr"] | {"listed": 1, "kept": 1, "differing": 1} == found["lists"]["mrr"]
    assert mrr_micros() == 10**9


def test_both_run_by_the_clock_for_every_source_with_a_key(scenario, stripe):
    Scenario("keyless")

    tasks.catch_up()
    tasks.recount()

    assert {source.slug for source in catch_up.sources()} == {"acme"}
    done = [selectors.last_catch_up(scenario.source.pk), selectors.last_recount(scenario.source.pk)]
    assert [row and row.state for row in done] == ["done", "done"]
    assert not Subscription.objects.exists()
    assert done[0] is not None
    assert done[0].started_at <= timezone.now()


def test_old_readings_are_forgotten_but_the_backfill_stays(scenario, stripe):
    run()
    call_command("backfill", "acme", stdout=StringIO())
    Listing.objects.update(started_at=timezone.now() - timedelta(days=91))

    tasks.clear_old()

    assert [listing.purpose for listing in Listing.objects.all()] == ["backfill"]
