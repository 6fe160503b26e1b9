"""Notes on customers: lines are added, and the newest says who looks after the customer."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from django.db import IntegrityError, transaction

from billing.models import Customer
from crm import notes, selectors
from crm.models import Note, Unmatched
from tests import builders
from tests.dashboard.people import person

NOW = datetime(2026, 3, 20, 12, 0, tzinfo=UTC)
pytestmark = pytest.mark.django_db


@pytest.fixture
def acme():
    return Customer.objects.create(source=builders.source(), stripe_id="cus_acme")


def say(customer, text="", **how):
    said = {"assignee_pk": None, "due_on": None, "by": "ada", "now": NOW}
    notes.add(customer.pk, text, **said | how)


def test_lines_stay_and_the_newest_says_who_looks_after_the_customer(acme):
    bob, eve = person("revops", "bob"), person("finance", "eve")
    say(acme, "Asks for an invoice", assignee_pk=bob.pk, due_on=date(2026, 3, 25))
    say(acme, assignee_pk=eve.pk)

    lines = selectors.notes_of(acme.pk)

    assert [(line.text, line.assignee, line.due_on) for line in lines] == [
        ("", "eve", None),
        ("Asks for an invoice", "bob", date(2026, 3, 25)),
    ]
    assert selectors.assignments([acme.pk])[acme.pk] == lines[0]


def test_a_line_that_says_nothing_new_is_refused(acme):
    say(acme, "Known", due_on=date(2026, 3, 25))

    with pytest.raises(notes.NothingSaid):
        say(acme, "  ", due_on=date(2026, 3, 25))


def test_a_note_that_is_too_long_is_refused(acme):
    with pytest.raises(notes.TooLong, match="2,001"):
        say(acme, "x" * 2001)


def test_a_customer_is_somebody_s_only_while_the_newest_line_says_so(acme):
    bob = person("revops", "bob")
    Unmatched.objects.create(customer=acme, reason="no_contact", since=NOW, checked_at=NOW)
    say(acme, assignee_pk=bob.pk)
    assert selectors.unmatched_counts(at=NOW, assignee_pk=bob.pk).mine == 1
    of_bob = selectors.UnmatchedFilter(assignee_pk=bob.pk)
    assert [row.customer_pk for row in selectors.unmatched(of_bob, limit=5).rows] == [acme.pk]

    say(acme)

    assert selectors.unmatched_counts(at=NOW, assignee_pk=bob.pk).mine == 0
    assert selectors.assignments([acme.pk]) == {}


def test_the_notes_of_somebody_who_left_stay(acme):
    bob = person("revops", "bob")
    say(acme, "Mine", assignee_pk=bob.pk)

    bob.delete()

    assert [(line.text, line.assignee) for line in selectors.notes_of(acme.pk)] == [("Mine", "")]


def test_a_customer_s_lines_and_a_finding_s_are_told_apart(acme):
    bob = person("revops", "bob")
    say(acme, "Of the customer", assignee_pk=bob.pk)
    for finding, text in (("job_late:seal", "Of the job"), ("bad_signature:main", "Of"), ("bad_signature:main", "it")):
        notes.add(finding, text, assignee_pk=bob.pk, due_on=None, by="ada", now=NOW)

    found = selectors.notes_on_findings(["job_late:seal", "bad_signature:main", "bad_signature:other"])

    assert {one.finding: (one.lines, one.newest.text) for one in found.values()} == {
        "bad_signature:main": (2, "it"),
        "job_late:seal": (1, "Of the job"),
    }
    assert [one.finding for one in selectors.latest_on_findings(limit=1)] == ["bad_signature:main"]
    assert [line.text for line in selectors.notes_of(acme.pk)] == ["Of the customer"]
    assert list(selectors.assignments([acme.pk])) == [acme.pk]


def test_a_note_is_about_one_thing(acme):
    for about in ({}, {"customer": acme, "finding": "job_late:seal"}):
        with pytest.raises(IntegrityError), transaction.atomic():
            Note.objects.create(text="x", by="ada", at=NOW, **about)
