"""Movements: the months as a table, one period as a waterfall, and every entry behind them, filtered and exportable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from django.core.exceptions import BadRequest
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_GET

from dashboard import charts, exports, formats, periods
from dashboard.pages import explain, shared
from dashboard.pages import months as monthly
from dashboard.pages.latest import movement_rows
from dashboard.pages.shared import Scope
from dashboard.parts import Choice, Empty, Pager
from dashboard.periods import Period
from dashboard.roles import Ability, requires
from mrr import selectors as mrr

PAGE_SIZE = 50
EXPORT_CHUNK = 500
TABLE_MONTHS = 12
TYPES = ("opening", "new", "expansion", "reactivation", "contraction", "churn")
COLUMNS = (
    "id",
    "source",
    "customer",
    "customer_name",
    "customer_email",
    "type",
    "reason",
    "currency",
    "amount",
    "amount_minor",
    "amount_micros",
    "effective_at",
    "posted_at",
    "book_month",
    "backdated_from",
    "events",
    "reverses",
    "reversed_by",
    "policy_version",
)
CONVERTED = ("reporting_currency", "reporting_micros")


@requires(Ability.SEE_FIGURES)
@require_GET
def movements(request: HttpRequest) -> HttpResponseBase:
    now = shared.now_of(request)
    scope = shared.read_scope(request, consolidates=True)
    panel = explain.panel(request, scope, now=now)
    if panel and explain.is_alone(request):
        return explain.alone(request, panel, now=now)
    day = shared.today(now)
    period = periods.read(request.GET, today=day)
    chosen = _filter(request, scope, period)
    if kind := shared.wants_export(request):
        return _export(request, kind, chosen, scope, period, now)
    first = min(period.first, periods.plus_months(period.last, 1 - TABLE_MONTHS))
    months = mrr.series(
        first, period.last, today=day, currency=scope.native, sources=scope.sources, rates=scope.rates
    ).months
    in_period = [month for month in months if month.month >= period.first]
    rows, pager = listed(request, chosen, now)
    others = scope.is_consolidated and any(row.currency != scope.currency for row in rows)
    whole = monthly.span(in_period, has_fx=scope.is_consolidated)
    count, minor = _total(chosen, scope, whole)
    return shared.page(
        request,
        "dashboard/movements.html",
        {
            "panel": panel,
            "period": period,
            "period_links": shared.period_links(request, period),
            "wf": monthly.waterfall(in_period, period, scope),
            "months": [
                monthly.line(
                    month,
                    has_fx=scope.is_consolidated,
                    url=_month_url(request, month),
                    is_chosen=period.first <= month.month <= period.last and period.months < len(months),
                )
                for month in reversed(months)
            ],
            "months_off": monthly.off(months),
            "over": monthly.over_time(months, scope.currency, has_fx=scope.is_consolidated, names_every=3),
            "types": _type_choices(request),
            "has_reversed": chosen.has_reversed,
            "reversed_url": shared.link(request, all=None if chosen.has_reversed else "1"),
            "entries": movement_rows(
                request, rows, converted=mrr.converted_movements(rows, scope.rates) if others else None
            ),
            "entries_count": count,
            "entries_minor": minor,
            "pager": pager,
            "empty": _nothing(request, chosen, period),
        },
        name="Movements",
        now=now,
        scope=scope,
        bands=[shared.rate_band({code for month in months for code in month.held}, scope)],
    )


def _filter(request: HttpRequest, scope: Scope, period: Period) -> mrr.MovementFilter:
    asked = request.GET.get("type", "")
    if asked and asked not in (*TYPES, "reversal"):
        raise BadRequest(f"There is no movement type '{asked}'. Known are: {', '.join(TYPES)}.")
    return mrr.MovementFilter(
        scope.sources,
        period.first,
        monthly.last_day(period.last),
        types=(asked,) if asked else (),
        currency=scope.native,
        has_reversed=request.GET.get("all") == "1",
    )


def _total(chosen: mrr.MovementFilter, scope: Scope, whole: monthly.Span) -> tuple[int, int]:
    """Return how many entries a filter shows, and what they come to as the waterfall above shows it."""
    totals, taken = mrr.movement_totals(chosen), tuple(chosen.types)
    count, micros = sum(total.count for total in totals), 0
    kept: dict[tuple[str, ...], int] = {(): whole.net_micros, **{(kind,): part for kind, part in whole.parts.items()}}
    if not scope.is_consolidated:
        micros = totals[0].micros if totals else 0
    elif taken in kept and not (taken and chosen.has_reversed):  # the months hold it: no entry is converted again
        opened = replace(chosen, types=("opening",))
        micros = kept[taken] + (0 if taken else mrr.converted_total(opened, scope.rates).micros)
    else:
        micros = mrr.converted_total(chosen, scope.rates).micros
    if micros == kept.get(taken):
        return count, whole.shown[taken[0]] if taken else whole.net_minor
    return count, shared.minor(micros)


def listed(request: HttpRequest, chosen: mrr.MovementFilter, now: datetime) -> tuple[list[mrr.Movement], Pager]:
    """Return a page of entries, newest first, and the way to its neighbours."""
    after, before = (_place(request.GET.get(name, "")) for name in ("after", "before"))
    if after is None and before is None:
        before = mrr.Place(now + timedelta(days=1), 2**62)
        found = mrr.movements(chosen, limit=PAGE_SIZE, before=before)
        has_later, has_earlier = False, found.has_earlier
    else:
        found = mrr.movements(chosen, limit=PAGE_SIZE, after=after, before=before)
        has_later, has_earlier = found.has_later, found.has_earlier
    rows = list(reversed(found.movements))
    return rows, Pager(
        formats.count(len(rows)),
        next_url=shared.link(request, before=_cursor(rows[-1])) if rows and has_earlier else "",
        previous_url=shared.link(request, after=_cursor(rows[0])) if rows and has_later else "",
    )


def _cursor(row: mrr.Movement) -> str:
    micros = (row.effective_at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return f"{micros}-{row.pk}"


def _place(cursor: str) -> mrr.Place | None:
    if not cursor:
        return None
    micros, _, pk = cursor.rpartition("-")
    try:
        return mrr.Place(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(micros)), int(pk))
    except (ValueError, OverflowError) as error:
        raise BadRequest("This place in the list is not one that a page gave out.") from error


def _type_choices(request: HttpRequest) -> list[Choice]:
    asked = request.GET.get("type", "")
    return [
        Choice("All types", shared.link(request, type=None) + "#entries", not asked),
        *(Choice(charts.LABELS[name], shared.link(request, type=name) + "#entries", asked == name) for name in TYPES),
    ]


def _month_url(request: HttpRequest, month: mrr.Month) -> str:
    name = f"{month.month:%Y-%m}"
    return shared.link(request, **{"period": None, "from": name, "to": name})


def _nothing(request: HttpRequest, chosen: mrr.MovementFilter, period: Period) -> Empty:
    """Say which filter to drop, or that nothing happened."""
    if chosen.types:
        words = f"{charts.LABELS.get(chosen.types[0], chosen.types[0]).lower()}, {period.label}"
        return Empty(
            "filter", "No movement fits", f"Filters: {words}.", "Drop the type", shared.link(request, type=None)
        )
    return Empty("arrows-up-down", "Nothing moved", f"No MRR began, changed or ended in {period.label}.")


# ---- export ----


def _export(
    request: HttpRequest, kind: str, chosen: mrr.MovementFilter, scope: Scope, period: Period, now: datetime
) -> HttpResponseBase:
    about = shared.about(request, "Movements", now=now, scope=scope)
    about += [
        ("Period", period.range),
        ("Types", ", ".join(chosen.types) or "all"),
        ("new", explain.MEANINGS["new"]),
        ("expansion", explain.MEANINGS["expansion"]),
        ("reactivation", explain.MEANINGS["reactivation"]),
        ("contraction", explain.MEANINGS["contraction"]),
        ("churn", explain.MEANINGS["churn"]),
    ]
    return exports.response(
        kind,
        name=f"movements-{period.first:%Y-%m}-{period.last:%Y-%m}-{scope.currency}",
        columns=(*COLUMNS, *CONVERTED) if scope.is_consolidated else COLUMNS,
        rows=(_exported(row, scope) for row in every(chosen)),
        about=about,
        zone=shared.zone(),
    )


def _exported(row: mrr.Movement, scope: Scope) -> Sequence[exports.Cell]:
    """Return an entry's cells; of all currencies also what it comes to in the one of the figures, at its day's rate."""
    if not scope.is_consolidated:
        return cells(row)
    return (*cells(row), scope.currency, mrr.converted_movements([row], scope.rates)[row.key])


def every(chosen: mrr.MovementFilter) -> Iterator[mrr.Movement]:
    """Yield all entries of a filter, oldest first, a chunk at a time."""
    after: mrr.Place | None = None
    while True:
        found = mrr.movements(chosen, limit=EXPORT_CHUNK, after=after)
        yield from found.movements
        if not found.has_later:
            return
        last = found.movements[-1]
        after = mrr.Place(last.effective_at, last.pk)


def cells(row: mrr.Movement) -> Sequence[exports.Cell]:
    return (
        row.key,
        row.source,
        row.customer_id,
        row.customer_name,
        row.customer_email,
        row.type,
        row.reason,
        row.currency,
        exports.major(row.amount_minor, row.currency),
        row.amount_minor,
        row.amount_micros,
        row.effective_at,
        row.posted_at,
        row.book_month,
        row.backdated_from,
        " ".join(row.event_ids),
        row.reverses,
        row.reversed_by,
        row.policy_version,
    )
