"""Opens a figure: the customers, entries or formula behind it, and whether they add up to it exactly.

A figure's code says what it is: `closing:2026-03`, `new:2026-01..2026-03`, `nrr:2026-03`, `cus:17:usd`, `entry:mle_…`.
What the code leaves out (currency, source) stands in the address, so an opened figure can be sent as a link.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Literal

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from billing import selectors as billing
from crm import selectors as crm
from dashboard import charts, formats, periods
from dashboard.pages import months as monthly
from dashboard.pages.shared import Scope, exact_minor, reason_words, sees_people, today, who, zone
from mrr import explain as formulas
from mrr import selectors as mrr
from mrr.engine.money import shown
from mrr.engine.policy import DEFAULT

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
    "nrr": "What the customers of the month's start pay at its end, gains included, as a share of what they paid at "
    "its start. Taken from balances, not from movements.",
    "grr": "The same customers, losses only, so at most 100%. Taken from balances, not from movements.",
    "logo": "Customers who paid at the month's start and pay nothing at its end, as a share of those who paid at "
    "its start.",
    "quick": "Gains divided by losses of the month.",
    "arpa": "MRR divided by paying customers.",
    "past_due": "MRR of subscriptions whose last payment is late. They still count until they go unpaid or end.",
    "at_risk": "MRR of paying customers whose risk score is medium or high.",
    "high_risk": "MRR of paying customers whose risk score is high.",
    "matched": "MRR of customers with a Salesforce Account, as a share of all MRR in this currency.",
    "unmatched": "MRR of customers without a Salesforce Account. Their writes are held.",
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
    """One line of a formula: what, how much as text, and the figure it opens."""

    label: str
    value: str
    code: str = ""
    is_muted: bool = False


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
Listed = tuple[Sequence[crm.Member], int, str, str]  # who, the figure in micros, its name, the page of the list


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

    def under(self, kind: str) -> str:
        """Return the panel's line under the figure: what kind of figure, at what time, in which currency."""
        return f"{kind} · {self.currency.upper()} · {zone()} · policy {DEFAULT.version}"

    def meaning(self, key: str) -> str:
        return MEANINGS[key].format(day=formats.day(self.last_day) if self.rest else "", zone=zone())

    def money(self, minor: int, *, signed: bool = False) -> str:
        return formats.money(minor, self.currency, signed=signed)


def panel(request: HttpRequest, scope: Scope, *, now: datetime) -> Panel | None:
    """Return the panel of the figure that `?explain=` names, None when no figure is asked for.

    Raises Http404 for a code that names no figure, BadRequest for a month that is none.
    """
    code = request.GET.get("explain", "")
    if not code:
        return None
    kind, _, rest = code.partition(":")
    found = _EXPLAIN.get(kind)
    if found is None:
        raise Http404(f"There is no figure '{code}'.")
    return found(Asked(request, scope, now, kind, rest))


def is_alone(request: HttpRequest) -> bool:
    """Say whether only the panel is asked for, because the page around it is there already."""
    return request.headers.get("HX-Target") == "explain"


def alone(request: HttpRequest, found: Panel, *, now: datetime) -> HttpResponse:
    return render(request, found.template, {"panel": found, "now": now})


def entries_panel(
    asked: Asked, name: str, chosen: mrr.MovementFilter, *, figure_micros: int, figure_minor: int
) -> Panel:
    """Explain a figure by the entries of a filter, and hold their exact sum against the figure's."""
    listed = mrr.movements(chosen, limit=SHOWN_ENTRIES).movements
    total = next(iter(mrr.movement_totals(chosen)), mrr.MovementTotal(asked.currency, 0, 0))
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
        entries=tuple(entry_line(asked, row) for row in listed),
        entries_note="in the order they took effect",
        entries_more=f"{counted(more, 'more entry')}" if more else "",
        entries_more_micros=total.micros - sum(row.amount_micros for row in listed),
        entries_total=f"Sum of {counted(total.count, 'entry')}",
        entries_total_minor=figure_minor,
        links=(("Open as a list", _list_url(asked)),),
    )


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
        **_people(asked, shares, figure_minor),
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


def entry_line(asked: Asked, row: mrr.Movement, *, chosen: str = "", with_balance: bool = False) -> EntryLine:
    return EntryLine(
        row.effective_at,
        row.type,
        reason_words(row),
        row.amount_micros,
        who(asked.request, name=row.customer_name, email=row.customer_email, stripe_id=row.customer_id),
        reverse("dashboard:customer", args=[row.customer_pk]),
        f"entry:{row.key}",
        row.after_micros if with_balance else None,
        row.key == chosen,
    )


