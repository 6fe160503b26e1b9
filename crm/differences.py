"""Compares what we say of a Salesforce record with what stands there, and leaves out what a person gave away. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

IS_DELETED = "IsDeleted"
# Written once, when we win an Opportunity or make it; from then on they are the rep's.
BOOKED = frozenset({"StageName", "CloseDate", "Amount", "CurrencyIsoCode", "Name", "AccountId"})


def agree(ours: Any, theirs: Any) -> bool:
    """Say whether two values are the same to Salesforce.

    Numbers are compared exactly, whatever their decimals; moments whatever their writing; empty text is no value; ends
    of lines and spaces around a text do not count.
    """
    ours, theirs = _plain(ours), _plain(theirs)
    if ours is None or theirs is None or isinstance(ours, bool) or isinstance(theirs, bool):
        return ours is theirs
    if ours == theirs:
        return True
    if not (isinstance(ours, str) and isinstance(theirs, str)):
        return _numbers_agree(ours, theirs)
    return _moment(ours) == _moment(theirs) is not None


def differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return each field that both speak of and that differs: our value and theirs."""
    return {
        name: (value, theirs[name]) for name, value in ours.items() if name in theirs and not agree(value, theirs[name])
    }


def without_accepted(fields: Mapping[str, Any], accepted: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the fields to write: what a person left to Salesforce stays out until our value is another one."""
    return {
        name: value
        for name, value in fields.items()
        if name not in accepted or not agree(value, accepted[name].get("ours"))
    }


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        text = value.replace("\r\n", "\n").strip()
        return text or None
    return value


def _numbers_agree(one: Any, other: Any) -> bool:
    first, second = _number(one), _number(other)
    return first is not None and first == second


def _number(value: Any) -> Decimal | None:
    try:
        found = Decimal(str(value))  # JSON's number as it was written: the shortest text of it
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def _moment(text: str) -> datetime | None:
    if "T" not in text:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
