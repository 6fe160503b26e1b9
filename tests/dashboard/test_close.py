"""Closing a month on its page: the checklist, the signature, two people to reopen, and what was learned since."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
import time_machine
from auditlog.models import LogEntry
from django.core import mail
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from billing.models import StripeEvent
from config import departures as watching
from config import pipeline
from crm.models import Message
from dashboard.roles import Role
from mrr import close, departures, selectors
from mrr.models import BookAction, DepartureRule
from tests.dashboard.people import person
from tests.scenario import Scenario

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 20, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def march() -> Iterator[None]:
    with time_machine.travel(NOW, tick=True):
        yield


@pytest.fixture
def acme() -> Scenario:
    """One customer of $100.00 from January on, one of 40 euros from February on."""
    found = Scenario("acme")
    found.customer("Ada Rockets", on="2026-01-05").subscribes("team", monthly="100.00", on="2026-01-10")
    found.customer("Euro Trains", on="2026-02-05").subscribes("team", monthly="40.00", on="2026-02-10", currency="eur")
    return found


def client_of(who: Any) -> Client:
    client = Client()
    user = person(who) if isinstance(who, Role) else who
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def text_of(answer: Any) -> str:
    body = re.sub(r"<script.*?</script>|<template.*?</template>", " ", answer.content.decode(), flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def signs(client: Client, month: str, *, note: str = "", word: str = "", digest: str = "") -> Any:
    """Look at what is to be signed and sign it."""
    shown = client.get(f"/dashboard/close/{month}/sign/").content.decode()
    found = re.search(r'name="hash" value="(\w+)"', shown)
    asked = {"confirmation": word or month, "note": note, "hash": digest or (found.group(1) if found else "")}
    return client.post(f"/dashboard/close/{month}/sign/", asked, follow=True)


@pytest.fixture
def fiona() -> Any:
    return person(Role.FINANCE, "fiona")


@pytest.fixture
def closed(acme: Scenario, fiona: Any) -> Scenario:
    for month in ("2026-01", "2026-02"):
        signs(client_of(fiona), month)
    return acme


def comes_late(acme: Scenario, *, name: str = "Late Harbor", monthly: str = "500.00", on: str = "2026-02-20") -> Any:
    late = acme.customer(name, on=on)
    late.subscribes("team", monthly=monthly, on=on)
    return late


# ---- the list ----


def test_before_the_first_entry_there_is_nothing_to_close() -> None:
    shown = text_of(client_of(Role.FINANCE).get("/dashboard/close/"))

    assert "No month to close yet" in shown


def test_the_list_says_what_is_closed_what_is_next_and_who_closed(acme: Scenario, fiona: Any) -> None:
    signs(client_of(fiona), "2026-01")

    shown = text_of(client_of(Role.VIEWER).get("/dashboard/close/?currency=usd"))

    assert "Mar 2026 Runs not signed $100.00" in shown
    assert "Feb 2026 To be closed not signed $100.00" in shown
    assert "Jan 2026 Closed $100.00 $100.00 none nothing fiona" in shown
    assert "February 2026 is next" in shown


# ---- the checklist ----


def test_the_checklist_says_what_is_in_the_way_and_what_to_look_at(acme: Scenario) -> None:
    finance = client_of(Role.FINANCE)
    first, *_ = StripeEvent.objects.order_by("pk")

    ready = text_of(finance.get("/dashboard/close/2026-01/"))
    StripeEvent.objects.filter(pk=first.pk).update(state="waiting")
    waiting = text_of(finance.get("/dashboard/close/2026-01/"))
    later = text_of(finance.get("/dashboard/close/2026-02/"))
    running = text_of(finance.get("/dashboard/close/2026-03/"))

    assert "Nothing is in the way" in ready and "Look and sign" in ready
    assert "$100.00 of today's MRR is without an Account" in ready
    assert "1 event received and not processed yet" in waiting and "Look and sign" not in waiting
    assert "Months are closed in order, and January 2026 is open. Go to January 2026" in later
    assert "2026-03 has not ended" in running


def test_a_parked_event_is_to_be_looked_at_and_does_not_stop(acme: Scenario) -> None:
    first, *_ = StripeEvent.objects.order_by("pk")
    StripeEvent.objects.filter(pk=first.pk).update(state="parked")

    shown = text_of(client_of(Role.FINANCE).get("/dashboard/close/2026-01/"))

    assert "1 event could not be processed" in shown
    assert "Nothing is in the way" in shown


def test_the_findings_of_health_are_read_apart(acme: Scenario) -> None:
    shown = text_of(client_of(Role.VIEWER).get("/dashboard/close/2026-01/findings/"))

    assert re.search(r"Open findings \d+ open findings?\. The first: ", shown)


@pytest.mark.parametrize("month", ["2026-13", "nonsense", "2026-04"])
def test_what_is_no_month_is_not_found(acme: Scenario, month: str) -> None:
    assert client_of(Role.FINANCE).get(f"/dashboard/close/{month}/").status_code == 404


# ---- signing ----


def test_finance_signs_the_hash_that_it_saw(acme: Scenario, fiona: Any) -> None:
    client = client_of(fiona)
    _, digest = close.would_sign(datetime(2026, 1, 1).date())

    seen = text_of(client.get("/dashboard/close/2026-01/sign/"))
    done = signs(client, "2026-01", note="Agreed with the bank")

    action = BookAction.objects.get()
    assert digest in seen
    assert action.entries_digest == digest
    assert (action.made_by, action.reason) == (fiona, "Agreed with the bank")
    assert "January 2026 is closed with 1 entries" in text_of(done)
    assert "The books still say what was signed, exactly" in text_of(done)


def test_what_was_booked_since_the_look_is_not_signed(acme: Scenario, fiona: Any) -> None:
    client = client_of(fiona)
    _, digest = close.would_sign(datetime(2026, 1, 1).date())
    acme.customer("Bob", on="2026-01-20").subscribes("team", monthly="10.00", on="2026-01-20")

    done = signs(client, "2026-01", digest=digest)

    assert "Entries were booked in 2026-01 since you looked" in text_of(done)
    assert not BookAction.objects.exists()


def test_without_the_month_typed_nothing_is_closed(acme: Scenario, fiona: Any) -> None:
    done = signs(client_of(fiona), "2026-01", word="yes")

    assert done.status_code == 400
    assert "Type 2026-01 to close January 2026" in text_of(done)
    assert not BookAction.objects.exists()


def test_a_post_without_the_hash_signs_nothing(acme: Scenario, fiona: Any) -> None:
    client_of(fiona).post("/dashboard/close/2026-01/sign/", {"confirmation": "2026-01"})

    assert not BookAction.objects.exists()


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ANALYST, Role.REVOPS, Role.ADMIN])
def test_nobody_but_finance_closes(acme: Scenario, role: Role) -> None:
    client = client_of(role)

    answers = [client.get("/dashboard/close/2026-01/sign/"), client.post("/dashboard/close/2026-01/sign/")]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert "Look and sign" not in text_of(client.get("/dashboard/close/2026-01/"))


# ---- reopening ----


def asks(client: Client, *, reason: str = "A wrong invoice", asked: int = 0) -> str:
    answer = client.post("/dashboard/close/2026-02/reopening/", {"reason": reason, "asked": str(asked)}, follow=True)
    return text_of(answer)


def test_one_person_asks_and_another_agrees(closed: Scenario, fiona: Any) -> None:
    finance, admin = client_of(fiona), client_of(Role.ADMIN)

    asked = asks(finance)
    number = BookAction.objects.latest("number").number
    again = asks(finance, asked=number)
    band = text_of(admin.get("/dashboard/"))
    agreed = asks(admin, asked=number)

    assert "You asked to reopen February 2026. Somebody else must approve it." in asked
    assert "You asked for it, so somebody else must approve it." in asked
    assert BookAction.objects.filter(kind="reopened").count() == 1
    assert "call again after" in again or "Another person" in again
    assert "fiona asks to reopen February 2026." in band
    assert "February 2026 is open again" in agreed
    assert selectors.closed_through() == datetime(2026, 1, 1).date()
    assert "agreed by a second person" in text_of(admin.get("/dashboard/close/"))


def test_two_who_ask_at_once_do_not_agree_to_each_other(closed: Scenario, fiona: Any) -> None:
    """Both saw no request: the second one's question must not become an answer."""
    asks(client_of(fiona))

    second = asks(client_of(person(Role.FINANCE, "frank")))

    assert "Somebody was first" in second
    assert not BookAction.objects.filter(kind="reopened").exists()


