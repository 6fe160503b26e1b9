"""Owed fetches: claimed once, asked in no transaction and within Stripe's limits, stored, or written down why not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone

from billing import fetches, mirror, owed, selectors, stripe_api
from billing.models import (
    Customer,
    FetchKind,
    FetchState,
    FetchWaiter,
    Invoice,
    OwedFetch,
    Price,
    Snapshot,
    Subscription,
)
from billing.owed import Need
from tests import builders
from tests.builders import DAY, T0, event
from tests.fakes.stripe import FakeStripe

pytestmark = pytest.mark.django_db

KEY = "rk_test_0123456789"
TIERS = [{"up_to": None, "unit_amount": 500, "unit_amount_decimal": "500"}]


@pytest.fixture
def stripe(settings: Any) -> Iterator[FakeStripe]:
    with FakeStripe(key=KEY) as fake:
        settings.STRIPE_API_BASE = fake.url
        yield fake


@pytest.fixture
def tiered(source, take, stripe) -> Customer:
    """A customer whose price's tiers are not known, and a key to ask for them."""
    source.api_key = KEY
    source.save()
    sold = builders.price(amount=None, billing_scheme="tiered", tiers_mode="volume")
    stripe.add(sold | {"tiers": TIERS})
    take([event("customer.subscription.created", builders.subscription(items=[builders.item(sold=sold)]))])
    customer = Customer.objects.get()
    owe(customer)
    return customer


def owe(customer: Customer, **changed: Any) -> None:
    missing = selectors.histories([customer.pk])[customer.pk].missing
    with transaction.atomic():
        owed.owe(missing, now=changed.get("now") or timezone.now())


def needs(customer: Customer) -> list[tuple[str, str]]:
    found = selectors.histories([customer.pk])[customer.pk].missing
    return [(need.kind.value, need.stripe_id) for need in found]


# ---- owing ----


def test_what_is_missing_is_owed_once_however_often_it_is_seen(tiered, stripe):
    owe(tiered)
    owe(tiered)

    fetch = OwedFetch.objects.get()
    assert (fetch.kind, fetch.stripe_id, fetch.state) == ("price", "price_1", FetchState.WAITING)
    assert FetchWaiter.objects.count() == 1


def test_plain_prices_ask_nothing_of_anybody(source, take, django_assert_num_queries):
    take([event("customer.subscription.created", builders.subscription())])
    pk = Customer.objects.get().pk

    with django_assert_num_queries(2):  # snapshots and customers, as ever
        history = selectors.histories([pk])[pk]

    assert (history.missing, history.facts.prices) == ((), {})


def test_facts_of_many_customers_take_as_many_statements_as_of_one(source, take, django_assert_max_num_queries):
    for number in range(20):
        sold = builders.price(f"price_{number}", amount=None, billing_scheme="tiered")
        items = [builders.item(f"si_{number}", sold=sold, discounts=[f"di_{number}"])]
        sub = builders.subscription(f"sub_{number}", customer=f"cus_{number}", items=items)
        take([event("customer.subscription.created", sub)])

    with django_assert_max_num_queries(1 + 2 + 2):  # ours, and prices and discounts
        found = selectors.histories(list(Customer.objects.values_list("pk", flat=True)))

    assert sum(len(history.missing) for history in found.values()) == 40


def test_an_answer_that_did_not_help_is_not_asked_for_again_at_once(tiered, stripe):
    now = timezone.now()
    stripe.add(builders.price(amount=None, billing_scheme="tiered", tiers=[]))

    fetches.fetch_due(now=now)
    owe(tiered, now=now)
    assert OwedFetch.objects.get().state == FetchState.DONE

    owe(tiered, now=now + timedelta(hours=2))
    assert OwedFetch.objects.get().state == FetchState.WAITING


# ---- claiming ----


def test_a_claimed_fetch_is_nobody_else_s_until_its_lease_ends(tiered, stripe):
    now = timezone.now()

    first = fetches.claim(limit=10, now=now)
    assert ([fetch.stripe_id for fetch in first], fetches.claim(limit=10, now=now)) == (["price_1"], [])
    assert not fetches.is_due(now=now)

    OwedFetch.objects.update(leased_until=now - timedelta(days=1))
    assert [fetch.attempts for fetch in fetches.claim(limit=10, now=now)] == [2]


