"""Explains retention of a period of one, three or twelve months: its formula, and the customers behind each part."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from django.http import Http404

from dashboard import formats, losses, periods
from dashboard.pages.explain.parts import (
    SHOWN_CUSTOMERS,
    Asked,
    FormulaLine,
    Panel,
    counted,
    people,
    sum_line,
)
from dashboard.pages.shared import sees_people
from mrr import selectors as mrr
from mrr.engine.money import shown

PARTS = {
    "kept-start": mrr.KeptPart.START,
    "kept-expansion": mrr.KeptPart.EXPANSION,
    "kept-contraction": mrr.KeptPart.CONTRACTION,
    "kept-churn": mrr.KeptPart.CHURN,
}
_NAMES = {
    mrr.KeptPart.START: "Paid at the start",
    mrr.KeptPart.EXPANSION: "Expansion, netted",
    mrr.KeptPart.CONTRACTION: "Contraction, netted",
    mrr.KeptPart.CHURN: "Churn, netted",
}


def ratio(asked: Asked) -> Panel:
    """Explain a ratio by its formula, every line of which opens."""
    found = period_of(asked)
    name, value, rows, total = RATIOS[asked.kind](asked, found)
    return Panel(
        name=f"{name}, {asked.words}",
        figure=value,
        kind=asked.under(f"Balances at both ends of {asked.words}"),
        meaning=_meaning(asked),
        currency=asked.currency,
        formula=tuple(rows),
        formula_note=_note(asked),
        formula_total=FormulaLine(total if found.kept.start else "nobody paid at the start", value),
    )


def part(asked: Asked) -> Panel:
    """Explain a part of a period by its customers, counted from their entries."""
    found, one = period_of(asked), PARTS[asked.kind]
    shares = mrr.compared_shares(
        _span(asked),
        found.month,
        one,
        currency=asked.scope.native,
        limit=SHOWN_CUSTOMERS,
        sources=asked.scope.sources,
        rates=asked.scope.rates,
    )
    is_start = one is mrr.KeptPart.START
    minor = found.minor[one.value]
    words, holds = sum_line(
        asked,
        f"{counted(shares.entries, 'entry')} of {counted(shares.customers, 'customer')}",
        shares.micros,
        getattr(found.kept, one.value),
        figure_minor=minor,
        one=shares.entries == 1,
    )
    return Panel(
        name=f"{_NAMES[one]}, {asked.words}",
        figure=asked.money(minor, signed=not is_start),
        kind=asked.under(
            f"Balance at the start of {formats.day(found.first)}" if is_start else f"Balances compared, {asked.words}"
        ),
        meaning=_meaning(asked),
        currency=asked.currency,
        sum_words=words,
        sum_holds=holds,
        **people(asked, shares, minor, signed=not is_start),
    )


def lost(asked: Asked) -> Panel:
    """Explain what a period lost for one reason, plan, tenure or owner, by the customers."""
    months, _, choice = asked.rest.partition(":")
    by, _, key = choice.partition(":")
    asked = replace(asked, rest=months)
    found = period_of(asked)
    if by not in losses.BY:
        raise Http404(f"There is no figure 'lost:{months}:{choice}'.")
    scope = asked.scope
    rows = mrr.lost(_span(asked), found.month, currency=scope.native, sources=scope.sources, rates=scope.rates)
    grouped = losses.grouped(
        rows,
        losses.By(by),
        churn_minor=found.minor["churn"],
        sources=scope.sources,
        sees_people=sees_people(asked.request),
    )
    group = next((one for one in grouped.groups if one.key == key), None)
    if group is None:
        raise Http404(f"Nobody was lost this way in {asked.words}.")
    entries, micros = mrr.recounted(group.rows, found.first, currency=scope.native, rates=scope.rates)
    words, holds = sum_line(
        asked,
        f"{counted(entries, 'entry')} of {counted(len(group.rows), 'customer')}",
        micros,
        group.micros,
        figure_minor=group.minor,
        one=entries == 1,
    )
    shares = mrr.named_lost(group.rows, limit=SHOWN_CUSTOMERS)
    return Panel(
        name=f"Churn, {losses.BY[grouped.by].lower()} {group.label}, {asked.words}",
        figure=asked.money(group.minor, signed=True),
        kind=asked.under(f"Balances compared, {asked.words}"),
        meaning=" ".join((asked.meaning("kept-churn"), losses.MEANINGS[grouped.by])),
        currency=asked.currency,
        sum_words=words,
        sum_holds=holds,
        **people(asked, shares, group.minor, signed=True),
    )


def period_of(asked: Asked) -> mrr.KeptPeriod:
    """Return the period that a code names; raises Http404 for months that are no period."""
    last = asked.months[1]
    return mrr.retention(
        _span(asked),
        last,
        last,
        today=asked.today,
        currency=asked.scope.native,
        sources=asked.scope.sources,
        rates=asked.scope.rates,
    ).periods[0]


def _span(asked: Asked) -> int:
    span = periods.months_between(*asked.months) + 1
    if span not in mrr.SPANS:
        raise Http404("Retention is of one month, of three or of twelve.")
    return span


def _meaning(asked: Asked) -> str:
    words = asked.meaning(asked.kind)
    return f"{words} {asked.meaning('constant')}" if asked.scope.is_consolidated else words


def _note(asked: Asked) -> str:
    rates = asked.scope.rates
    return f"at the rates of {formats.day(rates.pinned_on)}" if rates else "from balances at both ends"


def _line(asked: Asked, found: mrr.KeptPeriod, one: mrr.KeptPart) -> FormulaLine:
    minor = found.minor[one.value]
    return FormulaLine(
        _NAMES[one], asked.money(minor, signed=one is not mrr.KeptPart.START), f"kept-{one.value}:{asked.rest}"
    )


Formula = tuple[str, str, list[FormulaLine], str]


def _nrr(asked: Asked, found: mrr.KeptPeriod) -> Formula:
    rows = [_line(asked, found, one) for one in mrr.KeptPart]
    rows += [FormulaLine("What they pay at the end", asked.money(found.minor["end"])), *_left_out(asked, found)]
    return "NRR", formats.ratio(found.kept.nrr), rows, "End ÷ start"


def _grr(asked: Asked, found: mrr.KeptPeriod) -> Formula:
    rows = [_line(asked, found, one) for one in mrr.KeptPart if one is not mrr.KeptPart.EXPANSION]
    left = found.minor["start"] + found.minor["contraction"] + found.minor["churn"]
    rows += [FormulaLine("What is left of it", asked.money(left)), *_left_out(asked, found)]
    return "GRR", formats.ratio(found.kept.grr), rows, "Left ÷ start"


def _logo(asked: Asked, found: mrr.KeptPeriod) -> Formula:
    rows = [
        FormulaLine("Customers who stopped to pay", formats.count(found.kept.churned), f"kept-churn:{asked.rest}"),
        FormulaLine("Customers at the start", formats.count(found.kept.customers), f"kept-start:{asked.rest}"),
    ]
    return "Logo churn", formats.ratio(found.kept.logo_churn, places=2), rows, "Stopped ÷ start"


def _rchurn(asked: Asked, found: mrr.KeptPeriod) -> Formula:
    return _lost_share(
        asked, found, "Revenue churn", found.kept.revenue_churn, (mrr.KeptPart.CONTRACTION, mrr.KeptPart.CHURN)
    )


def _gone(asked: Asked, found: mrr.KeptPeriod) -> Formula:
    return _lost_share(asked, found, "Churn alone", found.kept.churn_alone, (mrr.KeptPart.CHURN,))


def _lost_share(
    asked: Asked, found: mrr.KeptPeriod, name: str, value: Fraction | None, parts: tuple[mrr.KeptPart, ...]
) -> Formula:
    rows = [_line(asked, found, one) for one in (*parts, mrr.KeptPart.START)]
    return name, formats.ratio(value, places=2), rows, "Lost ÷ start"


def _left_out(asked: Asked, found: mrr.KeptPeriod) -> list[FormulaLine]:
    """Say what is in neither end, because its history begins within the period."""
    if not found.left_out_micros:
        return []
    return [FormulaLine("Taken over since, left out", asked.money(shown(found.left_out_micros)), is_muted=True)]


RATIOS = {"nrr": _nrr, "grr": _grr, "logo": _logo, "rchurn": _rchurn, "gone": _gone}
