"""Company names: one company is one key however it writes itself, and no two companies are taken for one."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crm.company_names import Agreement, agreement, is_named_by, legal_form, name_key, name_keys, name_start


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Acme, Inc.", "ACME"),
        ("Müller & Söhne GmbH", "Muller and Sohne"),
        ("The Juniper Dental Group", "Juniper Dental"),
        ("L'Oréal S.A.", "LOREAL SA"),
        ("Müller S.à r.l.", "Muller"),
        ("Kaiser GmbH & Co. KG", "Kaiser"),
        ("Grupo Bimbo S.A.B. de C.V.", "Bimbo"),
        ("Kowalski Sp. z o.o.", "KOWALSKI"),
        ("ООО Ромашка".replace("ООО", "OOO"), "Ромашка"),
        ("株式会社ソニー", "ソニー"),
        ("AB Volvo", "Volvo AB (publ)"),
        ("Harbour Pty. Ltd.", "Harbour"),
        ("Monday.com Ltd.", "Monday"),
        ("Ørsted A/S", "Orsted"),
    ],
)
def test_names_that_are_the_same(one, other):
    assert name_key(one) == name_key(other) != ""


@pytest.mark.parametrize(("one", "other"), [("Acme", "Acme Labs"), ("Polar Grid", "Polar Grip"), ("Inc.", "Ltd")])
def test_names_that_are_not(one, other):
    assert name_key(one) != name_key(other) or not name_key(one)


def test_a_name_that_a_company_trades_under_or_had_before_is_found_too():
    assert name_keys("Acme Foods LLC dba Crunchy") == ("acme foods", "crunchy")
    assert name_keys("Zephyr Ltd (formerly Old Mill Ltd)") == ("zephyr", "old mill")
    assert name_keys("Inc.") == ()


@pytest.mark.parametrize(
    ("name", "form"),
    [("Acme Inc.", "inc"), ("Acme Corporation", "inc"), ("Acme G.m.b.H.", "gmbh"), ("AB Acme", "ab"), ("Acme", "")],
)
def test_the_legal_form_under_all_its_spellings(name, form):
    assert legal_form(name) == form


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ("Harborworks LLC", "Harbor Works", Agreement.SAME),
        ("Acme Foods LLC dba Crunchy", "Crunchy Inc", Agreement.SAME),
        ("Harbour Analytics", "Harbor Analytics Inc", Agreement.SPELLING),
        ("Dental Juniper", "Juniper Dental", Agreement.ORDER),
        ("Mueller GmbH", "Müller", Agreement.SAME),
        ("Acme Holding", "Acme", Agreement.GROUP),
        ("Acme", "Acme Labs", Agreement.PARTLY),
        ("IBM", "International Business Machines", Agreement.INITIALS),
        ("Acme East", "Acme West", Agreement.APART),
        ("Polar Grid", "Polar Grip", Agreement.APART),
        ("Studio 54", "Studio 45", Agreement.APART),
        ("Somebody", "Acme Inc.", Agreement.UNLIKE),
        ("Kolb Motoren", "Kolb Motoren Service", Agreement.PARTLY),
        ("University of Brinton", "University of Brinton Press", Agreement.PARTLY),
        ("Rainier Books (do not use)", "Rainier Books", Agreement.SAME),
        ("Inc.", "Acme", Agreement.OPEN),
    ],
)
def test_how_far_two_names_agree(one, other, found):
    assert agreement(one, other) == found


@pytest.mark.parametrize(
    ("name", "domain", "found"),
    [
        ("Acme Labs Inc", "acme-labs.io", True),
        ("Acme", "acmehq.com", True),
        ("Acme Foods", "acme.com", True),
        ("Zebra", "acme.com", False),
        ("Ab", "abacus.com", False),
        ("", "acme.com", False),
    ],
)
def test_a_domain_that_bears_the_name(name, domain, found):
    assert is_named_by(name, domain) is found


@given(st.text(max_size=60), st.text(max_size=60))
@example("Acme GmbH & Co. KG", "'; DROP TABLE x; --")
def test_it_does_not_matter_which_name_comes_first(one, other):
    assert agreement(one, other) == agreement(other, one)


@given(st.text(max_size=60))
@example("İ")
def test_a_key_is_the_key_of_itself_in_any_case_and_the_name_agrees_with_itself(name):
    key = name_key(name)

    assert len(key) <= 255 and key == " ".join(key.split())
    assert name_start(key) == key.replace(" ", "")[:5]
    assert agreement(name, name) == (Agreement.SAME if name_keys(name) else Agreement.OPEN)
