"""The Opportunity tab of the workbench: which Opportunity a subscription belongs to, where no rule was sure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_POST

from crm import choices
from crm import selectors as crm
from crm.ids import MalformedId
from dashboard import formats
from dashboard.pages import shared
from dashboard.pages.sync_head import number
from dashboard.pages.unmatched import lists, parts
from dashboard.pages.unmatched.parts import Outcome
from dashboard.parts import Empty, Pager
from dashboard.roles import Ability, may, requires
from mrr.engine.money import shown

PAGE_SIZE = 50
NEW = "new"


@dataclass(frozen=True)
class QuestionLine:
    """One subscription of the queue."""

    pk: int
    who: str
    second: str
    url: str
    minor: int
    currency: str
    since: datetime
    state: str
    is_chosen: bool


@dataclass(frozen=True)
class OpportunityLine:
    """One Opportunity to choose: what it says, and what would become of it."""

    value: str
    name: str
    detail: str
    key: str
    tone: str
    glyph: str
    state: str
    effect: str
    is_first: bool
    record_url: str


@dataclass(frozen=True)
class QuestionCard:
    """The chosen subscription with the Opportunities of its Account side by side."""

    pk: int
    who: str
    url: str
    account: str
    subscription_id: str
    worth: str
    began: str
    words: str
    text: str
    lines: tuple[OpportunityLine, ...]
    code: str


def questions(request: HttpRequest, *, now: datetime) -> HttpResponse:
    """Render the queue of subscriptions for which a person must choose, or the part of it that is asked for alone."""
    if parts.is_asked(request, "bench-card") and (record_pk := number(request.GET.get("record", ""))):
        return _card_alone(request, record_pk, now=now)
    found = crm.opportunity_questions(limit=PAGE_SIZE, after_pk=number(request.GET.get("after", "")))
    rows = _with_asked(request, found.rows)
    chosen = next(
        (row for row in rows if str(row.record_pk) == request.GET.get("record", "")), rows[0] if rows else None
    )
    context = {
        "rows": [_line(request, row, is_chosen=row is chosen) for row in rows],
        "pager": Pager(
            "",
            next_url=shared.link(request, record=None, after=found.following) if found.following else "",
            previous_url=shared.link(request, record=None) if request.GET.get("after") else "",
        ),
        "now": now,
    }
    if parts.is_asked(request, "bench-rows"):
        return render(request, "dashboard/opportunities/more.html", context)
    return shared.page(
        request,
        "dashboard/opportunities/page.html",
        {
            **context,
            **_standing(request, now=now),
            "card": _card(request, chosen, crm.connection()) if chosen else None,
            "next_pk": _next_pk(rows, chosen),
            "empty": Empty(
                "circle-check",
                "Every Opportunity is sure",
                "A subscription appears here when none of its Account's Opportunities, or several, could be meant.",
            ),
        },
        name="Opportunities",
        now=now,
    )


def _standing(request: HttpRequest, *, now: datetime) -> dict[str, Any]:
    """Return what every choice changes: the lists' lengths, the last choice."""
    connection, tabs = crm.connection(), lists.of_opportunities(request, now=now)
    return {
        "tabs": tabs,
        "total": next((one.count for one in tabs if one.is_chosen), ""),
        "last": _last(request, now),
        "makes_new": connection is not None and connection.makes_opportunities,
        "may_match": may(request, Ability.MATCH),
    }


def _card_alone(request: HttpRequest, record_pk: int, *, now: datetime) -> HttpResponse:
    found = crm.opportunity_questions(limit=1, record_pk=record_pk).rows
    card = _card(request, found[0], crm.connection()) if found else None
    context = {"card": card, "may_match": may(request, Ability.MATCH), "now": now}
    return render(request, "dashboard/opportunities/card.html", context)


def _with_asked(request: HttpRequest, rows: Sequence[crm.QuestionRow]) -> list[crm.QuestionRow]:
    """Put the subscription that the address names first, where it waits but is not on this page."""
    record_pk = number(request.GET.get("record", ""))
    if record_pk is None or any(row.record_pk == record_pk for row in rows):
        return list(rows)
    return [*crm.opportunity_questions(limit=1, record_pk=record_pk).rows, *rows]


def _next_pk(rows: Sequence[crm.QuestionRow], chosen: crm.QuestionRow | None) -> int | None:
    """Return which question a choice without scripts leads to."""
    if chosen is None:
        return None
    place = list(rows).index(chosen)
    return rows[place + 1].record_pk if place + 1 < len(rows) else None


@requires(Ability.MATCH)
@require_POST
def create_choice(request: HttpRequest) -> HttpResponse:
    """Say which Opportunity a subscription belongs to; who was second is told so."""
    record_pk, now = _posted(request), shared.now_of(request)
    told = request.POST.get("opportunity", "")
    try:
        if request.POST.get("again") == "1":
            choices.look_again(record_pk, now=now)
            return _answer(request, Outcome.GONE, record_pk, done="Salesforce is asked again. It is back in seconds.")
        if not told:
            return _answer(request, Outcome.STAYS, record_pk, refused="No Opportunity was chosen.")
        choices.choose(record_pk, "" if told == NEW else told, by=request.user.get_username(), now=now)
    except choices.NotAsked as error:
        return _answer(request, Outcome.GONE, record_pk, refused=str(error))
    except MalformedId:
        refused = "This is not the id of an Opportunity; such an id begins with 006."
        return _answer(request, Outcome.STAYS, record_pk, refused=refused)
    return _answer(request, Outcome.GONE, record_pk)


