"""Closing a month, what it refuses, and the two people that a reopening needs."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from io import StringIO

import pytest
import time_machine
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command

from billing.models import StripeEvent
from config import doctor
from mrr import check, close, selectors
from mrr.models import BookAction, CustomerBalance, LedgerEntry
from mrr.selectors import Basis
from tests.scenario import Scenario, standing

pytestmark = pytest.mark.django_db
JANUARY, FEBRUARY, MARCH = (date(2026, month, 1) for month in (1, 2, 3))


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def person(name: str, *roles: str, **more: object):
    user = get_user_model().objects.create(username=name, **more)
    for role in roles:
        user.groups.add(Group.objects.get_or_create(name=role)[0])
    return user


@pytest.fixture
def fiona():
    return person("fiona", "finance")


@pytest.fixture
def acme():
    return Scenario("acme")


def closes(month: str, *, by: str = "fiona", at: str, wait: int = 0) -> dict:
    out = StringIO()
    with time_machine.travel(moment(at), tick=False):
        call_command("close_month", month, "--user", by, "--wait", str(wait), stdout=out, stderr=StringIO())
    return json.loads(out.getvalue().splitlines()[-1])


def reopens(month: str, *, by: str, at: str, reason: str = "The June invoices were wrong", **more: str) -> dict:
    out = StringIO()
    words = [word for name, value in more.items() for word in (f"--{name.replace('_', '-')}", value)]
    with time_machine.travel(moment(at), tick=False):
        call_command("reopen_month", month, "--user", by, "--reason", reason, *words, stdout=out, stderr=StringIO())
    return json.loads(out.getvalue().splitlines()[-1])


def as_closed(first: date, last: date, **more):
    found = selectors.series(first, last, today=date(2026, 12, 1), currency="usd", basis=Basis.CLOSED, **more)
    return {month.month: month for month in found.months}


# ---- closing ----


def test_a_closed_month_says_who_when_and_what(acme, fiona):
    acme.customer("Ada").subscribes("team", monthly="100.00", on="2026-01-10")

    said = closes("2026-01", at="2026-02-03 09:00")

    assert (said["month"], said["state"], said["closed_by"], said["closed_at"]) == (
        "2026-01",
        "closed",
        "fiona",
        "2026-02-03T09:00:00Z",
    )
    (figures,) = said["figures"]
    assert (figures["source"], figures["currency"]) == ("acme", "usd")
    assert (figures["new_micros"], figures["closing_micros"]) == (10_000_000_000, 10_000_000_000)
    assert (said["entries"], said["policy_version"]) == (1, 1)
    assert selectors.closed_through() == JANUARY


def test_what_is_learned_about_a_closed_month_is_booked_in_the_first_open_one(acme, fiona):
    """V32: start 15 January, created 3 March, January and February closed."""
    acme.customer("First").subscribes("team", monthly="10.00", on="2026-01-05")
    closes("2026-01", at="2026-02-03")
    closes("2026-02", at="2026-03-02")
    ada = acme.customer("Ada")
    ada.subscribes("team", monthly="100.00", on="2026-01-15")

    (entry,) = standing(ada.id, acme.source)

    assert (entry.effective_at, entry.book_month, entry.backdated_from) == (
        moment("2026-01-15"),
        MARCH,
        date(2026, 1, 15),
    )
    months = as_closed(JANUARY, MARCH)
    assert [months[m].new_minor for m in (JANUARY, FEBRUARY, MARCH)] == [1000, 0, 0]
    assert [months[m].adjustment_minor for m in (JANUARY, FEBRUARY, MARCH)] == [0, 0, 10000]
    assert months[MARCH].customers.new == 1
    (restated,) = selectors.restatements(JANUARY).entries
    assert (restated.key, restated.book_month, restated.micros) == (entry.key, MARCH, 10_000_000_000)
    said = closes("2026-03", at="2026-04-02")
    assert said["adjustments"] == [
        {"about": "2026-01", "currency": "usd", "entries": 1, "amount_micros": 10_000_000_000}
    ]


def test_a_loss_learned_late_is_an_adjustment_too(acme, fiona):
    ada = acme.customer("Ada")
    ada.subscribes("team", monthly="100.00", on="2026-01-10")
    closes("2026-01", at="2026-02-03")
    ada.cancels(on="2026-01-25", told="2026-02-10")  # learned after the close: it ended in January

    months = as_closed(JANUARY, FEBRUARY)

    assert (months[JANUARY].new_minor, months[JANUARY].closing_minor) == (10000, 10000)
    assert (months[FEBRUARY].adjustment_minor, months[FEBRUARY].closing_minor) == (-10000, 0)
    assert (months[FEBRUARY].customers.churned, months[FEBRUARY].customers.closing) == (1, 0)
    assert selectors.restatements(JANUARY).micros == {"usd": -10_000_000_000}


@pytest.mark.parametrize(
    ("month", "at", "said"),
    [
        ("2026-01", "2026-01-31 23:59", "has not ended"),
        ("2026-01", "2026-02-01 00:59", "wait until 2026-02-01 01:00"),
        ("2026-02", "2026-03-02 09:00", "close 2026-01 first"),
        ("2025-12", "2026-03-02 09:00", "begins with 2026-01"),
    ],
)
def test_a_month_is_closed_in_its_turn_and_its_time(acme, fiona, month, at, said):
    acme.customer("Ada").subscribes("team", monthly="100.00", on="2026-01-10")

    with pytest.raises(CommandError, match=said) as refused:
        closes(month, at=at)

    assert refused.value.returncode == 1
    assert not BookAction.objects.exists()


def test_a_month_is_closed_once(acme, fiona):
    acme.customer("Ada").subscribes("team", monthly="100.00", on="2026-01-10")
    closes("2026-01", at="2026-02-03")

    with pytest.raises(CommandError, match="closed already"):
        closes("2026-01", at="2026-02-04")


def test_a_month_waits_for_what_was_received(acme, fiona):
    acme.customer("Ada").subscribes("team", monthly="100.00", on="2026-01-10")
    event = StripeEvent.objects.order_by("pk").last()
    StripeEvent.objects.filter(pk=event.pk).update(state="waiting")

    with pytest.raises(CommandError, match="1 events are received and not processed"):
        closes("2026-01", at="2026-02-03")


def test_a_month_waits_for_what_the_clock_has_due(acme, fiona):
    acme.customer("Ada").subscribes("team", monthly="100.00", on="2026-01-10")
    CustomerBalance.objects.update(clock_at=moment("2026-01-20"))

    with pytest.raises(CommandError, match="by the clock"):
        closes("2026-01", at="2026-02-03")


def test_parked_events_do_not_stand_in_the_way_and_are_noted(acme, fiona):
    acme.customer("Ada").subscribes("team", monthly="100.00", on="2026-01-10")
    event = StripeEvent.objects.order_by("pk").last()
    StripeEvent.objects.filter(pk=event.pk).update(state="parked")

    assert closes("2026-01", at="2026-02-03")["notes"]["events_parked"] == 1


def test_test_data_does_not_hold_a_close_up(acme, fiona):
    acme.customer("Ada").subscribes("team", monthly="100.00", on="2026-01-10")
    trying = Scenario("trying", livemode=False)
    trying.customer("Bob")
    StripeEvent.objects.filter(source=trying.source).update(state="waiting")

    assert closes("2026-01", at="2026-02-03")["state"] == "closed"


@pytest.mark.parametrize("role", ["", "viewer", "analyst", "revops"])
def test_only_finance_and_admin_close(acme, role):
    acme.customer("Ada").subscribes("team", monthly="100.00", on="2026-01-10")
    person("someone", *filter(None, [role]))

    with pytest.raises(CommandError, match="neither the role finance nor admin"):
        closes("2026-01", by="someone", at="2026-02-03")


@pytest.mark.parametrize("text", ["2026-13", "January", "2026-01-05"])
def test_what_is_no_month_is_wrong_use(fiona, text):
    with pytest.raises(CommandError, match="argument YYYY-MM"):
        call_command("close_month", text, "--user", "fiona")


def test_who_is_unknown_or_gone_is_wrong_use(fiona):
    person("gone", "finance", is_active=False)

    for name in ("nobody", "gone"):
        with pytest.raises(CommandError, match="no active user") as refused:
            closes("2026-01", by=name, at="2026-02-03")
        assert refused.value.returncode == 2


# ---- reopening ----


@pytest.fixture
def closed(acme, fiona):
    acme.customer("Ada").subscribes("team", monthly="100.00", on="2026-01-10")
    closes("2026-01", at="2026-02-03")
    closes("2026-02", at="2026-03-03")
    return acme


def test_who_asks_does_not_grant(closed):
    person("frank", "finance")

    asked = reopens("2026-02", by="fiona", at="2026-03-05 10:00")
    with pytest.raises(CommandError, match="Another person of the role finance or admin"):
        reopens("2026-02", by="fiona", at="2026-03-07 10:00")
    granted = reopens("2026-02", by="frank", at="2026-03-07 11:00")

    assert (asked["state"], granted["state"]) == ("reopen_asked", "reopened")
    assert (granted["manner"], granted["asked_by"]) == ("second_person", "fiona")
    assert selectors.closed_through() == JANUARY
    assert [(month.month, month.is_open_again) for month in selectors.closed_months()] == [
        (FEBRUARY, True),
        (JANUARY, False),
    ]


def test_an_admin_may_grant(closed):
    person("adam", "admin")
    reopens("2026-02", by="fiona", at="2026-03-05")

    assert reopens("2026-02", by="adam", at="2026-03-05 00:01")["manner"] == "second_person"


def test_who_maps_neither_asks_nor_grants(closed):
    person("rob", "revops")
    with pytest.raises(CommandError, match="neither the role"):
        reopens("2026-02", by="rob", at="2026-03-05")
    reopens("2026-02", by="fiona", at="2026-03-05")

    with pytest.raises(CommandError, match="neither the role"):
        reopens("2026-02", by="rob", at="2026-03-05")


def test_one_person_alone_waits_for_a_day_that_all_can_see(closed):
    reopens("2026-02", by="fiona", at="2026-03-05 10:00")

    with pytest.raises(CommandError, match="after 2026-03-06 10:00"):
        reopens("2026-02", by="fiona", at="2026-03-06 09:59")
    granted = reopens("2026-02", by="fiona", at="2026-03-06 10:00")

    assert (granted["state"], granted["manner"]) == ("reopened", "notice")


def test_a_second_admins_one_time_code_grants_at_once(closed):
    adam, secret = person("adam", "admin"), generate_totp_secret()
    TOTP.activate(adam, secret)
    reopens("2026-02", by="fiona", at="2026-03-05 10:00")
    shown = format_hotp_value(hotp_value(secret, int(moment("2026-03-05 10:01").timestamp()) // 30))
    wrong = format_hotp_value((int(shown) + 1) % 1_000_000)

    with pytest.raises(CommandError, match="not the code"):
        reopens("2026-02", by="fiona", at="2026-03-05 10:01", code=wrong, code_of="adam")
    granted = reopens("2026-02", by="fiona", at="2026-03-05 10:01", code=shown, code_of="adam")

    assert (granted["state"], granted["manner"]) == ("reopened", "one_time_code")
    assert BookAction.objects.get(kind="reopened").seconded_by == adam


def test_ones_own_code_or_that_of_somebody_without_the_role_grants_nothing(closed):
    person("rob", "revops")
    reopens("2026-02", by="fiona", at="2026-03-05")

    for name in ("fiona", "rob"):
        with pytest.raises(CommandError, match="another person of the role admin"):
            reopens("2026-02", by="fiona", at="2026-03-05", code="123456", code_of=name)


def test_months_are_reopened_from_the_last_one_on(closed):
    with pytest.raises(CommandError, match="the last one, 2026-02"):
        reopens("2026-01", by="fiona", at="2026-03-05")


def test_a_reopening_needs_a_reason(closed):
    with pytest.raises(CommandError, match="Say why"):
        reopens("2026-02", by="fiona", at="2026-03-05", reason=" ")


def test_every_page_and_doctor_tell_of_a_request_until_it_is_granted(closed, client):
    person("frank", "finance")
    client.force_login(person("vera", "viewer"))
    assert b"asks to reopen" not in client.get("/dashboard/").content
    reopens("2026-02", by="fiona", at="2026-03-05 10:00")

    for path in ("/dashboard/", "/dashboard/movements/", "/dashboard/unmatched/", "/dashboard/sync/"):
        assert "fiona asks to reopen February 2026." in client.get(path).content.decode(), path
    told = [one for one in doctor.examine(now=moment("2026-03-05 12:00")) if one.check == "reopening"]
    assert [(one.is_well, "2026-03-06 10:00" in one.cure) for one in told] == [(False, True)]
    reopens("2026-02", by="frank", at="2026-03-05 13:00")
    assert b"asks to reopen" not in client.get("/dashboard/").content


def test_what_is_posted_after_a_reopening_is_in_the_month_and_it_closes_anew(closed):
    person("frank", "finance")
    reopens("2026-02", by="fiona", at="2026-03-05")
    reopens("2026-02", by="frank", at="2026-03-05")
    bob, cleo = closed.customer("Bob"), closed.customer("Cleo")
    bob.subscribes("team", monthly="50.00", on="2026-02-10")
    cleo.subscribes("team", monthly="20.00", on="2026-01-20")

    again = closes("2026-02", at="2026-03-06")

    assert standing(bob.id, closed.source)[0].backdated_from is None
    assert standing(cleo.id, closed.source)[0].book_month == FEBRUARY
    (figures,) = again["figures"]
    assert (figures["new_micros"], figures["adjustment_micros"]) == (5_000_000_000, 2_000_000_000)
    kinds = list(BookAction.objects.order_by("number").values_list("kind", flat=True))
    assert kinds == ["closed", "closed", "reopen_asked", "reopened", "closed"]


def test_a_closed_month_stands_whatever_is_learned_and_check_proves_it(closed):
    kept = [list(close.figures(month)) for month in (JANUARY, FEBRUARY)]
    bob = closed.customer("Bob")
    bob.subscribes("team", monthly="50.00", on="2026-01-03")
    bob.moves_to("business", monthly="80.00", on="2026-02-03")
    bob.cancels(on="2026-02-28")

    told: list[str] = []
    check.check(now=datetime.now(UTC) + timedelta(hours=2), tell=told.append)

    assert [list(close.figures(month)) for month in (JANUARY, FEBRUARY)] == kept
    assert told == []
    assert LedgerEntry.objects.filter(book_month=MARCH, backdated_from__isnull=False).count() == 3