def plural(number: int, one: str, many: str = "") -> str:
    if number == 1:
        return one
    return many or (f"{one[:-1]}ies" if one.endswith("y") else f"{one}s")


def counted(number: int, one: str) -> str:
    """Write a count with its noun: 1 entry, 1,286 customers."""
    return f"{formats.count(number)} {plural(number, one)}"


# ---- balances ----


def _balance(asked: Asked) -> Panel:
    month = _month(asked)
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


def _arr(asked: Asked) -> Panel:
    found = _balance(asked)
    month = _month(asked)
    arr = asked.money(shown(12 * month.closing_micros))
    return replace(
        found,
        name="ARR",
        figure=arr,
        meaning=asked.meaning("arr"),
        formula=(
            FormulaLine("MRR", asked.money(month.closing_minor), f"mrr:{asked.rest}"),
            FormulaLine("× 12 months", ""),
        ),
        formula_total=FormulaLine("ARR", arr),
        people_title="Customers, with their MRR",
    )


def _cmrr(asked: Asked) -> Panel:
    total = _now(asked)
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
        **_people(asked, shares, change, title="What is scheduled", signed=True),
    )


def _opening(asked: Asked) -> Panel:
    whole = monthly.span(_months(asked))
    before = _months(asked, months_before=1)[0]
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


def _net(asked: Asked) -> Panel:
    whole = monthly.span(_months(asked))
    parts = whole.shown
    found = monthly.recount(whole, asked.currency, sources=asked.scope.sources)
    net = parts["closing"] - parts["opening"]
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
        links=(("All entries", _list_url(asked)),),
    )


# ---- movements ----


def _movements(asked: Asked) -> Panel:
    whole = monthly.span(_months(asked))
    chosen = mrr.MovementFilter(
        asked.scope.sources, whole.first, monthly.last_day(whole.last), types=(asked.kind,), currency=asked.currency
    )
    return entries_panel(
        asked,
        f"{charts.LABELS[asked.kind]}, {asked.words}",
        chosen,
        figure_micros=whole.parts[asked.kind],
        figure_minor=whole.shown[asked.kind],
    )


def _entry(asked: Asked) -> Panel:
    found = mrr.movement(asked.rest)
    if found is None:
        raise Http404(f"There is no entry '{asked.rest}'.")
    return _of_customer(asked, found.customer_pk, found.currency, chosen=found)


def _customer(asked: Asked) -> Panel:
    pk, _, currency = asked.rest.partition(":")
    if not pk.isdigit() or not currency:
        raise Http404("A customer's figure is named by its key and a currency.")
    return _of_customer(asked, int(pk), currency)


def _of_customer(asked: Asked, customer_pk: int, currency: str, *, chosen: mrr.Movement | None = None) -> Panel:
    """Explain a customer's MRR by all its entries; of the chosen one, else the last, the formula is written out."""
    rows = [row for row in mrr.movements_of([customer_pk]).get(customer_pk, []) if row.currency == currency]
    asked = replace(asked, scope=replace(asked.scope, currency=currency))
    shown_one = chosen or (rows[-1] if rows else None)
    if shown_one is None:
        raise Http404("This customer never had MRR in this currency.")
    balance = next((row for row in mrr.balances([customer_pk])[customer_pk] if row.currency == currency), None)
    named = who(
        asked.request, name=shown_one.customer_name, email=shown_one.customer_email, stripe_id=shown_one.customer_id
    )
    total = sum(row.amount_micros for row in rows)
    is_entry = chosen is not None
    what = counted(len(rows), "entry")
    if chosen is not None:
        lines, minor = sum(line.micros for line in chosen.lines), chosen.amount_minor
        names = counted(len(chosen.lines), "line")
        words, holds = sum_line(
            asked, names, lines, chosen.amount_micros, figure_minor=minor, one=len(chosen.lines) == 1
        )
    else:
        words, holds = sum_line(asked, what, total, balance.mrr_micros if balance else 0, one=len(rows) == 1)
    return Panel(
        name=f"{charts.LABELS.get(shown_one.type, shown_one.type.capitalize())} of {named}"
        if is_entry
        else f"MRR of {named}",
        figure=asked.money(shown_one.amount_minor, signed=True)
        if is_entry
        else asked.money(balance.mrr_minor if balance else 0),
        kind=asked.under(
            f"Movement of {formats.day(shown_one.effective_at.astimezone(zone()).date())}"
            if is_entry
            else f"Balance, {formats.day(asked.today)}"
        ),
        meaning=MEANINGS["entry" if is_entry else "customer"],
        currency=currency,
        sum_words=words,
        sum_holds=holds,
        entries=tuple(entry_line(asked, row, chosen=shown_one.key, with_balance=True) for row in rows[-SHOWN_ENTRIES:]),
        entries_note="in the order they took effect",
        entries_total=f"Sum of {what}",
        entries_total_minor=balance.mrr_minor if balance else 0,
        **_formula(asked, shown_one, is_last=chosen is None),
        facts=_entry_facts(asked, shown_one),
        facts_title="Where it comes from",
        links=(("Open the customer", reverse("dashboard:customer", args=[customer_pk])),),
        crumb="Entry" if is_entry else "Figure",
    )


