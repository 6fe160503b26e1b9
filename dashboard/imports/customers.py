"""Finds the customers that a file's rows name by Stripe's id, a thousand rows with one query."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from billing import selectors as billing
from dashboard.imports.form import Bad, Column, Good, Row, WrongCell, each

CUSTOMER = Column("customer", "Stripe's id of the customer, cus_…")
SOURCE = Column("source", "short name of the Stripe source; needed where several know the id", may_lack=True)


def each_of_customer(
    rows: Sequence[Row], take: Callable[[Row, int], Good], *, live_only: bool = False
) -> list[Good | Bad]:
    """Take rows one by one with the key of the customer that each names; what raises WrongCell is bad.

    Customers of test sources are found only where the row names their source, and not at all with `live_only`.
    """
    named = billing.customers_named({row.cells["customer"] for row in rows})
    if live_only:
        named = {name: [one for one in known if one.livemode] for name, known in named.items()}
    return each(rows, lambda row: take(row, _customer(row, named.get(row.cells["customer"], []))))


def _customer(row: Row, known: Sequence[billing.NamedCustomer]) -> int:
    source = row.cells.get("source", "")
    fit = [one for one in known if (one.source_slug == source if source else one.livemode)]
    if len(fit) == 1:
        return fit[0].pk
    said = row.cells["customer"]
    if not fit:
        where = f"The source '{source}' knows" if source else "There is"
        raise WrongCell("customer", f"{where} no customer {said!r}.", "Take the id from the customer's page.")
    slugs = ", ".join(sorted(one.source_slug for one in fit))
    raise WrongCell("customer", f"Several sources know {said}: {slugs}.", "Add a column source that says which.")