def test_only_the_last_closed_month_is_reopened(closed: Scenario, fiona: Any) -> None:
    shown = text_of(client_of(fiona).get("/dashboard/close/2026-01/"))

    assert "Only the last closed month can be reopened" in shown
    assert "Ask to reopen" not in shown


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ANALYST, Role.REVOPS])
def test_who_keeps_no_books_neither_asks_nor_agrees(closed: Scenario, role: Role) -> None:
    answer = client_of(role).post("/dashboard/close/2026-02/reopening/", {"reason": "x", "asked": "0"})

    assert answer.status_code == 403


# ---- what was learned since ----


def test_what_came_late_is_listed_and_explains_the_difference(closed: Scenario) -> None:
    comes_late(closed)
    comes_late(closed, name="Slow Ferry", monthly="20.00", on="2026-01-20")

    shown = text_of(client_of(Role.ANALYST).get("/dashboard/close/2026-02/?currency=usd"))

    assert "Closing MRR as signed $100.00" in shown
    assert "As known now $620.00" in shown
    assert "Difference +$520.00" in shown
    assert "1 entry learned since the close, +$500.00" in shown
    assert "Late Harbor" in shown and "Mar 2026" in shown and "evt_" in shown


@pytest.mark.parametrize("scope", ["", "&currency=usd"])
def test_every_figure_of_a_closed_month_opens_onto_what_adds_up_to_it(closed: Scenario, scope: str) -> None:
    comes_late(closed)
    signs(client_of(person(Role.FINANCE, "frank")), "2026-03")
    client = client_of(Role.ANALYST)

    opened: dict[str, str] = {}
    for path in ("2026-01/", "2026-02/", "2026-03/", ""):
        page = client.get(f"/dashboard/close/{path}?x=1{scope}").content.decode()
        for code in re.findall(r'data-explain="([^"]+)"', page):
            answer = client.get(f"/dashboard/close/{path}?explain={code}{scope}", headers={"HX-Target": "explain"})
            assert answer.status_code == 200, code
            opened[code] = answer.content.decode()

    assert {code.split(":")[0] for code in opened} >= {"signed", "restated", "learned", "entry"}
    assert [code for code, body in opened.items() if "sumline-bad" in body] == []
    assert all("exactly" in body for code, body in opened.items() if code.startswith(("signed", "restated")))


