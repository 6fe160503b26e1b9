"""How much customers use the product: a metric's value at a moment, for the score of who is at risk."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime
from typing import Final

from crm import given
from dashboard.imports.customers import CUSTOMER, SOURCE, each_of_customer
from dashboard.imports.form import Bad, Column, Good, Kind, Row, Values, WrongCell

_METRIC: Final = re.compile(r"[a-z][a-z0-9_.]{0,59}")
_VALUE: Final = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,6}))?")
_DECIMALS: Final = 6


def _read(rows: Sequence[Row], today: date) -> list[Good | Bad]:
    def take(row: Row, customer_pk: int) -> Good:
        metric, value = row.cells["metric"].lower(), _VALUE.fullmatch(row.cells["value"])
        if not _METRIC.fullmatch(metric):
            raise WrongCell("metric", f"The metric {metric!r} is not a short name such as seats_used.")
        if not value:
            reason = f"The value {row.cells['value']!r} is not a plain number with at most six decimals."
            raise WrongCell("value", reason, "Write such as 1250.5, without thousands marks.")
        at = _moment(row.cells["at"])
        if at.date() > today:
            raise WrongCell("at", f"The time {row.cells['at']} has not come yet.", "Leave it out.")
        micros = int(f"{value[1]}{value[2]}{(value[3] or '').ljust(_DECIMALS, '0')}")
        return Good(row.line, f"{customer_pk} {metric} {at.isoformat()}", str(micros))

    return each_of_customer(rows, take)


def _moment(text: str) -> datetime:
    """Read a day or a time with its zone; a day means its beginning in UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise WrongCell("at", f"The time {text!r} is not a date such as 2026-01-31 or 2026-01-31T14:00:00Z.") from None
    if at.tzinfo is None and len(text) > len("2026-01-31"):
        raise WrongCell("at", f"The time {text!r} does not say its zone.", "End it with Z for UTC, or such as +02:00.")
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _key(place: str) -> given.UsageKey:
    customer, metric, at = place.split(" ")
    return int(customer), metric, datetime.fromisoformat(at)


def _held(places: Collection[str]) -> dict[str, str]:
    found = given.usage([_key(place) for place in places])
    return {f"{pk} {metric} {at.isoformat()}": str(micros) for (pk, metric, at), micros in found.items()}


def _write(values: Values, _by: str, _now: datetime) -> None:
    given.keep_usage({_key(place): None if value is None else int(value) for place, value in values.items()})


USAGE: Final = Kind(
    key="usage",
    label="Usage",
    text="How much customers use the product: one value of one metric at one time a row.",
    columns=(
        CUSTOMER,
        Column("metric", "short name, such as seats_used"),
        Column("value", "a number with at most six decimals"),
        Column("at", "a date, or a time with its zone"),
        SOURCE,
    ),
    examples=(("cus_NffrFeUfNV2Hib", "seats_used", "42", "2026-01-31", ""),),
    says="value",
    same="customer, metric and time",
    read=_read,
    held=_held,
    write=_write,
)
