"""Explains figures that are the sum of a list of customers: past due, at risk, unmatched; and the matched share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from django.urls import reverse

from crm import selectors as crm
from dashboard import formats
from dashboard.pages.explain.parts import (
    SHOWN_CUSTOMERS,
    Asked,
    FormulaLine,
    Panel,
    PersonLine,
    counted,
    plural,
    sum_line,
)
from dashboard.pages.shared import who
from mrr.engine.money import shown

Listed = tuple[Sequence[crm.Member], int, str, str]  # who, the figure in micros, its name, the page of the list


def of_list(asked: Asked) -> Panel:
    """Explain a figure that is the sum of a list: past due, at risk, unmatched."""
    members, figure_micros, name, url = LISTS[asked.kind](asked)
    total = sum(member.micros for member in members)
    what = counted(len(members), "customer")
    words, holds = sum_line(asked, what, total, figure_micros, one=len(members) == 1)
    listed = members[:SHOWN_CUSTOMERS]
    others = len(members) - len(listed)
    return Panel(
        name=name,
        figure=asked.money(shown(figure_micros)),
        kind=asked.under(f"Balance, {formats.day(asked.today)}"),
        meaning=asked.meaning(asked.kind),
        currency=asked.currency,
        sum_words=words,
        sum_holds=holds,
        people=tuple(
            PersonLine(
                who(asked.request, name=member.name, email="", stripe_id=member.customer_id),
                reverse("dashboard:customer", args=[member.customer_pk]),
                member.micros,
            )
            for member in listed
        ),
        people_more=f"{formats.count(others)} more {plural(others, 'customer')}" if others else "",
        people_more_micros=total - sum(member.micros for member in listed),
        people_total=f"Total, {what}",
        people_total_minor=shown(figure_micros),
        links=(("Open the list", reverse(url)),),
    )


def _risk_list(asked: Asked, severities: tuple[str, ...], amounts: str, name: str) -> Listed:
    totals = crm.at_risk(now=asked.now, sources=asked.scope.sources)
    found: crm.RiskAmount = getattr(totals, amounts).get(asked.currency, crm.RiskAmount())
    members = crm.risk_members(asked.currency, severities=severities, sources=asked.scope.sources)
    return members, found.micros, name, "dashboard:at_risk"


def _past_due(asked: Asked) -> Listed:
    return _risk_list(asked, (), "past_due", "Past due MRR")


def _at_risk(asked: Asked) -> Listed:
    return _risk_list(asked, ("medium", "high"), "at_risk", "MRR at risk")


def _high_risk(asked: Asked) -> Listed:
    return _risk_list(asked, ("high",), "high", "MRR at high risk")


def _unmatched(asked: Asked) -> Listed:
    totals = crm.unmatched_totals(sources=asked.scope.sources)
    found = totals.currencies.get(asked.currency, crm.MatchedMrr())
    members = crm.unmatched_members(asked.currency, sources=asked.scope.sources)
    return members, found.unmatched_micros, "Unmatched MRR", "dashboard:unmatched"


def matched(asked: Asked) -> Panel:
    """Explain the matched share: what is matched, what is not, and that both are all MRR."""
    totals = crm.unmatched_totals(sources=asked.scope.sources)
    found = totals.currencies.get(asked.currency, crm.MatchedMrr())
    mrr_now = asked.scope.standing.of(asked.currency)
    words, holds = sum_line(
        asked, "Matched and unmatched MRR", found.matched_micros + found.unmatched_micros, mrr_now.mrr_micros
    )
    share = formats.ratio(totals.share(asked.currency), places=2)
    customers = found.matched_customers, found.unmatched_customers
    return Panel(
        name="Matched share",
        figure=share,
        kind=asked.under(f"Balance, {formats.day(asked.today)}"),
        meaning=asked.meaning("matched"),
        currency=asked.currency,
        sum_words=words,
        sum_holds=holds,
        formula=(
            FormulaLine(
                f"Matched, {formats.count(customers[0])} {plural(customers[0], 'customer')}",
                asked.money(shown(found.matched_micros)),
            ),
            FormulaLine(
                f"Unmatched, {formats.count(customers[1])} {plural(customers[1], 'customer')}",
                asked.money(shown(found.unmatched_micros)),
                "unmatched",
            ),
            FormulaLine("MRR", asked.money(mrr_now.mrr_minor), f"mrr:{asked.today:%Y-%m}"),
        ),
        formula_total=FormulaLine("Matched ÷ MRR", share),
        links=(("Open the workbench", reverse("dashboard:unmatched")),),
    )


LISTS: dict[str, Callable[[Asked], Listed]] = {
    "past_due": _past_due,
    "at_risk": _at_risk,
    "high_risk": _high_risk,
    "unmatched": _unmatched,
}
