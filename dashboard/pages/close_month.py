"""One month of the books: its checklist and its signature while it is open, what was signed and learned once closed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from dashboard import charts, exports, formats, periods
from dashboard.findings import Finding, worst_first
from dashboard.pages import close as overview
from dashboard.pages import close_checks, explain, health, shared
from dashboard.pages import movements as entries
from dashboard.pages.latest import MovementLine, movement_rows
from dashboard.pages.shared import Scope
from dashboard.roles import Ability, may, requires
from mrr import close, departures
from mrr import selectors as mrr
from mrr.engine.money import shown

PAGE_SIZE = 50
MOVED = ("new", "expansion", "reactivation", "contraction", "churn", "adjustment")
PARTS = ("opening", *MOVED, "closing")
SIGNED_NOTE = 2_000


@dataclass(frozen=True)
class PartLine:
    """One row of a month in both bases, in minor units; a code is empty where there is nothing behind the figure."""

    label: str
    signed_minor: int
    restated_minor: int
    signed_code: str
    restated_code: str
    learned_code: str
    is_movement: bool

    @property
    def learned_minor(self) -> int:
        return self.restated_minor - self.signed_minor


@dataclass(frozen=True)
class CurrencyTable:
    """A month of one currency, part by part; `off_micros` is by how much the books differ from what was signed."""

    currency: str
    lines: tuple[PartLine, ...]
    customers: tuple[int, int]
    off_minor: int


@dataclass(frozen=True)
class LearnedLine:
    """One entry that came after the close: when it was posted, the month that carries it, the event that told."""

    line: MovementLine
    posted_at: datetime
    book_month: date
    event_id: str


@dataclass(frozen=True)
class Reopening:
    """What the reader may do about reopening: ask, agree, or neither, and why."""

    asked: mrr.Asked | None
    may_ask: bool = False
    may_agree: bool = False
    words: str = ""


@requires(Ability.SEE_FIGURES)
@require_GET
def month(request: HttpRequest, month: str) -> HttpResponseBase:
    now = shared.now_of(request)
    scope = shared.read_scope(request, consolidates=True)
    panel = explain.panel(request, scope, now=now)
    if panel and explain.is_alone(request):
        return explain.alone(request, panel, now=now)
    asked = _month(month, now)
    both = mrr.both_bases(asked, asked, today=shared.today(now), sources=scope.sources)[asked]
    through = mrr.closed_through()
    closed = mrr.closed_month(asked) if through is not None and asked <= through else None
    if kind := shared.wants_export(request):
        return _export(request, kind, asked, scope, now)
    context: dict[str, Any] = {
        "panel": panel,
        "month": asked,
        "slug": month,
        "figures": overview.figures(scope, asked, both),
        "tables": [_table(one, asked, closed, scope) for one in both if scope.native in (None, one.currency)],
        "steps": overview.step_lines(mrr.book_steps(limit=overview.STEPS_SHOWN, month=asked)),
        "may_close": may(request, Ability.CLOSE),
    }
    if closed is None:
        lacks = departures.closings(asked, both, scope.rates).lacks if scope.is_consolidated else ()
        checks = close_checks.checklist(request, scope, asked, closed=through, lacks=lacks, now=now)
        context |= {
            "lines": _side_by_side(context["tables"]),
            "checks": checks,
            "stops": sum(check.state == "stop" for check in checks),
        }
    else:
        context |= {"closed": closed, "reopening": _reopening(request, is_last=asked == through, now=now)}
        context |= _learned(request, asked, scope, now=now)
    template = "dashboard/close_month.html" if closed is None else "dashboard/close_closed.html"
    name = f"Close {formats.month(asked, long=True)}"
    return shared.page(request, template, context, name=name, now=now, scope=scope)


@requires(Ability.SEE_FIGURES)
@require_GET
def open_findings(request: HttpRequest, month: str) -> HttpResponse:
    """Show what Health finds wrong, for the checklist: read apart, for it looks at queues, sources and Salesforce."""
    now = shared.now_of(request)
    _month(month, now)
    found = [one for one in health.findings_now(now) if one.severity != "remark"]
    check = _findings_check(worst_first(found))
    return shared.page(request, "dashboard/_close_check.html", {"check": check}, name="Findings", now=now)


@requires(Ability.CLOSE)
@require_http_methods(["GET", "POST"])
def sign(request: HttpRequest, month: str) -> HttpResponseBase:
    """Show what would be signed, with its hash; with the month typed and the hash still the same, close it."""
    now, asked = shared.now_of(request), _month(month, shared.now_of(request))
    if request.method == "POST":
        if request.POST.get("confirmation", "").strip() != month:
            return _sign_page(
                request, asked, now=now, error=f"Type {month} to close {formats.month(asked, long=True)}."
            )
        note = request.POST.get("note", "")[:SIGNED_NOTE]
        try:
            done = close.close(
                asked, user=request.user, now=now, note=note, seen=request.POST.get("hash", "") or "none"
            )
        except close.Refused as refused:
            messages.error(request, str(refused))
            return redirect("dashboard:close_month", month)
        messages.success(
            request, f"{formats.month(asked, long=True)} is closed with {formats.count(done.entries or 0)} entries."
        )
        return redirect("dashboard:close_month", month)
    return _sign_page(request, asked, now=now)


@requires(Ability.REOPEN)
@require_POST
def reopening(request: HttpRequest, month: str) -> HttpResponse:
    """Ask to reopen the last closed month, or agree to what somebody else asked for."""
    now, asked = shared.now_of(request), _month(month, shared.now_of(request))
    number = request.POST.get("asked", "0")
    try:
        done = close.reopen(
            asked,
            user=request.user,
            reason=request.POST.get("reason", "")[:SIGNED_NOTE],
            now=now,
            grants=int(number) if number.isdigit() else 0,
        )
    except close.Refused as refused:
        messages.error(request, str(refused))
    else:
        name = formats.month(asked, long=True)
        if done.kind == "reopened":
            messages.success(request, f"{name} is open again. Close it anew once it is right.")
        else:
            messages.success(request, f"You asked to reopen {name}. Somebody else must approve it.")
    return redirect("dashboard:close_month", month)


def _month(text: str, now: datetime) -> date:
    """Return the month of an address; raises Http404 for what is none of the ledger's months."""
    try:
        found = date.fromisoformat(f"{text}-01")
    except ValueError as error:
        raise Http404(f"'{text}' is no month.") from error
    if found > periods.month_of(shared.today(now)):
        raise Http404("This month has not come yet.")
    return found


