"""The other lists of the sync page: messages, what others edited in Salesforce, and the log of writes and decisions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from crm import drift, shadow, summary_words
from crm import selectors as crm
from dashboard import formats
from dashboard.pages import explain, shared, sync_head
from dashboard.parts import Choice, Empty, Pager
from dashboard.roles import Ability, may, requires

PAGE_SIZE = 50
MOST_AT_ONCE = 500
TOPICS = {
    "closed_won": "Closed-won post",
    "win_back": "Win-back Task",
    "payment": "Payment Task",
    "late_match": "Summary Task",
    "alert": "Alert",
    "summary": "Summary of a period",
}
MESSAGE_STATES = {
    "": "All",
    "waiting": "Waiting",
    "sent": "Sent",
    "would_send": "Would send",
    "held": "Held",
    "parked": "Parked",
    "dropped": "Dropped",
}
DRIFT_STATES = {
    "open": "Open",
    "overwritten": "Overwritten",
    "adopted": "Adopted",
    "ignored": "Ignored",
    "gone": "Agree again",
}
DRIFT = "/dashboard/sync/?tab=drift"
DECIDED = {drift.overwrite: "overwritten: ours is on its way", drift.adopt: "adopted", drift.ignore: "ignored"}
OUTCOMES = {  # tone, glyph, words
    "would_send": ("sh", "eye", "Would send"),
    "sent": ("ok", "circle-check", "Sent"),
    "refused": ("bad", "circle-x", "Refused"),
    "later": ("warn", "clock", "Tried, waits"),
    "unclear": ("warn", "alert-triangle", "Unclear, repeated"),
    "retried": ("n", "refresh", "Retried"),
    "skipped": ("n", "circle-minus", "Skipped"),
    "held": ("n", "hourglass", "Held"),
}
SOBJECTS = ("Account", "Opportunity", "MRR_Schedule__c", "Task", "FeedItem")


@dataclass(frozen=True)
class MessageLine:
    """One message as a row."""

    ref: int
    name: str
    url: str
    topic: str
    channel: str
    state: str
    words: str
    at: datetime
    fields: tuple[tuple[str, str], ...]
    cause: sync_head.Cause | None
    note: str
    their_id: str
    record_url: str
    attempts: int
    due_at: datetime

    @property
    def may_be_retried(self) -> bool:
        return self.state in ("parked", "held") or self.cause is not None

    @property
    def may_be_put_by(self) -> bool:
        return self.state in ("parked", "waiting", "would_send", "held")


@dataclass(frozen=True)
class DriftLine:
    """One field that differs, as a row."""

    pk: int
    name: str
    url: str
    sobject: str
    field: str
    ours: str
    theirs: str
    who: str
    changed_at: datetime | None
    found_at: datetime
    is_open: bool
    decided: str
    decided_at: datetime | None
    record_url: str
    is_deleted: bool


@dataclass(frozen=True)
class LogLine:
    """One line of the log as a row, with request and answer behind it."""

    pk: int
    at: datetime
    name: str
    url: str
    sobject: str
    tone: str
    glyph: str
    words: str
    by: str
    asked: str
    changes: tuple[tuple[str, str, str, bool], ...]
    answer: str
    cause: sync_head.Cause | None
    record_url: str
    is_before_known: bool


# ---- messages ----


def told(request: HttpRequest, head: sync_head.Head) -> HttpResponse:
    state = request.GET.get("state", "")
    if state not in MESSAGE_STATES:
        raise BadRequest("There is no such state.")
    search = request.GET.get("q", "").strip()[:100]
    sees = shared.sees_people(request)
    found = crm.message_rows(
        limit=PAGE_SIZE,
        before_pk=sync_head.number(request.GET.get("before", "")),
        state=state,
        search=search,
        searches_people=sees,
    )
    return sync_head.page(
        request,
        "dashboard/sync_messages.html",
        head,
        {
            "states": _choices(request, MESSAGE_STATES, state, name="state"),
            "search": search,
            "rows": [_message(row, head.connection, sees=sees) for row in found.rows],
            "pager": _pager(request, len(found.rows), found.following),
            "empty": Empty(
                "send",
                "No message fits" if state or search else "Nothing to tell yet",
                "People are told of what happens from now on, never of the past.",
            ),
        },
    )


def _message(row: crm.MessageRow, connection: crm.Connection | None, *, sees: bool) -> MessageLine:
    said = summary_rows(row.body) if row.topic == "summary" else row.body
    shown = tuple((name, sync_head.value(name, held, sees=sees)) for name, held in said.items() if held)
    note = row.error if row.state in ("held", "dropped") or (row.error and row.explanation is None) else ""
    return MessageLine(
        row.ref,
        (row.customer_name if sees else "") or row.customer_id or _title(row),
        reverse("dashboard:customer", args=[row.customer_pk]) if row.customer_pk else "",
        TOPICS.get(row.topic, row.topic.replace("_", " ").capitalize()),
        row.channel,
        "waiting" if row.state == "dropped" else row.state,
        "Not needed any more" if row.state == "dropped" else "",
        row.sent_at or row.created_at,
        shown,
        sync_head.cause(row.explanation, row.error, connection, sees=sees) if row.explanation else None,
        note if sees else "",
        row.their_id,
        crm.record_url(connection, row.their_id) if row.channel == "salesforce" else "",
        row.attempts,
        row.due_at,
    )


def summary_rows(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a summary says, as rows: its customers' names are not kept, so none stands here."""
    lists = {
        title: "; ".join(" ".join(filter(None, (words, amount))) for words, amount, _ in rows)
        for title, rows in summary_words.sections(body, {})
    }
    return {"Subject": body.get("title"), "Says": " ".join(body.get("lines", ())), **lists, "To": body.get("to")}


