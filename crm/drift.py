"""Drift: what we last wrote against what stands in Salesforce, and what a person decides about each difference.

Overwrite writes our value again. Adopt leaves theirs: the field stays out of our writes until our value is another one
than today's. Ignore says no more of this difference until theirs changes again; the next write of the record puts ours
there. What our own user wrote last is never taken for a change of somebody else's, so nothing goes round in circles.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

import structlog
from django.db import transaction
from django.db.models import F

from crm import accounts
from crm.channels.kinds import ChannelError
from crm.channels.salesforce import fields as names
from crm.differences import BOOKED, IS_DELETED, agree, differing
from crm.models import Drift, DriftState, Mode, RecordKind, SalesforceOrg, SyncRecord, WorkState
from crm.selectors.sync import SOBJECTS

if TYPE_CHECKING:
    from crm.channels.salesforce.client import Client
    from crm.channels.salesforce.mapping import FieldMap
    from crm.channels.salesforce.reading import There

log = structlog.get_logger(__name__)

OVERLAP = timedelta(minutes=10)  # a record saved by a long transaction is stamped before it can be seen
AT_ONCE = 500
DELETED_THERE = "deleted_there"
# A record of theirs is one of ours when one of these is filled; asked for when all are compared.
MARKS = {
    RecordKind.ACCOUNT: ("Ledger_Version__c", "MRR__c"),
    RecordKind.OPPORTUNITY: (names.SUBSCRIPTION_ID, "Committed_ARR__c"),
    RecordKind.SCHEDULE: (),
}


class NotChecked(Exception):
    """Nothing was compared; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Checked:
    """How many records others had changed, how many fields differ now that did not before, and how many agree again."""

    records: int = 0
    found: int = 0
    gone: int = 0

    def __add__(self, other: Checked) -> Checked:
        return Checked(self.records + other.records, self.found + other.found, self.gone + other.gone)


# ---- finding ----


def check(*, now: datetime, everything: bool = False) -> Checked:
    """Compare what others changed since the last check, or ever, with what we wrote; raises NotChecked.

    Talks to Salesforce with no transaction open. Fields that we write once (the stage, date and amount of a won
    Opportunity) are the rep's from then on and not compared; records with a newer value on its way neither.
    """
    org = comparable(now)
    since = None if everything or org.compared_to is None else org.compared_to - OVERLAP
    done = Checked(gone=_written_since())
    from crm.channels.salesforce import mapping
    from crm.channels.salesforce.client import Client

    try:
        with Client(org, now=now) as client:
            mapped = mapping.of(org)
            for kind in RecordKind:
                done += _check_kind(client, mapped, RecordKind(kind), since, now=now)
    except ChannelError as error:
        raise NotChecked(f"{error.message} ({error.code})") from None
    SalesforceOrg.objects.filter(pk=org.pk).update(compared_to=now)
    return done


def comparable(now: datetime) -> SalesforceOrg:
    """Return the org if it can be compared with now; raises NotChecked."""
    from crm.channels.salesforce import budget

    org = SalesforceOrg.objects.order_by("pk").first()
    if org is None or org.is_demo:
        raise NotChecked("There is no Salesforce org to compare with. Connect one first.")
    if org.mode != Mode.LIVE:
        raise NotChecked("In shadow mode nothing of ours stands in Salesforce, so there is nothing to compare.")
    if not accounts.can_be_asked(org, now=now):
        raise NotChecked("Salesforce does not answer us now. The connection's page says why.")
    if not budget.may_look(org, now=now):
        raise NotChecked("The day's reads are used up. They are free again at midnight.")
    return org


def _written_since() -> int:
    """Close the differences of records that we wrote since: what stands there is ours again."""
    rows = Drift.objects.filter(state=DriftState.OPEN, record__sent_at__gt=F("found_at")).exclude(field=IS_DELETED)
    return rows.update(state=DriftState.GONE)


