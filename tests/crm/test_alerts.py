"""Alerts: those who look after the connection are told once when it stops, and once when it goes on."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core import mail
from django.utils import timezone

from config import pipeline
from crm import alerts, connections
from crm.channels.salesforce import oauth
from crm.models import Message, SalesforceOrg, SyncRecord
from tests.crm.conftest import login, reads
from tests.fakes.slack import FakeSlack

pytestmark = pytest.mark.django_db(transaction=False)


@pytest.fixture
def slack(settings):
    with FakeSlack() as fake:
        fake.add_channel("ops")
        settings.SLACK_BOT_TOKEN, settings.SLACK_API_BASE = fake.token, fake.api_url
        yield fake


@pytest.fixture
def told(live):
    SalesforceOrg.objects.update(alert_email="ops@acme.example, revops@acme.example", reserve_calls=50)
    return live


def due_again() -> None:
    SalesforceOrg.objects.update(paused_until=None)
    SyncRecord.objects.filter(state="waiting").update(due_at=timezone.now(), leased_until=None)


def subjects() -> list[str]:
    return [one.subject for one in mail.outbox]


def test_the_reserve_is_told_once_and_so_is_that_it_goes_on(scenario, salesforce, told):
    account = salesforce.add_account(Name="Acme")
    reads(salesforce)
    customer = scenario.customer("Acme", salesforce_account_id=account)
    customer.subscribes("team", monthly="30.00", on="2026-01-10")
    salesforce.used_by_others = salesforce.daily_limit - salesforce.calls - 51
    customer.moves_to("business", monthly="50.00", on="2026-02-01")

    for _ in range(3):
        due_again()
        scenario.drain()

    assert subjects() == ["Salesforce: sending stopped at the reserve"]
    assert mail.outbox[0].to == ["ops@acme.example", "revops@acme.example"]
    assert "50 are reserved for others" in mail.outbox[0].body and "/dashboard/sync/" in mail.outbox[0].body

    salesforce.used_by_others = 0
    for _ in range(2):
        due_again()
        scenario.drain()
    assert len(subjects()) == 1
    pipeline.drain_outbox(now=timezone.now() + timedelta(minutes=16))

    assert subjects()[1:] == ["Salesforce: sending goes on, calls are free again"]
    assert not SyncRecord.objects.filter(state="waiting").exists()


def test_calls_that_come_and_go_are_told_once_until_it_goes_on_for_good(told):
    at = timezone.now()
    for minute in range(0, 60, 10):
        alerts.stopped(told.pk, alerts.RESERVE, "Used up.", at=at + timedelta(minutes=minute))
        alerts.over(
            told.pk,
            alerts.RESERVE,
            since=at + timedelta(minutes=minute),
            now=at + timedelta(minutes=minute + 5),
        )
        pipeline.drain_outbox(now=at + timedelta(minutes=minute + 6))

    pipeline.drain_outbox(now=at + timedelta(minutes=120))

    assert subjects() == [
        "Salesforce: sending stopped at the reserve", "Salesforce: sending goes on, calls are free again",
    ]  # fmt: skip


def test_a_withdrawn_login_is_told_in_slack_too_even_in_shadow(salesforce, shadow, slack):
    SalesforceOrg.objects.update(alert_channel="#ops")
    oauth.stop(shadow.pk, "invalid_grant", "Salesforce does not accept the sign-in any more.", now=timezone.now())
    oauth.stop(shadow.pk, "invalid_grant", "Salesforce does not accept the sign-in any more.", now=timezone.now())
    pipeline.drain_all()

    connections.connect(login(salesforce), now=timezone.now())
    pipeline.drain_all()

    first, second = (one.text for one in slack.messages)
    assert first.startswith("Salesforce: a person must connect again\nSalesforce does not accept")
    assert second.startswith("Salesforce: connected again")
    assert Message.objects.filter(topic="alert", state="sent").count() == 2


def test_nobody_is_told_where_nobody_is_named(live):
    oauth.stop(live.pk, "invalid_grant", "Gone.", now=timezone.now())

    assert not Message.objects.exists() and mail.outbox == []


def test_a_mail_server_that_is_away_is_tried_again(told, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
    oauth.stop(told.pk, "invalid_grant", "Gone.", now=timezone.now())

    pipeline.drain_all()

    row = Message.objects.get()
    assert (row.state, row.error_code, row.attempts) == ("waiting", "mail_unreachable", 1)
