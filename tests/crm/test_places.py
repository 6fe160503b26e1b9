"""Countries, postcodes and telephone numbers as they are compared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.places import country_code, phone_key, postcode_key


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("United States", "US"),
        ("U.S.A.", "US"),
        ("de", "DE"),
        ("DEU", "DE"),
        ("Deutschland", "DE"),
        ("Österreich", "AT"),
        ("España", "ES"),
        ("UK", "GB"),
        ("England", "GB"),
        ("The Netherlands", "NL"),
        ("Nowhere", ""),
        ("", ""),
    ],
)
def test_a_country_under_its_names(text, code):
    assert country_code(text) == code


@pytest.mark.parametrize(
    ("text", "country", "key"),
    [
        ("(512) 555-1000", "United States", "15125551000"),
        ("+1 512 555 1000 ext. 12", "", "15125551000"),
        ("030 5551000", "DE", "49305551000"),
        ("0049 30 5551000", "DE", "49305551000"),
        ("+49 30 5551000", "US", "49305551000"),
        ("030 5551000", "", ""),
        ("0000000000", "US", ""),
        ("call us", "US", ""),
        ("", "US", ""),
    ],
)
def test_a_number_is_the_same_however_it_is_written(text, country, key):
    assert phone_key(text, country) == key


def test_postcodes():
    assert postcode_key("M5H 2N2") == postcode_key("m5h2n2") == "m5h2n2"
    assert postcode_key("78701-1234") == postcode_key("78701")
    assert postcode_key(" - ") == ""


@given(st.text(max_size=40), st.text(max_size=20))
def test_no_text_breaks_it(text, country):
    key = phone_key(text, country)

    assert len(key) <= 20 and (not key or key.isdigit())
    assert country_code(country) in ("", country_code(country).upper())