# ---- a month in both bases ----


def _table(one: mrr.BothBases, month: date, closed: mrr.ClosedMonth | None, scope: Scope) -> CurrencyTable:
    place = f"{month:%Y-%m}:{one.currency}"
    lines = tuple(
        PartLine(
            charts.LABELS[part],
            getattr(one.closed, f"{part}_minor"),
            getattr(one.restated, f"{part}_minor"),
            f"signed:{place}:{part}",
            f"restated:{place}:{part}" if part != "adjustment" else "",
            f"learned:{place}" if part == "closing" else "",
            part in MOVED,
        )
        for part in PARTS
    )
    return CurrencyTable(
        one.currency,
        lines,
        (one.closed.customers.closing, one.restated.customers.closing),
        _off(one, closed, scope) if closed else 0,
    )


def _side_by_side(tables: Sequence[CurrencyTable]) -> list[tuple[str, list[tuple[str, PartLine]]]]:
    """Return a month's parts, each with its line in every currency: one table for a month that is still open."""
    return [
        (charts.LABELS[part], [(table.currency, table.lines[place]) for table in tables])
        for place, part in enumerate(PARTS)
    ]


def _off(one: mrr.BothBases, closed: mrr.ClosedMonth, scope: Scope) -> int:
    """Return by how much the books of a currency differ from the figures that the close signed, over all parts."""
    rows = [row for row in closed.figures if row["currency"] == one.currency and row["source"] in scope.slugs]
    missed = sum(
        abs(sum(row[f"{part}_micros"] for row in rows) - getattr(one.closed, f"{part}_micros")) for part in PARTS
    )
    return shared.exact_minor(missed)


# ---- signing ----


