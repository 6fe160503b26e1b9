"""Reads one page of a list of Stripe's API, with each object's own text beside it: an event is kept as received."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from billing.envelope import UNCLEAN, cleaned

# Fractions stay text: no float may touch money.
_decoder: Final = json.JSONDecoder(parse_float=str)
GAP: Final = re.compile(r"[ \t\n\r]*")
COMMA: Final = re.compile(r"[ \t\n\r]*,?[ \t\n\r]*")
COLON: Final = re.compile(r"[ \t\n\r]*:[ \t\n\r]*")


class NotAPage(ValueError):
    """What came is no page of a list."""


def read(text: str) -> tuple[list[tuple[dict[str, Any], bytes]], bool]:
    """Return the objects of a page, each as JSON and as its own bytes, and whether there are more; raises NotAPage."""
    try:
        return _read(text)
    except (IndexError, AttributeError, ValueError, RecursionError) as error:
        raise NotAPage(f"Stripe's answer is no list: {type(error).__name__}.") from None


def _read(text: str) -> tuple[list[tuple[dict[str, Any], bytes]], bool]:
    rows: list[tuple[dict[str, Any], bytes]] | None = None
    has_more = False
    at = _after(GAP, text, 0)
    if text[at] != "{":
        raise ValueError(text[at])
    at = _after(GAP, text, at + 1)
    while text[at] != "}":
        name, at = _decoder.raw_decode(text, at)
        at = _after(COLON, text, at)
        if name == "data" and text[at] == "[":
            rows, at = _rows(text, at + 1)
        else:
            value, at = _decoder.raw_decode(text, at)
            has_more = value is True if name == "has_more" else has_more
        at = _after(COMMA, text, at)
    if rows is None:
        raise ValueError("data")
    return rows, has_more


def _rows(text: str, at: int) -> tuple[list[tuple[dict[str, Any], bytes]], int]:
    rows: list[tuple[dict[str, Any], bytes]] = []
    at = _after(GAP, text, at)
    while text[at] != "]":
        row, end = _decoder.raw_decode(text, at)
        if not isinstance(row, dict) or not isinstance(row.get("id"), str):
            raise ValueError("row")
        raw = text[at:end]
        rows.append((cleaned(row) if UNCLEAN.search(raw) else row, raw.encode()))
        at = _after(COMMA, text, end)
    return rows, at + 1


def _after(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    assert found is not None  # each of them matches nothing, too
    return found.end()
