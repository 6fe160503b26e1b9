"""Unmatched: the workbench where a person says which Account a customer is: evidence, one key a decision, undo."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import BadRequest
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.views.decorators.http import require_GET

from billing import selectors as billing
from crm import selectors as crm
from dashboard import exports, formats
from dashboard.pages import explain, notes, opportunities, shared
from dashboard.pages.shared import Scope
from dashboard.parts import Choice, Empty, Fact, Pager
from dashboard.roles import Ability, may, requires

PAGE_SIZE = 50
EXPORT_CHUNK = 500
KINDS = {
    "metadata_id": "Named in metadata",
    "contact_email": "Contact's e-mail equal",
    "website_domain": "Domain equal",
    "company_name": "Name equal",
    "postal_code": "Postcode equal",
}
STATES = {  # reason: tone, glyph, words in the queue, what to do
    "no_account_for_id": (
        "warn",
        "alert-triangle",
        "Id unknown",
        "Put the right Account id into the customer's metadata in Stripe, or search the Account below.",
    ),
    "malformed_id": (
        "warn",
        "alert-triangle",
        "Id malformed",
        "Correct the metadata salesforce_account_id in Stripe, or search the Account below.",
    ),
    "deleted_account": (
        "warn",
        "trash",
        "Deleted",
        "Restore the Account in Salesforce, or search the one that took its place.",
    ),
    "several_contacts": ("warn", "git-branch", "Several fit", "Choose one; nothing is guessed."),
    "contact_without_account": (
        "n",
        "user",
        "Contact alone",
        "Give the Contact an Account in Salesforce, or search the Account below.",
    ),
    "no_email": ("n", "mail", "No e-mail", "Search the Account by name below."),
    "no_contact": (
        "n",
        "search",
        "No Contact",
        "Add the e-mail to a Contact in Salesforce, or search the Account below.",
    ),
    "no_org": ("n", "plug-off", "No Salesforce", "Connect Salesforce first: manage.py connect_salesforce."),
    "undone": ("n", "arrow-back-up", "Undone", "A person undid its match. Choose again."),
}
COLUMNS = (
    "source",
    "customer",
    "name",
    "email",
    "currency",
    "mrr_minor",
    "mrr_micros",
    "since",
    "reason",
    "reason_text",
    "held_records",
    "best_account",
    "best_account_name",
    "best_score",
)


@dataclass(frozen=True)
class Amount:
    """An amount in a currency of its own; amounts of several are listed, never added."""

    currency: str
    minor: int


@dataclass(frozen=True)
class QueueLine:
    """One customer of the queue."""

    pk: int
    who: str
    second: str
    url: str
    currency: str
    minor: int
    code: str
    since: datetime
    best: int | None
    tone: str
    glyph: str
    state: str
    assigned: str
    is_chosen: bool


@dataclass(frozen=True)
class EvidenceLine:
    """One piece of evidence: short in the chip, whole in its title."""

    label: str
    text: str
    weight: int

    @property
    def points(self) -> str:
        return formats.count(self.weight, signed=True)


@dataclass(frozen=True)
class CandidateLine:
    account_id: str
    name: str
    detail: str
    score: int | None
    reasons: tuple[EvidenceLine, ...]
    key: str
    url: str
    is_chosen: bool


@dataclass(frozen=True)
class PairLine:
    """One row of the comparison: what Stripe says and what Salesforce says; `tone` eq, ne or nothing."""

    label: str
    ours: str
    theirs: str
    tone: str = ""


@dataclass(frozen=True)
class Card:
    """The chosen customer, its candidates and what a match would do."""

    pk: int
    who: str
    url: str
    customer_id: str
    source: str
    mrr: str
    since: datetime
    why: str
    advice: str
    place: int
    candidates: tuple[CandidateLine, ...]
    pair: tuple[PairLine, ...]
    effect: str
    next_pk: int | None
    is_snoozed: bool
    code: str
    assigned: str


@requires(Ability.SEE_FIGURES)
@require_GET
def unmatched(request: HttpRequest) -> HttpResponseBase:
    now = shared.now_of(request)
    scope = shared.read_scope(request)
    panel = explain.panel(request, scope, now=now)
    if panel and explain.is_alone(request):
        return explain.alone(request, panel, now=now)
    reason, tab = request.GET.get("reason", ""), request.GET.get("tab", "")
    if tab == "opportunities":
        return opportunities.questions(request, _tabs(request, scope, now=now))
    is_snoozed, is_mine = tab == "snoozed", tab == "mine" and may(request, Ability.ANNOTATE)
    if reason and reason not in crm.REASONS:
        raise BadRequest(f"There is no reason '{reason}'.")
    if kind := shared.wants_export(request):
        return _export(request, kind, scope, reason, now)
    found = crm.unmatched(
        limit=PAGE_SIZE,
        after=_place(request.GET.get("after", "")),
        reason=reason,
        sources=scope.sources,
        snoozed_at=now if is_snoozed else None,
        awake_at=None if is_snoozed or is_mine else now,
        assignee_pk=request.user.pk if is_mine else None,
    )
    totals = crm.unmatched_totals(sources=scope.sources)
    resting = crm.resting(now=now)
    chosen = _chosen(request, found.rows)
    counts = crm.unmatched_reasons(sources=scope.sources)
    lists = _lists(request, scope, totals, resting)
    shown_list = tab if is_snoozed or is_mine else ""
    count = counts.get(reason, 0) if reason and not is_mine else lists[shown_list]
    assigned = crm.assignments([row.customer_pk for row in found.rows]) if shared.sees_people(request) else {}
    return shared.page(
        request,
        "dashboard/unmatched.html",
        {
            "panel": panel,
            "facts": _facts(scope, totals, resting, now),
            "tabs": _tab_choices(request, lists, tab=shown_list),
            "reasons": _reasons(request, counts, reason),
            "reason_words": crm.REASONS.get(reason, ""),
            "is_snoozed": is_snoozed,
            "rows": [_line(request, row, chosen, assigned.get(row.customer_pk)) for row in found.rows],
            "total": count,
            "amounts": [
                Amount(code, shared.minor(one.unmatched_micros))
                for code, one in sorted(totals.currencies.items(), key=lambda pair: pair[0] != scope.currency)
                if one.unmatched_micros and not shown_list and not reason
            ],
            "card": _card(request, chosen, found.rows, assigned, now) if chosen else None,
            "pager": Pager(
                f"{formats.count(len(found.rows))} of {formats.count(count)}"
                if not reason
                else formats.count(len(found.rows)),
                next_url=shared.link(
                    request, customer=None, after=f"{found.following.mrr_micros}.{found.following.customer_pk}"
                )
                if found.following
                else "",
                previous_url=shared.link(request, customer=None) if request.GET.get("after") else "",
            ),
            "empty": _nothing(request, reason, shown_list),
            "may_match": may(request, Ability.MATCH),
            "last": _last(request, now),
            "find": request.GET.get("find", ""),
            "kept": [(name, value) for name, value in request.GET.items() if name in _KEPT],
        },
        name="Unmatched",
        now=now,
        scope=scope,
    )


_KEPT = ("customer", "reason", "source", "tab", "after")


def _tabs(request: HttpRequest, scope: Scope, *, now: datetime) -> list[Choice]:
    lists = _lists(request, scope, crm.unmatched_totals(sources=scope.sources), crm.resting(now=now))
    return _tab_choices(request, lists, tab="opportunities")


def _lists(request: HttpRequest, scope: Scope, totals: crm.MatchTotals, resting: crm.Resting) -> dict[str, int]:
    """Return the lists of the workbench and how long each is: who waits, who rests, who is the reader's, Opportunities.

    A reader to whom nothing can be assigned has no list of its own.
    """
    found = {"": totals.customers - resting.snoozed, "snoozed": resting.snoozed}
    if may(request, Ability.ANNOTATE) and request.user.pk is not None:
        found["mine"] = crm.unmatched_assigned_to(request.user.pk, sources=scope.sources)
    return found | {"opportunities": crm.opportunity_question_count()}


_LIST_NAMES = {"": "Waiting", "snoozed": "Snoozed", "mine": "Mine", "opportunities": "Opportunities"}


def _tab_choices(request: HttpRequest, lists: Mapping[str, int], *, tab: str) -> list[Choice]:
    return [
        Choice(
            _LIST_NAMES[code],
            shared.link(request, tab=code or None, customer=None, record=None),
            code == tab,
            formats.count(count),
        )
        for code, count in lists.items()
    ]


def _last(request: HttpRequest, now: datetime) -> tuple[int, str] | None:
    """Return the reader's last match of today with its words, to be undone."""
    if not may(request, Ability.MATCH):
        return None
    found = crm.last_decision(request.user.get_username(), since=now - timedelta(days=1))
    if found is None:
        return None
    at = formats.clock(found.matched_at, shared.zone())
    return found.pk, f"{found.customer_name or found.customer_id} to {found.account_name}, {at}."


