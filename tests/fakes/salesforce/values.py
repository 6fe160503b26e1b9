"""What a field accepts: each JSON value becomes what Salesforce would keep, or is refused as Salesforce would."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from .errors import SalesforceError
from .schema import NUMBERS, TEXTS, Field

DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
DATETIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})")
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
SALESFORCE_ID = re.compile(r"[A-Za-z0-9]{15}([A-Z0-5]{3})?")


def coerce(field: Field, value: Any, *, sobject: str) -> Any:
    """The value as kept: text trimmed, numbers as Decimal at the field's scale, "" as null. Raises SalesforceError."""
    if field.type in TEXTS and isinstance(value, str):
        return _text(field, value, sobject)
    if value is None or (value == "" and field.type != "boolean"):
        return _null(field)
    if field.type in NUMBERS:
        return _number(field, value)
    if field.type == "boolean":
        return _boolean(field, value)
    if field.type == "date":
        return _date(field, value)
    if field.type == "datetime":
        return _datetime(field, value)
    if field.type in ("reference", "id") and isinstance(value, str):
        return long_id(value, field=field.name)
    raise _unreadable(field, value)


def long_id(value: str, *, field: str = "Id") -> str:
    """An id in its form of 18 characters. Raises MALFORMED_ID."""
    if not SALESFORCE_ID.fullmatch(value) or (len(value) == 18 and with_suffix(value[:15]) != value):
        raise SalesforceError("MALFORMED_ID", f"{field}: id value of incorrect type: {value}", [field])
    return with_suffix(value[:15])


def with_suffix(short: str) -> str:
    """The three characters that make an id of 15 safe where case is lost."""
    chunks = (short[at : at + 5] for at in (0, 5, 10))
    return short + "".join(ALPHABET[sum(1 << at for at, c in enumerate(chunk) if c.isupper())] for chunk in chunks)


def is_id(value: str) -> bool:
    try:
        long_id(value)
    except SalesforceError:
        return False
    return True


def stamp(at: datetime) -> str:
    """A moment as Salesforce writes it: whole seconds, UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")


def moment(text: str) -> datetime:
    """A date-time literal with its zone, in UTC. Raises ValueError."""
    if not DATETIME.fullmatch(text):
        raise ValueError(text)
    return datetime.fromisoformat(re.sub(r"(\.\d{1,6})\d*", r"\1", text)).astimezone(UTC)


def shown(value: Any) -> Any:
    """A kept value as the REST API writes it: numbers are JSON numbers."""
    return float(value) if isinstance(value, Decimal) else value


def _text(field: Field, value: str, sobject: str) -> str | None:
    kept = value.strip()
    if not kept:
        return None
    if field.length and len(kept) > field.length:
        message = f"{field.label}: data value too large: {kept} (max length={field.length})"
        raise SalesforceError("STRING_TOO_LONG", message, [field.name])
    if field.type == "email" and not EMAIL.fullmatch(kept):
        raise SalesforceError("INVALID_EMAIL_ADDRESS", f"{field.label}: invalid email address: {kept}", [field.name])
    if field.type == "picklist" and field.restricted and kept not in field.values:
        message = f"{field.label}: bad value for restricted picklist field: {kept}"
        raise SalesforceError("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message, [field.name])
    return kept


def _null(field: Field) -> None:
    if field.type == "boolean":
        raise SalesforceError(
            "INVALID_TYPE_ON_FIELD_IN_RECORD", f"{field.label}: value not of required type:", [field.name]
        )


def _number(field: Field, value: Any) -> Decimal:
    try:
        if isinstance(value, bool) or not isinstance(value, int | str | Decimal | float):
            raise InvalidOperation
        exact = Decimal(str(value))
        if not exact.is_finite():
            raise InvalidOperation
    except InvalidOperation:
        raise _unreadable(field, value) from None
    if abs(exact) >= Decimal(10) ** (field.precision - field.scale):
        message = f"{field.label}: value outside of valid range on numeric field: {value}"
        raise SalesforceError("NUMBER_OUTSIDE_VALID_RANGE", message, [field.name])
    if field.type == "int" and exact != exact.to_integral_value():
        raise _unreadable(field, value)
    return exact.quantize(Decimal(1).scaleb(-field.scale), rounding=ROUND_HALF_UP)


def _boolean(field: Field, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise _unreadable(field, value)


def _date(field: Field, value: Any) -> str:
    try:
        if not isinstance(value, str) or not DATE.fullmatch(value):
            raise ValueError(value)
        return date.fromisoformat(value).isoformat()
    except ValueError:
        raise _unreadable(field, value) from None


def _datetime(field: Field, value: Any) -> str:
    try:
        return stamp(moment(value))
    except (ValueError, TypeError):
        raise _unreadable(field, value) from None


def _unreadable(field: Field, value: Any) -> SalesforceError:
    kind = {"datetime": "datetime", "date": "date", "boolean": "boolean", "int": "int"}.get(field.type, "")
    kind = kind or ("double" if field.type in NUMBERS else "string")
    message = f"Cannot deserialize instance of {kind} from {_token(value)} value {value}"
    message += " or request may be missing a required field at [line:1, column:1]"
    return SalesforceError("JSON_PARSER_ERROR", message)


def _token(value: Any) -> str:
    if isinstance(value, bool):
        return f"VALUE_{str(value).upper()}"
    names: list[tuple[type, str]] = [(int, "VALUE_NUMBER_INT"), (Decimal, "VALUE_NUMBER_FLOAT"), (str, "VALUE_STRING"),
                                     (list, "START_ARRAY"), (dict, "START_OBJECT")]  # fmt: skip
    return next((name for kind, name in names if isinstance(value, kind)), "VALUE_NULL")