@requires(Ability.MATCH)
@require_POST
def delete_choice(request: HttpRequest, pk: int) -> HttpResponse:
    """Undo a choice: the question stands again, and what was written is taken off the Opportunity."""
    try:
        choices.undo(pk, by=request.user.get_username(), now=shared.now_of(request))
    except (choices.NotAsked, choices.NotUndone) as error:
        return _answer(request, Outcome.STAYS, 0, refused=str(error))
    done = "Undone. The subscription waits for its Opportunity again."
    return _answer(request, Outcome.BACK, pk, done=done)


def _answer(
    request: HttpRequest, outcome: Outcome, record_pk: int, *, refused: str = "", done: str = ""
) -> HttpResponse:
    """Answer a choice: a script with the parts that it changed, everybody else with the way back."""
    if not parts.is_script(request):
        following = request.POST.get("next", "") if outcome is Outcome.GONE else str(record_pk or "")
        return parts.way_back(request, {"tab": "opportunities", "record": following}, refused=refused, done=done)
    now = shared.now_of(request)
    found = crm.opportunity_questions(limit=1, record_pk=record_pk).rows if outcome is Outcome.BACK else ()
    return render(
        request,
        "dashboard/opportunities/answer.html",
        {
            **_standing(request, now=now),
            "outcome": outcome.value,
            "refused": refused,
            "done": done,
            "row": _line(request, found[0], is_chosen=False) if found else None,
            "now": now,
        },
    )


def _posted(request: HttpRequest) -> int:
    text = request.POST.get("record", "")
    return int(text) if text.isdigit() else 0


def _last(request: HttpRequest, now: datetime) -> tuple[int, str] | None:
    """Return the reader's last choice of today with its words, to be undone."""
    if not may(request, Ability.MATCH):
        return None
    found = crm.last_choice(request.user.get_username(), since=now - timedelta(days=1))
    if found is None:
        return None
    at = formats.clock(found.chosen_at, shared.zone())
    return found.record_pk, f"{found.subscription_id} to {found.chosen_name}, {at}."


def _who(request: HttpRequest, row: crm.QuestionRow) -> str:
    return shared.who(request, name=row.customer_name, email="", stripe_id=row.customer_id)


def _line(request: HttpRequest, row: crm.QuestionRow, *, is_chosen: bool) -> QuestionLine:
    return QuestionLine(
        row.record_pk,
        _who(request, row),
        row.subscription_id,
        shared.link(request, record=row.record_pk),
        shown(row.mrr_micros),
        row.currency,
        row.asked_at,
        row.words,
        is_chosen,
    )


def _card(request: HttpRequest, row: crm.QuestionRow, connection: crm.Connection | None) -> QuestionCard:
    sees = shared.sees_people(request)
    arr = formats.money(shown(12 * row.mrr_micros), row.currency)
    lines = [_opportunity(one, at, row, arr, connection, sees=sees) for at, one in enumerate(row.candidates, start=1)]
    at = len(lines) + 1
    lines.append(
        OpportunityLine(
            NEW,
            "Make a new one",
            "none of these is meant",
            str(at) if at < 10 else "",
            "n",
            "plus",
            "New",
            f"A new Opportunity of the Account, won, with Amount {arr}.",
            at == 1,
            "",
        )
    )
    return QuestionCard(
        row.record_pk,
        _who(request, row),
        reverse("dashboard:customer", args=[row.customer_pk]),
        row.account_name if sees else row.account_id,
        row.subscription_id,
        f"{formats.money(shown(row.mrr_micros), row.currency)} MRR, {arr} ARR",
        formats.day(row.began_at.astimezone(shared.zone()).date()) if row.began_at else "",
        row.words,
        row.text,
        tuple(lines),
        row.code,
    )


def _opportunity(
    one: crm.OpportunityRow,
    at: int,
    row: crm.QuestionRow,
    arr: str,
    connection: crm.Connection | None,
    *,
    sees: bool,
) -> OpportunityLine:
    detail = [
        one.stage,
        _amount(one.amount, one.currency),
        f"close date {formats.day(one.close_on)}" if one.close_on else "",
        one.owner if sees else "",
    ]
    if one.is_closed:
        effect = "It is linked. Stage, date and amount stay as they are."
    elif one.has_products:
        effect = "It is won, with its close date. Its products decide the amount, so ours is not written."
    else:
        effect = f"It is won, with Amount {arr}."
    return OpportunityLine(
        one.id,
        one.name if sees else one.id,
        " · ".join(part for part in detail if part),
        str(at) if at < 10 else "",
        "ok" if one.is_won else "n",
        "circle-check" if one.is_won else "clock",
        "Won" if one.is_won else "Closed" if one.is_closed else "Open",
        effect,
        at == 1,
        crm.record_url(connection, one.id),
    )


def _amount(text: str, currency: str) -> str:
    """Write an amount as Salesforce gave it, with two decimals; without a currency it is the org's own."""
    try:
        return f"amount {f'{currency} ' if currency else ''}{Decimal(text):,.2f}" if text else "no amount"
    except InvalidOperation:
        return ""
