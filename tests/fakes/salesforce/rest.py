"""The REST resources that read and write single records: limits, query, sobjects, describe, upsert by External ID."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from . import bulk, chatter, composite, metadata, soql
from .errors import MoreThanOne, SalesforceError, no_such_column, not_found
from .schema import SObject
from .store import Record
from .values import shown

if TYPE_CHECKING:
    from .org import FakeSalesforce

PAGE = 2000


@dataclass(frozen=True)
class Call:
    """One call below /services/data/vNN.N/, by itself or as a part of a composite request."""

    method: str
    version: str
    parts: list[str]
    query: Mapping[str, str]
    raw: bytes = b""
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        """The body as JSON, fractions as Decimal. Raises JSON_PARSER_ERROR, UNSUPPORTED_MEDIA_TYPE."""
        if self.body is not None:
            return self.body
        if not self.headers.get("content-type", "").startswith("application/json"):
            raise SalesforceError("UNSUPPORTED_MEDIA_TYPE", "Content type of the request is not supported")
        try:
            return json.loads(self.raw, parse_float=Decimal, parse_constant=_no_constant)
        except (ValueError, UnicodeDecodeError) as error:
            raise SalesforceError("JSON_PARSER_ERROR", f"{error} at [line:1, column:1]") from None

    def object(self) -> dict[str, Any]:
        given = self.json()
        if not isinstance(given, dict):
            raise SalesforceError("JSON_PARSER_ERROR", "The HTTP entity body is required to be a JSON object")
        return given


@dataclass(frozen=True)
class Reply:
    """The answer to a call: `body` is JSON, or text to be sent as it is (CSV)."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


def answer(org: FakeSalesforce, call: Call) -> Reply:
    """Answer a call; a refusal becomes the status and body that Salesforce gives it."""
    try:
        return _routed(org, call)
    except SalesforceError as error:
        return Reply(error.status, error.body())
    except MoreThanOne as error:
        sobject = org.store.sobject(call.parts[1])
        return Reply(300, [soql.reference_to(sobject.name, one, call.version)["url"] for one in error.ids])


def _routed(org: FakeSalesforce, call: Call) -> Reply:
    match call.parts:
        case []:
            return Reply(
                body={name: f"/services/data/{call.version}/{name}" for name in ("limits", "query", "sobjects")}
            )
        case ["limits"]:
            _only_get(call)
            return Reply(body=org.limits())
        case ["query" | "queryAll" as kind]:
            _only_get(call)
            return _query(org, call, with_deleted=kind == "queryAll")
        case ["query" | "queryAll", locator]:
            _only_get(call)
            return _page(org, call, locator)
        case ["sobjects", *rest]:
            return _sobjects(org, call, rest)
        case ["composite", *rest]:
            return composite.answer(org, call, rest)
        case ["jobs", *rest]:
            return bulk.answer(org, call, rest)
        case ["chatter", *rest]:
            return chatter.answer(org, call, rest)
        case ["metadata" | "tooling" | "ui-api", *_]:
            return metadata.answer(org, call, call.parts)
    raise not_found()


# Queries


def _query(org: FakeSalesforce, call: Call, *, with_deleted: bool) -> Reply:
    if "q" not in call.query:
        raise SalesforceError("MALFORMED_QUERY", "SOQL statements cannot be empty or null")
    found = soql.run(call.query["q"], org.store, version=call.version, with_deleted=with_deleted)
    locator = org.keep_result(found)
    return Reply(body=_page_of(org, found, locator, 0, call.version))


def _page(org: FakeSalesforce, call: Call, locator: str) -> Reply:
    name, _, start = locator.rpartition("-")
    found = org.results.get(name)
    if found is None or not start.isdigit():
        raise SalesforceError("INVALID_QUERY_LOCATOR", "invalid query locator")
    return Reply(body=_page_of(org, found, name, int(start), call.version))


def _page_of(org: FakeSalesforce, found: soql.Result, locator: str, start: int, version: str) -> dict[str, Any]:
    end = start + org.page_size
    page: dict[str, Any] = {"totalSize": found.total, "done": end >= len(found.rows)}
    if not page["done"]:
        page["nextRecordsUrl"] = f"/services/data/{version}/query/{locator}-{end}"
    return {**page, "records": found.rows[start:end]}


