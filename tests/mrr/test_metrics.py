"""Ratios of a month: what was kept, what was lost, and how they are written."""

from fractions import Fraction

import pytest

from mrr import metrics

# A pays 100, then 150; B 200, then 100; C 300, then nothing; D is new with 80 and E is back with 50.
OPENING, NEW, BACK, UP, DOWN, GONE = 600, 80, 50, 50, -100, -300


def test_net_retention_counts_gains_of_the_opening_customers_alone():
    kept = metrics.nrr(opening=OPENING, expansion=UP, contraction=DOWN, churn=GONE)

    assert kept == Fraction(250, 600)
    assert metrics.decimal_text(kept) == "0.416667"


def test_gross_retention_leaves_gains_out():
    assert metrics.decimal_text(metrics.grr(opening=OPENING, contraction=DOWN, churn=GONE)) == "0.333333"


def test_logo_churn_is_a_share_of_opening_customers():
    assert metrics.decimal_text(metrics.logo_churn(opening_customers=3, churned_customers=1)) == "0.333333"


def test_the_quick_ratio_compares_gains_with_losses():
    ratio = metrics.quick_ratio(new=NEW, expansion=UP, reactivation=BACK, contraction=DOWN, churn=GONE)

    assert metrics.decimal_text(ratio) == "0.450000"


def test_the_figures_of_the_month_add_up():
    assert OPENING + NEW + BACK + UP + DOWN + GONE == 380
    assert NEW + BACK + UP + DOWN + GONE == -220


def test_what_cannot_be_known_is_not_zero():
    assert metrics.nrr(opening=0, expansion=5, contraction=0, churn=0) is None
    assert metrics.grr(opening=0, contraction=0, churn=0) is None
    assert metrics.logo_churn(opening_customers=0, churned_customers=0) is None
    assert metrics.quick_ratio(new=9, expansion=0, reactivation=0, contraction=0, churn=0) is None
    assert metrics.arpa(mrr=0, customers=0) is None
    assert metrics.decimal_text(None) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(1), "1.000000"),
        (Fraction(0), "0.000000"),
        (Fraction(-1, 3), "-0.333333"),
        (Fraction(1, 2_000_000), "0.000000"),  # half to even
        (Fraction(3, 2_000_000), "0.000002"),
        (Fraction(123456789), "123456789.000000"),
        (Fraction(-1, 10_000_000), "0.000000"),
    ],
)
def test_ratios_are_written_with_six_decimals(value, text):
    assert metrics.decimal_text(value) == text
