"""The Opportunity tab of the workbench: which Opportunity a subscription belongs to, where no rule was sure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from crm import choices
from crm import selectors as crm
from crm.ids import MalformedId
from dashboard import formats
from dashboard.pages import shared
from dashboard.pages.sync_head import number
from dashboard.parts import Choice, Empty, Pager
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
    next_pk: int | None
    place: int
    code: str


def questions(request: HttpRequest, tabs: Sequence[Choice]) -> HttpResponse:
    """Render the queue of subscriptions for which a person must choose."""
    now = shared.now_of(request)
    found = crm.opportunity_questions(limit=PAGE_SIZE, after_pk=number(request.GET.get("after", "")))
    chosen = _chosen(request, found.rows)
    connection = crm.connection()
    return shared.page(
        request,
        "dashboard/opportunities.html",
        {
            "tabs": tabs,
            "rows": [_line(request, row, chosen) for row in found.rows],
            "card": _card(request, chosen, found.rows, connection) if chosen else None,
            "pager": Pager(
                formats.count(len(found.rows)),
                next_url=shared.link(request, record=None, after=found.following) if found.following else "",
                previous_url=shared.link(request, record=None) if request.GET.get("after") else "",
            ),
            "empty": Empty(
                "circle-check",
                "Every Opportunity is sure",
                "A subscription appears here when none of its Account's Opportunities, or several, could be meant.",
            ),
            "may_match": may(request, Ability.MATCH),
            "last": _last(request, now),
            "makes_new": connection is not None and connection.makes_opportunities,
        },
        name="Opportunities",
        now=now,
    )


@requires(Ability.MATCH)
@require_POST
def create_choice(request: HttpRequest) -> HttpResponse:
    """Say which Opportunity a subscription belongs to; who was second is told so."""
    record_pk = _posted(request)
    told = request.POST.get("opportunity", "")
    try:
        if request.POST.get("again") == "1":
            choices.look_again(record_pk, now=shared.now_of(request))
            messages.success(request, "Salesforce is asked again. Load the page in a few seconds.")
            return _back("")
        if not told:
            messages.error(request, "No Opportunity was chosen.")
            return _back(str(record_pk))
        wanted = "" if told == NEW else told
        choices.choose(record_pk, wanted, by=request.user.get_username(), now=shared.now_of(request))
    except choices.NotAsked as error:
        messages.error(request, str(error))
    except MalformedId:
        messages.error(request, "This is not the id of an Opportunity; such an id begins with 006.")
        return _back(str(record_pk))
    return _back(request.POST.get("next", ""))


@requires(Ability.MATCH)
@require_POST
def delete_choice(request: HttpRequest, pk: int) -> HttpResponse:
    """Undo a choice: the question stands again, and what was written is taken off the Opportunity."""
    try:
        choices.undo(pk, by=request.user.get_username(), now=shared.now_of(request))
    except (choices.NotAsked, choices.NotUndone) as error:
        messages.error(request, str(error))
        return _back("")
    messages.success(request, "Undone. The subscription waits for its Opportunity again.")
    return _back(str(pk))


def _posted(request: HttpRequest) -> int:
    text = request.POST.get("record", "")
    return int(text) if text.isdigit() else 0


def _back(record: str) -> HttpResponse:
    query = {"tab": "opportunities", **({"record": record} if record.isdigit() else {})}
    return redirect(f"{reverse('dashboard:unmatched')}?{urlencode(query)}")


def _last(request: HttpRequest, now: datetime) -> tuple[int, str] | None:
    """Return the reader's last choice of today with its words, to be undone."""
    if not may(request, Ability.MATCH):
        return None
    found = crm.last_choice(request.user.get_username(), since=now - timedelta(days=1))
    if found is None:
        return None
    at = formats.clock(found.chosen_at, shared.zone())
    return found.record_pk, f"{found.subscription_id} to {found.chosen_name}, {at}."


def _chosen(request: HttpRequest, rows: Sequence[crm.QuestionRow]) -> crm.QuestionRow | None:
    asked = request.GET.get("record", "")
    return next((row for row in rows if str(row.record_pk) == asked), rows[0] if rows else None)


def _who(request: HttpRequest, row: crm.QuestionRow) -> str:
    return shared.who(request, name=row.customer_name, email="", stripe_id=row.customer_id)


def _line(request: HttpRequest, row: crm.QuestionRow, chosen: crm.QuestionRow | None) -> QuestionLine:
    return QuestionLine(
        row.record_pk,
        _who(request, row),
        row.subscription_id,
        shared.link(request, record=row.record_pk),
        shown(row.mrr_micros),
        row.currency,
        row.asked_at,
        row.words,
        row is chosen,
    )


def _card(
    request: HttpRequest, row: crm.QuestionRow, rows: Sequence[crm.QuestionRow], connection: crm.Connection | None
) -> QuestionCard:
    place = list(rows).index(row)
    following = rows[place + 1] if place + 1 < len(rows) else None
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
        following.record_pk if following else None,
        place + 1,
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
