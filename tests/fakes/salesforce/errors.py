"""Salesforce's error answers: a code, a message, the fields, and the HTTP status that goes with the code."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

STATUS = {
    "INVALID_SESSION_ID": 401,
    "REQUEST_LIMIT_EXCEEDED": 403,
    "API_DISABLED_FOR_ORG": 403,
    "INSUFFICIENT_ACCESS": 403,
    "NOT_FOUND": 404,
    "ENTITY_IS_DELETED": 404,
    "METHOD_NOT_ALLOWED": 405,
    "URI_TOO_LONG": 414,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "SERVER_UNAVAILABLE": 503,
    "UNKNOWN_EXCEPTION": 500,
}


class SalesforceError(Exception):
    """One refusal; `body()` is how a REST call shows it, `row()` how a collection does."""

    def __init__(self, code: str, message: str, fields: Iterable[str] = (), *, status: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.fields = list(fields)
        self.status = status or STATUS.get(code, 400)

    def body(self) -> list[dict[str, Any]]:
        shown: dict[str, Any] = {"message": self.message, "errorCode": self.code}
        if self.fields or self.code in WITH_FIELDS:
            shown["fields"] = self.fields
        return [shown]

    def row(self) -> dict[str, Any]:
        return {"success": False, "errors": [{"statusCode": self.code, "message": self.message, "fields": self.fields}]}


# Codes of the save itself always carry `fields`, those of the request do not.
WITH_FIELDS = {
    "REQUIRED_FIELD_MISSING",
    "DUPLICATE_VALUE",
    "DUPLICATES_DETECTED",
    "ENTITY_IS_DELETED",
    "FIELD_CUSTOM_VALIDATION_EXCEPTION",
    "FIELD_INTEGRITY_EXCEPTION",
    "INVALID_CROSS_REFERENCE_KEY",
    "INVALID_FIELD_FOR_INSERT_UPDATE",
    "MALFORMED_ID",
    "STRING_TOO_LONG",
    "UNABLE_TO_LOCK_ROW",
}


class MoreThanOne(Exception):
    """An upsert key stands on several records: 300 with their addresses."""

    def __init__(self, ids: list[str]) -> None:
        super().__init__(f"{len(ids)} records")
        self.ids = ids


def no_such_column(name: str, sobject: str) -> SalesforceError:
    return SalesforceError("INVALID_FIELD", f"No such column '{name}' on sobject of type {sobject}")


def not_found(what: str = "The requested resource does not exist") -> SalesforceError:
    return SalesforceError("NOT_FOUND", what)


def no_external_id(what: str) -> SalesforceError:
    return not_found(f"Provided external ID field does not exist or is not accessible: {what}")
