"""What a panel is made of: its lines, the question it answers, and how parts are held against the figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction
from typing import Any, Literal

from django.http import HttpRequest
from django.urls import reverse

from dashboard import formats, periods
from dashboard.pages import months as monthly
from dashboard.pages.shared import Scope, exact_minor, policy_version, reason_words, today, who, zone
from mrr import selectors as mrr
from mrr.engine.money import shown

SHOWN_ENTRIES = 200
SHOWN_CUSTOMERS = 50

MEANINGS = {
    "balance": "The monthly worth of every subscription item that counts at the end of {day}, {zone}. Discounts are "
    "taken off; tax, one-off charges and usage are left out.",
    "arr": "Twelve times MRR at the end of {day}. It is never stored, so it cannot differ from MRR.",
    "cmrr": "MRR now, and every change that is already scheduled, whatever its date: cancellations at the period's end "
    "and dates set to cancel at.",
    "opening": "What the month before closed with, and what was taken over with a history that begins here.",
    "net": "New, expansion and reactivation, less contraction and churn. It is what moved MRR from opening to closing.",
    "new": "First MRR that a customer ever has.",
    "expansion": "MRR that rose while the customer kept paying.",
    "reactivation": "MRR that returned after churn. The customer's cohort stays what it was.",
    "contraction": "MRR that fell while the customer kept paying. Dropping one of two subscriptions is contraction.",
    "churn": "MRR that fell to zero.",
    "fx": "What exchange rates did. Movements are converted at the rate of their day and balances at the rate of the "
    "month's last day; this is the difference, so that opening, movements and FX are the closing.",
    "converted": "Each currency's MRR at the end of {day}, {zone}, at the exchange rate of that day.",
    "constant": "In constant currency: all months at the rates of one day, so that the ratio does not see rates move.",
    "nrr": "What the customers of the start pay at the end, gains included, as a share of what they paid at the "
    "start. Taken from balances, not from movements.",
    "grr": "The same customers, losses only, so at most 100%. Taken from balances, not from movements.",
    "logo": "Customers who paid at the start and pay nothing at the end, as a share of those who paid at the start.",
    "rchurn": "What the customers of the start pay less at the end, churn and contraction, as a share of what they "
    "paid at the start. Taken from balances, not from movements.",
    "gone": "What the customers who stopped to pay had paid at the start, as a share of what all paid at the start.",
    "kept-start": "Who paid when the first month began, and who was taken over in it with a history that begins there.",
    "kept-expansion": "Customers of the start who pay more at the end than at the start.",
    "kept-contraction": "Customers of the start who pay less at the end, but still pay.",
    "kept-churn": "Customers of the start who pay nothing at the end, with what they paid at the start. Who came back "
    "in between is not among them.",
    "left-out": "Taken over with a history that begins within the period: what they paid at its start is not known.",
    "quick": "Gains divided by losses of the month.",
    "arpa": "MRR divided by paying customers.",
    "past_due": "MRR of subscriptions whose last payment is late. They still count until they go unpaid or end.",
    "at_risk": "MRR of paying customers whose risk score is medium or high.",
    "high_risk": "MRR of paying customers whose risk score is high.",
    "matched": "MRR of customers with a Salesforce Account, as a share of all MRR in this currency.",
    "unmatched": "MRR of customers without a Salesforce Account. Their writes are held.",
    "adjustment": "What was learned about months that were closed by then. This month carries it, whatever its type.",
    "signed": "As it was closed: every entry in the month it was booked in. Nothing that is learned later changes it.",
    "learned": "Entries that were true in the month or before it, and were learned after its close. They are booked in "
    "later months; as known now they stand where they belong.",
    "customer": "Every movement of this customer in this currency, in the order it took effect.",
    "entry": "One movement of one customer. Entries are added, never changed; a correction is an entry of its own.",
}


@dataclass(frozen=True)
class PersonLine:
    """One customer behind a figure, with its exact part."""

    who: str
    url: str
    micros: int


@dataclass(frozen=True)
class EntryLine:
    """One entry behind a figure, with the customer's MRR after it where the list is one customer's."""

    effective_at: datetime
    type: str
    reason: str
    micros: int
    who: str
    url: str
    code: str
    after_micros: int | None = None
    is_chosen: bool = False

    @property
    def tone(self) -> str:
        return "gain" if self.micros > 0 else "loss"


@dataclass(frozen=True)
class FormulaLine:
    """One line of a formula: what, how much as text, and the figure it opens: of this page, or by an address."""

    label: str
    value: str
    code: str = ""
    is_muted: bool = False
    url: str = ""


@dataclass(frozen=True)
class Fact:
    label: str
    value: str
    url: str = ""
    is_code: bool = False


@dataclass(frozen=True)
class Panel:
    """What the panel beside a page shows of one figure. `sum_holds` None: there is nothing to add up.

    Lists hold exact amounts, totals are the figure as shown, and whether they add up is checked in micros.
    """

    name: str
    figure: str
    kind: str
    meaning: str
    currency: str
    sum_words: str = ""
    sum_holds: bool | None = None
    people: tuple[PersonLine, ...] = ()
    people_title: str = "Customers"
    people_more: str = ""
    people_more_micros: int = 0
    people_total: str = ""
    people_total_minor: int = 0
    people_signed: bool = False
    entries: tuple[EntryLine, ...] = ()
    entries_note: str = ""
    entries_more: str = ""
    entries_more_micros: int = 0
    entries_total: str = ""
    entries_total_minor: int = 0
    formula: tuple[FormulaLine, ...] = ()
    formula_title: str = "Formula"
    formula_note: str = ""
    formula_total: FormulaLine | None = None
    facts: tuple[Fact, ...] = ()
    facts_title: str = ""
    links: tuple[tuple[str, str], ...] = ()
    crumb: Literal["Figure", "Entry"] = "Figure"
    template: str = "dashboard/_explained.html"


Explain = Callable[["Asked"], Panel]


@dataclass(frozen=True)
class Asked:
    """What is to be explained, for whom, and when."""

    request: HttpRequest
    scope: Scope
    now: datetime
    kind: str
    rest: str

    @property
    def currency(self) -> str:
        return self.scope.currency

    @property
    def today(self) -> date:
        return today(self.now)

    @property
    def months(self) -> tuple[date, date]:
        first, _, last = self.rest.partition("..")
        return periods.month(first), periods.month(last or first)

    @property
    def last_day(self) -> date:
        """The last day of the months asked for, today while they run."""
        return min(monthly.last_day(self.months[1]), self.today)

    @property
    def words(self) -> str:
        first, last = self.months
        return formats.month(first, long=True) if first == last else f"{formats.month(first)} – {formats.month(last)}"

    def rate(self, currency: str, day: date) -> Fraction | None:
        """Return the exchange rate of a day, None where none is known."""
        return self.scope.rates.rates.on(currency, day) if self.scope.rates else None

    def under(self, kind: str) -> str:
        """Return the panel's line under the figure: what kind of figure, at what time, in which currency."""
        return f"{kind} · {self.scope.currency_words} · {zone()} · policy {policy_version(self.request)}"

    def meaning(self, key: str) -> str:
        return MEANINGS[key].format(day=formats.day(self.last_day) if self.rest else "", zone=zone())

    def money(self, minor: int, *, signed: bool = False) -> str:
        return formats.money(minor, self.currency, signed=signed)


