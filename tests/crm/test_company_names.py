"""Company names: one company is one key however it writes itself, and no two companies are taken for one."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crm.company_names import (
    Agreement,
    agreement,
    is_for_another,
    is_named_by,
    is_slip_by_domain,
    legal_form,
    name_key,
    name_keys,
    name_start,
    says_nothing,
    searched_keys,
)


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
        ("7 Bridges Ferry Co.", "Seven Bridges Ferry Company"),
        ("<b>Mosswood Toys</b>", "Mosswood Toys Inc."),
        ("Hallam &amp; Reed", "Hallam & Reed LLP"),
        ("Rocketfen ™", "🚀 Rocketfen B.V."),
        ("Foxglove Print (EUR)", "Foxglove Print Ltd"),
        ("Wren\u200bford", "Wrenford"),
        ("Odowd Roofing; SELECT Id FROM Account--", "O'Dowd Roofing Ltd"),
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
        ("Harbour Analytics", "Harbor Analytics Inc", Agreement.SAME),
        ("Habor Analytics", "Harbor Analytics Inc", Agreement.SPELLING),
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
        ("ATT Services GmbH", "ATT Services", Agreement.SAME),
        ("https://www.acme.com/en", "Acme Inc", Agreement.SAME),
        ("Acme Foods (www.acme.com)", "Acme Foods", Agreement.SAME),
        ("OBO Bettermann", "OBO Bettermann Holding", Agreement.GROUP),
        ("Acme Foods, attn: Jane Doe", "Acme Foods", Agreement.SAME),
        ("Acme Foods - Accounts Payable", "Acme Foods", Agreement.SAME),
        ("Ghost Kitchen (2)", "Ghost Kitchen", Agreement.PARTLY),
        ("Muehlbauer Kaffee", "Mühlbauer Kaffee GmbH", Agreement.SAME),
        ("Muller", "Mueller", Agreement.SPELLING),
        ("L'Écluse", "de l Ecluse", Agreement.SPELLING),
        ("Chem Dept, Ostbury University", "Ostbury University, Department of Chemistry", Agreement.SPELLING),
        ("Capital I", "Capital", Agreement.PARTLY),
        ("Capital I", "Capital II", Agreement.APART),
        ("Acme (UK)", "Acme (DE)", Agreement.APART),
        ("Acme (EU)", "Acme", Agreement.SPELLING),
        ("Stadtwerke Neukirch (Lausitz)", "Stadtwerke Neukirch", Agreement.PARTLY),
        ("LPHD Elstertal eG", "Landwirtschaft Produktion Handel und Dienst Elstertal", Agreement.INITIALS),
        ("VOA Consult", "Vann og Avløp Consult", Agreement.INITIALS),
        ("ТОВ «Сонячний Млин»", "Sonyachnyi Mlyn LLC", Agreement.SPELLING),
        ("Παπαγεωργάκης Τρόφιμα", "Papageorgakis Foods", Agreement.PARTLY),
        ("隅野精機", "Sumino Seiki", Agreement.OPEN),
        ("隅野ホールディングス", "Sumino", Agreement.PARTLY),
        ("ソラノホールディングス", "ソラノ", Agreement.GROUP),
        ("宏达贸易", "弘达贸易", Agreement.OPEN),
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


def test_an_account_is_looked_for_under_other_ways_of_writing_its_name():
    assert name_key("Mühlbauer Kaffeerösterei") in searched_keys("Muehlbauer Kaffeeroesterei")
    assert name_key("Kita Wiesenhof e.V.") in searched_keys("Wiesenhof Kita, c/o Büro Lenz")
    assert name_key("Romashka OOO") in searched_keys("Ромашка")
    assert searched_keys("Inc.") == ()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Kita c/o Büro Lenz", True),
        ("Resoft BV on behalf of Duvall", True),
        ("Lenz im Auftrag Dorn", True),
        ("OBO Bettermann", False),
        ("Coco", False),
    ],
)
def test_a_name_of_two_parties(name, found):
    assert is_for_another(name) is found


@pytest.mark.parametrize(
    ("name", "found"), [("", True), ("Accounts Payable", True), ("n/a", True), ("Test Valley", False)]
)
def test_a_name_that_is_none(name, found):
    assert says_nothing(name) is found


@pytest.mark.parametrize(
    ("one", "other", "domain", "found"),
    [
        ("Tessalate Glass Works", "Tessellate Glassworks", "tessellateglass.com", True),
        ("Harpper Tools", "Harper Tools", "harppertools.com", True),
        ("Autohaus Hamburg", "Autohaus Homburg", "autohaus.de", False),
        ("Autohaus Hamburg", "Autohaus Homburg", "hbt.de", False),
        ("Acme", "Acme", "acme.com", False),
    ],
)
def test_a_slip_that_the_domain_settles(one, other, domain, found):
    assert is_slip_by_domain(one, other, domain) is is_slip_by_domain(other, one, domain) is found


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
