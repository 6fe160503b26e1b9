"""What is done with a file that somebody brought: looked at, applied in one transaction, undone, or thrown away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

import structlog
from django.db import transaction
from django.db.models import F

from crm import matching
from dashboard.imports import form
from dashboard.imports.form import Bad, Good, Kind
from dashboard.imports.kinds import KINDS
from dashboard.models import Import, ImportChange
from mrr import selectors as mrr

log = structlog.get_logger(__name__)

FAULTS_KEPT: Final = 100
KEPT_FOR: Final = timedelta(days=1)  # a file that nobody applied


class NotDone(Exception):
    """It was not done, and nothing was changed; the message says why."""


@dataclass(frozen=True, slots=True)
class _Looked:
    """What a file's rows would do: the value of each place now and by the file, by place; and what is wrong."""

    values: dict[str, str]
    before: dict[str, str]
    faults: tuple[Bad, ...]
    bad: int

    @property
    def added(self) -> int:
        return len(self.values) - len(self.before)

    @property
    def changed(self) -> int:
        return sum(self.values[place] != held for place, held in self.before.items())


def bring(kind: Kind, file_name: str, body: bytes, *, by: str, now: datetime) -> Import:
    """Look at a file and keep it until it is applied; changes nothing else. Files that lie for a day are thrown away.

    Raises WrongFile.
    """
    if len(body) > form.MOST_BYTES:
        raise form.WrongFile(f"It is larger than {form.MOST_BYTES >> 20} MB. Divide it into several files.")
    found = _look(kind, body, now=now)
    throw_away_old(now=now)
    return Import.objects.create(
        kind=kind.key,
        file_name=file_name[-200:],
        body=body,
        faults=[[one.line, one.column, one.reason, one.cure] for one in found.faults],
        by=by,
        at=now,
        **_counts(found),
    )


def apply(pk: int, *, skips_bad: bool, by: str, now: datetime) -> Import:
    """Do what a file says, all of it or nothing, as the database stands now. Raises NotDone.

    Bad rows are left out with `skips_bad`; without it one is enough to refuse the file.
    """
    with transaction.atomic():
        one = Import.objects.select_for_update().filter(pk=pk).first()
        if one is None or one.body is None or one.applied_at is not None:
            raise NotDone("This file was applied or thrown away already.")
        kind = KINDS[one.kind]
        found = _look(kind, bytes(one.body), now=now)
        if found.bad and not skips_bad:
            raise NotDone(f"{found.bad} bad row{'' if found.bad == 1 else 's'}: mend the file, or leave them out.")
        if not found.values:
            raise NotDone("It has no good row.")
        news = {place: value for place, value in found.values.items() if found.before.get(place) != value}
        try:
            kind.write(news, by, now)
        except (matching.AlreadyMatched, matching.UnknownAccount, matching.UnknownCustomer) as error:
            raise NotDone(f"Nothing was applied: {error}") from error
        changes = (
            ImportChange(batch=one, place=place, before=found.before.get(place, ""), after=value)
            for place, value in found.values.items()
        )
        while some := list(islice(changes, form.AT_ONCE)):
            ImportChange.objects.bulk_create(some)
        for name, count in _counts(found).items():
            setattr(one, name, count)
        one.body, one.faults, one.applied_by, one.applied_at = None, [], by, now
        one.save()
    log.info("import applied", batch=one.pk, kind=kind.key, by=by, added=one.added, changed=one.changed, bad=one.bad)
    return one


def undo(pk: int, *, by: str, now: datetime) -> Import:
    """Put back what an import added or changed, all of it or nothing. Raises NotDone where later work builds on it."""
    with transaction.atomic():
        one = Import.objects.select_for_update().filter(pk=pk, applied_at__isnull=False, undone_at__isnull=True).first()
        if one is None or one.applied_at is None:
            raise NotDone("This import is not there, or was undone already.")
        kind = KINDS[one.kind]
        _refuse_if_built_upon(one)
        rows = one.changes.exclude(before=F("after")).values_list("place", "before", "after")
        changes = {place: (before, after) for place, before, after in rows.order_by("pk")}
        if reason := kind.refusal(changes, one.applied_at):
            raise NotDone(reason)
        held = kind.held(changes)
        back: dict[str, str | None] = {}
        for place, (before, after) in changes.items():
            there = held.get(place, "")
            if there not in (before, after):
                raise NotDone(f"The {kind.says} of a row was changed by somebody since ({place}). Undo that first.")
            if there != before:
                back[place] = before or None
        try:
            kind.write(back, by, now)
        except (matching.AlreadyMatched, matching.UnknownMatch) as error:
            raise NotDone(f"Nothing was undone: {error}") from error
        one.undone_by, one.undone_at = by, now
        one.save(update_fields=["undone_by", "undone_at"])
    log.info("import undone", batch=one.pk, kind=kind.key, by=by, places=len(back))
    return one


def throw_away(pk: int) -> None:
    """Forget a file that was not applied."""
    Import.objects.filter(pk=pk, applied_at__isnull=True).delete()


def throw_away_old(*, now: datetime) -> None:
    """Forget files that lay for a day and were not applied."""
    Import.objects.filter(applied_at__isnull=True, at__lt=now - KEPT_FOR).delete()


def throw_away_all() -> None:
    """Forget every file that was not applied, because any may tell of a person who is to be forgotten."""
    Import.objects.filter(applied_at__isnull=True).delete()


def newest(*, limit: int) -> Sequence[Import]:
    """Return the newest imports without their files."""
    return list(Import.objects.defer("body", "faults").order_by("-at", "-id")[:limit])


def _look(kind: Kind, body: bytes, *, now: datetime) -> _Looked:
    today = now.astimezone(mrr.reporting_zone()).date()
    values: dict[str, str] = {}
    faults: list[Bad] = []
    bad = 0
    for row in form.read(kind, body, today=today):
        if isinstance(row, Good):
            values[row.place] = row.value
        else:
            bad += 1
            if len(faults) < FAULTS_KEPT:
                faults.append(row)
    return _Looked(values, kind.held(values), tuple(faults), bad)


def _counts(found: _Looked) -> dict[str, int]:
    added, changed = found.added, found.changed
    return {
        "rows": len(found.values) + found.bad,
        "bad": found.bad,
        "added": added,
        "changed": changed,
        "already": len(found.values) - added - changed,
    }


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
