"""Composite requests with references between their parts, and collections of up to 200 records."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from . import rest
from .errors import MoreThanOne, SalesforceError, no_such_column, not_found
from .schema import SObject
from .values import shown

if TYPE_CHECKING:
    from .org import FakeSalesforce

MAX_PARTS = 25
MAX_HEAVY_PARTS = 5
MAX_RECORDS = 200
MAX_READ = 2000
MAX_CHUNKS = 10
REFERENCE = re.compile(r"@\{([^}]*)\}")
STEP = re.compile(r"\.([A-Za-z0-9_]+)|\[(\d+)\]")
HALTED = "The transaction was rolled back since another operation in the same transaction failed."
ROLLED_BACK = SalesforceError(
    "ALL_OR_NONE_OPERATION_ROLLED_BACK",
    "Record rolled back because not all records were valid and the request was using AllOrNone header",
)
Part = dict[str, Any]


class _Undo(Exception):
    """Leave the block and undo its writes."""


def answer(org: FakeSalesforce, call: rest.Call, parts: list[str]) -> rest.Reply:
    match parts:
        case [] if call.method == "POST":
            return _composite(org, call)
        case ["sobjects"] if call.method in ("POST", "PATCH", "DELETE"):
            return _collection(org, call)
        case ["sobjects", name] if call.method in ("GET", "POST"):
            return _read(org, call, org.store.sobject(name))
        case ["sobjects", name, key] if call.method == "PATCH":
            return _upserts(org, call, org.store.sobject(name), key)
    raise not_found()


# Composite


def _composite(org: FakeSalesforce, call: rest.Call) -> rest.Reply:
    """Run the parts in order. 200 says only that the request could be read."""
    body = call.object()
    parts = body.get("compositeRequest")
    if not isinstance(parts, list) or not parts:
        raise SalesforceError("JSON_PARSER_ERROR", "compositeRequest must be a list of requests")
    refusal = _refused(parts)
    if refusal:
        halted = {"body": refusal.body(), "httpHeaders": {}, "httpStatusCode": 400, "referenceId": None}
        return rest.Reply(400, {"compositeResponse": [halted]})
    if body.get("allOrNone") is not True:
        answers, _ = _run(org, call, parts, all_or_none=False)
        return rest.Reply(200, {"compositeResponse": answers})
    answers = []
    try:
        with org.store.all_or_none():
            answers, failed_at = _run(org, call, parts, all_or_none=True)
            if failed_at is not None:
                raise _Undo
    except _Undo:
        answers = [
            one if at == failed_at else _halted(part) for at, (part, one) in enumerate(zip(parts, answers, strict=True))
        ]
    return rest.Reply(200, {"compositeResponse": answers})


def _refused(parts: list[Part]) -> SalesforceError | None:
    """What makes the whole request fail before anything runs."""
    if len(parts) > MAX_PARTS:
        return SalesforceError("LIMIT_EXCEEDED", f"The request can't contain more than {MAX_PARTS} operations.")
    heavy = [part for part in parts if re.search(r"/(query|queryAll|composite/sobjects)\b", str(part.get("url")))]
    if len(heavy) > MAX_HEAVY_PARTS:
        message = f"The request can't contain more than {MAX_HEAVY_PARTS} query or sObject Collections operations."
        return SalesforceError("LIMIT_EXCEEDED", message)
    for part in parts:
        if not all(isinstance(part.get(name), str) for name in ("method", "url", "referenceId")):
            return SalesforceError("INVALID_INPUT", "Each subrequest needs method, url and referenceId")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_]*", part["referenceId"]):
            message = (
                f"Provided referenceId ('{part['referenceId']}') must start with a letter or a number, and it can "
            )
            message += "contain only letters, numbers and underscores ('_')."
            return SalesforceError("INVALID_INPUT", message)
        if not re.match(r"/services/data/v\d+\.0/", part["url"]):
            return SalesforceError("INVALID_INPUT", f"The url must begin with /services/data/vXX.X/: {part['url']}")
        if part["method"] == "GET" and part.get("body") is not None:
            return SalesforceError("INVALID_INPUT", "A GET subrequest can't have a body")
    for name, times in Counter(part["referenceId"] for part in parts).items():
        if times > 1:
            return SalesforceError("INVALID_INPUT", f"Duplicate referenceId: {name}")
    return None


def _run(
    org: FakeSalesforce, call: rest.Call, parts: list[Part], *, all_or_none: bool
) -> tuple[list[Part], int | None]:
    """The answers of the parts, and where it failed; after a failure with `all_or_none` the rest does not run."""
    answers: list[Part] = []
    bodies: dict[str, Any] = {}
    failed_at: int | None = None
    for at, part in enumerate(parts):
        if failed_at is not None and all_or_none:
            answers.append(_halted(part))
            continue
        reply = _part(org, call, part, bodies, all_or_none=all_or_none)
        if reply.status < 300:
            bodies[part["referenceId"]] = reply.body
        if reply.status >= 300 or _has_failed_row(reply):
            failed_at = at if failed_at is None else failed_at
        answers.append({"body": reply.body, "httpHeaders": dict(reply.headers), "httpStatusCode": reply.status,
                        "referenceId": part["referenceId"]})  # fmt: skip
    return answers, failed_at


def _part(org: FakeSalesforce, call: rest.Call, part: Part, bodies: dict[str, Any], *, all_or_none: bool) -> rest.Reply:
    try:
        address = urlsplit(_filled(part["url"], bodies))
        body = _filled(part.get("body"), bodies)
    except SalesforceError as error:
        return rest.Reply(400, error.body())
    _, _, version, *path = [unquote(one) for one in address.path.strip("/").split("/")]
    if path[0] in ("jobs", "chatter", "limits") or path == ["composite"]:
        return rest.Reply(
            400, SalesforceError("INVALID_INPUT", f"The resource can't be used in a composite request: {path}").body()
        )
    if path[0] == "composite" and isinstance(body, dict) and all_or_none:
        body = {**body, "allOrNone": True}
    query = {name: values[-1] for name, values in parse_qs(address.query, keep_blank_values=True).items()}
    sub = rest.Call(part["method"], version, path, query, body=body if body is not None else {}, headers=call.headers)
    return rest.answer(org, sub)


def _filled(value: Any, bodies: dict[str, Any]) -> Any:
    """A url or body with its @{reference.field} parts replaced. Raises PROCESSING_HALTED."""
    if isinstance(value, str):
        return REFERENCE.sub(lambda match: str(_referred(match[1], bodies)), value)
    if isinstance(value, dict):
        return {name: _filled(one, bodies) for name, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, bodies) for one in value]
    return value


def _referred(path: str, bodies: dict[str, Any]) -> Any:
    name = re.split(r"[.\[]", path)[0]
    found: Any = bodies.get(name)
    for step in STEP.finditer(path, len(name)):
        try:
            found = found[step[1]] if step[1] else found[int(step[2])]
        except (KeyError, IndexError, TypeError):
            found = None
    if found is None or isinstance(found, dict | list):
        raise SalesforceError("PROCESSING_HALTED", f"Invalid reference specified. No value for {path} found in {name}.")
    return found


def _halted(part: Part) -> Part:
    body = SalesforceError("PROCESSING_HALTED", HALTED).body()
    return {"body": body, "httpHeaders": {}, "httpStatusCode": 400, "referenceId": part["referenceId"]}


def _has_failed_row(reply: rest.Reply) -> bool:
    rows = reply.body if isinstance(reply.body, list) else []
    return any(isinstance(row, dict) and row.get("success") is False for row in rows)


# Collections


def _collection(org: FakeSalesforce, call: rest.Call) -> rest.Reply:
    if call.method == "DELETE":
        ids = [one for one in call.query.get("ids", "").split(",") if one]
        _at_most(len(ids), MAX_RECORDS)
        acts = [_deleting(org, one) for one in ids]
        return _rows(org, acts, all_or_none=call.query.get("allOrNone") == "true")
    body = call.object()
    records = _records(body)
    kinds = [org.store.sobject(record["attributes"]["type"]) for record in records]
    if 1 + sum(one is not other for one, other in pairwise(kinds)) > MAX_CHUNKS:
        message = f"Cannot have more than {MAX_CHUNKS} chunks in a single operation."
        raise SalesforceError("LIMIT_EXCEEDED", message)
    make = _inserting if call.method == "POST" else _updating
    acts = [make(org, sobject, record) for sobject, record in zip(kinds, records, strict=True)]
    return _rows(org, acts, all_or_none=body.get("allOrNone") is True)


def _upserts(org: FakeSalesforce, call: rest.Call, sobject: SObject, key_name: str) -> rest.Reply:
    """Upsert by External ID; a key that stands twice fails every row that has it."""
    key = org.store.external_id(sobject, key_name)
    if key.name == "Id":
        raise SalesforceError("INVALID_FIELD", "Only external ids are supported: Id")
    body = call.object()
    records = _records(body)
    if any(record["attributes"]["type"].lower() != sobject.name.lower() for record in records):
        raise SalesforceError("INVALID_INPUT", f"All records must be of the type in the address: {sobject.name}")
    times = Counter(str(record.get(key.name)).casefold() for record in records)

    def upserting(record: Part) -> Callable[[], Part]:
        def act() -> Part:
            value = record.get(key.name)
            if value in (None, ""):
                raise SalesforceError("MISSING_ARGUMENT", f"{key.name} not specified", [key.name])
            if times[str(value).casefold()] > 1:
                raise SalesforceError("DUPLICATE_VALUE", f"Duplicate external id specified: {value}", [key.name])
            if any(name.lower() == "id" for name in record):
                raise SalesforceError("INVALID_FIELD", "The Id field should not be specified in the sobject data.")
            rest_of_it = {name: one for name, one in record.items() if name not in (key.name, "attributes")}
            saved, created = org.store.upsert(sobject, key, value, rest_of_it)
            return {"id": saved["Id"], "success": True, "errors": [], "created": created}

        return act

    return _rows(org, [upserting(record) for record in records], all_or_none=body.get("allOrNone") is True)


def _read(org: FakeSalesforce, call: rest.Call, sobject: SObject) -> rest.Reply:
    """Records by id, in the order asked for; null where there is none."""
    if call.method == "POST":
        body = call.object()
        ids, names = list(body.get("ids", [])), list(body.get("fields", []))
    else:
        ids, names = call.query.get("ids", "").split(","), call.query.get("fields", "").split(",")
    _at_most(len(ids), MAX_READ)
    fields = [(name, sobject.find(name)) for name in names]
    for name, field in fields:
        if field is None:
            raise no_such_column(name, sobject.name)
    found: list[Part | None] = []
    for one in ids:
        try:
            record = org.store.get(sobject, one)
        except SalesforceError:
            found.append(None)
            continue
        attributes = {
            "type": sobject.name,
            "url": f"/services/data/{call.version}/sobjects/{sobject.name}/{record['Id']}",
        }
        found.append(
            {"attributes": attributes, **{field.name: shown(record[field.name]) for _, field in fields if field}}
        )
    return rest.Reply(200, found)


def _rows(org: FakeSalesforce, acts: list[Callable[[], Part]], *, all_or_none: bool) -> rest.Reply:
    """Do each; a row that fails says so, and with `all_or_none` takes all the others back."""
    rows: list[Part] = []
    if not all_or_none:
        return rest.Reply(200, [_row(act) for act in acts])
    try:
        with org.store.all_or_none():
            rows = [_row(act) for act in acts]
            if not all(row["success"] for row in rows):
                raise _Undo
    except _Undo:
        rows = [ROLLED_BACK.row() if row["success"] else row for row in rows]
    return rest.Reply(200, rows)


def _row(act: Callable[[], Part]) -> Part:
    try:
        return act()
    except MoreThanOne as error:
        message = f"more than one record found for external id field: [{', '.join(error.ids)}]"
        return SalesforceError("DUPLICATE_EXTERNAL_ID", message).row()
    except SalesforceError as error:
        if error.code == "NOT_FOUND":
            error = SalesforceError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
        return error.row()


def _inserting(org: FakeSalesforce, sobject: SObject, record: Part) -> Callable[[], Part]:
    def act() -> Part:
        saved = org.store.insert(sobject, record)
        return {"id": saved["Id"], "success": True, "errors": []}

    return act


def _updating(org: FakeSalesforce, sobject: SObject, record: Part) -> Callable[[], Part]:
    def act() -> Part:
        record_id = record.get("id") or record.get("Id")
        if not isinstance(record_id, str):
            raise SalesforceError("MISSING_ARGUMENT", "Id not specified in an update call")
        changes = {name: value for name, value in record.items() if name.lower() != "id"}
        saved = org.store.update(sobject, record_id, changes)
        return {"id": saved["Id"], "success": True, "errors": []}

    return act


def _deleting(org: FakeSalesforce, record_id: str) -> Callable[[], Part]:
    def act() -> Part:
        sobject = next((one for one in org.store.objects.values() if one.prefix == record_id[:3]), None)
        if sobject is None:
            raise SalesforceError("MALFORMED_ID", f"malformed id {record_id}")
        org.store.delete(sobject, record_id)
        return {"id": record_id, "success": True, "errors": []}

    return act


def _records(body: Part) -> list[Part]:
    records = body.get("records")
    if not isinstance(records, list) or not all(isinstance(one, dict) for one in records):
        raise SalesforceError("JSON_PARSER_ERROR", "records must be a list of objects")
    _at_most(len(records), MAX_RECORDS)
    for record in records:
        attributes = record.get("attributes")
        if not isinstance(attributes, dict) or not isinstance(attributes.get("type"), str):
            raise SalesforceError("INVALID_INPUT", "Each record needs attributes with a type")
    return records


def _at_most(count: int, limit: int) -> None:
    if count > limit:
        message = f"record limit reached. cannot submit more than {limit} records into this call"
        raise SalesforceError("EXCEEDED_ID_LIMIT", message)