def _check_kind(
    client: Client, mapped: FieldMap, kind: RecordKind, since: datetime | None, *, now: datetime
) -> Checked:
    from crm.channels.salesforce import reading

    sobject = SOBJECTS[kind]
    found = reading.changed_by_others(
        client,
        mapped,
        sobject,
        compared(kind),
        our_user_id=client.org.integration_user_id,
        since=since,
        holding=MARKS[kind],
        with_deleted=kind == RecordKind.SCHEDULE,
    )
    done = Checked()
    for chunk in _chunks(found):
        done += compare(kind, chunk, now=now)
    return done


def compared(kind: RecordKind) -> list[str]:
    """Return our names of the fields that are compared: what we write once is the rep's from then on."""
    return [one.name for one in names.NEEDED if one.sobject == SOBJECTS[kind] and one.name not in BOOKED]


def suspects(kind: RecordKind, found: Sequence[There]) -> list[str]:
    """Return the ids of living records that differ from what we wrote."""
    rows = _ours(kind, found)
    return [
        one.id
        for one in found
        if not one.is_deleted and (row := rows.get(_key_of(kind, one))) is not None and _differences(row, one)
    ]


def compare(
    kind: RecordKind, found: Sequence[There], *, now: datetime, sent_at: Mapping[int, datetime | None] | None = None
) -> Checked:
    """Write down the differences of some records, and close those that agree again.

    `sent_at` holds when each was sent last before it was read there: one that was sent again since is left out.
    """
    rows = _ours(kind, found)
    with transaction.atomic():
        past = _past([row.pk for row in rows.values()])
        open_before = {pk for (pk, _), kept in past.items() if any(one.state == DriftState.OPEN for one in kept)}
        count = gone = 0
        for one in found:
            row = rows.get(_key_of(kind, one))
            if row is None or _is_on_its_way(row) or (sent_at is not None and sent_at.get(row.pk) != row.sent_at):
                continue
            differs = _differences(row, one)
            for name, (ours, theirs) in differs.items():
                count += _note(row, name, ours, theirs, one, past.get((row.pk, name), ()), now=now)
            if row.pk in open_before:
                agreed = Drift.objects.filter(record=row, state=DriftState.OPEN).exclude(field__in=differs)
                gone += agreed.update(state=DriftState.GONE)
    return Checked(len(rows), count, gone)


def _ours(kind: RecordKind, found: Sequence[There]) -> dict[str, SyncRecord]:
    keys = [_key_of(kind, one) for one in found]
    column = "salesforce_id" if kind == RecordKind.OPPORTUNITY else "key"
    rows = SyncRecord.objects.filter(kind=kind, confirmed__gt=0, fields_sent__isnull=False, **{f"{column}__in": keys})
    return {getattr(row, column): row for row in rows}


def _key_of(kind: RecordKind, one: There) -> str:
    return str(one.values.get(names.LEDGER_KEY) or "") if kind == RecordKind.SCHEDULE else one.id


def _is_on_its_way(row: SyncRecord) -> bool:
    return row.state != WorkState.SENT or row.wanted > row.confirmed


def _differences(row: SyncRecord, one: There) -> dict[str, tuple[Any, Any]]:
    """Return what differs and was not left to Salesforce by a person."""
    if one.is_deleted:
        # Salesforce may hold a living one by the same key: then this is the one that we replaced.
        return {IS_DELETED: (False, True)} if row.salesforce_id in ("", one.id) else {}
    found = differing(
        {name: value for name, value in (row.fields_sent or {}).items() if name not in BOOKED}, one.values
    )
    return {
        name: pair
        for name, pair in found.items()
        if name not in row.accepted or not agree(row.accepted[name].get("theirs"), pair[1])
    }


def _past(pks: Collection[int]) -> dict[tuple[int, str], list[Drift]]:
    past: dict[tuple[int, str], list[Drift]] = {}
    rows = Drift.objects.filter(record_id__in=pks, state__in=(DriftState.OPEN, DriftState.IGNORED)).order_by("pk")
    for row in rows:
        past.setdefault((row.record_id, row.field), []).append(row)
    return past