def _formula(asked: Asked, entry: mrr.Movement, *, is_last: bool) -> dict[str, Any]:
    lines = formulas.explained(entry)
    ids = {side.terms["product"] for line in lines for side in (line.before, line.after) if side}
    names = {product: name for (_, product), name in billing.product_names([entry.source_pk], ids).items()}
    after = [
        FormulaLine(f"{_named(names, line.after)}, {line.after.formula}", asked.money(line.after.minor))
        for line in lines
        if line.after
    ]
    before = [
        FormulaLine(
            f"Before: {_named(names, line.before)}, {line.before.formula}",
            asked.money(-line.before.minor),
            is_muted=True,
        )
        for line in lines
        if line.before
    ]
    label = charts.LABELS.get(entry.type, entry.type.capitalize())
    return {
        "formula": tuple(after + before),
        "formula_title": "How the last one was computed" if is_last else "How it was computed",
        "formula_note": formats.moment(entry.effective_at, zone()),
        "formula_total": FormulaLine(
            f"{label}, reason {reason_words(entry).lower()}", asked.money(entry.amount_minor, signed=True)
        ),
    }


def _named(names: Mapping[str, str], side: formulas.Side) -> str:
    """Name an item by its product, else by its price."""
    return names.get(side.terms["product"]) or str(side.terms["price"])


def _entry_facts(asked: Asked, entry: mrr.Movement) -> tuple[Fact, ...]:
    may_open = sees_people(asked.request)
    events = [
        Fact(
            "Event" if not at else "",
            event_id,
            f"{reverse('dashboard:event', args=[event_id])}?source={entry.source}" if may_open else "",
            is_code=True,
        )
        for at, event_id in enumerate(entry.event_ids)
    ]
    return (
        *events,
        Fact("Entry", entry.key, is_code=True),
        Fact("Effective", formats.moment(entry.effective_at, zone())),
        Fact("Posted", formats.moment(entry.posted_at, zone())),
        Fact("Booked in", formats.month(entry.book_month, long=True)),
        *((Fact("Days without MRR", formats.count(entry.days_lapsed)),) if entry.days_lapsed is not None else ()),
        *((Fact("Taken back by", entry.reversed_by, is_code=True),) if entry.reversed_by else ()),
        *((Fact("Takes back", entry.reverses, is_code=True),) if entry.reverses else ()),
        Fact("Policy", str(entry.policy_version)),
        Fact("Currency", f"{entry.currency.upper()}, no conversion"),
        Fact("Exact", f"{entry.amount_micros:,} micros of a minor unit".replace("-", formats.MINUS)),
    )


# ---- ratios ----


def _ratio(asked: Asked) -> Panel:
    month = _months(asked, view=mrr.View.EVENT if asked.kind == "quick" else mrr.View.NETTED)[0]
    name, value, rows, total = _RATIOS[asked.kind](asked, month)
    return Panel(
        name=f"{name}, {asked.words}",
        figure=value,
        kind=asked.under("Balance" if asked.kind in ("nrr", "grr", "arpa") else f"Activity of {asked.words}"),
        meaning=asked.meaning(asked.kind),
        currency=asked.currency,
        formula=tuple(rows),
        formula_note="from balances at both ends of the month" if asked.kind in ("nrr", "grr", "logo") else "",
        formula_total=FormulaLine(total, value),
    )


def _nrr(asked: Asked, month: mrr.Month) -> tuple[str, str, list[FormulaLine], str]:
    kept = month.opening_micros + month.expansion_micros + month.contraction_micros + month.churn_micros
    rows = [
        FormulaLine("Opening MRR", asked.money(month.opening_minor), f"opening:{asked.rest}"),
        FormulaLine("Expansion, netted", asked.money(month.expansion_minor, signed=True)),
        FormulaLine("Contraction, netted", asked.money(month.contraction_minor, signed=True)),
        FormulaLine("Churn, netted", asked.money(month.churn_minor, signed=True)),
        FormulaLine("What they pay at the end", asked.money(shown(kept))),
    ]
    return "NRR", formats.ratio(month.nrr), rows, "End ÷ opening"


