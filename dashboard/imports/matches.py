"""Which Account each customer is, decided by a person in a sheet: the rules are those of the unmatched page."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import Final

from crm import matching
from crm import selectors as crm
from crm.ids import ACCOUNT, MalformedId, long_id
from dashboard.imports.customers import CUSTOMER, SOURCE, each_of_customer
from dashboard.imports.form import Bad, Column, Good, Kind, Row, Values, WrongCell

MOST_ROWS: Final = 2000  # each match moves what is owed to Salesforce, as one by a person does


def _read(rows: Sequence[Row], _today: date) -> list[Good | Bad]:
    living = crm.accounts({id_ for row in rows if (id_ := _long(row.cells["account_id"]))})

    def take(row: Row, customer_pk: int) -> Good:
        said = row.cells["account_id"]
        account_id = _long(said)
        if not account_id:
            reason = f"{said!r} is not the id of an Account."
            raise WrongCell("account_id", reason, "It begins with 001 and has 15 or 18 characters.")
        if account_id not in living:
            reason = f"No Account {account_id} was read from Salesforce, or it was deleted or merged there."
            raise WrongCell("account_id", reason, "Look it up in Salesforce; a new one is read within minutes.")
        return Good(row.line, str(customer_pk), account_id)

    return _without_taken(each_of_customer(rows, take, live_only=True))


def _without_taken(found: list[Good | Bad]) -> list[Good | Bad]:
    """Refuse customers that are matched to another Account: a sheet takes no decision back."""
    matched = crm.matches_of([int(one.place) for one in found if isinstance(one, Good)])
    checked: list[Good | Bad] = []
    for one in found:
        match = matched.get(int(one.place)) if isinstance(one, Good) else None
        if isinstance(one, Good) and match and match.account_id != one.value:
            who, when = match.matched_by or "the machine", f"{match.matched_at:%Y-%m-%d %H:%M} UTC"
            reason = f"It was matched to {match.account_id} by {who} at {when}."
            checked.append(Bad(one.line, "customer", reason, "Undo that match first, or leave the row out."))
        else:
            checked.append(one)
    return checked


def _long(text: str) -> str:
    try:
        return long_id(text, prefix=ACCOUNT)
    except MalformedId:
        return ""


def _held(places: Collection[str]) -> dict[str, str]:
    return {str(pk): match.account_id for pk, match in crm.matches_of([int(place) for place in places]).items()}


def _write(values: Values, by: str, now: datetime) -> None:
    made = crm.matches_of([int(place) for place, value in values.items() if value is None])
    for place, account_id in values.items():
        if account_id is not None:
            matching.match(int(place), account_id, by=by, now=now)
        elif match := made.get(int(place)):
            matching.unmatch(match.pk, by=by, now=now)


MATCHES: Final = Kind(
    key="matches",
    label="Matches",
    text="Which Salesforce Account a customer is. A customer that is matched to another Account is refused.",
    columns=(CUSTOMER, Column("account_id", "the Account's id in Salesforce, 001…"), SOURCE),
    examples=(("cus_NffrFeUfNV2Hib", "001Dn00000SdfCaIAJ", ""),),
    says="account_id",
    same="customer",
    read=_read,
    held=_held,
    write=_write,
    most_rows=MOST_ROWS,
    at_once=MOST_ROWS,  # a match can be refused, and then none is made
)
