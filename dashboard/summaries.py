"""What the summary of a week or a month says: how MRR moved, the five largest reasons, and what waits for a person.

Figures are those of the pages: movements as known now, all currencies in the reporting one, each at its day's rate.
Customers stand in it by our key alone; who sends it puts their names in, where the rule says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.urls import reverse

from billing import selectors as billing
from crm import selectors as crm
from crm import summaries, summary_words
from crm.channels.email import customer_names
from crm.summary_periods import Period
from dashboard import charts, formats, periods
from dashboard.pages import months as monthly
from dashboard.pages.explain import consolidated
from dashboard.pages.shared import reason, reason_words
from mrr import close
from mrr import selectors as mrr
from mrr.engine.money import shown

REASONS = 5
MOVEMENTS = 3
NEEDS = 3
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Need:
    """One thing that waits for a person: words, how much money it is about (0: none), and the page that holds it."""

    text: str
    minor: int
    url: str


def tell_due(*, now: datetime) -> int:
    """Owe the summaries that have fallen due; returns how many messages. Run by the clock, as often as one likes."""
    owed = 0
    for one in summaries.due(now=now, zone=zone()):
        body = compose(one.rule.kind, one.period, now=now, names_customers=one.rule.names_customers)
        if body is not None:
            owed += summaries.tell(one, body, now=now)
    return owed


def zone() -> ZoneInfo:
    return ZoneInfo(settings.REPORTING_TIME_ZONE)


def compose(
    kind: str, period: Period, *, now: datetime, names_customers: bool, pulse: crm.CrmPulse | None = None
) -> dict[str, Any] | None:
    """Return what a period's summary says, ready to be kept with its message; None while the ledger is empty.

    `pulse` spares reading what waits for people again.
    """
    sources = billing.live_source_pks()
    standing = mrr.standing(sources)
    if not standing.currencies:
        return None
    rates = mrr.exchange({settings.REPORTING_CURRENCY, *(row.currency for row in standing.currencies)})
    chosen = mrr.MovementFilter(sources, period.first, period.last, types=monthly.PARTS)
    all_causes = mrr.causes(replace(chosen, types=("opening", *monthly.PARTS)), rates)
    causes = [cause for cause in all_causes if cause.type != "opening"]
    net = sum(cause.micros for cause in causes)
    currency, when, gaps = rates.reporting, _when(kind, period), mrr.gaps(sources)
    needs = _needs(gaps, pulse or crm.pulse(), now=now, sources=sources, rates=rates)
    listed = mrr.largest_movements(chosen, limit=MOVEMENTS, rates=rates)
    return {
        "kind": kind,
        "first": period.first.isoformat(),
        "last": period.last.isoformat(),
        "title": _title(net, currency, when, causes, needs),
        "lines": [*_moved(period, rates, all_causes, now=now, sources=sources), *_lacks(period, gaps)],
        "reasons_title": "Why it moved",
        "reasons": _reasons(causes, net, currency),
        "movements_title": "The largest movements",
        "movements": [_movement(one, currency, names=names_customers) for one in listed],
        "needs_title": f"{_number(len(needs)).capitalize()} {'needs' if len(needs) == 1 else 'need'} you",
        "needs": [_need(need, currency) for need in needs[:NEEDS]]
        + (
            [[f"{_number(len(needs) - NEEDS)} more on the overview", "", _link("overview")]]
            if len(needs) > NEEDS
            else []
        ),
        "links": _links(kind, period),
        "note": f"As known at {formats.moment(now, zone(), seconds=False)}; days are cut in "
        f"{settings.REPORTING_TIME_ZONE}. Set under Settings, Summaries: {_link('summaries')}",
    }


def rendered(body: Mapping[str, Any]) -> tuple[str, list[tuple[str, list[tuple[str, str, str]]]]]:
    """Return a summary as text and as its lists, with the names that its mail would carry."""
    names = customer_names(summary_words.customers(body))
    return summary_words.text(body, names), summary_words.sections(body, names)


# ---- its parts ----


def _title(net: int, currency: str, when: str, causes: Sequence[mrr.Cause], needs: Sequence[Need]) -> str:
    """Return the one sentence that a phone shows: what moved, for how many reasons, how much waits."""
    waits = f"; {_number(len(needs))} {'needs' if len(needs) == 1 else 'need'} you" if needs else ""
    if not causes:
        return f"MRR did not move {when}{waits}"
    count = min(len(causes), REASONS)
    why = f"{_number(count)} reason{'' if count == 1 else 's'}"
    return f"MRR moved {formats.money(shown(net), currency, signed=True)} {when}; {why}{waits}"


def _moved(
    period: Period, rates: mrr.Conversion, causes: Sequence[mrr.Cause], *, now: datetime, sources: Sequence[int]
) -> list[str]:
    """Return MRR at both ends, and what lies between them beside movements; one line where nothing does."""
    today, currency = now.astimezone(zone()).date(), rates.reporting
    days = (period.first - timedelta(days=1), period.last)
    before, after = mrr.balances_at(days, today=today, rates=rates, sources=sources)
    money = formats.money(after.mrr_minor, currency)
    held = [f"Incomplete: {_listed(after.held)} is left out for want of an exchange rate."] if after.held else []
    if not causes and after.mrr_micros == before.mrr_micros:
        return [f"No MRR began, changed or ended: it is {money}.", *held]
    was, arr = formats.money(before.mrr_minor, currency), formats.money(after.arr_minor, currency)
    lines = [f"MRR is {money} at the end, ARR {arr}; it was {was} before."]
    opened = sum(cause.micros for cause in causes if cause.type == "opening")
    rest = after.mrr_micros - before.mrr_micros - sum(cause.micros for cause in causes)
    if opened:
        lines.append(f"Taken over with its history: {formats.money(shown(opened), currency, signed=True)}.")
    if rest:
        lines.append(f"Exchange rates: {formats.money(shown(rest), currency, signed=True)}.")
    return lines + held


def _listed(codes: Sequence[str]) -> str:
    return " and ".join(code.upper() for code in codes)


def _lacks(period: Period, gaps: Sequence[mrr.Gap]) -> list[str]:
    """Return what the figures lack, and since when they are of live deliveries."""
    words = {
        "unpriced_items": ("item has no price yet", "items have no price yet"),
        "subscriptions_unknown": (
            "subscription is known by invoices alone",
            "subscriptions are known by invoices alone",
        ),
        "events_parked": ("event is parked", "events are parked"),
    }
    lines = [f"Incomplete: {_counted(gap.count, *words[gap.code])}." for gap in gaps if gap.code in words]
    began = billing.first_delivery_at()
    if began is not None and period.first < began.astimezone(zone()).date():
        lines.append(f"What was before {formats.day(began.astimezone(zone()).date())} was read from Stripe's history.")
    return lines


def _reasons(causes: Sequence[mrr.Cause], net: int, currency: str) -> list[list[str]]:
    """Return the largest reasons and the rest as one, rounded so that they come to the net new MRR as shown."""
    first, rest = causes[:REASONS], causes[REASONS:]
    micros = [cause.micros for cause in first] + ([sum(cause.micros for cause in rest)] if rest else [])
    minors = mrr.parts_shown(shown(net), micros)
    names = [
        f"{charts.LABELS[cause.type]}, {reason(cause.reason).lower()}, {_counted(cause.count, 'entry', 'entries')}"
        for cause in first
    ]
    names += [f"{_counted(len(rest), 'more reason', 'more reasons')}"] if rest else []
    return [[name, formats.money(minor, currency, signed=True)] for name, minor in zip(names, minors, strict=True)]


def _movement(one: mrr.Moved, currency: str, *, names: bool) -> dict[str, Any]:
    row = one.movement
    amount = formats.money(row.amount_minor, row.currency, signed=True)
    if row.currency != currency and one.micros is not None:
        amount = f"{formats.money(shown(one.micros), currency, signed=True)} ({amount})"
    day = formats.day(row.effective_at.astimezone(zone()).date(), year=False)
    return {
        "customer": row.customer_pk if names else None,
        "text": f"{charts.LABELS[row.type]}, {reason_words(row).lower()}, {day}",
        "amount": amount,
        "url": _link("customer", row.customer_pk),
    }


def _needs(
    gaps: Sequence[mrr.Gap], pulse: crm.CrmPulse, *, now: datetime, sources: Sequence[int], rates: mrr.Conversion
) -> list[Need]:
    """Return what waits for a person: what stops work first, then the largest money."""
    day = now.astimezone(zone()).date()
    stopped, money, others = [], [], []
    if pulse.error:
        stopped.append(Need("Salesforce does not let us in", 0, _link("sync")))
    parked = sum(gap.count for gap in gaps if gap.code == "events_parked")
    if parked:
        text = f"{_counted(parked, 'Stripe event is', 'Stripe events are')} parked, and in no figure"
        stopped.append(Need(text, 0, f"{_link('events')}?state=parked"))
    unmatched = crm.unmatched_totals(sources=sources)
    if unmatched.customers:
        _, missing = consolidated.matched_and_not(unmatched, day, rates)
        text = f"{_counted(unmatched.customers, 'customer has', 'customers have')} no Account"
        money.append(Need(text, shown(missing), _link("unmatched")))
    high = crm.at_risk(now=now, sources=sources).high
    if high:
        micros = consolidated.converted({code: one.micros for code, one in high.items()}, day, rates)
        count = sum(one.customers for one in high.values())
        text = f"{_counted(count, 'customer is', 'customers are')} at high risk"
        money.append(Need(text, shown(micros), f"{_link('at_risk')}?severity=high"))
    if pulse.parked:
        text = f"{_counted(pulse.parked, 'Salesforce record is', 'Salesforce records are')} parked"
        others.append(Need(text, 0, f"{_link('sync')}?state=parked"))
    first = close.first_open_month(mrr.closed_through())
    if first is not None and first < periods.month_of(day):
        text = f"{formats.month(first, long=True)} is to be closed"
        others.append(Need(text, 0, _link("close_month", f"{first:%Y-%m}")))
    return [*stopped, *sorted(money, key=lambda need: -need.minor), *others]


def _need(need: Need, currency: str) -> list[str]:
    return [need.text, formats.money(need.minor, currency) if need.minor else "", need.url]


def _links(kind: str, period: Period) -> list[list[str]]:
    ends = f"from={period.first:%Y-%m}&to={period.last:%Y-%m}"
    found = [["Movements", f"{_link('movements')}?{ends}"]]
    if kind == "monthly":
        found.append(["Board pack", f"{_link('board')}?month={period.last:%Y-%m}"])
    return [*found, ["Overview", _link("overview")]]


def _link(name: str, *args: object) -> str:
    return f"{settings.BASE_URL}{reverse(f'dashboard:{name}', args=args)}"


def _when(kind: str, period: Period) -> str:
    if kind == "monthly":
        return f"in {formats.month(period.last, long=True)}"
    return f"in the week {formats.days(period.first, period.last)}"


def _counted(number: int, one: str, many: str) -> str:
    return f"{formats.count(number)} {one if number == 1 else many}"


def _number(number: int) -> str:
    """Write a small number as a word: three; a larger one as digits."""
    return NUMBERS[number] if number < len(NUMBERS) else formats.count(number)
