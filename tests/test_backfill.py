"""A backfill reads everything from Stripe's lists, once, within the limits, and tells nobody."""

from __future__ import annotations

import json
import random
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from billing import backfill, selectors, sources, stripe_api
from billing.models import Customer, Listing, ListingWindow, Snapshot, StripeEvent, Subscription
from crm.models import Message
from mrr.models import LedgerEntry
from tests import builders
from tests.builders import DAY
from tests.fakes.stripe import FakeStripe
from tests.scenario import Scenario, seconds, standing

pytestmark = pytest.mark.django_db

KEY = "rk_live_0123456789"
NOW = int(timezone.now().timestamp())
JAN = seconds("2026-01-10")


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
    made.source.refresh_from_db()
    return made


def run(slug: str = "acme", **options: Any) -> dict[str, Any]:
    """Run the command; returns the JSON of its last line."""
    out = StringIO()
    try:
        call_command("backfill", slug, stdout=out, **options)
    except SystemExit as end:
        assert end.code == 1
    return dict(json.loads(out.getvalue().splitlines()[-1]))


def company(stripe: FakeStripe, count: int, *, seed: int = 1) -> None:
    """So many customers at Stripe, each with a subscription, some of them ended, and some with an invoice."""
    chance = random.Random(seed)
    for number in range(count):
        at = JAN + chance.randrange(200) * DAY
        stripe.add(builders.customer(f"cus_{number:05d}", at=at, livemode=True))
        sub = builders.subscription(f"sub_{number:05d}", customer=f"cus_{number:05d}", at=at + 60, livemode=True)
        sub["items"]["data"][0] |= {"id": f"si_{number:05d}", "quantity": number % 7 + 1}
        if number % 5 == 0:
            sub |= {"status": "canceled", "ended_at": at + 30 * DAY, "canceled_at": at + 30 * DAY}
        stripe.add(sub)
        if number % 3 == 0:
            invoice = builders.invoice(f"in_{number:05d}", customer=f"cus_{number:05d}", at=NOW - number, status="paid")
            stripe.add(invoice | {"livemode": True})


def books(slug: str = "acme") -> list[tuple[Any, ...]]:
    """A source's standing ledger, whatever its keys and causes are."""
    rows = LedgerEntry.objects.filter(source__slug=slug, reverses=None, reversed_by=None)
    rows = rows.order_by("customer__stripe_id", "effective_at")
    return list(rows.values_list("customer__stripe_id", "effective_at", "type", "reason", "currency", "amount_micros"))


def counts() -> tuple[int, ...]:
    return tuple(model.objects.count() for model in (Customer, Subscription, Snapshot, LedgerEntry, StripeEvent))


def test_everything_is_read_and_proved_to_be_kept(scenario, stripe):
    company(stripe, 20)

    found = run()

    assert (found["state"], found["complete"], found["differing"]) == ("done", True, 0)
    assert found["listed"] == found["kept"] == 20 + 20 + 7
    assert found["lists"]["subscriptions"] | {"kept": 20, "new": 20, "is_done": True} == found["lists"]["subscriptions"]
    assert LedgerEntry.objects.filter(type="new").count() == 20


def test_history_is_dated_by_what_subscriptions_say_of_themselves(scenario, stripe):
    stripe.add(builders.customer(at=JAN))
    stripe.add(builders.subscription(at=JAN, status="canceled", ended_at=JAN + 90 * DAY, canceled_at=JAN + 80 * DAY))

    run()

    assert [(e.type, int(e.effective_at.timestamp()), e.amount_micros) for e in standing("cus_1", scenario.source)] == [
        ("new", JAN, 1000 * 10**6),
        ("churn", JAN + 90 * DAY, -1000 * 10**6),
    ]


def test_a_second_backfill_changes_nothing(scenario, stripe):
    company(stripe, 10)
    run()
    before, rows = books(), counts()

    found = run()

    assert (books(), counts()) == (before, rows)
    assert found["complete"]
    assert all(part["new"] == part["differing"] == 0 for part in found["lists"].values())


def test_nobody_is_told_of_what_a_backfill_learns(scenario, stripe):
    at = NOW - 3600
    stripe.add(builders.customer(at=at))
    stripe.add(builders.subscription(at=at))
    stripe.add_event(
        builders.event("customer.subscription.created", builders.subscription(at=at), at=at, livemode=True)
    )

    run()

    assert [(e.type, e.is_live) for e in standing("cus_1", scenario.source)] == [("new", False)]
    assert not Message.objects.exists()


