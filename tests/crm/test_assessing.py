"""Risk as it is kept: judged with each event and by the clock, read by pages and written to Accounts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from config.demo import objects
from crm import assessing, selectors
from crm.models import CustomerRisk, SyncRecord
from tests.crm.conftest import reads
from tests.scenario import seconds

pytestmark = pytest.mark.django_db
TODAY = datetime(2026, 3, 31, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def today():
    with time_machine.travel(TODAY, tick=False):
        yield


def bill(story, *, at: str, **changed):
    """Make an open invoice of the newest subscription."""
    sub = story.subscriptions[-1]
    invoice = objects.invoice(
        f"in_{story.id[4:]}",
        sub,
        story.object,
        number="NW-20311",
        reason="subscription_cycle",
        lines=[],
        at=seconds(at),
    )
    invoice |= {"amount_due": 3000, "amount_remaining": 3000, "total": 3000, "status": "open"} | changed
    return invoice


def fails(story, *, at: str, attempts: int, next_at: str = "") -> None:
    invoice = bill(story, at=at, attempt_count=attempts, next_payment_attempt=seconds(next_at) if next_at else None)
    story.scenario.tell("invoice.payment_failed", invoice, at)


def test_failed_payments_and_past_due(scenario):
    acme = scenario.customer("Acme", email="ana@acme.com")
    acme.subscribes("team", monthly="30.00", on="2026-01-10")
    acme.changes(on="2026-03-28", status="past_due")
    fails(acme, at="2026-03-28 10:00", attempts=2, next_at="2026-04-02")

    (row,) = selectors.at_risk_rows(limit=10).rows

    assert (row.score, row.severity, row.payment_severity) == (45, "medium", "medium")
    assert [(part.signal, part.points) for part in row.parts] == [("failed_payment", 30), ("past_due", 15)]
    assert row.parts[0].evidence == "Invoice NW-20311, USD 30.00: 2 attempts, last 28 Mar 2026"
    totals = selectors.at_risk(now=TODAY)
    assert (totals.at_risk["usd"].minor, totals.past_due["usd"].minor, totals.customers) == (3000, 3000, 1)


def test_a_payment_takes_the_risk_away(scenario):
    acme = scenario.customer("Acme")
    acme.subscribes("team", monthly="30.00", on="2026-01-10")
    fails(acme, at="2026-03-28 10:00", attempts=2, next_at="2026-04-02")
    assert CustomerRisk.objects.exists()

    paid = bill(acme, at="2026-03-28 10:00", status="paid", amount_remaining=0, amount_paid=3000, attempt_count=3)
    scenario.tell("invoice.paid", paid, "2026-03-30")

    assert not CustomerRisk.objects.exists()


def test_a_scheduled_cancel_with_its_reason(scenario):
    acme = scenario.customer("Acme")
    acme.subscribes("team", monthly="30.00", on="2026-01-10")
    acme.changes(
        on="2026-03-20",
        cancel_at=seconds("2026-04-14"),
        canceled_at=seconds("2026-03-20"),
        cancellation_details={"comment": None, "feedback": "too_expensive", "reason": "cancellation_requested"},
    )

    (row,) = selectors.at_risk_rows(limit=10, signal="scheduled_cancel").rows

    assert (row.score, row.parts[0].evidence) == (60, "Cancels 14 Apr 2026, too expensive")
    assert selectors.at_risk_rows(limit=10, signal="dispute_open").rows == ()


def test_a_contraction_counts_for_ninety_days_by_the_clock(scenario):
    acme = scenario.customer("Acme")
    acme.subscribes("team", monthly="50.00", on="2025-12-01")
    acme.moves_to("small", monthly="30.00", on="2026-01-10")
    assert selectors.risk_of(CustomerRisk.objects.get().customer_id).score == 15

    with time_machine.travel(TODAY + timedelta(days=30), tick=False):
        assert assessing.assess_all(now=TODAY + timedelta(days=30)) == 1

    assert not CustomerRisk.objects.exists()


def test_who_stopped_paying_is_not_at_risk(scenario):
    acme = scenario.customer("Acme")
    acme.subscribes("team", monthly="30.00", on="2026-01-10")
    fails(acme, at="2026-03-28 10:00", attempts=4)
    acme.cancels(on="2026-03-29", reason="payment_failed")

    assert not CustomerRisk.objects.exists()


def test_the_highest_come_first_page_by_page(scenario, django_assert_max_num_queries):
    for number, attempts in enumerate((2, 4, 3)):
        story = scenario.customer(f"Acme {number}")
        story.subscribes("team", monthly="30.00", on="2026-01-10")
        fails(story, at="2026-03-28 10:00", attempts=attempts, next_at="2026-04-02")

    with django_assert_max_num_queries(3):
        page = selectors.at_risk_rows(limit=2)

    assert [row.score for row in page.rows] == [50, 40]
    assert [row.score for row in selectors.at_risk_rows(limit=2, after=page.following).rows] == [30]


def test_the_account_says_why(scenario, salesforce, live):
    account = salesforce.add_account(Name="Acme")
    reads(salesforce)
    acme = scenario.customer("Acme", salesforce_account_id=account)
    acme.subscribes("team", monthly="30.00", on="2026-01-10")
    acme.changes(on="2026-03-28", status="past_due")
    fails(acme, at="2026-03-28 10:00", attempts=4)

    held = salesforce.record(account)
    assert (held["Payment_Risk__c"], held["Churn_Risk_Score__c"]) == ("high", 75)
    assert held["Churn_Risk_Reasons__c"].splitlines()[1] == "15 Past due since 28 Mar 2026"
    assert held["Billing_Status__c"] == "past_due" and held["Past_Due_Amount__c"] == 30

    with time_machine.travel(TODAY + timedelta(days=14), tick=False):
        later = TODAY + timedelta(days=14)
        assessing.assess_all(now=later)
        assert SyncRecord.objects.get(kind="account").state == "waiting"
        scenario.drain()
    assert salesforce.record(account)["Churn_Risk_Score__c"] == 85
