"""The board pack: one month as a board reads it, on paper or as a workbook, with its definitions and its signature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction
from typing import Any

from django.conf import settings
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.views.decorators.http import require_GET

from crm import selectors as crm
from dashboard import charts, drawn, exports, formats, periods
from dashboard.pages import board_figures, board_sheets, explain, shared
from dashboard.pages import months as monthly
from dashboard.pages.board_figures import Key, Pack
from dashboard.pages.cohort_heat import heat
from dashboard.pages.explain import consolidated
from dashboard.pages.latest import MovementLine, movement_rows
from dashboard.pages.shared import Scope
from dashboard.parts import Choice, Empty, Tile
from dashboard.roles import Ability, may, requires
from mrr import selectors as mrr
from mrr.engine.money import shown

LENGTHS = (12, 24)
FIRST_YEAR = 1970
MAIN = 4  # so many key figures are set large
DEFINED = (
    "arr", "net", "new", "expansion", "reactivation", "contraction", "churn", "fx", "nrr", "grr", "rchurn", "logo",
    "quick", "arpa", "constant", "adjustment", "signed", "learned", "cmrr", "past_due", "at_risk", "matched",
)  # fmt: skip
TITLES = {
    "balance": "MRR",
    "arr": "ARR",
    "net": "Net new MRR",
    "fx": "FX impact",
    "nrr": "NRR",
    "grr": "GRR",
    "rchurn": "Revenue churn",
    "logo": "Logo churn",
    "quick": "Quick ratio",
    "arpa": "ARPA",
    "constant": "Ratios",
    "adjustment": "Adjustment",
    "signed": "As signed",
    "learned": "Learned since",
    "cmrr": "CMRR",
    "past_due": "Past due MRR",
    "at_risk": "MRR at risk",
    "matched": "Matched share",
    "paying": "Paying customers",
    "cohort": "Cohort",
    "hash": "Hash of this pack",
}
OWN_MEANINGS = {
    "paying": "Customers with MRR above zero at the month's end. Who pays for a free plan alone is none.",
    "cohort": "The customers of a month's first MRR. Cells are what they pay at the end of a later month as a share of "
    "what was acquired; a customer's cohort never changes.",
    "hash": "SHA-256 of every figure here, exact and without names: the sheet “Exact” of the workbook, the cells of a "
    "row joined by tabs, each row ended by a newline. The same hash is the same figures, whenever the pack was made.",
}


@dataclass(frozen=True)
class TopLine:
    """One of the largest movements; `minor` is what it comes to in the currency of the figures, None without a rate."""

    line: MovementLine
    minor: int | None


@dataclass(frozen=True)
class BoardMonth:
    """One row of the table by month: its parts, and its ARR as text with the code that opens it."""

    line: monthly.MonthLine
    arr: str
    arr_code: str

    @classmethod
    def of(cls, row: mrr.Month, scope: Scope) -> BoardMonth:
        arr = formats.money(shown(12 * row.closing_micros), scope.currency)
        return cls(monthly.line(row, has_fx=scope.is_consolidated), arr, f"arr:{row.month:%Y-%m}")


@dataclass(frozen=True)
class BoardYear:
    """One column of the table under NRR and GRR: twelve months, and the codes that open their ratios."""

    month: date
    kept: mrr.Kept
    nrr_code: str
    grr_code: str

    @classmethod
    def of(cls, row: mrr.KeptPeriod) -> BoardYear:
        code = f"{row.first:%Y-%m}..{row.month:%Y-%m}"
        return cls(row.month, row.kept, f"nrr:{code}", f"grr:{code}")


@dataclass(frozen=True)
class Note:
    """One thing that the figures lack, or that nothing is lacking: its words, and its help."""

    state: str
    title: str
    text: str
    code: str = ""

    @property
    def icon(self) -> str:
        return {"ok": "circle-check", "look": "alert-triangle"}.get(self.state, "circle-x")


@requires(Ability.SEE_FIGURES)
@require_GET
def board(request: HttpRequest) -> HttpResponseBase:
    """Show the pack of the month that `month=` names, else of the last one that has ended."""
    now = shared.now_of(request)
    scope = shared.read_scope(request, consolidates=True)
    panel = explain.panel(request, scope, now=now)
    if panel and explain.is_alone(request):
        return explain.alone(request, panel, now=now)
    today = shared.today(now)
    month, length = _month(request, today), _length(request)
    kind = shared.wants_export(request)
    pack = board_figures.gather(month, length, scope, today=today, sees_people=shared.sees_people(request))
    policy = shared.policy_version(request)
    lines = board_figures.exact_lines(pack, scope, zone=settings.REPORTING_TIME_ZONE, policy_version=policy)
    digest = board_figures.digest(lines)
    gaps = shared.gaps(request, scope, now=now)
    notes = lacks(pack, gaps, scope)
    keys = board_figures.keys(pack, scope)
    today_keys = _today(scope, now=now)
    top = _top(request, pack, scope)
    if kind:
        said = definitions(scope), tuple(notes)
        facts = board_sheets.Facts(pack, scope, keys, today_keys, lines, digest, *said, tuple(top))
        return _export(request, kind, facts, now)
    return shared.page(
        request,
        "dashboard/board.html",
        {
            "panel": panel,
            "pack": pack,
            "digest": digest,
            "months_choices": _length_choices(request, length),
            "month_choices": _month_choices(request, month, today),
            "earlier": shared.link(request, month=f"{periods.plus_months(month, -1):%Y-%m}"),
            "later": "" if pack.is_running else shared.link(request, month=f"{periods.plus_months(month, 1):%Y-%m}"),
            "tiles": [_tile(key, pack, large=at < MAIN) for at, key in enumerate(keys)],
            "columns": drawn.columns([(row.month, row.closing_minor) for row in pack.months], scope.currency),
            "over_title": _over_title(pack),
            "wf": _waterfall(pack, scope),
            "lines": [BoardMonth.of(row, scope) for row in reversed(pack.months)],
            "months_off": monthly.off(pack.months),
            "causes": [(cause, shared.reason(cause.reason)) for cause in pack.causes],
            "top": top,
            **_rest(pack, top),
            "heat": heat(pack.cohorts, url=_cell_url(scope), periods=board_figures.YEAR),
            "kept": _kept(pack),
            "years": [BoardYear.of(row) for row in _known(pack)],
            "bridge": _bridge(pack),
            "notes": notes,
            "today": [(key.label, "".join(texts(key, scope.currency)[:2]), key.code) for key in today_keys],
            **_codes(pack, scope),
            "definitions": definitions(scope),
            "is_empty": _nothing(pack, month),
            "made_by": request.user.get_username(),
            "may_summarise": may(request, Ability.SUMMARISE),
        },
        name=f"Board pack {formats.month(month, long=True)}",
        now=now,
        scope=scope,
        bands=[*shared.gap_bands(gaps), shared.rate_band(pack.held, scope)],
    )


def _month(request: HttpRequest, today: date) -> date:
    """Return the month asked for, else the last that has ended. Raises BadRequest for the future and for no month."""
    asked = request.GET.get("month", "")
    if not asked:
        return periods.plus_months(today, -1)
    found = periods.month(asked)
    if found > periods.month_of(today):
        raise BadRequest("This month has not come yet.")
    if found.year < FIRST_YEAR:
        raise BadRequest(f"Months before {FIRST_YEAR} are out of reach.")
    return found


def _length(request: HttpRequest) -> int:
    asked = request.GET.get("months", str(LENGTHS[0]))
    if asked not in map(str, LENGTHS):
        raise BadRequest(f"Known lengths are: {', '.join(map(str, LENGTHS))} months.")
    return int(asked)


def _month_choices(request: HttpRequest, chosen: date, today: date) -> list[Choice]:
    """Return the months of two years to choose from, the running one first."""
    months = [periods.plus_months(today, -back) for back in range(25)]
    return [
        Choice(formats.month(month, long=True), shared.link(request, month=f"{month:%Y-%m}"), month == chosen)
        for month in months
    ]


def _length_choices(request: HttpRequest, chosen: int) -> list[Choice]:
    return [Choice(f"{number} months", shared.link(request, months=number), number == chosen) for number in LENGTHS]


# ---- what is shown ----


def _tile(key: Key, pack: Pack, *, large: bool) -> Tile:
    value, cents, change = texts(key, pack.currency)
    direction = "" if not change else "up" if change.startswith("+") else "down"
    if change and not any(sign in "123456789" for sign in change):
        direction = "flat"
    tone = ""
    if direction in ("up", "down") and key.label not in ("ARPA",):
        tone = "gain" if (direction == "up") is not key.is_loss else "loss"
    return Tile(
        key.label,
        value,
        key.code,
        key.kind,
        cents,
        change or (key.lack if key.exact is None else ""),
        f"vs {formats.month(pack.before.month)}" if change and large else "",
        direction,  # type: ignore[arg-type]  # one of the words that Tile knows
        tone,  # type: ignore[arg-type]
        "incomplete" if pack.held and key.unit in ("money", "change") else "",
        is_big=large,
    )


def texts(key: Key, currency: str) -> tuple[str, str, str]:
    """Return a key figure as text, its decimals apart, and its signed change against the month before."""
    if key.exact is None:
        return formats.NOT_KNOWN, "", ""
    if key.unit in ("money", "change"):
        value, cents = formats.money_parts(key.minor or 0, currency, signed=key.unit == "change")
        change = (
            ""
            if key.before_minor is None
            else formats.money((key.minor or 0) - key.before_minor, currency, signed=True)
        )
        return value, cents, change
    if key.unit == "count":
        change = formats.count(int(key.exact) - int(key.before or 0), signed=True)
        return formats.count(int(key.exact)), "", change
    exact, before = Fraction(key.exact), None if key.before is None else Fraction(key.before)
    if key.unit == "multiple":
        return formats.multiple(exact), "", "" if before is None else formats.multiple(exact - before, signed=True)
    change = "" if before is None else formats.points(exact - before, places=key.places)
    return formats.ratio(exact, places=key.places), "", change


def _over_title(pack: Pack) -> str:
    """State the finding of the chart, as its heading."""
    first, last = pack.months[0], pack.last
    change = formats.money(last.closing_minor - first.opening_minor, pack.currency, signed=True)
    count = len(pack.months)
    return f"MRR {change} in {count} month{'' if count == 1 else 's'}"


def _waterfall(pack: Pack, scope: Scope) -> dict[str, Any]:
    whole = monthly.span([pack.last], has_fx=scope.is_consolidated)
    cells = monthly.cells(whole, formats.month(pack.month, long=True))
    steps = [charts.Step(cell.kind, cell.minor) for cell in cells]
    base = charts.waterfall_base(steps)
    off_micros = sum(cause.micros for cause in pack.causes) - whole.net_micros
    return {
        "cells": cells,
        "net_minor": whole.net_minor,
        "net_code": f"net:{whole.code}",
        "drawing": drawn.waterfall(steps, height=150),
        "axis_start": charts.short_money(base, pack.currency) if base else "",
        "off_minor": shared.exact_minor(off_micros),
        "words": f"Opening + movements {'+ FX ' if scope.is_consolidated else ''}= closing",
    }


def _top(request: HttpRequest, pack: Pack, scope: Scope) -> list[TopLine]:
    rows = [moved.movement for moved in pack.movements]
    listed = movement_rows(request, rows)
    return [
        TopLine(
            line,
            line.minor if line.currency == scope.currency else None if moved.micros is None else shown(moved.micros),
        )
        for line, moved in zip(listed, pack.movements, strict=True)
    ]


def _rest(pack: Pack, top: Sequence[TopLine]) -> dict[str, Any]:
    """Return the movements that are not listed as one row, so that the list comes to the net new MRR."""
    net = pack.last.net_new_minor
    return {
        "count": pack.count,
        "others": pack.count - len(top),
        "others_minor": net - sum(row.minor or 0 for row in top),
        "net_minor": net,
    }


def _cell_url(scope: Scope) -> Any:
    query = f"&source={scope.source}" if scope.source else ""
    query += f"&currency={scope.currency}" if not scope.is_consolidated and len(scope.currency_choices) > 1 else ""
    return lambda cohort, at: f"{reverse('dashboard:cohorts')}?cohort={cohort:%Y-%m}&period={at}{query}#cell"


def _codes(pack: Pack, scope: Scope) -> dict[str, Any]:
    """Return the codes of what was signed; of all currencies, or of one."""
    if pack.signed is None:
        return {}
    place = f"{pack.month:%Y-%m}:{'all' if scope.is_consolidated else scope.currency}"
    codes = {f"{name}_code": f"{name}:{place}" for name in ("signed", "restated", "learned")}
    return {**codes, "signed_minor": shown(pack.signed.signed_micros)}


def _kept(pack: Pack) -> drawn.Drawing | None:
    """Draw NRR and GRR of the twelve months that end with each month; None while nobody paid a year ago."""
    known = _known(pack)
    if len(known) < 2:
        return None
    return drawn.shares(
        [row.month for row in known],
        [("nrr", [row.kept.nrr for row in known]), ("grr", [row.kept.grr for row in known])],
        running=pack.is_running,
    )


def _known(pack: Pack) -> list[mrr.KeptPeriod]:
    return [row for row in pack.years[1:] if row.kept.start]


def _bridge(pack: Pack) -> list[tuple[str, str, int, Fraction | None, bool]]:
    """Return the rows from what was paid a year ago to what the same customers pay now."""
    kept, minor, code = pack.year.kept, pack.year.minor, pack.year_code
    rows = (
        ("start", "Paid at the start"),
        ("expansion", "Expansion"),
        ("contraction", "Contraction"),
        ("churn", "Churn"),
    )
    return [
        (
            name,
            f"kept-{part}:{code}",
            minor[part],
            Fraction(getattr(kept, part), kept.start) if kept.start else None,
            part != "start",
        )
        for part, name in rows
    ]


def lacks(pack: Pack, gaps: Sequence[mrr.Gap], scope: Scope) -> list[Note]:
    """Return what the figures lack and why, one line that they are complete where they lack nothing."""
    found = [Note("look", band.title, band.text, gap.code) for gap in gaps for band in shared.gap_bands([gap])]
    if pack.held:
        listed = " and ".join(code.upper() for code in pack.held)
        text = f"{listed} is left out where no exchange rate is known for the day or the seven before it."
        found.append(Note("look", "Not all is converted.", text, "rate_missing"))
    if pack.signed and pack.signed.lacks:
        listed = " and ".join(code.upper() for code in pack.signed.lacks)
        found.append(Note("look", "The signed sum is incomplete.", f"{listed} had no rate of the month's end."))
    if pack.signed:
        words = {"events_parked": ("event was parked", "events were parked")}
        words["unpriced_items"] = ("item had no price", "items had no price")
        for code, count in pack.signed.closed.notes.items():
            if code in words:
                text = f"When the month was signed, {formats.count(count)} {explain.plural(count, *words[code])}."
                found.append(Note("look", "Noted with the signature.", text, code))
    if pack.is_running:
        found.append(Note("look", "The month has not ended.", "Figures are those so far, and will move."))
    if pack.year.left_out_micros:
        text = "Who was taken over after the year began is in neither end of the 12 months' comparison."
        found.append(Note("look", "A part of the year is not compared.", text))
    if scope.is_test:
        found.append(Note("look", "Test data.", "None of it is in any total of the company."))
    if found:
        return found
    return [Note("ok", "Complete.", "Every item has its price, every currency its rate, no event waits or is parked.")]


def _today(scope: Scope, *, now: datetime) -> tuple[Key, ...]:
    """Return what is known of today alone: scheduled changes, late payments, risk, matched share."""
    day, currency = shared.today(now), scope.currency
    risks, matched = crm.at_risk(now=now, sources=scope.sources), crm.unmatched_totals(sources=scope.sources)
    here: mrr.Amounts = scope.standing.of(currency)
    if scope.is_consolidated:
        here = mrr.converted_mrr(scope.standing.currencies, day, rates=scope.rates)
        known, missing = consolidated.matched_and_not(matched, day, scope.rates)
    else:
        own = matched.currencies.get(currency, crm.MatchedMrr())
        known, missing = own.matched_micros, own.unmatched_micros
    share = Fraction(known, known + missing) if known + missing else None
    amounts = (
        ("CMRR", "cmrr", here.cmrr_micros or 0),
        ("Past due MRR", "past_due", _of(scope, risks.past_due, day)),
        ("MRR at risk", "at_risk", _of(scope, risks.at_risk, day)),
    )
    return (
        *(Key(label, "money", "balance", micros, code, code, minor=shown(micros)) for label, code, micros in amounts),
        Key("Matched share", "ratio", "balance", share, "matched", "matched", places=2),
    )


def _of(scope: Scope, amounts: Any, day: date) -> int:
    """Return micros of the scope's currency, or of all of them in the reporting one."""
    if not scope.is_consolidated:
        return int(amounts.get(scope.currency, crm.RiskAmount()).micros)
    return consolidated.converted({code: one.micros for code, one in amounts.items()}, day, scope.rates)


