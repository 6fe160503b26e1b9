"""Bulk API 2.0, as far as we use it: ingest and query jobs, their states, and results in no order."""

from __future__ import annotations

import base64
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import rest, soql
from .errors import MoreThanOne, SalesforceError, not_found
from .values import stamp

if TYPE_CHECKING:
    from .org import FakeSalesforce

MAX_BYTES = 150 * 1024 * 1024
LINE_ENDINGS = {"LF": "\n", "CRLF": "\r\n"}
OPERATIONS = ("insert", "update", "upsert", "delete")
# No chunking by primary key with the last two: Salesforce says not to use them, so we refuse them.
NOT_IN_BULK = re.compile(r"\b(GROUP BY|OFFSET|TYPEOF|COUNT\s*\(|ORDER BY|LIMIT)", re.IGNORECASE)
DONE = ("JobComplete", "Failed", "Aborted")
Row = dict[str, str]


@dataclass
class Job:
    """One job; `polls` are the looks that still find it in progress."""

    id: str
    kind: str
    given: dict[str, Any]
    created: str
    created_by: str = ""
    state: str = "Open"
    error: str | None = None
    uploaded: bytes | None = None
    polls: int = 0
    processed: int = 0
    columns: list[str] = field(default_factory=list)
    good: list[Row] = field(default_factory=list)
    bad: list[Row] = field(default_factory=list)
    left: list[Row] = field(default_factory=list)

    def shown(self, version: str) -> dict[str, Any]:
        body = {
            "id": self.id, "operation": self.given["operation"], "object": self.given.get("object"),
            "state": self.state,
            "createdById": self.created_by, "createdDate": self.created, "systemModstamp": self.created,
            "concurrencyMode": "Parallel",
            "contentType": "CSV", "apiVersion": float(version[1:]),
            "jobType": "V2Query" if self.kind == "query" else "V2Ingest",
            "lineEnding": self.given.get("lineEnding", "LF"), "columnDelimiter": "COMMA",
            "numberRecordsProcessed": self.processed,
        }  # fmt: skip
        if self.kind == "ingest":
            body |= {"contentUrl": f"services/data/{version}/jobs/ingest/{self.id}/batches",
                     "externalIdFieldName": self.given.get("externalIdFieldName"),
                     "numberRecordsFailed": len(self.bad)}  # fmt: skip
        return body | ({"errorMessage": self.error} if self.error else {})


def answer(org: FakeSalesforce, call: rest.Call, parts: list[str]) -> rest.Reply:
    match parts:
        case ["ingest" | "query" as kind]:
            return _jobs(org, call, kind)
        case ["ingest", job_id, "batches"] if call.method == "PUT":
            return _upload(_job(org, "ingest", job_id), call)
        case ["ingest", job_id, "successfulResults" | "failedResults" | "unprocessedrecords" as which]:
            return _results(_job(org, "ingest", job_id), which)
        case ["query", job_id, "results"]:
            return _query_results(_job(org, "query", job_id), call)
        case ["ingest" | "query" as kind, job_id]:
            return _one(org, call, _job(org, kind, job_id))
    raise not_found()


def _jobs(org: FakeSalesforce, call: rest.Call, kind: str) -> rest.Reply:
    if call.method == "GET":
        found = [job.shown(call.version) for job in org.jobs.values() if job.kind == kind]
        return rest.Reply(200, {"done": True, "records": found, "nextRecordsUrl": None})
    given = call.object()
    job = Job(f"7505g{len(org.jobs) + 1:010d}AAA", kind, given, stamp(org.clock()), org.user_id, polls=org.bulk_polls)
    if kind == "query":
        if given.get("operation") not in ("query", "queryAll"):
            raise SalesforceError("INVALIDOPERATION", "operation must be query or queryAll")
        _run_query(org, job, call.version)
    else:
        _check(org, given)
    with org.lock:
        org.jobs[job.id] = job
    return rest.Reply(200, job.shown(call.version))