def test_the_month_that_carries_late_entries_shows_them_as_adjustment(closed: Scenario, fiona: Any) -> None:
    comes_late(closed)
    with time_machine.travel(NOW + timedelta(days=14), tick=True):
        signs(client_of(fiona), "2026-03")
        client = client_of(Role.ANALYST)
        shown = text_of(client.get("/dashboard/close/2026-03/?currency=usd"))
        panel = text_of(
            client.get(
                "/dashboard/close/2026-03/?explain=signed:2026-03:usd:adjustment", headers={"HX-Target": "explain"}
            )
        )

    assert "Adjustment +$500.00 in its own month" in shown
    assert "1 entry adds up to +$500.00, exactly" in panel or "1 entry adds up to $500.00, exactly" in panel


def test_a_viewer_sees_ids_in_place_of_names(closed: Scenario) -> None:
    late = comes_late(closed)
    viewer = client_of(Role.VIEWER)

    shown = viewer.get("/dashboard/close/2026-02/").content.decode()

    assert late.id in shown
    assert "Late Harbor" not in shown and "evt_" not in re.sub(r"<td[^>]*><span class=.muted.>evt_\w+", "", shown)
    assert viewer.get("/dashboard/close/2026-02/?format=csv").status_code == 403


def test_the_report_is_a_file_too(closed: Scenario) -> None:
    comes_late(closed)
    client = client_of(Role.ANALYST)

    learned = b"".join(client.get("/dashboard/close/2026-02/?format=csv").streaming_content).decode()
    months = b"".join(client.get("/dashboard/close/?format=csv&currency=usd").streaming_content).decode()

    assert len(learned.splitlines()) == 2 and ",new,subscribed,usd,500.00," in learned
    assert "2026-02,closed,usd,100.00,600.00,500.00,1,fiona," in months


