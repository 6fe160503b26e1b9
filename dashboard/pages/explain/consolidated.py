"""Explains figures of all currencies in the reporting one: what each currency is, at which rate, and what it comes to.

A currency's own figure opens on the page of that currency, down to its customers and entries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from fractions import Fraction

from django.urls import reverse

from crm import selectors as crm
from dashboard import formats
from dashboard.pages import months as monthly
from dashboard.pages.explain.parts import (
    Asked,
    Explain,
    FormulaLine,
    Panel,
    counted,
    entries_total,
    month_of,
    months_of,
    rate_words,
    sum_line,
)
from mrr import selectors as mrr
from mrr.engine.money import shown


def balance(asked: Asked) -> Panel:
    month = month_of(asked)
    parts = mrr.balance_parts(asked.last_day, sources=asked.scope.sources)
    entries = sum(part.entries for part in parts)
    return _by_currency(
        asked,
        "MRR" if asked.kind == "mrr" else f"Closing MRR, {asked.words}",
        parts,
        what=f"{counted(entries, 'entry')} in {_currencies(parts)}",
        code=f"closing:{asked.rest}",
        kind=f"Balance at {formats.day(asked.last_day)}",
        figure_micros=month.closing_micros,
        day=asked.last_day,
    )


def arr(asked: Asked) -> Panel:
    found, month = balance(asked), month_of(asked)
    figure = asked.money(shown(12 * month.closing_micros))
    return replace(
        found,
        name="ARR",
        figure=figure,
        meaning=asked.meaning("arr"),
        formula=(*found.formula, FormulaLine("MRR", asked.money(month.closing_minor)), FormulaLine("× 12 months", "")),
        formula_total=FormulaLine("ARR", figure),
    )


def cmrr(asked: Asked) -> Panel:
    amounts = {row.currency: row.cmrr_micros or 0 for row in asked.scope.standing.currencies}
    parts = mrr.parts_of({code: micros for code, micros in amounts.items() if micros}, asked.today, asked.scope.rates)
    total = mrr.converted_mrr(asked.scope.standing.currencies, asked.today, rates=asked.scope.rates)
    found = _by_currency(
        asked,
        "CMRR",
        parts,
        what=_currencies(parts),
        code="cmrr",
        kind=f"Balance, as known {formats.day(asked.today)}",
        figure_micros=total.cmrr_micros or 0,
        day=asked.today,
    )
    return replace(found, meaning=asked.meaning("cmrr"))


def opening(asked: Asked) -> Panel:
    whole = monthly.span(months_of(asked), has_fx=True)
    before = months_of(asked, months_before=1)[0]
    entered = entries_total(
        asked, mrr.MovementFilter(asked.scope.sources, whole.first, asked.last_day, types=("opening",))
    )
    opening = shown(whole.opening_micros)
    words, holds = sum_line(
        asked,
        "What the month before closed with and what was taken over",
        before.closing_micros + entered.micros,
        whole.opening_micros,
    )
    rows = [
        FormulaLine(
            f"Closing MRR, {formats.month(before.month, long=True)}",
            asked.money(before.closing_minor),
            f"closing:{before.month:%Y-%m}",
        )
    ]
    if entered.count:
        taken = asked.money(opening - before.closing_minor, signed=True)
        rows.append(FormulaLine(f"Taken over, {counted(entered.count, 'entry')}", taken))
    return Panel(
        name=f"Opening MRR, {asked.words}",
        figure=asked.money(opening),
        kind=asked.under(f"Balance at the start of {formats.day(whole.first)}"),
        meaning=asked.meaning("opening"),
        currency=asked.currency,
        sum_words=words,
        sum_holds=holds,
        formula=tuple(rows),
        formula_total=FormulaLine("Opening MRR", asked.money(opening)),
    )


def fx(asked: Asked) -> Panel:
    """Explain the FX impact by currency: which rates it closed with before and now, and what that made of it."""
    months = months_of(asked)
    whole = monthly.span(months, has_fx=True)
    by_currency: dict[str, int] = {}
    for month in months:
        for code, micros in month.fx_by.items():
            by_currency[code] = by_currency.get(code, 0) + micros
    minor = whole.shown["fx"]
    what = f"{counted(len(by_currency), 'currency')}"
    words, holds = sum_line(
        asked,
        what,
        sum(by_currency.values()),
        whole.fx_micros,
        figure_minor=minor,
        one=len(by_currency) == 1,
    )
    rounded = mrr.parts_shown(minor, list(by_currency.values()))
    before = date.fromordinal(whole.first.toordinal() - 1)
    rows = [
        FormulaLine(_rates_between(asked, code, before, asked.last_day), asked.money(part, signed=True))
        for code, part in zip(by_currency, rounded, strict=True)
    ]
    return Panel(
        name=f"FX impact, {asked.words}",
        figure=asked.money(minor, signed=True),
        kind=asked.under(f"Activity of {asked.words}"),
        meaning=asked.meaning("fx"),
        currency=asked.currency,
        sum_words=words,
        sum_holds=holds,
        formula=tuple(rows),
        formula_title="By currency",
        formula_note="rates of the closing before, and of this one",
        formula_total=FormulaLine("FX impact", asked.money(minor, signed=True)),
    )


def of_list(asked: Asked) -> Panel:
    """Explain a figure that is the sum of lists, one a currency: past due, at risk, unmatched."""
    amounts, name, url = LISTS[asked.kind](asked)
    parts = mrr.parts_of({code: micros for code, micros in amounts.items() if micros}, asked.today, asked.scope.rates)
    found = _by_currency(
        asked,
        name,
        parts,
        what=_currencies(parts),
        code=asked.kind,
        kind=f"Balance, {formats.day(asked.today)}",
        figure_micros=sum(part.micros or 0 for part in parts),
        day=asked.today,
    )
    return replace(found, meaning=asked.meaning(asked.kind), links=(("Open the list", reverse(url)),))


def matched(asked: Asked) -> Panel:
    """Explain the matched share: what is matched, what is not, and that both are all MRR."""
    totals = crm.unmatched_totals(sources=asked.scope.sources)
    found, missing = matched_and_not(totals, asked.today, asked.scope.rates)
    share = formats.ratio(Fraction(found, found + missing) if found + missing else None, places=2)
    return Panel(
        name="Matched share",
        figure=share,
        kind=asked.under(f"Balance, {formats.day(asked.today)}"),
        meaning="MRR of customers with a Salesforce Account, as a share of all MRR.",
        currency=asked.currency,
        formula=(
            FormulaLine("Matched", asked.money(shown(found))),
            FormulaLine("Unmatched", asked.money(shown(missing)), "unmatched"),
            FormulaLine("MRR", asked.money(shown(found + missing)), f"mrr:{asked.today:%Y-%m}"),
        ),
        formula_total=FormulaLine("Matched ÷ MRR", share),
        links=(("Open the workbench", reverse("dashboard:unmatched")),),
    )


def matched_and_not(totals: crm.MatchTotals, day: date, rates: mrr.Conversion | None) -> tuple[int, int]:
    """Return matched and unmatched MRR of all currencies in micros of the reporting currency, at a day's rates."""
    amounts = totals.currencies.items()
    return (
        converted({code: one.matched_micros for code, one in amounts}, day, rates),
        converted({code: one.unmatched_micros for code, one in amounts}, day, rates),
    )


