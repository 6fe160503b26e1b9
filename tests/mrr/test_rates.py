"""Exchange rates: which one a day has, and what comes out, exactly."""

from datetime import date, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrr.engine.money import MICROS
from mrr.engine.rates import Origin, Quote, Rates, converted


def quote(day, currency, rate, *, against="usd", origin=Origin.MANUAL):
    return Quote(date.fromisoformat(day), currency, against, rate, origin)


def on(rates, currency, day):
    return rates.on(currency, date.fromisoformat(day))


# ---- which rate a day has ----


def test_the_reporting_currency_is_worth_itself():
    assert on(Rates(reporting="usd"), "usd", "1999-01-01") == 1


def test_a_days_rate_is_the_last_one_on_or_before_it():
    rates = Rates([quote("2026-01-15", "eur", "1.10"), quote("2026-01-20", "eur", "1.12")], reporting="usd")

    assert on(rates, "eur", "2026-01-15") == Fraction("1.10")
    assert on(rates, "eur", "2026-01-19") == Fraction("1.10")
    assert on(rates, "eur", "2026-01-20") == Fraction("1.12")
    assert on(rates, "eur", "2026-01-14") is None


def test_a_rate_is_known_for_seven_days_and_not_for_eight():
    rates = Rates([quote("2026-01-15", "eur", "1.10")], reporting="usd")

    assert on(rates, "eur", "2026-01-22") == Fraction("1.10")
    assert on(rates, "eur", "2026-01-23") is None


def test_an_unknown_currency_is_never_assumed_to_be_worth_one():
    assert on(Rates([quote("2026-01-15", "eur", "1.10")], reporting="usd"), "xyz", "2026-01-15") is None


def test_other_currencies_cross_through_the_euro_as_exact_fractions():
    bank = [
        quote("2026-01-15", "eur", "1.0876", against="usd", origin=Origin.ECB),
        quote("2026-01-15", "eur", "0.83380", against="gbp", origin=Origin.ECB),
    ]

    assert on(Rates(bank, reporting="usd"), "gbp", "2026-01-16") == Fraction(10876, 8338)
    assert on(Rates(bank, reporting="usd"), "eur", "2026-01-16") == Fraction("1.0876")
    assert on(Rates(bank, reporting="eur"), "gbp", "2026-01-16") == 1 / Fraction("0.8338")
    assert on(Rates(bank, reporting="eur"), "eur", "2026-01-16") == 1


def test_a_cross_needs_both_rates_within_seven_days():
    bank = [
        quote("2026-01-15", "eur", "1.0876", origin=Origin.ECB),
        quote("2026-01-02", "eur", "11.9", against="rub", origin=Origin.ECB),
    ]

    assert on(Rates(bank, reporting="usd"), "rub", "2026-01-15") is None


def test_of_one_day_a_person_beats_the_bank_and_the_bank_what_is_made_up():
    bank = quote("2026-01-15", "eur", "1.09", origin=Origin.ECB)
    demo = quote("2026-01-15", "eur", "1.50", origin=Origin.DEMO)
    manual = quote("2026-01-15", "eur", "1.10")

    assert on(Rates([demo, bank], reporting="usd"), "eur", "2026-01-15") == Fraction("1.09")
    assert on(Rates([demo, bank, manual], reporting="usd"), "eur", "2026-01-15") == Fraction("1.10")
    assert on(Rates([demo, manual], reporting="usd"), "eur", "2026-01-15") == Fraction("1.10")


def test_a_newer_rate_of_the_bank_beats_an_older_one_given_by_a_person():
    quotes = [quote("2026-01-14", "eur", "1.10"), quote("2026-01-15", "eur", "1.09", origin=Origin.ECB)]

    assert on(Rates(quotes, reporting="usd"), "eur", "2026-01-16") == Fraction("1.09")


