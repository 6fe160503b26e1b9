"""Summaries of a week or a month: told once to each receiver, whatever dies on the way, and nothing of the past."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.core import mail
from django.db import connections
from django.utils import timezone

from billing.models import Customer, Listing, ListingState, Purpose
from config import pipeline
from crm import outbox, summaries
from crm.models import Message, SummaryRule
from crm.summary_periods import last_month, last_week
from dashboard import summaries as telling
from dashboard.roles import Role
from mrr import fx
from mrr import selectors as mrr
from mrr.engine.rates import Quote
from tests.crm.test_at_once import at_once
from tests.dashboard.test_pages import page_of, text_of
from tests.fakes.slack import FakeSlack
from tests.fakes.smtp import FakeSmtp
from tests.scenario import Scenario

FRIDAY = datetime(2026, 3, 20, 12, 0, tzinfo=UTC)
MONDAY = datetime(2026, 3, 23, 8, 5, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script> <!channel> | *Bold*\r\nBcc: all@evil.example"
WEEKLY = {"is_on": True, "day": 0, "hour": 8, "addresses": "cfo@acme.example, ceo@acme.example"}


@pytest.fixture
def clock() -> Iterator[Any]:
    with time_machine.travel(FRIDAY, tick=False) as traveller:
        yield traveller


@pytest.fixture
def acme(db: None, clock: Any) -> Scenario:
    return company()


def company() -> Scenario:
    """What came before Friday, and two movements in the week that ends on Sunday."""
    made = Scenario("acme")
    made.customer("Ada Rockets", on="2026-01-05").subscribes("Team", monthly="100.00", on="2026-01-10")
    new = made.customer(HOSTILE, on="2026-03-17")
    new.subscribes("Team", monthly="40.00", on="2026-03-17")
    new.moves_to("Business", monthly="50.00", on="2026-03-18")
    return made


def switched_on(**changed: Any) -> SummaryRule:
    summaries.set_rule("weekly", {**WEEKLY, **changed}, by="fiona", now=timezone.now())
    return SummaryRule.objects.get(kind="weekly")


def told(at: datetime, clock: Any) -> list[Any]:
    """Let the clock run and send what is owed; return the mails that this brought."""
    before = len(mail.outbox)
    clock.move_to(at)
    telling.tell_due(now=timezone.now())
    pipeline.drain_outbox(now=timezone.now())
    return mail.outbox[before:]


@pytest.fixture
def slack(settings: Any) -> Iterator[FakeSlack]:
    with FakeSlack() as fake:
        fake.add_channel("finance")
        settings.SLACK_BOT_TOKEN, settings.SLACK_API_BASE = fake.token, fake.api_url
        yield fake


@pytest.fixture
def smtp(settings: Any) -> Iterator[FakeSmtp]:
    with FakeSmtp() as fake:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", fake.port
        settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
        settings.EMAIL_HOST_USER = ""
        yield fake


# ---- which period, and when ----


@pytest.mark.parametrize(
    ("now", "day", "hour", "first", "due"),
    [
        ("2026-03-23T08:00", 0, 8, "2026-03-16", "2026-03-23T08:00"),
        ("2026-03-23T07:59", 0, 8, "2026-03-09", "2026-03-16T08:00"),
        ("2026-03-25T09:00", 2, 9, "2026-03-16", "2026-03-25T09:00"),
        ("2026-03-29T23:00", 6, 22, "2026-03-16", "2026-03-29T22:00"),
        ("2026-01-01T00:00", 3, 0, "2025-12-22", "2026-01-01T00:00"),
    ],
)
def test_a_week_falls_due_on_its_day_and_hour(now: str, day: int, hour: int, first: str, due: str) -> None:
    zone = ZoneInfo("UTC")

    found = last_week(datetime.fromisoformat(now).replace(tzinfo=zone), zone, day=day, hour=hour)

    assert found.first == date.fromisoformat(first)
    assert found.last == found.first + timedelta(days=6)
    assert found.due_at == datetime.fromisoformat(due).replace(tzinfo=zone)


@pytest.mark.parametrize(
    ("now", "day", "month"),
    [("2026-04-02T08:00", 2, "2026-03"), ("2026-04-02T07:59", 2, "2026-02"), ("2026-03-01T12:00", 28, "2026-01")],
)
def test_a_month_falls_due_on_a_day_of_the_next(now: str, day: int, month: str) -> None:
    zone = ZoneInfo("UTC")

    found = last_month(datetime.fromisoformat(now).replace(tzinfo=zone), zone, day=day, hour=8)

    assert f"{found.first:%Y-%m-%d}" == f"{month}-01"
    assert (found.last + timedelta(days=1)).day == 1


def test_hours_are_those_of_the_zone_also_when_its_clock_is_put_forward() -> None:
    zone = ZoneInfo("Europe/Dublin")  # on 29 March 2026 the hour after 00:59 is 02:00

    winter = last_week(datetime(2026, 3, 23, 8, 30, tzinfo=UTC), zone, day=0, hour=8)
    summer = last_week(datetime(2026, 3, 30, 7, 30, tzinfo=UTC), zone, day=0, hour=8)
    left_out = last_week(datetime(2026, 3, 29, 1, 5, tzinfo=UTC), zone, day=6, hour=1)

    assert winter.due_at.astimezone(UTC).hour == 8
    assert summer.due_at.astimezone(UTC).hour == 7
    assert left_out.due_at.astimezone(UTC) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)


# ---- once ----


@pytest.mark.django_db
def test_each_receiver_is_told_once(acme: Scenario, clock: Any) -> None:
    switched_on()

    assert told(MONDAY - timedelta(minutes=10), clock) == []
    mails = told(MONDAY, clock)
    for minutes in range(5, 60, 5):
        assert told(MONDAY + timedelta(minutes=minutes), clock) == []

    assert [one.to for one in mails] == [["cfo@acme.example"], ["ceo@acme.example"]]
    assert mails[0].subject.startswith("MRR moved +$50.00 in the week 16–22 Mar 2026; ")
    assert len(told(MONDAY + timedelta(days=7), clock)) == 2


@pytest.mark.django_db
def test_an_address_named_twice_gets_one(acme: Scenario, clock: Any) -> None:
    switched_on(addresses="cfo@acme.example, CFO@acme.example,cfo@acme.example")

    assert len(told(MONDAY, clock)) == 1


@pytest.mark.django_db
def test_changing_the_rule_tells_nobody_again(acme: Scenario, clock: Any) -> None:
    switched_on()
    told(MONDAY, clock)

    switched_on(is_on=False)
    switched_on(addresses="cfo@acme.example, new@acme.example", hour=9)

    assert told(MONDAY + timedelta(hours=1), clock) == []


def test_two_workers_at_once_tell_it_once(committed: None, clock: Any) -> None:
    company()
    switched_on()
    clock.move_to(MONDAY)

    def work() -> None:
        telling.tell_due(now=timezone.now())
        for _ in range(5):
            pipeline.drain_outbox(now=timezone.now())

    at_once(*[work] * 4)

    assert sorted(one.to[0] for one in mail.outbox) == ["ceo@acme.example", "cfo@acme.example"]
    assert Message.objects.filter(topic="summary").count() == 2


def test_a_worker_killed_while_it_sends_does_not_send_twice(committed: None, clock: Any, smtp: FakeSmtp) -> None:
    company()
    switched_on(addresses="cfo@acme.example")
    clock.move_to(MONDAY)
    telling.tell_due(now=timezone.now())
    connections.close_all()
    child = os.fork()
    if child == 0:
        try:
            pipeline.drain_outbox(now=timezone.now())
        finally:
            os._exit(1)
    smtp.before_answer = lambda: os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    smtp.before_answer = lambda: None

    for minutes in (2, 4, 90):
        pipeline.drain_outbox(now=MONDAY + timedelta(minutes=minutes))

    assert os.WTERMSIG(status) == signal.SIGKILL
    assert len(smtp.mails) == 1
    message = Message.objects.get(topic="summary")
    assert (message.state, message.error_code) == ("parked", "maybe_sent")


@pytest.mark.django_db
def test_a_person_who_looked_may_send_it_again(acme: Scenario, clock: Any, smtp: FakeSmtp) -> None:
    def cut() -> None:
        raise ConnectionError

    switched_on(addresses="cfo@acme.example")
    smtp.before_answer = cut
    told(MONDAY, clock)
    message = Message.objects.get(topic="summary")
    assert (message.state, message.error_code, len(smtp.mails)) == ("parked", "maybe_sent", 1)
    smtp.before_answer = lambda: None

    outbox.retry_messages([message.pk], now=timezone.now())
    pipeline.drain_outbox(now=timezone.now())

    message.refresh_from_db()
    assert (message.state, len(smtp.mails)) == ("sent", 2)
    assert smtp.mails[0]["Message-ID"] == smtp.mails[1]["Message-ID"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("answer", "state", "code"),
    [("451 later", "waiting", "mail_unreachable"), ("550 nobody here", "parked", "mail_refused")],
)
def test_what_the_server_refused_did_not_leave(
    acme: Scenario, clock: Any, smtp: FakeSmtp, answer: str, state: str, code: str
) -> None:
    switched_on(addresses="cfo@acme.example")
    smtp.refuses = answer
    told(MONDAY, clock)
    message = Message.objects.get(topic="summary")
    assert (message.state, message.error_code) == (state, code)
    smtp.refuses = ""

    outbox.retry_messages([message.pk], now=timezone.now())
    pipeline.drain_outbox(now=timezone.now() + timedelta(minutes=30))

    assert len(smtp.mails) == 1


@pytest.mark.django_db
def test_a_server_that_is_not_there_is_tried_again(acme: Scenario, clock: Any, settings: Any, smtp: FakeSmtp) -> None:
    switched_on(addresses="cfo@acme.example")
    settings.EMAIL_PORT = 1
    told(MONDAY, clock)
    settings.EMAIL_PORT = smtp.port

    pipeline.drain_outbox(now=MONDAY + timedelta(minutes=30))

    assert len(smtp.mails) == 1
    assert smtp.mails[0]["To"] == "cfo@acme.example"


# ---- nothing of the past ----


@pytest.mark.django_db
def test_what_fell_due_before_it_was_switched_on_is_not_told(acme: Scenario, clock: Any) -> None:
    clock.move_to(MONDAY)
    switched_on()

    assert told(MONDAY + timedelta(hours=1), clock) == []


@pytest.mark.django_db
def test_a_period_that_ended_before_the_first_delivery_is_not_told(db: None, clock: Any) -> None:
    switched_on()
    clock.move_to(MONDAY - timedelta(hours=1))  # Monday, 7 o'clock: the week is over when the first delivery comes
    company()

    assert told(MONDAY, clock) == []
    assert len(told(MONDAY + timedelta(days=7), clock)) == 2


@pytest.mark.django_db
def test_it_waits_while_history_is_read(acme: Scenario, clock: Any) -> None:
    switched_on()
    running = Listing.objects.create(
        source=acme.source, purpose=Purpose.BACKFILL, watermark_at=FRIDAY, due_at=FRIDAY, started_at=FRIDAY
    )

    assert told(MONDAY, clock) == []
    Listing.objects.filter(pk=running.pk).update(state=ListingState.DONE)

    assert len(told(MONDAY + timedelta(hours=2), clock)) == 2


@pytest.mark.django_db
def test_after_three_days_it_is_old_news(acme: Scenario, clock: Any) -> None:
    switched_on()

    assert told(MONDAY + timedelta(hours=73), clock) == []


@pytest.mark.django_db
def test_a_channel_without_a_token_is_not_taken_for_told(acme: Scenario, clock: Any, settings: Any) -> None:
    settings.SLACK_BOT_TOKEN = ""
    rule = switched_on(addresses="", channel="#finance")

    told(MONDAY, clock)

    rule.refresh_from_db()
    assert rule.told_through is None


@pytest.mark.django_db
def test_one_that_cannot_be_written_holds_back_no_other(
    acme: Scenario, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = telling.compose

    def broken(kind: str, *given: Any, **named: Any) -> Any:
        if kind == "weekly":
            raise ValueError("broken")
        return write(kind, *given, **named)

    monkeypatch.setattr(telling, "compose", broken)
    monthly = {"is_on": True, "day": 6, "hour": 8, "addresses": "cfo@acme.example"}
    switched_on()
    summaries.set_rule("monthly", monthly, by="fiona", now=timezone.now())

    mails = told(datetime(2026, 4, 6, 8, 5, tzinfo=UTC), clock)  # a Monday

    assert [one.subject[:20] for one in mails] == ["MRR moved +$50.00 in"]
    with pytest.raises(ValueError, match="broken"):
        telling.tell_due(now=timezone.now())


@pytest.mark.django_db
def test_an_empty_ledger_says_nothing(db: None, clock: Any) -> None:
    Scenario("acme").customer("Ada", on="2026-01-05")
    switched_on()

    assert told(MONDAY, clock) == []


# ---- what it says ----


@pytest.mark.django_db
def test_it_says_how_much_why_and_who_is_needed(acme: Scenario, clock: Any) -> None:
    switched_on()

    body = told(MONDAY, clock)[0].body

    assert "MRR is $150.00 at the end, ARR $1,800.00; it was $100.00 before." in body
    assert "- New, subscribed, 1 entry: +$40.00" in body
    assert "- Expansion, plan change, 1 entry: +$10.00" in body
    assert "What was before 20 Mar 2026 was read from Stripe's history." in body
    assert "January 2026 is to be closed" in body
    assert "/dashboard/movements/?from=2026-03&to=2026-03" in body


def test_reasons_and_their_rest_come_to_the_movement() -> None:
    names = ("quantity", "price_change", "item_added", "paused", "resumed", "canceled")
    causes = tuple(mrr.Cause("expansion", name, 1, 333_333 * (7 - at)) for at, name in enumerate(names))
    moved = telling.Moved("usd", 5_400_000, 0, causes, 5_400_000 + sum(one.micros for one in causes) + 400_000, ())

    rows = telling._reasons(moved)

    assert rows[-1][0] == "1 more reason"
    assert sum(int(row[1].replace("+$", "").replace(".", "")) for row in rows) == moved.net_minor
    assert moved.net_minor + moved.shown["fx"] == 15 - 5  # from $0.05 to $0.15, as shown


@pytest.mark.django_db
def test_a_months_figures_are_those_of_its_board_pack(acme: Scenario, clock: Any) -> None:
    acme.customer("Euro Trains", on="2026-02-01").subscribes("Team", yearly="99.99", on="2026-03-05", currency="eur")
    acme.customer("Third", on="2026-02-01").subscribes("Team", yearly="100.00", on="2026-03-06")
    fx.pin(date(2026, 1, 1))
    fx.store(
        [Quote(date(2026, 1, 1) + timedelta(days=at), "eur", "usd", f"1.{100 + at}", "manual") for at in range(99)]
    )
    clock.move_to(datetime(2026, 4, 2, 9, 0, tzinfo=UTC))
    period = summaries.period_of(summaries.rules()["monthly"], now=timezone.now(), zone=ZoneInfo("UTC"))

    body = telling.compose("monthly", period, now=timezone.now(), names_customers=False)
    page = page_of(Role.FINANCE).get("/dashboard/board/?month=2026-03")

    assert body is not None
    shown = text_of(page)
    net = re.search(r"moved (\S+) in", body["title"])
    rates = re.search(r"Exchange rates: (\S+)\.$", " ".join(line for line in body["lines"] if "rates" in line))
    assert net and f"Net new MRR in March 2026: {net.group(1)}" in shown
    assert rates and rates.group(1) in shown
    for _, amount in body["reasons"]:
        assert amount in shown


@pytest.mark.django_db
def test_a_week_with_nothing_says_so_in_one_line(acme: Scenario, clock: Any) -> None:
    switched_on()
    told(MONDAY, clock)

    quiet = told(MONDAY + timedelta(days=7), clock)[0]

    assert quiet.subject.startswith("MRR did not move in the week 23–29 Mar 2026")
    assert quiet.body.splitlines()[0] == "No MRR began, changed or ended: it is $150.00."
    assert "Why it moved" not in quiet.body


@pytest.mark.django_db
def test_what_exchange_rates_did_stands_apart(acme: Scenario, clock: Any) -> None:
    acme.customer("Euro Trains", on="2026-02-01").subscribes("Team", monthly="100.00", on="2026-02-01", currency="eur")
    fx.pin(date(2026, 1, 1))
    days = [date(2026, 1, 1) + timedelta(days=at) for at in range(90)]
    fx.store([Quote(day, "eur", "usd", "1.10" if day < date(2026, 3, 20) else "1.20", "manual") for day in days])
    switched_on()

    body = told(MONDAY, clock)[0].body

    assert "MRR is $270.00 at the end" in body
    assert "it was $210.00 before" in body
    assert "Exchange rates: +$10.00." in body


@pytest.mark.django_db
def test_a_missing_rate_is_named(acme: Scenario, clock: Any) -> None:
    acme.customer("Yen Co", on="2026-02-01").subscribes("Team", monthly="4000", on="2026-02-01", currency="jpy")
    switched_on()

    assert "Incomplete: JPY is left out for want of an exchange rate." in told(MONDAY, clock)[0].body


@pytest.mark.django_db
def test_no_customer_is_named_unless_the_rule_says_so(acme: Scenario, clock: Any) -> None:
    switched_on()

    sent = told(MONDAY, clock)[0]

    pk = Customer.objects.get(name=HOSTILE).pk
    assert "script" not in sent.body + str(sent.alternatives)
    assert f"/dashboard/customers/{pk}/" in sent.body


@pytest.mark.django_db
def test_a_hostile_name_does_no_harm_and_is_kept_nowhere(acme: Scenario, clock: Any, slack: FakeSlack) -> None:
    switched_on(names_customers=True, channel="#finance")

    sent = told(MONDAY, clock)[0]

    html = str(sent.alternatives[0][0])
    assert "<script>alert(1)</script> <!channel> / *Bold* Bcc: all@evil.example: New" in sent.body
    assert "<script" not in html and "&lt;script&gt;" in html
    assert "\n" not in sent.subject and sent.recipients() == ["cfo@acme.example"]
    assert slack.mentions == []
    assert "&lt;!channel&gt;" in slack.messages[0].all_text
    assert not any("script" in str(body) for body in Message.objects.values_list("body", flat=True))


@pytest.mark.django_db
def test_slack_is_told_once_with_links(acme: Scenario, clock: Any, slack: FakeSlack) -> None:
    switched_on(addresses="", channel="#finance")
    told(MONDAY, clock)
    told(MONDAY + timedelta(minutes=5), clock)

    (said,) = slack.messages

    assert said.text.startswith("MRR moved +$50.00 in the week 16–22 Mar 2026")
    assert "• Expansion, plan change, 1 entry  +$10.00" in said.all_text
    assert "/dashboard/unmatched/|" in said.all_text


@pytest.mark.django_db
def test_an_unclear_answer_of_slack_is_for_a_person(acme: Scenario, clock: Any, slack: FakeSlack) -> None:
    slack.cuts_next(match="chat.postMessage")
    switched_on(addresses="", channel="#finance")
    told(MONDAY, clock)

    for minutes in (5, 60):
        told(MONDAY + timedelta(minutes=minutes), clock)

    message = Message.objects.get(topic="summary")
    assert (message.state, message.error_code) == ("parked", "maybe_sent")
    assert len(slack.messages) <= 1


@pytest.mark.django_db
def test_a_month_links_to_its_board_pack(acme: Scenario, clock: Any) -> None:
    summaries.set_rule(
        "monthly", {"is_on": True, "day": 2, "addresses": "cfo@acme.example"}, by="fiona", now=timezone.now()
    )

    (sent,) = told(datetime(2026, 4, 2, 8, 1, tzinfo=UTC), clock)

    assert sent.subject.startswith("MRR moved +$50.00 in March 2026")
    assert "/dashboard/board/?month=2026-03" in sent.body
