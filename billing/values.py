"""Checks single values of Stripe's JSON: what a column holds, or a clear refusal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Json = Mapping[str, Any]


class LayoutError(Exception):
    """What we need of an object is missing or of another type. `reason` is the code to park its event with."""

    def __init__(self, message: str, *, reason: str = "layout_error") -> None:
        super().__init__(message)
        self.reason = reason


MOST: Final = 2**63 - 1
MOST_SMALL: Final = 2**31 - 1
LATEST: Final = 253_402_300_799


def id_of(obj: Json) -> str:
    found = obj.get("id")
    if not isinstance(found, str) or not 0 < len(found) <= 255:
        raise LayoutError(f"{str(obj.get('object') or 'An object')[:30]} without an id.")
    return found


def owner(obj: Json) -> str:
    found = reference(obj, "customer")
    if not found:
        raise LayoutError("It names no customer.", reason="no_customer")
    return found


def reference(obj: Json, key: str) -> str:
    """An id, given as text or as the whole object; empty when there is none."""
    found = obj.get(key)
    if isinstance(found, dict):
        found = found.get("id")
    if found is None:
        return ""
    if not isinstance(found, str) or len(found) > 255:
        raise LayoutError(f"{key} is no id.")
    return found


def said(obj: Json, key: str, most: int) -> str:
    """A text for people or a code, cut to its column; empty when there is none."""
    found = obj.get(key)
    return found[:most] if isinstance(found, str) else ""


def needed(obj: Json, key: str, most: int) -> str:
    found = obj.get(key)
    if not isinstance(found, str) or not 0 < len(found) <= most:
        raise LayoutError(f"{key} is missing.")
    return found


def currency(obj: Json, *, required: bool = True) -> str:
    found = obj.get("currency")
    if isinstance(found, str) and len(found) == 3 and found.isascii() and found.isalpha():
        return found.lower()
    if required or found:
        raise LayoutError("currency is no three letters.")
    return ""


def amount(obj: Json, key: str, *, required: bool = True) -> int | None:
    """An amount in minor units: a whole number that a database column holds."""
    found = obj.get(key)
    if type(found) is int and -MOST <= found <= MOST:
        return found
    if found is None and not required:
        return None
    raise LayoutError(f"{key} is no amount in whole minor units.")


def amount_or_0(obj: Json, key: str) -> int:
    return amount(obj, key, required=False) or 0


def decimal_text(text: str, key: str) -> str:
    digits = text.removeprefix("-").replace(".", "", 1)
    if not digits.isascii() or not digits.isdigit() or len(text) > 40:
        raise LayoutError(f"{key} is no decimal number.")
    return text


def whole(obj: Json, key: str, *, least: int = -MOST, most: int = MOST) -> int | None:
    found = obj.get(key)
    if found is None:
        return None
    if type(found) is not int or not least <= found <= most:
        raise LayoutError(f"{key} is no whole number in its range.")
    return found


def time(obj: Json, key: str, *, required: bool = False) -> int | None:
    found = obj.get(key)
    if found is None and not required:
        return None
    if type(found) is not int or not 0 <= found <= LATEST:
        raise LayoutError(f"{key} is no time in Unix seconds.")
    return found


def metadata(obj: Json) -> dict[str, str]:
    found = obj.get("metadata")
    return {key: value for key, value in found.items() if isinstance(value, str)} if isinstance(found, dict) else {}


def items_of(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def objects(value: Any) -> list[dict[str, Any]]:
    return [part for part in items_of(value) if isinstance(part, dict)]