def test_what_a_close_froze_counts_whatever_was_imported_since():
    frozen = {date(2026, 1, 1): {"eur": [(date(2026, 1, 1), None), (date(2026, 1, 15), Fraction("1.10"))]}}
    rates = Rates([quote("2026-01-10", "eur", "2"), quote("2026-02-01", "eur", "3")], reporting="usd", frozen=frozen)

    assert on(rates, "eur", "2026-01-14") is None
    assert on(rates, "eur", "2026-01-31") == Fraction("1.10")
    assert on(rates, "eur", "2026-02-01") == 3


def test_a_months_course_says_from_which_day_on_which_rate_holds():
    rates = Rates([quote("2026-01-30", "eur", "1.10"), quote("2026-02-03", "eur", "1.12")], reporting="usd")

    assert rates.course("eur", date(2026, 2, 1)) == [
        (date(2026, 2, 1), Fraction("1.10")),
        (date(2026, 2, 3), Fraction("1.12")),
        (date(2026, 2, 11), None),
    ]


# ---- what comes out ----


def test_v31_yen_have_no_minor_unit_and_dinars_three_decimals():
    assert converted(12_000 * MICROS, "jpy", "usd", Fraction("0.0067")) == 8040 * MICROS
    assert converted(1_500 * MICROS, "bhd", "usd", Fraction("2.65")) == 397_500_000
    assert converted(100 * MICROS, "usd", "jpy", Fraction(150)) == 150 * MICROS


def test_a_converted_amount_is_rounded_once_half_to_even():
    assert [converted(micros, "eur", "usd", Fraction(1, 2)) for micros in (1, 3, 5, -1, -3)] == [0, 2, 2, 0, -2]


def test_v40_without_a_rate_there_is_no_amount():
    assert Rates(reporting="usd").converted(100 * MICROS, "eur", date(2026, 1, 15)) is None


def test_v30_movements_at_their_day_balances_at_the_months_end_and_the_rest_is_fx():
    rates = Rates(
        [
            quote("2026-01-15", "eur", "1.10"),
            quote("2026-01-31", "eur", "1.12"),
            quote("2026-02-10", "eur", "1.08"),
            quote("2026-02-28", "eur", "1.05"),
        ],
        reporting="usd",
    )

    new = rates.converted(10_000 * MICROS, "eur", date(2026, 1, 15))
    january = rates.converted(10_000 * MICROS, "eur", date(2026, 1, 31))
    expansion = rates.converted(5_000 * MICROS, "eur", date(2026, 2, 10))
    february = rates.converted(15_000 * MICROS, "eur", date(2026, 2, 28))

    assert (new, january, january - new) == (11_000 * MICROS, 11_200 * MICROS, 200 * MICROS)
    assert (expansion, february) == (5_400 * MICROS, 15_750 * MICROS)
    assert february - january - expansion == -850 * MICROS


@given(
    st.lists(st.integers(-(10**15), 10**15)),
    st.fractions(min_value=Fraction(1, 10**6), max_value=10**6),
    st.sampled_from(["eur", "jpy", "kwd"]),
)
def test_taking_an_entry_back_takes_back_exactly_what_it_came_to(amounts, rate, currency):
    there = [converted(micros, currency, "usd", rate) for micros in amounts]
    back = [converted(-micros, currency, "usd", rate) for micros in amounts]

    assert sum(there) + sum(back) == 0


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(1, 10**6)), max_size=30), st.integers(0, 400))
def test_the_order_of_quotes_does_not_matter(days, asked):
    quotes = [
        Quote(date(2026, 1, 1) + timedelta(days=at), "eur", "usd", str(rate), "manual")
        for at, rate in dict(days).items()
    ]
    day = date(2026, 1, 1) + timedelta(days=asked)

    assert Rates(quotes, reporting="usd").on("eur", day) == Rates(quotes[::-1], reporting="usd").on("eur", day)


@pytest.mark.parametrize("origin", list(Origin))
def test_every_origin_is_told_apart(origin):
    assert on(Rates([quote("2026-01-15", "eur", "1.10", origin=origin)], reporting="usd"), "eur", "2026-01-16") == (
        Fraction("1.10")
    )
