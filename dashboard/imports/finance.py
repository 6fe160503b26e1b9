"""Finance's own MRR, a customer and month a row: kept to be compared with ours, never mixed into it."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import Final

from crm import given
from dashboard.imports.customers import CUSTOMER, SOURCE, each_of_customer
from dashboard.imports.form import Bad, Column, Good, Kind, Row, Values, WrongCell
from mrr.engine.money import exponent

_AMOUNT: Final = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,3}))?")
_CURRENCY: Final = re.compile(r"[a-z]{3}")


def _read(rows: Sequence[Row], today: date) -> list[Good | Bad]:
    def take(row: Row, customer_pk: int) -> Good:
        month = row.cells["month"]
        try:
            first = date.fromisoformat(f"{month}-01")
        except ValueError:
            raise WrongCell("month", f"The month {month!r} is not written as YYYY-MM.") from None
        if first > today:
            raise WrongCell("month", f"The month {month} has not come yet.", "Leave it out.")
        currency = row.cells["currency"].lower()
        if not _CURRENCY.fullmatch(currency):
            raise WrongCell("currency", f"The currency {currency!r} does not have three letters.", "Write such as eur.")
        amount = _minor(row.cells["amount"], currency)
        return Good(row.line, f"{customer_pk} {month} {currency}", str(amount))

    return each_of_customer(rows, take)


def _minor(text: str, currency: str) -> int:
    """Return an amount in major units, as decimal text, in minor units; it must not have to be rounded."""
    found = _AMOUNT.fullmatch(text)
    if not found:
        raise WrongCell("amount", f"The amount {text!r} is not a plain number such as 1250.00.", "No thousands marks.")
    sign, whole, part = found[1], found[2], found[3] or ""
    places = exponent(currency)
    if len(part) > places:
        raise WrongCell("amount", f"The amount {text} has more decimals than {currency} has ({places}).", "Round it.")
    return int(f"{sign}{whole}{part.ljust(places, '0')}")


def _key(place: str) -> given.MonthKey:
    customer, month, currency = place.split(" ")
    return int(customer), date.fromisoformat(f"{month}-01"), currency


def _held(places: Collection[str]) -> dict[str, str]:
    found = given.finance_mrr([_key(place) for place in places])
    return {f"{pk} {month:%Y-%m} {currency}": str(minor) for (pk, month, currency), minor in found.items()}


def _write(values: Values, _by: str, _now: datetime) -> None:
    given.keep_finance_mrr({_key(place): None if value is None else int(value) for place, value in values.items()})


FINANCE: Final = Kind(
    key="finance",
    label="Finance MRR",
    text="MRR as finance's own sheet has it, a customer and month a row. It is kept for comparison and never counted.",
    columns=(
        CUSTOMER,
        Column("month", "YYYY-MM"),
        Column("amount", "MRR at the end of the month in major units, such as 1250.00"),
        Column("currency", "three letters, such as eur"),
        SOURCE,
    ),
    examples=(
        ("cus_NffrFeUfNV2Hib", "2026-01", "1250.00", "usd", ""),
        ("cus_NffrFeUfNV2Hib", "2026-02", "0", "usd", ""),
    ),
    says="amount",
    same="customer, month and currency",
    read=_read,
    held=_held,
    write=_write,
)
