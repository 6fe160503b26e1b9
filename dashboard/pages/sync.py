"""Salesforce sync: what was or would be written, field by field, what was refused and why, and the day's calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.contrib import messages
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_POST

from crm import decisions, outbox
from crm import selectors as crm
from dashboard import formats
from dashboard.pages import explain, shared, sync_head, sync_lists
from dashboard.parts import Choice, Empty, Pager
from dashboard.roles import Ability, may, requires

PAGE_SIZE = 50
MOST_AT_ONCE = 5000
STATES = {
    "": "All",
    "would_send": "Would send",
    "sent": "Sent",
    "waiting": "Waiting",
    "held": "Held",
    "parked": "Parked",
    "dropped": "Skipped",
}
HELD = {
    "unmatched": "Held: no Account",
    "no_org": "Held: no Salesforce",
    "needs_a_person": "Held: needs a person",
    "held_by_person": "Held by a person",
}
CONVERTED = ("MRR__c", "ARR__c", "CMRR__c", "Past_Due_Amount__c")  # sums, empty only where a rate is missing
DONE = {"retry": "due again", "skip": "skipped", "hold": "held"}


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
    cause: sync_head.Cause | None
    note: str
    note_url: str
    salesforce_id: str
    record_url: str
    parent_url: str
    key: str
    attempts: int
    due_at: datetime
    is_shadow: bool
    is_compared: bool
    is_new: bool
    kept: str
    code: str

    @property
    def may_be_retried(self) -> bool:
        return self.state in ("parked", "held", "dropped") or self.cause is not None

    @property
    def may_be_put_by(self) -> bool:
        return self.state in ("parked", "waiting", "would_send", "held")


@requires(Ability.SEE_FIGURES)
@require_GET
def sync(request: HttpRequest) -> HttpResponseBase:
    tab = request.GET.get("tab", "")
    if tab not in sync_head.TABS:
        raise BadRequest("There is no such list.")
    now = shared.now_of(request)
    head = sync_head.read(request, tab, now=now)
    if tab == "":
        return _records(request, head)
    return sync_lists.LISTS[tab](request, head)


def _records(request: HttpRequest, head: sync_head.Head) -> HttpResponse:
    state, kind = request.GET.get("state", ""), request.GET.get("kind", "")
    if state not in STATES or (kind and kind not in crm.SOBJECTS):
        raise BadRequest("There is no such state or object.")
    code = request.GET.get("code", "")[:80]
    search = request.GET.get("q", "").strip()[:100]
    found = crm.sync_rows(
        limit=PAGE_SIZE,
        before_pk=sync_head.number(request.GET.get("before", "")),
        state=state,
        kind=kind,
        error_code=code,
        search=search,
        searches_people=shared.sees_people(request),
    )
    return sync_head.page(
        request,
        "dashboard/sync.html",
        head,
        {
            "states": [
                Choice(
                    name,
                    shared.link(request, state=one or None),
                    one == state,
                    formats.count(getattr(head.counts, one)) if one else "",
                )
                for one, name in STATES.items()
            ],
            "kinds": [
                Choice("Any", shared.link(request, kind=None), not kind),
                *(Choice(name, shared.link(request, kind=one), one == kind) for one, name in crm.SOBJECTS.items()),
            ],
            "code": code,
            "without_code": shared.link(request, code=None),
            "search": search,
            "kept": [(name, value) for name, value in request.GET.items() if name in ("state", "kind", "code")],
            "rows": record_lines(request, found.rows, head.connection),
            "pager": Pager(
                formats.count(len(found.rows)),
                next_url=shared.link(request, before=found.following) if found.following else "",
                previous_url=shared.link(request) if request.GET.get("before") else "",
            ),
            "empty": _nothing(request, head.connection, is_filtered=bool(state or kind or code or search)),
        },
    )


# ---- decisions ----


@requires(Ability.RETRY)
@require_POST
def retry(request: HttpRequest, pk: int) -> HttpResponse:
    """Make a record due again, at once."""
    if decisions.retry([pk], by=request.user.get_username(), now=shared.now_of(request)):
        messages.success(request, "It is due again. Load the page in a few seconds to see the answer.")
    else:
        messages.error(request, str(outbox.UnknownWork(f"There is no Salesforce record {pk} here that waits.")))
    return redirect(f"{reverse('dashboard:sync')}?state={request.POST.get('state', '')}".rstrip("="))


@requires(Ability.RETRY)
@require_POST
def decide(request: HttpRequest) -> HttpResponse:
    """Retry, skip or hold what was chosen, or all that one refusal concerns."""
    decision = "retry" if request.POST.get("all_of") else request.POST.get("decision", "")
    act = decisions.DECISIONS.get(decision)
    if act is None:
        raise BadRequest("There is no such decision.")
    refs = _refs(request)
    done = act(refs, by=request.user.get_username(), now=shared.now_of(request))
    if not refs:
        messages.error(request, "Nothing was chosen. Tick a row first.")
    elif not done:
        messages.info(request, "Nothing of this waits any more.")
    else:
        messages.success(request, f"{formats.count(done)} {explain.plural(done, 'piece')} of work {DONE[decision]}.")
    return back(request)


def _refs(request: HttpRequest) -> list[int]:
    code = request.POST.get("all_of", "")[:80]
    if code:
        return crm.refs_refused(code, limit=MOST_AT_ONCE)
    return [int(text) for text in request.POST.getlist("ref") if text.removeprefix("-").isdigit()][:MOST_AT_ONCE]


def back(request: HttpRequest) -> HttpResponse:
    """Go back to the list as it was filtered; never to another site."""
    to = request.POST.get("to", "")
    ours = reverse("dashboard:sync")
    is_ours = to.startswith("/dashboard/") and url_has_allowed_host_and_scheme(to, allowed_hosts=None)
    return redirect(to if is_ours else ours)


# ---- rows ----


def record_lines(
    request: HttpRequest, rows: Sequence[crm.SyncRow], connection: crm.Connection | None = None
) -> list[RecordLine]:
    """Return records as rows; names only for those who may see people."""
    sees = shared.sees_people(request)
    return [_line(row, connection, sees=sees, may_match=may(request, Ability.MATCH)) for row in rows]


def _line(row: crm.SyncRow, connection: crm.Connection | None, *, sees: bool, may_match: bool) -> RecordLine:
    changes = tuple(
        (
            change.name,
            sync_head.value(change.name, change.before, sees=sees),
            sync_head.value(change.name, change.after, sees=sees),
            change.is_changed,
        )
        for change in row.changes
    )
    changed = sum(is_changed for *_, is_changed in changes)
    name = (row.account_name or row.customer_name if sees else "") or row.customer_id or row.key
    note, note_url = _note(row, may_match=may_match)
    return RecordLine(
        row.pk,
        name,
        reverse("dashboard:customer", args=[row.customer_pk]) if row.customer_pk else "",
        row.sobject,
        _change(row, changed),
        "waiting" if row.state == "dropped" and row.error_code != decisions.SKIPPED else row.state,
        _words(row),
        row.sent_at or row.created_at,
        changes,
        sync_head.cause(row.explanation, row.error, connection, sees=sees) if row.explanation else None,
        note,
        note_url,
        row.salesforce_id,
        crm.record_url(connection, row.salesforce_id),
        crm.record_url(connection, row.parent_id),
        row.key,
        row.attempts,
        row.due_at,
        row.state == "would_send",
        row.there_at is not None,
        row.there_at is not None and not row.before,
        ", ".join(sorted(row.accepted)),
        row.error_code,
    )


def _change(row: crm.SyncRow, changed: int) -> str:
    if row.state == "held" or not row.fields:
        return "held" if row.state == "held" else "never written" if row.error_code else "not built yet"
    if not row.before:
        # Accounts and Opportunities are there already: ours is their first write, not their making.
        return "new record" if row.sobject == "MRR_Schedule__c" else "first write"
    return f"{changed} {explain.plural(changed, 'field')}" if changed else "no change"


def _words(row: crm.SyncRow) -> str:
    if row.state == "dropped":
        return "Skipped" if row.error_code == decisions.SKIPPED else "Not needed any more"
    if row.state == "held":
        return HELD.get(row.error_code, "Held: choose Opportunity" if row.kind == "opportunity" else "")
    return "Tried, waits" if row.state == "waiting" and row.error_code else ""


def _note(row: crm.SyncRow, *, may_match: bool) -> tuple[str, str]:
    """Say why a record is held, left out or incomplete, and where a person can do something about it."""
    empty = [name for name in CONVERTED if row.fields.get(name, "") is None]
    if row.kind == "account" and row.fields.get("Ledger_Version__c") and empty:
        names = f"{', '.join(empty[:-1])} and {empty[-1]} are" if empty[1:] else f"{empty[0]} is"
        return f"{names} empty: no exchange rate is near enough for one of its currencies. Import one.", ""
    if row.state not in ("held", "dropped"):
        return "", ""
    if row.error_code in ("unmatched", "no_org"):
        return row.error or "The customer has no Account yet.", reverse("dashboard:unmatched")
    if row.kind == "opportunity" and row.state == "held" and row.error_code not in HELD:
        return row.error, f"{reverse('dashboard:unmatched')}?tab=opportunities&record={row.pk}"
    return row.error, ""


def _nothing(request: HttpRequest, connection: crm.Connection | None, *, is_filtered: bool) -> Empty:
    if is_filtered:
        everything = shared.link(request, state=None, kind=None, code=None, q=None)
        return Empty("filter", "No record fits", "", "Show all", everything)
    if connection is None:
        return Empty(
            "plug-off",
            "Salesforce is not connected",
            "Connect it in shadow first: nothing is written until somebody switches it to live.",
            "Connect Salesforce",
            reverse("dashboard:salesforce"),
        )
    return Empty("cloud-upload", "Nothing is owed yet", "Records appear with the first movement of a matched customer.")
