"""What colleagues said about customers, and who looks after them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime

from django.db.models import Exists, OuterRef, QuerySet

from crm.models import Note


@dataclass(frozen=True, slots=True)
class NoteRow:
    """One line. `assignee` is a username, "" for nobody; from this line on the customer was assigned so."""

    customer_pk: int
    text: str
    assignee_pk: int | None
    assignee: str
    due_on: date | None
    by: str
    at: datetime


def notes_of(customer_pk: int) -> list[NoteRow]:
    """Return the lines about a customer, the newest first: that one says how it is assigned now. One query."""
    rows = Note.objects.filter(customer_id=customer_pk).select_related("assignee").order_by("-pk")
    return [_row(row) for row in rows]


def assignments(customer_pks: Collection[int]) -> dict[int, NoteRow]:
    """Return the newest line of each customer that somebody looks after, or that has a due date. One query."""
    rows = _newest().filter(customer_id__in=customer_pks).select_related("assignee")
    return {row.customer_id: _row(row) for row in rows if row.assignee_id or row.due_on}


def assigned_to(user_pk: int) -> QuerySet[Note]:
    """Return the newest lines of the customers that a person looks after, to be asked further."""
    return _newest().filter(assignee_id=user_pk)


def _newest() -> QuerySet[Note]:
    later = Note.objects.filter(customer=OuterRef("customer"), pk__gt=OuterRef("pk"))
    return Note.objects.filter(~Exists(later))


def _row(row: Note) -> NoteRow:
    return NoteRow(
        row.customer_id,
        row.text,
        row.assignee_id,
        row.assignee.get_username() if row.assignee else "",
        row.due_on,
        row.by,
        row.at,
    )
