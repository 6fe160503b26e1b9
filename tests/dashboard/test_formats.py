"""How figures, dates and ages are written."""

from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest

from dashboard import formats


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (80_282_121, "usd", "$802,821.21"),
        (420_000, "EUR", "€4,200.00"),
        (12_000, "jpy", "¥12,000"),
        (420_000, "cad", "CA$4,200.00"),
        (420_000, "aud", "A$4,200.00"),
        (420_000, "nok", "NOK\u00a04,200.00"),
        (1_234_560, "kwd", "KWD\u00a01,234.560"),
        (500, "isk", "ISK\u00a05.00"),
        (0, "usd", "$0.00"),
        (-111_000, "usd", "\u2212$1,110.00"),
    ],
)
def test_money_has_symbol_grouping_and_the_decimals_of_its_currency(minor, currency, text):
    assert formats.money(minor, currency) == text


def test_a_movement_always_has_its_sign_and_zero_never():
    assert formats.money(46_800, "usd", signed=True) == "+$468.00"
    assert formats.money(-54_000, "usd", signed=True) == "\u2212$540.00"
    assert formats.money(0, "usd", signed=True) == "$0.00"


def test_large_sums_keep_every_digit():
    assert formats.money(9_223_372_036_854_775_807, "usd") == "$92,233,720,368,547,758.07"


def test_tiles_set_the_decimals_small():
    assert formats.money_parts(80_282_121, "usd") == ("$802,821", ".21")
    assert formats.money_parts(2_077_325, "usd", signed=True) == ("+$20,773", ".25")
    assert formats.money_parts(12_000, "jpy") == ("¥12,000", "")


def test_another_locale_changes_marks_and_places():
    assert formats.money(-420_050, "eur", locale="de_DE") == "\u22124.200,50\u00a0€"
    assert formats.money_parts(420_050, "eur", locale="de_DE") == ("4.200", ",50\u00a0€")
    assert formats.ratio(Fraction(982, 1000), locale="de_DE") == "98,2\u00a0%"
    assert formats.day(date(2026, 3, 31), locale="de_DE") == "31 März 2026"


def test_an_amount_without_symbol_for_salesforce_fields():
    assert formats.amount(240_000, "usd") == "2,400.00"
    assert formats.amount(-240_000, "usd") == "\u22122,400.00"


def test_counts_are_grouped():
    assert formats.count(1_286) == "1,286"
    assert formats.count(-3, signed=True) == "\u22123"


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (Fraction(982, 1000), 1, "98.2%"),
        ("0.986600", 2, "98.66%"),
        (Decimal("1.2824"), 0, "128%"),
        (1, 1, "100.0%"),
        (Fraction(-4, 100), 1, "\u22124.0%"),
        (Fraction(-1, 10_000), 1, "0.0%"),
        (Fraction(5, 10_000), 1, "0.0%"),  # half goes to the even neighbour
        (Fraction(15, 10_000), 1, "0.2%"),
        (None, 1, "n/a"),
    ],
)
def test_ratios_are_percentages_and_never_a_silent_zero(value, places, text):
    assert formats.ratio(value, places=places) == text


def test_a_float_is_refused():
    with pytest.raises(TypeError, match="exact"):
        formats.ratio(0.982)


def test_the_change_of_a_ratio_is_in_points():
    assert formats.points(Fraction(4, 1000)) == "+0.4 pt"
    assert formats.points(Fraction(-12, 1000)) == "\u22121.2 pt"
    assert formats.points(0) == "±0.0 pt"
    assert formats.points(Fraction(6, 10_000), places=2) == "+0.06 pt"
    assert formats.points(None) == "n/a"


def test_quotients_have_two_decimals():
    assert formats.multiple(Fraction(282, 100)) == "2.82"
    assert formats.multiple(Fraction(-2, 100), signed=True) == "\u22120.02"
    assert formats.multiple(None) == "n/a"


def test_dates_are_day_month_year():
    assert formats.day(date(2026, 3, 31)) == "31 Mar 2026"
    assert formats.day(date(2026, 3, 12), year=False) == "12 Mar"
    assert formats.month(date(2026, 3, 1)) == "Mar 2026"
    assert formats.month(date(2026, 3, 1), long=True) == "March 2026"


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        (date(2026, 3, 1), date(2026, 3, 31), "1–31 Mar 2026"),
        (date(2026, 2, 28), date(2026, 3, 3), "28 Feb – 3 Mar 2026"),
        (date(2025, 12, 30), date(2026, 1, 2), "30 Dec 2025 – 2 Jan 2026"),
        (date(2026, 3, 1), date(2026, 3, 1), "1 Mar 2026"),
    ],
)
def test_a_range_repeats_nothing(first, last, text):
    assert formats.days(first, last) == text


def test_times_are_those_of_the_zone():
    at = datetime(2026, 3, 12, 9, 14, 5, tzinfo=UTC)

    assert formats.clock(at, ZoneInfo("UTC")) == "09:14"
    assert formats.moment(at, ZoneInfo("UTC")) == "12 Mar 2026 09:14:05 UTC"
    assert formats.moment(at, ZoneInfo("Europe/Berlin"), seconds=False) == "12 Mar 2026 10:14 CET"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0 s"), (4, "4 s"), (59, "59 s"), (60, "1 min"), (2_460, "41 min"), (21_600, "6 h"), (800_000, "9 d")],
)
def test_an_age_is_its_largest_unit(seconds, text):
    assert formats.age(seconds) == text


@pytest.mark.parametrize(
    ("name", "letters"),
    [("Maya Okafor", "MO"), ("admin", "A"), ("ana.duarte@example.com", "AD"), ("Ana Maria Duarte", "AD"), ("", "?")],
)
def test_initials_stand_for_a_person(name, letters):
    assert formats.initials(name) == letters
