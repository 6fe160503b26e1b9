"""The rules page: payments by source, a day's calls, who is told; each change with its before, after and author."""

from __future__ import annotations

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone

from billing.models import Customer, MetadataWrite
from config import pipeline
from crm.models import Message, SalesforceOrg, SourceRules
from dashboard.roles import Role
from tests import builders
from tests.dashboard.people import person
from tests.scenario import Scenario, seconds

PAGE = "/dashboard/salesforce/rules/"
VALUES = {
    "write_allowance": 3000,
    "read_allowance": 500,
    "reserve_calls": 1000,
    "log_days": 400,
    "match_threshold": 85,
    "waiting_alert_days": 14,
    "waiting_alert_amount": 0,
}

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(person(Role.ADMIN, "ada"))
    return client


@pytest.fixture
def org() -> SalesforceOrg:
    return SalesforceOrg.objects.create(instance_url="https://acme.my.salesforce.com", api_version="65.0")


def text(answer) -> str:
    return answer.content.decode()


def test_a_rule_of_a_source_is_changed_and_kept_with_its_author(admin):
    source = Scenario().source

    answer = admin.post(
        f"{PAGE}{source.pk}/",
        {f"{source.pk}-payment_tasks": "every", f"{source.pk}-amount_from": "first_invoice"},
        follow=True,
    )

    row = SourceRules.objects.get(source=source)
    assert (row.payment_tasks, row.amount_from) == ("every", "first_invoice")
    page = text(answer)
    assert "Acme" in page and "first_invoice" in page and "ada" in page
    assert page.index("Amount of an Opportunity we win") and "Last changes of rules" in page


def test_writing_to_stripe_is_switched_on_here_and_what_was_given_up_on_is_tried_again(admin):
    scenario = Scenario()
    source = scenario.source
    scenario.tell("customer.created", builders.customer(at=seconds("2026-01-10")), "2026-01-10")
    chosen = {
        f"{source.pk}-payment_tasks": "none",
        f"{source.pk}-amount_from": "arr",
        f"{source.pk}-writes_metadata": "on",
    }

    page = text(admin.post(f"{PAGE}{source.pk}/", chosen, follow=True))

    source.refresh_from_db()
    assert source.writes_metadata
    assert "Write the Account of a match to Stripe" in page and "Written to Stripe:" not in page

    MetadataWrite.objects.create(
        customer=Customer.objects.get(), wanted="001", state="parked", code="missing_permission", due_at=timezone.now()
    )
    assert "0 done, 0 waiting, 1 given up" in text(admin.get(PAGE)) and "missing_permission" in text(admin.get(PAGE))

    page = text(admin.post(f"{PAGE}{source.pk}/stripe/", follow=True))

    assert "1 to be written to Stripe once more." in page and "0 done, 1 waiting, 0 given up" in page
    assert "Nothing was given up on" in text(admin.post(f"{PAGE}{source.pk}/stripe/", follow=True))


def test_the_connection_s_rules_are_changed_and_the_same_again_changes_nothing(admin, org):
    wanted = {
        **VALUES,
        "reserve_calls": 50,
        "alert_email": " ops@acme.example ,r@acme.example",
        "makes_opportunities": "on",
    }

    admin.post(PAGE, wanted)
    again = admin.post(PAGE, wanted, follow=True)

    org.refresh_from_db()
    assert (org.reserve_calls, org.makes_opportunities) == (50, True)
    assert org.alert_email == "ops@acme.example, r@acme.example"
    assert "Nothing was different" in text(again)
    assert text(again).count("<td>ada</td>") == 3


@pytest.mark.parametrize("wrong", [{"alert_email": "nobody"}, {"reserve_calls": -1}, {"log_days": 0}])
def test_what_cannot_be_is_marked_and_changes_nothing(admin, org, wrong):
    answer = admin.post(PAGE, {**VALUES, **wrong})

    assert answer.status_code == 422 and 'aria-invalid="true"' in text(answer)
    org.refresh_from_db()
    assert (org.alert_email, org.reserve_calls, org.log_days) == ("", 1000, 400)


def test_the_alerts_are_tried(admin, org):
    assert "Nobody would be told" in text(admin.post(f"{PAGE}alerts/", follow=True))
    SalesforceOrg.objects.update(alert_email="ops@acme.example")

    admin.post(f"{PAGE}alerts/")
    pipeline.drain_all()

    assert [one.subject for one in mail.outbox] == ["Salesforce: a trial of the alerts"]
    assert Message.objects.get().state == "sent"
    assert "Salesforce: a trial of the alerts" in text(admin.get("/dashboard/sync/?tab=messages"))


def test_without_an_org_or_a_source_it_says_so(admin):
    page = text(admin.get(PAGE))

    assert (
        "No Stripe source yet" in page and "Salesforce is not connected" in page and "No rule was changed yet" in page
    )


def test_it_takes_few_queries(admin, org, django_assert_max_num_queries):
    Scenario()
    admin.get(PAGE)

    with django_assert_max_num_queries(22):
        admin.get(PAGE)


@pytest.mark.parametrize("role", [role for role in Role if role != Role.ADMIN])
def test_it_is_the_administrator_s(role):
    client = Client()
    client.force_login(person(role))

    assert client.get(PAGE).status_code == client.post(f"{PAGE}1/").status_code == 403


def test_blocked_domains_are_kept_as_a_company_registers_them(admin, org):
    admin.post(
        PAGE, {**VALUES, "match_threshold": 90, "blocked_domains": "Agency.com, @pay.holding.co.uk"}, follow=True
    )

    org.refresh_from_db()
    assert (org.match_threshold, org.blocked_domains) == (90, "agency.com\nholding.co.uk")


def test_a_word_that_is_no_domain_is_named_and_nothing_changes(admin, org):
    answer = admin.post(PAGE, {**VALUES, "match_threshold": 90, "blocked_domains": "agency.com nonsense"})

    org.refresh_from_db()
    assert answer.status_code == 422 and "&#x27;nonsense&#x27; is not a domain" in text(answer)
    assert (org.match_threshold, org.blocked_domains) == (85, "")
