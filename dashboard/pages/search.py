"""Search: customers, subscriptions, invoices, events and Accounts in one place, by name or by a pasted id."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_GET

from billing import selectors as billing
from crm import selectors as crm
from dashboard.pages import shared
from dashboard.roles import Ability, requires

LIMIT = 8  # of each group: who has more types more
SHORTEST = 2


@dataclass(frozen=True)
class Hit:
    label: str
    second: str
    url: str


@dataclass(frozen=True)
class Group:
    """What was found of one kind."""

    label: str
    icon: str
    hits: tuple[Hit, ...]


@requires(Ability.SEE_FIGURES)
@require_GET
def search(request: HttpRequest) -> HttpResponse:
    """Show what fits. Who may not see people finds by id alone: a hit by name would tell the name."""
    text = request.GET.get("q", "").strip()[:200]
    groups = _groups(request, text) if len(text) >= SHORTEST else []
    found = {"text": text, "is_short": len(text) < SHORTEST, "groups": [group for group in groups if group.hits]}
    return shared.page(request, "dashboard/search.html", found, name="Search", now=shared.now_of(request))


def _groups(request: HttpRequest, text: str) -> list[Group]:
    sources = billing.live_source_pks()
    if text.startswith("evt_"):
        return [Group("Stripe events", "bolt", _events(text, sources))]
    if text.startswith(("sub_", "in_")):
        is_invoice = text.startswith("in_")
        label, icon = ("Invoices", "receipt-2") if is_invoice else ("Subscriptions", "repeat")
        return [Group(label, icon, _objects(text, sources, tab="invoices" if is_invoice else "subscriptions"))]
    return [
        Group("Customers", "users", _customers(request, text, sources)),
        Group("Salesforce Accounts", "building", _accounts(request, text)),
    ]


def _customers(request: HttpRequest, text: str, sources: list[int]) -> tuple[Hit, ...]:
    sees = shared.sees_people(request)
    return tuple(
        Hit(
            shared.who(request, name=row.name, email=row.email, stripe_id=row.stripe_id),
            " · ".join(part for part in (row.email if sees else "", row.stripe_id, row.source_label) if part),
            reverse("dashboard:customer", args=[row.pk]),
        )
        for row in billing.customers_searched(text, by_name=sees, sources=sources, limit=LIMIT)
    )


def _accounts(request: HttpRequest, text: str) -> tuple[Hit, ...]:
    """Link Accounts to their records in Salesforce."""
    if shared.sees_people(request):
        found = crm.accounts_matching(text, limit=LIMIT)
    else:
        found = list(crm.accounts([text]).values())
    connection = crm.connection()
    return tuple(
        Hit(
            row.name if shared.sees_people(request) else row.salesforce_id,
            f"{row.salesforce_id} · {row.customers} customer{'' if row.customers == 1 else 's'}",
            crm.record_url(connection, row.salesforce_id),
        )
        for row in found
    )


def _objects(text: str, sources: list[int], *, tab: str) -> tuple[Hit, ...]:
    return tuple(
        Hit(
            row.stripe_id,
            f"{row.status} · of {row.customer_id}",
            f"{reverse('dashboard:customer', args=[row.customer_pk])}?tab={tab}",
        )
        for row in billing.named_objects(text, sources=sources)
    )


def _events(text: str, sources: list[int]) -> tuple[Hit, ...]:
    return tuple(
        Hit(
            one.row.stripe_id,
            f"{one.row.type} · {one.row.source_slug}",
            f"{reverse('dashboard:event', args=[one.row.stripe_id])}?source={one.row.source_slug}",
        )
        for one in billing.event_details(text, source_pks=sources)
    )