# Records


def _sobjects(org: FakeSalesforce, call: Call, parts: list[str]) -> Reply:
    if not parts:
        _only_get(call)
        names = [one.summary() for one in org.store.objects.values() if not one.hidden]
        return Reply(body={"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": names})
    sobject = org.store.sobject(parts[0])
    match parts[1:]:
        case []:
            return _object(org, call, sobject)
        case ["describe"]:
            _only_get(call)
            return Reply(body=sobject.described())
        case [record_id]:
            return _by_id(org, call, sobject, record_id)
        case [name, value]:
            return _by_key(org, call, sobject, name, value)
    raise not_found()


def _object(org: FakeSalesforce, call: Call, sobject: SObject) -> Reply:
    if call.method == "GET":
        return Reply(body={"objectDescribe": sobject.summary(), "recentItems": []})
    if call.method != "POST":
        raise _not_allowed(call, "GET, HEAD, POST")
    record = org.store.insert(sobject, _without_id(call.object(), "Id"))
    return _saved(sobject, record, call.version, created=True, bare=True)


def _by_id(org: FakeSalesforce, call: Call, sobject: SObject, record_id: str) -> Reply:
    if call.method == "GET":
        return Reply(body=_shown(sobject, org.store.get(sobject, record_id), call))
    if call.method == "PATCH":
        org.store.update(sobject, record_id, _without_id(call.object(), "Id"))
        return Reply(204)
    if call.method == "DELETE":
        org.store.delete(sobject, record_id)
        return Reply(204)
    raise _not_allowed(call, "DELETE, GET, HEAD, PATCH")


def _by_key(org: FakeSalesforce, call: Call, sobject: SObject, name: str, value: str) -> Reply:
    """Read, upsert or delete by External ID; the answer to an upsert depends on the API version."""
    key = org.store.external_id(sobject, name)
    if call.method == "GET":
        return Reply(body=_shown(sobject, org.store.one_by_key(sobject, key, value), call))
    if call.method == "DELETE":
        org.store.delete(sobject, org.store.one_by_key(sobject, key, value)["Id"])
        return Reply(204)
    if call.method != "PATCH":
        raise _not_allowed(call, "DELETE, GET, HEAD, PATCH")
    body = _without_id(_without_id(call.object(), key.name), "Id")
    record, created = org.store.upsert(sobject, key, value, body)
    if not created and float(call.version[1:]) < 46:
        return Reply(204)
    return _saved(sobject, record, call.version, created=created)


def _saved(sobject: SObject, record: Record, version: str, *, created: bool, bare: bool = False) -> Reply:
    body = {"id": record["Id"], "success": True, "errors": []}
    if not bare and float(version[1:]) >= 46:
        body["created"] = created
    location = {"Location": soql.reference_to(sobject.name, record["Id"], version)["url"]}
    return Reply(201, body, location) if created else Reply(200, body)


def _shown(sobject: SObject, record: Record, call: Call) -> dict[str, Any]:
    asked = [name for name in call.query.get("fields", "").split(",") if name]
    names = [one.name for one in sobject.visible()]
    if asked:
        names = ["Id", *(_visible_name(sobject, name.strip()) for name in asked if name.strip() != "Id")]
    attributes = soql.reference_to(sobject.name, record["Id"], call.version)
    return {"attributes": attributes, **{name: shown(record[name]) for name in names}}


def _visible_name(sobject: SObject, name: str) -> str:
    found = sobject.find(name)
    if found is None:
        raise no_such_column(name, sobject.name)
    return found.name


def _without_id(body: dict[str, Any], name: str) -> dict[str, Any]:
    """What stands in the address must not stand in the body."""
    if any(given.lower() == name.lower() for given in body):
        raise SalesforceError("INVALID_FIELD", f"The {name} field should not be specified in the sobject data.")
    return body


def _only_get(call: Call) -> None:
    if call.method != "GET":
        raise _not_allowed(call, "GET, HEAD")


def _not_allowed(call: Call, allowed: str) -> SalesforceError:
    return SalesforceError("METHOD_NOT_ALLOWED", f"HTTP Method '{call.method}' not allowed. Allowed are {allowed}")


def _no_constant(name: str) -> Any:
    raise ValueError(f"Unexpected {name}")
