"""Shadow mode: looks up what Salesforce holds of what would be written, in sets, inside the day's reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import structlog
from django.db import transaction
from django.db.models import F, Q

from crm import accounts, records, statements
from crm.channels.kinds import ChannelError, Held, Outcome
from crm.channels.salesforce import fields as names
from crm.models import LoggedWrite, Mode, RecordKind, SalesforceOrg, SyncRecord, WorkState, WriteOutcome
from crm.selectors.sync import SOBJECTS

if TYPE_CHECKING:
    from crm.channels.salesforce.client import Client
    from crm.channels.salesforce.reading import There

log = structlog.get_logger(__name__)

AT_ONCE = 2000
NOT_THERE = frozenset({"INVALID_TYPE", "INVALID_FIELD", "NOT_FOUND"})  # the org lacks the object or a field of it


@dataclass(frozen=True, slots=True)
class Looked:
    """How many would-be writes were compared, and for how many of them a person must choose the Opportunity."""

    records: int = 0
    questions: int = 0


@dataclass(frozen=True, slots=True)
class Aim:
    """What would be written, and to which record: its id where that is known."""

    fields: Mapping[str, Any]
    their_id: str


def look(*, now: datetime, limit: int = AT_ONCE) -> Looked:
    """Compare would-be writes that were not compared yet with what stands in Salesforce; nothing is written there.

    A subscription's Opportunity is looked for as if it were for real, so that the question what it belongs to comes
    before anything is live. Does nothing when the connection is live, nobody answers, or the day's reads are used up.
    """
    org = SalesforceOrg.objects.order_by("pk").first()
    if org is None or org.mode == Mode.LIVE or not accounts.can_be_asked(org, now=now):
        return Looked()
    rows = list(_not_compared()[:limit])
    if not rows or not _may_look(org, now):
        return Looked()
    from crm.channels.salesforce.client import Client

    try:
        with Client(org, now=now) as client:
            held, aims = _aims(client, rows, now=now)
            there = _there(client, org, [row for row in rows if row.pk in aims], aims)
    except ChannelError as error:
        log.warning("would-be writes not compared", code=error.code, message=error.message)
        return Looked()
    return Looked(_keep(rows, aims, there, now=now), _hold(rows, held))


def is_due() -> bool:
    """Say whether there are would-be writes that were not compared since they were made."""
    return _not_compared().exists()


def _not_compared() -> Any:
    rows = SyncRecord.objects.filter(state=WorkState.WOULD_SEND)
    return rows.filter(Q(there_at__isnull=True) | Q(there_at__lt=F("sent_at"))).order_by("pk")


def _may_look(org: SalesforceOrg, now: datetime) -> bool:
    from crm.channels.salesforce import budget

    return budget.may_look(org, now=now)


def _aims(client: Client, rows: Sequence[SyncRecord], *, now: datetime) -> tuple[dict[int, Outcome], dict[int, Aim]]:
    """Return what each record would say and where; the Opportunities are found first, or their question is kept."""
    from crm.channels.salesforce import finding

    chosen = {row.pk: row for row in rows if row.kind == RecordKind.OPPORTUNITY}
    aims = {
        row.pk: Aim(row.fields_sent or {}, row.key if row.kind == RecordKind.ACCOUNT else row.salesforce_id)
        for row in rows
        if row.pk not in chosen
    }
    if not chosen:
        return {}, aims
    made = records.build(list(chosen.values()), now=now)
    built = {pk: one for pk, one in made.items() if isinstance(one, records.Built)}
    looked = finding.find(client, chosen, built, now=now)
    aims |= {pk: Aim(one.fields, one.their_id) for pk, one in looked.found.items()}
    return looked.outcomes, aims


def _there(
    client: Client, org: SalesforceOrg, rows: Sequence[SyncRecord], aims: Mapping[int, Aim]
) -> dict[int, Mapping[str, Any]]:
    """Return what stands of each record, {} where nothing does."""
    found: dict[int, Mapping[str, Any]] = {}
    for kind in RecordKind:
        same = [row for row in rows if row.kind == kind]
        if same:
            found |= _there_of(client, org, RecordKind(kind), same, aims)
    return found


def _there_of(
    client: Client, org: SalesforceOrg, kind: RecordKind, rows: Sequence[SyncRecord], aims: Mapping[int, Aim]
) -> dict[int, Mapping[str, Any]]:
    from crm.channels.salesforce import mapping, reading

    sobject = SOBJECTS[kind]
    is_keyed = kind == RecordKind.SCHEDULE
    wanted = {row.pk: row.key if is_keyed else aims[row.pk].their_id for row in rows}
    column = names.LEDGER_KEY if is_keyed else "Id"
    said = sorted({name for row in rows for name in aims[row.pk].fields} | ({column} if is_keyed else set()))
    standing: dict[str, There] = {}
    values = {value for value in wanted.values() if value}
    try:
        if values and (not is_keyed or reading.has_any(client, sobject)):
            found = reading.by_values(client, mapping.of(org), sobject, said, column=column, values=values)
            standing = {str(one.values.get(column) if is_keyed else one.id).lower(): one for one in found}
    except ChannelError as error:
        if error.code not in NOT_THERE:
            raise
        log.warning("nothing to compare with", sobject=sobject, code=error.code, message=error.message)
    there: dict[int, Mapping[str, Any]] = {}
    for row in rows:
        one = standing.get(wanted[row.pk].lower())
        there[row.pk] = {name: one.values.get(name) for name in aims[row.pk].fields} if one else {}
    return there


# ---- keeping ----


def _keep(
    rows: Iterable[SyncRecord], aims: Mapping[int, Aim], there: Mapping[int, Mapping[str, Any]], *, now: datetime
) -> int:
    """Write down what stands there, of the records that have not changed meanwhile; returns how many."""
    seen = {row.pk: row.sent_at for row in rows if row.pk in there}
    with transaction.atomic():
        locked = SyncRecord.objects.filter(pk__in=seen, state=WorkState.WOULD_SEND).order_by("pk").select_for_update()
        kept = [row for row in locked if row.sent_at == seen[row.pk]]
        for row in kept:
            row.there, row.there_at, row.fields_sent = dict(there[row.pk]), now, dict(aims[row.pk].fields)
        statements.save(kept, ["there", "there_at", "fields_sent"])
        same: dict[tuple[int | None, datetime | None], SyncRecord] = {(row.pk, row.sent_at): row for row in kept}
        lines = LoggedWrite.objects.filter(record_id__in=seen, outcome=WriteOutcome.WOULD_SEND)
        logged = [line for line in lines if (line.record_id, line.at) in same]
        for line in logged:
            row = same[line.record_id, line.at]
            line.before, line.request = row.there, row.fields_sent
        statements.save(logged, ["before", "request"])
    return len(kept)


def _hold(rows: Iterable[SyncRecord], held: Mapping[int, Outcome]) -> int:
    count = 0
    for row in rows:
        outcome = held.get(row.pk)
        if isinstance(outcome, Held):
            same = SyncRecord.objects.filter(pk=row.pk, state=WorkState.WOULD_SEND, wanted=row.wanted)
            count += same.update(state=WorkState.HELD, error_code=outcome.code, error=outcome.message)
    return count
