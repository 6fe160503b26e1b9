"""One customer: its MRR and how it came about, what it holds, was billed and is in Salesforce, and every event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_GET

from billing import selectors as billing
from crm import selectors as crm
from dashboard import charts, exports, formats
from dashboard.pages import explain, match_lines, movements, notes, risks, shared, sync
from dashboard.pages.latest import event_line, movement_rows
from dashboard.parts import Choice, Fact
from dashboard.roles import Ability, may, requires
from mrr import explain as formulas
from mrr import selectors as mrr

SHOWN_EVENTS = 50
SHOWN_INVOICES = 50
SHOWN_RECORDS = 100
TABS = ("movements", "subscriptions", "invoices", "match", "salesforce", "events")
TAB_NAMES = {
    "movements": "Movements",
    "subscriptions": "Subscriptions",
    "invoices": "Invoices",
    "match": "Match history",
    "salesforce": "Salesforce",
    "events": "Events",
}


@dataclass(frozen=True)
class ItemLine:
    """One subscription item that counts now: how it becomes MRR."""

    name: str
    detail: str
    formula: str
    minor: int
    currency: str


@dataclass(frozen=True)
class Holding:
    """What the customer holds in one currency: MRR, its items, and by how much these miss the ledger."""

    balance: mrr.Balance
    code: str
    items: tuple[ItemLine, ...]
    off_minor: int


@requires(Ability.SEE_FIGURES)
@require_GET
def customer(request: HttpRequest, pk: int) -> HttpResponseBase:
    now = shared.now_of(request)
    person = billing.customers([pk]).get(pk)
    if person is None:
        raise Http404("There is no such customer.")
    scope = shared.read_scope(request)
    panel = explain.panel(request, scope, now=now)
    if panel and explain.is_alone(request):
        return explain.alone(request, panel, now=now)
    request.is_test_mode = not person.livemode  # type: ignore[attr-defined]  # the frame reads it
    entries = mrr.movements_of([pk], has_reversed=True)[pk]
    if kind := shared.wants_export(request):
        return _export(request, kind, person, entries, now)
    tab = request.GET.get("tab", TABS[0])
    if tab not in TABS:
        raise BadRequest(f"There is no tab '{tab}'. Known are: {', '.join(TABS)}.")
    balances = mrr.balances([pk])[pk]
    held = billing.subscriptions_of([pk]).get(pk, [])
    standing = [row for row in entries if row.reverses is None and row.reversed_by is None]
    match = crm.matches_of([pk]).get(pk)
    risk = crm.risk_of(pk)
    sees = shared.sees_people(request)
    named = shared.who(request, name=person.name, email=person.email, stripe_id=person.stripe_id)
    day = shared.today(now)
    names = _product_names(person, held)
    return shared.page(
        request,
        "dashboard/customer.html",
        {
            "panel": panel,
            "person": person,
            "who": named,
            "email": person.email if sees else "",
            "facts": _facts(balances, risk, day),
            "match": match,
            "account_name": (match.account_name if sees else match.account_id) if match else "",
            "match_words": _match_words(match, sees=sees) if match else "",
            "unmatched": None if match else _unmatched(pk),
            "may_match": may(request, Ability.MATCH),
            "may_forget": may(request, Ability.FORGET),
            "notes": notes.card_of_customer(request, pk, today=day),
            "risk": risks.line(request, risk) if risk else None,
            "charts": _charts(standing, balances, day),
            "holdings": _holdings(pk, balances, standing, held, names),
            "tab": tab,
            "tabs": [Choice(TAB_NAMES[name], shared.link(request, tab=name) + "#parts", name == tab) for name in TABS],
            "entries": movement_rows(request, reversed(entries), crm.schedule_states([row.key for row in entries]))
            if tab == "movements"
            else (),
            "subscriptions": [_subscription(one, names) for one in reversed(held)] if tab == "subscriptions" else (),
            "invoices": billing.invoices_of([pk], limit=SHOWN_INVOICES).get(pk, []) if tab == "invoices" else (),
            "decisions": match_lines.of_customer(pk) if tab == "match" else (),
            "records": sync.record_lines(request, _records(pk, match)) if tab == "salesforce" else (),
            "may_retry": may(request, Ability.RETRY),
            "events": [
                event_line(row)
                for row in billing.events(
                    source_pks=[person.source_pk], customer_id=person.stripe_id, limit=SHOWN_EVENTS
                )
            ]
            if tab == "events"
            else (),
        },
        name=named,
        now=now,
        scope=scope,
    )


def _facts(balances: Sequence[mrr.Balance], risk: crm.RiskRow | None, today: date) -> list[Fact]:
    facts = []
    for held in balances:
        code = f"cus:{held.customer_pk}:{held.currency}"
        label = "MRR" if len(balances) == 1 else f"MRR, {held.currency.upper()}"
        arr = f"ARR {formats.money(held.arr_minor, held.currency)}"
        facts.append(Fact(label, formats.money(held.mrr_minor, held.currency), code, arr))
        change = held.cmrr_minor - held.mrr_minor
        note = f"{formats.money(change, held.currency, signed=True)} scheduled" if change else "nothing scheduled"
        facts.append(Fact(label.replace("MRR", "CMRR"), formats.money(held.cmrr_minor, held.currency), "", note))
    first = min((held.first_paid_at for held in balances if held.first_paid_at), default=None)
    if first is not None:
        began = first.astimezone(shared.zone()).date()
        cohort = next((held.cohort_month for held in balances if held.cohort_month), None)
        facts.append(
            Fact("Customer for", _tenure(began, today), "", f"cohort {formats.month(cohort)}" if cohort else "")
        )
    score = formats.count(risk.score) if risk else "0"
    facts.append(Fact("Risk", score, "", f"{risk.severity}, see below" if risk else "no signal"))
    return facts


def _unmatched(pk: int) -> crm.UnmatchedRow | None:
    """Return how the customer waits for an Account, None when it does not."""
    chosen = crm.UnmatchedFilter(listed=crm.UnmatchedList.ANY, customer_pks=(pk,))
    return next(iter(crm.unmatched(chosen, limit=1).rows), None)


def _records(pk: int, match: crm.MatchRow | None) -> list[crm.SyncRow]:
    """Return the customer's Salesforce records, its Account's first: that one is shared, so it names no customer."""
    account = crm.sync_rows(limit=1, kind="account", key=match.account_id).rows if match else ()
    return [*account, *crm.sync_rows(limit=SHOWN_RECORDS, customer_pk=pk).rows]


def _match_words(match: crm.MatchRow, *, sees: bool) -> str:
    """Say how the match was found, and by whom where a person did it."""
    how = {
        "metadata": "Named in the customer's metadata",
        "email": "A Contact has its e-mail",
        "person": "A person said so",
        "merge": "Followed when its Account was merged into this one",
        "undeleted": "Its Account was deleted in Salesforce, and is back",
    }
    by = f", {match.matched_by}" if match.matched_by and sees else ""
    return f"{how.get(match.how, match.how)}{by}"


def _tenure(began: date, today: date) -> str:
    months = (today.year - began.year) * 12 + today.month - began.month - (today.day < began.day)
    if months < 1:
        days = (today - began).days
        return f"{formats.count(days)} {explain.plural(days, 'day')}"
    if months < 24:
        return f"{formats.count(months)} {explain.plural(months, 'month')}"
    return f"{formats.count(months // 12)} years"


def _charts(
    standing: Sequence[mrr.Movement], balances: Sequence[mrr.Balance], today: date
) -> list[tuple[str, str, dict[str, Any]]]:
    """Return (currency, id of the figure, figure) for each currency with entries; currencies never share an axis."""
    drawn = []
    for held in balances:
        steps = [
            charts.BalanceStep(
                row.effective_at.astimezone(shared.zone()).date(),
                row.type,
                row.amount_minor,
                row.after_minor or 0,
                f"entry:{row.key}",
            )
            for row in standing
            if row.currency == held.currency
        ]
        if steps:
            figure = charts.balance_steps(steps, held.currency, today=today)
            drawn.append((held.currency, f"fig-step-{held.currency}", figure))
    return drawn


# ---- items that count now, as the ledger's lines add them up ----


def _holdings(
    pk: int,
    balances: Sequence[mrr.Balance],
    standing: Sequence[mrr.Movement],
    held: Sequence[billing.SubscriptionRow],
    names: Mapping[str, str],
) -> list[Holding]:
    subscriptions = {one.stripe_id: one for one in held}
    found = []
    for balance in balances:
        counted = formulas.items_now(row for row in standing if row.currency == balance.currency)
        items = [
            ItemLine(
                names.get(one.side.terms["product"]) or one.side.terms.get("price") or one.item,
                _item_detail(subscriptions.get(one.subscription), one.subscription),
                one.side.formula,
                one.side.minor,
                balance.currency,
            )
            for one in counted
        ]
        missed = sum(one.side.micros for one in counted) - balance.mrr_micros
        code = f"cus:{pk}:{balance.currency}"
        found.append(Holding(balance, code, tuple(items), shared.exact_minor(missed)))
    return found


def _item_detail(one: billing.SubscriptionRow | None, subscription: str) -> str:
    if one is None:
        return subscription
    words = [f"{subscription[:10]}…", one.status.replace("_", " ")]
    if one.ends_at:
        words.append(f"ends {formats.day(one.ends_at.astimezone(shared.zone()).date())}")
    elif one.current_period_end_at:
        words.append(f"renews {formats.day(one.current_period_end_at.astimezone(shared.zone()).date())}")
    return ", ".join(words)


# ---- subscriptions ----


@dataclass(frozen=True)
class SubscriptionLine:
    stripe_id: str
    status: str
    tone: str
    glyph: str
    items: str
    started_at: datetime | None
    ends: str


_STATUS = {
    "active": ("ok", "circle-check"),
    "past_due": ("warn", "alert-triangle"),
    "trialing": ("n", "hourglass"),
    "unpaid": ("bad", "circle-x"),
    "paused": ("n", "player-pause"),
}


def _subscription(one: billing.SubscriptionRow, names: Mapping[str, str]) -> SubscriptionLine:
    tone, glyph = _STATUS.get(one.status, ("n", "circle-minus"))
    items = [
        f"{item['quantity']} × {names.get(item.get('product', '')) or item.get('price', '')}"
        if item.get("quantity") is not None
        else str(names.get(item.get("product", "")) or item.get("price", ""))
        for item in one.items
    ]
    ends = ""
    if one.ended_at:
        ends = f"ended {formats.day(one.ended_at.astimezone(shared.zone()).date())}"
    elif one.ends_at:
        ends = f"ends {formats.day(one.ends_at.astimezone(shared.zone()).date())}"
    elif one.current_period_end_at:
        ends = f"renews {formats.day(one.current_period_end_at.astimezone(shared.zone()).date())}"
    return SubscriptionLine(
        one.stripe_id,
        one.status.replace("_", " ").capitalize() + (", collection paused" if one.pause_behavior else ""),
        tone,
        glyph,
        "; ".join(items),
        one.started_at,
        ends,
    )


def _product_names(person: billing.CustomerRow, held: Sequence[billing.SubscriptionRow]) -> dict[str, str]:
    ids = {str(item["product"]) for one in held for item in one.items if item.get("product")}
    found = billing.product_names([person.source_pk], ids) if ids else {}
    return {product: name for (_, product), name in found.items()}


def _export(
    request: HttpRequest, kind: str, person: billing.CustomerRow, entries: Sequence[mrr.Movement], now: datetime
) -> HttpResponseBase:
    return exports.response(
        kind,
        name=f"mrr-schedule-{person.stripe_id}",
        columns=movements.COLUMNS,
        rows=(movements.cells(row) for row in entries),
        about=[*shared.about(request, "MRR schedule of one customer", now=now), ("Customer", person.stripe_id)],
        zone=shared.zone(),
    )