def _title(row: crm.MessageRow) -> str:
    """Name a message that is about no customer."""
    said = str(row.body.get("title") or row.body.get("text") or "") if row.topic in ("alert", "summary") else ""
    return said.split("\n")[0] or row.dedupe_key


# ---- what others edited ----


def edited(request: HttpRequest, head: sync_head.Head) -> HttpResponse:
    state = request.GET.get("state", "open")
    if state not in DRIFT_STATES:
        raise BadRequest("There is no such state.")
    found = crm.drift_rows(limit=PAGE_SIZE, before_pk=sync_head.number(request.GET.get("before", "")), state=state)
    sees = shared.sees_people(request)
    return sync_head.page(
        request,
        "dashboard/sync_drift.html",
        head,
        {
            "states": _choices(request, DRIFT_STATES, state, name="state", default="open"),
            "is_open": state == "open",
            "rows": [_drift(row, head.connection, sees=sees) for row in found.rows],
            "pager": _pager(request, len(found.rows), found.following),
            "empty": _no_drift(head, state),
            "may_check": may(request, Ability.RETRY) and _can_compare(head.connection),
        },
    )


def _can_compare(connection: crm.Connection | None) -> bool:
    return connection is not None and not connection.is_demo


def _no_drift(head: sync_head.Head, state: str) -> Empty:
    if state != "open":
        return Empty("filter", "No difference was decided so", "")
    if head.connection is None or not head.connection.is_live:
        text = "In shadow mode nothing of ours stands in Salesforce, so nobody can have changed it."
        return Empty("eye", "Nothing to compare in shadow mode", text)
    if head.connection.compared_to is None:
        return Empty("search", "Not compared yet", "Every night we compare what others changed with what we wrote.")
    return Empty("circle-check", "Nobody changed what we wrote", "Compared every night, and whenever you ask.")


def _drift(row: crm.DriftRow, connection: crm.Connection | None, *, sees: bool) -> DriftLine:
    is_deleted = row.field == "IsDeleted"
    return DriftLine(
        row.pk,
        (row.account_name or row.customer_name if sees else "") or row.customer_id or row.key,
        f"{reverse('dashboard:sync')}?q={row.key}",
        row.sobject,
        "Deleted" if is_deleted else row.field,
        "written" if is_deleted else sync_head.value(row.field, row.ours, sees=sees),
        "in the recycle bin" if is_deleted else sync_head.value(row.field, row.theirs, sees=sees),
        row.changed_by if sees else "somebody",
        row.changed_at,
        row.found_at,
        row.state == "open",
        row.decided_by,
        row.decided_at,
        crm.record_url(connection, row.salesforce_id),
        is_deleted,
    )


@requires(Ability.RETRY)
@require_POST
def decide_drift(request: HttpRequest) -> HttpResponse:
    """Overwrite, adopt or ignore the differences that were chosen."""
    act = drift.DECISIONS.get(request.POST.get("decision", ""))
    if act is None:
        raise BadRequest("There is no such decision.")
    pks = [int(text) for text in request.POST.getlist("drift") if text.isdigit()][:MOST_AT_ONCE]
    done = act(pks, by=request.user.get_username(), now=shared.now_of(request))
    if not pks:
        messages.error(request, "Nothing was chosen. Tick a row first.")
    elif not done:
        messages.info(request, "Somebody was first: nothing of this is open any more.")
    else:
        messages.success(request, f"{formats.count(done)} {explain.plural(done, 'field')} {DECIDED[act]}.")
    return redirect(DRIFT)


