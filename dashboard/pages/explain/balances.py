"""Explains balances: MRR, ARR, CMRR and what a month opened with."""

from __future__ import annotations

from dataclasses import replace

from dashboard import formats
from dashboard.pages import months as monthly
from dashboard.pages.explain.parts import (
    SHOWN_CUSTOMERS,
    Asked,
    FormulaLine,
    Panel,
    month_of,
    months_of,
    people,
    plural,
    shares_panel,
    sum_line,
    total_now,
)
from mrr import selectors as mrr
from mrr.engine.money import shown


def balance(asked: Asked) -> Panel:
    month = month_of(asked)
    shares = mrr.balance_shares(
        asked.last_day, currency=asked.currency, limit=SHOWN_CUSTOMERS, sources=asked.scope.sources
    )
    day = formats.day(asked.last_day)
    return shares_panel(
        asked,
        "MRR" if asked.kind == "mrr" else f"Closing MRR, {asked.words}",
        shares,
        kind=f"Balance at {day}",
        figure_micros=month.closing_micros,
        figure_minor=month.closing_minor,
    )


def arr(asked: Asked) -> Panel:
    found = balance(asked)
    month = month_of(asked)
    figure = asked.money(shown(12 * month.closing_micros))
    return replace(
        found,
        name="ARR",
        figure=figure,
        meaning=asked.meaning("arr"),
        formula=(
            FormulaLine("MRR", asked.money(month.closing_minor), f"mrr:{asked.rest}"),
            FormulaLine("× 12 months", ""),
        ),
        formula_total=FormulaLine("ARR", figure),
        people_title="Customers, with their MRR",
    )


def cmrr(asked: Asked) -> Panel:
    total = total_now(asked)
    shares = mrr.scheduled_shares(currency=asked.currency, limit=SHOWN_CUSTOMERS, sources=asked.scope.sources)
    cmrr = total.cmrr_micros or 0
    words, holds = sum_line(asked, "MRR and what is scheduled", total.mrr_micros + shares.micros, cmrr)
    change = shown(cmrr) - total.mrr_minor
    return Panel(
        name="CMRR",
        figure=asked.money(shown(cmrr)),
        kind=asked.under(f"Balance, as known {formats.day(asked.today)}"),
        meaning=asked.meaning("cmrr"),
        currency=asked.currency,
        sum_words=words,
        sum_holds=holds,
        formula=(
            FormulaLine("MRR", asked.money(total.mrr_minor), f"mrr:{asked.today:%Y-%m}"),
            FormulaLine(
                f"Scheduled, {formats.count(shares.customers)} {plural(shares.customers, 'customer')}",
                asked.money(change, signed=True),
            ),
        ),
        formula_total=FormulaLine("CMRR", asked.money(shown(cmrr))),
        **people(asked, shares, change, title="What is scheduled", signed=True),
    )


def opening(asked: Asked) -> Panel:
    whole = monthly.span(months_of(asked))
    before = months_of(asked, months_before=1)[0]
    entered = mrr.MovementFilter(
        asked.scope.sources, whole.first, asked.last_day, types=("opening",), currency=asked.currency
    )
    total = next(iter(mrr.movement_totals(entered)), mrr.MovementTotal(asked.currency, 0, 0))
    opening = shown(whole.opening_micros)
    words, holds = sum_line(
        asked,
        "What the month before closed with and what was taken over",
        before.closing_micros + total.micros,
        whole.opening_micros,
    )
    rows = [
        FormulaLine(
            f"Closing MRR, {formats.month(before.month, long=True)}",
            asked.money(before.closing_minor),
            f"closing:{before.month:%Y-%m}",
        )
    ]
    if total.count:
        label = f"Taken over, {formats.count(total.count)} {plural(total.count, 'entry', 'entries')}"
        rows.append(FormulaLine(label, asked.money(opening - before.closing_minor, signed=True)))
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