# ---- people are told ----


def watched() -> int:
    """Look as the workers do each minute, send what is owed, and return how many mails went out so far."""
    watching.watch(now=timezone.now())
    pipeline.drain_outbox(now=timezone.now())
    return len(mail.outbox)


def test_a_departure_is_told_once_on_every_page_and_by_mail_and_so_is_its_end(closed: Scenario) -> None:
    departures.set_rule(basis_points=50, minor=5000, addresses="cfo@acme.example, vp@acme.example", by="fiona")
    before = watched()
    late = comes_late(closed)

    told = [watched(), watched()]
    band = text_of(client_of(Role.VIEWER).get("/dashboard/movements/"))
    late.cancels(on="2026-02-21")
    over = [watched(), watched()]

    assert (before, told, over) == (0, [1, 1], [2, 2])
    assert "February 2026 is no longer what was signed. $100.00 was signed" in band
    first, second = mail.outbox
    assert first.to == ["cfo@acme.example", "vp@acme.example"]
    assert first.subject == "February 2026 departs from what was signed: +$500.00"
    assert "/dashboard/close/2026-02/" in first.body
    assert "Late Harbor" not in first.body
    assert second.subject == "February 2026 is as signed again"
    assert "no longer what was signed" not in text_of(client_of(Role.ANALYST).get("/dashboard/"))


@pytest.mark.parametrize(
    ("basis_points", "minor", "departs"),
    [(50, 5000, True), (50_00, 5000, False), (50, 10_000, False), (49_99, 4999, True), (0, 0, True)],
)
def test_both_the_share_and_the_amount_must_be_exceeded(
    closed: Scenario, basis_points: int, minor: int, departs: bool
) -> None:
    """Of $100.00 signed, $50.00 more (a half) is known by now; with a cent on top of it the default rule tells."""
    departures.set_rule(basis_points=basis_points, minor=minor, addresses="", by="fiona")
    comes_late(closed, monthly="50.00" if minor != 5000 or basis_points == 50_00 else "50.01")

    watched()

    assert (selectors.departed() is not None) is departs


def test_without_an_address_pages_tell_and_no_mail_is_owed(closed: Scenario) -> None:
    comes_late(closed)

    assert watched() == 0
    assert not Message.objects.filter(topic="alert").exists()
    assert selectors.departed() is not None


def test_the_next_close_ends_the_departure(closed: Scenario, fiona: Any) -> None:
    comes_late(closed)
    watched()
    with time_machine.travel(NOW + timedelta(days=14), tick=True):
        signs(client_of(fiona), "2026-03")

        assert selectors.departed() is None
        watched()
        assert selectors.departed() is None


def test_finance_sets_when_people_are_told_and_it_is_kept_who_did(closed: Scenario, fiona: Any) -> None:
    client = client_of(fiona)

    wrong = client.post("/dashboard/close/rule/", {"percent": "1", "amount": "10", "addresses": "nobody"})
    client.post("/dashboard/close/rule/", {"percent": "1.25", "amount": "99.50", "addresses": "cfo@acme.example"})

    kept = DepartureRule.objects.get()
    assert wrong.status_code == 400 and "'nobody' is not an e-mail address." in text_of(wrong)
    assert (kept.basis_points, kept.minor, kept.addresses) == (125, 9950, "cfo@acme.example")
    line = LogEntry.objects.get_for_object(kept).latest("timestamp")
    assert line.changes_dict["basis_points"] == ["50", "125"]
    assert line.additional_data == {"by": "fiona"}
    assert client_of(Role.ADMIN).post("/dashboard/close/rule/", {}).status_code == 403


# ---- what it costs ----


def test_pages_take_few_queries_however_many_months(closed: Scenario) -> None:
    comes_late(closed)
    client = client_of(Role.FINANCE)

    for path in ("", "2026-02/", "2026-03/", "2026-02/?explain=signed:2026-02:all"):
        headers = {"HX-Target": "explain"} if "explain" in path else {}
        client.get(f"/dashboard/close/{path}")
        with CaptureQueriesContext(connection) as taken:
            client.get(f"/dashboard/close/{path}", headers=headers)
        assert len(taken) <= 20, (path, len(taken))
