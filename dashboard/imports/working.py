"""Does what is owed to files that people brought: reads, applies, undoes them.

Each part of a file is one transaction with how far it came, so that whoever takes it up after a kill goes on there and
does nothing twice. Two who work on the same file only wait for each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

import structlog
from auditlog.models import LogEntry
from django.db import transaction
from django.db.models import F, QuerySet

from crm import matching
from dashboard.imports import form
from dashboard.imports.form import Bad, Good, Kind
from dashboard.imports.kinds import KINDS
from dashboard.models import Import, ImportChange, Work
from mrr import selectors as mrr

log = structlog.get_logger(__name__)

FAULTS_KEPT: Final = 100
AGAIN: Final = timedelta(minutes=5)
REFUSED: Final = (matching.AlreadyMatched, matching.UnknownAccount, matching.UnknownCustomer, matching.UnknownMatch)

GoesOn = Callable[[], bool]
"""Asked before each part; False leaves the rest for later."""


class NotDone(Exception):
    """It was not done, and nothing was changed; the message says why."""


def is_due(*, now: datetime) -> bool:
    """Say whether a file waits that could be worked on now."""
    return _due(now).exists()


def carry_on(*, now: datetime, goes_on: GoesOn) -> int:
    """Work on the file that has waited longest; returns how many were taken up, one or none.

    What cannot be done is given back to whoever asked; what fails is tried again five minutes later.
    """
    one = _due(now).only("pk", "work").order_by("due_at", "pk").first()
    if one is None:
        return 0
    try:
        work_on(one.pk, now=now, goes_on=goes_on)
    except NotDone as reason:
        give_back(one.pk, str(reason))
    except Exception as error:
        log.exception("import stopped", batch=one.pk, work=one.work)
        said = f"It stopped ({type(error).__name__}). It is tried again every few minutes."
        Import.objects.filter(pk=one.pk, work=one.work).update(problem=said, due_at=now + AGAIN)
    return 1


def work_on(pk: int, *, now: datetime, goes_on: GoesOn = lambda: True) -> None:
    """Do what is owed to a file, from where it was left. Raises NotDone."""
    one = Import.objects.exclude(work="").filter(pk=pk).first()
    if one is not None:
        _HOW[Work(one.work)](one, now, goes_on)


def give_back(pk: int, reason: str) -> None:
    """Have a file stand as before it was asked to be applied or undone, and say why."""
    with transaction.atomic():
        row = _rows(pk).exclude(work="").first()
        if row is None:
            return
        if row.work == Work.APPLYING:
            row.applied_by, row.applied_at = "", None
        row.undone_by, row.work, row.due_at, row.problem = "", "", None, reason[:300]
        row.save(update_fields=["applied_by", "applied_at", "undone_by", "work", "due_at", "problem"])


# ---- reading: what a file would do ----


def _read(one: Import, now: datetime, goes_on: GoesOn) -> None:
    found: Counter[str] = Counter()
    faults: list[Bad] = []
    for part in _parts(one, now):
        bad = [row for row in part if isinstance(row, Bad)]
        found += _counted(KINDS[one.kind], part)
        faults += bad[: FAULTS_KEPT - len(faults)]
        is_there = Import.objects.filter(pk=one.pk, work=Work.READING).update(done=found.total())
        if not is_there or not goes_on():
            return
    Import.objects.filter(pk=one.pk, work=Work.READING).update(
        work="",
        due_at=None,
        done=0,
        problem="",
        rows=found.total(),
        faults=[[fault.line, fault.column, fault.reason, fault.cure] for fault in faults],
        **{name: found[name] for name in ("added", "changed", "already", "bad")},
    )


def _parts(one: Import, now: datetime) -> Iterator[list[Good | Bad]]:
    kind = KINDS[one.kind]
    rows = form.read(kind, bytes(one.body or b""), today=now.astimezone(mrr.reporting_zone()).date())
    while part := list(islice(rows, kind.at_once)):
        yield part


def _counted(kind: Kind, part: Iterable[Good | Bad]) -> Counter[str]:
    values = _values(part)
    found = _compared(values, kind.held(values))
    found["bad"] = sum(isinstance(row, Bad) for row in part)
    return found


def _values(part: Iterable[Good | Bad]) -> dict[str, str]:
    return {row.place: row.value for row in part if isinstance(row, Good)}


def _compared(values: Mapping[str, str], before: Mapping[str, str]) -> Counter[str]:
    changed = sum(values[place] != held for place, held in before.items())
    return Counter(added=len(values) - len(before), changed=changed, already=len(before) - changed)


# ---- applying ----


def _apply(one: Import, now: datetime, goes_on: GoesOn) -> None:
    if not one.changes.exists():
        _object_to_applying(one, now, goes_on)
    bad = 0
    for part in _parts(one, now):
        if not goes_on() or not _apply_part(one.pk, _values(part), now):
            return
        bad += sum(isinstance(row, Bad) for row in part)
    with transaction.atomic():
        row = _rows(one.pk).filter(work=Work.APPLYING).first()
        if row is not None:
            row.bad, row.rows = bad, bad + row.done
            end_applying(row)


def _object_to_applying(one: Import, now: datetime, goes_on: GoesOn) -> None:
    """Read the file once more, as the database stands now, before anything of it is kept."""
    found: Counter[str] = Counter()
    for part in _parts(one, now):
        found.update("bad" if isinstance(row, Bad) else "good" for row in part)
        goes_on()
    if found["bad"] and not one.skips_bad:
        raise NotDone(f"{found['bad']} bad row{'' if found['bad'] == 1 else 's'}: mend the file, or leave them out.")
    if not found["good"]:
        raise NotDone("It has no good row.")


def _apply_part(pk: int, values: Mapping[str, str], now: datetime) -> bool:
    """Keep the values of some places, except of those that were kept already; False where nobody wants it any more."""
    with transaction.atomic():
        row = _rows(pk).filter(work=Work.APPLYING).first()
        if row is None:
            return False
        kind = KINDS[row.kind]
        behind = set(row.changes.filter(place__in=values).values_list("place", flat=True)) if row.done else set()
        todo = {place: value for place, value in values.items() if place not in behind}
        before = kind.held(todo)
        try:
            kind.write({at: value for at, value in todo.items() if before.get(at) != value}, row.applied_by, now)
        except REFUSED as error:
            raise NotDone(f"Nothing was applied: {error}") from error
        ImportChange.objects.bulk_create(
            [ImportChange(batch=row, place=at, before=before.get(at, ""), after=value) for at, value in todo.items()],
            batch_size=form.AT_ONCE,
        )
        for name, count in _compared(todo, before).items():  # until here they said what it would do
            setattr(row, name, count + (getattr(row, name) if row.done else 0))
        row.done += len(todo)
        row.save(update_fields=["added", "changed", "already", "done"])
    return True


def end_applying(row: Import, *, problem: str = "") -> None:
    """Have a locked import be applied, as far as it came, and let its file go."""
    row.work, row.due_at, row.body, row.faults, row.problem = "", None, None, [], problem
    row.save(update_fields=["work", "due_at", "body", "faults", "problem", "rows", "bad"])
    _note(row, "applied", by=row.applied_by)


# ---- undoing ----


def _undo(one: Import, now: datetime, goes_on: GoesOn) -> None:
    if not one.reached:
        _object_to_undoing(one, goes_on)
    while goes_on() and _undo_part(one.pk, now):
        pass


def _object_to_undoing(one: Import, goes_on: GoesOn) -> None:
    kind, reached = KINDS[one.kind], 0
    while changes := _changes(one, after=reached):
        reached = changes[-1].pk
        if one.applied_at and (reason := kind.refusal([change.place for change in changes], one.applied_at)):
            raise NotDone(reason)
        held = kind.held([change.place for change in changes])
        for change in changes:
            if held.get(change.place, "") not in (change.before, change.after):
                said = f"The {kind.says} of a row was changed by somebody since ({change.place}). Undo that first."
                raise NotDone(said)
        goes_on()


def _undo_part(pk: int, now: datetime) -> bool:
    """Put back some places; False where none is left. What somebody changed since it was asked stays as it is."""
    with transaction.atomic():
        row = _rows(pk).filter(work=Work.UNDOING).first()
        if row is None:
            return False
        kind = KINDS[row.kind]
        changes = _changes(row, after=row.reached)
        if not changes:
            _end_undoing(row, now)
            return False
        held = kind.held([change.place for change in changes])
        ours = [change for change in changes if held.get(change.place, "") in (change.before, change.after)]
        back = {one.place: one.before or None for one in ours if held.get(one.place, "") != one.before}
        try:
            kind.write(back, row.undone_by, now)
        except REFUSED as error:
            raise NotDone(f"Nothing was undone: {error}") from error
        row.reached = changes[-1].pk
        row.done += len(ours)
        row.save(update_fields=["reached", "done"])
    return True


def _end_undoing(row: Import, now: datetime) -> None:
    left = row.added + row.changed - row.done
    row.problem = f"{left} places were changed by somebody meanwhile and stay as they are." if left else ""
    row.work, row.due_at, row.undone_at = "", None, now
    row.save(update_fields=["work", "due_at", "undone_at", "problem"])
    _note(row, "undone", by=row.undone_by)


def _changes(one: Import, *, after: int) -> list[ImportChange]:
    """Return the next places that hold something else than before the import."""
    changes = one.changes.exclude(before=F("after")).filter(pk__gt=after).order_by("pk")
    return list(changes[: KINDS[one.kind].at_once])


# ---- rows ----

_HOW: Final[Mapping[Work, Callable[[Import, datetime, GoesOn], None]]] = {
    Work.READING: _read,
    Work.APPLYING: _apply,
    Work.UNDOING: _undo,
}


def _due(now: datetime) -> QuerySet[Import]:
    return Import.objects.exclude(work="").filter(due_at__lte=now)


def _rows(pk: int) -> QuerySet[Import]:
    """Lock an import's row, without its file."""
    return Import.objects.select_for_update().filter(pk=pk).defer("body", "faults")


def _note(row: Import, what: str, *, by: str) -> None:
    """Leave a line in the audit log: who, which kind, which file, how many rows."""
    said = {"state": what, "kind": row.kind, "file": row.file_name, "rows": str(row.done)}
    LogEntry.objects.log_create(
        row,
        changes={name: ["", value] for name, value in said.items()},
        action=LogEntry.Action.UPDATE,
        object_repr=str(row),
        serialized_data=None,
        additional_data={"by": by},
    )
    log.info(f"import {what}", batch=row.pk, kind=row.kind, by=by, rows=row.done)
