"""Cohorts: what the customers of each month of acquisition still pay, as a heat map, one cell opened by customer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from django.core.exceptions import BadRequest
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.views.decorators.http import require_GET

from dashboard import curves, exports, formats, periods
from dashboard.pages import explain, shared
from dashboard.pages.cohort_heat import NAMES, cohort_name, drawn_curves, heat, value_text
from dashboard.pages.shared import Scope, exact_minor
from dashboard.parts import Choice
from dashboard.roles import Ability, requires
from mrr import selectors as mrr
from mrr.engine.money import MICROS, shown

LENGTHS = (12, 24, 36)
LONGER = {mrr.Interval.QUARTER: 12, mrr.Interval.YEAR: 10}  # so many cohorts where they are longer than a month
SHOWN_CUSTOMERS = 8
COLUMNS = (
    "measure",
    "interval",
    "currency",
    "cohort",
    "customers_acquired",
    "acquired_minor",
    "period",
    "month",
    "is_running",
    "customers",
    "mrr_minor",
    "mrr_micros",
    "ratio",
    "arpa_minor",
)


@dataclass(frozen=True)
class MemberLine:
    """One customer of a cohort's cell: what it began with and what it pays at the month's end."""

    who: str
    url: str
    code: str
    acquired_minor: int
    minor: int

    @property
    def change_minor(self) -> int:
        return self.minor - self.acquired_minor


@dataclass(frozen=True)
class CellDetail:
    """The chosen cell and its customers; `off_minor` is by how much they miss the cell's own figures."""

    title: str
    ratio: str
    words: str
    members: tuple[MemberLine, ...]
    more: str
    more_acquired_minor: int
    more_minor: int
    total: str
    acquired_minor: int
    minor: int
    off_minor: int

    @property
    def change_minor(self) -> int:
        return self.minor - self.acquired_minor

    @property
    def more_change_minor(self) -> int:
        return self.more_minor - self.more_acquired_minor


@requires(Ability.SEE_FIGURES)
@require_GET
def cohorts(request: HttpRequest) -> HttpResponseBase:
    now = shared.now_of(request)
    scope = shared.read_scope(request, consolidates=True)
    panel = explain.panel(request, scope, now=now)
    if panel and explain.is_alone(request):
        return explain.alone(request, panel, now=now)
    measure, interval, length = _measure(request), _interval(request), _length(request)
    rows = LONGER.get(interval, length)
    day = shared.today(now)
    found = mrr.cohorts(
        measure,
        today=day,
        currency=scope.native,
        first=periods.plus_months(day, interval.months * (1 - rows)),
        interval=interval,
        sources=scope.sources,
        rates=scope.rates,
    )
    if kind := shared.wants_export(request):
        return _export(request, kind, found, scope, now)
    chosen = _chosen(request, found)
    drawn, average = drawn_curves(found, rows=rows) if measure.is_share else ([], curves.Curve("Average", []))
    return shared.page(
        request,
        "dashboard/cohorts.html",
        {
            "panel": panel,
            "measures": [
                Choice(name, shared.link(request, measure=code.value), code is measure) for code, name in NAMES.items()
            ],
            "intervals": _intervals(request, interval),
            "lengths": _lengths(request, length) if interval is mrr.Interval.MONTH else [],
            "interval": interval.value,
            "measure_name": NAMES[measure],
            "heat": heat(
                found,
                url=lambda cohort, at: shared.link(request, cohort=f"{cohort:%Y-%m}", period=at) + "#cell",
                periods=rows,
                chosen=(chosen[0].cohort, chosen[1].period) if chosen else None,
            ),
            "detail": _detail(request, scope, found, *chosen) if chosen else None,
            "curves": curves.retention_curves(drawn, average, unit=interval.value) if len(average.shares) > 1 else None,
        },
        name="Cohorts",
        now=now,
        scope=scope,
        bands=[shared.rate_band(found.held, scope)],
    )


def _measure(request: HttpRequest) -> mrr.Measure:
    try:
        return mrr.Measure(request.GET.get("measure", mrr.Measure.NET_MRR))
    except ValueError as error:
        raise BadRequest(f"Known measures are: {', '.join(mrr.Measure)}.") from error


def _interval(request: HttpRequest) -> mrr.Interval:
    try:
        return mrr.Interval(request.GET.get("interval", mrr.Interval.MONTH))
    except ValueError as error:
        raise BadRequest(f"Known intervals are: {', '.join(mrr.Interval)}.") from error


def _intervals(request: HttpRequest, chosen: mrr.Interval) -> list[Choice]:
    return [
        Choice(
            one.value.capitalize(),
            shared.link(request, interval=one.value, months=None, cohort=None, period=None),
            one is chosen,
        )
        for one in mrr.Interval
    ]