def _sign_page(request: HttpRequest, month: date, *, now: datetime, error: str = "") -> HttpResponseBase:
    slug = f"{month:%Y-%m}"
    for refused in close.obstacles(month, closed=mrr.closed_through(), now=now):
        messages.error(request, str(refused))
        return redirect("dashboard:close_month", slug)
    scope = shared.read_scope(request, consolidates=True)
    both = mrr.both_bases(month, month, today=shared.today(now), sources=scope.sources)[month]
    tables = [_table(one, month, None, scope) for one in both]
    count, digest = close.would_sign(month)
    answer = shared.page(
        request,
        "dashboard/close_sign.html",
        {
            "month": month,
            "slug": slug,
            "error": error,
            "note": request.POST.get("note", ""),
            "figures": overview.figures(scope, month, both),
            "tables": tables,
            "lines": _side_by_side(tables),
            "entries": count,
            "digest": digest,
            "noted": close.noted(),
        },
        name=f"Sign {formats.month(month, long=True)}",
        now=now,
        scope=scope,
    )
    answer.status_code = 400 if error else 200
    return answer


def _findings_check(found: Sequence[Finding]) -> close_checks.Check:
    title, url = "Open findings", reverse("dashboard:health")
    if not found:
        return close_checks.Check("ok", title, "None: work moves, every source delivers, nothing is refused.")
    words = (
        f"{formats.count(len(found))} open {'finding' if len(found) == 1 else 'findings'}. The first: {found[0].text}"
    )
    return close_checks.Check("look", title, words, "Open Health", url, found[0].code)


# ---- reopening ----


def _reopening(request: HttpRequest, *, is_last: bool, now: datetime) -> Reopening:
    if not is_last:
        return Reopening(None, words="Only the last closed month can be reopened: months go backwards, one by one.")
    asked = mrr.reopening_asked()
    if not may(request, Ability.REOPEN):
        return Reopening(asked, words="People of the roles finance and admin ask for it; a second one agrees.")
    if asked is None:
        return Reopening(None, may_ask=True)
    if asked.asked_by != request.user.get_username():
        return Reopening(asked, may_agree=True)
    if now >= asked.alone_at:
        words = "A day has passed. Where nobody else is in finance, you may carry it out alone."
        return Reopening(asked, may_agree=True, words=words)
    return Reopening(asked, words="You asked for it, so somebody else must approve it.")


# ---- what was learned since ----


def _learned(request: HttpRequest, month: date, scope: Scope, *, now: datetime) -> dict[str, Any]:
    chosen = _about(month, scope)
    rows, pager = entries.listed(request, chosen, now)
    others = scope.is_consolidated and any(row.currency != scope.currency for row in rows)
    totals = mrr.movement_totals(chosen)
    return {
        "learned": _lines(request, rows, scope, others),
        "learned_count": sum(total.count for total in totals),
        "learned_totals": [(total.currency, shown(total.micros)) for total in totals],
        "pager": pager,
    }


def _lines(request: HttpRequest, rows: Sequence[mrr.Movement], scope: Scope, others: bool) -> list[LearnedLine]:
    listed = movement_rows(request, rows, converted=mrr.converted_movements(rows, scope.rates) if others else None)
    return [
        LearnedLine(line, row.posted_at, row.book_month, row.event_ids[-1] if row.event_ids else "")
        for line, row in zip(listed, rows, strict=True)
    ]


def _about(month: date, scope: Scope) -> mrr.MovementFilter:
    """Return the filter of what was learned about a month since its close."""
    return mrr.MovementFilter(
        scope.sources,
        month,
        periods.plus_months(month, 1) - timedelta(days=1),
        currency=scope.native,
        has_reversed=True,
        learned_after=month,
    )


def _export(request: HttpRequest, kind: str, month: date, scope: Scope, now: datetime) -> HttpResponseBase:
    about = shared.about(request, f"Learned about {formats.month(month, long=True)}", now=now, scope=scope)
    about.append(("Rows", "Entries about the month that were posted after its close, and the month that carries each"))
    return exports.response(
        kind,
        name=f"learned-{month:%Y-%m}-{scope.currency}",
        columns=entries.COLUMNS,
        rows=_cells(_about(month, scope)),
        about=about,
        zone=shared.zone(),
    )


def _cells(chosen: mrr.MovementFilter) -> Iterator[Sequence[exports.Cell]]:
    return (entries.cells(row) for row in entries.every(chosen))
