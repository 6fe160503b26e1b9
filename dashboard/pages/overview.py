"""The overview: MRR and its kin, what moved it, what was kept, what just happened and what needs a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from fractions import Fraction
from typing import Literal

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.views.decorators.http import require_GET

from crm import selectors as crm
from dashboard import exports, formats, periods
from dashboard.pages import explain, setup, shared
from dashboard.pages import months as monthly
from dashboard.pages.cohort_heat import heat
from dashboard.pages.explain import consolidated
from dashboard.pages.latest import latest_events, latest_movements
from dashboard.pages.shared import Scope
from dashboard.parts import Tile
from dashboard.periods import Period
from dashboard.roles import Ability, requires
from mrr import selectors as mrr
from mrr.engine.money import shown

SHOWN_MONTHS = 12
HEAT_MONTHS = 12


@dataclass(frozen=True)
class Todo:
    """One thing that waits for a person: how many, which is the largest, and how much money it is about."""

    icon: str
    title: str
    detail: str
    url: str
    minor: int | None = None
    currency: str = ""
    code: str = ""


@requires(Ability.SEE_FIGURES)
@require_GET
def overview(request: HttpRequest) -> HttpResponseBase:
    now = shared.now_of(request)
    scope = shared.read_scope(request, consolidates=True)
    panel = explain.panel(request, scope, now=now)
    if panel and explain.is_alone(request):
        return explain.alone(request, panel, now=now)
    day = shared.today(now)
    period = periods.read(request.GET, today=day)
    months = _months(scope, period, day)
    if kind := shared.wants_export(request):
        return _export(request, kind, months, scope, now)
    risks = crm.at_risk(now=now, sources=scope.sources)
    unmatched = crm.unmatched_totals(sources=scope.sources)
    gaps = shared.gaps(request, scope, now=now)
    chosen = [month for month in months if period.first <= month.month <= period.last]
    shown_months = months[-SHOWN_MONTHS:]
    found = mrr.cohorts(
        mrr.Measure.NET_MRR,
        today=day,
        currency=scope.native,
        first=periods.plus_months(day, 1 - HEAT_MONTHS),
        sources=scope.sources,
        rates=scope.rates,
    )
    return shared.page(
        request,
        "dashboard/overview.html",
        {
            "panel": panel,
            "period": period,
            "period_links": shared.period_links(request, period),
            "tiles": _tiles(months, chosen, period, scope, gaps, risks, unmatched, day),
            "wf": monthly.waterfall(chosen, period, scope, all_url=_all_entries(period, scope)),
            "months": [monthly.line(month, has_fx=scope.is_consolidated) for month in reversed(shown_months)],
            "months_off": monthly.off(shown_months),
            "over": monthly.over_time(shown_months, scope.currency, has_fx=scope.is_consolidated),
            "over_title": _over_title(shown_months, scope.currency),
            "heat": heat(found, url=lambda cohort, at: _cell_url(scope, cohort, at), periods=HEAT_MONTHS),
            "heat_url": f"{reverse('dashboard:cohorts')}{_scope_query(scope)}",
            "latest": latest_movements(request, scope, limit=8),
            "events": latest_events(scope, limit=7),
            "sees_events": shared.sees_people(request),
            "todos": _todos(request, scope, gaps, risks, unmatched, day),
            "is_empty": None if scope.standing.currencies else setup.nothing_yet(scope),
        },
        name="Overview",
        now=now,
        scope=scope,
        bands=[
            *shared.gap_bands(gaps),
            shared.rate_band({*found.held, *(code for month in months for code in month.held)}, scope),
        ],
    )


def _months(scope: Scope, period: Period, today: date) -> Sequence[mrr.Month]:
    """Return the months that the page draws and compares, one more at the front to compare the first with."""
    first = min(period.first, periods.plus_months(period.last, 1 - SHOWN_MONTHS))
    return mrr.series(
        periods.plus_months(first, -1),
        period.last,
        today=today,
        currency=scope.native,
        sources=scope.sources,
        rates=scope.rates,
    ).months


# ---- tiles ----


def _tiles(
    months: Sequence[mrr.Month],
    chosen: Sequence[mrr.Month],
    period: Period,
    scope: Scope,
    gaps: Sequence[mrr.Gap],
    risks: crm.RiskTotals,
    unmatched: crm.MatchTotals,
    day: date,
) -> list[Tile]:
    last, before = months[-1], months[-2]
    trend = months[-SHOWN_MONTHS:]
    against = f"against {before.month:%B}"
    currency, code = scope.currency, f"{last.month:%Y-%m}"
    lacks = "incomplete" if last.held or (period.is_running and shared.makes_incomplete(gaps)) else ""
    span = monthly.span(chosen, has_fx=scope.is_consolidated)
    here: mrr.Amounts = scope.standing.of(currency)
    if scope.is_consolidated:
        here = mrr.converted_mrr(scope.standing.currencies, day, rates=scope.rates)
    return [
        _money_tile(
            "MRR",
            last.closing_minor,
            currency,
            f"mrr:{code}",
            is_big=True,
            change=_growth(before.closing_micros, last.closing_micros),
            against=against,
            incomplete=lacks,
            trend=[month.closing_minor for month in trend],
        ),
        _money_tile(
            "ARR",
            shown(12 * last.closing_micros),
            currency,
            f"arr:{code}",
            is_big=True,
            change=_growth(before.closing_micros, last.closing_micros),
            against=against,
            incomplete=lacks,
            trend=[month.closing_minor for month in trend],
        ),
        _cmrr_tile(period, here),
        _net_tile(period, currency, span, months, against),
        _ratio_tile("NRR, 1 month", f"nrr:{code}", last.nrr, before.nrr, [month.nrr for month in trend]),
        _ratio_tile("GRR, 1 month", f"grr:{code}", last.grr, before.grr, [month.grr for month in trend]),
        _ratio_tile(
            "Logo churn",
            f"logo:{code}",
            last.logo_churn,
            before.logo_churn,
            [month.logo_churn for month in trend],
            places=2,
            is_loss=True,
        ),
        _quick_tile(f"quick:{code}", last, before, trend),
        _arpa_tile(f"arpa:{code}", last, before, trend, currency),
        *_now_tiles(period, last, scope, risks, unmatched, day),
    ]


def _money_tile(
    label: str,
    minor: int,
    currency: str,
    explain_code: str,
    *,
    is_big: bool = False,
    kind: Literal["balance", "activity"] = "balance",
    signed: bool = False,
    change: str = "",
    tone: Literal["gain", "loss", ""] | None = None,
    against: str = "",
    incomplete: str = "",
    trend: Sequence[int] = (),
) -> Tile:
    value, cents = formats.money_parts(minor, currency, signed=signed)
    direction = _direction(change)
    return Tile(
        label,
        value,
        explain_code,
        kind,
        cents,
        change,
        against if change else "",
        direction,
        _tone(direction) if tone is None else tone,
        incomplete,
        tuple(trend),
        is_big,
    )


def _cmrr_tile(period: Period, here: mrr.Amounts) -> Tile:
    if not period.is_running:
        return Tile("CMRR", formats.NOT_KNOWN, "cmrr", change="what was scheduled then is not kept", is_big=True)
    cmrr = here.cmrr_minor or 0
    change = formats.money(cmrr - here.mrr_minor, here.currency, signed=True) if cmrr != here.mrr_minor else ""
    tile = _money_tile("CMRR", cmrr, here.currency, "cmrr", is_big=True, change=change, against="scheduled, net")
    return tile if change else replace(tile, change="nothing is scheduled")


def _net_tile(period: Period, currency: str, span: monthly.Span, months: Sequence[mrr.Month], against: str) -> Tile:
    net = span.net_minor
    change = ""
    if period.months == 1:
        change = formats.money(net - months[-2].net_new_minor, currency, signed=True)
    return _money_tile(
        "Net new MRR",
        net,
        currency,
        f"net:{span.code}",
        is_big=True,
        kind="activity",
        signed=True,
        change=change,
        against=against,
        trend=[month.net_new_minor for month in months[-SHOWN_MONTHS:]],
    )


def _ratio_tile(
    label: str,
    explain_code: str,
    value: Fraction | None,
    before: Fraction | None,
    trend: Sequence[Fraction | None],
    *,
    places: int = 1,
    is_loss: bool = False,
) -> Tile:
    change = formats.points(value - before, places=places) if value is not None and before is not None else ""
    direction = _direction(change)
    return Tile(
        label,
        formats.ratio(value, places=places),
        explain_code,
        "activity" if is_loss else "balance",
        change=change if value is not None else "no opening MRR",
        direction=direction,
        tone=_tone(direction, is_loss=is_loss),
        trend=tuple(round(ratio * 10**6) for ratio in trend if ratio is not None),
    )


def _quick_tile(explain_code: str, last: mrr.Month, before: mrr.Month, trend: Sequence[mrr.Month]) -> Tile:
    change = ""
    if last.quick_ratio is not None and before.quick_ratio is not None:
        change = formats.multiple(last.quick_ratio - before.quick_ratio, signed=True)
    direction = _direction(change)
    return Tile(
        "Quick ratio",
        formats.multiple(last.quick_ratio),
        explain_code,
        "activity",
        change=change if last.quick_ratio is not None else "nothing was lost",
        direction=direction,
        tone=_tone(direction),
        trend=tuple(round(month.quick_ratio * 100) for month in trend if month.quick_ratio is not None),
    )


def _arpa_tile(
    explain_code: str, last: mrr.Month, before: mrr.Month, trend: Sequence[mrr.Month], currency: str
) -> Tile:
    values = [_arpa(month, currency) for month in trend]
    now, then = _arpa(last, currency), _arpa(before, currency)
    if now is None:
        return Tile("ARPA", formats.NOT_KNOWN, explain_code, change="nobody pays")
    change = formats.money(now - then, currency, signed=True) if then is not None else ""
    return _money_tile(
        "ARPA", now, currency, explain_code, change=change, trend=[value for value in values if value is not None]
    )


def _now_tiles(
    period: Period, last: mrr.Month, scope: Scope, risks: crm.RiskTotals, unmatched: crm.MatchTotals, day: date
) -> list[Tile]:
    """Return the figures that are known for now alone."""
    labels = ("Past due MRR", "past_due"), ("MRR at risk", "at_risk"), ("Matched share", "matched")
    if not period.is_running:
        return [Tile(label, formats.NOT_KNOWN, code, change="today only") for label, code in labels]
    currency = scope.currency
    past_due, at_risk = (_risk(scope, amounts, day) for amounts in (risks.past_due, risks.at_risk))
    share = Fraction(past_due.micros, last.closing_micros) if last.closing_micros else None
    return [
        replace(
            _money_tile("Past due MRR", past_due.minor, currency, "past_due"),
            change=f"{formats.ratio(share)} of MRR" if share is not None else "",
        ),
        replace(
            _money_tile("MRR at risk", at_risk.minor, currency, "at_risk"),
            change=explain.counted(at_risk.customers, "customer"),
        ),
        Tile(
            "Matched share",
            formats.ratio(_matched_share(scope, unmatched, day), places=2),
            "matched",
            change=f"{formats.count(unmatched.customers)} unmatched",
        ),
    ]


def _risk(scope: Scope, amounts: Mapping[str, crm.RiskAmount], day: date) -> crm.RiskAmount:
    """Return the amount of the scope's currency, or all of them in the reporting one."""
    if not scope.is_consolidated:
        return amounts.get(scope.currency, crm.RiskAmount())
    micros = consolidated.converted({code: one.micros for code, one in amounts.items()}, day, scope.rates)
    return crm.RiskAmount(micros, sum(one.customers for one in amounts.values()))