@requires(Ability.RETRY)
@require_POST
def check(request: HttpRequest) -> HttpResponse:
    """Compare with what stands in Salesforce now: would-be writes in shadow mode, else what others changed."""
    now = shared.now_of(request)
    connection = crm.connection()
    if connection is not None and not connection.is_live:
        looked = shadow.look(now=now)
        words = f"Compared {formats.count(looked.records)} {explain.plural(looked.records, 'record')} with Salesforce."
        messages.success(request, words if looked.records or looked.questions else "Nothing new to compare.")
        return redirect("dashboard:sync")
    try:
        found = drift.check(now=now, everything=request.POST.get("everything") == "1")
    except drift.NotChecked as error:
        messages.error(request, str(error))
    else:
        differ = f"{formats.count(found.found)} {explain.plural(found.found, 'field')} newly differ"
        messages.success(request, f"Compared. {differ}, {formats.count(found.gone)} agree again.")
    return redirect(DRIFT)


# ---- the log ----


def log(request: HttpRequest, head: sync_head.Head) -> HttpResponse:
    outcome, sobject = request.GET.get("outcome", ""), request.GET.get("object", "")
    if (outcome and outcome not in OUTCOMES) or (sobject and sobject not in SOBJECTS):
        raise BadRequest("There is no such outcome or object.")
    search = request.GET.get("q", "").strip()[:100]
    sees = shared.sees_people(request)
    found = crm.logged_writes(
        limit=PAGE_SIZE,
        before_pk=sync_head.number(request.GET.get("before", "")),
        outcome=outcome,
        sobject=sobject,
        search=search,
        searches_people=sees,
    )
    outcomes = {"": "Any", **{code: words for code, (_, _, words) in OUTCOMES.items()}}
    return sync_head.page(
        request,
        "dashboard/sync_log.html",
        head,
        {
            "outcomes": _choices(request, outcomes, outcome, name="outcome"),
            "objects": _choices(request, {"": "Any", **{one: one for one in SOBJECTS}}, sobject, name="object"),
            "search": search,
            "kept": [(name, value) for name, value in request.GET.items() if name in ("tab", "outcome", "object")],
            "rows": [_logged(row, head.connection, sees=sees) for row in found.rows],
            "pager": _pager(request, len(found.rows), found.following),
            "days": head.connection.log_days if head.connection else 0,
            "empty": Empty("notes", "Nothing is logged" if not (outcome or sobject or search) else "No line fits", ""),
        },
    )


def _logged(row: crm.WriteRow, connection: crm.Connection | None, *, sees: bool) -> LogLine:
    tone, glyph, words = OUTCOMES[row.outcome]
    name = (row.account_name or row.customer_name if sees else "") or row.customer_id or row.key
    answer = dict(row.response)
    if not sees and answer.get("message"):
        answer["message"] = sync_head.HIDDEN
    their_id = row.their_id or (row.key if row.sobject == "Account" else "")
    return LogLine(
        row.pk,
        row.at,
        name,
        reverse("dashboard:customer", args=[row.customer_pk]) if row.customer_pk else "",
        row.sobject,
        tone,
        glyph,
        words,
        row.by,
        f"{row.method} {row.path}".strip(),
        tuple(
            (
                change.name,
                sync_head.value(change.name, change.before, sees=sees),
                sync_head.value(change.name, change.after, sees=sees),
                change.is_changed,
            )
            for change in row.changes
        ),
        json.dumps(answer, indent=2, ensure_ascii=False) if answer else "",
        sync_head.cause(row.explanation, str(row.response.get("message", "")), connection, sees=sees)
        if row.explanation
        else None,
        crm.record_url(connection, their_id),
        row.before is not None,
    )


# ---- what the lists share ----


def _choices(request: HttpRequest, words: dict[str, str], chosen: str, *, name: str, default: str = "") -> list[Choice]:
    return [
        Choice(text, shared.link(request, **{name: code if code != default else None}), code == chosen)
        for code, text in words.items()
    ]


def _pager(request: HttpRequest, count: int, following: int | None) -> Pager:
    return Pager(
        formats.count(count),
        next_url=shared.link(request, before=following) if following else "",
        previous_url=shared.link(request) if request.GET.get("before") else "",
    )


LISTS: dict[str, Callable[[HttpRequest, sync_head.Head], HttpResponse]] = {
    "messages": told,
    "drift": edited,
    "log": log,
}
