"""The mirror: the rows follow from the set of events, in whatever order and however often they come."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from billing import inbox, mirror, selectors
from billing.models import (
    Charge,
    Coupon,
    Customer,
    Discount,
    Dispute,
    EventState,
    Invoice,
    InvoiceLine,
    Origin,
    Payout,
    Price,
    Product,
    Refund,
    Snapshot,
    StripeEvent,
    Subscription,
)
from tests import builders
from tests.billing.conftest import NOW, drain, ends
from tests.billing.world import World
from tests.builders import T0, event

pytestmark = pytest.mark.django_db

PAYLOADS = Path(__file__).parent.parent / "payloads"
MODELS = (
    Customer,
    Subscription,
    Snapshot,
    Invoice,
    InvoiceLine,
    Charge,
    Refund,
    Dispute,
    Payout,
    Price,
    Discount,
    Coupon,
)


def rows(source: Any, models: Any = MODELS) -> dict[str, list[str]]:
    """Everything in the mirror but our own keys, in an order of its own."""
    customers = dict(Customer.objects.values_list("pk", "stripe_id"))
    invoices = dict(Invoice.objects.values_list("pk", "stripe_id"))
    found: dict[str, list[str]] = {}
    for model in models:
        lines = []
        for row in model.objects.values():
            row.pop("id")
            row.pop("source_id", None)
            if "customer_id" in row:
                row["customer_id"] = customers.get(row["customer_id"])
            if "invoice_id" in row and model is InvoiceLine:
                row["invoice_id"] = invoices[row["invoice_id"]]
            lines.append(json.dumps(row, default=str, sort_keys=True))
        found[model.__name__] = sorted(lines)
    return found


def histories() -> dict[str, Any]:
    known = dict(Customer.objects.values_list("pk", "stripe_id"))
    return {
        known[pk]: {name: [asdict(step) for step in steps] for name, steps in history.steps.items()}
        | {"gone": history.deleted}
        for pk, history in selectors.histories(known).items()
    }


def empty_mirror() -> None:
    for model in (
        InvoiceLine,
        Snapshot,
        Invoice,
        Discount,
        Subscription,
        Refund,
        Dispute,
        Charge,
        Payout,
        Price,
        Coupon,
    ):
        model.objects.all().delete()
    Customer.objects.all().delete()


def replay(events: list[dict[str, Any]], take: Any, source: Any, *, size: int) -> tuple[Any, Any]:
    """Forget the mirror, let events arrive in this order, and return what there is then."""
    empty_mirror()
    StripeEvent.objects.update(state="ignored")
    by_id = dict(StripeEvent.objects.values_list("stripe_id", "pk"))
    for start in range(0, len(events), size):
        for told in events[start : start + size]:
            inbox.reprocess(by_id[told["id"]], now=NOW)
        drain()
    return rows(source), histories()


# ---- order and repeats ----


@pytest.mark.parametrize("same_second", [0.0, 0.5, 1.0])
def test_any_order_and_any_batches_leave_the_same_rows_and_histories(source, take, same_second):
    world = World(7, 12, same_second=same_second)
    take(world.events)
    first = rows(source), histories()

    assert {state for state, _ in ends(source)} == {"processed"}
    assert replay(world.events[::-1], take, source, size=1) == first
    assert replay(world.shuffled(1), take, source, size=7) == first
    assert replay(world.shuffled(2), take, source, size=1000) == first


@pytest.mark.parametrize("same_second", [0.3, 1.0])
def test_every_object_ends_as_its_last_event_told_it(source, take, same_second):
    world = World(11, 25, same_second=same_second)
    take(world.shuffled(5), size=30)

    for obj in world.final.values():
        match obj["object"]:
            case "customer":
                assert Customer.objects.get(stripe_id=obj["id"]).email == obj["email"]
            case "subscription":
                row = Subscription.objects.get(stripe_id=obj["id"])
                assert (row.status, row.items[0]["quantity"]) == (obj["status"], obj["items"]["data"][0]["quantity"])
            case "invoice":
                row = Invoice.objects.get(stripe_id=obj["id"])
                assert (row.status, row.amount_paid_minor, row.lines.count()) == (
                    "paid",
                    obj["total"],
                    len(obj["lines"]["data"]),
                )
            case "charge":
                assert Charge.objects.get(stripe_id=obj["id"]).refunded_minor == obj["amount_refunded"]
            case "dispute":
                row = Dispute.objects.get(stripe_id=obj["id"])
                assert (row.status, row.customer.stripe_id, row.closed_at is not None) == (
                    obj["status"],
                    world.final[obj["charge"]]["customer"],
                    True,
                )
            case "refund":
                row = Refund.objects.get(stripe_id=obj["id"])
                assert row.customer.stripe_id == world.final[obj["charge"]]["customer"]


@pytest.mark.parametrize("same_second", [0.3, 1.0])
def test_histories_end_where_the_mirror_stands(source, take, same_second):
    world = World(13, 25, same_second=same_second)
    take(world.shuffled(6), size=40)

    standing = {row.stripe_id: row for row in Subscription.objects.all()}
    for history in selectors.histories(selectors.customer_pks()).values():
        for name, steps in history.steps.items():
            assert steps[-1].state.to_json()["items"] == standing[name].items
            assert steps[-1].state.status == standing[name].status


def test_an_event_processed_again_changes_nothing(source, take):
    world = World(3, 5, same_second=0.5)
    take(world.events)
    before = rows(source), histories()
    for pk in StripeEvent.objects.values_list("pk", flat=True):
        inbox.reprocess(pk, now=NOW)

    drain()

    assert (rows(source), histories()) == before


def test_two_updates_of_one_second_in_two_batches_are_put_in_order(source, take):
    def updated(name: str, now: int, was: int) -> dict[str, Any]:
        sub = builders.subscription(items=[builders.item(quantity=now)])
        past = {"items": {"data": [builders.item(quantity=was)]}}
        return event("customer.subscription.updated", sub, before=past, id=name)

    created = event("customer.subscription.created", builders.subscription(), id="evt_9")
    take([updated("evt_1", 3, 2)])
    take([created])
    take([updated("evt_2", 2, 1)])

    assert Subscription.objects.get().items[0]["quantity"] == 3
    (history,) = selectors.histories(selectors.customer_pks()).values()
    assert [step.event_id for step in history.steps["sub_1"]] == ["evt_9", "evt_2", "evt_1"]


# ---- what follows from what ----


def test_a_subscription_that_comes_before_its_customer_makes_a_stub(source, take):
    (applied,) = take([event("customer.subscription.created", builders.subscription())])
    stub = Customer.objects.get()

    assert (stub.stripe_id, stub.email, stub.version_at) == ("cus_1", "", None)
    assert applied.changed == applied.touched == {stub.pk}

    (applied,) = take([event("customer.created", builders.customer())])
    stub.refresh_from_db()
    assert (stub.email, applied.changed, applied.touched) == ("anna@example.test", set(), {stub.pk})


def test_a_deleted_customer_keeps_its_name_and_ends_its_history(source, take):
    take([event("customer.deleted", builders.customer(), at=T0 + 5, id="evt_gone")])
    take([event("customer.created", builders.customer())])

    row = Customer.objects.get()
    (history,) = selectors.histories([row.pk]).values()
    assert (row.name, int(row.deleted_at.timestamp())) == ("Anna", T0 + 5)
    assert history.deleted == (T0 + 5, "evt_gone", True)


def test_a_dispute_finds_its_customer_when_the_charge_comes_later(source, take):
    take([event("charge.dispute.created", builders.dispute())])
    assert Dispute.objects.get().customer is None

    (applied,) = take([event("charge.succeeded", builders.charge(), at=T0 - 5)])

    customer = Customer.objects.get()
    assert Dispute.objects.get().customer == customer
    assert applied.touched == {customer.pk}


def test_a_dispute_touches_the_customer_of_its_charge(source, take):
    take([event("charge.succeeded", builders.charge())])

    (applied,) = take([event("charge.dispute.created", builders.dispute()), event("refund.created", builders.refund())])

    assert applied.touched == {Customer.objects.get().pk}
    assert Refund.objects.get().customer == Dispute.objects.get().customer == Customer.objects.get()


def test_the_last_failure_and_the_close_of_a_dispute_stay_known(source, take):
    failed = event("invoice.payment_failed", builders.invoice(attempt_count=2), at=T0 + 10)
    paid = event("invoice.paid", builders.invoice(status="paid"), at=T0 + 20)
    closed = event("charge.dispute.closed", builders.dispute(status="lost"), at=T0 + 30)
    moved = event("charge.dispute.funds_withdrawn", builders.dispute(status="lost"), at=T0 + 40)

    take([paid, moved])
    take([failed, closed])

    assert int(Invoice.objects.get().last_failed_at.timestamp()) == T0 + 10
    assert Invoice.objects.get().status == "paid"
    assert int(Dispute.objects.get().closed_at.timestamp()) == T0 + 30


def test_a_draft_that_loses_a_line_loses_its_row(source, take):
    two = [builders.line("il_1"), builders.line("il_2")]
    take([event("invoice.created", builders.invoice(status="draft", lines=two))])
    take([event("invoice.updated", builders.invoice(status="draft", lines=two[:1]), at=T0 + 1)])

    assert list(InvoiceLine.objects.values_list("stripe_id", flat=True)) == ["il_1"]


def test_a_page_of_lines_takes_none_away(source, take):
    two = [builders.line("il_1"), builders.line("il_2")]
    part = builders.invoice(lines=two[1:], status="open")
    part["lines"]["has_more"] = True
    take([event("invoice.created", builders.invoice(lines=two)), event("invoice.updated", part, at=T0 + 1)], size=1)

    assert InvoiceLine.objects.count() == 2
    assert not Invoice.objects.get().has_all_lines


def test_prices_products_coupons_and_discounts_are_mirrored(source, take):
    coupon = {"id": "HALF", "object": "coupon", "percent_off": 50, "duration": "forever", "valid": True}
    discount = {
        "id": "di_1",
        "object": "discount",
        "customer": "cus_1",
        "source": {"type": "coupon", "coupon": coupon},
        "start": T0,
        "end": None,
        "subscription": "sub_1",
    }
    take(
        [
            event("product.created", {"id": "prod_1", "object": "product", "name": "Team", "active": True}),
            event("customer.subscription.created", builders.subscription()),
            event("price.updated", builders.price(nickname="Team, monthly"), at=T0 + 1),
            event("customer.discount.created", discount),
            event("customer.discount.deleted", discount, at=T0 + 9),
        ],
        size=2,
    )

    assert (Product.objects.get().name, Price.objects.get().nickname) == ("Team", "Team, monthly")
    assert Coupon.objects.get().percent_off == "50"
    found = Discount.objects.get()
    assert (found.customer.stripe_id, found.coupon_id, found.deleted_at is not None) == ("cus_1", "HALF", True)


def test_a_price_known_by_its_own_event_is_not_undone_by_a_subscription(source, take):
    take([event("price.updated", builders.price(nickname="New name"), at=T0 + 5)])
    take([event("customer.subscription.updated", builders.subscription(), at=T0 + 9)])

    assert Price.objects.get().nickname == "New name"


def test_the_same_ids_in_two_sources_are_two_worlds(source, take):
    other = builders.source("other", livemode=True)
    told = event("customer.subscription.created", builders.subscription())

    take([told])
    take([told | {"livemode": True}], of=other)

    assert Customer.objects.count() == Subscription.objects.count() == Snapshot.objects.count() == 2


def test_an_update_s_past_is_kept_and_one_that_cannot_be_read_is_left_out(source, take):
    sub = builders.subscription(status="past_due")
    take(
        [
            event("customer.subscription.updated", sub, before={"status": "active"}, id="evt_1"),
            event("customer.subscription.updated", sub, before={"items": {"data": ["?"]}}, at=T0 + 1, id="evt_2"),
        ]
    )

    one, two = Snapshot.objects.order_by("event_id")
    assert (one.state["status"], one.before["status"], two.before) == ("past_due", "active", None)


def test_loaded_events_are_not_live(source, take):
    raw = builders.as_bytes(event("customer.subscription.created", builders.subscription()))
    inbox.keep(source, raw, origin=Origin.LOADED, now=NOW)
    drain()

    assert not Snapshot.objects.get().is_live


# ---- what is not for us ----


def test_what_cannot_be_read_is_parked_alone(source, take):
    good = event("customer.subscription.created", builders.subscription())
    nobody = event("customer.subscription.created", builders.subscription("sub_2", customer=None))
    broken = event("invoice.paid", builders.invoice() | {"total": 12.5})
    mistaken = event("invoice.paid", builders.charge())
    other = event("payment_intent.succeeded", {"id": "pi_1", "object": "payment_intent"})

    take([nobody, good, broken, other, mistaken])

    assert ends(source) == [
        ("parked", "no_customer"),
        ("processed", ""),
        ("parked", "layout_error"),
        ("ignored", "not_needed"),
        ("parked", "layout_error"),
    ]
    assert Subscription.objects.count() == 1
    assert list(StripeEvent.objects.filter(reason="layout_error").order_by("pk").values_list("error", flat=True)) == [
        "total is no amount in whole minor units.",
        "It carries no invoice.",
    ]


def test_a_parked_event_is_judged_anew_when_processed_again(source, take):
    take([event("customer.created", builders.customer(), account="acct_1")])
    parked = StripeEvent.objects.get()
    assert (parked.state, parked.reason) == ("parked", "wrong_account")

    inbox.reprocess(parked.pk, now=NOW)
    drain()
    assert ends(source) == [("parked", "wrong_account")]

    source.account_id = "acct_1"
    source.save()
    inbox.reprocess(parked.pk, now=NOW)
    drain()
    assert ends(source) == [("processed", "")]


def test_texts_that_databases_refuse_are_cleaned(source, take):
    odd = builders.customer(name="A\x00B", metadata={"k\x00": "\ud800"}, address={"city": "\udfff", "country": "DE"})
    take([event("customer.created", odd)])

    row = Customer.objects.get()
    assert (row.name, row.metadata, row.address) == ("A�B", {"k�": "�"}, {"city": "�", "country": "DE"})


# ---- cost ----


def test_a_batch_costs_a_fixed_number_of_statements(source):
    def statements(world: World, of: Any) -> int:
        raws = [builders.as_bytes(told) for told in world.events]
        inbox.keep_many(of, raws, origin=Origin.LOADED, now=NOW)
        claimed = inbox.claim_batch(limit=1000, now=NOW)
        with CaptureQueriesContext(connection) as queries, transaction.atomic():
            inbox.mark(mirror.apply(claimed, now=NOW).outcomes, now=NOW)
        return len(queries)

    few = statements(World(1, 10, same_second=0.5), source)
    many = statements(World(2, 60, same_second=0.5), builders.source("other"))

    assert many == few
    assert many <= 28


# ---- Stripe's own bodies: what is expected of each ----

# How it ends: state and reason; how many rows of which kind it leaves.
PROCESSED = (EventState.PROCESSED.value, "")
PARKED = {
    "customer.subscription.created.connect.newest": "wrong_account",
    "thin.v1.customer.subscription.updated.newest": "thin_event",
}
LEAVES = {
    "customer.created": {Customer: 1},
    "customer.updated": {Customer: 1},
    "customer.deleted": {Customer: 1},
    "customer.subscription": {Customer: 1, Subscription: 1, Snapshot: 1, Price: 1},
    "customer.subscription.created.mixed_interval": {Customer: 1, Subscription: 1, Snapshot: 1, Price: 2},
    "customer.subscription.created.connect": {},
    "invoice.payment": {Customer: 1, Invoice: 1, InvoiceLine: 1},
    "invoice.payment_succeeded.prorations": {Customer: 1, Invoice: 1, InvoiceLine: 3},
    "invoice.payment_succeeded.has_more": {Customer: 1, Invoice: 1, InvoiceLine: 10},
    "charge.succeeded": {Customer: 1, Charge: 1},
    "charge.refunded": {Customer: 1, Charge: 1},
    "charge.dispute": {Charge: 1, Dispute: 1},  # the charge is only heard of
    "payout.paid": {Payout: 1},
    "thin": {},
}


@pytest.mark.parametrize("path", sorted(PAYLOADS.glob("*.*.*.json")), ids=lambda path: path.stem)
def test_every_payload_ends_as_expected(source, path):
    expected = max((name for name in LEAVES if path.stem.startswith(name)), key=len)

    inbox.keep(source, path.read_bytes(), origin=Origin.WEBHOOK, now=NOW)
    drain()

    parked = PARKED.get(path.stem)
    assert ends(source) == [(EventState.PARKED.value, parked) if parked else PROCESSED]
    left = {model: count for model in MODELS if (count := model.objects.count()) and model not in (Discount, Coupon)}
    assert left == LEAVES[expected]


@pytest.mark.parametrize("path", sorted(PAYLOADS.glob("*.pre_basil.json")), ids=lambda path: path.stem)
def test_the_old_and_the_new_layout_leave_equal_rows(source, path):
    left = []
    for name in (path, path.with_name(path.name.replace("pre_basil", "newest"))):
        empty_mirror()
        StripeEvent.objects.update(state="ignored")
        raw = json.loads(name.read_bytes())
        raw["id"] = f"evt_{len(left)}"  # the two have one id
        inbox.keep(source, json.dumps(raw).encode(), origin=Origin.WEBHOOK, now=NOW)
        drain()
        Charge.objects.update(invoice_id="")  # the newest charge no longer names its invoice
        found = rows(source, (Customer, Subscription, Snapshot, Invoice, InvoiceLine, Charge, Dispute, Payout, Price))
        left.append(json.dumps(found).replace(f"evt_{len(left)}", "evt"))

    assert left[0] == left[1]


def test_a_payload_of_the_other_mode_is_parked(db):
    live = builders.source("live", livemode=True)
    raw = (PAYLOADS / "customer.created.newest.json").read_bytes()

    assert inbox.keep(live, raw, origin=Origin.WEBHOOK, now=NOW).parked == 1
    assert ends(live) == [("parked", "wrong_mode")]