def test_a_dry_run_says_what_would_be_new_and_changes_nothing(scenario, stripe):
    company(stripe, 5)

    found = run(dry_run=True)

    assert found["lists"]["customers"]["new"] == 5
    assert counts() == (0, 0, 0, 0, 0)


def test_webhooks_that_arrive_meanwhile_make_no_double_entry(scenario, stripe):
    """Told by an event before its page, after its page, and changed after it was listed."""
    subs = [builders.subscription(f"sub_{n}", customer=f"cus_{n}", at=NOW - 5 * DAY, livemode=True) for n in range(3)]
    created = [builders.event("customer.subscription.created", sub, at=sub["created"], livemode=True) for sub in subs]
    for sub in subs:
        stripe.add(builders.customer(sub["customer"], at=sub["created"], livemode=True))
        stripe.add(sub)
    grown = {**subs[2], "items": {**subs[2]["items"], "data": [builders.item(quantity=3)]}}
    scenario.arrives([created[0]])
    listing = backfill.start(scenario.source.pk, by="test")
    backfill.carry_on(listing)
    updated = builders.event(
        "customer.subscription.updated", grown, at=int(time.time()), before={"items": subs[2]["items"]}, livemode=True
    )
    stripe.add(grown)
    scenario.arrives([created[1], updated])
    run()

    assert [row[0:1] + row[2:3] + row[5:] for row in books()] == [
        ("cus_0", "new", 10**9),
        ("cus_1", "new", 10**9),
        ("cus_2", "new", 10**9),
        ("cus_2", "expansion", 2 * 10**9),
    ]


def test_a_key_without_a_right_leaves_that_list_out_and_says_so(scenario, stripe):
    company(stripe, 2)
    rights = {"product_read", "plan_read", "coupon_read", "customer_read", "subscription_read", "event_read"}
    stripe.add_key("rk_live_narrow0000", rights)
    sources.add(scenario.source.slug, api_key="rk_live_narrow0000")

    found = run()

    assert not found["complete"]
    refused = {name for name, part in found["lists"].items() if part["code"] == "missing_permission"}
    assert refused == {"payouts", "charges", "refunds", "disputes", "invoices", "open invoices"}
    assert found["lists"]["subscriptions"]["kept"] == 2


def test_without_a_key_it_stops_and_says_so(scenario, stripe):
    sources.add("other", label="Other", signing_secrets=["whsec_other_000000000"])

    found = run("other")

    assert (found["state"], found["complete"]) == ("stopped", False)
    progress = selectors.backfill_progress(Listing.objects.get().source_id)
    assert progress is not None
    assert progress.code == "no_api_key"


def test_what_stopped_goes_on_once_its_cause_is_mended(scenario, stripe):
    company(stripe, 2)
    sources.add(scenario.source.slug, api_key="rk_live_of_somebody_else")
    assert run()["state"] == "stopped"

    sources.add(scenario.source.slug, api_key=KEY)

    assert run()["complete"]
    assert Listing.objects.count() == 1


@pytest.mark.parametrize("is_event_first", [True, False])
def test_an_end_that_an_event_told_of_has_a_life_before_it_once_it_is_listed(scenario, stripe, is_event_first):
    ended = builders.subscription(at=JAN, status="canceled", ended_at=NOW - DAY, canceled_at=NOW - DAY, livemode=True)
    stripe.add_all([builders.customer(at=JAN, livemode=True), ended])
    told = builders.event("customer.subscription.deleted", ended, at=NOW - DAY, livemode=True)

    if is_event_first:
        scenario.arrives([told])
        assert books() == []
    run()
    if not is_event_first:
        scenario.arrives([told])

    assert [(row[2], int(row[1].timestamp())) for row in books()] == [("new", JAN), ("churn", NOW - DAY)]


