"""Opens a figure: the customers, entries or formula behind it, and whether they add up to it exactly.

A figure's code says what it is: `closing:2026-03`, `new:2026-01..2026-03`, `nrr:2025-04..2026-03`,
`cus:17:usd`, `entry:mle_…`.
What the code leaves out (currency, source) stands in the address, so an opened figure can be sent as a link.
"""

from __future__ import annotations

from datetime import datetime

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from dashboard.pages import months as monthly
from dashboard.pages.explain import activity, balances, causes, closed, consolidated, entries, lists, ratios, retained
from dashboard.pages.explain.parts import MEANINGS, Asked, Explain, Panel, counted, plural
from dashboard.pages.shared import Scope

__all__ = ["MEANINGS", "Panel", "alone", "counted", "is_alone", "panel", "plural"]


def panel(request: HttpRequest, scope: Scope, *, now: datetime) -> Panel | None:
    """Return the panel of the figure that `?explain=` names, None when no figure is asked for.

    Raises Http404 for a code that names no figure, BadRequest for a month that is none.
    """
    code = request.GET.get("explain", "")
    if not code:
        return None
    kind, _, rest = code.partition(":")
    found = (consolidated.EXPLAIN.get(kind) if scope.is_consolidated else None) or _EXPLAIN.get(kind)
    if found is None:
        raise Http404(f"There is no figure '{code}'.")
    return found(Asked(request, scope, now, kind, rest))


def is_alone(request: HttpRequest) -> bool:
    """Say whether only the panel is asked for, because the page around it is there already."""
    return request.headers.get("HX-Target") == "explain"


def alone(request: HttpRequest, found: Panel, *, now: datetime) -> HttpResponse:
    return render(request, found.template, {"panel": found, "now": now})


_EXPLAIN: dict[str, Explain] = {
    "mrr": balances.balance,
    "closing": balances.balance,
    "arr": balances.arr,
    "cmrr": balances.cmrr,
    "opening": balances.opening,
    "net": activity.net,
    **dict.fromkeys(monthly.PARTS, activity.movements),
    **dict.fromkeys(ratios.RATIOS, ratios.ratio),
    **dict.fromkeys(retained.RATIOS, retained.ratio),
    **dict.fromkeys(retained.PARTS, retained.part),
    "lost": retained.lost,
    "cause": causes.cause,
    **dict.fromkeys(lists.LISTS, lists.of_list),
    "matched": lists.matched,
    "cus": entries.customer,
    "entry": entries.entry,
    "signed": closed.signed,
    "restated": closed.restated,
    "learned": closed.learned,
}
