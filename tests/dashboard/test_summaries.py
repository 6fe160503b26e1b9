"""Setting summaries on their page: when, to whom, what they would say, a trial, and who changed what."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import time_machine
from auditlog.models import LogEntry
from django.core import mail
from django.test import Client
from django.utils import timezone

from config import pipeline, tasks
from crm.models import Message, SummaryRule
from dashboard.roles import Role
from tests.dashboard.people import person
from tests.dashboard.test_close import client_of
from tests.dashboard.test_pages import page_of, text_of
from tests.scenario import Scenario

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 20, 12, 0, tzinfo=UTC)
HOME = "/dashboard/settings/summaries/"
ASKED = {"weekly-is_on": "on", "weekly-day": "0", "weekly-hour": "8", "weekly-addresses": "cfo@acme.example"}


@pytest.fixture(autouse=True)
def clock() -> Iterator[Any]:
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


@pytest.fixture
def acme() -> Scenario:
    made = Scenario("acme")
    made.customer("Ada Rockets", on="2026-03-10").subscribes("Team", monthly="100.00", on="2026-03-10")
    return made


@pytest.fixture
def fiona() -> Client:
    user = person(Role.FINANCE, "fiona")
    user.email = "fiona@acme.example"
    user.save()
    return client_of(user)


@pytest.mark.parametrize("role", list(Role))
def test_finance_and_admins_set_them(role: Role) -> None:
    client = page_of(role)
    expected = 200 if role in (Role.FINANCE, Role.ADMIN) else 403

    assert client.get(HOME).status_code == expected
    assert client.get(f"{HOME}weekly/").status_code == expected
    for path in ("weekly/change/", "monthly/trial/"):
        assert (client.post(f"{HOME}{path}", ASKED).status_code == 403) is (expected == 403)
        assert client.get(f"{HOME}{path}").status_code in (403, 405)


def test_a_rule_that_is_set_is_told_by_the_job(acme: Scenario, fiona: Client, clock: Any) -> None:
    answer = fiona.post(f"{HOME}weekly/change/", ASKED, follow=True)
    clock.move_to(datetime(2026, 3, 23, 8, 1, tzinfo=UTC))

    tasks.tell_summaries()
    pipeline.drain_outbox(now=timezone.now())

    assert "Changed: addresses, tell it." in text_of(answer)
    assert "Tell it Weekly summary off on fiona" in text_of(answer)
    assert "Every Monday at 08:00" in text_of(answer)
    assert [one.to for one in mail.outbox] == [["cfo@acme.example"]]
    shown = text_of(fiona.get(HOME))
    assert "MRR did not move in the week 16–22 Mar 2026" in shown
    assert "cfo@acme.example Sent" in shown


def test_each_change_is_kept_with_who_made_it_before_and_after(fiona: Client) -> None:
    fiona.post(f"{HOME}weekly/change/", ASKED)
    fiona.post(f"{HOME}weekly/change/", ASKED | {"weekly-hour": "17"})

    entry = LogEntry.objects.order_by("-pk").first()

    assert entry is not None
    assert entry.changes_dict == {"hour": ["8", "17"]}
    assert (entry.additional_data or {})["by"] == "fiona"
    assert "Hour Weekly summary 8 17 fiona" in text_of(fiona.get(HOME))


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("weekly-addresses", "cfo@acme", "'cfo@acme' is not an e-mail address."),
        ("weekly-addresses", "", "else nobody would be."),
        ("weekly-hour", "24", "Select a valid choice"),
        ("weekly-day", "7", "Select a valid choice"),
    ],
)
def test_what_cannot_be_is_marked_and_changes_nothing(fiona: Client, field: str, value: str, said: str) -> None:
    answer = fiona.post(f"{HOME}weekly/change/", ASKED | {field: value})

    assert answer.status_code == 422
    assert said in text_of(answer)
    assert not SummaryRule.objects.filter(is_on=True).exists()


def test_the_preview_says_what_would_be_sent_and_sends_nothing(acme: Scenario, fiona: Client) -> None:
    shown = text_of(fiona.get(f"{HOME}weekly/"))

    assert "MRR moved +$100.00 in the week 9–15 Mar 2026; one reason" in shown
    assert "New, subscribed, 1 entry +$100.00" in shown
    assert not Message.objects.filter(topic="summary").exists()


def test_a_trial_goes_to_who_asks_for_it_as_often_as_asked(acme: Scenario, fiona: Client, clock: Any) -> None:
    for _ in range(2):
        fiona.post(f"{HOME}weekly/trial/", follow=True)
        clock.shift(1)
    pipeline.drain_outbox(now=timezone.now())

    assert [one.to for one in mail.outbox] == [["fiona@acme.example"]] * 2
    assert mail.outbox[0].subject.startswith("Trial: MRR moved +$100.00")
    assert SummaryRule.objects.filter(told_through__isnull=False).count() == 0


def test_the_page_of_messages_says_what_a_summary_said(acme: Scenario, fiona: Client) -> None:
    fiona.post(f"{HOME}weekly/trial/")
    pipeline.drain_outbox(now=timezone.now())

    shown = text_of(fiona.get("/dashboard/sync/?tab=messages"))
    masked = text_of(page_of(Role.VIEWER).get("/dashboard/sync/?tab=messages"))

    assert "Trial: MRR moved +$100.00" in shown
    assert "Why it moved New, subscribed, 1 entry +$100.00" in shown
    assert "To fiona@acme.example" in shown
    assert "fiona@" not in masked and "None" not in shown


def test_without_an_address_a_trial_says_what_is_missing(acme: Scenario) -> None:
    client = page_of(Role.FINANCE)

    assert "Set an address of your own" in text_of(client.post(f"{HOME}weekly/trial/", follow=True))


def test_an_empty_ledger_has_nothing_to_preview(fiona: Client) -> None:
    assert "The ledger is empty" in text_of(fiona.get(f"{HOME}monthly/"))


def test_there_is_no_other_summary(fiona: Client) -> None:
    assert fiona.get(f"{HOME}daily/").status_code == 404


@pytest.mark.parametrize("path", ["", "weekly/", "monthly/"])
def test_it_takes_few_queries(acme: Scenario, fiona: Client, path: str, django_assert_max_num_queries: Any) -> None:
    """A preview asks all that its mail asks, which is more than a page does."""
    fiona.get(f"{HOME}{path}")

    with django_assert_max_num_queries(26 if path else 14):
        fiona.get(f"{HOME}{path}")
