"""Retention as pages read it: kept sums against entries, one currency and all of them, and what check_ledger proves."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrr import check, fx, selectors
from mrr.engine.money import MICROS
from mrr.engine.rates import Quote
from mrr.models import Loss, RetentionRollup
from mrr.selectors import KeptPart
from tests.mrr.books import Books
from tests.mrr.histories import Subscription, item, state

pytestmark = pytest.mark.django_db
TODAY = date(2026, 6, 15)
NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
JUNE = date(2026, 6, 1)


@pytest.fixture(autouse=True)
def _the_fiscal_year():
    fx.pin(date(2026, 1, 1))


@pytest.fixture
def books():
    return Books()


def pays(books, name, *steps, currency="usd", source="main", reason="cancellation_requested"):
    """A customer with one subscription: `("2026-01-15", 10000)` minor units a month from a day, 0 ends it."""
    told = Subscription(f"sub_{name}")
    for day, minor in steps:
        if minor:
            told.says(day, state(item(minor, currency=currency), since=steps[0][0], currency=currency))
        else:
            told.ends(day, reason=reason)
    return books.customer(f"cus_{name}", told, source=source)


def period(span, last, **scope):
    month = date.fromisoformat(f"{last}-01")
    return selectors.retention(span, month, month, today=TODAY, **scope).periods[0]


@pytest.fixture
def v41(books):
    """Vector V41 in March 2026, its customers a year old or more."""
    pays(books, "a", ("2025-01-10", 10000), ("2026-03-05", 15000))
    pays(books, "b", ("2025-01-10", 20000), ("2026-03-05", 10000))
    pays(books, "c", ("2025-01-10", 30000), ("2026-03-09", 0))
    pays(books, "d", ("2026-03-05", 8000))
    pays(books, "e", ("2025-01-10", 5000), ("2025-02-10", 0))
    return books


@pytest.mark.parametrize("span", [1, 3, 12])
def test_v41_of_one_three_and_twelve_months(v41, span):
    kept = period(span, "2026-03").kept

    assert (kept.start, kept.end) == (60000 * MICROS, 25000 * MICROS)
    assert (kept.nrr, kept.grr, kept.logo_churn) == (Fraction(5, 12), Fraction(1, 3), Fraction(1, 3))
    assert (kept.revenue_churn, kept.churn_alone) == (Fraction(2, 3), Fraction(1, 2))


def test_a_period_before_anybody_paid_is_not_known(v41):
    kept = period(12, "2025-06").kept

    assert (kept.nrr, kept.grr, kept.logo_churn, kept.revenue_churn) == (None, None, None, None)


def test_whom_a_period_lost_comes_to_its_churn(v41):
    (gone,) = selectors.lost(12, date(2026, 5, 1))

    assert (gone.reason, gone.month, gone.tenure_months, gone.product) == (
        "canceled",
        date(2026, 3, 1),
        14,
        "prod_team",
    )
    assert gone.micros == period(12, "2026-05").kept.churn == -30000 * MICROS


def test_who_comes_back_is_no_loss_of_a_period_that_ends_later(books):
    pays(books, "a", ("2025-01-10", 10000), ("2026-02-10", 0))
    again = Subscription("sub_again").says("2026-04-10", state(item(4000), since="2026-04-10"))
    first = Subscription("sub_b").says("2025-01-10", state(item(9000), since="2025-01-10")).ends("2026-02-20")
    books.customer("cus_b", first, again)

    months = [(span, last, len(selectors.lost(span, date(2026, last, 1)))) for span in (1, 3, 12) for last in (2, 3, 4)]

    assert months == [
        (1, 2, 2),
        (1, 3, 0),
        (1, 4, 0),
        (3, 2, 2),
        (3, 3, 2),
        (3, 4, 1),
        (12, 2, 2),
        (12, 3, 2),
        (12, 4, 1),
    ]


def test_what_is_taken_over_within_a_period_is_left_out_and_said(books):
    books.source(history_from=date(2026, 2, 1))
    pays(books, "a", ("2025-01-10", 10000), ("2026-02-10", 12000))

    assert period(1, "2026-02").kept.nrr == Fraction(12, 10)
    march, april = period(3, "2026-03"), period(3, "2026-04")
    assert (march.kept.nrr, march.left_out_micros) == (None, 10000 * MICROS)
    assert (april.kept.nrr, april.left_out_micros) == (Fraction(12, 10), 0)


def test_what_no_longer_stands_is_taken_out(books):
    customer = pays(books, "a", ("2025-01-10", 10000), ("2026-02-10", 5000), ("2026-04-10", 0))

    books.says(customer)

    assert not Loss.objects.exists()
    assert not any(any(row) for row in RetentionRollup.objects.values_list("contraction_micros", "churn_micros"))


def test_the_check_names_a_sum_or_a_loss_that_was_changed_and_repairs_it(v41):
    RetentionRollup.objects.filter(span=12, month=JUNE).update(churn_micros=0)
    Loss.objects.update(start_3=1)
    told: list[str] = []

    def sums(**more):
        return check.check(now=NOW, parts=["sums"], tell=told.append, **more).differences

    assert sums() >= 3
    assert any(line.startswith("RetentionRollup source") and "12 months to 2026-06" in line for line in told)
    assert any(line.startswith("Loss customer") for line in told)
    sums(repair=True)
    assert sums() == 0


def test_a_customer_of_several_currencies_is_lost_as_a_whole(books):
    fx.store([Quote(date(2026, month, day), "eur", "usd", "2.00", "manual") for month in range(1, 7) for day in (1, 8)])
    euros = Subscription("sub_1").says(
        "2025-01-15", state(item(100, currency="eur"), since="2025-01-15", currency="eur")
    )
    books.customer(
        "cus_both",
        euros.ends("2026-02-05"),
        Subscription("sub_2").says("2026-02-05", state(item(150), since="2026-02-05")).ends("2026-05-20"),
    )
    pays(books, "single", ("2025-01-20", 50))

    assert selectors.lost(12, date(2026, 3, 1)) == []
    assert len(selectors.lost(12, date(2026, 3, 1), currency="eur")) == 1
    (gone,) = selectors.lost(12, date(2026, 5, 1))
    assert (gone.currency, gone.micros) == ("", -200 * MICROS)
    march, may = period(12, "2026-03").kept, period(12, "2026-05").kept
    assert (march.start, march.contraction, march.churn, march.churned) == (250 * MICROS, -50 * MICROS, 0, 0)
    assert (may.churn, may.churned, may.customers) == (-200 * MICROS, 1, 2)
    assert list(fx.differences()) == []


def test_another_pinned_day_is_followed_by_losses_as_a_whole(books):
    quotes = [(date(2025, 12, 28), "3.00"), (date(2026, 1, 1), "2.00")]
    fx.store([Quote(day, "eur", "usd", rate, "manual") for day, rate in quotes])
    test_a_customer_of_several_currencies_is_lost_as_a_whole(books)

    fx.pin(date(2025, 12, 30))

    (gone,) = selectors.lost(12, date(2026, 5, 1))
    assert gone.micros == -300 * MICROS == period(12, "2026-05").kept.churn
    assert list(fx.differences()) == []


LEVELS = st.lists(st.tuples(st.integers(1, 500), st.integers(0, 4).map(lambda n: n * 1237)), min_size=1, max_size=5)
CUSTOMERS = st.lists(st.tuples(st.sampled_from(["eur", "usd", "jpy"]), LEVELS), min_size=1, max_size=5)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(CUSTOMERS)
def test_kept_sums_losses_and_a_recount_from_entries_agree(customers):
    with transaction.atomic():
        books = Books()
        fx.store(
            [
                Quote(date(2026, 1, 1), code, "usd", rate, "manual")
                for code, rate in [("eur", "1.1137"), ("jpy", "0.0067")]
            ]
        )
        for number, (currency, levels) in enumerate(customers):
            told = Subscription(f"sub_{number}")
            for day_number, minor in sorted(dict(levels).items()):
                day = (date(2025, 1, 1) + timedelta(days=day_number)).isoformat()
                told.says(day, state(item(minor, currency=currency), since=day, currency=currency))
            other = Subscription(f"sub_{number}b").says("2025-03-09", state(item(700), since="2025-03-09"))
            books.customer(f"cus_{number}", *([told, other.ends("2025-11-02")] if number % 2 else [told]))

        for currency in (None, "usd", "eur"):
            rates = fx.conversion(["eur", "jpy", "usd"]) if currency is None else None
            for span in (1, 3, 12):
                found = selectors.retention(span, date(2025, 3, 1), JUNE, today=TODAY, currency=currency, rates=rates)
                for one in found.periods[::3]:
                    kept, scope = one.kept, {"currency": currency, "rates": rates}
                    gone = selectors.lost(span, one.month, **scope)
                    assert (sum(row.micros for row in gone), len(gone)) == (kept.churn, kept.churned)
                    assert selectors.recounted(gone, one.first, **scope)[1] == kept.churn
                    for part in (KeptPart.EXPANSION, KeptPart.CONTRACTION, KeptPart.CHURN):
                        shares = selectors.compared_shares(span, one.month, part, limit=1, **scope)
                        assert shares.micros == getattr(kept, part.value)
                    start = selectors.compared_shares(span, one.month, KeptPart.START, limit=1, **scope)
                    assert (start.customers, start.micros) == (kept.customers, kept.start)
        assert list(fx.differences()) == []
        assert check.check(now=NOW, parts=["sums"]).differences == 0
        transaction.set_rollback(True)