def _note(
    row: SyncRecord, name: str, ours: Any, theirs: Any, one: There, past: Sequence[Drift], *, now: datetime
) -> int:
    """Keep one difference; returns 1 when it is news."""
    open_one = next((each for each in past if each.state == DriftState.OPEN), None)
    said = {"ours": ours, "theirs": theirs, "changed_by": one.changed_by[:255], "changed_at": one.changed_at}
    if open_one is not None:
        Drift.objects.filter(pk=open_one.pk).update(**said)
        return 0
    if past and agree(past[-1].theirs, theirs):
        return 0  # ignored, and still the same
    Drift.objects.create(record=row, field=name, found_at=now, **said)
    return 1


def _chunks(found: Iterator[There]) -> Iterator[list[There]]:
    while chunk := list(islice(found, AT_ONCE)):
        yield chunk


# ---- deciding ----


def overwrite(pks: Collection[int], *, by: str, now: datetime) -> int:
    """Owe our value again for each open difference; returns how many."""
    with transaction.atomic():
        chosen = _open(pks)
        for row, drifts in _by_record(chosen):
            kept = dict(row.fields_sent or {})
            for drift in drifts:
                kept.pop(drift.field, None)
                row.accepted.pop(drift.field, None)
            row.fields_sent = kept
            if any(drift.field == IS_DELETED for drift in drifts):
                row.fields_sent, row.salesforce_id = {}, ""
            row.wanted, row.state, row.due_at, row.attempts = row.wanted + 1, WorkState.WAITING, now, 0
            row.error_code = row.error = ""
            row.save(
                update_fields=[
                    "fields_sent", "accepted", "salesforce_id", "wanted", "state", "due_at", "attempts", "error_code",
                    "error",
                ]
            )  # fmt: skip
        return _decided(chosen, DriftState.OVERWRITTEN, by=by, now=now)


def adopt(pks: Collection[int], *, by: str, now: datetime) -> int:
    """Leave theirs standing until our value is another one; returns how many.

    A record that was deleted there stays deleted: it is not written again until its customer's match changes.
    """
    with transaction.atomic():
        chosen = _open(pks)
        for row, drifts in _by_record(chosen):
            for drift in drifts:
                if drift.field == IS_DELETED:
                    row.state, row.error_code = WorkState.DROPPED, DELETED_THERE
                    row.error = f"It was deleted in Salesforce, and {by} left it so."
                else:
                    row.accepted[drift.field] = {"ours": drift.ours, "theirs": drift.theirs}
            row.save(update_fields=["accepted", "state", "error_code", "error"])
        return _decided(chosen, DriftState.ADOPTED, by=by, now=now)


def ignore(pks: Collection[int], *, by: str, now: datetime) -> int:
    """Say no more of these differences until theirs change again; returns how many."""
    with transaction.atomic():
        return _decided(_open(pks), DriftState.IGNORED, by=by, now=now)


DECISIONS = {"overwrite": overwrite, "adopt": adopt, "ignore": ignore}


def _open(pks: Collection[int]) -> list[Drift]:
    rows = Drift.objects.filter(pk__in=pks, state=DriftState.OPEN).order_by("record_id", "pk")
    return list(rows.select_for_update())


def _by_record(chosen: Iterable[Drift]) -> list[tuple[SyncRecord, list[Drift]]]:
    of: dict[int, list[Drift]] = {}
    for drift in chosen:
        of.setdefault(drift.record_id, []).append(drift)
    rows = SyncRecord.objects.filter(pk__in=of).order_by("pk").select_for_update()
    return [(row, of[row.pk]) for row in rows]


def _decided(chosen: Sequence[Drift], state: DriftState, *, by: str, now: datetime) -> int:
    rows = Drift.objects.filter(pk__in=[drift.pk for drift in chosen])
    return rows.update(state=state, decided_by=by, decided_at=now)