# ---- asking ----


def test_no_call_is_made_inside_a_transaction(tiered, stripe, monkeypatch):
    depth = len(connection.savepoint_ids)
    seen: list[int] = []
    ask = fetches._ask
    monkeypatch.setattr(fetches, "_ask", lambda *given: seen.append(len(connection.savepoint_ids)) or ask(*given))

    fetches.fetch_due(now=timezone.now())

    assert len(seen) == 1 and set(seen) <= {0, depth}
    assert Price.objects.get().tiers == TIERS


def test_calls_keep_to_the_limit_of_an_endpoint(source, stripe):
    source.api_key = KEY
    source.save()
    for number in range(30):
        stripe.add(builders.price(f"price_{number}"))
    reader = stripe_api.Reader(source)

    began = time.monotonic()
    for number in range(30):
        reader.one("prices", f"price_{number}")

    assert time.monotonic() - began >= 29 / 25 - 0.05


def test_what_is_known_meanwhile_is_not_asked_for(tiered, stripe):
    Price.objects.update(tiers=TIERS)

    done = fetches.fetch_due(now=timezone.now())

    assert (done.claimed, done.answered, stripe.calls) == (1, 0, 0)
    assert OwedFetch.objects.get().state == FetchState.DONE


# ---- failures ----


@pytest.mark.parametrize("status", [500, 502, 429])
def test_trouble_that_passes_is_tried_again_later(tiered, stripe, status):
    now = timezone.now()
    if status == 429:
        stripe.limits_next("lock_timeout")
    else:
        stripe.fails_next(status)

    fetches.fetch_due(now=now)

    fetch = OwedFetch.objects.get()
    assert (fetch.state, fetch.attempts, fetch.leased_until) == (FetchState.WAITING, 1, None)
    assert timedelta(seconds=3) <= fetch.due_at - now <= timedelta(seconds=5)
    assert fetch.error


def test_after_eight_attempts_it_is_parked_and_can_be_tried_again(tiered, stripe, client):
    stripe.fails_next(500, count=None)
    for _ in range(8):
        OwedFetch.objects.update(due_at=timezone.now())
        fetches.fetch_due(now=timezone.now())
    assert OwedFetch.objects.get().code == "failed"
    stripe.recovers()

    User.objects.create_superuser("root", password="root")
    client.login(username="root", password="root")
    chosen = {"action": "ask_again", "_selected_action": [OwedFetch.objects.get().pk]}
    assert client.post("/admin/billing/owedfetch/", chosen, follow=True).status_code == 200

    fetches.fetch_due(now=timezone.now())
    assert OwedFetch.objects.get().state == FetchState.DONE


def test_a_key_that_stripe_does_not_know_parks_and_a_new_one_resumes(tiered, source, stripe):
    source.api_key = "rk_test_somebody_elses"
    source.save()
    fetches.fetch_due(now=timezone.now())
    fetch = OwedFetch.objects.get()
    assert (fetch.state, fetch.code) == (FetchState.PARKED, "wrong_api_key")
    assert "somebody" not in fetch.error

    owed.resume(source.pk, now=timezone.now())
    assert OwedFetch.objects.get().state == FetchState.WAITING


def test_a_failing_store_leaves_nothing_half_written(tiered, stripe, monkeypatch):
    def fail(*_: Any) -> None:
        raise RuntimeError("killed here")

    monkeypatch.setattr(fetches, "_store_price", fail)
    fetches.fetch_due(now=timezone.now())

    assert (Price.objects.get().tiers, OwedFetch.objects.get().state) == (None, FetchState.WAITING)


# ---- who waits ----


def test_who_waited_is_posted_once_and_a_kill_in_between_loses_nobody(tiered, stripe):
    now = timezone.now()
    fetches.fetch_due(now=now)

    # The worker may die here: the answer is stored, and who waits for it still stands.
    assert fetches.is_due(now=now)
    assert fetches.customers_to_repost(now=now) == [tiered.pk]

    with transaction.atomic():
        fetches.take_served([tiered.pk])
    assert fetches.customers_to_repost(now=now) == []
    assert not fetches.is_due(now=now)


