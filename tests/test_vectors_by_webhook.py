"""The vectors that are about events once more, by the front door: signed webhooks in, the standing ledger out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from billing import selectors as billing
from billing.models import Customer
from mrr import ledger, policies
from mrr.engine.movements import Movement, Planned, Unknown
from mrr.models import CustomerBalance
from tests.mrr.histories import at
from tests.mrr.stories import OLD, PLAIN, Story

# The same sentences, told to this module's `story`.
from tests.mrr.test_vectors import (  # noqa: F401
    test_an_interval_becomes_a_month,
    test_v10_packages_are_rounded_before_they_are_priced,
    test_v11_discounts_are_taken_in_the_order_listed,
    test_v12_a_repeating_discount_ends_by_the_clock,
    test_v13_a_discount_for_once_is_ignored_on_a_month,
    test_v14_a_discount_for_once_counts_on_a_year_until_it_renews,
    test_v15_a_fixed_discount_is_of_the_billing_period,
    test_v16_a_full_discount_is_churn_of_who_paid_before,
    test_v16_a_full_discount_is_nothing_of_who_never_paid,
    test_v17_inclusive_tax_is_taken_out_by_the_default_tax_rate,
    test_v17_inclusive_tax_is_taken_out_by_the_rate_of_the_first_invoice_line,
    test_v18_dropping_one_of_two_subscriptions_is_contraction,
    test_v19_both_cancelled_20_minutes_apart_are_one_churn,
    test_v20_a_change_within_the_month_is_one_expansion_whatever_the_proration_is,
    test_v21_a_trial_is_new_at_its_conversion,
    test_v21_a_trial_that_is_cancelled_was_nothing,
    test_v22_a_cancellation_at_the_periods_end_is_told_ahead_and_booked_when_it_comes,
    test_v23_a_cancellation_taken_back_is_no_entry,
    test_v24_past_due_counts_until_it_is_unpaid,
    test_v25_an_incomplete_start_that_expires_was_never_revenue,
    test_v26_a_return_is_a_reactivation_and_keeps_the_cohort,
    test_v27_cancel_and_subscribe_anew_within_the_hour_is_one_expansion,
    test_v28_three_days_later_it_is_churn_and_return_and_netted_an_expansion,
    test_v29_two_customers_of_one_account_are_one_there,
    test_v32_a_start_dated_back_is_effective_then,
    test_v33_a_phase_to_come_is_told_ahead_and_booked_when_it_comes,
    test_v34_a_dispute_is_nothing_until_it_is_lost,
    test_v34_a_dispute_that_is_won_is_nothing,
    test_v35_collection_that_is_paused_is_lost_and_comes_back,
    test_v35_drafts_that_are_kept_are_nothing,
    test_v36_a_metered_item_is_0_and_a_usage_run_rate,
    test_v37_quantity_0_is_churn_with_that_reason,
    test_v38_a_night_in_march_is_february_in_new_york,
    test_v39_copies_and_the_order_of_delivery_change_nothing,
    test_v41_the_figures_of_a_month,
    test_v42_monthly_to_yearly_is_told_as_such,
)
from tests.scenario import Scenario

pytestmark = pytest.mark.django_db


@dataclass(frozen=True)
class Found:
    """What the database holds of a customer, in the engine's words."""

    movements: tuple[Movement, ...]
    balances: Mapping[str, int]
    scheduled: Mapping[str, int]
    cohort_at: int | None
    usage: Mapping[str, int]
    unknown: tuple[Unknown, ...]
    planned: tuple[Planned, ...]


@dataclass
class DeliveredStory(Story):
    """The same life, delivered to the signed webhook as time goes on, and drained after each delivery."""

    scenario: Scenario = field(default_factory=Scenario)
    delivered: set[str] = field(default_factory=set)
    now: int = at("2025-06-01")

    def replayed(self, as_of: str = "2027-06-01", **_more: object) -> Found:
        """Deliver what has not been, let time go on to a moment (never back), and read what stands of it."""
        for place in [place for place in self.order() if self.events[place]["id"] not in self.delivered]:
            event = self.events[place]
            self._goes_on(event["created"] + 2)
            with time_machine.travel(self._clock(), tick=False):
                answer = self.scenario.deliver(json.dumps(event, indent=2).encode())
                assert answer.status_code == 200, answer.content
                self.scenario.drain()
            self.delivered.add(event["id"])
        self._goes_on(at(as_of))
        with time_machine.travel(self._clock(), tick=False):
            self.scenario.drain()
        pk = Customer.objects.get(stripe_id=self.customer, source=self.scenario.source).pk
        movements = sorted(ledger.standing_of([pk])[pk], key=lambda movement: movement.effective_at)
        balances = {balance.currency: balance for balance in CustomerBalance.objects.filter(customer=pk)}
        history = billing.histories([pk])[pk]
        again = ledger.replayed(history, now=datetime.fromtimestamp(self.now, UTC), policy=policies.current())
        paid = [balance.first_paid_at for balance in balances.values() if balance.first_paid_at]
        return Found(
            tuple(movement for movement in movements if movement.effective_at <= at(as_of)),
            {currency: balance.mrr_micros for currency, balance in balances.items()},
            {currency: balance.scheduled_micros for currency, balance in balances.items()},
            min((int(first.timestamp()) for first in paid), default=None),
            again.usage,
            again.unknown,
            again.planned,
        )

    def _goes_on(self, until: int) -> None:
        self.now = max(self.now, until)

    def _clock(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC) + timedelta(milliseconds=500)


@pytest.fixture(params=[PLAIN, OLD], ids=str)
def story(request: pytest.FixtureRequest) -> DeliveredStory:
    return DeliveredStory(request.param)


def test_a_coupon_that_is_told_last_heals_what_waited_for_it(story, monkeypatch):
    story.subscribes("100", on="2026-01-10", coupons=[story.coupon(percent="50")])
    last = [place for place, event in enumerate(story.events) if event["type"] == "coupon.created"]
    others = [place for place in range(len(story.events)) if place not in last]
    monkeypatch.setattr(DeliveredStory, "order", lambda self: [*others, *last])

    assert story.told() == ["2026-01-10 new subscribed +50.00"]
