"""What payloads lack is read from Stripe: MRR says incomplete, a finding stands, and it heals with no entry edited."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from billing import selectors, sources
from billing.models import FetchState, FetchWaiter, OwedFetch, Snapshot
from config import doctor, pipeline
from mrr import selectors as mrr
from mrr.models import CustomerBalance, LedgerEntry
from tests import builders
from tests.builders import DAY, Json
from tests.fakes.stripe import FakeStripe
from tests.scenario import Scenario, seconds, standing

pytestmark = pytest.mark.django_db

KEY = "rk_test_0123456789"
JAN = seconds("2026-01-10")
TIERS = [{"up_to": 5, "unit_amount": 700, "unit_amount_decimal": "700", "flat_amount": None},
         {"up_to": 10, "unit_amount": 650, "unit_amount_decimal": "650", "flat_amount": None},
         {"up_to": None, "unit_amount": 600, "unit_amount_decimal": "600", "flat_amount": None}]  # fmt: skip


@pytest.fixture
def stripe(settings: Any) -> Iterator[FakeStripe]:
    with FakeStripe(key=KEY) as fake:
        settings.STRIPE_API_BASE = fake.url
        yield fake


@pytest.fixture
def scenario(stripe: FakeStripe) -> Scenario:
    made = Scenario(livemode=False)
    made.tell("customer.created", builders.customer(at=JAN), "2026-01-10")
    return made


def add_key(scenario: Scenario, key: str = KEY) -> None:
    sources.add(scenario.source.slug, api_key=key)


def tiered(**fields: Any) -> Json:
    return builders.price(amount=None, billing_scheme="tiered", tiers_mode="graduated", **fields)


def told(obj: Json) -> Json:
    """An object as an event carries it: nothing expanded."""
    shown = {name: value for name, value in obj.items() if name not in ("tiers", "currency_options", "applies_to")}
    if obj["object"] == "subscription":
        shown["discounts"] = [discount["id"] for discount in obj["discounts"]]
        items = [
            {**item, "price": told(item["price"]), "discounts": [discount["id"] for discount in item["discounts"]]}
            for item in obj["items"]["data"]
        ]
        shown["items"] = {**obj["items"], "data": items[:10], "has_more": len(items) > 10}
    return shown


def subscribes(scenario: Scenario, stripe: FakeStripe, sub: Json, *, on: str = "2026-01-10") -> Json:
    stripe.add(sub)
    scenario.tell("customer.subscription.created", told(sub), on)
    return sub


def ledger(scenario: Scenario, customer: str = "cus_1") -> list[str]:
    return [
        f"{entry.effective_at:%Y-%m-%d} {entry.type} {entry.reason} {entry.amount_micros / 10**8:+.2f}"
        for entry in standing(customer, scenario.source)
    ]


def incomplete() -> int:
    return sum(CustomerBalance.objects.values_list("incomplete_items", flat=True))


def issues() -> list[tuple[str, int]]:
    return [(issue.code, issue.count) for issue in selectors.fetch_issues()]


def discount(id: str, coupon: Json, **fields: Any) -> Json:
    return {
        "id": id,
        "object": "discount",
        "customer": "cus_1",
        "end": None,
        "invoice": None,
        "invoice_item": None,
        "source": {"type": "coupon", "coupon": coupon["id"]},
        "start": JAN,
        "subscription": None,
        "subscription_item": None,
    } | fields


def coupon(id: str = "TWENTY", **fields: Any) -> Json:
    return {
        "id": id,
        "object": "coupon",
        "amount_off": None,
        "applies_to": {"products": ["prod_1"]},
        "created": JAN - DAY,
        "currency": None,
        "duration": "forever",
        "percent_off": 20,
        "valid": True,
    } | fields


# ---- what is missing is said, and heals ----


def test_a_tiered_price_is_incomplete_until_its_tiers_are_read_and_then_heals(scenario, stripe):
    stripe.add(tiered(tiers=TIERS))
    sub = builders.subscription(items=[builders.item(sold=tiered(tiers=TIERS), quantity=6)], at=JAN)

    subscribes(scenario, stripe, sub)
    assert (ledger(scenario), incomplete(), issues()) == ([], 1, [("no_api_key", 1)])
    assert stripe.calls == 0

    add_key(scenario)
    scenario.drain()
    assert ledger(scenario) == ["2026-01-10 new subscribed +41.50"]
    assert (incomplete(), issues(), stripe.calls) == (0, [], 1)


def test_entries_are_reversed_and_added_never_edited(scenario, stripe):
    stripe.add(tiered(tiers=TIERS))
    plain = builders.item("si_plain", sold=builders.price("price_plain", amount=1000))
    sub = builders.subscription(items=[plain, builders.item(sold=tiered(tiers=TIERS), quantity=6)], at=JAN)
    subscribes(scenario, stripe, sub)
    before = list(LedgerEntry.objects.order_by("pk").values())
    assert ledger(scenario) == ["2026-01-10 new subscribed +10.00"]

    add_key(scenario)
    scenario.drain()

    assert list(LedgerEntry.objects.order_by("pk").values())[: len(before)] == before
    assert ledger(scenario) == ["2026-01-10 new subscribed +51.50"]


def test_a_price_that_many_customers_use_is_read_once(scenario, stripe):
    stripe.add(tiered(tiers=TIERS))
    for number in range(60):
        sub = builders.subscription(
            f"sub_{number}",
            customer=f"cus_{number}",
            items=[builders.item(f"si_{number}", sold=tiered(tiers=TIERS), quantity=1)],
            at=JAN,
        )
        scenario.tell("customer.subscription.created", told(sub), "2026-01-10")
    assert incomplete() == 60

    add_key(scenario)
    scenario.drain()

    assert (incomplete(), stripe.calls, FetchWaiter.objects.count()) == (0, 1, 0)
    assert ledger(scenario, "cus_59") == ["2026-01-10 new subscribed +7.00"]


def test_a_subscription_in_a_second_currency_waits_for_that_currency_s_amount(scenario, stripe):
    options = {"eur": {"unit_amount": 900, "unit_amount_decimal": "900"}, "usd": {"unit_amount": 1000}}
    stripe.add(builders.price(amount=1000, currency_options=options))
    sub = builders.subscription(items=[builders.item(sold=builders.price(amount=1000))], currency="eur", at=JAN)

    subscribes(scenario, stripe, sub)
    assert (ledger(scenario), incomplete()) == ([], 1)

    add_key(scenario)
    scenario.drain()
    assert ledger(scenario) == ["2026-01-10 new subscribed +9.00"]


def test_a_discount_known_by_its_id_heals_once_the_subscription_is_read(scenario, stripe):
    stripe.add(coupon())
    sub = builders.subscription(at=JAN, discounts=[discount("di_1", coupon(), subscription="sub_1")])

    subscribes(scenario, stripe, sub)
    assert (ledger(scenario), incomplete(), issues()) == (
        ["2026-01-10 new subscribed +10.00"],
        1,
        [("no_api_key", 1)],
    )

    add_key(scenario)
    scenario.drain()
    assert ledger(scenario) == ["2026-01-10 new subscribed +8.00"]
    assert (incomplete(), issues(), stripe.calls) == (0, [], 1)


def test_an_item_s_discount_takes_a_second_read_for_its_coupon(scenario, stripe):
    stripe.add(coupon(applies_to={"products": ["prod_other"]}))
    stripe.add(coupon("TEN", percent_off=10))
    items = [
        builders.item(
            discounts=[
                discount("di_1", coupon(), subscription_item="si_1"),
                discount("di_2", coupon("TEN"), subscription_item="si_1"),
            ]
        )
    ]
    add_key(scenario)

    subscribes(scenario, stripe, builders.subscription(items=items, at=JAN))
    scenario.drain()

    assert ledger(scenario) == ["2026-01-10 new subscribed +9.00"]  # the 20 % are for another product
    assert (incomplete(), stripe.calls) == (0, 3)


def test_a_customer_s_discount_travels_but_its_coupon_is_read(scenario, stripe):
    stripe.add(coupon())
    applied = discount("di_1", coupon())
    scenario.tell("customer.discount.created", applied, "2026-01-10")
    subscribes(scenario, stripe, builders.subscription(at=JAN))
    assert (ledger(scenario), incomplete()) == (["2026-01-10 new subscribed +10.00"], 1)

    add_key(scenario)
    scenario.drain()
    assert ledger(scenario) == ["2026-01-10 new subscribed +8.00"]

    scenario.tell("customer.discount.deleted", applied, "2026-03-01")
    assert ledger(scenario) == ["2026-01-10 new subscribed +8.00", "2026-03-01 expansion discount_ended +2.00"]


def test_an_event_that_tells_what_was_missing_saves_the_call(scenario, stripe):
    sub = builders.subscription(at=JAN, discounts=[discount("di_1", coupon(), subscription="sub_1")])
    subscribes(scenario, stripe, sub)
    assert issues() == [("no_api_key", 1)]

    whole = discount("di_1", coupon(), subscription="sub_1", source={"type": "coupon", "coupon": coupon()})
    scenario.tell("customer.discount.created", whole, "2026-01-10")

    assert (ledger(scenario), issues(), stripe.calls) == (["2026-01-10 new subscribed +8.00"], [], 0)


def test_more_items_than_travel_complete_the_event_they_belong_to(scenario, stripe):
    items = [builders.item(f"si_{n:02d}", sold=builders.price(f"price_{n}", amount=100)) for n in range(13)]
    sub = builders.subscription(items=items, at=JAN)
    subscribes(scenario, stripe, sub)
    assert (ledger(scenario), incomplete()) == (["2026-01-10 new subscribed +10.00"], 1)

    add_key(scenario)
    scenario.drain()

    assert (ledger(scenario), incomplete()) == (["2026-01-10 new subscribed +13.00"], 0)


def test_items_of_a_newer_version_do_not_complete_an_older_event(scenario, stripe):
    items = [builders.item(f"si_{n:02d}", sold=builders.price(f"price_{n}", amount=100)) for n in range(12)]
    subscribes(scenario, stripe, builders.subscription(items=items, at=JAN))
    items[0] = {**items[0], "quantity": 5}
    stripe.add(builders.subscription(items=items, at=JAN))  # changed since, and the event is still on its way

    add_key(scenario)
    scenario.drain()

    entries = ledger(scenario)
    assert entries[0] == "2026-01-10 new subscribed +10.00"
    assert len(entries) == 2 and entries[1].endswith("+6.00")
    assert Snapshot.objects.filter(event_type="fetched").count() == 1


def test_a_subscription_that_only_its_invoice_names_is_read(scenario, stripe):
    stripe.add(builders.subscription(at=JAN))
    add_key(scenario)

    scenario.tell("invoice.paid", builders.invoice(status="paid", at=JAN + 40 * DAY), "2026-02-19")

    assert ledger(scenario) == ["2026-01-10 new subscribed +10.00"]


def test_a_planned_price_that_nobody_told_of_is_read(scenario, stripe):
    stripe.add(builders.price("price_2", amount=2000))
    add_key(scenario)
    subscribes(scenario, stripe, builders.subscription(at=JAN, schedule="sub_sched_1"))
    schedule = {
        "id": "sub_sched_1",
        "object": "subscription_schedule",
        "created": JAN,
        "customer": "cus_1",
        "end_behavior": "release",
        "status": "active",
        "subscription": "sub_1",
        "phases": [
            {
                "start_date": JAN,
                "end_date": seconds("2036-06-01"),
                "currency": "usd",
                "items": [{"price": "price_1", "quantity": 1, "discounts": []}],
                "discounts": [],
                "trial_end": None,
            },
            {
                "start_date": seconds("2036-06-01"),
                "end_date": seconds("2036-07-01"),
                "currency": "usd",
                "items": [{"price": "price_2", "quantity": 1, "discounts": []}],
                "discounts": [],
                "trial_end": None,
            },
        ],
    }

    scenario.tell("subscription_schedule.created", schedule, "2026-01-10")

    balance = CustomerBalance.objects.get()
    assert (balance.mrr_micros, balance.scheduled_micros) == (1_000_000_000, 1_000_000_000)


# ---- disputes ----


def lose(scenario: Scenario) -> None:
    scenario.tell("charge.dispute.closed", builders.dispute(status="lost", at=JAN + 40 * DAY), "2026-03-01")


def test_a_lost_dispute_of_the_newest_layout_finds_its_subscription_by_the_invoice_s_payments(scenario, stripe):
    add_key(scenario)
    subscribes(scenario, stripe, builders.subscription(at=JAN))
    paid = builders.invoice(status="paid", at=JAN)
    scenario.tell("invoice.paid", paid, "2026-01-10")
    scenario.tell("charge.succeeded", builders.charge(at=JAN), "2026-01-10")
    stripe.add_all([paid, builders.charge(at=JAN)])
    payment = {"type": "payment_intent", "payment_intent": "pi_1"}
    stripe.add({"id": "inpay_1", "object": "invoice_payment", "created": JAN, "invoice": "in_1", "payment": payment,
                "status": "paid"})  # fmt: skip

    lose(scenario)
    assert ledger(scenario) == ["2026-01-10 new subscribed +10.00", "2026-03-01 churn dispute_lost -10.00"]

    scenario.tell(
        "invoice.paid",
        builders.invoice("in_2", status="paid", lines=[builders.line("il_2")], at=seconds("2026-04-10")),
        "2026-04-10",
    )
    assert ledger(scenario)[2:] == ["2026-04-10 reactivation dispute_recovered +10.00"]


def test_a_dispute_of_a_charge_we_never_heard_of_finds_its_customer(scenario, stripe):
    add_key(scenario)
    subscribes(scenario, stripe, builders.subscription(at=JAN))
    stripe.add_all([builders.invoice(status="paid", at=JAN), builders.charge(at=JAN)])
    payment = {"type": "payment_intent", "payment_intent": "pi_1"}
    stripe.add({"id": "inpay_1", "object": "invoice_payment", "created": JAN, "invoice": "in_1", "payment": payment,
                "status": "paid"})  # fmt: skip

    lose(scenario)
    scenario.drain()

    assert ledger(scenario) == ["2026-01-10 new subscribed +10.00", "2026-03-01 churn dispute_lost -10.00"]


# ---- rights and limits ----


def test_a_key_without_the_right_is_told_which_and_another_key_heals(scenario, stripe):
    stripe.add(tiered(tiers=TIERS))
    stripe.add_key("rk_test_blind_one", ["subscription_read"])
    add_key(scenario, "rk_test_blind_one")
    sub = builders.subscription(items=[builders.item(sold=tiered(tiers=TIERS), quantity=6)], at=JAN)

    subscribes(scenario, stripe, sub)

    issue = selectors.fetch_issues()[0]
    assert (issue.code, issue.customers) == ("missing_permission", 1)
    assert issue.said.startswith("The key lacks read access to Prices")
    found = [finding for finding in doctor.examine(now=timezone.now()) if finding.check == "fetches"]
    assert [finding.is_well for finding in found] == [False] and "read access to Prices" in found[0].seen

    add_key(scenario)
    scenario.drain()
    assert (ledger(scenario), issues()) == (["2026-01-10 new subscribed +41.50"], [])


def test_too_many_calls_pause_the_source_and_cost_no_attempt(scenario, stripe):
    stripe.add(tiered(tiers=TIERS))
    stripe.limits_next(count=1)
    add_key(scenario)
    sub = builders.subscription(items=[builders.item(sold=tiered(tiers=TIERS), quantity=6)], at=JAN)

    subscribes(scenario, stripe, sub)
    scenario.drain()
    fetch = OwedFetch.objects.get()
    scenario.source.refresh_from_db()
    assert (fetch.state, fetch.attempts, fetch.code) == (FetchState.WAITING, 0, "rate_limited")
    assert len(stripe.requests) == 1

    pipeline.drain_fetches(now=scenario.source.calls_paused_until)
    assert (ledger(scenario), issues()) == (["2026-01-10 new subscribed +41.50"], [])


def test_what_stripe_does_not_know_is_parked_and_named(scenario, stripe):
    add_key(scenario)
    sub = builders.subscription(items=[builders.item(sold=tiered(), quantity=6)], at=JAN)

    scenario.tell("customer.subscription.created", sub, "2026-01-10")

    fetch = OwedFetch.objects.get()
    assert (fetch.state, fetch.code, incomplete()) == (FetchState.PARKED, "resource_missing", 1)


def test_drain_counts_what_it_took_up(scenario, stripe):
    stripe.add(tiered(tiers=TIERS))
    scenario.is_held = True
    sub = builders.subscription(items=[builders.item(sold=tiered(tiers=TIERS))], at=JAN)
    event = scenario.tell("customer.subscription.created", told(sub), "2026-01-10")
    add_key(scenario)
    scenario.deliver(builders.as_bytes(event))

    assert scenario.drain().fetched == 1


def test_a_subscription_known_by_its_invoice_alone_makes_totals_incomplete(scenario, stripe):
    scenario.tell("invoice.paid", builders.invoice(status="paid", at=JAN), "2026-01-10")

    found = mrr.gaps([scenario.source.pk])

    assert [(gap.code, gap.count) for gap in found] == [("subscriptions_unknown", 1)]