def _grr(asked: Asked, month: mrr.Month) -> tuple[str, str, list[FormulaLine], str]:
    kept = month.opening_micros + month.contraction_micros + month.churn_micros
    rows = [
        FormulaLine("Opening MRR", asked.money(month.opening_minor), f"opening:{asked.rest}"),
        FormulaLine("Contraction, netted", asked.money(month.contraction_minor, signed=True)),
        FormulaLine("Churn, netted", asked.money(month.churn_minor, signed=True)),
        FormulaLine("What is left of it", asked.money(shown(kept))),
    ]
    return "GRR", formats.ratio(month.grr), rows, "Left ÷ opening"


def _logo(asked: Asked, month: mrr.Month) -> tuple[str, str, list[FormulaLine], str]:
    rows = [
        FormulaLine("Customers who stopped to pay", formats.count(month.customers.churned)),
        FormulaLine("Customers at the start", formats.count(month.customers.opening)),
    ]
    return "Logo churn", formats.ratio(month.logo_churn, places=2), rows, "Stopped ÷ start"


def _quick(asked: Asked, month: mrr.Month) -> tuple[str, str, list[FormulaLine], str]:
    rows = [
        FormulaLine(
            charts.LABELS[name], asked.money(getattr(month, f"{name}_minor"), signed=True), f"{name}:{asked.rest}"
        )
        for name in monthly.PARTS
    ]
    missing = "nothing was lost in this month" if month.quick_ratio is None else "Gains ÷ losses"
    return "Quick ratio", formats.multiple(month.quick_ratio), rows, missing


def _arpa(asked: Asked, month: mrr.Month) -> tuple[str, str, list[FormulaLine], str]:
    customers = month.customers.closing
    arpa = mrr.CurrencyMrr(asked.currency, month.closing_micros, None, customers).arpa_minor
    value = formats.NOT_KNOWN if arpa is None else asked.money(arpa)
    rows = [
        FormulaLine("MRR", asked.money(month.closing_minor), f"mrr:{asked.rest}"),
        FormulaLine("Paying customers", formats.count(customers)),
    ]
    return "ARPA", value, rows, "MRR ÷ customers"


# ---- lists of people ----


def _list(asked: Asked) -> Panel:
    """Explain a figure that is the sum of a list: past due, at risk, unmatched."""
    members, figure_micros, name, url = _LISTS[asked.kind](asked)
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


def _matched(asked: Asked) -> Panel:
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


# ---- shared ----


def _people(
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


def _months(asked: Asked, *, view: mrr.View = mrr.View.EVENT, months_before: int = 0) -> Sequence[mrr.Month]:
    first, last = asked.months
    return mrr.series(
        periods.plus_months(first, -months_before),
        last,
        today=asked.today,
        currency=asked.currency,
        view=view,
        sources=asked.scope.sources,
    ).months


def _month(asked: Asked) -> mrr.Month:
    return _months(asked)[-1]


def _now(asked: Asked) -> mrr.CurrencyMrr:
    total = mrr.mrr_at(asked.today, today=asked.today, sources=asked.scope.sources)
    return next(
        (row for row in total.currencies if row.currency == asked.currency), mrr.CurrencyMrr(asked.currency, 0, 0, 0)
    )


def _list_url(asked: Asked) -> str:
    query = asked.request.GET.copy()
    for name in ("explain", "period", "after", "before"):
        query.pop(name, None)
    first, last = asked.months
    query["from"], query["to"] = f"{first:%Y-%m}", f"{last:%Y-%m}"
    if asked.kind in monthly.PARTS:
        query["type"] = asked.kind
    return f"{reverse('dashboard:movements')}?{query.urlencode()}#entries"


_LISTS: dict[str, Callable[[Asked], Listed]] = {
    "past_due": _past_due,
    "at_risk": _at_risk,
    "high_risk": _high_risk,
    "unmatched": _unmatched,
}
_RATIOS = {"nrr": _nrr, "grr": _grr, "logo": _logo, "quick": _quick, "arpa": _arpa}
_EXPLAIN: dict[str, Explain] = {
    "mrr": _balance,
    "closing": _balance,
    "arr": _arr,
    "cmrr": _cmrr,
    "opening": _opening,
    "net": _net,
    **dict.fromkeys(monthly.PARTS, _movements),
    **dict.fromkeys(_RATIOS, _ratio),
    **dict.fromkeys(_LISTS, _list),
    "matched": _matched,
    "cus": _customer,
    "entry": _entry,
}
