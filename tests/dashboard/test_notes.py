"""Notes on the customer's page, the workbench and findings: who reads them, who writes, what comes back."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine

from config import tasks
from crm import notes
from crm import selectors as crm
from dashboard.roles import Role
from tests.dashboard.people import person
from tests.dashboard.test_pages import NOW, World, march, page_of, text_of, world

__all__ = ["march", "world"]


@pytest.fixture
def page(world: World) -> str:
    return f"/dashboard/customers/{world.pk(world.beta)}/"


def test_a_note_is_written_and_read_with_who_looks_after_the_customer(page: str) -> None:
    client, bob = page_of(Role.FINANCE), person(Role.REVOPS, "bob")

    told = client.post(
        f"{page}notes/", {"text": "Call <them> first", "assignee": bob.pk, "due_on": "2026-03-19"}, follow=True
    )

    assert told.redirect_chain == [(f"{page}#notes", 302)]
    said = text_of(told)
    assert "bob looks after it, due 19 Mar 2026 Overdue" in said
    assert "Call <them> first finance-person · 20 Mar 2026" in said


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"text": " "}, "Nothing was written"),
        ({"text": "x", "assignee": "0"}, "Nobody by this name"),
        ({"text": "x", "due_on": "31.12.2026"}, "The due date is not a day"),
        ({"text": "x" * 2001}, "A note may have 2,000 characters"),
    ],
)
def test_a_note_that_cannot_be_kept_says_why(page: str, given: dict[str, str], words: str) -> None:
    told = page_of(Role.ADMIN).post(f"{page}notes/", given, follow=True)

    assert words in text_of(told)
    assert "No note yet" in text_of(told)


def test_nothing_is_assigned_to_who_may_not_write_notes(page: str) -> None:
    told = page_of(Role.ADMIN).post(f"{page}notes/", {"assignee": person(Role.ANALYST).pk}, follow=True)

    assert "Nobody by this name" in text_of(told)


def test_who_may_do_so_no_more_stays_assigned_until_somebody_changes_it(page: str, world: World) -> None:
    client, bob = page_of(Role.ADMIN), person(Role.REVOPS, "bob")
    client.post(f"{page}notes/", {"assignee": bob.pk})
    bob.groups.clear()

    client.post(f"{page}notes/", {"text": "Still open", "assignee": bob.pk})

    assert [line.assignee for line in crm.notes_of(world.pk(world.beta))] == ["bob", "bob"]


def test_an_analyst_reads_notes_and_a_viewer_sees_none(page: str) -> None:
    page_of(Role.ADMIN).post(f"{page}notes/", {"text": "Their CFO is on leave"})

    analyst, viewer = page_of(Role.ANALYST).get(page), page_of(Role.VIEWER).get(page)

    assert "Their CFO is on leave" in text_of(analyst)
    assert 'id="note-text"' not in analyst.content.decode()
    assert 'id="notes"' not in viewer.content.decode()


def test_a_note_on_a_customer_that_is_not_there_is_not_found(page: str) -> None:
    assert page_of(Role.ADMIN).post("/dashboard/customers/999999/notes/", {"text": "x"}).status_code == 404


def test_the_workbench_shows_who_looks_after_a_customer_and_lists_the_reader_s_own(page: str) -> None:
    client = page_of(Role.REVOPS)
    bob = person(Role.REVOPS, "bob")
    client.post(f"{page}notes/", {"assignee": bob.pk, "due_on": "2026-04-01"})
    assert "bob, due 1 Apr 2026" in text_of(client.get("/dashboard/unmatched/"))
    assert "None of them is assigned to you" in text_of(client.get("/dashboard/unmatched/?tab=mine"))

    client.force_login(bob, backend="django.contrib.auth.backends.ModelBackend")
    mine = text_of(client.get("/dashboard/unmatched/?tab=mine"))

    assert "1 yours" in mine
    assert "Beta Bakery" in mine
    assert "Euro Trains" not in mine


def test_the_workbench_tells_a_viewer_nothing_of_notes(page: str) -> None:
    page_of(Role.ADMIN).post(f"{page}notes/", {"assignee": person(Role.REVOPS, "bob").pk})

    seen = page_of(Role.VIEWER).get("/dashboard/unmatched/?tab=mine")

    assert "bob" not in text_of(seen)
    assert "Mine" not in text_of(seen)


# ---- findings ----

HEALTH = "/dashboard/health/"
SILENT = f"{HEALTH}findings/workers_silent/"


def test_a_note_on_a_finding_stands_on_the_health_page_with_who_looks_after_it(world: World) -> None:
    client, bob = page_of(Role.FINANCE), person(Role.REVOPS, "bob")

    told = client.post(
        f"{SILENT}notes/", {"text": "Asked <IT>", "assignee": bob.pk, "due_on": "2026-03-19"}, follow=True
    )

    assert told.redirect_chain == [(f"{SILENT}#notes", 302)]
    assert "bob looks after it, due 19 Mar 2026 Overdue" in text_of(told)
    assert "Asked <IT> finance-person · 20 Mar 2026" in text_of(told)
    health = client.get(HEALTH)
    line = next(one for one in health.context["lines"] if one.finding.code == "workers_silent")
    assert (line.lines, line.assigned, line.is_overdue) == (1, "bob, due 19 Mar 2026", True)
    assert "1 note" in text_of(health)


def test_a_finding_that_goes_keeps_its_notes_and_shows_them_when_it_returns(world: World) -> None:
    client = page_of(Role.ADMIN)
    client.post(f"{SILENT}notes/", {"text": "Asked IT"})

    tasks.beat()  # a worker lives: the finding goes
    gone, listed, health = client.get(SILENT), client.get(f"{HEALTH}findings/"), client.get(HEALTH)

    assert "It does not stand now" in text_of(gone)
    assert "Asked IT" in text_of(gone)
    assert "The workers do not answer Asked IT admin-person · 20 Mar 2026" in text_of(listed)
    assert "1 line Gone" in text_of(listed)
    assert "workers_silent" not in [one.finding.code for one in health.context["lines"]]
    with time_machine.travel(NOW + timedelta(hours=1)):  # and is silent again
        assert "1 line Urgent" in text_of(client.get(f"{HEALTH}findings/"))
        assert "1 note" in text_of(client.get(HEALTH))


def test_findings_of_two_sources_have_notes_of_their_own(world: World) -> None:
    notes.add("api_key_old:acme", "Roll it", assignee_pk=None, due_on=None, by="ada", now=NOW)

    assert list(crm.notes_on_findings(["api_key_old:acme", "api_key_old:other"])) == ["api_key_old:acme"]
    assert [line.text for line in crm.notes_of("api_key_old:acme")] == ["Roll it"]
    assert crm.notes_of("api_key_old:other") == []


def test_a_viewer_learns_nothing_of_notes_on_findings(world: World) -> None:
    notes.add("workers_silent", "Ask Jane", assignee_pk=person(Role.REVOPS, "bob").pk, due_on=None, by="ada", now=NOW)

    seen = page_of(Role.VIEWER).get(HEALTH)

    assert "/dashboard/health/findings/" not in seen.content.decode()
    assert "bob" not in text_of(seen)


def test_an_analyst_reads_notes_on_findings_and_writes_none(world: World) -> None:
    page = page_of(Role.ANALYST).get(SILENT).content.decode()

    assert "No note yet" in page
    assert 'id="note-text"' not in page


@pytest.mark.parametrize("key", ["nothing", "workers_silent:elsewhere", "api_key_old:acme"])
def test_nothing_is_kept_about_a_finding_that_never_was(world: World, key: str) -> None:
    client = page_of(Role.ADMIN)

    assert client.get(f"{HEALTH}findings/{key}/").status_code == 404
    assert client.post(f"{HEALTH}findings/{key}/notes/", {"text": "x"}).status_code == 404
    assert crm.notes_of(key) == []
