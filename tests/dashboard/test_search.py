"""Search: one place for names and ids, masked for who sees figures only."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing import selectors as billing
from billing.models import Customer, StripeEvent, StripeSource, Subscription
from crm import selectors as crm
from crm.models import Account, SalesforceOrg
from dashboard.roles import Role
from tests.dashboard.test_pages import page_of, text_of
from tests.databases import living_in
from tests.scenario import Scenario

pytestmark = pytest.mark.django_db
ACCOUNT = "001000000000001AAA"


@pytest.fixture
def acme() -> Customer:
    story = Scenario().customer("Acme Rockets", on="2026-01-10", email="pay@rockets.example")
    story.subscribes("Team", monthly="30.00", on="2026-01-10")
    org = SalesforceOrg.objects.create(instance_url="https://acme.my.salesforce.com")
    Account.objects.create(org=org, salesforce_id=ACCOUNT, name="Rockets Holding")
    return Customer.objects.get(stripe_id=story.id)


def searched(role: Role, text: str) -> str:
    return text_of(page_of(role).get("/dashboard/search/", {"q": text})).partition("Salesforce: ")[2]


@pytest.mark.parametrize("text", ["rocket", "PAY@ROCKETS", "Acme"])
def test_a_customer_is_found_by_a_part_of_its_name_or_e_mail(acme, text):
    assert "Acme Rockets pay@rockets.example" in searched(Role.ANALYST, text)


def test_ids_lead_to_what_they_name(acme):
    subscription, event = Subscription.objects.get(), StripeEvent.objects.order_by("pk").first()
    analyst = page_of(Role.ANALYST)

    def links(text: str) -> str:
        return str(analyst.get("/dashboard/search/", {"q": text}).content)

    assert f"/dashboard/customers/{acme.pk}/" in links(acme.stripe_id)
    assert f"/dashboard/customers/{acme.pk}/?tab=subscriptions" in links(subscription.stripe_id)
    assert f"/dashboard/events/{event.stripe_id}/" in links(event.stripe_id)
    assert f"https://acme.my.salesforce.com/{ACCOUNT}" in links(ACCOUNT)


def test_an_account_is_found_by_its_name(acme):
    assert "Rockets Holding" in searched(Role.REVOPS, "holding")


def test_who_sees_figures_only_finds_by_id_and_reads_no_name(acme):
    viewer = page_of(Role.VIEWER)

    for text in ("rockets", "pay@rockets.example"):
        assert "Your role finds by whole ids only" in text_of(viewer.get("/dashboard/search/", {"q": text}))
    by_id = text_of(viewer.get("/dashboard/search/", {"q": acme.stripe_id}))
    assert acme.stripe_id in by_id
    assert "Rockets" not in by_id
    assert "Rockets Holding" not in text_of(viewer.get("/dashboard/search/", {"q": ACCOUNT}))


@pytest.mark.parametrize(
    ("text", "said"), [("", "Type two letters"), ("a", "Type two letters"), ("zz", "Nothing fits")]
)
def test_nothing_to_show_says_why(acme, text, said):
    assert said in searched(Role.ANALYST, text)


def test_a_search_costs_the_same_however_much_it_finds(acme):
    analyst = page_of(Role.ANALYST)
    counts: list[Any] = []
    for more in (0, 20):
        at = datetime(2026, 1, 1, tzinfo=UTC)
        source = StripeSource.objects.get()
        Customer.objects.bulk_create(
            Customer(source=source, stripe_id=f"cus_r{n}", name=f"Rockets {n}", created_at=at) for n in range(more)
        )
        with CaptureQueriesContext(connection) as queries:
            analyst.get("/dashboard/search/?q=rockets")
        counts.append(len(queries))

    assert counts[0] == counts[1]


# ---- on both databases ----


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_both_databases_find_the_same(request, kind):
    where = living_in(request.getfixturevalue("postgres_url")) if kind == "postgres" else nullcontext()
    with where:
        source = StripeSource.objects.create(slug="main", label="Main", livemode=True)
        org = SalesforceOrg.objects.create(instance_url="https://acme.my.salesforce.com")
        for number, name in enumerate(("Acme Rockets", "100% Acme", "Acme_Union", "Rockets of ACME")):
            told = {"name": name, "email": f"pay@{number}.example", "created_at": datetime(2026, 1, 1, tzinfo=UTC)}
            Customer.objects.create(source=source, stripe_id=f"cus_{number}", **told)
            salesforce_id = f"{ACCOUNT[:-4]}{number}AAA"
            Account.objects.create(org=org, salesforce_id=salesforce_id, name=name, domain=f"{number}.example")

        found = {
            text: (
                sorted(
                    row.name for row in billing.customers_searched(text, by_name=True, sources=[source.pk], limit=9)
                ),
                sorted(row.name for row in crm.accounts_matching(text, limit=9)),
            )
            for text in ("rockets", "0%", "e_u", "cus_2", "PAY@1", "3.EXAM", ACCOUNT[:15], "nobody")
        }

    assert found == {
        "rockets": (["Acme Rockets", "Rockets of ACME"], ["Acme Rockets", "Rockets of ACME"]),
        "0%": (["100% Acme"], ["100% Acme"]),
        "e_u": (["Acme_Union"], ["Acme_Union"]),
        "cus_2": (["Acme_Union"], []),
        "PAY@1": (["100% Acme"], []),
        "3.EXAM": (["Rockets of ACME"], ["Rockets of ACME"]),
        ACCOUNT[:15]: ([], ["100% Acme"]),
        "nobody": ([], []),
    }
