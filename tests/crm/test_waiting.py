"""Who waits is tried when news may concern it, else after a pause that grows; people hear of too much of it, once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core import mail
from django.utils import timezone

from config import pipeline
from crm import matching, overdue, waiting
from crm.matching import trying
from crm.models import Account, Message, SalesforceOrg, Unmatched, WaitingKey
from crm.selectors import connection
from dashboard.findings import of_salesforce
from tests.crm.conftest import reads

pytestmark = pytest.mark.django_db


@pytest.fixture
def tried(monkeypatch) -> list[int]:
    """The customers that are tried again, as they are; the trying itself is the real one."""
    seen: list[int] = []
    real = trying.match_customers

    def spy(customer_pks, **options):
        seen.extend(customer_pks)
        return real(customer_pks, **options)

    monkeypatch.setattr(trying, "match_customers", spy)
    return seen


@pytest.fixture
def crowd(scenario, salesforce, shadow):
    """Thirty customers that nothing in Salesforce fits, each tried once."""
    reads(salesforce)
    scenario.is_held = True
    for number in range(30):
        scenario.customer(f"{chr(97 + number % 26) * 5} {number} Trading", email=f"ana@c{number}.example")
    scenario.arrive_together()
    assert Unmatched.objects.count() == 30
    return scenario


def poll(minutes: int) -> int:
    return matching.keep_up(now=timezone.now() + timedelta(minutes=minutes))


def test_one_changed_contact_has_one_customer_tried(crowd, salesforce, tried):
    salesforce.add_contact(AccountId=salesforce.add_account(Name="HHHHH"), Email="ANA@c7.example")

    assert poll(6) == 1

    assert len(tried) == 1


@pytest.mark.parametrize(
    "fields", [{"Name": "Else", "Website": "https://www.c7.example/en"}, {"Name": "HHHHH Traders Ltd."}]
)
def test_an_account_with_its_domain_or_its_first_letters_has_it_tried(crowd, salesforce, tried, fields):
    salesforce.add_account(**fields)

    poll(6)

    known = Unmatched.objects.get(customer__email="ana@c7.example")
    assert known.customer_id in tried and len(tried) < 30


def test_news_of_nobody_has_nobody_tried(crowd, salesforce, tried):
    salesforce.add_account(Name="Zzz", Website="https://zzz.example")

    poll(6)

    assert tried == []


def test_a_rival_that_goes_away_has_the_customer_tried(scenario, salesforce, shadow, tried):
    ids = [salesforce.add_account(Name=name) for name in ("Acme One", "Acme Two")]
    contacts = [salesforce.add_contact(AccountId=one, Email="ana@acme.example") for one in ids]
    reads(salesforce)
    scenario.customer("Acme", email="ana@acme.example")
    assert Unmatched.objects.get().reason == "several_contacts"

    salesforce.deletes(contacts[1])

    assert poll(6) == 1


def test_pauses_grow_with_age(crowd, tried):
    now = timezone.now()
    pauses = []
    for age in (timedelta(), timedelta(hours=3), timedelta(days=2)):
        Unmatched.objects.update(since=now - age)
        matching.match_waiting(now=now)
        pauses.append(Unmatched.objects.first().due_at - now)

    assert pauses == list(waiting.PAUSES)
    tried.clear()
    trying.match_due(now=now + timedelta(hours=23))
    assert tried == []
    trying.match_due(now=now + timedelta(hours=24))
    assert len(tried) == 30


def test_one_that_fails_delays_only_itself(crowd, salesforce, monkeypatch):
    bad = Unmatched.objects.order_by("customer_id")[3].customer_id
    real = trying.match_customers

    def breaks(customer_pks, **options):
        if bad in customer_pks:
            raise RuntimeError("broken")
        return real(customer_pks, **options)

    monkeypatch.setattr(trying, "match_customers", breaks)
    now = timezone.now() + timedelta(minutes=10)
    matching.match_waiting(now=now)

    assert set(Unmatched.objects.filter(checked_at__lt=now).values_list("customer_id", flat=True)) == {bad}
    assert Unmatched.objects.get(customer_id=bad).due_at > now


def test_the_keys_of_who_is_matched_go(crowd, salesforce):
    salesforce.add_contact(AccountId=salesforce.add_account(Name="HHHHH"), Email="ana@c7.example")
    poll(6)

    assert not WaitingKey.objects.exclude(unmatched__in=Unmatched.objects.all()).exists()
    assert Account.objects.get(name="HHHHH").matches.count() == 1


# ---- alerts ----


@pytest.fixture
def told(scenario, salesforce, live):
    reads(salesforce)
    SalesforceOrg.objects.update(alert_email="revops@acme.example")
    story = scenario.customer("Acme Secret", email="ana@secret.example")
    story.subscribes("team", monthly="300.00", on="2026-01-10")
    return story


def subjects() -> list[str]:
    return [one.subject for one in mail.outbox]


def test_too_long_a_wait_is_told_once_and_so_is_its_end(told, salesforce):
    now = timezone.now()
    for day in (1, 13, 15, 16, 20):
        overdue.watch(now=now + timedelta(days=day))
        pipeline.drain_outbox(now=now + timedelta(days=day))

    assert subjects() == ["Customers wait too long for their Account"]
    assert "1 paying customer waits" in mail.outbox[0].body and "/dashboard/unmatched/" in mail.outbox[0].body
    assert "Secret" not in mail.outbox[0].body and "secret" not in mail.outbox[0].body
    finding = next(iter(of_salesforce(connection(), (), now=now)))
    assert finding.code == "customers_wait"

    Unmatched.objects.update(snoozed_until=now + timedelta(days=60))
    for day in (21, 22):
        overdue.watch(now=now + timedelta(days=day))
        pipeline.drain_outbox(now=now + timedelta(days=day))

    assert subjects()[1:] == ["Customers no longer wait too long for their Account"]
    assert list(of_salesforce(connection(), (), now=now)) == []


def test_too_much_mrr_is_told_whatever_its_age(told):
    SalesforceOrg.objects.update(waiting_alert_days=0, waiting_alert_amount=300)
    overdue.watch(now=timezone.now())
    assert not Message.objects.filter(topic="alert").exists()  # as much as may wait is not more

    SalesforceOrg.objects.update(waiting_alert_amount=299)
    overdue.watch(now=timezone.now())
    assert Message.objects.filter(topic="alert").count() == 1


def test_who_pays_nothing_or_is_ignored_alarms_nobody(told, scenario):
    scenario.customer("Free")
    SalesforceOrg.objects.update(waiting_alert_amount=1)
    Unmatched.objects.filter(customer__stripe_id=told.id).update(ignored_because="internal")

    overdue.watch(now=timezone.now() + timedelta(days=90))

    assert SalesforceOrg.objects.get().waiting_alerted_at is None