def _check(org: FakeSalesforce, given: dict[str, Any]) -> None:
    if given.get("operation") not in OPERATIONS:
        raise SalesforceError("INVALIDOPERATION", f"Unknown operation: {given.get('operation')}")
    if given.get("contentType", "CSV") != "CSV" or given.get("lineEnding", "LF") not in LINE_ENDINGS:
        raise SalesforceError("INVALIDJOB", "contentType must be CSV and lineEnding LF or CRLF")
    try:
        sobject = org.store.sobject(str(given.get("object")))
    except SalesforceError:
        raise SalesforceError("INVALIDENTITY", f"Unable to find object: {given.get('object')}") from None
    if given["operation"] == "upsert":
        key = sobject.find(str(given.get("externalIdFieldName")))
        if key is None or not (key.external_id or key.name == "Id"):
            raise SalesforceError("INVALIDJOB", f"Invalid external ID field: {given.get('externalIdFieldName')}")


def _one(org: FakeSalesforce, call: rest.Call, job: Job) -> rest.Reply:
    if call.method == "GET":
        if job.state in ("UploadComplete", "InProgress"):
            job.state = "InProgress" if job.polls > 0 else ("Failed" if job.error else "JobComplete")
            job.polls -= 1
        return rest.Reply(200, job.shown(call.version))
    if call.method == "DELETE":
        if job.state not in DONE:
            raise SalesforceError("INVALIDJOBSTATE", f"Job is not in a state to be deleted: {job.state}")
        del org.jobs[job.id]
        return rest.Reply(204)
    state = call.object().get("state")
    if call.method != "PATCH" or state not in ("UploadComplete", "Aborted"):
        raise SalesforceError("INVALIDJOBSTATE", f"Invalid job state: {state}")
    if job.state in DONE or (state == "UploadComplete" and (job.state != "Open" or job.uploaded is None)):
        raise SalesforceError("INVALIDJOBSTATE", f"Job state {job.state} can't become {state}")
    job.state = state
    if state == "UploadComplete":
        _process(org, job)
    return rest.Reply(200, job.shown(call.version))


def _upload(job: Job, call: rest.Call) -> rest.Reply:
    if not call.headers.get("content-type", "").startswith("text/csv"):
        raise SalesforceError("UNSUPPORTED_MEDIA_TYPE", "Content-Type must be text/csv")
    if len(call.raw) > MAX_BYTES:
        raise SalesforceError("CLIENT_ERROR", "Request Entity Too Large", status=413)
    if job.state != "Open" or job.uploaded is not None:
        raise SalesforceError("CLIENT_ERROR", f"Found multiple contents for job: <{job.id}>")
    job.uploaded = call.raw
    return rest.Reply(201)


def _process(org: FakeSalesforce, job: Job) -> None:
    """Work through the rows at once; the job only looks busy for as many looks as the org is told."""
    text = (job.uploaded or b"").decode()
    ending = LINE_ENDINGS[job.given.get("lineEnding", "LF")]
    if text and (("\r\n" in text) != (ending == "\r\n")):
        setting = job.given.get("lineEnding", "LF")
        job.error = f"InvalidBatch : LineEnding is invalid on user data. Current LineEnding setting is {setting}"
        return
    reader = csv.DictReader(io.StringIO(text, newline=""))
    job.columns = list(reader.fieldnames or [])
    sobject = org.store.sobject(job.given["object"])
    unknown = [name for name in job.columns if sobject.find(name) is None and not _parent(name, sobject)]
    if unknown:
        job.error = f"InvalidBatch : Field name not found : {unknown[0]}"
        return
    rows = list(reader)
    key = job.given.get("externalIdFieldName") if job.given["operation"] == "upsert" else None
    times = Counter(row[key].casefold() for row in rows) if key in job.columns and key else Counter()
    limit = org.bulk_stops_after if org.bulk_stops_after is not None else len(rows)
    for row in rows[:limit]:
        _row(org, job, row, times)
    job.left = rows[limit:]
    job.processed = len(rows[:limit])
    if job.left:
        job.error = "InternalServerError : the job was stopped"
    job.good.reverse()
    job.bad.reverse()


def _row(org: FakeSalesforce, job: Job, row: Row, times: Counter[str]) -> None:
    try:
        record_id, created = _written(org, job, row, times)
    except MoreThanOne as error:
        message = f"DUPLICATE_EXTERNAL_ID:more than one record found for external id field: [{', '.join(error.ids)}]:--"
        job.bad.append({"sf__Id": "", "sf__Error": message, **row})
    except SalesforceError as error:
        message = f"{error.code}:{error.message}:{','.join(error.fields)} --"
        job.bad.append({"sf__Id": row.get("Id", ""), "sf__Error": message, **row})
    else:
        job.good.append({"sf__Id": record_id, "sf__Created": str(created).lower(), **row})


