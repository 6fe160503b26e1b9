"""Domains that stand for one company, and those that stand for nobody in particular."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.domains import (
    address_key,
    blocked_domains,
    company_domain,
    is_blocked,
    is_free,
    other_writings,
    website_domain,
)


@pytest.mark.parametrize(
    ("website", "domain"),
    [
        ("https://www.Acme.com/about?x=1", "acme.com"),
        ("acme.com", "acme.com"),
        ("http://user@acme.co.uk:8080/", "acme.co.uk"),
        ("https://eu.shop.acme.co.uk", "acme.co.uk"),
        ("https://acme.myshopify.com", "acme.myshopify.com"),
        ("müller.de", "xn--mller-kva.de"),
        ("xn--mller-kva.de", "xn--mller-kva.de"),
        ("gmail.com", ""),
        ("https://www.facebook.com/acme", ""),
        ("https://linkedin.com/company/acme", ""),
        ("https://maple.wordpress.com/about", "maple.wordpress.com"),
        ("https://a.maple.wordpress.com", "maple.wordpress.com"),
        ("https://www.wordpress.com/maple", ""),
        ("co.uk", ""),
        ("10.0.0.1", ""),
        ("nothing", ""),
        ("", ""),
    ],
)
def test_website_domain(website, domain):
    assert website_domain(website) == domain


@pytest.mark.parametrize(
    ("email", "domain"),
    [
        ("Ana@Acme.com ", "acme.com"),
        ("ana@mail.eu.acme.com", "acme.com"),
        ("ana@gmail.com", ""),
        ("ana@mailinator.com", ""),
        ("x7@privaterelay.appleid.com", ""),
        ("ana@maple.onmicrosoft.com", "maple.onmicrosoft.com"),
        ("ana@nhs.net", ""),
        ("ana", ""),
        ("@acme.com", ""),
        ("a b@acme.com", ""),
    ],
)
def test_company_domain(email, domain):
    assert company_domain(email) == domain


def test_a_blocked_domain_stands_for_nobody():
    blocked = blocked_domains("Agency.com, @holding.co.uk\nhttps://www.bureau.de/x nonsense;")

    assert blocked == {"agency.com", "holding.co.uk", "bureau.de"}
    assert company_domain("pay@eu.agency.com", blocked=blocked) == ""
    assert website_domain("bureau.de", blocked=blocked) == ""
    assert is_blocked("pay@agency.com", blocked) and not is_blocked("pay@acme.com", blocked)


def test_free_mail_is_told_from_a_companys():
    assert is_free("Ana@GMX.de") and not is_free("ana@acme.com") and not is_free("nobody")


@pytest.mark.parametrize(
    ("email", "found"),
    [
        ("Nils+Stripe@acme.se", ("nils@acme.se",)),
        ("ana+x@googlemail.com", ("ana@gmail.com", "ana@googlemail.com")),
        ("ana@gmail.com", ("ana@googlemail.com",)),
        ("ana@acme.se", ()),
        ("+x@acme.se", ()),
        ("", ()),
    ],
)
def test_other_writings_of_a_mailbox(email, found):
    assert other_writings(email) == found


@given(st.text(max_size=80))
def test_no_text_breaks_it_and_what_is_found_is_found_again(text):
    found = website_domain(text)

    assert website_domain(found) == found
    assert address_key(address_key(text)) == address_key(text)