def _unmatched(scope: Scope, unmatched: crm.MatchTotals, day: date) -> tuple[int, int]:
    """Return matched and unmatched MRR, in micros of the scope's currency."""
    if scope.is_consolidated:
        return consolidated.matched_and_not(unmatched, day, scope.rates)
    found = unmatched.currencies.get(scope.currency, crm.MatchedMrr())
    return found.matched_micros, found.unmatched_micros


def _matched_share(scope: Scope, unmatched: crm.MatchTotals, day: date) -> Fraction | None:
    matched, missing = _unmatched(scope, unmatched, day)
    return Fraction(matched, matched + missing) if matched + missing else None


def _largest_currency(scope: Scope, amounts: Mapping[str, int], day: date) -> str:
    """Return the currency in which most of a figure is, which is where its largest customer is looked for."""
    if not scope.is_consolidated or not amounts:
        return scope.currency
    return mrr.parts_of(amounts, day, scope.rates)[0].currency


def _growth(before: int, after: int) -> str:
    """Return how much a balance grew, as a signed percentage; empty where there was nothing before."""
    if before <= 0:
        return ""
    change = Fraction(after - before, before)
    text = formats.ratio(change)
    return f"+{text}" if round(change * 1000) > 0 else text


def _direction(change: str) -> Literal["up", "down", "flat", ""]:
    """Read the direction off a signed text, so that the arrow never says other than the figure."""
    if not change:
        return ""
    if not any(sign in "123456789" for sign in change):
        return "flat"
    return "down" if change.startswith(formats.MINUS) else "up" if change.startswith("+") else "flat"


