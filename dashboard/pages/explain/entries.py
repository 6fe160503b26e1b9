"""Explains one entry, or a customer's MRR by all its entries: the items, the formula, where it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from django.http import Http404
from django.urls import reverse

from billing import selectors as billing
from dashboard import charts, formats
from dashboard.pages.explain.parts import (
    MEANINGS,
    SHOWN_ENTRIES,
    Asked,
    Fact,
    FormulaLine,
    Panel,
    counted,
    entry_line,
    sum_line,
)
from dashboard.pages.shared import reason_words, sees_people, who, zone
from mrr import explain as formulas
from mrr import selectors as mrr


def entry(asked: Asked) -> Panel:
    found = mrr.movement(asked.rest)
    if found is None:
        raise Http404(f"There is no entry '{asked.rest}'.")
    return _of_customer(asked, found.customer_pk, found.currency, chosen=found)


def customer(asked: Asked) -> Panel:
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
        **(_formula(asked, shown_one) if is_entry else _items(asked, rows, balance.mrr_minor if balance else 0)),
        facts=_entry_facts(asked, shown_one),
        facts_title="Where it comes from" if is_entry else "Where the last entry comes from",
        links=(("Open the customer", reverse("dashboard:customer", args=[customer_pk])),),
        crumb="Entry" if is_entry else "Figure",
    )


def _formula(asked: Asked, entry: mrr.Movement) -> dict[str, Any]:
    lines = formulas.explained(entry)
    names = _names(entry.source_pk, [side for line in lines for side in (line.before, line.after) if side])
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
        "formula_title": "How it was computed",
        "formula_note": formats.moment(entry.effective_at, zone()),
        "formula_total": FormulaLine(
            f"{label}, reason {reason_words(entry).lower()}", asked.money(entry.amount_minor, signed=True)
        ),
    }


def _items(asked: Asked, standing: Sequence[mrr.Movement], minor: int) -> dict[str, Any]:
    """Write out what the customer pays for now, item by item."""
    items = formulas.items_now(standing)
    names = _names(standing[-1].source_pk, [one.side for one in items])
    minors = mrr.parts_shown(minor, [one.side.micros for one in items])
    return {
        "formula": tuple(
            FormulaLine(f"{_named(names, one.side)}, {one.side.formula}", asked.money(part))
            for one, part in zip(items, minors, strict=True)
        ),
        "formula_title": "How it is computed",
        "formula_note": "what counts now, a month",
        "formula_total": FormulaLine("MRR", asked.money(minor)) if items else None,
    }


def _names(source_pk: int, sides: Sequence[formulas.Side]) -> dict[str, str]:
    found = billing.product_names([source_pk], {side.terms["product"] for side in sides})
    return {product: name for (_, product), name in found.items()}


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
        Fact("Policy", formulas.policy_named(entry.policy_version)),
        Fact("Currency", f"{entry.currency.upper()}, no conversion"),
        Fact("Exact", f"{entry.amount_micros:,} micros of a minor unit".replace("-", formats.MINUS)),
    )
