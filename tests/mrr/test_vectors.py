"""The vectors of the definitions, V1 to V42, as the table tells them; each also as twins that must come to the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from billing.facts import TaxSeen
from mrr import metrics, rollups
from mrr.engine.movements import Movement
from mrr.rollups import Standing
from tests.mrr.histories import at
from tests.mrr.stories import PLAIN, TWINS, Held, Story, Twin, tax_rate

NEW_100 = "2026-01-10 new subscribed +100.00"


@pytest.fixture(params=TWINS, ids=str)
def story(request: pytest.FixtureRequest) -> Story:
    """The life that a vector tells, read and replayed without a database."""
    return Story(request.param)


def only_if(story: Story, *, is_linear: bool = True, is_whole: bool = True) -> None:
    """Leave out twins that make no sense: tiers and packages are not linear in the quantity, nor in its parts."""
    if not is_linear and story.twin.times * story.twin.parts > 1:
        pytest.skip("a price that is not linear in its quantity has no such twin")
    if not is_whole and story.twin.parts > 1:
        pytest.skip("told of one subscription alone")


# ---- prices ----


@pytest.mark.parametrize(
    ("amount", "per", "count", "monthly"),
    [
        pytest.param("1200", "year", 1, "100.00", id="V1 $1,200 a year"),
        pytest.param("300", "month", 3, "100.00", id="V2 $300 for 3 months"),
        pytest.param("2400", "month", 24, "100.00", id="V3 $2,400 for 24 months"),
        pytest.param("10", "week", 1, "43.33", id="V4 $10 a week"),
        pytest.param("30", "week", 2, "65.00", id="V5 $30 for 2 weeks"),
        pytest.param("1", "day", 1, "30.42", id="V6 $1 a day"),
        pytest.param("9", "day", 10, "27.38", id="V7 $9 for 10 days"),
    ],
)
def test_an_interval_becomes_a_month(story, amount, per, count, monthly):
    story.subscribes(amount, per=per, count=count, on="2026-01-10")

    assert story.told() == [f"2026-01-10 new subscribed +{monthly}"]


STEPS = ((5, "7"), (10, "6.5"), (None, "6"))


@pytest.mark.parametrize(
    ("mode", "quantity", "monthly"),
    [
        pytest.param("graduated", 6, "41.50", id="V8 graduated, 6"),
        pytest.param("graduated", 20, "127.50", id="V8 graduated, 20"),
        pytest.param("volume", 6, "39.00", id="V9 volume, 6"),
        pytest.param("volume", 20, "120.00", id="V9 volume, 20"),
    ],
)
def test_tiers(story, mode, quantity, monthly):
    only_if(story, is_linear=False)

    story.subscribes(price=story.knows_tiers(mode, *STEPS), quantity=quantity, on="2026-01-10")

    assert story.mrr() == monthly


@pytest.mark.parametrize(("rounding", "monthly"), [("up", "15.00"), ("down", "10.00")])
def test_v10_packages_are_rounded_before_they_are_priced(story, rounding, monthly):
    only_if(story, is_linear=False)

    packed = {"divide_by": 100, "round": rounding}
    story.subscribes("5", quantity=250, transform_quantity=packed, on="2026-01-10")

    assert story.mrr() == monthly


# ---- discounts ----


@pytest.mark.parametrize(("order", "monthly"), [("percent first", "70.00"), ("amount first", "72.00")])
def test_v11_discounts_are_taken_in_the_order_listed(story, order, monthly):
    percent, amount = story.coupon(percent="20"), story.coupon(amount="10")
    coupons = (percent, amount) if order == "percent first" else (amount, percent)

    story.subscribes("100", on="2026-01-10", coupons=coupons)

    assert story.told() == [f"2026-01-10 new subscribed +{monthly}"]


def test_v12_a_repeating_discount_ends_by_the_clock(story):
    half = story.coupon(percent="50", duration="repeating", until="2026-04-10")

    story.subscribes("100", on="2026-01-10", coupons=[half])

    assert story.told("2026-04-09") == ["2026-01-10 new subscribed +50.00"]
    assert story.told("2026-04-11") == [
        "2026-01-10 new subscribed +50.00",
        "2026-04-10 expansion discount_ended +50.00",
    ]


def test_v13_a_discount_for_once_is_ignored_on_a_month(story):
    story.subscribes("100", on="2026-01-10", coupons=[story.coupon(percent="50", duration="once")])

    assert story.told() == [NEW_100]


def test_v14_a_discount_for_once_counts_on_a_year_until_it_renews(story):
    once = story.coupon(percent="50", duration="once")

    story.subscribes("1200", per="year", on="2026-01-10", until="2027-01-10", coupons=[once])

    assert story.told("2027-01-09") == ["2026-01-10 new subscribed +50.00"]
    assert story.told("2027-01-11")[1:] == ["2027-01-10 expansion discount_ended +50.00"]


def test_v15_a_fixed_discount_is_of_the_billing_period(story):
    story.subscribes("1200", per="year", on="2026-01-10", coupons=[story.coupon(amount="60")])

    assert story.mrr() == "95.00"


def test_v16_a_full_discount_is_churn_of_who_paid_before(story):
    story.subscribes("100", on="2026-01-10").takes("2026-02-10", story.coupon(amount="150"))

    assert story.told() == [NEW_100, "2026-02-10 churn fully_discounted -100.00"]


def test_v16_a_full_discount_is_nothing_of_who_never_paid(story):
    story.subscribes("100", on="2026-01-10", coupons=[story.coupon(amount="150")])

    assert story.told() == []
    assert story.mrr() == "0.00"


# ---- tax ----


def test_v17_inclusive_tax_is_taken_out_by_the_default_tax_rate(story):
    story.subscribes("121", tax_behavior="inclusive", tax_rates=(tax_rate("21"),), on="2026-01-10")

    assert story.mrr() == "100.00"


def test_v17_inclusive_tax_is_taken_out_by_the_rate_of_the_first_invoice_line(story):
    held = story.subscribes("121", tax_behavior="inclusive", on="2026-01-10")
    assert story.mrr() == "121.00"  # unknown: no change, and a finding
    assert "tax_unknown" in {gap.code for gap in story.replayed().unknown}

    story.bills(held, "2026-01-10 01:00", "121", tax="21")
    seen = TaxSeen(at("2026-01-10 01:00"), "21/100")
    story.facts["taxes"] = {part.items[0].id: (seen,) for part in held.parts}

    assert story.told() == [NEW_100]


# ---- losing, keeping, growing ----


def test_v18_dropping_one_of_two_subscriptions_is_contraction(story):
    story.subscribes("100", on="2026-01-10")
    small = story.subscribes("50", on="2026-02-10", product="audit")

    small.ends("2026-03-10")

    assert story.told() == [
        NEW_100,
        "2026-02-10 expansion subscribed +50.00",
        "2026-03-10 contraction canceled -50.00",
    ]


def test_v19_both_cancelled_20_minutes_apart_are_one_churn(story):
    large = story.subscribes("100", on="2026-01-10")
    small = story.subscribes("50", on="2026-02-10", product="audit")

    large.ends("2026-03-10 10:00")
    small.ends("2026-03-10 10:20")

    assert story.told()[2:] == ["2026-03-10 churn canceled -150.00"]


def test_v20_a_change_within_the_month_is_one_expansion_whatever_the_proration_is(story):
    held = story.subscribes("100", on="2026-01-01")
    held.changes("2026-01-15", price={"amount": "150"})
    story.bills(held, "2026-01-15", "27.42", is_proration=True, period=("2026-01-15", "2026-02-01"))

    assert story.told() == ["2026-01-01 new subscribed +100.00", "2026-01-15 expansion price_change +50.00"]


def test_v21_a_trial_is_new_at_its_conversion(story):
    held = story.subscribes("80", status="trialing", trial_end="2026-01-24", on="2026-01-10")
    assert story.told() == []

    held.changes("2026-01-24", status="active")

    assert story.told() == ["2026-01-24 new trial_converted +80.00"]


def test_v21_a_trial_that_is_cancelled_was_nothing(story):
    story.subscribes("80", status="trialing", trial_end="2026-01-24", on="2026-01-10").ends("2026-01-20")

    assert story.told() == []


def test_v22_a_cancellation_at_the_periods_end_is_told_ahead_and_booked_when_it_comes(story):
    held = story.subscribes("100", on="2026-01-10", until="2026-04-01")
    assert story.scheduled("2026-03-09") == "+0.00"

    held.changes("2026-03-10", cancel_at_period_end=True, canceled_at=at("2026-03-10"))

    assert story.scheduled("2026-03-10") == "-100.00"
    assert story.told("2026-03-31 23:59") == [NEW_100]

    held.ends("2026-04-01", said="2026-04-01 00:10")

    assert story.told() == [NEW_100, "2026-04-01 churn canceled -100.00"]
    assert story.scheduled("2026-04-02") == "+0.00"
    march, april = months(story.replayed().movements, "2026-03", "2026-04")
    assert march.closing == hundred(story)
    assert april.columns["churn_micros"] == -hundred(story)


def test_v23_a_cancellation_taken_back_is_no_entry(story):
    held = story.subscribes("100", on="2026-01-10", until="2026-04-01")
    held.changes("2026-03-10", cancel_at_period_end=True, canceled_at=at("2026-03-10"))
    assert story.scheduled("2026-03-11") == "-100.00"

    held.changes("2026-03-20", cancel_at_period_end=False, canceled_at=None)

    assert story.scheduled("2026-03-21") == "+0.00"
    assert story.told() == [NEW_100]


def test_v24_past_due_counts_until_it_is_unpaid(story):
    held = story.subscribes("100", on="2026-01-10")
    held.changes("2026-02-10", status="past_due")
    assert story.mrr("2026-03-26") == "100.00"

    held.changes("2026-03-27", status="unpaid")

    assert story.told() == [NEW_100, "2026-03-27 churn payment_failed -100.00"]


def test_v25_an_incomplete_start_that_expires_was_never_revenue(story):
    story.subscribes("100", status="incomplete", on="2026-01-10").changes("2026-01-11", status="incomplete_expired")

    assert story.told() == []


def test_v26_a_return_is_a_reactivation_and_keeps_the_cohort(story):
    story.subscribes("50", on="2025-12-10").ends("2026-02-10")
    story.subscribes("60", on="2026-10-10")

    assert story.told("2026-10-11") == [
        "2025-12-10 new subscribed +50.00",
        "2026-02-10 churn canceled -50.00",
        "2026-10-10 reactivation subscribed +60.00",
    ]
    assert story.replayed().cohort_at == at("2025-12-10")
    assert story.replayed().movements[-1].days_lapsed == 242


def test_v27_cancel_and_subscribe_anew_within_the_hour_is_one_expansion(story):
    story.subscribes("100", on="2026-01-10").ends("2026-03-10 10:00")
    story.subscribes("120", product="business", on="2026-03-10 10:20")

    assert story.told() == [NEW_100, "2026-03-10 expansion plan_change +20.00"]


def test_v28_three_days_later_it_is_churn_and_return_and_netted_an_expansion(story):
    story.subscribes("100", on="2026-01-10").ends("2026-03-10")
    story.subscribes("120", product="business", on="2026-03-13")

    assert story.told() == [
        NEW_100,
        "2026-03-10 churn canceled -100.00",
        "2026-03-13 reactivation subscribed +120.00",
    ]
    (march,) = months(story.replayed().movements, "2026-03")
    assert netted(march) == {"expansion": hundred(story) // 5}


def test_v29_two_customers_of_one_account_are_one_there(story):
    left = replace(story, customer="cus_left", events=[])
    came = replace(story, customer="cus_came", events=[])
    left.subscribes("100", on="2026-01-10").ends("2026-03-10")
    came.subscribes("120", on="2026-03-13")

    assert left.told()[1:] == ["2026-03-10 churn canceled -100.00"]
    assert came.told() == ["2026-03-13 new subscribed +120.00"]
    (march,) = months([*left.replayed().movements, *came.replayed().movements], "2026-03")
    assert netted(march) == {"expansion": hundred(story) // 5}


# ---- learned late, planned, disputed, paused ----


def test_v32_a_start_dated_back_is_effective_then(story):
    story.subscribes("100", on="2026-03-03", since="2026-01-15")

    assert story.told() == ["2026-01-15 new subscribed +100.00"]


def test_v33_a_phase_to_come_is_told_ahead_and_booked_when_it_comes(story):
    held = story.subscribes("100", on="2026-01-10")
    story.plans(held, "2026-02-01", ("2026-01-10", "2026-06-01", "100"), ("2026-06-01", "", "200"))

    ahead = story.replayed("2026-03-01")

    assert story.scheduled("2026-03-01") == "+100.00"
    assert {plan.at for plan in ahead.planned} == {at("2026-06-01")}
    assert story.told("2026-05-31") == [NEW_100]

    held.changes("2026-06-01", price={"amount": "200"})

    assert story.told() == [NEW_100, "2026-06-01 expansion price_change +100.00"]
    assert story.scheduled("2026-06-02") == "+0.00"


def test_v34_a_dispute_is_nothing_until_it_is_lost(story):
    only_if(story, is_whole=False)
    held = story.subscribes("100", on="2026-01-10")
    disputed = dispute(story, held, on="2026-02-10")
    assert story.told() == [NEW_100]

    story.tells("charge.dispute.closed", disputed | {"status": "lost"}, "2026-03-10")

    assert story.told() == [NEW_100, "2026-03-10 churn dispute_lost -100.00"]


def test_v34_a_dispute_that_is_won_is_nothing(story):
    only_if(story, is_whole=False)
    disputed = dispute(story, story.subscribes("100", on="2026-01-10"), on="2026-02-10")

    story.tells("charge.dispute.closed", disputed | {"status": "won"}, "2026-03-10")

    assert story.told() == [NEW_100]


@pytest.mark.parametrize("behaviour", ["void", "mark_uncollectible"])
def test_v35_collection_that_is_paused_is_lost_and_comes_back(story, behaviour):
    held = story.subscribes("100", on="2026-01-10").changes("2026-02-01", pause=behaviour)
    assert story.told() == [NEW_100, "2026-02-01 churn paused -100.00"]

    held.changes("2026-03-01", pause=None)

    assert story.told()[2:] == ["2026-03-01 reactivation resumed +100.00"]


def test_v35_drafts_that_are_kept_are_nothing(story):
    story.subscribes("100", on="2026-01-10").changes("2026-02-01", pause="keep_as_draft")

    assert story.told() == [NEW_100]


# ---- usage, nothing, time, order ----


def test_v36_a_metered_item_is_0_and_a_usage_run_rate(story):
    metered = {"interval": "month", "interval_count": 1, "usage_type": "metered"}
    held = story.subscribes("1", recurring=metered, quantity=None, on="2026-01-10")
    spent = {"2026-02-10": "60", "2026-03-10": "80", "2026-04-10": "100"}
    for start, (end, amount) in zip(["2026-01-10", *spent], spent.items(), strict=False):
        story.bills(held, end, amount, period=(start, end))
    shares = [int(story.minor(amount) * story.twin.times / story.twin.parts) for amount in spent.values()]
    story.facts["usage"] = {part.items[0].id: tuple(shares) for part in held.parts}

    assert story.told() == []
    assert f"{story.major(story.replayed().usage[story.twin.currency]):.2f}" == "80.00"


def test_v37_quantity_0_is_churn_with_that_reason(story):
    story.subscribes("100", on="2026-01-10").changes("2026-02-01", quantity=0)

    assert story.told() == [NEW_100, "2026-02-01 churn quantity_zero -100.00"]


def test_v38_a_night_in_march_is_february_in_new_york(story, settings):
    from mrr import ledger

    settings.REPORTING_TIME_ZONE = "America/New_York"
    story.subscribes("100", on="2026-03-01 04:30")

    (movement,) = story.replayed().movements

    assert ledger.month_of(movement.effective_at) == date(2026, 2, 1)


@pytest.mark.parametrize("order", ["told", "reversed", "twice"])
def test_v39_copies_and_the_order_of_delivery_change_nothing(story, order, monkeypatch):
    held = story.subscribes("100", on="2026-01-10").changes("2026-02-10", price={"amount": "150"})
    held.ends("2026-03-10")
    places = list(range(len(story.events)))
    arrived = {"told": places, "reversed": places[::-1], "twice": places * 2}[order]
    monkeypatch.setattr(Story, "order", lambda self: arrived)

    assert story.told() == [
        NEW_100,
        "2026-02-10 expansion price_change +50.00",
        "2026-03-10 churn canceled -150.00",
    ]


def test_v41_the_figures_of_a_month(story):
    """A grows from 100 to 150, B shrinks from 200 to 100, C leaves with 300, D is new with 80, E is back with 50."""
    lives = {name: replace(story, customer=f"cus_{name}", events=[]) for name in "abcde"}
    lives["a"].subscribes("100", on="2026-01-10").changes("2026-03-05", price={"amount": "150"})
    lives["b"].subscribes("200", on="2026-01-10").changes("2026-03-06", price={"amount": "100"})
    lives["c"].subscribes("300", on="2026-01-10").ends("2026-03-07")
    lives["d"].subscribes("80", on="2026-03-08")
    lives["e"].subscribes("50", on="2026-01-10").ends("2026-02-10")
    lives["e"].subscribes("50", on="2026-03-09")

    sums: rollups.Sums = {}
    for life in lives.values():
        rollups.add(sums, rollups.months_of(standing(life.replayed().movements)), sign=1, prefix=())
    row = sums[story.twin.currency, number("2026-03")]
    opening = sum(
        amount
        for (_, month), cell in sums.items()
        for name, amount in cell.items()
        if month < number("2026-03") and name in rollups.EVENT_COLUMN.values()
    )
    parts = {name: row.get(f"netted_{name}_micros", 0) for name in ("new", "expansion", "reactivation")}
    losses = {name: row.get(f"netted_{name}_micros", 0) for name in ("contraction", "churn")}
    net_new = sum(parts.values()) + sum(losses.values())

    assert opening == 6 * hundred(story)
    assert net_new * 100 == -220 * hundred(story)
    assert (opening + net_new) * 100 == 380 * hundred(story)
    assert metrics.decimal_text(metrics.nrr(opening=opening, expansion=parts["expansion"], **losses)) == "0.416667"
    assert metrics.decimal_text(metrics.grr(opening=opening, **losses)) == "0.333333"
    churned = row["netted_churned_customers"]
    assert metrics.decimal_text(metrics.logo_churn(opening_customers=3, churned_customers=churned)) == "0.333333"
    assert metrics.decimal_text(metrics.quick_ratio(**parts, **losses)) == "0.450000"


def test_v42_monthly_to_yearly_is_told_as_such(story):
    story.subscribes("100", on="2026-01-10").changes("2026-02-01", price={"amount": "960", "per": "year"})

    assert story.told() == [NEW_100, "2026-02-01 contraction interval_change -20.00"]


def test_the_twins_differ_in_nothing_but_their_telling():
    assert Twin("plain") == replace(PLAIN, name="plain")
    assert len({(twin.currency, twin.times, twin.is_old, twin.parts) for twin in TWINS}) == len(TWINS)


# ---- what the table leaves to the reader ----


class Month:
    def __init__(self, columns: dict[str, int], closing: int) -> None:
        self.columns = columns
        self.closing = closing


def months(movements: Iterable[Movement], *asked: str) -> list[Month]:
    entries = standing(movements)
    sums = rollups.months_of(entries)
    (currency,) = {entry.currency for entry in entries}
    return [
        Month(
            dict(sums.get((currency, number(month)), {})),
            sum(entry.micros for entry in entries if entry.month <= number(month)),
        )
        for month in asked
    ]


def netted(month: Month) -> dict[str, int]:
    return {
        name.removeprefix("netted_").removesuffix("_micros"): amount
        for name, amount in month.columns.items()
        if name.startswith("netted_") and name.endswith("_micros") and amount
    }


def standing(movements: Iterable[Movement]) -> list[Standing]:
    return [
        Standing(
            m.type,
            m.currency,
            m.micros,
            m.paying_delta,
            m.effective_at,
            rollups.month_number(datetime.fromtimestamp(m.effective_at, UTC).date()),
        )
        for m in movements
    ]


def number(month: str) -> int:
    return rollups.month_number(date.fromisoformat(f"{month}-01"))


def hundred(story: Story) -> int:
    return int(story.minor("100")) * story.twin.times * 10**6


def dispute(story: Story, held: Held, *, on: str) -> dict:
    """Tell of a paid invoice, its charge, which names it, and a dispute about it."""
    billed = story.bills(held, on, "100")
    charge = {
        "id": "ch_1",
        "object": "charge",
        "amount": 10_000,
        "amount_refunded": 0,
        "created": at(on),
        "currency": story.twin.currency,
        "customer": story.customer,
        "invoice": billed["id"],
        "livemode": True,
        "payment_intent": "pi_1",
        "status": "succeeded",
    }
    story.tells("charge.succeeded", charge, on)
    disputed = {
        "id": "du_1",
        "object": "dispute",
        "amount": 10_000,
        "charge": "ch_1",
        "created": at(on),
        "currency": story.twin.currency,
        "livemode": True,
        "payment_intent": "pi_1",
        "reason": "fraudulent",
        "status": "needs_response",
    }
    story.tells("charge.dispute.created", disputed, on)
    return disputed