def entries_panel(
    asked: Asked, name: str, chosen: mrr.MovementFilter, *, figure_micros: int, figure_minor: int
) -> Panel:
    """Explain a figure by the entries of a filter, and hold their exact sum against the figure's.

    Of all currencies, each entry is converted at its own day's rate; one without a rate is in no figure.
    """
    listed = mrr.movements(chosen, limit=SHOWN_ENTRIES).movements
    amounts: Mapping[str, int | None] = {row.key: row.amount_micros for row in listed}
    if asked.scope.is_consolidated:
        amounts = mrr.converted_movements(listed, asked.scope.rates)
    total = entries_total(asked, chosen)
    words, holds = sum_line(
        asked,
        counted(total.count, "entry"),
        total.micros,
        figure_micros,
        figure_minor=figure_minor,
        one=total.count == 1,
    )
    more = total.count - len(listed)
    return Panel(
        name=name,
        figure=asked.money(figure_minor, signed=True),
        kind=asked.under(f"Activity of {asked.words}"),
        meaning=asked.meaning(asked.kind),
        currency=asked.currency,
        sum_words=words,
        sum_holds=holds,
        entries=tuple(entry_line(asked, row, converted=amounts[row.key]) for row in listed),
        entries_note="in the order they took effect",
        entries_more=f"{counted(more, 'more entry')}" if more else "",
        entries_more_micros=total.micros - sum(amounts[row.key] or 0 for row in listed),
        entries_total=f"Sum of {counted(total.count, 'entry')}",
        entries_total_minor=figure_minor,
        links=(("Open as a list", list_url(asked)),),
    )


def entries_total(asked: Asked, chosen: mrr.MovementFilter) -> mrr.MovementTotal:
    """Return what the entries of a filter come to in the currency of the figures, added up from the ledger itself."""
    if asked.scope.is_consolidated:
        total = mrr.converted_total(chosen, asked.scope.rates)
        return mrr.MovementTotal(asked.currency, total.count, total.micros)
    return next(iter(mrr.movement_totals(chosen)), mrr.MovementTotal(asked.currency, 0, 0))


