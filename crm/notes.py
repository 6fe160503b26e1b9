"""What colleagues say about a customer or a finding: notes, who looks after it, and until when."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final

from django.db import transaction

from crm.models import Note
from crm.note_models import About, columns

MOST_CHARACTERS: Final = 2_000


class NothingSaid(ValueError):
    """A line has no text, and leaves the assignment as it is."""


class TooLong(ValueError):
    """A note is longer than one may be."""


def add(about: About, text: str, *, assignee_pk: int | None, due_on: date | None, by: str, now: datetime) -> None:
    """Add a line to the notes; from now on what it is about is assigned as the line says, None to nobody.

    The text may be empty where the assignment changes. Raises NothingSaid where neither says anything new, and
    TooLong.
    """
    text = text.strip()
    if len(text) > MOST_CHARACTERS:
        raise TooLong(f"A note may have {MOST_CHARACTERS:,} characters; this one has {len(text):,}.")
    with transaction.atomic():
        newest = Note.objects.filter(**columns(about)).order_by("-pk").first()
        before = (newest.assignee_id, newest.due_on) if newest else (None, None)
        if not text and before == (assignee_pk, due_on):
            raise NothingSaid("Nothing was written, and nothing else was changed.")
        Note.objects.create(**columns(about), text=text, assignee_id=assignee_pk, due_on=due_on, by=by, at=now)
