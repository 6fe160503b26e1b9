"""The patrol: compares every record we wrote with what stands in Salesforce, 2,000 a call, in turns through the night.

The check of drift.py asks for what others changed since the last one. That misses what our own user changed elsewhere,
what a purge or a restored sandbox took away, and whatever a window was too short for. The patrol goes over all records
by their ids: five calls for 10,000 of one kind, and one more for 2,000 among which something differs. Where the night
ends before the round does, the next night goes on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from crm import drift
from crm.channels.kinds import ChannelError
from crm.channels.salesforce import fields as names
from crm.models import RecordKind, SalesforceOrg, SyncRecord, WorkState
from crm.selectors.sync import SOBJECTS

if TYPE_CHECKING:
    from crm.channels.salesforce.client import Client
    from crm.channels.salesforce.mapping import FieldMap
    from crm.channels.salesforce.reading import There

AT_ONCE = 2000  # records that one call reads
CALLS = 5  # a turn
SECONDS = 15.0  # a turn: a worker that takes longer would seem to be stuck
ROUND = timedelta(hours=20)


def take_turn(*, now: datetime, calls: int = CALLS) -> drift.Checked:
    """Compare the next records of this night's round; raises drift.NotChecked. Does nothing when the round is done.

    Talks to Salesforce with no transaction open. Records with a newer value on its way are left out, and so are those
    whose id in Salesforce we never learned. An Account that is gone is the mirror's to find.
    """
    from crm.channels.salesforce import budget, mapping
    from crm.channels.salesforce.client import Client

    org = drift.comparable(now)
    done, left, until = drift.Checked(), calls, time.monotonic() + SECONDS
    if org.patrolled_at is not None and now - org.patrolled_at < ROUND:
        return done
    reached = dict(org.patrolled)
    try:
        with Client(org, now=now) as client:
            mapped = mapping.of(org)
            for kind in RecordKind:
                while rows := _next(RecordKind(kind), reached.get(kind, 0)):
                    if left <= 0 or time.monotonic() > until or not budget.may_look(org, now=now):
                        return done
                    left -= 1
                    done += _compare(client, mapped, RecordKind(kind), rows, now=now)
                    reached[kind] = rows[-1].pk
            SalesforceOrg.objects.filter(pk=org.pk).update(patrolled_at=now)
            reached = {}
    except ChannelError as error:
        raise drift.NotChecked(f"{error.message} ({error.code})") from None
    finally:
        SalesforceOrg.objects.filter(pk=org.pk).update(patrolled=reached)
    return done


def _next(kind: RecordKind, after_pk: int) -> list[SyncRecord]:
    rows = SyncRecord.objects.filter(
        kind=kind, pk__gt=after_pk, state=WorkState.SENT, confirmed__gt=0, fields_sent__isnull=False
    )
    if kind != RecordKind.ACCOUNT:
        rows = rows.exclude(salesforce_id="")
    return list(rows.only("pk", "key", "salesforce_id", "sent_at").order_by("pk")[:AT_ONCE])


def _compare(
    client: Client, mapped: FieldMap, kind: RecordKind, rows: Sequence[SyncRecord], *, now: datetime
) -> drift.Checked:
    from crm.channels.salesforce import reading

    sobject, compared = SOBJECTS[kind], drift.compared(kind)
    rows_by_id = {(row.key if kind == RecordKind.ACCOUNT else row.salesforce_id): row for row in rows}
    found = reading.by_ids(client, mapped, sobject, compared, ids=sorted(rows_by_id))
    gone = sorted(rows_by_id.keys() - {one.id for one in found})
    found += _gone(kind, gone, rows_by_id, now=now)
    named = _who_changed(client, mapped, kind, drift.suspects(kind, found))
    done = drift.Checked()
    for start in range(0, len(found), drift.AT_ONCE):
        chunk = [named.get(one.id, one) for one in found[start : start + drift.AT_ONCE]]
        done += drift.compare(kind, chunk, now=now, sent_at={row.pk: row.sent_at for row in rows})
    return done


def _who_changed(client: Client, mapped: FieldMap, kind: RecordKind, ids: Sequence[str]) -> Mapping[str, There]:
    """Read the few that differ again, with the name of who changed them last."""
    from crm.channels.salesforce import reading

    if not ids:
        return {}
    again = reading.by_values(client, mapped, SOBJECTS[kind], drift.compared(kind), column="Id", values=ids)
    return {one.id: one for one in again}


def _gone(kind: RecordKind, ids: Sequence[str], rows: Mapping[str, SyncRecord], *, now: datetime) -> list[There]:
    from crm.channels.salesforce.reading import There

    if kind == RecordKind.ACCOUNT:
        return []
    nothing = There("", {}, is_deleted=True, changed_at=None, changed_by="")
    return [replace(nothing, id=one, values={names.LEDGER_KEY: rows[one].key}) for one in ids]
