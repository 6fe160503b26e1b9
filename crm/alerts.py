"""Alerts: tells who looks after Salesforce what stopped there, and finance that a closed month is not as signed.

Once for each stop or departure, and once that it is over.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings

from crm import statements
from crm.models import Message, Priority, SalesforceOrg, WorkState

TOPIC = "alert"
RESERVE = "reserve"
LOGIN = "login"
UNMATCHED = "unmatched"
TEST = "test"
SLACK = "slack"
EMAIL = "email"
OVER = ":over"
SETTLED = timedelta(minutes=15)  # calls that come free one by one would tell of it by the hour
_STOPPED = {
    RESERVE: "Salesforce: sending stopped at the reserve",
    LOGIN: "Salesforce: a person must connect again",
    UNMATCHED: "Customers wait too long for their Account",
    TEST: "Salesforce: a trial of the alerts",
}
_OVER = {
    RESERVE: "Salesforce: sending goes on, calls are free again",
    LOGIN: "Salesforce: connected again, sending goes on",
    UNMATCHED: "Customers no longer wait too long for their Account",
}
_SENT = "Nothing was lost; what waited is sent."
_MATCHED = "They were matched, or a person set them aside."


def stopped(org_pk: int, kind: str, text: str, *, at: datetime) -> int:
    """Owe one alert to each receiver that is set; `at` is when it stopped. Returns how many.

    Where it stops again before people were told that it goes on, they are told neither: to them it never went on.
    """
    untold = Message.objects.filter(
        topic=TOPIC, state=WorkState.WAITING, dedupe_key__contains=f":{kind}:", dedupe_key__endswith=OVER
    )
    if untold.update(state=WorkState.DROPPED, error_code="stopped_again", error="It stopped again soon after."):
        return 0
    return _owe(org_pk, kind, _STOPPED[kind], text, at=at, due_at=at)


def over(org_pk: int, kind: str, *, since: datetime, now: datetime) -> int:
    """Owe the word that it goes on since the stop at `since`, once it has for a while. Returns how many."""
    due_at = now + (timedelta() if kind == LOGIN else SETTLED)
    text = _MATCHED if kind == UNMATCHED else _SENT
    return _owe(org_pk, kind, _OVER[kind], text, at=since, due_at=due_at, suffix=OVER)


def departed(key: str, *, to: str, title: str, text: str, month: str, now: datetime) -> int:
    """Owe finance one mail about a closed month; `key` names the change of state, `to` holds the addresses."""
    if not to:
        return 0
    url = f"{settings.BASE_URL}/dashboard/close/{month}/"
    row = Message(
        channel=EMAIL,
        topic=TOPIC,
        dedupe_key=f"{TOPIC}:{EMAIL}:departure:{key}",
        priority=Priority.URGENT,
        due_at=now,
        created_at=now,
        body={"title": title, "text": text, "url": url, "to": to},
    )
    statements.insert_new([row])
    return 1


def _owe(org_pk: int, kind: str, title: str, text: str, *, at: datetime, due_at: datetime, suffix: str = "") -> int:
    org = SalesforceOrg.objects.only("alert_email", "alert_channel").get(pk=org_pk)
    receivers = [EMAIL] if org.alert_email else []
    if org.alert_channel and settings.SLACK_BOT_TOKEN:
        receivers.append(SLACK)
    page = "unmatched" if kind == UNMATCHED else "sync"
    said = {"title": title, "text": text, "url": f"{settings.BASE_URL}/dashboard/{page}/"}
    rows = [
        Message(
            channel=channel,
            topic=TOPIC,
            dedupe_key=f"{TOPIC}:{channel}:{kind}:{at:%Y%m%dT%H%M%S%f}{suffix}",
            priority=Priority.URGENT,
            due_at=due_at,
            created_at=due_at,
            body=said,
        )
        for channel in receivers
    ]
    statements.insert_new(rows)
    return len(rows)
