"""Stripe's own bodies through the signed webhook: for each file the answer, the end, and the ledger."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from django.utils import timezone

from billing.models import Customer, StripeEvent
from config.benchmarks.load import signed
from mrr import selectors
from mrr.models import CustomerBalance, LedgerEntry
from tests.scenario import SECRET, Scenario

pytestmark = pytest.mark.django_db
PAYLOADS = Path(__file__).parent / "payloads"

SUB = "customer.subscription"
# What the file shows (without its layout) → the entries it makes alone: day, type, reason, minor units a month.
LEDGER = {
    f"{SUB}.created": ["2026-03-26 new subscribed +9900.00 usd"],
    f"{SUB}.created.mixed_interval": ["2026-03-26 new subscribed +14900.00 usd"],
    f"{SUB}.created.sub_cent": ["2026-03-26 new subscribed +500.00 usd"],
    f"{SUB}.created.zero_decimal": ["2026-04-13 new subscribed +5000.00 jpy"],
    f"{SUB}.updated": ["2026-03-28 new subscribed +2900.00 usd", "2026-05-15 expansion plan_change +7000.00 usd"],
    f"{SUB}.updated.quantity": [
        "2026-03-30 new subscribed +29700.00 usd",
        "2026-05-09 expansion quantity +19800.00 usd",
    ],
    f"{SUB}.updated.interval": [
        "2026-04-01 new subscribed +9900.00 usd",
        "2026-06-20 contraction interval_change -1650.00 usd",
    ],
    f"{SUB}.updated.past_due": ["2026-04-03 new subscribed +2900.00 usd"],
    f"{SUB}.updated.period_rolled": ["2026-04-05 new subscribed +3033.33 usd"],
    f"{SUB}.updated.cancel_at_period_end": ["2026-04-07 new subscribed +2900.00 usd"],
    f"{SUB}.updated.trial_converted": ["2026-04-11 new trial_converted +2900.00 usd"],
}
# The old layout carries its 20 % whole; of the newest the discount's id is all that travels.
OLD_LEDGER = {f"{SUB}.updated.trial_converted": ["2026-04-11 new trial_converted +2320.00 usd"]}
# No MRR: not paying (yet), an end without a beginning, usage, tiers not known; invoices and charges never.
SILENT = {
    f"{SUB}.created.incomplete",
    f"{SUB}.created.trialing",
    f"{SUB}.created.metered",
    f"{SUB}.created.tiered",
    f"{SUB}.deleted",
    f"{SUB}.deleted.payment_failed",
    "customer.created",
    "customer.updated",
    "customer.deleted",
    "invoice.payment_succeeded",
    "invoice.payment_succeeded.prorations",
    "invoice.payment_succeeded.has_more",
    "invoice.payment_failed",
    "invoice.payment_failed.second",
    "invoice.payment_failed.last",
    "charge.succeeded",
    "charge.refunded",
    "charge.dispute.created",
    "charge.dispute.created.inquiry",
    "charge.dispute.closed",
    "payout.paid",
}
PARKED = {f"{SUB}.created.connect": "wrong_account", f"thin.v1.{SUB}.updated": "thin_event"}

FILES = sorted(PAYLOADS.glob("*.*.*.json"))


@pytest.fixture
def scenario() -> Scenario:
    return Scenario(livemode=False)  # the files are of test mode


def shown(path: Path) -> str:
    return path.stem.removesuffix(".newest").removesuffix(".pre_basil")


def ledger() -> list[str]:
    return [
        f"{entry.effective_at:%Y-%m-%d} {entry.type} {entry.reason} {entry.amount_micros / 10**6:+.2f} {entry.currency}"
        for entry in LedgerEntry.objects.order_by("effective_at", "pk")
    ]


def test_the_table_names_every_file():
    assert {shown(path) for path in FILES} == {*LEDGER, *SILENT, *PARKED}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_body_is_answered_processed_and_booked(scenario, path):
    name = shown(path)

    answers = [scenario.deliver(path.read_bytes()).status_code for _ in range(2)]
    scenario.drain()

    event = StripeEvent.objects.get()
    assert answers == [200, 200]
    assert (event.state, event.reason) == (("parked", PARKED[name]) if name in PARKED else ("processed", ""))
    assert bytes(event.body) == path.read_bytes()
    told = LEDGER | OLD_LEDGER if path.stem.endswith(".pre_basil") else LEDGER
    assert ledger() == told.get(name, [])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_changed_byte_is_refused_and_leaves_nothing(scenario, path):
    raw = path.read_bytes()
    at = len(raw) // 2
    changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]

    answer = scenario.client.post(
        "/webhooks/stripe/acme/",
        data=changed,
        content_type="application/json",
        headers={"stripe-signature": signed(raw, SECRET, int(time.time()))},
    )

    assert answer.status_code == 400
    assert not StripeEvent.objects.exists()


def test_what_has_no_price_yet_is_said_to_be_missing(scenario):
    scenario.deliver((PAYLOADS / f"{SUB}.created.tiered.newest.json").read_bytes())
    scenario.drain()

    assert CustomerBalance.objects.get().incomplete_items == 1


@pytest.mark.parametrize("customer", [None, ""])
def test_an_object_without_a_customer_is_parked_and_shown(scenario, customer):
    event = json.loads((PAYLOADS / f"{SUB}.created.newest.json").read_bytes())
    event["data"]["object"]["customer"] = customer

    scenario.deliver(json.dumps(event).encode())
    scenario.drain()

    assert StripeEvent.objects.get().reason == "no_customer"
    assert not Customer.objects.exists()


def test_the_other_mode_is_parked(scenario):
    event = json.loads((PAYLOADS / f"{SUB}.created.newest.json").read_bytes()) | {"livemode": True}

    assert scenario.deliver(json.dumps(event).encode()).status_code == 200
    scenario.drain()

    assert StripeEvent.objects.get().reason == "wrong_mode"
    assert ledger() == []


def test_a_test_source_is_a_world_apart():
    """The same customer ids live and in test mode: totals are the live one's alone."""
    live, test = Scenario("live"), Scenario("test", livemode=False)
    for world, monthly in ((live, "30.00"), (test, "999.00")):
        customer = world.customer("Acme")
        customer.id = customer.object["id"] = "cus_both"
        world.tell("customer.updated", customer.object, "2026-01-02")
        customer.subscribes("team", monthly=monthly, on="2026-01-10")

    today = timezone.now().date()
    balance = selectors.mrr_at(today, today=today)

    assert Customer.objects.filter(stripe_id="cus_both").count() == 2
    assert [(one.currency, one.mrr_micros, one.customers) for one in balance.currencies] == [("usd", 3000 * 10**6, 1)]