def _lengths(request: HttpRequest, chosen: int) -> list[Choice]:
    return [
        Choice(f"{number} months", shared.link(request, months=number, cohort=None, period=None), number == chosen)
        for number in LENGTHS
    ]


def _length(request: HttpRequest) -> int:
    asked = request.GET.get("months", str(LENGTHS[0]))
    if asked not in map(str, LENGTHS):
        raise BadRequest(f"Known lengths are: {', '.join(map(str, LENGTHS))} months.")
    return int(asked)


def _chosen(request: HttpRequest, found: mrr.Cohorts) -> tuple[mrr.Cohort, mrr.Cell] | None:
    """Return the cell that the address names, else the last full month of the oldest cohort shown."""
    if request.GET.get("cohort"):
        cohort_month, at = periods.month(request.GET["cohort"]), request.GET.get("period", "")
        cohort = next((one for one in found.cohorts if one.cohort == cohort_month), None)
        cell = next((one for one in cohort.cells if str(one.period) == at), None) if cohort else None
        return (cohort, cell) if cohort and cell else None
    # Twelve months of one cohort say more than its first; the oldest cohort shown has the most of them.
    for cohort in found.cohorts:
        whole = [cell for cell in cohort.cells if not cell.is_running and cell.value(found.measure) is not None]
        if whole:
            return cohort, whole[-1]
    return None


def _detail(request: HttpRequest, scope: Scope, found: mrr.Cohorts, cohort: mrr.Cohort, cell: mrr.Cell) -> CellDetail:
    shares = mrr.cohort_shares(
        (cohort.cohort, found.last_of(cohort.cohort)),
        cell.month,
        currency=scope.native,
        limit=SHOWN_CUSTOMERS,
        sources=scope.sources,
    )
    members = tuple(
        MemberLine(
            shared.who(request, name=share.name, email=share.email, stripe_id=share.customer_id),
            reverse("dashboard:customer", args=[share.customer_pk]),
            f"cus:{share.customer_pk}:{share.currency or scope.currency}",
            share.acquired_minor,
            share.minor,
        )
        for share in shares.largest
    )
    acquired, minor = shown(shares.acquired_micros), shown(shares.micros)
    end = periods.plus_months(cell.month, 1) - (date(2000, 1, 2) - date(2000, 1, 1))
    customers = f"{formats.count(shares.customers)} of {formats.count(shares.parts)} customers pay"
    return CellDetail(
        title=f"{cohort_name(found, cohort.cohort)} cohort, {found.interval.value} {cell.period}",
        ratio=value_text(found, cell),
        words=f"{formats.money(minor, scope.currency)} of {formats.money(acquired, scope.currency)} acquired · "
        f"{customers} at {formats.day(end)}",
        members=members,
        more=f"{formats.count(shares.others)} more {explain.plural(shares.others, 'customer')}"
        if shares.others
        else "",
        more_acquired_minor=acquired - sum(member.acquired_minor for member in members),
        more_minor=minor - sum(member.minor for member in members),
        total=f"Total, {formats.count(shares.parts)} {explain.plural(shares.parts, 'customer')}",
        acquired_minor=acquired,
        minor=minor,
        off_minor=_off(found.measure, cell, shares),
    )


def _off(measure: mrr.Measure, cell: mrr.Cell, shares: mrr.Shares) -> int:
    """Hold the customers' entries against the kept cell: their count always, their money unless gains are left out."""
    if cell.customers != shares.customers:
        return cell.customers - shares.customers
    return exact_minor(shares.micros - cell.micros) if measure is not mrr.Measure.GROSS_MRR else 0


def _export(request: HttpRequest, kind: str, found: mrr.Cohorts, scope: Scope, now: datetime) -> HttpResponseBase:
    about = shared.about(request, "Cohorts", now=now, scope=scope)
    about += [
        ("Cohort", f"the {found.interval.value} of a customer's first MRR, by its first month; it never changes"),
        ("ratio", f"of what was acquired; period 0 is the end of the {found.interval.value} of acquisition"),
        ("is_running", f"the {found.interval.value} has not ended yet; averages leave it out"),
        ("arpa_minor", explain.MEANINGS["arpa"]),
    ]
    rows = (
        (
            found.measure.value,
            found.interval.value,
            found.currency,
            cohort.cohort,
            cohort.customers,
            shown(cohort.acquired_micros),
            cell.period,
            cell.month,
            cell.is_running,
            cell.customers,
            shown(cell.micros),
            cell.micros,
            cell.ratio,
            None if cell.arpa is None else round(cell.arpa / MICROS),
        )
        for cohort in found.cohorts
        for cell in cohort.cells
    )
    return exports.response(
        kind,
        name=f"cohorts-{found.measure.value}-{found.interval.value}-{found.currency}",
        columns=COLUMNS,
        rows=rows,
        about=about,
        zone=shared.zone(),
    )
