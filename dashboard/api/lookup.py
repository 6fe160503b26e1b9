"""Finds what an address names by Stripe's id: one thing, or a 409 when several sources know it."""

from __future__ import annotations

from collections.abc import Sequence

from billing import selectors as billing
from billing.selectors import CustomerRow, EventDetail
from dashboard.api.errors import ApiError, conflict, not_found


def customer(stripe_id: str, sources: Sequence[int] | None) -> CustomerRow:
    """Return the customer of this id, among live sources unless some are named; 404 or 409 when it is not one."""
    found = billing.customers_by_stripe_id(stripe_id, source_pks=_known(sources))
    if len(found) > 1:
        raise _ambiguous("customer", [row.source_slug for row in found])
    if not found:
        raise not_found("There is no customer with this id.")
    return found[0]


def customer_pk(stripe_id: str, sources: Sequence[int] | None) -> int | None:
    """Return the key of a customer that narrows a list; None for an unknown one, 409 for several."""
    try:
        return customer(stripe_id, sources).pk
    except ApiError as error:
        if error.status == 404:
            return None
        raise


def event(stripe_id: str, sources: Sequence[int] | None) -> EventDetail:
    """Return the event of this id with its body, among live sources unless some are named; 404 or 409."""
    found = billing.event_details(stripe_id, source_pks=_known(sources))
    if len(found) > 1:
        raise _ambiguous("event", [one.row.source_slug for one in found])
    if not found:
        raise not_found("There is no event with this id.")
    return found[0]


def _known(sources: Sequence[int] | None) -> Sequence[int]:
    return billing.live_source_pks() if sources is None else sources


def _ambiguous(what: str, slugs: Sequence[str]) -> ApiError:
    return conflict(
        "ambiguous_source",
        f"Several sources know this {what}: {', '.join(slugs)}. Add source= to say which.",
        field="source",
    )
