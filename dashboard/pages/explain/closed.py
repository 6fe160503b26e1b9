"""Explains a closed month: what was signed, by the entries booked in it, and what was learned about it since.

A figure is named with its month and currency, `signed:2026-03:usd:new`, or of all currencies `signed:2026-03:all`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

from django.http import Http404

from dashboard import charts, formats
from dashboard.pages import months as monthly
from dashboard.pages.explain import activity, balances
from dashboard.pages.explain.parts import (
    MEANINGS,
    SHOWN_ENTRIES,
    Asked,
    FormulaLine,
    Panel,
    counted,
    entry_line,
    rate_words,
    sum_line,
)
from dashboard.periods import plus_months
from mrr import departures
from mrr import selectors as mrr
from mrr.engine.money import shown

ALL = "all"
MOVED = (*monthly.PARTS, "adjustment")
LEARNED = "learned"


def signed(asked: Asked) -> Panel:
    """Explain a figure of a month as it was closed."""
    asked, month, currency, part = _named(asked)
    if currency == ALL:
        return _of_all(asked, month, f"Closing MRR as signed, {asked.words}", signed=True)
    before, both = _both(asked, month, currency)
    asked = _in(asked, currency)
    if part in MOVED:
        return _part(asked, month, both.closed, part)
    return _balance(asked, before.closed, both.closed, part)


def restated(asked: Asked) -> Panel:
    """Explain the same figure as it is known now: that is any month's figure, in one currency."""
    asked, month, currency, part = _named(asked)
    if currency == ALL:
        return _of_all(asked, month, f"Closing MRR as known now, {asked.words}", signed=False)
    if part == "adjustment":
        raise Http404("As known now nothing is an adjustment: each entry stands in its own month.")
    one = replace(_in(asked, currency), kind=part)
    if part == "closing":
        return balances.balance(one)
    return balances.opening(one) if part == "opening" else activity.movements(one)


def learned(asked: Asked) -> Panel:
    """Explain by how much the closing differs: what was learned after the close about the month and those before."""
    asked, month, currency, _ = _named(asked)
    if currency == ALL:
        return _difference_of_all(asked, month)
    _, both = _both(asked, month, currency)
    asked = _in(asked, currency)
    chosen = mrr.MovementFilter(
        asked.scope.sources,
        last=monthly.last_day(month),
        currency=currency,
        has_reversed=True,
        learned_after=month,
    )
    found = mrr.movements(chosen, limit=SHOWN_ENTRIES).movements
    total = next(iter(mrr.movement_totals(chosen)), mrr.MovementTotal(currency, 0, 0))
    return _entries(
        asked,
        f"Learned since the close, {asked.words}",
        mrr.BookedPart(found, total.count, total.micros),
        figure_micros=both.learned_micros,
        figure_minor=both.restated.closing_minor - both.closed.closing_minor,
        meaning=MEANINGS[LEARNED],
    )


def _named(asked: Asked) -> tuple[Asked, date, str, str]:
    """Return which month, currency and part are asked for; what is left to ask about is the month."""
    month, _, rest = asked.rest.partition(":")
    currency, _, part = rest.partition(":")
    asked = replace(asked, rest=month)
    part = part or "closing"
    if part not in ("opening", *MOVED, "closing"):
        raise Http404(f"A month has no part '{part}'.")
    return asked, asked.months[0], currency or ALL, part


def _in(asked: Asked, currency: str) -> Asked:
    """Ask the same of one currency alone."""
    scope = replace(asked.scope, currency=currency, is_consolidated=False, rates=None)
    return replace(asked, scope=scope)


def _both(asked: Asked, month: date, currency: str) -> tuple[mrr.BothBases, mrr.BothBases]:
    """Return the month before and the month, both in both bases."""
    found = mrr.both_bases(plus_months(month, -1), month, today=asked.today, sources=asked.scope.sources)
    both = [one for rows in found.values() for one in rows if one.currency == currency]
    if not both:
        raise Http404(f"There is no MRR in the currency '{currency}' by then.")
    return both[0], both[1]


def _part(asked: Asked, month: date, row: mrr.Month, part: str) -> Panel:
    found = mrr.booked_part(month, part, currency=asked.currency, limit=SHOWN_ENTRIES, sources=asked.scope.sources)
    return _entries(
        asked,
        f"{charts.LABELS[part]} as signed, {asked.words}",
        found,
        figure_micros=getattr(row, f"{part}_micros"),
        figure_minor=getattr(row, f"{part}_minor"),
        meaning=MEANINGS[part],
    )


def _entries(
    asked: Asked, name: str, found: mrr.BookedPart, *, figure_micros: int, figure_minor: int, meaning: str
) -> Panel:
    words, holds = sum_line(
        asked,
        counted(found.count, "entry"),
        found.micros,
        figure_micros,
        figure_minor=figure_minor,
        one=found.count == 1,
    )
    more = found.count - len(found.movements)
    return Panel(
        name=name,
        figure=asked.money(figure_minor, signed=True),
        kind=asked.under(f"Activity of {asked.words}"),
        meaning=meaning,
        currency=asked.currency,
        sum_words=words,
        sum_holds=holds,
        entries=tuple(entry_line(asked, row) for row in found.movements),
        entries_note="in the order they took effect",
        entries_more=counted(more, "more entry") if more else "",
        entries_more_micros=found.micros - sum(row.amount_micros for row in found.movements),
        entries_total=f"Sum of {counted(found.count, 'entry')}",
        entries_total_minor=figure_minor,
    )


