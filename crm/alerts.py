"""Alerts: tells those who look after the connection that it stopped, once for each stop, and that it goes on again."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings

from crm import statements
from crm.models import Message, Priority, SalesforceOrg

TOPIC = "alert"
RESERVE = "reserve"
LOGIN = "login"
TEST = "test"
SLACK = "slack"
EMAIL = "email"
_STOPPED = {
    RESERVE: "Salesforce: sending stopped at the reserve",
    LOGIN: "Salesforce: a person must connect again",
    TEST: "Salesforce: a trial of the alerts",
}
_OVER = {
    RESERVE: "Salesforce: sending goes on, calls are free again",
    LOGIN: "Salesforce: connected again, sending goes on",
}


def stopped(org_pk: int, kind: str, text: str, *, at: datetime) -> int:
    """Owe one alert to each receiver that is set; `at` is when it stopped. Returns how many."""
    return _owe(org_pk, kind, _STOPPED[kind], text, at=at, suffix="", now=at)


def over(org_pk: int, kind: str, *, since: datetime, now: datetime) -> int:
    """Owe the word that it goes on to those who were told of the stop at `since`. Returns how many."""
    return _owe(org_pk, kind, _OVER[kind], "Nothing was lost; what waited is sent.", at=since, suffix=":over", now=now)


def _owe(org_pk: int, kind: str, title: str, text: str, *, at: datetime, suffix: str, now: datetime) -> int:
    org = SalesforceOrg.objects.only("alert_email", "alert_channel").get(pk=org_pk)
    receivers = [EMAIL] if org.alert_email else []
    if org.alert_channel and settings.SLACK_BOT_TOKEN:
        receivers.append(SLACK)
    said = {"title": title, "text": text, "url": f"{settings.BASE_URL}/dashboard/sync/"}
    rows = [
        Message(
            channel=channel,
            topic=TOPIC,
            dedupe_key=f"{TOPIC}:{channel}:{kind}:{at:%Y%m%dT%H%M%S%f}{suffix}",
            priority=Priority.URGENT,
            due_at=now,
            created_at=now,
            body=said,
        )
        for channel in receivers
    ]
    statements.insert_new(rows)
    return len(rows)