def _tone(direction: str, *, is_loss: bool = False) -> Literal["gain", "loss", ""]:
    if direction not in ("up", "down"):
        return ""
    return "gain" if (direction == "up") != is_loss else "loss"


def _arpa(month: mrr.Month, currency: str) -> int | None:
    return mrr.CurrencyMrr(currency, month.closing_micros, None, month.customers.closing).arpa_minor


# ---- beside the tiles ----


def _over_title(months: Sequence[mrr.Month], currency: str) -> str:
    """State the finding of the chart, as its heading."""
    first, last = months[0], months[-1]
    change = formats.money(last.closing_minor - first.opening_minor, currency, signed=True)
    return f"MRR {change} in {len(months)} months"


def _todos(
    request: HttpRequest,
    scope: Scope,
    gaps: Sequence[mrr.Gap],
    risks: crm.RiskTotals,
    unmatched: crm.MatchTotals,
    day: date,
) -> list[Todo]:
    """Return what waits for a person, the largest money first, then what has none."""
    currency, todos = scope.currency, []
    pulse = shared.crm_pulse(request)
    if unmatched.customers:
        _, waiting = _unmatched(scope, unmatched, day)
        most = _largest_currency(scope, {code: one.unmatched_micros for code, one in unmatched.currencies.items()}, day)
        todos.append(
            Todo(
                "user-question",
                f"{_counted(unmatched.customers, 'customer has', 'customers have')} no Account",
                _largest(request, crm.largest_unmatched(most, sources=scope.sources)),
                reverse("dashboard:unmatched"),
                shown(waiting),
                currency,
                "unmatched",
            )
        )
    high = _risk(scope, risks.high, day)
    if high.customers:
        most = _largest_currency(scope, {code: one.micros for code, one in risks.high.items()}, day)
        todos.append(
            Todo(
                "alert-triangle",
                f"{_counted(high.customers, 'customer', 'customers')} at high risk",
                _largest(request, risks.largest_high.get(most)),
                f"{reverse('dashboard:at_risk')}?severity=high",
                high.minor,
                currency,
                "high_risk",
            )
        )
    todos.sort(key=lambda todo: -(todo.minor or 0))
    if pulse.error:
        todos.insert(0, Todo("plug-off", "Salesforce does not let us in", pulse.error, reverse("dashboard:sync")))
    if pulse.parked:
        words = f"{_counted(pulse.parked, 'Salesforce record is', 'Salesforce records are')} parked"
        todos.append(Todo("tool", words, "Refused, or given up on", f"{reverse('dashboard:sync')}?state=parked"))
    for gap in gaps:
        if gap.code == "events_parked":
            words = f"{_counted(gap.count, 'Stripe event is', 'Stripe events are')} parked"
            todos.append(Todo("circle-minus", words, "Kept, not in the figures", "/dashboard/events/?state=parked"))
        elif gap.code == "unpriced_items":
            words = f"{_counted(gap.count, 'item has', 'items have')} no price yet"
            todos.append(Todo("hourglass", words, "They count as nothing until then", ""))
    return todos