def _balance(asked: Asked, earlier: mrr.Month, row: mrr.Month, part: str) -> Panel:
    """Explain the opening or the closing as signed: by the closing of the month before, and what was booked."""
    month, before = row.month, earlier.month
    taken = mrr.booked_part(month, "opening", currency=asked.currency, limit=0, sources=asked.scope.sources)
    lines = [
        FormulaLine(
            f"Closing MRR as signed, {formats.month(before, long=True)}",
            asked.money(earlier.closing_minor),
            f"signed:{before:%Y-%m}:{asked.currency}:closing",
        )
    ]
    micros = earlier.closing_micros + taken.micros
    if taken.count:
        gained = asked.money(row.opening_minor - earlier.closing_minor, signed=True)
        lines.append(FormulaLine(f"Taken over, {counted(taken.count, 'entry')}", gained))
    if part == "closing":
        micros += sum(getattr(row, f"{name}_micros") for name in MOVED)
        lines += [
            FormulaLine(
                charts.LABELS[name],
                asked.money(getattr(row, f"{name}_minor"), signed=True),
                f"signed:{month:%Y-%m}:{asked.currency}:{name}",
            )
            for name in MOVED
            if getattr(row, f"{name}_micros")
        ]
    figure = asked.money(getattr(row, f"{part}_minor"))
    words, holds = sum_line(asked, "What it is made of", micros, getattr(row, f"{part}_micros"), one=True)
    label = f"{charts.LABELS[part]} MRR as signed"
    return Panel(
        name=f"{label}, {asked.words}",
        figure=figure,
        kind=asked.under(f"Balance at the {'end' if part == 'closing' else 'start'} of {asked.words}"),
        meaning=MEANINGS["signed"],
        currency=asked.currency,
        sum_words=words,
        sum_holds=holds,
        formula=tuple(lines),
        formula_total=FormulaLine(label, figure),
    )


def _of_all(asked: Asked, month: date, name: str, *, signed: bool) -> Panel:
    """Explain the closing of all currencies by each at the rate of the month's last day."""
    amounts, found = _closings(asked, month)
    figure = shown(found.signed_micros if signed else found.restated_micros)
    return _by_currency(
        asked,
        name,
        {code: pair[0 if signed else 1] for code, pair in amounts.items()},
        month,
        figure_micros=found.signed_micros if signed else found.restated_micros,
        figure=asked.money(figure),
        kind="signed" if signed else "restated",
    )


def _difference_of_all(asked: Asked, month: date) -> Panel:
    amounts, found = _closings(asked, month)
    figure = shown(found.restated_micros) - shown(found.signed_micros)
    lines = tuple(
        FormulaLine(
            f"Learned about {code.upper()}, in its own money",
            formats.money(shown(now) - shown(then), code, signed=True),
            f"{LEARNED}:{month:%Y-%m}:{code}",
            is_muted=True,
        )
        for code, (then, now) in amounts.items()
        if then != now
    )
    return Panel(
        name=f"Learned since the close, {formats.month(month, long=True)}",
        figure=asked.money(figure, signed=True),
        kind=asked.under("Difference of two balances"),
        meaning=MEANINGS[LEARNED],
        currency=found.currency,
        formula=(
            *lines,
            FormulaLine("As known now", asked.money(shown(found.restated_micros)), f"restated:{month:%Y-%m}:{ALL}"),
            FormulaLine("As signed", asked.money(-shown(found.signed_micros)), f"signed:{month:%Y-%m}:{ALL}"),
        ),
        formula_total=FormulaLine("Difference", asked.money(figure, signed=True)),
    )


def _closings(asked: Asked, month: date) -> tuple[dict[str, tuple[int, int]], departures.Closings]:
    both = mrr.both_bases(month, month, today=asked.today, sources=asked.scope.sources)[month]
    amounts = {one.currency: (one.closed.closing_micros, one.restated.closing_micros) for one in both}
    return amounts, departures.closings(month, both, asked.scope.rates)


def _by_currency(
    asked: Asked, name: str, amounts: dict[str, int], month: date, *, figure_micros: int, figure: str, kind: str
) -> Panel:
    day = plus_months(month, 1) - timedelta(days=1)
    parts = mrr.parts_of({code: micros for code, micros in amounts.items() if micros}, day, asked.scope.rates)
    known = [part for part in parts if part.micros is not None]
    words, holds = sum_line(
        asked,
        counted(len(known), "currency"),
        sum(part.micros or 0 for part in known),
        figure_micros,
        one=len(known) == 1,
    )
    minors = mrr.parts_shown(shown(figure_micros), [part.micros or 0 for part in known])
    of = {part.currency: minor for part, minor in zip(known, minors, strict=True)}
    return Panel(
        name=name,
        figure=figure,
        kind=asked.under(f"Balance at {formats.day(day)}"),
        meaning=MEANINGS["signed" if kind == "signed" else "converted"].format(day=formats.day(day), zone=""),
        currency=asked.currency,
        sum_words=words,
        sum_holds=holds,
        formula=tuple(
            FormulaLine(
                _native(part, asked.currency),
                asked.money(of[part.currency]) if part.currency in of else formats.NOT_KNOWN,
                f"{kind}:{month:%Y-%m}:{part.currency}:closing",
            )
            for part in parts
        ),
        formula_title="By currency",
        formula_note=f"at the rates of {formats.day(day)}",
        formula_total=FormulaLine("Closing MRR", figure),
    )


def _native(part: mrr.Part, reporting: str) -> str:
    code = part.currency.upper()
    if part.currency == reporting:
        return code
    native = formats.money(shown(part.native_micros), part.currency)
    return f"{code}, {native} × {rate_words(part.rate)}" if part.rate is not None else f"{code}, {native}, no rate"
