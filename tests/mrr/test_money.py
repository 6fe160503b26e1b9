"""Money: exponents, micros and rounding that adds up."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrr.engine.money import exponent, major, major_exact, shown, shown_together, to_micros


@pytest.mark.parametrize(
    ("currency", "decimals"),
    [("usd", 2), ("EUR", 2), ("jpy", 0), ("xof", 0), ("kwd", 3), ("isk", 2), ("ugx", 2), ("huf", 2), ("twd", 2)],
)
def test_exponents_are_stripes_not_isos(currency, decimals):
    assert exponent(currency) == decimals


def test_micros_round_half_to_even():
    assert to_micros(Fraction(1, 2_000_000)) == 0
    assert to_micros(Fraction(3, 2_000_000)) == 2
    assert to_micros(Fraction(-1, 2_000_000)) == 0


@pytest.mark.parametrize(
    ("micros", "minor"), [(500_000, 0), (1_500_000, 2), (2_500_001, 3), (-500_000, 0), (-1_500_000, -2)]
)
def test_balances_are_shown_half_to_even(micros, minor):
    assert shown(micros) == minor


@given(st.integers(-(10**18), 10**18))
def test_shown_is_pythons_own_half_even(micros):
    assert shown(micros) == round(Fraction(micros, 1_000_000))


@given(st.lists(st.integers(-(10**15), 10**15), min_size=1, max_size=9))
def test_parts_shown_together_add_up_and_stay_within_one_unit(parts):
    total = shown(sum(parts))

    figures = shown_together(total, parts)

    assert sum(figures) == total
    assert all(abs(figure - Fraction(part, 1_000_000)) < 1 for figure, part in zip(figures, parts, strict=True))


def test_ten_thousand_yearly_customers_keep_their_cents():
    each = to_micros(Fraction(10_000, 12))

    assert shown(each) == 833
    assert shown(each * 10_000) == 8_333_333
    assert shown(each * 12) == 10_000


def test_text_for_exports():
    assert major(-5, "usd") == "-0.05"
    assert major(12_000, "jpy") == "12000"
    assert major(1_500, "kwd") == "1.500"
    assert major_exact(833_333_333, "usd") == "8.33333333"
