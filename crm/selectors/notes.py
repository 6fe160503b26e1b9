"""What colleagues said about customers and findings, and who looks after them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime

from django.db.models import Count, Exists, Max, OuterRef, QuerySet

from crm.models import Note
from crm.note_models import About as About
from crm.note_models import columns


@dataclass(frozen=True, slots=True)
class NoteRow:
    """One line. `assignee` is a username, "" for nobody; from this line on it was assigned so."""

    text: str
    assignee_pk: int | None
    assignee: str
    due_on: date | None
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class FindingNotes:
    """How many lines a finding has, and the newest of them."""

    finding: str
    lines: int
    newest: NoteRow


def notes_of(about: About) -> list[NoteRow]:
    """Return the lines about a customer or a finding, the newest first: that one says how it is assigned. One query."""
    rows = Note.objects.filter(**columns(about)).select_related("assignee").order_by("-pk")
    return [_row(row) for row in rows]


def newest_note(about: About) -> NoteRow | None:
    """Return the newest line about a customer or a finding. One query."""
    row = Note.objects.filter(**columns(about)).select_related("assignee").order_by("-pk").first()
    return _row(row) if row else None


# ---- customers ----


def assignments(customer_pks: Collection[int]) -> dict[int, NoteRow]:
    """Return the newest line of each customer that somebody looks after, or that has a due date. One query."""
    rows = _newest().filter(customer_id__in=customer_pks).select_related("assignee")
    return {row.customer_id: _row(row) for row in rows if row.customer_id and (row.assignee_id or row.due_on)}


def assigned_to(user_pk: int) -> QuerySet[Note]:
    """Return the newest lines of the customers that a person looks after, to be asked further."""
    return _newest().filter(assignee_id=user_pk)


def _newest() -> QuerySet[Note]:
    later = Note.objects.filter(customer=OuterRef("customer"), pk__gt=OuterRef("pk"))
    return Note.objects.filter(~Exists(later), customer__isnull=False)


# ---- findings ----


def notes_on_findings(findings: Collection[str]) -> dict[str, FindingNotes]:
    """Return by finding what was said about it, of those about which something was. Two queries."""
    return {one.finding: one for one in _of_findings(Note.objects.filter(finding__in=findings))}


def latest_on_findings(*, limit: int) -> list[FindingNotes]:
    """Return the findings about which something was said, the last said first. Two queries."""
    return _of_findings(Note.objects.exclude(finding=""), limit)


def _of_findings(notes: QuerySet[Note], limit: int | None = None) -> list[FindingNotes]:
    found = notes.values("finding").annotate(lines=Count("pk"), newest=Max("pk")).order_by("-newest")[:limit]
    counts = {row["newest"]: row["lines"] for row in found}
    rows = Note.objects.filter(pk__in=counts).select_related("assignee").order_by("-pk")
    return [FindingNotes(row.finding, counts[row.pk], _row(row)) for row in rows]


def _row(row: Note) -> NoteRow:
    return NoteRow(
        row.text,
        row.assignee_id,
        row.assignee.get_username() if row.assignee else "",
        row.due_on,
        row.by,
        row.at,
    )
