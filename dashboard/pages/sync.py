"""Salesforce sync: what was or would be written, field by field, what was refused and why, and the day's calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from crm import outbox
from crm import selectors as crm
from dashboard import formats
from dashboard.pages import explain, shared
from dashboard.parts import Band, Choice, Empty, Fact, Pager
from dashboard.roles import Ability, may, requires

PAGE_SIZE = 50
STATES = {
    "": "All",
    "would_send": "Would send",
    "sent": "Sent",
    "waiting": "Waiting",
    "held": "Held",
    "parked": "Parked",
}
HELD = {
    "unmatched": "Held: no Account",
    "no_org": "Held: no Salesforce",
    "needs_a_person": "Held: needs a person",
}


@dataclass(frozen=True)
class RecordLine:
    """One Salesforce record as a row, with its fields behind it."""

    pk: int
    name: str
    url: str
    sobject: str
    change: str
    state: str
    words: str
    at: datetime
    changes: tuple[tuple[str, str, str, bool], ...]
    error: str
    error_code: str
    salesforce_id: str
    key: str
    attempts: int
    due_at: datetime
    is_shadow: bool

    @property
    def may_be_retried(self) -> bool:
        return self.state in ("parked", "waiting") and bool(self.error_code)


@requires(Ability.SEE_FIGURES)
@require_GET
def sync(request: HttpRequest) -> HttpResponseBase:
    now = shared.now_of(request)
    state, kind = request.GET.get("state", ""), request.GET.get("kind", "")
    if state not in STATES or (kind and kind not in crm.SOBJECTS):
        raise BadRequest("There is no such state or object.")
    connection = crm.connection()
    counts = crm.outbox_counts(now=now)
    found = crm.sync_rows(
        limit=PAGE_SIZE,
        before_pk=_number(request.GET.get("before", "")),
        state=state,
        kind=kind,
        error_code=request.GET.get("code", "")[:80],
        search=request.GET.get("q", "").strip()[:100],
        searches_people=shared.sees_people(request),
    )
    return shared.page(
        request,
        "dashboard/sync.html",
        {
            "connection": connection,
            "about_org": _about(connection, now),
            "facts": _facts(connection, counts, now),
            "budget": _budget(connection),
            "errors": crm.sync_errors(limit=8),
            "states": [
                Choice(
                    name,
                    shared.link(request, state=code or None),
                    code == state,
                    formats.count(getattr(counts, code)) if code else "",
                )
                for code, name in STATES.items()
            ],
            "kinds": [
                Choice("Any", shared.link(request, kind=None), not kind),
                *(Choice(name, shared.link(request, kind=code), code == kind) for code, name in crm.SOBJECTS.items()),
            ],
            "rows": record_lines(request, found.rows),
            "may_retry": may(request, Ability.RETRY),
            "pager": Pager(
                formats.count(len(found.rows)),
                next_url=shared.link(request, before=found.following) if found.following else "",
                previous_url=shared.link(request) if request.GET.get("before") else "",
            ),
            "empty": _nothing(request, connection, state, kind),
        },
        name="Salesforce sync",
        now=now,
        bands=[_shadow_band(connection)],
    )


@requires(Ability.RETRY)
@require_POST
def retry(request: HttpRequest, pk: int) -> HttpResponse:
    """Make a record due again, at once."""
    try:
        outbox.retry(pk, now=shared.now_of(request))
    except outbox.UnknownWork as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "It is due again. Load the page in a few seconds to see the answer.")
    return redirect(f"{reverse('dashboard:sync')}?state={request.POST.get('state', '')}".rstrip("="))


def record_lines(request: HttpRequest, rows: Sequence[crm.SyncRow]) -> list[RecordLine]:
    """Return records as rows; names only for those who may see people."""
    sees = shared.sees_people(request)
    return [_line(row, sees=sees) for row in rows]


def _line(row: crm.SyncRow, *, sees: bool) -> RecordLine:
    changes = tuple(
        (change.name, _text(change.before), _text(change.after), change.is_changed) for change in row.changes
    )
    changed = sum(is_changed for *_, is_changed in changes)
    is_new = not row.before
    name = (row.account_name or row.customer_name if sees else "") or row.customer_id or row.key
    if row.state == "held" or not row.fields:
        change = "held" if row.state == "held" else "not built yet"
    else:
        # Accounts and Opportunities are there already: ours is their first write, not their making.
        first = "new record" if row.sobject == "MRR_Schedule__c" else "first write"
        change = first if is_new else f"{changed} {explain.plural(changed, 'field')}" if changed else "no change"
    words = HELD.get(row.error_code, "") if row.state == "held" else ""
    if row.state == "waiting" and row.error_code:
        words = "Tried, waits"
    return RecordLine(
        row.pk,
        name,
        reverse("dashboard:customer", args=[row.customer_pk]) if row.customer_pk else "",
        row.sobject,
        change,
        "waiting" if row.state == "dropped" else row.state,
        "Not needed any more" if row.state == "dropped" else words,
        row.sent_at or row.created_at,
        changes if sees else tuple(one for one in changes if not isinstance(one[2], str) or "@" not in one[2]),
        row.error if row.state != "held" else "",
        row.error_code if row.state != "held" else "",
        row.salesforce_id,
        row.key,
        row.attempts,
        row.due_at,
        row.state == "would_send",
    )


def _text(value: Any) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, dict):  # a reference by External ID
        return ", ".join(f"{name} = {held}" for name, held in value.items())
    return str(value)


def _about(connection: crm.Connection | None, now: datetime) -> str:
    if connection is None:
        return "Not connected. Everything owed is held and nothing is lost."
    if connection.is_demo:
        return "Demo connection: it records what it would send; there is no org behind it"
    kind = {True: "sandbox", False: "production", None: "kind not known yet"}[connection.is_sandbox]
    read = (
        f" · Accounts read {formats.age(int((now - connection.mirrored_to).total_seconds()))} ago"
        if connection.mirrored_to
        else ""
    )
    return f"{connection.instance_url} · {kind} · API {connection.api_version or 'newest'}{read}"


def _facts(connection: crm.Connection | None, counts: crm.OutboxCounts, now: datetime) -> list[Fact]:
    written = (
        Fact("Sent", formats.count(counts.sent), "", "records, confirmed")
        if connection and connection.is_live
        else Fact("Would send", formats.count(counts.would_send), "", "records, nothing is written")
    )
    oldest = counts.oldest_due_seconds(now=now)
    return [
        written,
        Fact("Waiting", formats.count(counts.waiting), "", "due now or later"),
        Fact("Held, no Account", formats.count(counts.held), "", "unmatched customers", reverse("dashboard:unmatched")),
        Fact(
            "Parked",
            formats.count(counts.parked),
            "",
            "wait for a person" if counts.parked else "nothing waits for a person",
        ),
        Fact("Oldest due work", formats.age(oldest) if counts.oldest_due_at else "none", "", "limit 60 s"),
    ]


@dataclass(frozen=True)
class Budget:
    """How many of the org's calls of the day are used, as its last answer said."""

    used: int
    limit: int


def _budget(connection: crm.Connection | None) -> Budget | None:
    if connection is None or connection.calls_used is None or not connection.calls_limit:
        return None
    return Budget(connection.calls_used, connection.calls_limit)


def _shadow_band(connection: crm.Connection | None) -> Band | None:
    if connection is None or connection.is_live:
        return None
    return Band("shadow", "eye", "Shadow.", "Nothing is written to Salesforce. Everything below is what would be sent.")


def _nothing(request: HttpRequest, connection: crm.Connection | None, state: str, kind: str) -> Empty:
    if state or kind:
        return Empty("filter", "No record fits", "", "Show all", shared.link(request, state=None, kind=None))
    if connection is None:
        return Empty(
            "plug-off",
            "Salesforce is not connected",
            "Connect it in shadow first: manage.py connect_salesforce --help says how.",
        )
    return Empty("cloud-upload", "Nothing is owed yet", "Records appear with the first movement of a matched customer.")


def _number(text: str) -> int | None:
    if text and not text.isdigit():
        raise BadRequest("This place in the list is not one that a page gave out.")
    return int(text) if text else None
