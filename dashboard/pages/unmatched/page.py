"""The workbench's page, and the parts of it that are asked for alone: one card, more rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_GET

from crm import selectors as crm
from dashboard.pages import explain, shared
from dashboard.pages.shared import Scope
from dashboard.pages.unmatched import asked as asking
from dashboard.pages.unmatched import decided, exporting, lists, opportunities, parts, queue
from dashboard.pages.unmatched.asked import Asked
from dashboard.pages.unmatched.card import card
from dashboard.parts import Pager
from dashboard.roles import Ability, may, requires

PAGE_SIZE = 50


@requires(Ability.SEE_FIGURES)
@require_GET
def unmatched(request: HttpRequest) -> HttpResponseBase:
    now = shared.now_of(request)
    scope = shared.read_scope(request)
    panel = explain.panel(request, scope, now=now)
    if panel and explain.is_alone(request):
        return explain.alone(request, panel, now=now)
    if request.GET.get("tab") == asking.OPPORTUNITIES:
        return opportunities.questions(request, now=now)
    asked = asking.read(request, scope, now=now)
    if kind := shared.wants_export(request):
        return exporting.export(request, kind, scope, asked, now)
    if parts.is_asked(request, "bench-metrics"):
        return render(request, "dashboard/unmatched/metrics.html", {"metrics": crm.match_metrics(now=now)})
    if parts.is_asked(request, "bench-card") and asked.customer_pk is not None:
        return _card_alone(request, asked, now=now)
    found = crm.unmatched(asked.chosen, limit=PAGE_SIZE, order=asked.order, after=asked.after)
    rows = _with_asked(found.rows, asked)
    assigned = _assigned(request, rows)
    chosen = next((row for row in rows if row.customer_pk == asked.customer_pk), rows[0] if rows else None)
    context = {
        "rows": [
            queue.line(request, row, assigned.get(row.customer_pk), is_chosen=row is chosen, now=now) for row in rows
        ],
        "pager": _pager(request, found, asked),
        "now": now,
    }
    if parts.is_asked(request, "bench-rows"):
        return render(request, "dashboard/unmatched/more.html", context)
    return shared.page(
        request,
        "dashboard/unmatched/page.html",
        {
            **context,
            **standing(request, scope, asked, now=now),
            "panel": panel,
            "filters": queue.filters(request, scope, asked, lists.counts(request, scope, now=now)),
            "sorts": queue.sorts(request, asked),
            "card": card(request, chosen, assigned.get(chosen.customer_pk), now=now) if chosen else None,
            "next_pk": _next_pk(rows, chosen),
            "empty": queue.nothing(request, asked),
            "may_match": may(request, Ability.MATCH),
        },
        name="Unmatched",
        now=now,
        scope=scope,
    )


def standing(request: HttpRequest, scope: Scope, asked: Asked, *, now: datetime) -> dict[str, Any]:
    """Return what every decision changes: the figures, the lists' lengths, the heading, the last decision."""
    totals = crm.unmatched_totals(sources=scope.sources)
    found, held = lists.counts(request, scope, now=now), crm.held_work()
    return {
        "scope": scope,
        "facts": queue.facts(scope, totals, held, now),
        "tabs": lists.tabs(request, found, held, asked.tab),
        "heading": queue.heading(asked, scope, totals, found),
        "last": decided.last(request),
        **view(request),
    }


def view(request: HttpRequest) -> dict[str, Any]:
    """Return the words of the address that a decision must find again: the list, its filters, its order."""
    query = request.GET.copy()
    for name in ("customer", "candidate", "find", "like", "explain", "format", "after"):
        query.pop(name, None)
    return {"view": query.urlencode(), "view_parts": list(query.items())}


def row_of(request: HttpRequest, asked: Asked, customer_pk: int, *, now: datetime) -> queue.QueueLine | None:
    """Return one customer's row of the queue, None when it has an Account."""
    found = crm.unmatched(asking.only(asked, customer_pk), limit=1).rows
    if not found:
        return None
    return queue.line(request, found[0], _assigned(request, found).get(customer_pk), is_chosen=False, now=now)


def _card_alone(request: HttpRequest, asked: Asked, *, now: datetime) -> HttpResponse:
    """Return the card of a customer, or word that it waits no more: somebody may have been first."""
    assert asked.customer_pk is not None
    found = crm.unmatched(asking.only(asked, asked.customer_pk), limit=1).rows
    context = {
        "card": card(request, found[0], _assigned(request, found).get(asked.customer_pk), now=now) if found else None,
        "may_match": may(request, Ability.MATCH),
        "sees_people": shared.sees_people(request),
        **view(request),
        "now": now,
    }
    return render(request, "dashboard/unmatched/card.html", context)


def _with_asked(rows: Sequence[crm.UnmatchedRow], asked: Asked) -> list[crm.UnmatchedRow]:
    """Put the customer that the address names first, where it waits but is not on this page."""
    if asked.customer_pk is None or any(row.customer_pk == asked.customer_pk for row in rows):
        return list(rows)
    return [*crm.unmatched(asking.only(asked, asked.customer_pk), limit=1).rows, *rows]


def _assigned(request: HttpRequest, rows: Sequence[crm.UnmatchedRow]) -> Mapping[int, crm.NoteRow]:
    return crm.assignments([row.customer_pk for row in rows]) if shared.sees_people(request) else {}


def _next_pk(rows: Sequence[crm.UnmatchedRow], chosen: crm.UnmatchedRow | None) -> int | None:
    """Return whom a decision without scripts leads to."""
    if chosen is None:
        return None
    at = list(rows).index(chosen)
    after = rows[at + 1] if at + 1 < len(rows) else rows[at - 1] if at else None
    return after.customer_pk if after else None


def _pager(request: HttpRequest, found: crm.UnmatchedPage, asked: Asked) -> Pager:
    after = found.following
    return Pager(
        "",
        next_url=shared.link(request, customer=None, after=f"{after.value}.{after.customer_pk}") if after else "",
        previous_url=shared.link(request, customer=None) if asked.after else "",
    )
