"""A strict Salesforce org over TLS, with the conveniences that tests use to set it up and look into it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from ..server import FakeServer, Request, Response, json_response
from . import bulk, metadata, rest, schema, soql
from .errors import SalesforceError
from .oauth import ConnectedApp, Login, bearer
from .store import Record, Rejection, Store

MAX_TARGET = 16_384
VERSIONS = range(31, 69)
STAGES = (
    ("Prospecting", False, False, 10),
    ("Qualification", False, False, 20),
    ("Proposal/Price Quote", False, False, 65),
    ("Negotiation/Review", False, False, 80),
    ("Closed Won", True, True, 100),
    ("Closed Lost", True, False, 0),
)


class FakeSalesforce(FakeServer):
    """One org. `package=False` is an org that has none of our fields; `clock` gives the stamps.

    `calls` counts what Salesforce counts: each request below /services/data/vNN.N/ that it let in, a composite
    request as one. `daily_limit` is compared with `calls + used_by_others`.
    """

    tls = True

    def __init__(
        self,
        *,
        port: int = 0,
        package: bool = True,
        sandbox: bool = False,
        daily_limit: int = 15_000,
        latency_seconds: float = 0.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(port=port, latency_seconds=latency_seconds)
        self.clock = clock
        self.daily_limit = daily_limit
        self.used_by_others = 0
        self.calls = 0
        self.page_size = rest.PAGE
        self.bulk_polls = 1
        self.bulk_stops_after: int | None = None
        self.jobs: dict[str, bulk.Job] = {}
        self.results: dict[str, soql.Result] = {}
        self.store = Store(schema.standard_objects(), lambda: self.clock(), self.lock)
        self.org_id = self._add(
            "Organization", Name="Fake Org", IsSandbox=sandbox, OrganizationType="Enterprise Edition"
        )
        self.user_id = self.add_user(Username="integration@fake.example", Name="Integration User")
        self.admin_id = self.add_user(Username="admin@fake.example", Name="Ada Admin")
        self.store.user_id, self.store.admin_id = self.user_id, self.admin_id
        for order, (name, closed, won, probability) in enumerate(STAGES, start=1):
            self.add_stage(name, closed=closed, won=won, probability=probability, order=order)
        self.login = Login(self.org_id, self.user_id, "integration@fake.example", is_sandbox=sandbox)
        self.set_up = metadata.SetUp(self)
        self.api_disabled = False
        if package:
            self.deploys_package()

    # Signing in

    @property
    def app(self) -> ConnectedApp:
        return self.login.app

    @property
    def client_id(self) -> str:
        return self.app.client_id

    @property
    def client_secret(self) -> str:
        return self.app.client_secret

    def access_token(self) -> str:
        """A living token, without the round trip."""
        with self.lock:
            return self.login.new_access_token()

    def refresh_token(self) -> str:
        with self.lock:
            return self.login.new_refresh_token()

    def expires_sessions(self) -> None:
        """All access tokens are dead; refresh tokens live."""
        with self.lock:
            self.login.access_tokens.clear()

    def revokes_access(self) -> None:
        """A person took the app's access away: refreshing is invalid_grant."""
        with self.lock:
            self.login.access_tokens.clear()
            self.login.refresh_tokens.clear()
            self.login.app.allows_client_credentials = False

    # Set-up

    def deploys_package(self, *, assigned: bool = True) -> None:
        """Our object and fields; until the permission set is `assigned` nobody sees them, as after a real deploy."""
        with self.lock:
            before = {(one.name, name) for one in self.store.objects.values() for name in one.fields}
            schema.add_package(self.store.objects)
            self.store.fields_added()
            for sobject in self.store.objects.values():
                sobject.hidden = sobject.hidden or (sobject.name == "MRR_Schedule__c" and not assigned)
                for name, field in sobject.fields.items():
                    field.hidden = field.hidden or ((sobject.name, name) not in before and not assigned)

    def assigns_permission_set(self) -> None:
        with self.lock:
            for sobject in self.store.objects.values():
                sobject.hidden = False
                for field in sobject.fields.values():
                    field.hidden = False

    def adds_field(self, sobject: str, field: schema.Field) -> None:
        with self.lock:
            self.store.objects[sobject].fields[field.name] = field
            self.store.fields_added()

    def adds_currencies(self, *codes: str) -> None:
        """A multi-currency org; the first is the corporate currency."""
        for sobject in ("Account", "Opportunity", "MRR_Schedule__c"):
            self.adds_field(sobject, schema.picklist("CurrencyIsoCode", *codes, default=codes[0], restricted=True))

    def hides_field(self, sobject: str, name: str) -> None:
        """Field-level security takes the field away from the integration user."""
        self.store.objects[sobject].fields[name].hidden = True
        self.set_up.takes_away(sobject, name, reading=True)

    def makes_read_only(self, sobject: str, name: str) -> None:
        self.set_up.takes_away(sobject, name, reading=False)
        field = self.store.objects[sobject].fields[name]
        field.createable = field.updateable = False

    def add_record_type(self, sobject: str, name: str, *, stages: tuple[str, ...] | None = None) -> None:
        known = self.store.objects[sobject].record_types
        record_type = schema.RecordType(f"0125g{len(known):010d}AAA", name, stages)
        self.store.objects[sobject].record_types = [*known, record_type]

    def add_duplicate_rule(self, sobject: str, name: str, *, active: bool = True) -> str:
        return self._add("DuplicateRule", DeveloperName=name, MasterLabel=name, SobjectType=sobject, IsActive=active)

    def adds_rule(self, sobject: str, rule: Callable[[Record], str | None]) -> None:
        """A validation rule: a message refuses the record."""
        self.store.rules.append((sobject, rule))

    def rejects_next(
        self,
        code: str,
        message: str = "refused on purpose",
        *,
        sobject: str | None = None,
        fields: tuple[str, ...] = (),
        count: int | None = 1,
        matching: Mapping[str, Any] | None = None,
    ) -> None:
        """Refuse the next saves of that object (whose fields are as in `matching`), wherever they come from."""
        wanted = dict(matching or {})
        error = SalesforceError(code, message, fields)
        matches = lambda record: all(record.get(name) == value for name, value in wanted.items())  # noqa: E731
        with self.lock:
            self.store.rejections.append(Rejection(error, sobject, count, matches))

    def refuses_deletes(self, sobject: str) -> None:
        """The integration user's profile lacks the right to delete such records."""
        self.store.undeletable.add(sobject)

    # Records, as a person or another tool would touch them

    def add_account(self, **fields: Any) -> str:
        return self._add("Account", **{"Name": "Acme", **fields})

    def add_contact(self, **fields: Any) -> str:
        return self._add("Contact", **{"LastName": "Doe", **fields})

    def add_opportunity(self, **fields: Any) -> str:
        return self._add(
            "Opportunity", **{"Name": "Deal", "StageName": "Prospecting", "CloseDate": "2026-12-31", **fields}
        )

    def add_task(self, **fields: Any) -> str:
        return self._add("Task", **{"Subject": "Call", **fields})

    def add_user(self, **fields: Any) -> str:
        defaults = {"Name": "A User", "Email": "user@fake.example", "IsActive": True, "UserType": "Standard"}
        return self._add("User", **{**defaults, **fields})

    def add_stage(
        self, name: str, *, closed: bool = False, won: bool = False, probability: int = 50, order: int = 9
    ) -> str:
        stage = self.store.objects["Opportunity"].fields["StageName"]
        stage.values = (*stage.values, name)
        return self._add("OpportunityStage", ApiName=name, MasterLabel=name, IsActive=True, IsClosed=closed, IsWon=won,
                         DefaultProbability=probability, SortOrder=order)  # fmt: skip

    def add_record(self, sobject: str, **fields: Any) -> str:
        return self._add(sobject, **fields)

    def edits(self, record_id: str, **fields: Any) -> None:
        """Somebody else changes a record."""
        self.store.update(self._sobject_of(record_id), record_id, fields, as_system=True)

    def deletes(self, record_id: str) -> None:
        self.store.delete(self._sobject_of(record_id), record_id)

    def undeletes(self, record_id: str) -> None:
        self.store.restore(self._sobject_of(record_id), record_id)

    def purges(self, record_id: str) -> None:
        """The recycle bin is emptied: queryAll sees it no more."""
        self.store.purge(self._sobject_of(record_id), record_id)

    def merges(self, winner_id: str, loser_id: str) -> None:
        """Two Accounts (or Contacts) become one: the loser is deleted and points at the winner."""
        with self.lock:
            self.store.repoint(loser_id, winner_id)
            self.store.delete(self._sobject_of(loser_id), loser_id, master_id=winner_id)

    def record(self, record_id: str) -> Record:
        """A copy of a record, deleted or not; numbers are Decimal, dates and moments text as in the API."""
        with self.lock:
            return dict(self.store.table(self._sobject_of(record_id).name)[record_id])

    def records(self, sobject: str, *, deleted: bool = False, **equal: Any) -> list[Record]:
        """Copies of the living records in order of creation, those whose fields are `equal`."""
        with self.lock:
            found = [row for row in self.store.table(sobject).values() if deleted or not row["IsDeleted"]]
            return [dict(row) for row in found if all(row.get(name) == value for name, value in equal.items())]

    # Answering

    def writes(self) -> list[Request]:
        """The requests that may change records: all but GET, and but a composite request of GETs alone."""
        sent = self.requests_to("(POST|PATCH|PUT|DELETE) /services/data")
        return [one for one in sent if not (one.path.endswith("/composite") and _only_reads(one))]

    def answer(self, request: Request) -> Response:
        if request.path.startswith(("/services/oauth2/", "/id/")):
            with self.lock:
                return self.login.answer(request, self.url)
        target = len(request.path) + sum(
            len(name) + len(value) for name, values in request.query.items() for value in values
        )
        if target > MAX_TARGET:
            return self._refusal(SalesforceError("URI_TOO_LONG", "URI Too Long"))
        if request.path.rstrip("/") == "/services/data":
            return json_response(
                [{"label": f"v{n}", "url": f"/services/data/v{n}.0", "version": f"{n}.0"} for n in VERSIONS]
            )
        match = re.fullmatch(r"/services/data/(v(\d+)\.0)(?:/(.*))?", request.path)
        if match is None or int(match[2]) not in VERSIONS:
            return self._refusal(SalesforceError("NOT_FOUND", "The requested resource does not exist"))
        with self.lock:
            if bearer(request) not in self.login.access_tokens:
                return self._refusal(SalesforceError("INVALID_SESSION_ID", "Session expired or invalid"))
            if self.api_disabled:
                message = "The REST API is not enabled for this Organization."
                return self._refusal(SalesforceError("API_DISABLED_FOR_ORG", message))
            if self.calls + self.used_by_others >= self.daily_limit:
                refusal = self._refusal(SalesforceError("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."))
                return Response(refusal.status, refusal.body, {**refusal.headers, **self._usage()})
            self.calls += 1
        return self._data(request, match[1])

    def _data(self, request: Request, version: str) -> Response:
        parts = [part for part in request.segments[3:] if part]
        query = {name: values[-1] for name, values in request.query.items()}
        call = rest.Call(request.method, version, parts, query, raw=request.body, headers=request.headers)
        reply = rest.answer(self, call)
        headers = {**reply.headers, **self._usage()}
        if reply.body is None:
            return Response(reply.status, b"", headers)
        if isinstance(reply.body, bytes):
            return Response(reply.status, reply.body, headers)
        return json_response(reply.body, reply.status, headers)

    def failure(self, status: int) -> Response:
        code = {401: "INVALID_SESSION_ID", 403: "REQUEST_LIMIT_EXCEEDED", 404: "NOT_FOUND", 503: "SERVER_UNAVAILABLE"}
        return self._refusal(SalesforceError(code.get(status, "UNKNOWN_EXCEPTION"), "failed on purpose", status=status))

    def limits(self) -> dict[str, Any]:
        left = max(0, self.daily_limit - self.calls - self.used_by_others)
        return {
            "DailyApiRequests": {"Max": self.daily_limit, "Remaining": left},
            "DailyBulkApiBatches": {"Max": 15_000, "Remaining": 15_000 - len(self.jobs)},
            "DailyBulkV2QueryJobs": {"Max": 10_000, "Remaining": 10_000},
            "DataStorageMB": {"Max": 1024, "Remaining": 1000},
        }

    def keep_result(self, found: soql.Result) -> str:
        """Keep the rest of a long answer for nextRecordsUrl; returns the locator."""
        with self.lock:
            locator = f"01g5g{len(self.results) + 1:010d}AAA"
            if len(found.rows) > self.page_size:
                self.results[locator] = found
            return locator

    def _usage(self) -> dict[str, str]:
        return {"Sforce-Limit-Info": f"api-usage={self.calls + self.used_by_others}/{self.daily_limit}"}

    def _refusal(self, error: SalesforceError) -> Response:
        return json_response(error.body(), error.status)

    def _add(self, sobject: str, **fields: Any) -> str:
        return str(self.store.insert(self.store.objects[sobject], fields, as_system=True)["Id"])

    def _sobject_of(self, record_id: str) -> schema.SObject:
        return next(one for one in self.store.objects.values() if one.prefix == record_id[:3])

    # As a process of its own

    def control(self, request: Request) -> Any:
        parts = request.segments[1:]
        match request.method, parts:
            case "GET", ["calls"]:
                return {"calls": self.calls, "grants": self.login.grants}
            case "GET", ["records", sobject]:
                found = self.records(sobject, deleted=bool(request.param("deleted")))
                return json.loads(json.dumps(found, default=str))
            case "POST", ["records", sobject]:
                return {"id": self._add(sobject, **request.json())}
            case "PATCH", ["records", record_id]:
                self.edits(record_id, **request.json())
                return {}
            case "DELETE", ["records", record_id]:
                self.deletes(record_id)
                return {}
            case "POST", ["token"]:
                return {"access_token": self.access_token()}
            case "POST", ["expires_sessions" | "revokes_access" | "assigns_permission_set" as name]:
                getattr(self, name)()
                return {}
            case "POST", ["rejects_next"]:
                self.rejects_next(**request.json())
                return {}
            case "POST", ["set"]:
                return self._set_by_control(request.json())
        return None

    def _set_by_control(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        for name, value in wanted.items():
            if name not in ("daily_limit", "used_by_others", "page_size", "bulk_polls", "bulk_stops_after"):
                raise ValueError(f"cannot set {name}")
            setattr(self, name, value)
        return {}

    def state(self) -> Any:
        with self.lock:
            ids = {"org_id": self.org_id, "user_id": self.user_id, "admin_id": self.admin_id}
            return {**ids, "calls": self.calls, "refresh_tokens": self.login.refresh_tokens, "store": self.store.dump()}

    def restore(self, state: Any) -> None:
        with self.lock:
            self.store.load(state["store"])
            self.org_id, self.user_id, self.admin_id = state["org_id"], state["user_id"], state["admin_id"]
            self.store.user_id, self.store.admin_id = self.user_id, self.admin_id
            self.login.org_id, self.login.user_id = self.org_id, self.user_id
            self.login.refresh_tokens, self.calls = list(state["refresh_tokens"]), state["calls"]


def _only_reads(request: Request) -> bool:
    return all(part.get("method") == "GET" for part in request.json().get("compositeRequest", []))
