"""Readers of Stripe's objects: one value for every API layout, and a clear refusal of what cannot be read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from billing import envelope, layouts
from billing.layouts import LayoutError, SubscriptionState
from tests import builders
from tests.builders import T0

PAYLOADS = Path(__file__).parent.parent / "payloads"
READERS = {
    "customer": layouts.customer,
    "subscription": layouts.subscription,
    "invoice": layouts.invoice,
    "charge": layouts.charge,
    "dispute": layouts.dispute,
    "payout": layouts.payout,
}


def payload(name: str) -> dict[str, Any]:
    body, _ = envelope.parse((PAYLOADS / f"{name}.json").read_bytes())
    return body["data"]


def read(name: str) -> Any:
    obj = payload(name)["object"]
    return READERS[obj["object"]](obj)


PAIRS = sorted(path.name.removesuffix(".pre_basil.json") for path in PAYLOADS.glob("*.pre_basil.json"))


@pytest.mark.parametrize("name", PAIRS)
def test_the_old_and_the_new_layout_say_the_same(name):
    old, new = read(f"{name}.pre_basil"), read(f"{name}.newest")
    if hasattr(old, "invoice"):  # the newest charge no longer names its invoice
        old = replace(old, invoice="")
    if hasattr(old, "coupons"):  # the old subscription carries its discount whole, the newest its id alone
        old, new = replace(old, discounts=(), coupons=()), replace(new, discounts=(), coupons=())

    assert old == new


@pytest.mark.parametrize("name", [name for name in PAIRS if name.startswith("customer.subscription.updated")])
def test_the_state_before_is_the_same_in_both_layouts(name):
    states = []
    for layout in ("pre_basil", "newest"):
        told = payload(f"{name}.{layout}")
        states.append(layouts.subscription_state(layouts.before(told["object"], told["previous_attributes"])))

    assert states[0] == states[1]


def test_an_upgrade_s_previous_attributes_bring_the_old_items_back():
    told = payload("customer.subscription.updated.newest")
    before = layouts.subscription_state(layouts.before(told["object"], told["previous_attributes"]))
    after = layouts.subscription_state(told["object"])

    assert [item.unit_amount_decimal for item in before.items] == ["2900"]
    assert [item.unit_amount_decimal for item in after.items] == ["9900"]
    assert before.status == after.status == "active"


def test_hashes_are_merged_and_arrays_replaced():
    now = {
        "status": "active",
        "metadata": {"a": "2", "b": "1"},
        "items": {"data": [1, 2], "has_more": False},
        "x": {"y": 1},
    }
    past = {"status": "trialing", "metadata": {"a": "1"}, "items": {"data": [1]}, "x": None}

    assert layouts.before(now, past) == {
        "status": "trialing",
        "metadata": {"a": "1", "b": "1"},
        "items": {"data": [1], "has_more": False},
        "x": None,
    }


@pytest.mark.parametrize(
    ("name", "amount", "quantity"),
    [
        ("customer.subscription.created.sub_cent.newest", "0.5", 1000),
        ("customer.subscription.created.tiered.newest", None, 8),
        ("customer.subscription.created.metered.newest", "9900", None),
        ("customer.subscription.created.zero_decimal.newest", "5000", 1),
    ],
)
def test_amounts_stay_exact_text(name, amount, quantity):
    (item,) = read(name).state.items

    assert (item.unit_amount_decimal, item.quantity) == (amount, quantity)


def test_the_subscription_s_currency_rules_over_the_price_s():
    sub = builders.subscription(currency="eur")

    assert layouts.subscription(sub).state.items[0].currency == "eur"


def test_a_price_without_exact_text_falls_back_to_whole_units():
    sold = builders.price(amount=700, unit_amount_decimal=None)

    assert layouts.price(sold).unit_amount_decimal == "700"


def test_packages_and_chosen_amounts_are_read():
    sold = builders.price(transform_quantity={"divide_by": 100, "round": "up"}, custom_unit_amount={"minimum": 1})
    (item,) = layouts.subscription(builders.subscription(items=[builders.item(sold=sold)])).state.items

    assert (item.divide_by, item.round, item.is_custom) == (100, "up", True)


def test_a_cancel_at_period_end_ends_with_the_period():
    state = layouts.subscription(builders.subscription(cancel_at_period_end=True)).state

    assert state.ends_at == T0 + 31 * builders.DAY


def test_a_list_that_goes_on_is_marked():
    assert not read("invoice.payment_succeeded.has_more.newest").has_all_lines
    assert len(read("invoice.payment_succeeded.has_more.newest").lines) == 10


def test_prorations_keep_their_sign_and_period():
    lines = read("invoice.payment_succeeded.prorations.newest").lines

    assert [(line.amount_minor, line.is_proration) for line in lines] == [(-1257, True), (4290, True), (9900, False)]
    assert all(line.subscription == "sub_x7BWr2drgd1QsO" for line in lines)


def test_a_discount_is_read_from_both_places_of_its_coupon():
    coupon = {"id": "TWENTY", "object": "coupon", "percent_off": "12.5", "duration": "forever", "valid": True}
    old = {"id": "di_1", "customer": "cus_1", "coupon": coupon, "start": T0, "end": None}
    new = {"id": "di_1", "customer": "cus_1", "source": {"type": "coupon", "coupon": coupon}, "start": T0, "end": None}

    assert layouts.discount(old) == layouts.discount(new)
    assert layouts.discount(new).coupons[0].percent_off == "12.5"


def test_a_state_comes_back_from_its_json():
    item = builders.item(quantity=0, discounts=["di_2"])
    state = layouts.subscription(
        builders.subscription(items=[item], discounts=["di_1"], pause_collection={"behavior": "void"}, start_date=0)
    ).state

    assert SubscriptionState.from_json(json.loads(json.dumps(state.to_json()))) == state


@pytest.mark.parametrize(
    ("reader", "obj", "reason"),
    [
        (layouts.subscription, builders.subscription(customer=None), "no_customer"),
        (layouts.subscription, builders.subscription(customer=""), "no_customer"),
        (layouts.invoice, builders.invoice(customer=None), "no_customer"),
        (layouts.subscription, builders.subscription(customer=17), "layout_error"),
        (layouts.subscription, builders.subscription(status=None), "layout_error"),
        (layouts.subscription, builders.subscription(currency=None), "layout_error"),
        (layouts.subscription, builders.subscription(currency="dollar"), "layout_error"),
        (layouts.subscription, builders.subscription() | {"items": None}, "layout_error"),
        (layouts.subscription, builders.subscription(items=[{"id": "si_1"}]), "layout_error"),
        (layouts.subscription, builders.subscription(items=[builders.item(quantity=-1)]), "layout_error"),
        (layouts.subscription, builders.subscription(items=[builders.item(quantity="2")]), "layout_error"),
        (layouts.subscription, builders.subscription(items=[builders.item() | {"quantity": "1.5"}]), "layout_error"),
        (layouts.subscription, builders.subscription(start_date="2026"), "layout_error"),
        (layouts.subscription, builders.subscription(ended_at=10**15), "layout_error"),
        (layouts.price, builders.price(recurring={"interval": "fortnight"}), "layout_error"),
        (layouts.price, builders.price(recurring={"interval": "month", "interval_count": 0}), "layout_error"),
        (layouts.price, builders.price(unit_amount_decimal="1e9"), "layout_error"),
        (layouts.price, builders.price(unit_amount_decimal="NaN"), "layout_error"),
        (layouts.invoice, builders.invoice() | {"total": "10.5"}, "layout_error"),
        (layouts.invoice, builders.invoice() | {"total": 2**63}, "layout_error"),
        (layouts.invoice, builders.invoice() | {"total": True}, "layout_error"),
        (layouts.invoice, builders.invoice(lines=[builders.line() | {"amount": None}]), "layout_error"),
        (layouts.invoice, builders.invoice(attempt_count=2**31), "layout_error"),
        (layouts.charge, builders.charge() | {"amount": None}, "layout_error"),
        (layouts.dispute, builders.dispute() | {"status": None}, "layout_error"),
        (layouts.customer, {"object": "customer"}, "layout_error"),
        (layouts.customer, {"id": "c" * 256}, "layout_error"),
    ],
)
def test_what_we_need_and_cannot_read_is_refused_with_a_code(reader, obj, reason):
    with pytest.raises(LayoutError) as refused:
        reader(obj)

    assert refused.value.reason == reason


def test_what_we_do_not_need_may_be_odd():
    odd = {"metadata": {"a": 1, "b": "2"}, "address": "somewhere", "discount": "di_1", "name": 7, "email": "x" * 900}
    row = layouts.customer(builders.customer() | odd)

    assert (row.metadata, row.address, row.name, len(row.email)) == ({"b": "2"}, {}, "", 512)


# ---- what bears on MRR beside the plain price ----


def item_of(**fields: Any) -> Any:
    sub = builders.subscription(items=[builders.item(**fields.pop("item", {}), sold=builders.price(**fields))])
    return layouts.subscription_state(sub).items[0]


def test_an_amount_in_the_price_s_own_currency_is_not_that_of_a_subscription_in_another():
    sub = builders.subscription(currency="eur", items=[builders.item(sold=builders.price(amount=1000))])
    found = layouts.subscription_state(sub).items[0]

    assert (found.currency, found.price_currency, found.unit_amount_decimal) == ("eur", "usd", None)
    assert item_of(amount=1000).price_currency is None
    assert SubscriptionState.from_json(layouts.subscription_state(sub).to_json()) == layouts.subscription_state(sub)


RATE = {"id": "txr_1", "object": "tax_rate", "inclusive": True, "percentage": "21"}
OUTSIDE = {"id": "txr_2", "object": "tax_rate", "inclusive": False, "percentage": "5"}


@pytest.mark.parametrize(
    ("price", "own", "default", "expected"),
    [
        ({}, [], [], (None, None, None)),
        ({"tax_behavior": "exclusive"}, [], [], (None, None, None)),
        ({"tax_behavior": "inclusive"}, [], [], ("inclusive", None, None)),
        ({}, [RATE], [], ("inclusive", "21", None)),
        ({}, [], [RATE], ("inclusive", None, "21")),
        ({}, [OUTSIDE], [RATE], (None, None, "21")),
        ({}, [RATE, {**RATE, "id": "txr_3", "percentage": "1.5"}, OUTSIDE], [], ("inclusive", "22.5", None)),
    ],
)
def test_tax_is_inside_by_the_price_or_by_the_rates_that_apply(price, own, default, expected):
    items = [builders.item(sold=builders.price(**price), tax_rates=own)]
    state = layouts.subscription_state(builders.subscription(items=items, default_tax_rates=default))

    assert (state.items[0].tax_behavior, state.items[0].inclusive_tax, state.inclusive_tax) == expected


def test_taxes_inside_a_line_are_the_same_in_both_layouts():
    new = {"amount": 2100, "tax_behavior": "inclusive", "tax_rate_details": {"tax_rate": "txr_1"},
           "taxable_amount": 10_000}  # fmt: skip
    old = {"amount": 2100, "inclusive": True, "tax_rate": RATE, "taxable_amount": 10_000}
    outside = {"amount": 500, "tax_behavior": "exclusive", "taxable_amount": 10_000}
    newest = layouts.invoice(builders.invoice(lines=[builders.line(taxes=[new, outside])])).lines[0]
    oldest = builders.line(tax_amounts=[old], tax_rates=[RATE])
    del oldest["taxes"]
    invoice = layouts.invoice(builders.invoice(lines=[oldest]))

    assert newest.inclusive_taxes == invoice.lines[0].inclusive_taxes
    assert newest.inclusive_taxes == ({"amount": 2100, "taxable": 10_000, "rate": "txr_1"},)
    assert [(rate.id, rate.percentage) for rate in invoice.tax_rates] == [("txr_1", "21")]


def test_a_schedule_s_phases_name_prices_discounts_and_coupons():
    phase = {
        "start_date": T0,
        "end_date": T0 + 100,
        "currency": "eur",
        "trial_end": T0 + 50,
        "discounts": [{"coupon": "TEN", "discount": None}, {"coupon": None, "discount": "di_1"}],
        "items": [{"price": "price_1", "quantity": 3, "discounts": []}, {"price": "price_2", "discounts": []}],
    }
    obj = {"id": "sub_sched_1", "object": "subscription_schedule", "customer": "cus_1", "phases": [phase],
           "status": "not_started", "end_behavior": "cancel", "subscription": None}  # fmt: skip

    found = layouts.schedule(obj)

    assert (found.subscription, found.currency, found.end_behavior) == ("", "eur", "cancel")
    assert found.phases == [
        {
            "start": T0,
            "end": T0 + 100,
            "trial_end": T0 + 50,
            "discounts": ["coupon:TEN", "di_1"],
            "items": [
                {"price": "price_1", "quantity": 3, "discounts": []},
                {"price": "price_2", "quantity": None, "discounts": []},
            ],
        }
    ]


def test_a_discount_on_a_subscription_an_item_or_an_invoice_is_not_the_customer_s():
    plain = {"id": "di_1", "object": "discount", "customer": "cus_1", "source": {"type": "coupon", "coupon": "TEN"}}

    assert layouts.discount(plain).is_of_customer
    for smaller in ("subscription", "subscription_item", "invoice", "invoice_item"):
        assert not layouts.discount(plain | {smaller: "x_1"}).is_of_customer


def test_a_price_s_other_currencies_are_read_where_they_travel():
    options = {"EUR": {"unit_amount": 900}, "jpy": {"unit_amount": None, "tiers": [{"up_to": None}]}}

    found = layouts.price(builders.price(currency_options=options)).currency_options

    assert found == {
        "eur": {"unit_amount_decimal": "900"},
        "jpy": {"unit_amount_decimal": None, "tiers": [{"up_to": None}]},
    }
    assert layouts.price(builders.price()).currency_options is None
