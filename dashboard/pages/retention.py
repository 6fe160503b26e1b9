"""Retention: what the customers of a period's start still pay at its end, month by month, and whom the period lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction

from django.core.exceptions import BadRequest
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.views.decorators.http import require_GET

from dashboard import curves, exports, formats, losses, periods
from dashboard.losses import BY, By, Losses
from dashboard.pages import explain, shared
from dashboard.pages.explain import plural
from dashboard.pages.shared import Scope, exact_minor
from dashboard.parts import Choice, Tile
from dashboard.roles import Ability, requires
from mrr import selectors as mrr
from mrr.engine.money import shown

SHOWN_PERIODS = 24
SHOWN_CUSTOMERS = 8
SPANS = {12: "12 months", 3: "3 months", 1: "1 month"}
COLUMNS = (
    "span_months",
    "currency",
    "first_month",
    "last_month",
    "is_running",
    "row",
    "group",
    "customers",
    "customers_lost",
    "start_minor",
    "expansion_minor",
    "contraction_minor",
    "churn_minor",
    "end_minor",
    "start_micros",
    "expansion_micros",
    "contraction_micros",
    "churn_micros",
    "end_micros",
    "left_out_micros",
    "nrr",
    "grr",
    "logo_churn",
    "revenue_churn",
    "churn_alone",
)


@dataclass(frozen=True)
class PeriodLine:
    """One row of the table of periods: its amounts as shown, which add up, and the months its figures are codes of."""

    row: mrr.KeptPeriod
    code: str
    minor: dict[str, int]
    url: str
    is_chosen: bool

    @property
    def name(self) -> str:
        """The months as people say them."""
        if self.row.first == self.row.month:
            return formats.month(self.row.month, long=True)
        return f"{formats.month(self.row.first)} – {formats.month(self.row.month)}"

    @property
    def off_minor(self) -> int:
        """By how much start and changes miss the end, as shown."""
        moved = sum(self.minor[name] for name in ("start", "expansion", "contraction", "churn"))
        return moved - self.minor["end"]


@dataclass(frozen=True)
class BridgeLine:
    """One row from what was paid at the start to what is paid at the end; a change is signed."""

    name: str
    code: str
    minor: int
    share: Fraction | None
    is_change: bool


@dataclass(frozen=True)
class LostLine:
    """One lost customer: what it paid at the start (negative), and how it was lost."""

    who: str
    url: str
    code: str
    month: date
    reason: str
    plan: str
    minor: int


@dataclass(frozen=True)
class LostCard:
    """Whom the chosen period lost: the groups, the largest by name, and the rest as one row so that totals hold."""

    losses: Losses
    members: tuple[LostLine, ...]
    more: str
    more_minor: int
    total: str
    minor: int
    off_minor: int


@requires(Ability.SEE_FIGURES)
@require_GET
def retention(request: HttpRequest) -> HttpResponseBase:
    now = shared.now_of(request)
    scope = shared.read_scope(request, consolidates=True)
    panel = explain.panel(request, scope, now=now)
    if panel and explain.is_alone(request):
        return explain.alone(request, panel, now=now)
    day = shared.today(now)
    span, last, by = _span(request), _last(request, day), _by(request)
    found = mrr.retention(
        span,
        periods.plus_months(last, 1 - SHOWN_PERIODS),
        last,
        today=day,
        currency=scope.native,
        sources=scope.sources,
        rates=scope.rates,
    )
    rows = mrr.lost(span, last, currency=scope.native, sources=scope.sources, rates=scope.rates)
    lines = [_line(request, row, last) for row in found.periods]
    chosen = lines[-1]
    grouped = losses.grouped(
        rows,
        by,
        churn_minor=chosen.minor["churn"],
        sources=scope.sources,
        sees_people=shared.sees_people(request),
    )
    if kind := shared.wants_export(request):
        return _export(request, kind, found, grouped, scope, now)
    known = [line for line in lines if line.row.kept.start]
    return shared.page(
        request,
        "dashboard/retention.html",
        {
            "panel": panel,
            "spans": [
                Choice(name, shared.link(request, months=months), months == span) for months, name in SPANS.items()
            ],
            "bys": [
                Choice(name, shared.link(request, by=code.value) + "#lost", code is by) for code, name in BY.items()
            ],
            "by_name": BY[by],
            "by_meaning": losses.MEANINGS[by],
            "earlier": shared.link(request, to=f"{periods.plus_months(last, -1):%Y-%m}"),
            "later": shared.link(request, to=f"{periods.plus_months(last, 1):%Y-%m}")
            if last < day.replace(day=1)
            else "",
            "chosen": chosen,
            "span_name": SPANS[span],
            "tiles": _tiles(chosen, lines),
            "lines": list(reversed(known)),
            "lines_off": sum(abs(line.off_minor) for line in known),
            "bridge": _bridge(chosen),
            "lost": _lost(request, scope, rows, grouped, chosen),
            "figure": curves.retention_over_time([_drawn(line) for line in known]) if known else None,
        },
        name="Retention",
        now=now,
        scope=scope,
        bands=[shared.rate_band(chosen.row.held, scope)],
    )


# ---- what is asked ----


def _span(request: HttpRequest) -> int:
    asked = request.GET.get("months", "12")
    if asked not in map(str, SPANS):
        raise BadRequest(f"Retention is over {', '.join(map(str, SPANS))} months.")
    return int(asked)


def _last(request: HttpRequest, day: date) -> date:
    """Return the month that periods end with: the last full one unless the address names another."""
    running = day.replace(day=1)
    if not request.GET.get("to"):
        return periods.plus_months(running, -1)
    last = periods.month(request.GET["to"])
    if last > running:
        raise BadRequest("The period must not lie in the future.")
    return last


def _by(request: HttpRequest) -> By:
    try:
        return By(request.GET.get("by", By.REASON))
    except ValueError as error:
        raise BadRequest(f"Losses are told apart by: {', '.join(By)}.") from error


def _choices(request: HttpRequest, span: int, by: By) -> dict[str, list[Choice]]:
    return {
        "spans": [Choice(name, shared.link(request, months=months), months == span) for months, name in SPANS.items()],
        "bys": [Choice(name, shared.link(request, by=code.value) + "#lost", code is by) for code, name in BY.items()],
    }


def _moved(request: HttpRequest, last: date, months: int) -> str:
    return shared.link(request, to=f"{periods.plus_months(last, months):%Y-%m}")


# ---- what is shown ----


def _line(request: HttpRequest, row: mrr.KeptPeriod, last: date) -> PeriodLine:
    code = f"{row.month:%Y-%m}" if row.first == row.month else f"{row.first:%Y-%m}..{row.month:%Y-%m}"
    return PeriodLine(row, code, row.minor, shared.link(request, to=f"{row.month:%Y-%m}"), row.month == last)


def _tiles(chosen: PeriodLine, lines: Sequence[PeriodLine]) -> list[Tile]:
    return [
        _tile("NRR", "nrr", [line.row.kept.nrr for line in lines], chosen),
        _tile("GRR", "grr", [line.row.kept.grr for line in lines], chosen),
        _tile("Logo churn", "logo", [line.row.kept.logo_churn for line in lines], chosen, is_loss=True),
        _tile("Revenue churn", "rchurn", [line.row.kept.revenue_churn for line in lines], chosen, is_loss=True),
    ]


def _tile(
    label: str, kind: str, values: Sequence[Fraction | None], chosen: PeriodLine, *, is_loss: bool = False
) -> Tile:
    """Return a ratio with its change against the period that ended a month before; more churn is worse."""
    places = 2 if is_loss else 1
    value, before = values[-1], values[-2]
    moved = round((value - before) * 100 * 10**places) if value is not None and before is not None else 0
    change = formats.points(value - before, places=places) if value is not None and before is not None else ""
    return Tile(
        label,
        formats.ratio(value, places=places),
        f"{kind}:{chosen.code}",
        "balance",
        change=change if value is not None else f"nobody paid at the start of {formats.month(chosen.row.first)}",
        against=f"vs the period to {formats.month(periods.plus_months(chosen.row.month, -1))}" if change else "",
        direction="" if not change else "up" if moved > 0 else "down" if moved < 0 else "flat",
        tone="" if not moved else "gain" if (moved > 0) is not is_loss else "loss",
        trend=tuple(round(ratio * 10**6) for ratio in values if ratio is not None),
        is_big=True,
    )


def _bridge(chosen: PeriodLine) -> list[BridgeLine]:
    kept = chosen.row.kept
    amounts = {
        mrr.KeptPart.START: ("Paid at the start", kept.start),
        mrr.KeptPart.EXPANSION: ("Expansion", kept.expansion),
        mrr.KeptPart.CONTRACTION: ("Contraction", kept.contraction),
        mrr.KeptPart.CHURN: ("Churn", kept.churn),
    }
    return [
        BridgeLine(
            name,
            f"kept-{part.value}:{chosen.code}",
            chosen.minor[part.value],
            Fraction(micros, kept.start) if kept.start else None,
            part is not mrr.KeptPart.START,
        )
        for part, (name, micros) in amounts.items()
    ]


def _lost(
    request: HttpRequest, scope: Scope, rows: Sequence[mrr.Lost], grouped: Losses, chosen: PeriodLine
) -> LostCard:
    listed = rows[:SHOWN_CUSTOMERS]
    plans = losses.plan_names(listed, scope.sources)
    named = mrr.named_lost(listed, limit=SHOWN_CUSTOMERS).largest
    members = tuple(
        LostLine(
            shared.who(request, name=share.name, email=share.email, stripe_id=share.customer_id),
            reverse("dashboard:customer", args=[row.customer_pk]),
            f"cus:{row.customer_pk}:{row.currency or scope.currency}",
            row.month,
            shared.reason(row.reason),
            plans.get(row.product, row.product),
            shown(row.micros),
        )
        for row, share in zip(listed, named, strict=True)
    )
    churn = chosen.minor["churn"]
    others = len(rows) - len(listed)
    return LostCard(
        grouped,
        members,
        f"{formats.count(others)} more {plural(others, 'customer')}" if others else "",
        churn - sum(member.minor for member in members),
        f"Total, {formats.count(len(rows))} {plural(len(rows), 'customer')}",
        churn,
        exact_minor(grouped.micros - chosen.row.kept.churn) or grouped.customers - chosen.row.kept.churned,
    )


def _drawn(line: PeriodLine) -> curves.Kept:
    kept = line.row.kept
    start = kept.start
    return curves.Kept(
        line.row.month,
        line.code,
        kept.nrr,
        kept.grr,
        Fraction(kept.contraction, start) if start else None,
        Fraction(kept.churn, start) if start else None,
        line.row.is_running,
    )


# ---- export ----


def _export(
    request: HttpRequest, kind: str, found: mrr.Retention, grouped: Losses, scope: Scope, now: datetime
) -> HttpResponseBase:
    about = shared.about(request, "Retention", now=now, scope=scope)
    about += [
        ("Period", f"{found.span} months that end with last_month, compared at both ends"),
        ("Constant currency", formats.day(scope.rates.pinned_on) if scope.rates else "one currency, not converted"),
        (
            "row",
            f"period, or churn by {BY[grouped.by].lower()}: groups of the last period, which come to its churn",
        ),
        (BY[grouped.by], losses.MEANINGS[grouped.by]),
        ("start", explain.MEANINGS["kept-start"]),
        ("expansion", explain.MEANINGS["kept-expansion"]),
        ("contraction", explain.MEANINGS["kept-contraction"]),
        ("churn", explain.MEANINGS["kept-churn"]),
        ("left_out_micros", explain.MEANINGS["left-out"]),
        ("nrr", explain.MEANINGS["nrr"]),
        ("grr", explain.MEANINGS["grr"]),
        ("logo_churn", explain.MEANINGS["logo"]),
        ("revenue_churn", explain.MEANINGS["rchurn"]),
        ("churn_alone", explain.MEANINGS["gone"]),
    ]
    return exports.response(
        kind,
        name=f"retention-{found.span}-months-{found.periods[-1].month:%Y-%m}-{found.currency}",
        columns=COLUMNS,
        rows=_rows(found, grouped),
        about=about,
        zone=shared.zone(),
    )


def _rows(found: mrr.Retention, grouped: Losses) -> Iterator[Sequence[exports.Cell]]:
    for row in found.periods:
        kept, minor = row.kept, row.minor
        head = (found.span, found.currency, row.first, row.month, row.is_running)
        yield (
            *head,
            "period",
            None,
            kept.customers,
            kept.churned,
            *(minor[name] for name in ("start", "expansion", "contraction", "churn", "end")),
            *(kept.start, kept.expansion, kept.contraction, kept.churn, kept.end, row.left_out_micros),
            *(kept.nrr, kept.grr, kept.logo_churn, kept.revenue_churn, kept.churn_alone),
        )
    for group in grouped.groups:
        yield (
            *head,
            f"churn by {grouped.by.value}",
            group.label,
            None,
            group.customers,
            *(None, None, None, group.minor, None),
            *(None, None, None, group.micros, None, None),
            *(None, None, None, None, None),
        )
