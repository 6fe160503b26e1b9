"""Notes on the customer's page and on the workbench: who reads them, who writes, what comes back."""

from __future__ import annotations

import pytest

from crm import selectors as crm
from dashboard.roles import Role
from tests.dashboard.people import person
from tests.dashboard.test_pages import World, march, page_of, text_of, world

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

    assert "1 waiting" in mine
    assert "Beta Bakery" in mine
    assert "Euro Trains" not in mine


def test_the_workbench_tells_a_viewer_nothing_of_notes(page: str) -> None:
    page_of(Role.ADMIN).post(f"{page}notes/", {"assignee": person(Role.REVOPS, "bob").pk})

    seen = page_of(Role.VIEWER).get("/dashboard/unmatched/?tab=mine")

    assert "bob" not in text_of(seen)
    assert "Mine" not in text_of(seen)