# ---- fetched states among events ----


def test_a_fetched_state_yields_to_what_happened_later_and_follows_what_happened_before(source, take):
    take([event("customer.subscription.created", builders.subscription(at=T0), at=T0)])
    stale = builders.subscription(at=T0, status="past_due")
    with transaction.atomic():
        mirror.store(source.pk, [("subscription", stale)], asked=T0 + 11)
    assert Subscription.objects.get().status == "past_due"

    take([event("customer.subscription.updated", builders.subscription(at=T0, status="unpaid"), at=T0 + 20)])
    with transaction.atomic():
        mirror.store(source.pk, [("subscription", builders.subscription(at=T0))], asked=T0 + 15)

    assert Subscription.objects.get().status == "unpaid"
    pk = Customer.objects.get().pk
    steps = selectors.histories([pk])[pk].steps["sub_1"]
    assert [(step.created - T0, step.state.status, step.is_live) for step in steps] == [
        (0, "active", True),
        (10, "past_due", False),
        (14, "active", False),
        (20, "unpaid", True),
    ]


def test_a_fetched_state_comes_after_all_events_of_its_second(source, take):
    take([event("customer.subscription.created", builders.subscription(at=T0), at=T0)])
    with transaction.atomic():
        mirror.store(source.pk, [("subscription", builders.subscription(at=T0, status="unpaid"))], asked=T0 + 6)
    take([event("customer.subscription.deleted", builders.subscription(at=T0, status="past_due"), at=T0 + 5)])

    pk = Customer.objects.get().pk
    steps = selectors.histories([pk])[pk].steps["sub_1"]
    assert [step.event_type.rpartition(".")[2] for step in steps] == ["created", "deleted", "fetched"]
    assert Subscription.objects.get().status == "unpaid"


def test_a_fetch_that_was_stored_twice_leaves_one_snapshot(source):
    for _ in range(2):
        with transaction.atomic():
            mirror.store(source.pk, [("subscription", builders.subscription(at=T0))], asked=T0 + 6)

    assert Snapshot.objects.count() == 1


def test_lines_that_did_not_travel_are_read_once_the_invoice_is_final(source, take, stripe):
    source.api_key = KEY
    source.save()
    lines = [builders.line(f"il_{number:02d}", amount=100) for number in range(14)]
    short = builders.invoice(lines=lines[:10], total=1400)
    short["lines"]["has_more"] = True
    stripe.add(builders.invoice(lines=lines, total=1400))

    applied = take([event("invoice.finalized", short, at=T0 + DAY)])
    with transaction.atomic():
        owed.owe({need for each in applied for need in each.missing}, now=timezone.now())
    fetches.fetch_due(now=timezone.now())
    again = take([event("invoice.updated", short, at=T0 + 2 * DAY)])

    assert Invoice.objects.get().lines.count() == 14
    kinds = {need.kind for each in again for need in each.missing}
    assert FetchKind.INVOICE not in kinds


def test_issues_are_counted_by_source_and_code(source):
    for number, (state, code) in enumerate(
        [("waiting", ""), ("waiting", "rate_limited"), ("waiting", "no_api_key"), ("parked", "resource_missing")]
    ):
        OwedFetch.objects.create(
            source=source,
            kind=FetchKind.PRICE,
            stripe_id=f"price_{number}",
            state=state,
            code=code,
            due_at=timezone.now(),
            created_at=timezone.now(),
        )

    found = {issue.code: issue.count for issue in selectors.fetch_issues([source.pk])}

    assert found == {"fetch_waiting": 2, "no_api_key": 1, "fetch_parked": 1}


def test_a_refinement_is_owed_only_where_there_is_a_key(source, take):
    take([event("customer.created", builders.customer())])
    need = Need(source.pk, FetchKind.COUPON, "TEN", Customer.objects.get().pk, is_refinement=True)

    owed.owe([need], now=timezone.now())
    assert not OwedFetch.objects.exists()

    source.api_key = KEY
    source.save()
    owed.owe([need], now=timezone.now())
    assert OwedFetch.objects.get().kind == FetchKind.COUPON