# ---- the queue ----


def _facts(scope: Scope, totals: crm.MatchTotals, resting: crm.Resting, now: datetime) -> list[Fact]:
    currency = scope.currency
    found = totals.currencies.get(currency, crm.MatchedMrr())
    paying = found.matched_customers + found.unmatched_customers
    age = (
        f"oldest {formats.age(int((now - resting.held_since).total_seconds()))}" if resting.held_since else "none waits"
    )
    return [
        Fact(
            "Matched share of MRR",
            formats.ratio(totals.share(currency), places=2),
            "matched",
            f"{formats.money(shared.minor(found.unmatched_micros), currency)} to go",
        ),
        Fact(
            "Matched share by count",
            formats.ratio(totals.customer_share(currency), places=2),
            "",
            f"{formats.count(found.matched_customers)} of {formats.count(paying)} paying customers",
        ),
        Fact("Held Salesforce writes", formats.count(resting.held), "", age, f"{reverse('dashboard:sync')}?state=held"),
        Fact("Snoozed", formats.count(resting.snoozed), "", "left out until their day"),
    ]


def _reasons(request: HttpRequest, counts: Mapping[str, int], asked: str) -> list[Choice]:
    return [
        Choice("Any", shared.link(request, reason=None, customer=None), not asked),
        *(
            Choice(
                crm.REASONS[code], shared.link(request, reason=code, customer=None), code == asked, formats.count(count)
            )
            for code, count in counts.items()
        ),
    ]