def definitions(scope: Scope) -> list[tuple[str, str]]:
    """Return the definitions as the pack prints them: what is named, and what it is."""
    named = [name for name in DEFINED if scope.is_consolidated or name not in ("fx", "constant")]
    balance = "The monthly worth of every subscription item that counts at the month's end. Discounts are taken off; "
    listed = [("MRR", f"{balance}tax, one-off charges and usage are left out.")]
    arr = "Twelve times MRR. It is never stored, so it cannot differ from MRR."
    for name in named:
        title = TITLES.get(name) or charts.LABELS[name]
        listed.append((title, arr if name == "arr" else explain.MEANINGS[name]))
    return listed + [(TITLES[name], OWN_MEANINGS[name]) for name in ("paying", "cohort", "hash")]


def _nothing(pack: Pack, month: date) -> Empty | None:
    last = pack.last
    if last.closing_micros or last.opening_micros or pack.count:
        return None
    return Empty(
        "file-text",
        f"No MRR in {formats.month(month, long=True)}",
        "Nothing was paid at its beginning or its end, and nothing moved. Choose a later month.",
    )


# ---- export ----


def _export(request: HttpRequest, kind: str, facts: board_sheets.Facts, now: datetime) -> HttpResponseBase:
    """Answer with the workbook; as CSV with the exact figures alone, whose rows give the hash."""
    name = f"board-pack-{facts.pack.month:%Y-%m}-{facts.scope.currency}"
    about = shared.about(request, f"Board pack {facts.pack.month:%Y-%m}", now=now, scope=facts.scope)
    if kind == "csv":
        return exports.response(
            kind,
            name=name,
            columns=board_sheets.EXACT,
            rows=board_sheets.exact_rows(facts),
            about=about,
            zone=shared.zone(),
        )
    made = board_sheets.workbook(facts, about=about, zone=shared.zone())
    answer = HttpResponse(made, content_type="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")
    answer["Content-Disposition"] = f'attachment; filename="{name}.xlsx"'
    answer["Cache-Control"] = "no-store"
    return answer
