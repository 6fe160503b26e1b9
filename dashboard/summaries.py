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

import structlog
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

log = structlog.get_logger(__name__)
REASONS = 5
MOVEMENTS = 3
NEEDS = 3
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Moved:
    """How MRR moved in a period, in micros of one currency; `causes` are its movements by type and reason.

    `taken_over` came with a history that begins in the period, and belongs to the opening as on the pages.
    """

    currency: str
    before: int
    taken_over: int
    causes: tuple[mrr.Cause, ...]
    after: int
    held: tuple[str, ...]

    @property
    def fx(self) -> int:
        """What exchange rates did: what is left between both ends."""
        return self.after - self.before - self.taken_over - sum(cause.micros for cause in self.causes)

    @property
    def shown(self) -> dict[str, int]:
        """Return minor units of each type and of FX, rounded as a row of the pages: they come to the difference."""
        parts = {kind: sum(one.micros for one in self.causes if one.type == kind) for kind in monthly.PARTS}
        micros = [*parts.values(), self.fx]
        minors = mrr.parts_shown(shown(self.after) - shown(self.before + self.taken_over), micros)
        return dict(zip((*parts, "fx"), minors, strict=True))

    @property
    def net_minor(self) -> int:
        rounded = self.shown
        return sum(rounded[kind] for kind in monthly.PARTS)

    @property
    def cause_minors(self) -> list[int]:
        """Return each cause in minor units, rounded so that those of a type come to its figure."""
        rounded, found = self.shown, dict[tuple[str, str], int]()
        for kind in monthly.PARTS:
            own = [one for one in self.causes if one.type == kind]
            minors = mrr.parts_shown(rounded[kind], [one.micros for one in own])
            found |= {(one.type, one.reason): minor for one, minor in zip(own, minors, strict=True)}
        return [found[one.type, one.reason] for one in self.causes]


@dataclass(frozen=True)
class Need:
    """One thing that waits for a person: words, how much money it is about (0: none), and the page that holds it."""

    text: str
    minor: int
    url: str


def tell_due(*, now: datetime) -> int:
    """Owe the summaries that have fallen due; returns how many messages. Run by the clock, as often as one likes.

    One that cannot be written holds back no other; what went wrong is raised in the end, for the job to show.
    """
    owed, wrong = 0, None
    for one in summaries.due(now=now, zone=zone()):
        try:
            body = compose(one.rule.kind, one.period, now=now, names_customers=one.rule.names_customers)
        except Exception as error:
            log.exception("summary_not_written", kind=one.rule.kind)
            wrong = error
            continue
        if body is not None:
            owed += summaries.tell(one, body, now=now)
    if wrong is not None and not owed:
        raise wrong
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
    moved = _moved(period, chosen, rates, now=now)
    currency, gaps = rates.reporting, mrr.gaps(sources)
    needs = _needs(gaps, pulse or crm.pulse(), now=now, sources=sources, rates=rates)
    listed = mrr.largest_movements(chosen, limit=MOVEMENTS, rates=rates)
    return {
        "kind": kind,
        "first": period.first.isoformat(),
        "last": period.last.isoformat(),
        "title": _title(moved, _when(kind, period), needs),
        "lines": [*_ends(moved), *_lacks(period, gaps)],
        "reasons_title": "Why it moved",
        "reasons": _reasons(moved),
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


def _title(moved: Moved, when: str, needs: Sequence[Need]) -> str:
    """Return the one sentence that a phone shows: what moved, for how many reasons, how much waits."""
    waits = f"; {_number(len(needs))} {'needs' if len(needs) == 1 else 'need'} you" if needs else ""
    if not moved.causes:
        return f"MRR did not move {when}{waits}"
    count = min(len(moved.causes), REASONS)
    why = f"{_number(count)} reason{'' if count == 1 else 's'}"
    return f"MRR moved {formats.money(moved.net_minor, moved.currency, signed=True)} {when}; {why}{waits}"


def _moved(period: Period, chosen: mrr.MovementFilter, rates: mrr.Conversion, *, now: datetime) -> Moved:
    """Read how MRR moved: what it was at both ends, and the movements between them."""
    days = (period.first - timedelta(days=1), period.last)
    today = now.astimezone(zone()).date()
    before, after = mrr.balances_at(days, today=today, rates=rates, sources=chosen.sources)
    causes = mrr.causes(replace(chosen, types=("opening", *monthly.PARTS)), rates)
    return Moved(
        rates.reporting,
        before.mrr_micros,
        sum(cause.micros for cause in causes if cause.type == "opening"),
        tuple(cause for cause in causes if cause.type != "opening"),
        after.mrr_micros,
        after.held,
    )


def _ends(moved: Moved) -> list[str]:
    """Return MRR at both ends, and what lies between them beside movements; one line where nothing does."""

    def money(micros: int) -> str:
        return formats.money(shown(micros), moved.currency)

    held = [f"Incomplete: {_listed(moved.held)} is left out for want of an exchange rate."] if moved.held else []
    if not moved.causes and moved.after == moved.before:
        return [f"No MRR began, changed or ended: it is {money(moved.after)}.", *held]
    lines = [
        f"MRR is {money(moved.after)} at the end, ARR {money(12 * moved.after)}; it was {money(moved.before)} before."
    ]
    if moved.taken_over:
        minor = shown(moved.before + moved.taken_over) - shown(moved.before)
        lines.append(f"Taken over with its history: {formats.money(minor, moved.currency, signed=True)}.")
    if moved.fx:
        lines.append(f"Exchange rates: {formats.money(moved.shown['fx'], moved.currency, signed=True)}.")
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


def _reasons(moved: Moved) -> list[list[str]]:
    """Return the largest reasons and the rest as one: they come to the net new MRR as shown."""
    minors, rest = moved.cause_minors[:REASONS], len(moved.causes) - REASONS
    names = [
        f"{charts.LABELS[cause.type]}, {reason(cause.reason).lower()}, {_counted(cause.count, 'entry', 'entries')}"
        for cause in moved.causes[:REASONS]
    ]
    if rest > 0:
        names.append(_counted(rest, "more reason", "more reasons"))
        minors = [*minors, moved.net_minor - sum(minors)]
    return [
        [name, formats.money(minor, moved.currency, signed=True)] for name, minor in zip(names, minors, strict=True)
    ]


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