def _counted(number: int, one: str, many: str) -> str:
    return f"{formats.count(number)} {explain.plural(number, one, many)}"


def _largest(request: HttpRequest, found: crm.Largest | None) -> str:
    if found is None:
        return ""
    return f"Largest: {shared.who(request, name=found.name, email='', stripe_id=found.customer_id)}"


def _all_entries(period: Period, scope: Scope) -> str:
    ends = f"from={period.first:%Y-%m}&to={period.last:%Y-%m}"
    return f"{reverse('dashboard:movements')}{_scope_query(scope, ends)}#entries"


def _cell_url(scope: Scope, cohort: date, at: int) -> str:
    return f"{reverse('dashboard:cohorts')}{_scope_query(scope, f'cohort={cohort:%Y-%m}&period={at}')}#cell"


def _scope_query(scope: Scope, more: str = "") -> str:
    """Carry currency and source over to another page."""
    parts = [more] if more else []
    has_own = not scope.is_consolidated and len(scope.currency_choices) > 1
    parts += [f"currency={scope.currency}"] if has_own else []
    parts += [f"source={scope.source}"] if scope.source else []
    return f"?{'&'.join(parts)}" if parts else ""


# ---- export ----

COLUMNS = (
    "month",
    "is_running",
    "currency",
    "opening_minor",
    "new_minor",
    "expansion_minor",
    "reactivation_minor",
    "contraction_minor",
    "churn_minor",
    "fx_minor",
    "closing_minor",
    "opening_micros",
    "new_micros",
    "expansion_micros",
    "reactivation_micros",
    "contraction_micros",
    "churn_micros",
    "fx_micros",
    "closing_micros",
    "arr_minor",
    "customers",
    "nrr",
    "grr",
    "logo_churn",
    "quick_ratio",
)