def converted(amounts: Mapping[str, int], day: date, rates: mrr.Conversion | None) -> int:
    """Return amounts by currency as one, in micros of the reporting currency, without those that have no rate."""
    return sum(part.micros or 0 for part in mrr.parts_of(amounts, day, rates))


def _by_currency(
    asked: Asked,
    name: str,
    parts: Sequence[mrr.Part],
    *,
    what: str,
    code: str,
    kind: str,
    figure_micros: int,
    day: date,
) -> Panel:
    """Explain a figure as the sum of its currencies; each opens `code` on its own currency's page."""
    known = [part for part in parts if part.micros is not None]
    figure = shown(figure_micros)
    words, holds = sum_line(
        asked,
        what,
        sum(part.micros or 0 for part in known),
        figure_micros,
        one=len(known) == 1 and not known[0].entries,
    )
    minors = dict(
        zip(
            (part.currency for part in known),
            mrr.parts_shown(figure, [part.micros or 0 for part in known]),
            strict=True,
        )
    )
    rows = [
        FormulaLine(
            _part_words(asked, part),
            asked.money(minors[part.currency]) if part.currency in minors else formats.NOT_KNOWN,
            url=_native_url(asked, part.currency, code),
        )
        for part in parts
    ]
    return Panel(
        name=name,
        figure=asked.money(figure),
        kind=asked.under(kind),
        meaning=asked.meaning("converted"),
        currency=asked.currency,
        sum_words=words,
        sum_holds=holds,
        formula=tuple(rows),
        formula_title="By currency",
        formula_note=f"at the rates of {formats.day(day)}",
        formula_total=FormulaLine(name.split(",")[0], asked.money(figure)),
    )


def _part_words(asked: Asked, part: mrr.Part) -> str:
    code = part.currency.upper()
    if part.currency == asked.currency:
        return code
    native = formats.money(shown(part.native_micros), part.currency)
    return f"{code}, {native} × {rate_words(part.rate)}" if part.rate is not None else f"{code}, {native}, no rate"


def _native_url(asked: Asked, currency: str, code: str) -> str:
    query = asked.request.GET.copy()
    query["currency"], query["explain"] = currency, code
    return f"?{query.urlencode(safe=':')}"


def _currencies(parts: Sequence[mrr.Part]) -> str:
    return f"{formats.count(len(parts))} {'currency' if len(parts) == 1 else 'currencies'}"


def _rates_between(asked: Asked, currency: str, before: date, after: date) -> str:
    ends = [asked.rate(currency, day) for day in (before, after)]
    return f"{currency.upper()}, " + " to ".join(rate_words(rate) if rate is not None else "no rate" for rate in ends)


def _risks(asked: Asked, amounts: str, name: str) -> Listed:
    totals = crm.at_risk(now=asked.now, sources=asked.scope.sources)
    found: Mapping[str, crm.RiskAmount] = getattr(totals, amounts)
    return {code: one.micros for code, one in found.items()}, name, "dashboard:at_risk"


def _unmatched(asked: Asked) -> Listed:
    totals = crm.unmatched_totals(sources=asked.scope.sources)
    amounts = {code: one.unmatched_micros for code, one in totals.currencies.items()}
    return amounts, "Unmatched MRR", "dashboard:unmatched"


Listed = tuple[dict[str, int], str, str]  # micros by currency, the figure's name, the page of the list
LISTS: dict[str, Callable[[Asked], Listed]] = {
    "past_due": lambda asked: _risks(asked, "past_due", "Past due MRR"),
    "at_risk": lambda asked: _risks(asked, "at_risk", "MRR at risk"),
    "high_risk": lambda asked: _risks(asked, "high", "MRR at high risk"),
    "unmatched": _unmatched,
}
EXPLAIN: dict[str, Explain] = {
    "mrr": balance,
    "closing": balance,
    "arr": arr,
    "cmrr": cmrr,
    "opening": opening,
    "fx": fx,
    **dict.fromkeys(LISTS, of_list),
    "matched": matched,
}
