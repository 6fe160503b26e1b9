"""Explains what movements of one type came to for one reason: `cause:2026-03:expansion:quantity`."""

from __future__ import annotations

from dataclasses import replace

from django.http import Http404

from dashboard import charts
from dashboard.pages import months as monthly
from dashboard.pages.explain.parts import Asked, Panel, entries_panel
from dashboard.pages.shared import reason
from mrr import selectors as mrr


def cause(asked: Asked) -> Panel:
    """Explain a reason's part of a month by its entries; the month's reasons of a type come to that type's figure."""
    months, _, choice = asked.rest.partition(":")
    kind, _, why = choice.partition(":")
    if kind not in monthly.PARTS:
        raise Http404(f"There is no figure 'cause:{asked.rest}'.")
    asked = replace(asked, kind=kind, rest=months)
    first, last = asked.months
    chosen = mrr.MovementFilter(
        asked.scope.sources,
        first,
        monthly.last_day(last),
        types=(kind,),
        reasons=(why,),
        currency=asked.scope.native,
    )
    found = mrr.series(
        first,
        last,
        today=asked.today,
        currency=asked.scope.native,
        sources=asked.scope.sources,
        rates=asked.scope.rates,
    ).months
    shown = monthly.caused(
        found, mrr.causes(replace(chosen, reasons=()), asked.scope.rates), has_fx=asked.scope.is_consolidated
    )
    one = next((cause for cause in shown if cause.reason == why), None)
    if one is None:
        raise Http404(f"Nothing moved for this reason in {asked.words}.")
    name = f"{charts.LABELS[kind]}, {reason(why).lower()}, {asked.words}"
    return entries_panel(asked, name, chosen, figure_micros=one.micros, figure_minor=one.minor)
