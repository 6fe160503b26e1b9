"""Exchange rates of your own: so many units of the reporting currency for one unit of another, a day a row."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import Final

from django.conf import settings

from dashboard.imports.form import Bad, Column, Good, Kind, Row, Values, WrongCell, each
from mrr import fx, manual_rates
from mrr.engine.rates import Origin, Quote

_CURRENCY: Final = re.compile(r"[a-z]{3}")
_RATE: Final = re.compile(r"\d{1,15}(\.\d{1,20})?")


def _read(rows: Sequence[Row], today: date) -> list[Good | Bad]:
    def take(row: Row) -> Good:
        said = row.cells["day"]
        try:
            day = date.fromisoformat(said)
        except ValueError:
            raise WrongCell("day", f"The day {said!r} is not written as YYYY-MM-DD.") from None
        currency, rate = row.cells["currency"].lower(), row.cells["rate"]
        if day > today:
            raise WrongCell("day", f"The day {day} has not come yet.", "Leave it out.")
        if not _CURRENCY.fullmatch(currency):
            raise WrongCell("currency", f"The currency {currency!r} does not have three letters, such as eur.")
        if currency == settings.REPORTING_CURRENCY:
            reason = f"{currency} is the reporting currency itself: it is always worth 1."
            raise WrongCell("currency", reason, "Leave it out.")
        if not _RATE.fullmatch(rate):
            raise WrongCell("rate", f"The rate {rate!r} is not a plain decimal number such as 1.0825.")
        if not rate.strip("0."):
            raise WrongCell("rate", "The rate is 0.", "Leave it out where you do not know it.")
        return Good(row.line, f"{day} {currency}", rate)

    return each(rows, take)


def _key(place: str) -> tuple[date, str]:
    day, currency = place.split(" ")
    return date.fromisoformat(day), currency


def _held(places: Collection[str]) -> dict[str, str]:
    return {f"{day} {currency}": rate for (day, currency), rate in manual_rates.rates(map(_key, places)).items()}


def _write(values: Values, _by: str, _now: datetime) -> None:
    keys = {_key(place): value for place, value in values.items()}
    reporting = settings.REPORTING_CURRENCY
    fx.store([Quote(*key, reporting, value, Origin.MANUAL) for key, value in keys.items() if value is not None])
    manual_rates.remove([key for key, value in keys.items() if value is None])


def _refusal(places: Collection[str], since: datetime) -> str:
    month = manual_rates.closed_with([_key(place)[0] for place in places], since=since)
    return f"{month:%B %Y} was closed with these rates. Reopen it first." if month else ""


RATES: Final = Kind(
    key="rates",
    label="Exchange rates",
    text="Rates of your own. Of one day they count before the central bank's; closed months keep theirs.",
    columns=(
        Column("day", "YYYY-MM-DD"),
        Column("currency", "three letters, such as eur"),
        Column("rate", "units of the reporting currency for one unit of this one, such as 1.0825"),
    ),
    examples=(("2026-01-30", "eur", "1.0825"), ("2026-01-30", "gbp", "1.2710")),
    says="rate",
    same="day and currency",
    read=_read,
    held=_held,
    write=_write,
    refusal=_refusal,
)