def _chosen(request: HttpRequest, rows: Sequence[crm.UnmatchedRow]) -> crm.UnmatchedRow | None:
    asked = request.GET.get("customer", "")
    return next((row for row in rows if str(row.customer_pk) == asked), rows[0] if rows else None)


def _line(
    request: HttpRequest, row: crm.UnmatchedRow, chosen: crm.UnmatchedRow | None, assigned: crm.NoteRow | None
) -> QueueLine:
    tone, glyph, words, _ = STATES[row.reason]
    sees = shared.sees_people(request)
    named = shared.who(request, name=row.name, email=row.email, stripe_id=row.customer_id)
    if row.reason == "several_contacts" and len(row.candidates) == 2:
        words = "Two fit"
    return QueueLine(
        row.customer_pk,
        named,
        row.email if sees and row.email and row.email != named else row.source,
        shared.link(request, customer=row.customer_pk, find=None),
        row.currency,
        row.mrr_minor,
        f"cus:{row.customer_pk}:{row.currency}",
        row.since,
        row.candidates[0].score if row.candidates else None,
        tone,
        glyph,
        words,
        notes.words(assigned),
        row is chosen,
    )


def _place(cursor: str) -> crm.UnmatchedPlace | None:
    if not cursor:
        return None
    micros, _, pk = cursor.partition(".")
    if not (micros.isdigit() and pk.isdigit()):
        raise BadRequest("This place in the list is not one that a page gave out.")
    return crm.UnmatchedPlace(int(micros), int(pk))


def _nothing(request: HttpRequest, reason: str, shown_list: str) -> Empty:
    if reason:
        return Empty(
            "filter",
            "Nobody waits for this reason",
            f"{crm.REASONS[reason]}.",
            "Show all",
            shared.link(request, reason=None),
        )
    if shown_list == "mine":
        return Empty("user", "None of them is assigned to you", "", "Show who waits", shared.link(request, tab=None))
    if shown_list:
        return Empty("clock", "Nobody is snoozed", "", "Show who waits", shared.link(request, tab=None))
    return Empty(
        "circle-check",
        "Every customer has an Account",
        "New ones appear here when nothing in Salesforce fits for sure.",
    )


# ---- the card ----


def _card(
    request: HttpRequest,
    row: crm.UnmatchedRow,
    rows: Sequence[crm.UnmatchedRow],
    assigned: Mapping[int, crm.NoteRow],
    now: datetime,
) -> Card:
    sees = shared.sees_people(request)
    at = [one.customer_pk for one in rows].index(row.customer_pk)
    candidates = _candidates(request, row, sees=sees)
    chosen = next((one for one in candidates if one.is_chosen), None)
    after = rows[at + 1] if at + 1 < len(rows) else rows[at - 1] if at else None
    known = crm.accounts([one.account_id for one in candidates])
    candidates = tuple(_with_detail(one, known.get(one.account_id), sees=sees) for one in candidates)
    account = known.get(chosen.account_id) if chosen else None
    return Card(
        row.customer_pk,
        shared.who(request, name=row.name, email=row.email, stripe_id=row.customer_id),
        reverse("dashboard:customer", args=[row.customer_pk]),
        row.customer_id,
        row.source,
        formats.money(row.mrr_minor, row.currency),
        row.since,
        row.reason_text,
        STATES[row.reason][3],
        at + 1,
        candidates,
        _pair(row, account) if sees and account else (),
        _effect(row, account, sees=sees) if account else "",
        after.customer_pk if after else None,
        row.snoozed_until is not None and row.snoozed_until > now,
        row.reason,
        notes.words(assigned.get(row.customer_pk)),
    )


