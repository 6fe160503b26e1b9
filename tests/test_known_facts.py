"""What bears on MRR beside subscriptions: tax inside, usage, payments, discounts; a function of what was told."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from billing import selectors
from billing.models import Customer, Needs
from config import pipeline
from mrr import policies
from mrr.models import CustomerBalance
from tests import builders
from tests.builders import DAY, Json
from tests.scenario import Scenario, seconds, standing

pytestmark = pytest.mark.django_db

JAN = seconds("2026-01-10")


@pytest.fixture
def scenario() -> Scenario:
    made = Scenario(livemode=False)
    made.tell("customer.created", builders.customer(at=JAN), "2026-01-10")
    return made


def ledger(scenario: Scenario) -> list[str]:
    return [
        f"{entry.effective_at:%Y-%m-%d} {entry.type} {entry.reason} {entry.amount_micros / 10**8:+.2f}"
        for entry in standing("cus_1", scenario.source)
    ]


def inclusive(amount: int = 12_100) -> Json:
    return builders.item(sold=builders.price(amount=amount, tax_behavior="inclusive"))


def vat(amount: int, taxable: int | None, rate: str = "txr_1") -> Json:
    return {
        "amount": amount,
        "tax_behavior": "inclusive",
        "tax_rate_details": {"tax_rate": rate},
        "taxable_amount": taxable,
        "type": "tax_rate_details",
    }


def facts(scenario: Scenario) -> Any:
    pk = Customer.objects.get(stripe_id="cus_1").pk
    return selectors.histories([pk])[pk].facts


# ---- tax inside ----


def test_tax_inside_is_taken_out_with_the_rate_of_the_first_invoice_even_when_it_comes_late(scenario):
    scenario.tell("customer.subscription.created", builders.subscription(items=[inclusive()], at=JAN), "2026-01-10")
    assert ledger(scenario) == ["2026-01-10 new subscribed +121.00"]

    line = builders.line(amount=12_100, taxes=[vat(2_100, 10_000)])
    scenario.tell("invoice.finalized", builders.invoice(total=12_100, lines=[line], at=JAN), "2026-01-10")

    assert ledger(scenario) == ["2026-01-10 new subscribed +100.00"]


def test_a_rate_told_by_its_percentage_is_better_than_a_quotient_of_rounded_amounts(scenario):
    rate = {"id": "txr_1", "object": "tax_rate", "inclusive": True, "percentage": 21}
    sub = builders.subscription(items=[inclusive(999)], at=JAN, default_tax_rates=[rate])
    scenario.tell("customer.subscription.created", sub, "2026-01-10")
    line = builders.line(amount=999, taxes=[vat(173, 826)])

    scenario.tell("invoice.finalized", builders.invoice(total=999, lines=[line], at=JAN), "2026-01-10")

    assert [tax.rate for tax in facts(scenario).taxes["si_1"]] == ["21/100"]


def test_a_line_without_tax_says_that_none_is_inside(scenario):
    scenario.tell("customer.subscription.created", builders.subscription(items=[inclusive()], at=JAN), "2026-01-10")

    line = builders.line(amount=12_100, taxes=[])
    scenario.tell("invoice.finalized", builders.invoice(total=12_100, lines=[line], at=JAN), "2026-01-10")

    assert [tax.rate for tax in facts(scenario).taxes["si_1"]] == ["0"]
    assert ledger(scenario) == ["2026-01-10 new subscribed +121.00"]


def test_the_old_layout_tells_the_same_tax(scenario):
    rate = {"id": "txr_9", "object": "tax_rate", "inclusive": True, "percentage": 8.875}
    scenario.tell("customer.subscription.created", builders.subscription(items=[inclusive()], at=JAN), "2026-01-10")
    old = {
        "id": "il_1",
        "object": "line_item",
        "amount": 12_100,
        "currency": "usd",
        "period": {"start": JAN, "end": JAN + 31 * DAY},
        "price": builders.price(),
        "proration": False,
        "subscription": "sub_1",
        "subscription_item": "si_1",
        "tax_amounts": [{"amount": 986, "inclusive": True, "tax_rate": "txr_9", "taxable_amount": 11_114}],
        "tax_rates": [rate],
    }

    scenario.tell("invoice.finalized", builders.invoice(total=12_100, lines=[old], at=JAN), "2026-01-10")

    assert [tax.rate for tax in facts(scenario).taxes["si_1"]] == ["71/800"]


# ---- usage ----


def test_usage_is_what_the_last_three_closed_periods_came_to(scenario):
    price = builders.price(amount=10)
    price["recurring"] |= {"usage_type": "metered"}
    metered = builders.item(sold=price, quantity=None)
    scenario.tell("customer.subscription.created", builders.subscription(items=[metered], at=JAN), "2026-01-10")
    for month, amount in enumerate((100, 200, 300, 400)):
        start = JAN + month * 30 * DAY
        end = start + 30 * DAY
        lines = [
            builders.line(f"il_{month}", amount=amount, period={"start": start, "end": end}),
            builders.line(f"il_{month}b", amount=5, period={"start": start, "end": end}),
        ]
        invoice = builders.invoice(f"in_{month}", total=amount + 5, lines=lines, at=end)
        scenario.tell("invoice.finalized", invoice, f"{datetime.fromtimestamp(end, UTC):%Y-%m-%d}")

    assert facts(scenario).usage == {"si_1": (205, 305, 405)}


# ---- payments ----


def test_a_plain_payment_posts_nobody(scenario):
    scenario.tell("customer.subscription.created", builders.subscription(at=JAN), "2026-01-10")
    raw = builders.as_bytes(builders.event("invoice.paid", builders.invoice(status="paid", at=JAN), at=JAN))
    scenario.deliver(raw)

    with CaptureQueriesContext(
        connection,
    ) as asked:
        pipeline.drain_inbox()

    assert not [query for query in asked.captured_queries if "snapshot" in query["sql"]]
    assert Customer.objects.get().needs == 0


def test_a_lost_dispute_makes_payments_count(scenario):
    scenario.tell("customer.subscription.created", builders.subscription(at=JAN), "2026-01-10")
    scenario.tell("invoice.paid", builders.invoice(status="paid", at=JAN), "2026-01-10")
    scenario.tell("charge.succeeded", builders.charge(at=JAN, invoice="in_1"), "2026-01-10")
    scenario.tell("charge.dispute.created", builders.dispute(at=JAN), "2026-01-20")
    assert ledger(scenario) == ["2026-01-10 new subscribed +10.00"]

    scenario.tell("charge.dispute.closed", builders.dispute(status="lost", at=JAN), "2026-03-01")
    paid = builders.invoice("in_2", status="paid", lines=[builders.line("il_2")], at=seconds("2026-04-10"))
    scenario.tell("invoice.paid", paid, "2026-04-10")

    assert ledger(scenario) == [
        "2026-01-10 new subscribed +10.00",
        "2026-03-01 churn dispute_lost -10.00",
        "2026-04-10 reactivation dispute_recovered +10.00",
    ]
    assert Customer.objects.get().needs == Needs.DISPUTE


@pytest.mark.parametrize("status", ["won", "warning_closed", "prevented"])
def test_a_dispute_that_was_not_lost_moves_nothing(scenario, status):
    scenario.tell("customer.subscription.created", builders.subscription(at=JAN), "2026-01-10")
    scenario.tell("invoice.paid", builders.invoice(status="paid", at=JAN), "2026-01-10")
    scenario.tell("charge.succeeded", builders.charge(at=JAN, invoice="in_1"), "2026-01-10")

    scenario.tell("charge.dispute.closed", builders.dispute(status=status, at=JAN), "2026-03-01")

    assert ledger(scenario) == ["2026-01-10 new subscribed +10.00"]


def test_under_a_policy_that_starts_with_payment_the_payment_begins_it(scenario):
    policies.add(
        policies.chosen(["starts_on=first_paid_invoice"]), preset="", changed={}, user="finn", now=timezone.now()
    )
    scenario.tell("customer.subscription.created", builders.subscription(at=JAN), "2026-01-10")
    assert ledger(scenario) == []

    invoice = builders.invoice(status="paid", at=JAN)
    invoice["status_transitions"]["paid_at"] = seconds("2026-01-13")
    scenario.tell("invoice.paid", invoice, "2026-01-13")

    assert ledger(scenario) == ["2026-01-13 new subscribed +10.00"]


# ---- discounts of customers ----


def coupon(id: str = "TWENTY", **fields: Any) -> Json:
    terms = {"amount_off": None, "created": JAN - DAY, "currency": None, "duration": "forever", "percent_off": 20}
    return {"id": id, "object": "coupon", "valid": True} | terms | fields


def discount(id: str, whole: Json, *, start: int = JAN) -> Json:
    return {"id": id, "object": "discount", "coupon": whole, "customer": "cus_1", "end": None, "start": start,
            "subscription": None}  # fmt: skip


def test_a_discount_inside_the_customer_counts_until_the_customer_shows_another_or_none(scenario):
    scenario.tell("customer.subscription.created", builders.subscription(at=JAN), "2026-01-10")
    first = discount("di_1", coupon(), start=seconds("2026-02-01"))
    second = discount("di_2", coupon("HALF", percent_off=50), start=seconds("2026-03-01"))

    for before, now, on in ((None, first, "2026-02-01"), (first, second, "2026-03-01"), (second, None, "2026-04-01")):
        shown = builders.customer(at=JAN, discount=now)
        scenario.tell("customer.updated", shown, on, before=builders.customer(at=JAN, discount=before))

    assert ledger(scenario) == [
        "2026-01-10 new subscribed +10.00",
        "2026-02-01 contraction discount_started -2.00",
        "2026-03-01 contraction discount_started -3.00",
        "2026-04-01 expansion discount_ended +5.00",
    ]


def test_a_coupon_made_again_under_its_id_leaves_what_was_applied_before_as_it_was(scenario):
    old = discount("di_1", coupon())
    sub = builders.subscription(at=JAN, discounts=[old])
    scenario.tell("customer.subscription.created", sub, "2026-01-10")

    scenario.tell("coupon.deleted", coupon(), "2026-02-01")
    again = coupon(percent_off=90, created=seconds("2026-02-02"))
    scenario.tell("coupon.created", again, "2026-02-02")
    scenario.tell("customer.subscription.updated", builders.subscription(at=JAN, discounts=["di_1"]), "2026-02-03")

    assert ledger(scenario) == ["2026-01-10 new subscribed +8.00"]


# ---- any order ----


def everything() -> list[Json]:
    """A life in which each kind of fact bears on MRR."""
    at = JAN
    taxed = builders.subscription(items=[inclusive()], at=at)
    held = discount("di_1", coupon(), start=at + 40 * DAY)
    line = builders.line(amount=12_100, taxes=[vat(2_100, 10_000)])
    paid = builders.invoice(total=12_100, status="paid", lines=[line], at=at)
    again = builders.invoice("in_2", total=12_100, status="paid", lines=[{**line, "id": "il_2"}], at=at + 80 * DAY)
    schedule = {
        "id": "sub_sched_1", "object": "subscription_schedule", "created": at, "customer": "cus_1",
        "end_behavior": "cancel", "status": "active", "subscription": "sub_1",
        "phases": [{"start_date": at, "end_date": at + 4000 * DAY, "currency": "usd", "discounts": [],
                    "items": [{"price": "price_1", "quantity": 1, "discounts": []}]}],
    }  # fmt: skip
    told = [
        ("customer.created", builders.customer(at=at), at),
        ("customer.subscription.created", taxed, at),
        ("invoice.paid", paid, at),
        ("charge.succeeded", builders.charge(at=at, invoice="in_1"), at),
        ("customer.discount.created", held, at + 40 * DAY),
        ("charge.dispute.created", builders.dispute(at=at), at + 50 * DAY),
        ("charge.dispute.closed", builders.dispute(status="lost", at=at), at + 60 * DAY),
        ("invoice.paid", again, at + 80 * DAY),
        ("customer.discount.deleted", held, at + 90 * DAY),
        ("subscription_schedule.created", schedule, at + 95 * DAY),
    ]
    return [builders.event(kind, obj, at=when, id=f"evt_order_{place}") for place, (kind, obj, when) in enumerate(told)]


def told_in(order: list[Json], slug: str, size: int) -> tuple[list[str], Any, tuple[Any, ...]]:
    scenario = Scenario(slug, livemode=False)
    for start in range(0, len(order), size):
        for event in order[start : start + size]:
            scenario.deliver(builders.as_bytes(event))
        scenario.drain()
    customer = Customer.objects.get(source=scenario.source)
    entries = [
        f"{e.effective_at} {e.type} {e.reason} {e.amount_micros} {e.event_ids}"
        for e in standing("cus_1", scenario.source)
    ]
    balance = CustomerBalance.objects.get(customer=customer)
    found = selectors.histories([customer.pk])[customer.pk].facts
    return entries, found, (balance.mrr_micros, balance.scheduled_micros)


def test_facts_and_ledger_are_the_same_in_any_order_and_any_batches():
    events = everything()
    first = told_in(events, "in-order", 1)
    assert [line.split()[2] for line in first[0]] == ["new", "contraction", "churn", "reactivation", "expansion"]

    assert told_in(events[::-1], "reversed", 1) == first
    for seed in range(6):
        shuffled = [*events, *events[:3]]
        random.Random(seed).shuffle(shuffled)
        assert told_in(shuffled, f"shuffled-{seed}", seed + 1) == first