@pytest.mark.parametrize("is_event_first", [True, False])
def test_past_phases_of_a_schedule_are_history(scenario, stripe, is_event_first):
    begun, stepped = NOW - 200 * DAY, NOW - 80 * DAY
    low, high = builders.price("price_low", amount=1000), builders.price("price_high", amount=2500)
    for price in (low, high):
        stripe.add(price | {"livemode": True})
    sub = builders.subscription(items=[builders.item(sold=high)], at=begun, schedule="sub_sched_1", livemode=True)
    phases = [
        {"start_date": start, "end_date": end, "currency": "usd", "items": [{"price": price["id"], "quantity": 1}]}
        for start, end, price in ((begun, stepped, low), (stepped, NOW + 90 * DAY, high))
    ]
    schedule = {"id": "sub_sched_1", "object": "subscription_schedule", "created": begun, "customer": "cus_1",
                "subscription": "sub_1", "status": "active", "end_behavior": "release", "phases": phases}  # fmt: skip
    stripe.add_all([builders.customer(at=begun, livemode=True), sub, schedule])
    renamed = builders.event("customer.subscription.updated", sub, at=NOW - DAY, before={"metadata": {}}, livemode=True)

    if is_event_first:
        scenario.arrives([renamed])
    run()
    if not is_event_first:
        scenario.arrives([renamed])

    assert [(row[2], row[3], int(row[1].timestamp()), row[5]) for row in books()] == [
        ("new", "subscribed", begun, 10**9),
        ("expansion", "price_change", stepped, 15 * 10**8),
    ]


# ---- interrupted, slowed down ----


class Interrupted(BaseException):
    """Stands for a kill: nothing is tidied up after it."""


def test_however_often_it_is_interrupted_the_books_are_the_same_for_hardly_a_call_more(scenario, stripe):
    company(stripe, 240)
    other = Scenario("whole")
    sources.add("whole", api_key=KEY)
    run("whole")
    calls = stripe.calls
    chance = random.Random(3)
    listing = backfill.start(scenario.source.pk, by="test")
    for _ in range(5):
        pages = chance.randrange(2, 4)
        with suppress(Interrupted):
            backfill.carry_on(listing, tell=interrupting(pages))

    found = run()

    assert found["complete"]
    assert books("acme") == books(other.source.slug)
    assert stripe.calls - calls <= calls + 5 * backfill.AT_ONCE


def interrupting(pages: int) -> backfill.Tell:
    left = iter(range(pages))

    def tell(_listing: Listing) -> None:
        if next(left, None) is None:
            raise Interrupted

    return tell


def test_refusals_and_failures_lose_nothing_and_stripe_s_limits_are_kept(scenario, stripe):
    stripe.rate_per_second = stripe_api.LIVE_PER_SECOND
    company(stripe, 250)
    stripe.limits_next(count=None, every=5)
    stripe.fails_next(500, count=None, every=7)

    found = run()

    statuses = [request.status for request in stripe.requests]
    assert found["complete"]
    assert found["lists"]["subscriptions"]["kept"] == 250
    assert {429, 500} <= set(statuses)
    assert statuses.count(429) == len(statuses) // 5, "none but those that were planned"
    assert busiest(stripe) <= stripe_api.LIVE_PER_SECOND
    assert busiest(stripe, "/v1/customers") <= stripe_api.ENDPOINT_PER_SECOND


def busiest(stripe: FakeStripe, match: str = "") -> int:
    """The most calls that came within any one second."""
    times = sorted(request.at for request in stripe.requests_to(match))
    return max(place - bisect_left(times, at - 1.0) + 1 for place, at in enumerate(times))


def test_a_page_that_another_machine_has_stored_is_let_go(scenario, stripe):
    """Both read the same window: the second finds it moved on, counts nothing, and does not call the lists read."""
    company(stripe, 120)
    listing = backfill.start(scenario.source.pk, by="test")
    window = ListingWindow.objects.get(part__name="customers")

    def read_by_another() -> bool:
        ListingWindow.objects.filter(pk=window.pk).update(cursor="cus_00060")
        return False

    backfill.carry_on(listing, stop=read_by_another)
    listing.refresh_from_db()

    assert listing.state == "listing"
    assert selectors.listing_row(listing.pk).parts[4].listed == 0


def test_a_list_that_stripe_gives_up_on_waits_as_a_row_and_goes_on_later(scenario, stripe, monkeypatch):
    monkeypatch.setattr(backfill, "FIRST_PAUSE_SECONDS", 0.001)
    company(stripe, 3)
    stripe.fails_next(503, count=backfill.TRIES, match="/v1/customers")
    listing = backfill.start(scenario.source.pk, by="test")

    backfill.carry_on(listing)
    listing.refresh_from_db()
    assert (listing.state, listing.attempts) == ("listing", 1)
    assert listing.due_at > timezone.now()

    backfill.carry_on(listing)
    assert selectors.listing_row(listing.pk).parts[4].kept == 3