def shares_panel(
    asked: Asked, name: str, shares: mrr.Shares, *, kind: str, figure_micros: int, figure_minor: int
) -> Panel:
    """Explain a balance by the customers who make it up, counted from their entries."""
    words, holds = sum_line(
        asked,
        f"{counted(shares.entries, 'entry')} of {counted(shares.customers, 'customer')}",
        shares.micros,
        figure_micros,
        one=shares.entries == 1,
    )
    return Panel(
        name=name,
        figure=asked.money(figure_minor),
        kind=asked.under(kind),
        meaning=asked.meaning("balance"),
        currency=asked.currency,
        sum_words=words,
        sum_holds=holds,
        **people(asked, shares, figure_minor),
    )


def sum_line(
    asked: Asked, what: str, micros: int, figure_micros: int, *, figure_minor: int | None = None, one: bool = False
) -> tuple[str, bool]:
    """Say that parts add up to the figure, exactly, or by how much they do not. Checked in micros.

    `figure_minor` is the figure as shown, which in a row of movements may be a cent off its own rounding; `one` says
    that there is a single part.
    """
    verb = "adds up" if one else "add up"
    difference = exact_minor(micros - figure_micros)
    if not difference:
        figure = shown(figure_micros) if figure_minor is None else figure_minor
        return f"{what} {verb} to {asked.money(figure)}, exactly", True
    side = "more" if difference > 0 else "less"
    by = f"{asked.money(abs(difference))} {side} than shown"
    return f"{what} {verb} to {asked.money(shown(micros))}, {by}. Tell finance; do not sign this month.", False


def entry_line(
    asked: Asked, row: mrr.Movement, *, chosen: str = "", with_balance: bool = False, converted: int | None = None
) -> EntryLine:
    """Return an entry as a line; in another currency than the figures' it says what it is there, and its rate."""
    reason, micros = reason_words(row), row.amount_micros
    if row.currency != asked.currency and not with_balance:
        rate = asked.rate(row.currency, row.effective_at.astimezone(zone()).date())
        native = formats.money(row.amount_minor, row.currency, signed=True)
        reason = f"{reason}, {native} × {rate_words(rate)}" if rate is not None else f"{reason}, {native}, no rate"
        micros = converted or 0
    return EntryLine(
        row.effective_at,
        row.type,
        reason,
        micros,
        who(asked.request, name=row.customer_name, email=row.customer_email, stripe_id=row.customer_id),
        reverse("dashboard:customer", args=[row.customer_pk]),
        f"entry:{row.key}",
        row.after_micros if with_balance else None,
        row.key == chosen,
    )


def rate_words(rate: Fraction) -> str:
    """Write an exchange rate with as many of six decimals as it needs, at least four: 1.1137. Inside it is exact."""
    text = formats.multiple(rate, places=6)
    return text[:-2] + text[-2:].rstrip("0")


def plural(number: int, one: str, many: str = "") -> str:
    if number == 1:
        return one
    return many or (f"{one[:-1]}ies" if one.endswith("y") else f"{one}s")


def counted(number: int, one: str) -> str:
    """Write a count with its noun: 1 entry, 1,286 customers."""
    return f"{formats.count(number)} {plural(number, one)}"


def people(
    asked: Asked, shares: mrr.Shares, figure_minor: int, *, title: str = "Customers", signed: bool = False
) -> dict[str, Any]:
    return {
        "people": tuple(
            PersonLine(
                who(asked.request, name=share.name, email=share.email, stripe_id=share.customer_id),
                reverse("dashboard:customer", args=[share.customer_pk]),
                share.micros,
            )
            for share in shares.largest
        ),
        "people_title": title,
        "people_more": f"{formats.count(shares.others)} more {plural(shares.others, 'customer')}"
        if shares.others
        else "",
        "people_more_micros": shares.others_micros,
        "people_total": f"Total, {formats.count(shares.parts)} {plural(shares.parts, 'customer')}",
        "people_total_minor": figure_minor,
        "people_signed": signed,
    }


def months_of(asked: Asked, *, view: mrr.View = mrr.View.EVENT, months_before: int = 0) -> Sequence[mrr.Month]:
    first, last = asked.months
    return mrr.series(
        periods.plus_months(first, -months_before),
        last,
        today=asked.today,
        currency=asked.scope.native,
        view=view,
        sources=asked.scope.sources,
        rates=asked.scope.rates,
    ).months


def month_of(asked: Asked) -> mrr.Month:
    return months_of(asked)[-1]


def total_now(asked: Asked) -> mrr.CurrencyMrr:
    total = mrr.mrr_at(asked.today, today=asked.today, sources=asked.scope.sources)
    return next(
        (row for row in total.currencies if row.currency == asked.currency), mrr.CurrencyMrr(asked.currency, 0, 0, 0)
    )


def list_url(asked: Asked) -> str:
    query = asked.request.GET.copy()
    for name in ("explain", "period", "after", "before"):
        query.pop(name, None)
    first, last = asked.months
    query["from"], query["to"] = f"{first:%Y-%m}", f"{last:%Y-%m}"
    if asked.kind in monthly.PARTS:
        query["type"] = asked.kind
    return f"{reverse('dashboard:movements')}?{query.urlencode()}#entries"
