"""The engine: what each change of a customer's subscriptions does to MRR; V1… are the vectors of the definitions."""

from __future__ import annotations

import pytest

from mrr.engine.movements import replay
from mrr.engine.policy import DEFAULT, MetricPolicy
from mrr.engine.worth import plain
from tests.mrr.histories import Subscription, at, histories, item, state

NOW = at("2027-01-01")


def told(*subscriptions: Subscription, **more: object) -> list[str]:
    """Return the movements as lines: day, type, reason, major units."""
    found = replay(histories(*subscriptions), as_of=more.pop("as_of", NOW), **more)
    return [
        f"{_day(m.effective_at)} {m.type} {m.reason} {m.micros / 10**8:+.2f} {m.currency}".removesuffix(" usd")
        for m in found.movements
    ]


def _day(seconds: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


@pytest.mark.parametrize(
    ("amount", "per", "count", "monthly"),
    [
        (120_000, "year", 1, "100.00"),  # V1
        (30_000, "month", 3, "100.00"),  # V2
        (240_000, "month", 24, "100.00"),  # V3
        (1_000, "week", 1, "43.33"),  # V4
        (3_000, "week", 2, "65.00"),  # V5
        (100, "day", 1, "30.42"),  # V6
        (900, "day", 10, "27.38"),  # V7
    ],
)
def test_an_interval_becomes_a_month(amount, per, count, monthly):
    micros = plain(item(amount, per=per, count=count), DEFAULT).micros

    assert f"{micros / 10**8:.2f}" == monthly


@pytest.mark.parametrize(("rounding", "monthly"), [("up", 15_00), ("down", 10_00)])
def test_packages_are_rounded_before_they_are_priced(rounding, monthly):  # V10
    assert plain(item(500, quantity=250, divide_by=100, round=rounding), DEFAULT).micros == monthly * 10**6


def test_amounts_below_a_cent_are_exact():
    assert plain(item("0.5", quantity=1000), DEFAULT).micros == 500 * 10**6


def test_metered_usage_is_not_committed():  # V36
    assert plain(item(100, usage_type="metered", quantity=None), DEFAULT).micros == 0


def test_a_tiered_price_is_unknown_until_its_tiers_are():
    sub = Subscription().says("2026-01-10", state(item(100, billing_scheme="tiered")))

    found = replay(histories(sub), as_of=NOW)

    assert found.movements == ()
    assert found.incomplete == {"usd": 1}


def test_a_customer_who_stays_a_while():
    sub = (
        Subscription()
        .says("2026-01-10", state(item(3000)))
        .says("2026-02-01", state(item(5000, product="prod_business")))
        .says("2026-03-01", state(item(4000, product="prod_business", price="price_b2")))
        .ends("2026-04-15")
    )

    assert told(sub) == [
        "2026-01-10 new subscribed +30.00",
        "2026-02-01 expansion plan_change +20.00",
        "2026-03-01 contraction price_change -10.00",
        "2026-04-15 churn canceled -40.00",
    ]


def test_dropping_one_of_two_subscriptions_is_contraction():  # V18
    first = Subscription("sub_a").says("2026-01-10", state(item(10000)))
    second = Subscription("sub_b").says("2026-02-10", state(item(5000), since="2026-02-10")).ends("2026-03-10")

    assert told(first, second) == [
        "2026-01-10 new subscribed +100.00",
        "2026-02-10 expansion subscribed +50.00",
        "2026-03-10 contraction canceled -50.00",
    ]


def test_both_cancelled_within_the_window_are_one_churn():  # V19
    first = Subscription("sub_a").says("2026-01-10", state(item(10000))).ends("2026-03-10 10:00")
    second = Subscription("sub_b").says("2026-02-10", state(item(5000), since="2026-02-10")).ends("2026-03-10 10:20")

    assert told(first, second)[-1] == "2026-03-10 churn canceled -150.00"
    assert len(told(first, second)) == 3


def test_a_trial_counts_from_its_conversion():  # V21
    trial = state(item(8000), status="trialing", trial_end="2026-01-24")
    sub = Subscription().says("2026-01-10", trial).says("2026-01-24 01:00", state(item(8000), trial_end="2026-01-24"))

    assert told(sub) == ["2026-01-24 new trial_converted +80.00"]
    assert told(Subscription().says("2026-01-10", trial).ends("2026-01-20")) == []


def test_a_scheduled_end_is_told_ahead_and_booked_when_it_comes():  # V22, V23
    sub = Subscription().says("2026-01-10", state(item(10000)))
    sub.says("2026-03-10", state(item(10000), ends_at="2026-04-01"))

    assert replay(histories(sub), as_of=at("2026-03-11")).scheduled == {"usd": -100 * 10**8}
    assert told(sub, as_of=at("2026-03-31")) == ["2026-01-10 new subscribed +100.00"]

    gone = sub.ends("2026-04-01", said_at="2026-04-01 00:10")
    assert told(gone)[-1] == "2026-04-01 churn canceled -100.00"

    stays = (
        Subscription()
        .says("2026-01-10", state(item(10000)))
        .says("2026-03-10", state(item(10000), ends_at="2026-04-01"))
    )
    stays.says("2026-03-20", state(item(10000)))
    assert replay(histories(stays), as_of=NOW).scheduled == {}


def test_past_due_counts_until_it_is_unpaid():  # V24
    sub = Subscription().says("2026-01-10", state(item(10000)))
    sub.says("2026-02-10", state(item(10000), status="past_due")).says(
        "2026-03-27", state(item(10000), status="unpaid")
    )

    assert told(sub) == ["2026-01-10 new subscribed +100.00", "2026-03-27 churn payment_failed -100.00"]


def test_an_incomplete_start_that_expires_was_never_revenue():  # V25
    sub = Subscription().says("2026-01-10", state(item(10000), status="incomplete"))
    sub.says("2026-01-11", state(item(10000), status="incomplete_expired"))

    assert told(sub) == []


def test_an_incomplete_start_counts_from_the_event_that_made_it_count():
    sub = Subscription().says("2026-01-10 09:00", state(item(10000), status="incomplete"))
    sub.says("2026-01-11 09:00", state(item(10000)))

    assert told(sub) == ["2026-01-11 new subscribed +100.00"]


def test_a_return_is_a_reactivation_and_keeps_the_cohort():  # V26
    left = Subscription("sub_a").says("2026-01-10", state(item(5000))).ends("2026-02-10")
    back = Subscription("sub_b").says("2026-10-10", state(item(6000), since="2026-10-10"))

    found = replay(histories(left, back), as_of=NOW)

    assert told(left, back)[-1] == "2026-10-10 reactivation subscribed +60.00"
    assert found.movements[-1].days_lapsed == 242
    assert found.cohort_at == at("2026-01-10")


def test_cancel_and_subscribe_anew_within_the_hour_is_one_change():  # V27
    old = Subscription("sub_a").says("2026-01-10", state(item(10000))).ends("2026-03-10 10:00")
    new = Subscription("sub_b").says(
        "2026-03-10 10:20", state(item(12000, product="prod_business"), since="2026-03-10 10:20")
    )

    assert told(old, new) == ["2026-01-10 new subscribed +100.00", "2026-03-10 expansion plan_change +20.00"]
    assert replay(histories(old, new), as_of=NOW).movements[-1].effective_at == at("2026-03-10 10:20")
    assert replay(histories(old, new), as_of=NOW).movements[-1].event_ids == ("evt_sub_a_2", "evt_sub_b_1")


def test_without_a_window_they_are_two():
    old = Subscription("sub_a").says("2026-01-10", state(item(10000))).ends("2026-03-10 10:00")
    new = Subscription("sub_b").says("2026-03-10 10:20", state(item(12000), since="2026-03-10 10:20"))

    assert [line.split()[1] for line in told(old, new, policy=MetricPolicy(grouping_minutes=0))] == [
        "new",
        "churn",
        "reactivation",
    ]


def test_three_days_later_it_is_churn_and_return():  # V28
    old = Subscription("sub_a").says("2026-01-10", state(item(10000))).ends("2026-03-10")
    new = Subscription("sub_b").says("2026-03-13", state(item(12000), since="2026-03-13"))

    assert told(old, new)[1:] == ["2026-03-10 churn canceled -100.00", "2026-03-13 reactivation subscribed +120.00"]


def test_a_change_and_its_return_within_the_hour_post_nothing():
    sub = Subscription().says("2026-01-10", state(item(10000)))
    sub.says("2026-02-01 10:00", state(item(15000))).says("2026-02-01 10:30", state(item(10000)))

    assert told(sub) == ["2026-01-10 new subscribed +100.00"]


@pytest.mark.parametrize(
    ("behaviour", "moves"), [("void", True), ("mark_uncollectible", True), ("keep_as_draft", False)]
)
def test_paused_collection(behaviour, moves):  # V35
    sub = Subscription().says("2026-01-10", state(item(10000)))
    sub.says("2026-02-01", state(item(10000), pause_behavior=behaviour)).says("2026-03-01", state(item(10000)))

    lost = ["2026-02-01 churn paused -100.00", "2026-03-01 reactivation resumed +100.00"] if moves else []
    assert told(sub) == ["2026-01-10 new subscribed +100.00", *lost]


def test_quantity_zero_is_churn_with_that_reason():  # V37
    sub = Subscription().says("2026-01-10", state(item(10000))).says("2026-02-01", state(item(10000, quantity=0)))

    assert told(sub)[-1] == "2026-02-01 churn quantity_zero -100.00"


def test_a_free_plan_is_churn_with_that_reason():
    free = item(0, price="price_free", product="prod_free")
    sub = Subscription().says("2026-01-10", state(item(10000))).says("2026-02-01", state(free))

    assert told(sub)[-1] == "2026-02-01 churn moved_to_free -100.00"


def test_a_free_customer_is_new_with_the_first_price():
    free = item(0, price="price_free", product="prod_free")
    sub = Subscription().says("2026-01-10", state(free)).says("2026-02-01", state(item(10000)))

    assert told(sub) == ["2026-02-01 new plan_change +100.00"]


def test_monthly_to_yearly_is_told_as_such():  # V42
    sub = Subscription().says("2026-01-10", state(item(10000))).says("2026-02-01", state(item(96000, per="year")))

    assert told(sub)[-1] == "2026-02-01 contraction interval_change -20.00"


def test_items_come_and_go():
    base, extra = item(10000), item(2500, id="si_2", product="prod_audit")
    sub = (
        Subscription()
        .says("2026-01-10", state(base))
        .says("2026-02-01", state(base, extra))
        .says("2026-03-01", state(base))
    )

    assert told(sub)[1:] == ["2026-02-01 expansion item_added +25.00", "2026-03-01 contraction item_removed -25.00"]


def test_a_renewal_moves_nothing():
    sub = (
        Subscription()
        .says("2026-01-10", state(item(10000, period_end=1)))
        .says("2026-02-10", state(item(10000, period_end=2)))
    )

    assert told(sub) == ["2026-01-10 new subscribed +100.00"]


def test_a_change_of_terms_at_the_same_amount_is_no_movement_but_is_remembered():
    sub = Subscription().says("2026-01-10", state(item(5000, quantity=2)))
    sub.says("2026-02-01", state(item(10000, quantity=1))).says("2026-03-01", state(item(10000, quantity=2)))

    assert told(sub)[1:] == ["2026-03-01 expansion quantity +100.00"]


def test_when_the_creation_was_missed_the_state_before_is_rebuilt():
    before = state(item(3000))
    sub = Subscription().says("2026-02-01", state(item(5000)), type="updated", before=before)

    assert told(sub) == ["2026-01-10 new subscribed +30.00", "2026-02-01 expansion price_change +20.00"]


def test_an_end_alone_proves_nothing():
    ended = state(item(3000), status="canceled", ended_at="2026-04-15")

    assert told(Subscription().says("2026-04-15", ended, type="deleted")) == []


def test_an_end_dated_back_voids_what_was_said_of_the_time_after():
    sub = Subscription().says("2026-01-10", state(item(3000))).says("2026-03-01", state(item(5000)))
    sub.ends("2026-02-15", said_at="2026-03-05")

    assert told(sub) == ["2026-01-10 new subscribed +30.00", "2026-02-15 churn canceled -30.00"]


def test_deleting_the_customer_ends_what_still_counts():
    sub = Subscription().says("2026-01-10", state(item(3000)))

    assert told(sub, deleted=(at("2026-05-01"), "evt_gone", True))[-1] == "2026-05-01 churn canceled -30.00"


def test_currencies_are_never_mixed_but_the_customer_is_one():
    dollars = Subscription("sub_a").says("2026-01-10", state(item(10000))).ends("2026-03-10")
    euros = Subscription("sub_b").says("2026-02-10", state(item(5000), since="2026-02-10", currency="eur"))

    assert told(dollars, euros) == [
        "2026-01-10 new subscribed +100.00",
        "2026-02-10 expansion subscribed +50.00 eur",
        "2026-03-10 contraction canceled -100.00",
    ]


def test_what_began_before_our_history_is_opening():
    sub = Subscription().says("2025-01-10", state(item(3000), since="2025-01-10")).says("2025-06-01", state(item(4000)))
    sub.says("2026-02-01", state(item(5000)))

    found = replay(histories(sub), as_of=NOW, history_from=at("2026-01-01"))

    assert told(sub, history_from=at("2026-01-01")) == [
        "2026-01-01 opening subscribed +40.00",
        "2026-02-01 expansion price_change +10.00",
    ]
    assert found.cohort_at == at("2025-01-10")