def _candidates(request: HttpRequest, row: crm.UnmatchedRow, *, sees: bool) -> tuple[CandidateLine, ...]:
    """Return what the machine found, then what the reader's own search found, at most nine in all."""
    found: list[tuple[str, str, int | None, Sequence[Mapping[str, Any]]]] = [
        (one.account_id, one.name, one.score, one.reasons) for one in row.candidates
    ]
    known = {account_id for account_id, *_ in found}
    search = request.GET.get("find", "").strip()
    if search and sees:
        found += [
            (one.salesforce_id, one.name, None, ())
            for one in crm.accounts_matching(search, limit=9)
            if one.salesforce_id not in known
        ]
    found = found[:9]
    asked = request.GET.get("candidate", "")
    chosen = asked if asked in {account_id for account_id, *_ in found} else found[0][0] if found else ""
    return tuple(
        CandidateLine(
            account_id,
            name if sees else account_id,
            "",
            score,
            tuple(
                EvidenceLine(KINDS.get(one["kind"], one["kind"]), one["text"] if sees else "", one["weight"])
                for one in reasons
            ),
            str(number),
            shared.link(request, customer=row.customer_pk, candidate=account_id),
            account_id == chosen,
        )
        for number, (account_id, name, score, reasons) in enumerate(found, start=1)
    )


def _with_detail(one: CandidateLine, account: crm.AccountRow | None, *, sees: bool) -> CandidateLine:
    if account is None or not sees:
        return one
    words = [part for part in (account.city or account.country, account.type) if part]
    if account.customers:
        words.append(f"{formats.count(account.customers)} {explain.plural(account.customers, 'customer')} matched")
    return replace(one, detail=" · ".join(words))


def _pair(row: crm.UnmatchedRow, account: crm.AccountRow) -> tuple[PairLine, ...]:
    """Set the two records side by side; only what both know is called equal or different."""
    person = billing.customers([row.customer_pk])[row.customer_pk]
    domain = person.email.partition("@")[2].lower()
    website = account.website.lower().removeprefix("https://").removeprefix("http://").removeprefix("www.").strip("/")
    place = " ".join(part for part in (person.postal_code, person.country) if part)
    theirs = " ".join(part for part in (account.postal_code, account.country) if part)
    return (
        PairLine("Name", person.name, account.name, _tone(person.name, account.name)),
        PairLine("Domain", domain, website, _tone(domain, website)),
        PairLine("E-mail", person.email, ""),
        PairLine("Place", place, theirs, _tone(person.postal_code, account.postal_code)),
        PairLine("Owner", "", account.owner_name),
    )


def _tone(ours: str, theirs: str) -> str:
    if not ours or not theirs:
        return ""
    return "eq" if ours.replace(" ", "").lower() == theirs.replace(" ", "").lower() else "ne"


def _effect(row: crm.UnmatchedRow, account: crm.AccountRow, *, sees: bool) -> str:
    name = account.name if sees else account.salesforce_id
    held = (
        f"releases {formats.count(row.held)} held {explain.plural(row.held, 'record')}"
        if row.held
        else "no record is held"
    )
    return f"adds {formats.money(row.mrr_minor, row.currency)} of MRR to {name}, and {held}. Undo stays possible."


# ---- export ----


def _export(request: HttpRequest, kind: str, scope: Scope, reason: str, now: datetime) -> HttpResponseBase:
    return exports.response(
        kind,
        name="unmatched",
        columns=COLUMNS,
        rows=(_cells(row) for row in _all(scope.sources, reason)),
        about=[
            *shared.about(request, "Unmatched", now=now, scope=scope),
            *((code, text) for code, text in crm.REASONS.items()),
        ],
        zone=shared.zone(),
    )


def _all(sources: Sequence[int], reason: str) -> Iterator[crm.UnmatchedRow]:
    after: crm.UnmatchedPlace | None = None
    while True:
        found = crm.unmatched(limit=EXPORT_CHUNK, after=after, reason=reason, sources=sources)
        yield from found.rows
        if found.following is None:
            return
        after = found.following


def _cells(row: crm.UnmatchedRow) -> Sequence[exports.Cell]:
    best = row.candidates[0] if row.candidates else None
    return (
        row.source,
        row.customer_id,
        row.name,
        row.email,
        row.currency,
        row.mrr_minor,
        row.mrr_micros,
        row.since,
        row.reason,
        row.reason_text,
        row.held,
        best.account_id if best else None,
        best.name if best else None,
        best.score if best else None,
    )
