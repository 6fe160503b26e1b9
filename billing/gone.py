"""Finds what we know and Stripe lists no more: a listed page is held against our rows of the same stretch of time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from django.db import transaction

from billing import mirror, stripe_api
from billing.kinds import KINDS
from billing.models import Listing, ListingFinding
from billing.resources import RESOURCES
from billing.stripe_api import Page
from billing.windows import Window

# Of what can be deleted at Stripe: how our rows of it look while it is there, and what a row says afterwards.
ALIVE: Final[dict[str, dict[str, Any]]] = {
    "customer": {"deleted_at": None},
    "product": {"is_active": True},
    "price": {"is_active": True},
    "coupon": {"is_valid": True},
    "subscription": {},
    "subscription_schedule": {},
}


def between(source_pk: int, kind: str, window: Window, page: Page, at_edge: frozenset[str]) -> list[str]:
    """Return the ids of our living objects that lie where this page was read, and are neither on it nor `at_edge`.

    `at_edge` are the ids of the second read last: they were on the page before. The oldest second of a page that has
    another after it is judged with that one.
    """
    if kind not in ALIVE:
        return []
    newest = window.last if window.read_to is None else window.read_to
    if window.cursor and not at_edge:  # after a restart nobody knows that second's ids
        newest -= 1
    oldest = page.rows[-1][0]["created"] + 1 if page.has_more else window.first
    rows: Any = KINDS[kind].model._default_manager
    ours = rows.filter(
        source_id=source_pk,
        version_at__isnull=False,
        created_at__gte=datetime.fromtimestamp(oldest, UTC),
        created_at__lte=datetime.fromtimestamp(newest, UTC),
        **ALIVE[kind],
    )
    listed = {obj["id"] for obj, _ in page.rows} | at_edge
    return sorted(stripe_id for stripe_id in ours.values_list("stripe_id", flat=True) if stripe_id not in listed)


def settle(listing: Listing, reader: stripe_api.Reader, *, now: datetime) -> None:
    """Ask Stripe for each object that a listing missed: what it says is deleted is marked, what it has is taken.

    What Stripe does not know at all stays a finding: the key may be of another account. Raises StripeError.
    """
    missed = listing.findings.filter(how="gone", repaired_at=None).order_by("pk")
    for finding in missed[:ASKED]:
        path = next(resource.path for resource in RESOURCES.values() if resource.kind == finding.kind)
        try:
            obj = reader.one(path, finding.stripe_id)
        except stripe_api.NotFound:
            continue
        with transaction.atomic():
            if obj.get("deleted"):
                _mark(listing.source_id, finding.kind, finding.stripe_id, now=now)
            else:
                mirror.store(listing.source_id, [(finding.kind, obj)], asked=int(now.timestamp()))
            ListingFinding.objects.filter(pk=finding.pk).update(repaired_at=now)


ASKED: Final = 200


def _mark(source_pk: int, kind: str, stripe_id: str, *, now: datetime) -> None:
    """Have our row say that it is gone; what a subscription was worth, its own last state tells."""
    after = {name: now if value is None else False for name, value in ALIVE[kind].items()}
    if after:
        rows: Any = KINDS[kind].model._default_manager
        rows.filter(source_id=source_pk, stripe_id=stripe_id).update(**after)