def _written(org: FakeSalesforce, job: Job, row: Row, times: Counter[str]) -> tuple[str, bool]:
    store, operation = org.store, job.given["operation"]
    sobject = store.sobject(job.given["object"])
    fields: dict[str, Any] = {}
    for name, value in row.items():
        if value == "" or name == "Id":
            continue  # an empty cell leaves the field as it is
        parent = _parent(name, sobject)
        fields[parent[0] if parent else name] = {parent[1]: value} if parent else None if value == "#N/A" else value
    if operation == "insert":
        return store.insert(sobject, fields)["Id"], True
    if operation == "update":
        return store.update(sobject, row["Id"], fields)["Id"], False
    if operation == "delete":
        store.delete(sobject, row["Id"])
        return row["Id"], False
    key = store.external_id(sobject, job.given["externalIdFieldName"])
    value = fields.pop(key.name, None)
    if not value:
        raise SalesforceError("MISSING_ARGUMENT", f"{key.name} not specified", [key.name])
    if times[value.casefold()] > 1:
        raise SalesforceError("DUPLICATE_VALUE", f"Duplicate external id specified: {value}", [key.name])
    record, created = store.upsert(sobject, key, value, fields)
    return record["Id"], created


def _parent(name: str, sobject: Any) -> tuple[str, str] | None:
    """The two halves of a column such as Account__r.Key__c."""
    relationship, _, key = name.partition(".")
    return (relationship, key) if key and sobject.related(relationship) else None


def _results(job: Job, which: str) -> rest.Reply:
    if job.state not in DONE:
        raise SalesforceError("INVALIDJOBSTATE", f"Results are not available in state {job.state}")
    if which == "successfulResults":
        return _csv(["sf__Id", "sf__Created", *job.columns], job.good, job)
    if which == "failedResults":
        return _csv(["sf__Id", "sf__Error", *job.columns], job.bad, job)
    return _csv(job.columns, job.left, job)


def _run_query(org: FakeSalesforce, job: Job, version: str) -> None:
    refused = NOT_IN_BULK.search(str(job.given.get("query")))
    if refused:
        raise SalesforceError("API_ERROR", f"{refused[1]} is not supported by Bulk API 2.0 queries")
    found = soql.run(
        str(job.given.get("query")), org.store, version=version, with_deleted=job.given["operation"] == "queryAll"
    )
    job.given["object"], job.state = found.sobject, "UploadComplete"
    job.columns, job.processed = found.columns, found.total
    job.good = [{name: _cell(row, name) for name in found.columns} for row in found.rows]


def _query_results(job: Job, call: rest.Call) -> rest.Reply:
    if job.state != "JobComplete":
        raise SalesforceError("INVALIDJOBSTATE", f"Results are not available in state {job.state}")
    start = int(base64.b64decode(call.query["locator"])) if call.query.get("locator") else 0
    size = int(call.query.get("maxRecords") or 50_000)
    page = job.good[start : start + size]
    end = start + size
    locator = base64.b64encode(str(end).encode()).decode() if end < len(job.good) else "null"
    headers = {"Sforce-Locator": locator, "Sforce-NumberOfRecords": str(len(page))}
    reply = _csv(job.columns, page, job)
    return rest.Reply(200, reply.body, {**reply.headers, **headers})


def _cell(row: dict[str, Any], path: str) -> str:
    value: Any = row
    for name in path.split("."):
        value = next((one for key, one in (value or {}).items() if key.lower() == name.lower()), None)
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _csv(columns: list[str], rows: Iterable[Row], job: Job) -> rest.Reply:
    out = io.StringIO()
    writer = csv.DictWriter(
        out, columns, lineterminator=LINE_ENDINGS[job.given.get("lineEnding", "LF")], quoting=csv.QUOTE_ALL
    )
    writer.writeheader()
    writer.writerows(rows)
    return rest.Reply(200, out.getvalue().encode(), {"Content-Type": "text/csv"})


def _job(org: FakeSalesforce, kind: str, job_id: str) -> Job:
    job = org.jobs.get(job_id)
    if job is None or job.kind != kind:
        raise not_found()
    return job
