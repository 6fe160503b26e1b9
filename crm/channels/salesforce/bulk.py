"""Bulk API 2.0: thousands of one kind in a few calls, step by step in rows, so that another worker can carry on."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import connection, transaction
from django.db.models import F

from crm import outbox, statements
from crm.channels.kinds import ChannelError, Outcome, Parcel, Permanent, Transient, Unclear, Wait
from crm.channels.salesforce import (
    SalesforceChannel,
    after_gone_accounts,
    build,
    changed,
    current_org,
    errors,
    is_live,
    mapping,
    sheets,
    written,
)
from crm.channels.salesforce import fields as names
from crm.channels.salesforce.client import Client
from crm.channels.salesforce.packing import BULK_FROM, Write, goes_by_bulk
from crm.ids import MalformedId, long_id
from crm.models import BulkJob, BulkRow, BulkState, RecordKind, SalesforceOrg, SyncRecord

log = structlog.get_logger(__name__)

MOST_ROWS = 50_000  # of one job: some 40 MB of the 150 MB it may have
FEWEST_ROWS = 1000  # what is left when the unchanged are out may go by one Composite request
AT_ONCE = 1000
LEASE = timedelta(minutes=2)  # of one step
KEEPS = timedelta(hours=26)  # Salesforce gives a job up after a day
GIVES_UP = timedelta(hours=24)
ATTEMPTS = 8
POLL_SECONDS = (2, 3, 5, 10, 20, 30, 60, 120, 300)
DONE = frozenset({"JobComplete", "Failed", "Aborted"})
ENDED = (BulkState.ENDED, BulkState.ABORTED)


@dataclass(frozen=True, slots=True)
class Kind:
    """How records of one kind go: their object there, the operation and the key that results are joined by."""

    sobject: str
    operation: str
    key_field: str


KINDS = {
    RecordKind.SCHEDULE: Kind(names.MRR_SCHEDULE, "upsert", names.LEDGER_KEY),
    RecordKind.ACCOUNT: Kind(names.ACCOUNT, "update", "Id"),
    RecordKind.OPPORTUNITY: Kind(names.OPPORTUNITY, "update", "Id"),
}


def carry_on(*, now: datetime) -> outbox.Settled:
    """Begin a job where more than 2,000 records of a kind are due, and do the next steps of those under way."""
    org = current_org()
    settled = outbox.Settled()
    if org is None or org.held_since or not is_live(org):
        return settled
    if SalesforceChannel().is_open(now=now):
        for kind in KINDS:
            _begin(org, kind, now=now)
    while (job := _take(now=now)) is not None:
        settled += _advance(job, now=now)
    return settled


# ---- beginning ----


def _begin(org: SalesforceOrg, kind: RecordKind, *, now: datetime) -> None:
    """Claim the due records of a kind for one job, when they are many and no job of the kind is under way."""
    due = outbox.due_records(now=now).filter(kind=kind)
    if kind == RecordKind.OPPORTUNITY:
        due = due.exclude(salesforce_id="")  # which one it is, is found in smaller numbers
    if not goes_by_bulk(due.order_by()[: BULK_FROM + 1].count()):
        return
    how = KINDS[kind]
    if BulkJob.objects.filter(org=org, sobject=how.sobject).exclude(state__in=ENDED).exists():
        return
    with transaction.atomic():
        job = BulkJob.objects.create(
            org=org,
            sobject=how.sobject,
            operation=how.operation,
            key_field=how.key_field,
            rows=0,
            due_at=now,
            created_at=now,
        )
        if connection.features.has_select_for_update_skip_locked:
            due = due.select_for_update(skip_locked=True)
        pks = list(due.order_by("priority", "due_at", "pk").values_list("pk", flat=True)[:MOST_ROWS])
        for chunk in _chunks(pks):
            SyncRecord.objects.filter(pk__in=chunk).update(
                leased_until=now + KEEPS, bulk_job=job, attempts=F("attempts") + 1
            )
    log.info("bulk job begun", sobject=job.sobject, records=len(pks))


def _take(*, now: datetime) -> BulkJob | None:
    """Take the lease of a job that has a step to do; the attempt is counted before the work."""
    for pk in outbox.due_jobs(now=now).order_by("due_at", "pk").values_list("pk", flat=True):
        taken = outbox.due_jobs(now=now).filter(pk=pk).update(leased_until=now + LEASE, attempts=F("attempts") + 1)
        if taken:
            return BulkJob.objects.select_related("org").get(pk=pk)
    return None


def _advance(job: BulkJob, *, now: datetime) -> outbox.Settled:
    """Do one step; what goes wrong is written on the job, whose next try looks where the last one stopped."""
    try:
        with Client(job.org, now=now) as client:
            return STEPS[BulkState(job.state)](job, client, now)
    except Wait as error:
        _put_off(job, error, until=error.until, attempts=max(0, job.attempts - 1))
    except ChannelError as error:
        if isinstance(error, Permanent) or job.attempts >= ATTEMPTS:
            return _give_up(job, error, now=now)
        pause = min(600, 5 * 3 ** (job.attempts - 1))
        _put_off(job, error, until=now + timedelta(seconds=pause), attempts=job.attempts)
    return outbox.Settled()


def _put_off(job: BulkJob, error: ChannelError, *, until: datetime, attempts: int) -> None:
    BulkJob.objects.filter(pk=job.pk).update(
        leased_until=None, due_at=until, attempts=attempts, error_code=error.code, error=error.message
    )


def _next(job: BulkJob, state: BulkState, *, now: datetime, due_at: datetime | None = None) -> outbox.Settled:
    job.state, job.attempts, job.leased_until, job.due_at = state, 0, None, due_at or now
    job.error_code = job.error = ""
    if state in ENDED:
        job.ended_at = now
    job.save()
    return outbox.Settled()


# ---- the steps ----


def _make(job: BulkJob, client: Client, now: datetime) -> outbox.Settled:
    """Write down what the job carries, then ask for it; its id is kept before anything is loaded."""
    settled = outbox.Settled()
    if not job.rows or job.attempts > 1:
        settled = _fill(job, now=now)
    if job.rows < FEWEST_ROWS:
        _let_go(job)
        _next(job, BulkState.ENDED, now=now)
        return settled
    if job.attempts > 1:
        _close_orphans(job, client)
    asked = {"object": job.sobject, "operation": job.operation, "contentType": "CSV", "lineEnding": "LF"}
    if job.operation == "upsert":
        asked["externalIdFieldName"] = job.columns[0]
    answer = client.restful("jobs/ingest", method="POST", json=asked)
    job.job_id = str((answer or {}).get("id") or "")
    if not job.job_id:
        raise Unclear("UNREADABLE_ANSWER", "Salesforce did not say the id of the Bulk job.")
    _next(job, BulkState.OPEN, now=now)
    return settled


def _fill(job: BulkJob, *, now: datetime) -> outbox.Settled:
    """Build what each record should say now and keep it, siblings of one Account together; the rest is settled.

    A record with a text that Bulk would take for a blank is left to the collections of Composite requests.
    """
    BulkRow.objects.filter(job=job).delete()
    settled = outbox.Settled()
    theirs = mapping.of(job.org)
    carried: list[tuple[str, BulkRow]] = []
    columns: set[str] = set()
    pks = list(SyncRecord.objects.filter(bulk_job=job).order_by("pk").values_list("pk", flat=True))
    for chunk in _chunks(pks):
        rows = SyncRecord.objects.in_bulk(chunk)
        built, unsaid = build(rows, now=now)
        writes, unchanged = changed(rows, built)
        settled += _settle([rows[ref] for ref in (unsaid | unchanged)], unsaid | unchanged, now=now)
        apart = {write.row for write in writes if sheets.would_blank(theirs.apply(job.sobject, write.fields))}
        SyncRecord.objects.filter(pk__in=apart).update(bulk_job=None, leased_until=None, attempts=0)
        for write in writes:
            if write.row in apart:
                continue
            columns |= theirs.apply(job.sobject, write.fields).keys()
            carried.append((write.group, _row(job, rows[write.row], write)))
    carried.sort(key=lambda one: one[0])
    for start in range(0, len(carried), AT_ONCE):
        statements.insert_new([row for _, row in carried[start : start + AT_ONCE]])
    key_column = theirs.name(job.sobject, job.key_field)
    job.rows, job.columns = len(carried), [key_column, *sorted(columns - {key_column})]
    job.save(update_fields=["rows", "columns"])
    return settled


def _row(job: BulkJob, record: SyncRecord, write: Write) -> BulkRow:
    assert record.leased_until is not None
    return BulkRow(
        job=job,
        record=record,
        key=write.their_id if job.key_field == "Id" else write.key,
        wanted=record.wanted,
        leased_until=record.leased_until,
        fields=dict(write.fields),
    )


def _close_orphans(job: BulkJob, client: Client) -> None:
    """Abort jobs that a worker was killed over before it could keep their id: they would stay open for a week."""
    answer = client.restful("jobs/ingest", params={"jobType": "V2Ingest"}) or {}
    known = set(BulkJob.objects.exclude(job_id="").values_list("job_id", flat=True))
    since = job.created_at - timedelta(minutes=5)
    for one in answer.get("records", ()):
        is_ours = one.get("object") == job.sobject and one.get("operation") == job.operation
        user = job.org.integration_user_id
        is_ours = is_ours and (not user or one.get("createdById") in (None, user))
        created = datetime.fromisoformat(str(one.get("createdDate")).replace("+0000", "+00:00"))
        if is_ours and one.get("state") == "Open" and one.get("id") not in known and created >= since:
            log.warning("bulk job of a killed worker aborted", job_id=one["id"])
            _abort(client, str(one["id"]))


def _load(job: BulkJob, client: Client, now: datetime) -> outbox.Settled:
    """Give the job its rows and close it; one that may have them already is looked at first."""
    if job.attempts > 1:
        state = str((client.restful(f"jobs/ingest/{job.job_id}") or {}).get("state") or "")
        if state == "Open":
            _abort(client, job.job_id)
        if state in ("Open", "Aborted"):
            job.job_id = ""
            return _next(job, BulkState.MAKING, now=now)
        return _next(job, BulkState.RUNNING, now=now)
    client.put_csv(f"jobs/ingest/{job.job_id}/batches", sheets.csv_of(job.columns, _carried(job)))
    client.restful(f"jobs/ingest/{job.job_id}", method="PATCH", json={"state": "UploadComplete"})
    return _next(job, BulkState.RUNNING, now=now, due_at=now + timedelta(seconds=POLL_SECONDS[0]))


def _poll(job: BulkJob, client: Client, now: datetime) -> outbox.Settled:
    answer = client.restful(f"jobs/ingest/{job.job_id}") or {}
    if answer.get("state") in DONE:
        _next(job, BulkState.READING, now=now)
        BulkJob.objects.filter(pk=job.pk).update(error=errors.scrubbed(str(answer.get("errorMessage") or "")))
        return outbox.Settled()
    if now - job.created_at > GIVES_UP:
        _abort(client, job.job_id)
    job.polls += 1
    wait = POLL_SECONDS[min(job.polls, len(POLL_SECONDS) - 1)]
    return _next(job, BulkState.RUNNING, now=now, due_at=now + timedelta(seconds=wait))


def _read(job: BulkJob, client: Client, now: datetime) -> outbox.Settled:
    """Read what became of each row and settle it; results come in no order and are joined by the key."""
    ids: dict[str, str] = {}
    refused: dict[str, ChannelError] = {}
    for row in _results(job, client, "successfulResults"):
        ids[row[job.columns[0]]] = row.get("sf__Id", "")
    if len(ids) < job.rows:
        for row in _results(job, client, "failedResults"):
            refused[row[job.columns[0]]] = errors.bulk_error(row.get("sf__Error", ""), now=now)
    left: set[str] = set()
    if len(ids) + len(refused) < job.rows:
        left = {row[job.columns[0]] for row in _results(job, client, "unprocessedrecords")}
    lost = _lost(job, is_whole=not ids and not refused and not left)
    again = Transient("BULK_UNPROCESSED", "Salesforce stopped the job before this record; it goes with another.")

    def outcome(carried: BulkRow, record: SyncRecord) -> Outcome:
        if carried.key in ids:
            return written(record, carried.fields, their_id=_id(ids[carried.key]))
        return refused.get(carried.key) or (again if carried.key in left else lost)

    settled = _settle_carried(job, outcome, now=now)
    job.failed = len(refused)
    _next(job, BulkState.ENDED, now=now)
    return settled


STEPS: dict[BulkState, Callable[[BulkJob, Client, datetime], outbox.Settled]] = {
    BulkState.MAKING: _make,
    BulkState.OPEN: _load,
    BulkState.RUNNING: _poll,
    BulkState.READING: _read,
}


def _lost(job: BulkJob, *, is_whole: bool) -> ChannelError:
    """What to say of rows that no result speaks of: the whole job was refused, or the answer was cut short."""
    if is_whole and job.error:
        missing = job.error.rpartition("Field name not found : ")[2] if "Field name not found" in job.error else ""
        if missing:
            return Permanent("INVALID_FIELD", f"No such column '{missing}' on {job.sobject}", fields=(missing,))
        return Permanent("BULK_JOB_FAILED", job.error)
    return Unclear("BULK_NO_RESULT", "The Bulk job's results do not speak of this record.")


def _give_up(job: BulkJob, error: ChannelError, *, now: datetime) -> outbox.Settled:
    """End a job that cannot go on: its records are parked, or tried otherwise where they may have been written."""
    log.warning("bulk job given up", sobject=job.sobject, code=error.code, message=error.message)
    may_stand = job.state in (BulkState.RUNNING, BulkState.READING)
    said = Unclear(error.code, error.message) if may_stand else error
    settled = _settle_carried(job, lambda carried, record: said, now=now)
    _let_go(job)
    _next(job, BulkState.ABORTED, now=now)
    BulkJob.objects.filter(pk=job.pk).update(error_code=error.code, error=error.message)
    return settled


def _let_go(job: BulkJob) -> None:
    """Make due again what the job claimed and does not carry."""
    BulkRow.objects.filter(job=job).delete()
    SyncRecord.objects.filter(bulk_job=job).update(bulk_job=None, leased_until=None, attempts=0)


def forget_all(*, now: datetime) -> None:
    """End every job that is under way without asking Salesforce, because what we know of them is old news."""
    for job in BulkJob.objects.exclude(state__in=ENDED):
        with transaction.atomic():
            _let_go(job)
            _next(job, BulkState.ABORTED, now=now)


def _abort(client: Client, job_id: str) -> None:
    try:
        client.restful(f"jobs/ingest/{job_id}", method="PATCH", json={"state": "Aborted"})
    except Permanent as error:
        log.warning("bulk job not aborted", job_id=job_id, code=error.code)  # it ended meanwhile


# ---- settling ----


def _settle_carried(
    job: BulkJob, outcome: Callable[[BulkRow, SyncRecord], Outcome], *, now: datetime
) -> outbox.Settled:
    """Settle what the job carries, a thousand at a time; what was settled is carried no more."""
    settled = outbox.Settled()
    while carried := list(BulkRow.objects.filter(job=job).order_by("pk")[:AT_ONCE]):
        records = SyncRecord.objects.in_bulk([one.record_id for one in carried])
        outcomes: dict[int, Outcome] = {}
        asked: dict[int, Mapping[str, Any]] = {}
        for one in carried:
            record = records[one.record_id]
            outcomes[record.ref] = outcome(one, record)
            asked[record.ref] = {"method": "PUT", "path": f"jobs/ingest/{job.job_id}/batches", "fields": one.fields}
            record.wanted, record.leased_until = one.wanted, one.leased_until  # as they were when it was read
        outcomes |= after_gone_accounts(outcomes, [_as_write(job, one) for one in carried], now=now)
        with transaction.atomic():
            settled += _settle(list(records.values()), outcomes, now=now, asked=asked)
            BulkRow.objects.filter(pk__in=[one.pk for one in carried]).delete()
    return settled


def _as_write(job: BulkJob, carried: BulkRow) -> Write:
    group = carried.key if job.sobject == names.ACCOUNT else str(carried.fields.get("Account__c") or "")
    return Write(carried.record_id, group, job.sobject, carried.fields)


def _settle(
    rows: Sequence[SyncRecord],
    outcomes: Mapping[int, Outcome],
    *,
    now: datetime,
    asked: dict[int, Mapping[str, Any]] | None = None,
) -> outbox.Settled:
    return outbox.settle(Parcel(tuple(rows), send_until=0.0, asked=asked or {}), outcomes, now=now)


# ---- reading and writing rows ----


def _carried(job: BulkJob) -> Iterator[tuple[str, Mapping[str, Any]]]:
    theirs = mapping.of(job.org)
    rows = BulkRow.objects.filter(job=job).order_by("pk").values_list("key", "fields")
    for key, fields in rows.iterator(chunk_size=AT_ONCE):
        yield key, theirs.apply(job.sobject, fields)


def _results(job: BulkJob, client: Client, which: str) -> Iterator[dict[str, str]]:
    text = client.text(f"jobs/ingest/{job.job_id}/{which}/")
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if text and job.columns[0] not in (reader.fieldnames or ()):
        raise Transient("UNREADABLE_ANSWER", "The results of the Bulk job cannot be read.")
    yield from reader


def _id(text: str) -> str:
    try:
        return long_id(text)
    except MalformedId:
        return ""


def _chunks(pks: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(pks), AT_ONCE):
        yield pks[start : start + AT_ONCE]
