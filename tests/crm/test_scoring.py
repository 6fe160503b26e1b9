from __future__ import annotations

import pytest

from crm import scoring
from crm.scoring import evidence


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Acme, Inc.", "ACME"),
        ("Müller & Söhne GmbH", "Muller and Sohne"),
        ("The Juniper Dental Group", "Juniper Dental"),
        ("L'Oréal S.A.", "LOREAL SA"),
    ],
)
def test_names_that_are_the_same(one, other):
    assert scoring.name_key(one) == scoring.name_key(other)


@pytest.mark.parametrize(("one", "other"), [("Acme", "Acme Labs"), ("Polar Grid", "Polar Grip"), ("Inc.", "Ltd")])
def test_names_that_are_not(one, other):
    assert scoring.name_key(one) != scoring.name_key(other) or not scoring.name_key(one)


@pytest.mark.parametrize(
    ("website", "host"),
    [
        ("https://www.Acme.com/about?x=1", "acme.com"),
        ("acme.com", "acme.com"),
        ("http://user@acme.co.uk:8080/", "acme.co.uk"),
        ("gmail.com", ""),
        ("nothing", ""),
        ("", ""),
    ],
)
def test_website_domain(website, host):
    assert scoring.website_domain(website) == host


@pytest.mark.parametrize(
    ("email", "domain"),
    [("Ana@Acme.com ", "acme.com"), ("ana@gmail.com", ""), ("ana", ""), ("@acme.com", ""), ("a b@acme.com", "")],
)
def test_company_domain(email, domain):
    assert scoring.company_domain(email) == domain


def test_evidence_is_gathered_by_account_the_best_first():
    found = scoring.candidates(
        [
            ("001B", "Beta", evidence("company_name", "The names agree")),
            ("001A", "Acme", evidence("website_domain", "Same domain")),
            ("001A", "Acme", evidence("company_name", "The names agree")),
            ("001A", "Acme", evidence("company_name", "said twice")),
        ]
    )

    assert [(one.account_id, one.score) for one in found] == [("001A", 80), ("001B", 35)]
    assert found[0].as_json()["reasons"][1] == {"kind": "company_name", "weight": 35, "text": "The names agree"}