def _export(
    request: HttpRequest, kind: str, months: Sequence[mrr.Month], scope: Scope, now: datetime
) -> HttpResponseBase:
    """Export the months that the page draws, with what their columns mean."""
    names = ("opening", *monthly.MOVED, "closing")
    rows = (
        (
            month.month,
            month.is_running,
            scope.currency,
            *(getattr(month, f"{name}_minor") for name in names),
            *(getattr(month, f"{name}_micros") for name in names),
            shown(12 * month.closing_micros),
            month.customers.closing,
            month.nrr,
            month.grr,
            month.logo_churn,
            month.quick_ratio,
        )
        for month in months[-SHOWN_MONTHS:]
    )
    about = shared.about(request, "Overview", now=now, scope=scope)
    about += [(name, explain.MEANINGS[name]) for name in (*monthly.PARTS, "nrr", "grr")]
    about += [("fx", explain.MEANINGS["fx"]), ("ratios of all currencies", explain.MEANINGS["constant"])]
    about += [("logo_churn", explain.MEANINGS["logo"]), ("quick_ratio", explain.MEANINGS["quick"])]
    return exports.response(
        kind,
        name=f"mrr-{months[-1].month:%Y-%m}-{scope.currency}",
        columns=COLUMNS,
        rows=rows,
        about=about,
        zone=shared.zone(),
    )
