"""Reads the envelope of an event's body, whatever its shape, and says whether it can be worked on."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

MAX_BODY_BYTES: Final = 1024 * 1024
LATEST: Final = 253_402_300_799  # the last second of the year 9999: databases know no later time
EVENT_ID = re.compile(r"[\x21-\x7e]{1,255}")


class NotAnEvent(ValueError):
    """The body is no JSON object: whoever sent it has to send something else."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What an event says about itself. `reason` is the code of why it cannot be worked on, empty when it can.

    Texts hold no NUL and no lone surrogate, which PostgreSQL would refuse; `body` is the whole event likewise,
    or None where it could not be read to the end.
    """

    stripe_id: str
    type: str
    created_at: datetime | None
    livemode: bool
    api_version: str
    object_id: str
    customer_id: str
    reason: str
    body: dict[str, Any] | None


def read(raw: bytes, *, livemode: bool, account_id: str) -> Envelope:
    """Return the envelope of a raw body, judged for a source of this mode and Connect account.

    Raises NotAnEvent when the body is no JSON object (not UTF-8, cut short, an array, NaN). An object that is odd in
    any other way is an envelope with a reason: it is kept, and shown, but not worked on.
    """
    event, reason = parse(raw)
    usable_id = event.get("id")
    if not isinstance(usable_id, str) or not EVENT_ID.fullmatch(usable_id):
        usable_id = "body:" + hashlib.sha256(raw).hexdigest()[:40]
        reason = reason or "no_id"
    found = _object(event)
    return Envelope(
        stripe_id=usable_id,
        type=_text(event.get("type"), 100),
        created_at=_moment(event.get("created")),
        livemode=event.get("livemode") is True,
        api_version=_text(event.get("api_version"), 50),
        object_id=_text(found.get("id"), 255),
        customer_id=_customer_id(found),
        reason=reason or _fault(event, livemode=livemode, account_id=account_id),
        body=None if reason in UNREADABLE else event,
    )


UNREADABLE: Final = frozenset({"too_deep", "number_too_large"})


def parse(raw: bytes) -> tuple[dict[str, Any], str]:
    """Return a body as JSON (fractions as their text), and the code of why it could not be read to the end.

    What nests deeper, or counts higher, than Python reads comes with its plain top-level values alone.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise NotAnEvent("The body is not UTF-8.") from None
    reason = ""
    try:
        event = _decode(text)
    except json.JSONDecodeError as error:
        raise NotAnEvent(f"The body is not JSON: {error.msg} at character {error.pos}.") from None
    except RecursionError:
        event, reason = _top_level(text), "too_deep"
    except NotAnEvent:
        raise
    except ValueError:  # more digits than Python turns into a number
        event, reason = _top_level(text), "number_too_large"
    if not isinstance(event, dict):
        raise NotAnEvent("The body is JSON, but not an object.")
    return (cleaned(event) if UNCLEAN.search(text) else event), reason


# Raw NULs and lone surrogates are no valid JSON in UTF-8, so only these escapes can bring them in.
UNCLEAN = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def cleaned(value: Any) -> Any:
    """Return JSON with NULs and lone surrogates replaced by U+FFFD in every text."""
    if isinstance(value, str):
        return UNSTORABLE.sub("�", value)
    if isinstance(value, dict):
        return {cleaned(key): cleaned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [cleaned(item) for item in value]
    return value


def _refuse_constant(name: str) -> Any:
    raise NotAnEvent(f"The body is not JSON: {name} is no number.")


# Fractions stay text: no float may touch money.
_decode = json.JSONDecoder(parse_float=str, parse_constant=_refuse_constant).decode


def _fault(event: dict[str, Any], *, livemode: bool, account_id: str) -> str:
    """Name the first reason why a complete event cannot be worked on; empty when it can."""
    kind = event.get("type")
    if event.get("object") == "v2.core.event":
        return "thin_event"
    if not isinstance(kind, str) or not 0 < len(kind) <= 100 or _moment(event.get("created")) is None:
        return "bad_event"
    if not isinstance(event.get("livemode"), bool) or not _object(event):
        return "bad_event"
    if event["livemode"] is not livemode:
        return "wrong_mode"
    account = event.get("account")
    if account is not None and (not account_id or account != account_id):
        return "wrong_account"
    return ""


def _object(event: dict[str, Any]) -> dict[str, Any]:
    outer = event.get("data")
    found = outer.get("object") if isinstance(outer, dict) else None
    return found if isinstance(found, dict) else {}


def _customer_id(found: dict[str, Any]) -> str:
    if found.get("object") == "customer":
        return _text(found.get("id"), 255)
    customer = found.get("customer")
    return _text(customer.get("id") if isinstance(customer, dict) else customer, 255)


def _text(value: Any, limit: int) -> str:
    return value[:limit] if isinstance(value, str) else ""


def _moment(value: Any) -> datetime | None:
    if type(value) is not int or not 0 <= value <= LATEST:
        return None
    return datetime.fromtimestamp(value, UTC)


# ---- bodies that Python's reader gives up on: the grammar is checked without recursion ----

TOKEN = re.compile(
    r"""[ \t\n\r]*(?:(?P<mark>[{}\[\],:])|(?P<text>"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")"""
    r"""|(?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)|(?P<word>true|false|null))"""
)


def _top_level(text: str) -> dict[str, Any]:
    """Return the plain values at the top of a JSON object; raises NotAnEvent unless the text is one JSON object."""
    top: dict[str, Any] = {}
    closers: list[str] = []
    expected = "value"
    key = ""
    for kind, symbol in _tokens(text):
        if symbol in ("}", "]"):
            if not closers or symbol != closers.pop() or expected in ("value", "colon", "key"):
                raise NotAnEvent("The body is not JSON: its brackets do not match.")
            expected = "after"
        elif symbol == ",":
            if expected != "after" or not closers:
                raise NotAnEvent("The body is not JSON: a comma stands where none may.")
            expected = "key" if closers[-1] == "}" else "value"
        elif symbol == ":":
            if expected != "colon":
                raise NotAnEvent("The body is not JSON: a colon stands where none may.")
            expected = "value"
        elif expected in ("key", "key_or_end"):
            if kind != "text":
                raise NotAnEvent("The body is not JSON: a key is no text.")
            expected = "colon"
            if len(closers) == 1:
                key = json.loads(symbol)
        elif expected in ("value", "value_or_end"):
            if symbol == "{":
                closers.append("}")
                expected = "key_or_end"
            elif symbol == "[":
                closers.append("]")
                expected = "value_or_end"
            else:
                expected = "after"
                if len(closers) == 1 and closers[0] == "}" and (kind != "number" or len(symbol) <= 18):
                    top[key] = json.loads(symbol)
            if len(closers) == 0 or closers[0] != "}":
                raise NotAnEvent("The body is JSON, but not an object.")
        else:
            raise NotAnEvent("The body is not JSON: a value stands where none may.")
    if closers or expected != "after":
        raise NotAnEvent("The body is not JSON: it is cut short.")
    return top


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    position, end = 0, len(text.rstrip(" \t\n\r"))
    while position < end:
        found = TOKEN.match(text, position)
        if found is None:
            raise NotAnEvent(f"The body is not JSON at character {position}.")
        kind = found.lastgroup or ""
        yield kind, found[kind]
        position = found.end()
