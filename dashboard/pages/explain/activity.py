"""Explains activity: what moved MRR in a month or a period, by its entries."""

from __future__ import annotations

from dashboard import charts
from dashboard.pages import months as monthly
from dashboard.pages.explain.parts import (
    Asked,
    FormulaLine,
    Panel,
    counted,
    entries_panel,
    entries_total,
    list_url,
    months_of,
    sum_line,
)
from mrr import selectors as mrr


def net(asked: Asked) -> Panel:
    whole = monthly.span(months_of(asked), has_fx=asked.scope.is_consolidated)
    parts = whole.shown
    net = whole.net_minor
    chosen = mrr.MovementFilter(
        asked.scope.sources, whole.first, asked.last_day, types=monthly.PARTS, currency=asked.scope.native
    )
    found = entries_total(asked, chosen)
    words, holds = sum_line(
        asked, counted(found.count, "entry"), found.micros, whole.net_micros, figure_minor=net, one=found.count == 1
    )
    return Panel(
        name=f"Net new MRR, {asked.words}",
        figure=asked.money(net, signed=True),
        kind=asked.under(f"Activity of {asked.words}"),
        meaning=asked.meaning("net"),
        currency=asked.currency,
        sum_words=words,
        sum_holds=holds,
        formula=tuple(
            FormulaLine(charts.LABELS[name], asked.money(parts[name], signed=True), f"{name}:{asked.rest}")
            for name in monthly.PARTS
        ),
        formula_total=FormulaLine("Net new MRR", asked.money(net, signed=True)),
        links=(("All entries", list_url(asked)),),
    )


def movements(asked: Asked) -> Panel:
    whole = monthly.span(months_of(asked), has_fx=asked.scope.is_consolidated)
    chosen = mrr.MovementFilter(
        asked.scope.sources, whole.first, monthly.last_day(whole.last), types=(asked.kind,), currency=asked.scope.native
    )
    return entries_panel(
        asked,
        f"{charts.LABELS[asked.kind]}, {asked.words}",
        chosen,
        figure_micros=whole.parts[asked.kind],
        figure_minor=whole.shown[asked.kind],
    )
