"""What people ask for a file: look at it, apply it, undo it, throw it away. Large ones are done by a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction

from dashboard.imports import form, working
from dashboard.imports.form import Kind
from dashboard.imports.working import NotDone
from dashboard.models import Import, ImportChange, Work

KEPT_FOR: Final = timedelta(days=1)  # a file that nobody applied
SMALL: Final = 1000  # rows of a file that nobody has to wait for
LET_GO: Final = "A person was to be forgotten, so the file was let go in the middle. What was applied by then stands."


def _nobody() -> None:
    """Wake nobody: what config puts in its place tells the workers that a file waits."""


wake: Callable[[], None] = _nobody


def bring(kind: Kind, file_name: str, body: bytes, *, by: str, now: datetime, here: bool = False) -> Import:
    """Look at a file and keep it until it is applied; changes nothing else. Files that lie for a day are thrown away.

    A large one is left to a worker unless it is to be done `here`. Raises WrongFile.
    """
    if len(body) > form.MOST_BYTES:
        raise form.WrongFile(f"It is larger than {form.MOST_BYTES >> 20} MB. Divide it into several files.")
    rows = form.count(kind, body)
    throw_away_old(now=now)
    with transaction.atomic():
        one = Import.objects.create(
            kind=kind.key,
            file_name=file_name[-200:],
            body=body,
            rows=rows,
            **dict.fromkeys(("bad", "added", "changed", "already"), 0),
            by=by,
            at=now,
            work=Work.READING,
            due_at=now,
        )
        _if_small(one, now=now)
    return _if_large(one, here=here, now=now)


def apply(pk: int, *, skips_bad: bool, by: str, now: datetime, here: bool = False) -> Import:
    """Do what a file says, as the database stands now: all good rows, or nothing. Raises NotDone.

    Bad rows are left out with `skips_bad`; without it one is enough to refuse the file.
    """
    with transaction.atomic():
        one = Import.objects.select_for_update().filter(pk=pk).defer("body").first()
        if one is None or one.applied_at is not None:
            raise NotDone("This file was applied or thrown away already.")
        if one.work:
            raise NotDone("This file is still being read.")
        one.applied_by, one.applied_at, one.skips_bad = by, now, skips_bad
        _owe(one, Work.APPLYING, now=now)
    return _if_large(one, here=here, now=now)


def undo(pk: int, *, by: str, now: datetime, here: bool = False) -> Import:
    """Put back what an import added or changed, be it applied in part. Raises NotDone where later work builds on it."""
    with transaction.atomic():
        one = Import.objects.select_for_update().filter(pk=pk, applied_at__isnull=False, undone_at=None).first()
        if one is None or one.work == Work.UNDOING:
            raise NotDone("This import is not there, or was undone already.")
        _refuse_if_built_upon(one)
        if one.work == Work.APPLYING and not one.done:
            one.added = one.changed = one.already = 0  # they said what it would do
        one.body, one.faults, one.undone_by, one.reached = None, [], by, 0
        _owe(one, Work.UNDOING, now=now)
    return _if_large(one, here=here, now=now)


def throw_away(pk: int) -> None:
    """Forget a file that was not applied."""
    Import.objects.filter(pk=pk, applied_at__isnull=True).delete()


def throw_away_old(*, now: datetime) -> None:
    """Forget files that lay for a day and were not applied."""
    Import.objects.filter(applied_at__isnull=True, at__lt=now - KEPT_FOR).delete()


def throw_away_all() -> None:
    """Let go of every file, because any may tell of a person who is to be forgotten; what was applied can be undone."""
    Import.objects.filter(applied_at__isnull=True).delete()
    with transaction.atomic():
        for one in Import.objects.select_for_update().filter(work=Work.APPLYING).defer("body", "faults"):
            if one.changes.exists():
                working.end_applying(one, problem=LET_GO)
            else:
                one.delete()


def newest(*, limit: int) -> Sequence[Import]:
    """Return the newest imports without their files."""
    return list(Import.objects.defer("body", "faults").order_by("-at", "-id")[:limit])


def _owe(one: Import, work: Work, *, now: datetime) -> None:
    """Write down what is to be done with a file, in the caller's transaction, and do it there if the file is small."""
    under_way = Import.objects.filter(kind=one.kind, work__in=(Work.APPLYING, Work.UNDOING)).exclude(pk=one.pk)
    if under_way.exists():
        raise NotDone("Another import of this kind is being applied or undone. Wait until it is done.")
    one.work, one.due_at, one.done, one.problem = work, now, 0, ""
    one.save()
    _if_small(one, now=now)


def _if_small(one: Import, *, now: datetime) -> None:
    if one.rows <= SMALL:
        working.work_on(one.pk, now=now)


def _if_large(one: Import, *, here: bool, now: datetime) -> Import:
    """Leave a large file to a worker, or do it here, part by part; return how it stands."""
    if one.rows > SMALL and here:
        try:
            working.work_on(one.pk, now=now)
        except NotDone as reason:
            working.give_back(one.pk, str(reason))
            raise
    elif one.rows > SMALL:
        wake()
    return Import.objects.defer("body").get(pk=one.pk)


def _refuse_if_built_upon(one: Import) -> None:
    """A later import that speaks of the same place, be it with the same value, must be undone first."""
    later = ImportChange.objects.filter(
        batch__kind=one.kind,
        batch__applied_at__isnull=False,
        batch__undone_at__isnull=True,
        batch__applied_at__gt=one.applied_at,
        place__in=one.changes.values("place"),
    )
    if first := later.order_by().values_list("batch_id", flat=True).first():
        raise NotDone(f"Import {first} came later and speaks of the same rows. Undo that one first.")
