"""Where the engine's rules meet their limits: discounts, tax, disputes, plans, the clock, and what may be chosen."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from billing.facts import (
    CustomerDiscount,
    DiscountTerms,
    Facts,
    Phase,
    Plan,
    PlannedItem,
    PriceTerms,
    Ruling,
    TaxSeen,
    Tier,
)
from mrr.engine.movements import Replay, replay
from mrr.engine.policy import ChurnAt, Discounts, MetricPolicy, Pauses, StartsOn
from tests.mrr.histories import Subscription, at, histories, item, state

NOW = at("2027-01-01")


def replayed(*subscriptions: Subscription, as_of: str = "2027-01-01", **more: object) -> Replay:
    return replay(histories(*subscriptions), as_of=at(as_of), **more)


def told(*subscriptions: Subscription, **more: object) -> list[str]:
    """Return the movements as lines: moment, type, reason, major units."""
    return [
        f"{_moment(m.effective_at)} {m.type} {m.reason} {m.micros / 10**8:+.2f} {m.currency}".removesuffix(" usd")
        for m in replayed(*subscriptions, **more).movements
    ]


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M").removesuffix(" 00:00")


def off(id: str, *, percent: str | None = None, amount: int | None = None, **more: object) -> DiscountTerms:
    more = {"duration": "forever"} | {key: at(v) if key in ("start", "end") else v for key, v in more.items()}
    return DiscountTerms(id, percent_off=percent, amounts_off=(("usd", amount),) if amount else (), **more)


def discounts(*known: DiscountTerms, **more: object) -> Facts:
    return Facts(discounts={terms.id: terms for terms in known}, **more)


# ---- discounts ----


def test_an_items_discount_is_taken_before_its_subscriptions():
    held = state(item(10_000, discounts=("di_item",)), discounts=("di_sub",))
    facts = discounts(off("di_item", amount=2_000), off("di_sub", percent="50"))

    assert told(Subscription().says("2026-01-10", held), facts=facts) == ["2026-01-10 new subscribed +40.00"]


def test_an_items_fixed_discount_is_of_that_item_alone():
    held = state(item(1_000, discounts=("di_1",)), item(9_000, id="si_2", product="prod_audit"))

    found = replayed(Subscription().says("2026-01-10", held), facts=discounts(off("di_1", amount=2_000)))

    assert found.balances == {"usd": 9_000 * 10**6}


def test_a_fixed_discount_is_spread_pro_rata_and_the_shares_are_kept():
    held = state(item(10_000), item(5_000, id="si_2", product="prod_audit"), discounts=("di_1",))

    (movement,) = replayed(
        Subscription().says("2026-01-10", held), facts=discounts(off("di_1", amount=3_000))
    ).movements

    assert [line.micros for line in movement.lines] == [8_000 * 10**6, 4_000 * 10**6]
    assert [line.after.discounts[0].share for line in movement.lines] == ["2/3", "1/3"]
    assert [line.after.gross_micros for line in movement.lines] == [10_000 * 10**6, 5_000 * 10**6]


def test_a_discount_applies_to_its_products_alone():
    held = state(item(10_000), item(5_000, id="si_2", product="prod_audit"), discounts=("di_1",))
    facts = discounts(off("di_1", percent="50", applies_to=("prod_audit",)))

    assert replayed(Subscription().says("2026-01-10", held), facts=facts).balances == {"usd": 12_500 * 10**6}


def test_a_fixed_discount_of_another_currency_takes_nothing():
    held = state(item(10_000, currency="eur"), currency="eur", discounts=("di_1",))

    found = replayed(Subscription().says("2026-01-10", held), facts=discounts(off("di_1", amount=3_000)))

    assert found.balances == {"eur": 10_000 * 10**6}


def test_a_customers_discount_counts_only_where_the_subscription_has_none():
    facts = discounts(
        off("di_sub", percent="10"),
        off("di_customer", percent="50"),
        customer_discounts=(CustomerDiscount("di_customer", at("2026-01-01"), None, "evt_d"),),
    )
    own = Subscription("sub_a").says("2026-01-10", state(item(10_000), discounts=("di_sub",)))
    none = Subscription("sub_b").says("2026-01-10", state(item(10_000)))

    assert replayed(own, facts=facts).balances == {"usd": 9_000 * 10**6}
    assert replayed(none, facts=facts).balances == {"usd": 5_000 * 10**6}


def test_a_customers_discount_counts_from_when_it_is_given_to_when_it_is_taken_away():
    given = CustomerDiscount("di_1", at("2026-02-10"), at("2026-03-10"), "evt_given")
    facts = discounts(off("di_1", percent="50"), customer_discounts=(given,))
    sub = Subscription().says("2026-01-10", state(item(10_000)))

    assert told(sub, facts=facts) == [
        "2026-01-10 new subscribed +100.00",
        "2026-02-10 contraction discount_started -50.00",
        "2026-03-10 expansion discount_ended +50.00",
    ]
    assert replayed(sub, facts=facts).movements[1].event_ids == ("evt_given",)


def test_the_clock_says_when_it_changes_something_next():
    sub = Subscription().says("2026-01-10", state(item(10_000), discounts=("di_1",)))
    facts = discounts(off("di_1", percent="50", duration="repeating", end="2026-04-10"))

    assert replayed(sub, facts=facts, as_of="2026-02-01").next_at == at("2026-04-10")
    assert replayed(sub, facts=facts, as_of="2026-04-10").next_at is None


def test_a_discount_for_once_is_not_cut_short_by_its_removal():
    year = item(120_000, per="year", period_end=at("2027-01-10"), discounts=())
    sub = Subscription().says("2026-01-10", state(year, discounts=("di_1",))).says("2026-01-11", state(year))

    assert told(sub, facts=discounts(off("di_1", percent="50", duration="once"))) == [
        "2026-01-10 new subscribed +50.00"
    ]


def test_a_discount_for_once_is_not_extended_to_what_comes_after_its_removal():
    year = item(120_000, per="year", period_end=at("2027-01-10"))
    more = item(60_000, id="si_2", per="year", period_end=at("2027-01-10"), product="prod_audit")
    sub = Subscription().says("2026-01-10", state(year, discounts=("di_1",))).says("2026-01-11", state(year))
    sub.says("2026-03-01", state(year, more))

    found = told(sub, facts=discounts(off("di_1", percent="50", duration="once")), as_of="2026-12-01")

    assert found == ["2026-01-10 new subscribed +50.00", "2026-03-01 expansion item_added +50.00"]


def test_a_discount_not_known_yet_counts_as_none_and_says_so():
    sub = Subscription().says("2026-01-10", state(item(10_000), discounts=("di_9",)))

    found = replayed(sub)

    assert found.balances == {"usd": 10_000 * 10**6}
    assert found.incomplete == {"usd": 1}
    assert [(gap.code, gap.ref) for gap in found.unknown] == [("discount_unknown", "di_9")]


@pytest.mark.parametrize(
    ("chosen", "duration", "monthly"),
    [
        (Discounts.NONE, "forever", 100),
        (Discounts.FOREVER, "forever", 50),
        (Discounts.FOREVER, "repeating", 100),
        (Discounts.FOREVER_AND_REPEATING, "repeating", 50),
        (Discounts.FOREVER_AND_REPEATING, "once", 100),
        (Discounts.ALL, "once", 50),
    ],
)
def test_which_discounts_count_may_be_chosen(chosen, duration, monthly):
    held = state(item(10_000, period_end=at("2026-02-10")), discounts=("di_1",))
    facts = discounts(off("di_1", percent="50", duration=duration, end="2026-04-10"))

    found = replayed(
        Subscription().says("2026-01-10", held), facts=facts, as_of="2026-01-20", policy=MetricPolicy(discounts=chosen)
    )

    assert found.balances == {"usd": monthly * 10**8}


# ---- prices that do not travel, and tax ----


def test_tiers_count_from_when_they_are_known_and_keep_their_flat_amounts():
    tiers = (Tier(5, "700", "1000"), Tier(None, "600", "500"))
    sold = item(0, quantity=8, billing_scheme="tiered", unit_amount_decimal=None, tiers_mode="graduated", price="p")
    sub = Subscription().says("2026-01-10", state(sold))

    def micros(mode: str) -> int:
        facts = Facts(prices={("p", "usd"): PriceTerms(None, mode, tiers)})
        return replayed(sub, facts=facts).balances["usd"]

    assert micros("graduated") == (5 * 700 + 1000 + 3 * 600 + 500) * 10**6
    assert micros("volume") == (8 * 600 + 500) * 10**6
    assert [gap.code for gap in replayed(sub).unknown] == ["tiers_unknown"]


@pytest.mark.parametrize("mode", ["graduated", "volume"])
def test_no_quantity_costs_nothing_whatever_the_tiers(mode):
    facts = Facts(prices={("p", "usd"): PriceTerms(None, mode, (Tier(None, "600", "500"),))})
    sold = item(0, quantity=0, billing_scheme="tiered", unit_amount_decimal=None, price="p")

    assert replayed(Subscription().says("2026-01-10", state(sold)), facts=facts).balances == {}


def test_a_tier_that_is_just_filled_is_not_left():
    facts = Facts(prices={("p", "usd"): PriceTerms(None, "volume", (Tier(5, "700"), Tier(None, "600")))})
    sold = item(0, quantity=5, billing_scheme="tiered", unit_amount_decimal=None, price="p")

    assert replayed(Subscription().says("2026-01-10", state(sold)), facts=facts).balances == {"usd": 3_500 * 10**6}


def test_a_price_of_another_currency_is_priced_by_its_option_alone():
    sold = item(10_000, price="p", currency="eur", price_currency="usd", unit_amount_decimal=None)
    sub = Subscription().says("2026-01-10", state(sold, currency="eur"))

    assert [gap.code for gap in replayed(sub).unknown] == ["currency_option_unknown"]
    facts = Facts(prices={("p", "eur"): PriceTerms("9000")})
    assert replayed(sub, facts=facts).balances == {"eur": 9_000 * 10**6}


def test_tax_learnt_late_applies_from_the_beginning_of_that_state_and_an_earlier_one_until_told():
    sold = item(12_100, tax_behavior="inclusive")
    sub = Subscription().says("2026-01-10", state(sold)).says("2026-03-01", state(replace(sold, quantity=2)))
    seen = (TaxSeen(at("2026-01-11"), "21/100"), TaxSeen(at("2026-03-02"), "1/10"))

    assert told(sub, facts=Facts(taxes={"si_1": seen[:1]})) == [
        "2026-01-10 new subscribed +100.00",
        "2026-03-01 expansion quantity +100.00",
    ]
    assert told(sub, facts=Facts(taxes={"si_1": seen}))[1] == "2026-03-01 expansion price_change +120.00"


def test_tax_may_be_left_in():
    sub = Subscription().says("2026-01-10", state(item(12_100, tax_behavior="inclusive"), inclusive_tax="21"))

    assert replayed(sub, policy=MetricPolicy(excludes_tax=False)).balances == {"usd": 12_100 * 10**6}


# ---- usage ----


def test_the_usage_run_rate_is_the_mean_of_the_last_three_periods_a_month():
    sub = Subscription().says("2026-01-10", state(item(100, usage_type="metered", quantity=None, per="year")))

    found = replayed(sub, facts=Facts(usage={"si_1": (99, 1200, 2400, 3600)}))

    assert found.usage == {"usd": 200 * 10**6}
    assert found.balances == {}


# ---- grouping ----


@pytest.mark.parametrize(("minutes", "kinds"), [("11:00", ["new", "expansion"]), ("11:00:01", ["new", "churn"])])
def test_the_window_is_an_hour_and_its_last_second_counts(minutes, kinds):
    old = Subscription("sub_a").says("2026-01-10", state(item(10_000))).ends("2026-03-10 10:00")
    new = Subscription("sub_b").says(f"2026-03-10 {minutes}", state(item(12_000), since=f"2026-03-10 {minutes}"))

    assert [movement.type for movement in replayed(old, new).movements][:2] == kinds


def test_a_window_is_opened_by_its_first_change_not_by_its_last():
    sub = Subscription().says("2026-01-10", state(item(10_000)))
    for clock, amount in (("10:00", 11_000), ("10:50", 12_000), ("11:10", 13_000)):
        sub.says(f"2026-03-10 {clock}", state(item(amount)))

    assert told(sub)[1:] == [
        "2026-03-10 10:50 expansion price_change +20.00",
        "2026-03-10 11:10 expansion price_change +10.00",
    ]


def test_a_movement_takes_the_reason_of_its_largest_line():
    two = item(5_000, id="si_2", product="prod_audit")
    sub = Subscription().says("2026-01-10", state(item(10_000), two))
    sub.says("2026-02-01", state(replace(item(10_000), quantity=2), replace(two, unit_amount_decimal="9000")))

    (_, movement) = replayed(sub).movements

    assert [line.reason for line in movement.lines] == ["quantity", "price_change"]
    assert movement.reason == "quantity"


def test_the_largest_line_may_be_a_loss():
    two = item(9_000, id="si_2", product="prod_audit")
    sub = Subscription().says("2026-01-10", state(item(10_000), two))
    sub.says("2026-02-01", state(replace(item(10_000), quantity=2), replace(two, unit_amount_decimal="0")))
    sub.says("2026-03-01", state(replace(item(10_000), quantity=0), replace(two, unit_amount_decimal="5000")))

    reasons = [(movement.type, movement.reason) for movement in replayed(sub).movements[1:]]

    assert reasons == [("expansion", "quantity"), ("contraction", "quantity")]


def test_what_happens_in_one_second_is_told_in_one_order_however_it_became_known():
    first = Subscription("sub_a").says("2026-01-10", state(item(10_000))).says("2026-03-10", state(item(12_000)))
    second = Subscription("sub_b").says("2026-01-10", state(item(5_000))).says("2026-03-10", state(item(9_000)))

    there, back = replayed(first, second), replayed(second, first)

    assert there == back
    assert there.movements[1].event_ids == ("evt_sub_a_2", "evt_sub_b_2")


def test_paying_is_counted_by_currency():
    dollars = Subscription("sub_a").says("2026-01-10", state(item(10_000))).ends("2026-03-10")
    euros = Subscription("sub_b").says("2026-02-10", state(item(5_000), since="2026-02-10", currency="eur"))

    assert [m.paying_delta for m in replayed(dollars, euros).movements] == [1, 1, -1]


def test_who_is_replaced_across_customers_is_migrated():
    sub = Subscription("sub_a").says("2026-01-10", state(item(10_000))).ends("2026-03-10")

    assert told(sub, facts=Facts(migrated=frozenset({"sub_a"})))[1] == "2026-03-10 churn migrated -100.00"


# ---- disputes ----


def ruled(*rulings: tuple[str, bool]) -> Facts:
    return Facts(rulings={"sub_1": tuple(Ruling(at(on), f"evt_{on}", lost, True) for on, lost in rulings)})


def test_a_lost_dispute_counts_until_an_invoice_is_paid():
    sub = Subscription().says("2026-01-10", state(item(10_000)))

    assert told(sub, facts=ruled(("2026-03-10", True), ("2026-04-10", False))) == [
        "2026-01-10 new subscribed +100.00",
        "2026-03-10 churn dispute_lost -100.00",
        "2026-04-10 reactivation dispute_recovered +100.00",
    ]


def test_what_changes_while_a_dispute_is_lost_counts_once_it_is_recovered():
    sub = Subscription().says("2026-01-10", state(item(10_000))).says("2026-03-20", state(item(15_000)))

    assert told(sub, facts=ruled(("2026-03-10", True), ("2026-04-10", False)))[2:] == [
        "2026-04-10 reactivation dispute_recovered +150.00"
    ]


def test_lost_disputes_may_be_left_out():
    sub = Subscription().says("2026-01-10", state(item(10_000)))

    assert len(told(sub, facts=ruled(("2026-03-10", True)), policy=MetricPolicy(lost_disputes_count=False))) == 1


# ---- what is scheduled ----


def planned(amount: int, **more: object) -> PlannedItem:
    terms = {"interval": "month", "interval_count": 1, "unit_amount_decimal": str(amount)} | more
    return PlannedItem(f"price_{amount}", "prod_team", 1, **terms)


def plan(*phases: Phase, subscription: str = "sub_1", ends_with: str = "release") -> Facts:
    return Facts(plans=(Plan("sub_sched_1", subscription, "usd", phases, ends_with),))


def test_each_phase_to_come_counts_by_what_it_changes():
    sub = Subscription().says("2026-01-10", state(item(10_000)))
    phases = (
        Phase(at("2026-01-10"), at("2026-06-01"), (planned(10_000),)),
        Phase(at("2026-06-01"), at("2026-09-01"), (planned(20_000),)),
        Phase(at("2026-09-01"), at("2026-12-01"), (planned(15_000),)),
    )

    found = replayed(sub, facts=plan(*phases), as_of="2026-03-01")
    cancelled = replayed(sub, facts=plan(*phases, ends_with="cancel"), as_of="2026-03-01")

    assert [(p.at, p.micros // 10**8) for p in found.planned] == [(at("2026-06-01"), 100), (at("2026-09-01"), -50)]
    assert found.scheduled == {"usd": 50 * 10**8}
    assert [(p.at, p.micros // 10**8) for p in cancelled.planned][-1] == (at("2026-12-01"), -150)
    assert cancelled.scheduled == {"usd": -100 * 10**8}


def test_a_scheduled_end_cuts_a_schedule_short():
    sub = Subscription().says("2026-01-10", state(item(10_000), ends_at="2026-05-01"))
    later = Phase(at("2026-06-01"), None, (planned(20_000),))

    found = replayed(sub, facts=plan(later), as_of="2026-03-01")

    assert [(p.at, p.micros // 10**8, p.reason) for p in found.planned] == [(at("2026-05-01"), -100, "canceled")]


def test_a_future_start_counts_from_the_end_of_its_trial():
    phase = Phase(at("2026-06-01"), None, (planned(20_000),), trial_end=at("2026-06-15"))

    (found,) = replayed(facts=plan(phase, subscription=""), as_of="2026-03-01").planned

    assert (found.at, found.micros, found.reason) == (at("2026-06-15"), 200 * 10**8, "subscribed")
    assert found.subscription == "sub_sched_1"


def test_a_planned_price_that_is_unknown_is_no_price_of_0():
    sub = Subscription().says("2026-01-10", state(item(10_000)))
    phase = Phase(at("2026-06-01"), None, (planned(0, interval="", unit_amount_decimal=None),))

    found = replayed(sub, facts=plan(phase), as_of="2026-03-01")

    assert found.scheduled == {}
    assert [gap.code for gap in found.unknown] == ["planned_price_unknown"]


def test_what_has_ended_has_nothing_scheduled():
    sub = Subscription().says("2026-01-10", state(item(10_000), ends_at="2026-04-01")).ends("2026-02-10")

    assert replayed(sub, as_of="2026-03-01").planned == ()


# ---- the end ----


def test_the_deletion_of_a_customer_stops_the_clock():
    sub = Subscription().says("2026-01-10", state(item(10_000), discounts=("di_1",)))
    facts = discounts(off("di_1", percent="50", duration="repeating", end="2026-04-10"))

    found = replayed(sub, facts=facts, deleted=(at("2026-03-10"), "evt_gone", True))

    assert [(m.type, m.effective_at) for m in found.movements] == [
        ("new", at("2026-01-10")),
        ("churn", at("2026-03-10")),
    ]
    assert found.movements[-1].event_ids == ("evt_gone",)
    assert found.next_at is None


def test_a_deletion_of_who_has_left_moves_nothing():
    sub = Subscription().says("2026-01-10", state(item(10_000))).ends("2026-02-10")

    assert len(told(sub, deleted=(at("2026-03-10"), "evt_gone", True))) == 2


def test_an_end_is_dated_by_when_it_ended_and_voids_what_was_said_of_later():
    sub = Subscription().says("2026-01-10", state(item(10_000))).says("2026-02-20", state(item(20_000)))
    sub.ends("2026-02-10", said_at="2026-03-01")

    assert told(sub) == ["2026-01-10 new subscribed +100.00", "2026-02-10 churn canceled -100.00"]


def test_an_end_for_want_of_payment_is_involuntary():
    sub = Subscription().says("2026-01-10", state(item(10_000))).ends("2026-02-10", reason="payment_failed")

    assert told(sub)[-1] == "2026-02-10 churn payment_failed -100.00"


def test_a_pause_of_the_subscription_itself_is_lost_and_comes_back():
    sub = Subscription().says("2026-01-10", state(item(10_000)))
    sub.says("2026-02-10", state(item(10_000), status="paused"), type="paused")
    sub.says("2026-03-10", state(item(10_000)), type="resumed")

    assert told(sub)[1:] == ["2026-02-10 churn paused -100.00", "2026-03-10 reactivation resumed +100.00"]
    assert replayed(sub).movements[-1].days_lapsed == 28


# ---- rules that may be chosen ----


def test_past_due_may_be_cut_off_by_the_clock():
    sub = (
        Subscription()
        .says("2026-01-10", state(item(10_000)))
        .says("2026-02-10", state(item(10_000), status="past_due"))
    )
    policy = MetricPolicy(past_due_cutoff_days=30)

    assert told(sub, policy=policy)[-1] == "2026-03-12 churn payment_failed -100.00"
    assert replayed(sub, policy=policy, as_of="2026-03-11").next_at == at("2026-03-12")


def test_churn_may_be_dated_by_the_request():
    sub = Subscription().says("2026-01-10", state(item(10_000)))
    sub.says("2026-03-10", state(item(10_000), ends_at="2026-04-01"))

    assert told(sub, policy=MetricPolicy(churn_at=ChurnAt.REQUEST))[-1] == "2026-03-10 churn canceled -100.00"


def test_mrr_may_start_with_the_first_paid_invoice():
    sub = Subscription().says("2026-01-10", state(item(10_000)))
    policy = MetricPolicy(starts_on=StartsOn.FIRST_PAID_INVOICE)

    assert told(sub, policy=policy) == []
    facts = Facts(first_paid={"sub_1": at("2026-01-15")})
    assert told(sub, policy=policy, facts=facts) == ["2026-01-15 new subscribed +100.00"]


@pytest.mark.parametrize(
    ("chosen", "behaviour", "is_lost"),
    [
        (Pauses.NEVER, "void", False),
        (Pauses.ALWAYS, "keep_as_draft", True),
        (Pauses.UNCOLLECTED, "keep_as_draft", False),
        (Pauses.UNCOLLECTED, "void", True),
    ],
)
def test_what_a_pause_does_may_be_chosen(chosen, behaviour, is_lost):
    sub = Subscription().says("2026-01-10", state(item(10_000)))
    sub.says("2026-02-01", state(item(10_000), pause_behavior=behaviour))

    assert (len(told(sub, policy=MetricPolicy(pauses=chosen))) == 2) is is_lost


def test_weeks_and_days_of_a_year_may_be_chosen():
    week = Subscription().says("2026-01-10", state(item(1_200, per="week")))
    day = Subscription().says("2026-01-10", state(item(1_200, per="day")))

    assert replayed(week, policy=MetricPolicy(weeks_per_year=53)).balances == {"usd": 5_300 * 10**6}
    assert replayed(day, policy=MetricPolicy(days_per_year=360)).balances == {"usd": 36_000 * 10**6}


# ---- where the history begins ----


def test_what_ended_before_the_history_began_is_not_told():
    sub = Subscription().says("2025-01-10", state(item(3_000), since="2025-01-10")).ends("2025-06-10")

    assert told(sub, history_from=at("2026-01-01")) == []


def test_openings_are_one_movement_a_currency_and_never_grouped():
    first = Subscription("sub_a").says("2025-01-10", state(item(3_000), since="2025-01-10"))
    first.says("2026-01-01 00:30", state(item(4_000)))
    second = Subscription("sub_b").says("2025-02-10", state(item(2_000), since="2025-02-10"))

    assert told(first, second, history_from=at("2026-01-01")) == [
        "2026-01-01 opening subscribed +50.00",
        "2026-01-01 00:30 expansion price_change +10.00",
    ]


def test_a_start_after_a_trial_is_dated_by_its_end():
    sub = Subscription().says("2026-02-01", state(item(8_000), trial_end="2026-01-24"))

    assert told(sub) == ["2026-01-24 new trial_converted +80.00"]


def test_a_list_of_items_that_is_cut_short_is_incomplete():
    sub = Subscription().says("2026-01-10", replace(state(item(8_000)), has_all_items=False))

    assert replayed(sub).incomplete == {"usd": 1}
