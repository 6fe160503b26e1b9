"""What evidence weighs: the sure ones are taken alone, and whatever casts a doubt is left to a person."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm import scoring
from crm.scoring import AccountFacts, CustomerFacts

ACME = CustomerFacts(
    name="Acme Inc",
    email="ana@acme.com",
    domain="acme.com",
    phone="15125551000",
    country="US",
    postal_code="78701",
)


def account(account_id: str = "001A", name: str = "Acme", **facts) -> AccountFacts:
    return AccountFacts(account_id, name, **facts)


def kinds(found) -> dict[str, int]:
    return {reason.kind: reason.weight for reason in found.reasons}


def weighed(*accounts: AccountFacts, customer: CustomerFacts = ACME) -> list:
    return scoring.candidates(customer, accounts)


def is_sure(*accounts: AccountFacts, customer: CustomerFacts = ACME) -> bool:
    return scoring.sure(weighed(*accounts, customer=customer), threshold=85) is not None


def test_all_evidence_is_listed_with_its_weight_and_the_score_is_the_sum():
    (found,) = weighed(account(domain="acme.com", country="CA", postal_code="78701"))

    assert kinds(found) == {"website_domain": 45, "company_name": 40, "other_country": -10}
    assert found.score == 75
    assert found.as_json()["reasons"][1]["text"] == "The names agree: Acme Inc and Acme"


def test_the_best_comes_first_and_who_has_nothing_for_it_is_left_out():
    found = weighed(account("001B", "Zebra"), account("001C", "Acme Ltd"), account("001A", domain="acme.com"))

    assert [(one.account_id, one.score) for one in found] == [("001A", 85), ("001C", 25)]


# ---- alone ----


def test_a_contacts_exact_email_is_enough():
    assert is_sure(account(has_contact=True))
    assert is_sure(account(name="Zebra", has_contact=True), customer=CustomerFacts("Ana Duarte", "ana@acme.com"))


def test_the_companys_own_domain_and_its_name_are_enough_unless_something_speaks_against_it():
    assert is_sure(account(domain="acme.com"))
    assert not is_sure(account(domain="acme.com", country="DE"))
    assert not is_sure(account(name="Acme Ltd", domain="acme.com"))
    assert not is_sure(account(domain="acme.com", customers_elsewhere=1))


def test_a_name_with_a_slip_needs_the_postcode_too_unless_the_domain_settles_it():
    slip = CustomerFacts("Harper Tools", "ap@hbt.com", "hbt.com", country="US", postal_code="78701")

    assert not is_sure(account(name="Harpper Tools", domain="hbt.com", country="US"), customer=slip)
    assert is_sure(account(name="Harpper Tools", domain="hbt.com", country="US", postal_code="78701"), customer=slip)
    settled = replace(slip, email="ap@harppertools.com", domain="harppertools.com", postal_code="")
    assert is_sure(account(name="Harpper Tools", domain="harppertools.com", country="US"), customer=settled)
    homburg = replace(slip, name="Autohaus Homburg", email="ap@autohaus.com", domain="autohaus.com", postal_code="")
    assert not is_sure(account(name="Autohaus Hamburg", domain="autohaus.com", country="US"), customer=homburg)


def test_initials_are_a_name_where_the_domain_begins_with_them():
    bcs = CustomerFacts("BCS", "ap@bcs-bergland.at", "bcs-bergland.at", country="AT")
    firm = account(name="Bergland Construction Services", domain="bcs-bergland.at", country="AT")

    assert is_sure(firm, customer=bcs)
    assert not is_sure(replace(firm, domain="bergland.at"), customer=replace(bcs, domain="bergland.at"))


def test_the_name_the_telephone_and_the_postcode_are_enough_at_free_mail():
    facts = {"phone": "15125551000", "country": "US"}
    free = replace(ACME, email="acme@gmail.com", domain="", has_free_mail=True)

    assert is_sure(account(postal_code="78701", **facts), customer=free)
    assert not is_sure(account(postal_code="10001", **facts), customer=free)
    assert not is_sure(account(postal_code="78701", country="US"), customer=free)
    assert not is_sure(account(name="Acme Holding", postal_code="78701", **facts), customer=free)
    assert not is_sure(account(name="Zebra", postal_code="78701", **facts), customer=free)


def test_without_a_name_the_domain_that_is_the_accounts_name_is_enough():
    nobody = CustomerFacts("", "ap@ironbark.com", "ironbark.com")

    assert is_sure(account(name="Ironbark Pty Ltd", domain="ironbark.com"), customer=nobody)
    assert not is_sure(account(name="Ironbark Fencing", domain="ironbark.com"), customer=nobody)
    assert not is_sure(
        account(name="Ironbark", domain="ironbark.com"),
        customer=replace(nobody, email="ap+oak@ironbark.com", is_tagged=True),
    )


def test_a_contacts_email_without_a_name_must_be_at_the_accounts_own_domain():
    nobody = CustomerFacts("", "sue@books.com", "books.com")

    assert is_sure(account(has_contact=True, domain="books.com"), customer=nobody)
    assert is_sure(account(name="Books Ltd", has_contact=True, domain="other.com"), customer=nobody)
    assert not is_sure(account(has_contact=True, domain="zeta.com", country="US"), customer=nobody)


def test_a_name_in_other_letters_needs_the_postcode_too():
    sumino = CustomerFacts("隅野精機", "keiri@sumino.jp", "sumino.jp", country="JP", postal_code="130-0012")

    assert is_sure(account(name="Sumino", domain="sumino.jp", country="JP", postal_code="1300012"), customer=sumino)
    assert not is_sure(account(name="Sumino", domain="sumino.jp", country="JP"), customer=sumino)


def test_the_mailbox_of_a_contact_written_otherwise():
    nils = CustomerFacts("Nils Holm", "nils+stripe@acme.com", "acme.com", is_tagged=True)

    assert is_sure(account(has_mailbox=True, domain="acme.com"), customer=nils)
    assert not is_sure(account(has_mailbox=True, domain="acme.com"), customer=replace(nils, name="Marlow Bakery"))


def test_a_domain_that_people_gave_an_account_says_as_much_as_its_website():
    learnt = {"customers_at_domain": 1, "is_chosen_at_domain": True}

    assert is_sure(account(domain="zeta.com", **learnt))
    assert not is_sure(account(domain="zeta.com", customers_at_domain=1))
    assert not is_sure(account(name="Acme Foods", domain="zeta.com", **learnt))
    assert kinds(weighed(account(domain="acme.com", **learnt))[0])["same_customers"] == 10


def test_another_customer_of_the_same_email_and_name_that_a_person_matched():
    euro = CustomerFacts("Acme (EUR)", "acme@gmail.com", has_free_mail=True)

    assert is_sure(account(name="Zebra", chosen_names=("Acme",)), customer=euro)
    assert not is_sure(account(name="Zebra", chosen_names=("Bramley",)), customer=euro)


def test_points_alone_are_not_enough_without_the_name():
    shared = {"domain": "acme.com", "phone": "15125551000", "country": "US", "postal_code": "78701"}

    for name in ("Zeta Works", "Acme Foods", "Acme Holding"):
        assert weighed(account(name=name, **shared))[0].score >= 85 and not is_sure(account(name=name, **shared))
    tenant = weighed(account(name="Zeta Works", **shared), customer=replace(ACME, name="Kite & Anchor"))
    assert tenant[0].score >= 85 and scoring.acceptable(tenant, threshold=85) is None


def test_two_near_the_threshold_wait_however_far_the_first_is_ahead():
    first = account("001A", domain="acme.com", has_contact=True, country="US")
    second = account("001B", domain="acme.com")

    assert is_sure(first) and not is_sure(first, second)


@pytest.mark.parametrize(
    ("customer", "facts", "doubt"),
    [
        (CustomerFacts("Huber GmbH", "ap@agency.com", "agency.com"), {"name": "Bright Agency"}, "other_name"),
        (CustomerFacts("Corner Bakery", "billing@agency.com", "agency.com"), {"name": "Bright"}, "other_name"),
        (CustomerFacts("Corner Bakery", "sue@gmail.com", has_free_mail=True), {"name": "Zeta"}, "other_name"),
        (CustomerFacts("Pike & Fern", "sue@books.com", "books.com"), {"name": "Zeta"}, "other_name"),
        (CustomerFacts("Sue Pike", "sue@books.com", "books.com"), {"name": "Zeta"}, "other_name"),
        (CustomerFacts("Redbird Bakery", "tom@agency.com", "agency.com"), {"name": "Bright"}, "other_name"),
        (CustomerFacts("Acme c/o Agency", "ana@agency.com", "agency.com"), {"name": "Agency"}, "for_another"),
        (
            CustomerFacts("Ana", "ana@agency.com", "agency.com", other_names=("Zeta Works",)),
            {"name": "Agency"},
            "shared_email",
        ),
    ],
)
def test_an_email_that_seems_to_be_anothers_waits(customer, facts, doubt):
    found = account(has_contact=True, domain="agency.com", country="US", **facts)

    assert doubt in kinds(weighed(found, customer=customer)[0])
    assert not is_sure(found, customer=customer)


def test_an_email_of_one_account_and_the_name_of_another_wait():
    holding = account("001A", "Zeta Holding", has_contact=True)

    assert not is_sure(holding, account("001B", "Acme"))
    (said,) = (one for one in weighed(holding, account("001B", "Acme")) if one.account_id == "001A")
    assert kinds(said)["name_elsewhere"] < 0


def test_a_contact_at_the_customers_own_domain_is_its_own_whatever_the_account_is_called():
    tents = CustomerFacts("Moonrake Tents", "ap@moonraketents.com", "moonraketents.com", country="GB")
    brands = account(name="Zeta Brands", domain="zeta.com", has_contact=True, country="GB")

    assert is_sure(brands, customer=tents)
    assert not is_sure(brands, account("001B", "Moonrake Tents Ltd", country="GB"), customer=tents)


def test_a_shared_email_that_a_person_matched_here_before_is_no_doubt():
    customer = CustomerFacts("Acme North", "pay@acme.com", "acme.com", other_names=("Zeta Works",))

    assert not is_sure(account(has_contact=True), customer=customer)
    assert is_sure(account(has_contact=True, chosen_names=("Acme",)), customer=customer)


def test_an_email_at_a_blocked_domain_says_little():
    customer = CustomerFacts("Acme", "pay@agency.com", has_blocked_mail=True)

    assert kinds(weighed(account(has_contact=True), customer=customer)[0])["contact_email"] == 20
    assert not is_sure(account(has_contact=True, country="US"), customer=customer)


# ---- many at once ----


def candidate(account_id: str, *reasons: tuple[str, int]) -> scoring.Candidate:
    return scoring.Candidate(
        account_id, account_id, tuple(scoring.evidence(kind, "", weight) for kind, weight in reasons)
    )


@pytest.mark.parametrize(
    ("best", "second", "is_lone"),
    [
        (100, 70, False),
        (100, 65, False),
        (100, 64, True),
        (70, 55, False),
        (70, 50, False),
        (70, 49, True),
        (15, 1, False),
    ],
)
def test_a_rival_is_near_the_threshold_or_near_a_best_one_below_it(best, second, is_lone):
    found = [candidate("001A", ("website_domain", best)), candidate("001B", ("website_domain", second))]

    assert (scoring.acceptable(found, threshold=85) is not None) is is_lone
    assert bool(scoring.rivals(found, threshold=85)) is not is_lone


def test_what_casts_doubt_is_never_accepted_unseen():
    doubted = candidate("001A", ("contact_email", 90), ("website_domain", 10), ("other_part", -25))

    assert scoring.acceptable([doubted], threshold=85) is None and scoring.sure([doubted], threshold=60) is None
    assert scoring.acceptable([], threshold=85) is None and scoring.rivals([], threshold=85) == 0


def test_a_candidate_is_read_back_as_it_was_kept():
    (found, *_) = weighed(
        account(domain="acme.com", type="Customer"), account("001B", "Acme", domain="acme.com", country="US")
    )

    assert scoring.read(found.as_json()) == found


# ---- for and against ----


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        ({"phone": "15125551000"}, "phone"),
        ({"postal_code": "78701-1234"}, "postal_code"),
        ({"country": "US"}, "country"),
        ({"contacts_at_domain": 3}, "contact_domain"),
        ({"customers_at_domain": 1}, "same_customers"),
        ({"customers_in_family": 1}, "same_family"),
    ],
)
def test_what_speaks_for_it(facts, kind):
    assert kinds(weighed(account(**facts))[0])[kind] > 0


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        ({"country": "DE"}, "other_country"),
        ({"domain": "zeta.com"}, "other_website"),
        ({"name": "Acme Ltd"}, "other_legal_form"),
        ({"customers_elsewhere": 2}, "other_customers"),
    ],
)
def test_what_speaks_against_it(facts, kind):
    assert kinds(weighed(account(**facts))[0])[kind] < 0


def test_a_domain_under_another_ending_says_nothing():
    assert not {"other_website", "website_domain"} & kinds(weighed(account(domain="acme.de"))[0]).keys()


def test_a_postcode_of_another_country_says_nothing():
    assert "postal_code" not in kinds(weighed(account(country="DE", postal_code="78701"))[0])


# ---- hints ----


def test_hints_order_equals_and_decide_nothing():
    quiet = account("001A", domain="acme.com", type="Prospect")
    busy = account(
        "001B",
        domain="acme.com",
        type="Customer - Direct",
        last_activity_on=date(2026, 3, 1),
        owner_is_active=True,
        contacts_at_domain=2,
    )

    found = weighed(quiet, busy)

    assert [one.account_id for one in found] == ["001B", "001A"]
    assert [one.kind for one in found[0].hints] == ["customer_type", "last_activity", "active_owner", "most_contacts"]
    assert found[1].hints == () and found[0].score == found[1].score and not is_sure(quiet, busy)
    assert weighed(busy)[0].hints == ()


# ---- whatever comes ----

words = st.sampled_from(["Acme", "Acme Inc", "Zeta GmbH", "Acme Holding", "'; DROP TABLE x; --", ""])
hosts = st.sampled_from(["", "acme.com", "acme.de", "zeta.io"])
many_accounts = st.lists(
    st.builds(
        AccountFacts,
        id=st.sampled_from([f"001{letter}" for letter in "ABCDEF"]),
        name=words,
        domain=hosts,
        phone=st.sampled_from(["", "15125551000"]),
        country=st.sampled_from(["", "US", "DE"]),
        postal_code=st.sampled_from(["", "78701"]),
        type=st.sampled_from(["", "Customer"]),
        has_contact=st.booleans(),
        contacts_at_domain=st.integers(0, 3),
        customers_at_domain=st.integers(0, 3),
        customers_elsewhere=st.integers(0, 3),
        is_chosen_at_domain=st.booleans(),
        chosen_names=st.sampled_from([(), ("Acme",)]),
    ),
    max_size=6,
    unique_by=lambda one: one.id,
)
a_customer = st.builds(
    CustomerFacts,
    name=words,
    email=st.just("ana@acme.com"),
    domain=hosts,
    phone=st.sampled_from(["", "15125551000"]),
    country=st.sampled_from(["", "US", "DE"]),
    postal_code=st.sampled_from(["", "78701"]),
    other_names=st.sampled_from([(), ("Zeta GmbH",)]),
)


@given(a_customer, many_accounts, st.randoms())
def test_the_order_in_which_accounts_come_does_not_matter(customer, accounts, random):
    shuffled = random.sample(accounts, len(accounts))

    assert weighed(*shuffled, customer=customer) == weighed(*accounts, customer=customer)


@given(a_customer, many_accounts, st.integers(60, 100))
def test_who_is_taken_alone_has_the_points_and_no_rival_and_no_doubt(customer, accounts, threshold):
    found = weighed(*accounts, customer=customer)
    taken = scoring.sure(found, threshold=threshold)

    assert all(0 <= one.score <= 100 and one.in_favour > 0 for one in found)
    if taken is not None:
        assert taken == found[0] and taken.score >= threshold
        assert all(one.score < threshold - scoring.NEAR for one in found[1:])
        assert not scoring.DOUBTS & {reason.kind for reason in taken.reasons}
        assert scoring.acceptable(found, threshold=threshold) == taken


@given(a_customer, many_accounts)
def test_a_higher_threshold_takes_nobody_that_a_lower_one_leaves_by_points(customer, accounts):
    found = weighed(*accounts, customer=customer)

    if found and found[0].score < 70:
        assert scoring.sure(found, threshold=70) is None and scoring.sure(found, threshold=95) is None
