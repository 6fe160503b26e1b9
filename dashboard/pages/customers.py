"""Customers: all who ever had MRR, the largest first, and a search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.core.exceptions import BadRequest
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.views.decorators.http import require_GET

from crm import selectors as crm
from dashboard import exports, formats
from dashboard.pages import explain, shared
from dashboard.pages.shared import Scope
from dashboard.parts import Choice, Empty, Pager
from dashboard.roles import Ability, requires
from mrr import selectors as mrr

PAGE_SIZE = 50
EXPORT_CHUNK = 500
STATES = {"": "All", "paying": "Paying", "lost": "No longer paying"}
COLUMNS = (
    "source",
    "customer",
    "name",
    "email",
    "currency",
    "mrr_minor",
    "mrr_micros",
    "arr_minor",
    "cmrr_minor",
    "first_paid_at",
    "cohort",
    "last_movement_at",
)


@dataclass(frozen=True)
class CustomerLine:
    who: str
    email: str
    url: str
    source: str
    customer_id: str
    account: str
    code: str
    balance: mrr.Balance


@requires(Ability.SEE_FIGURES)
@require_GET
def customers(request: HttpRequest) -> HttpResponseBase:
    now = shared.now_of(request)
    scope = shared.read_scope(request, filtered="customers")
    panel = explain.panel(request, scope, now=now)
    if panel and explain.is_alone(request):
        return explain.alone(request, panel, now=now)
    search = request.GET.get("q", "").strip()[:200]
    state = request.GET.get("state", "")
    if state not in STATES:
        raise BadRequest(f"There is no state '{state}'.")
    if kind := shared.wants_export(request):
        return _export(request, kind, scope, search, state, now)
    found = _page(request, scope, search, state, after=_place(request.GET.get("after", "")), limit=PAGE_SIZE)
    accounts = crm.accounts_of([row.pk for row in found.customers])
    return shared.page(
        request,
        "dashboard/customers.html",
        {
            "panel": panel,
            "search": search,
            "states": [
                Choice(name, shared.link(request, state=code or None), code == state) for code, name in STATES.items()
            ],
            "currencies": [
                Choice("All", shared.link(request, currency=None), not request.GET.get("currency")),
                *(
                    Choice(code.upper(), shared.link(request, currency=code), request.GET.get("currency") == code)
                    for code in (row.currency for row in scope.standing.currencies)
                ),
            ],
            "rows": [_line(request, row, accounts) for row in found.customers],
            "pager": Pager(
                formats.count(len(found.customers)),
                next_url=shared.link(request, after=_cursor(found.following)) if found.following else "",
                previous_url=shared.link(request) if request.GET.get("after") else "",
            ),
            "empty": _nothing(request, scope, search, state),
        },
        name="Customers",
        now=now,
        scope=scope,
    )


def _page(
    request: HttpRequest, scope: Scope, search: str, state: str, *, after: mrr.CustomerPlace | None, limit: int
) -> mrr.CustomerPage:
    """Return one page. Who may not see people can only search by id: a hit by name would tell the name."""
    return mrr.customers(
        limit=limit,
        after=after,
        search=search,
        searches_people=shared.sees_people(request),
        currency=scope.currency if request.GET.get("currency") else None,
        is_paying={"paying": True, "lost": False}.get(state),
        sources=scope.sources,
        segment=scope.segment,
    )


def _line(request: HttpRequest, row: mrr.CustomerRow, accounts: dict[int, crm.AccountRow]) -> CustomerLine:
    sees = shared.sees_people(request)
    account = accounts.get(row.pk)
    return CustomerLine(
        shared.who(request, name=row.name, email=row.email, stripe_id=row.customer_id),
        row.email if sees else "",
        reverse("dashboard:customer", args=[row.pk]),
        row.source,
        row.customer_id,
        (account.name if sees else account.salesforce_id) if account else "",
        f"cus:{row.pk}:{row.balance.currency}",
        row.balance,
    )


def _cursor(place: mrr.CustomerPlace) -> str:
    return f"{place.rank}.{place.currency}.{place.mrr_micros}.{place.pk}"


def _place(cursor: str) -> mrr.CustomerPlace | None:
    if not cursor:
        return None
    try:
        rank, currency, micros, pk = cursor.split(".")
        return mrr.CustomerPlace(int(rank), currency, int(micros), int(pk))
    except ValueError as error:
        raise BadRequest("This place in the list is not one that a page gave out.") from error


def _nothing(request: HttpRequest, scope: Scope, search: str, state: str) -> Empty:
    if search:
        by = "name, e-mail or id" if shared.sees_people(request) else "id"
        return Empty(
            "search",
            "No customer fits",
            f"Nobody's {by} holds “{search}”.",
            "Drop the search",
            shared.link(request, q=None),
        )
    if state:
        return Empty(
            "filter",
            "No customer fits",
            f"State: {STATES[state].lower()}.",
            "Show all",
            shared.link(request, state=None),
        )
    if scope.filters:
        return shared.nothing_fits(request, scope, "customer")
    return Empty("users", "No customer has had MRR yet", "They appear with their first paid subscription.")


def _export(request: HttpRequest, kind: str, scope: Scope, search: str, state: str, now: datetime) -> HttpResponseBase:
    def rows() -> Iterator[exports.Row]:
        after: mrr.CustomerPlace | None = None
        while True:
            found = _page(request, scope, search, state, after=after, limit=EXPORT_CHUNK)
            for row in found.customers:
                held = row.balance
                yield (
                    row.source,
                    row.customer_id,
                    row.name,
                    row.email,
                    held.currency,
                    held.mrr_minor,
                    held.mrr_micros,
                    held.arr_minor,
                    held.cmrr_minor,
                    held.first_paid_at,
                    held.cohort_month,
                    held.last_movement_at,
                )
            if found.following is None:
                return
            after = found.following

    about = [*shared.about(request, "Customers", now=now, scope=scope), ("Search", search), ("State", STATES[state])]
    return exports.response(kind, name="customers", columns=COLUMNS, rows=rows(), about=about, zone=shared.zone())
