"""Salesforce's refusals as our four kinds of failure, with texts that are safe to keep and to show."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from crm.channels.kinds import ChannelError, Permanent, Transient, Unclear, Wait

LIMIT_PAUSE = timedelta(minutes=15)
OUTAGE_PAUSE = timedelta(minutes=2)

DEAD_SESSION = "INVALID_SESSION_ID"
TRANSIENT = frozenset(
    "UNABLE_TO_LOCK_ROW SERVER_UNAVAILABLE UNKNOWN_EXCEPTION QUERY_TIMEOUT PROCESSING_HALTED "
    "ALL_OR_NONE_OPERATION_ROLLED_BACK REQUEST_RUNNING_TOO_LONG CONCURRENT_REQUEST_LIMIT_EXCEEDED "
    # With a unique key the loser of two upserts at once gets DUPLICATE_VALUE, and finds the record the next time.
    "DUPLICATE_VALUE INVALID_SESSION_ID".split()
)
WAITS = frozenset({"REQUEST_LIMIT_EXCEEDED", "API_DISABLED_FOR_ORG", "API_CURRENTLY_DISABLED"})

_EMAIL = re.compile(r"[^\s'\"<>]+@[^\s'\"<>]+")
_TOKEN = re.compile(r"00D[A-Za-z0-9]{12,15}![^\s'\"]+|Bearer\s+\S+|(?:access|refresh)_token=\S+")
_QUERY = re.compile(r"\bSELECT\b.*?(?=ERROR at|$)", re.IGNORECASE | re.DOTALL)


def failure(code: str, message: str, fields: tuple[str, ...] = (), *, now: datetime) -> ChannelError:
    """Return a refusal, by Salesforce's own code, as one of the four kinds; codes we do not know are permanent."""
    text = scrubbed(message)
    if code in WAITS:
        return Wait(code, text, until=now + LIMIT_PAUSE)
    if code in TRANSIENT:
        return Transient(code, text, fields=fields)
    return Permanent(code, text, fields=fields)


def from_answer(status: int, content: Any, *, is_write: bool, now: datetime) -> ChannelError:
    """Return what a refused call says: `content` is its body, parsed or as text. Pages for people carry no code."""
    first = _first_error(content)
    if first is not None:
        code, message, fields = first
        if status >= 500 and code not in TRANSIENT:
            return Transient(code, scrubbed(message))
        return failure(code, message, fields, now=now)
    if status == 300:
        return Permanent(
            "DUPLICATE_EXTERNAL_ID", "The External ID stands on several records. Make the field unique and merge them."
        )
    if status in (502, 504) and is_write:
        return Unclear(f"HTTP_{status}", "A gateway gave up while Salesforce may still have been writing.")
    if status >= 500:
        return Transient(f"HTTP_{status}", "Salesforce answered with a page for people, as in maintenance.")
    if status in (301, 302, 303, 307, 308):
        return Permanent(f"HTTP_{status}", "Salesforce sends us to another address. Check the instance URL.")
    return Permanent(f"HTTP_{status}", "Salesforce refused without saying why.")


def rows_error(errors: Any, *, now: datetime) -> ChannelError:
    """Return the refusal of one record of a collection or of one part of a composite request."""
    first = _first_error(errors)
    if first is None:
        return Unclear("UNREADABLE_ANSWER", "Salesforce's answer about this record cannot be read.")
    return failure(*first, now=now)


def scrubbed(text: str) -> str:
    """Return a message without tokens, e-mail addresses and query text, on one line and not too long."""
    text = _TOKEN.sub("[hidden]", str(text))
    text = _QUERY.sub("[query] ", text)
    text = _EMAIL.sub("[e-mail]", text)
    return " ".join(text.split())[:500]


def _first_error(content: Any) -> tuple[str, str, tuple[str, ...]] | None:
    if isinstance(content, bytes):
        content = content.decode("utf-8", "replace")
    if isinstance(content, str):
        try:
            content = json.loads(content)
        except ValueError:
            return None
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, list):
        return None
    found = [one for one in content if isinstance(one, Mapping) and (one.get("errorCode") or one.get("statusCode"))]
    if not found:
        return None
    # With allOrNone one part carries the cause and the others only say that they were halted.
    cause = next((one for one in found if one.get("errorCode") != "PROCESSING_HALTED"), found[0])
    fields = cause.get("fields") or ()
    code = str(cause.get("errorCode") or cause.get("statusCode"))
    return code, str(cause.get("message") or code), tuple(str(name) for name in fields)
