"""Health: one page for whoever is on call, with what is wrong, where it stands, and the button that mends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from billing import fetches, inbox, webhook
from billing import selectors as billing
from crm import selectors as crm
from dashboard import findings, formats, machine
from dashboard.findings import Finding, Press
from dashboard.machine import Machine
from dashboard.pages import notes, shared
from dashboard.parts import Fact
from dashboard.roles import Ability, may, requires
from mrr import selectors as mrr

ICONS = {"danger": "circle-x", "warn": "alert-triangle", "remark": "info-circle"}
WORDS = {"danger": "Urgent", "warn": "Needs a person", "remark": "Worth knowing"}
REFUSALS_SHOWN = 10


@dataclass(frozen=True)
class FindingLine:
    """A finding as a row; `press` and `notes_url` are there only for those who may use them."""

    finding: Finding
    icon: str
    words: str
    press: Press | None
    notes_url: str = ""
    lines: int = 0
    assigned: str = ""
    is_overdue: bool = False


@dataclass(frozen=True)
class SourceCard:
    """One source: how it fares, and what reading Stripe's lists last came to."""

    health: billing.SourceHealth
    backfill: billing.ListingRow | None
    catch_up: billing.ListingRow | None
    recount: billing.ListingRow | None
    endpoint: str
    key_words: str
    secret_words: str


@requires(Ability.SEE_FIGURES)
@require_GET
def health(request: HttpRequest) -> HttpResponse:
    """Show how everything stands, from our own rows alone: nobody outside is asked."""
    now = shared.now_of(request)
    told = machine.look(now)
    cards = [_card(one, now) for one in billing.source_health(now=now)]
    connection, budget = crm.standing(now=now)
    found = _findings(told, cards, connection, now=now)
    return shared.page(
        request,
        "dashboard/health.html",
        {
            "facts": _facts(told, cards, found, now),
            "lines": finding_lines(request, found, today=shared.today(now)),
            "sees_people": shared.sees_people(request),
            "machine": told,
            "cards": cards,
            "connection": connection,
            "budget": budget,
            "may_connect": may(request, Ability.CONNECT),
            "sizes": billing.table_sizes() if "tables" in request.GET else None,
        },
        name="Health",
        now=now,
    )


@requires(Ability.RETRY)
@require_POST
def process_events(request: HttpRequest) -> HttpResponse:
    """Put all events of a source that are parked for one reason back to waiting."""
    done = inbox.reprocess_parked(_source_pk(request), request.POST.get("reason", "")[:50], now=shared.now_of(request))
    webhook.after_keep()
    return _back(request, done, "event", "waits again and is processed within seconds")


@requires(Ability.RETRY)
@require_POST
def read_again(request: HttpRequest) -> HttpResponse:
    """Ask Stripe again for what a source's reads were given up on."""
    done = fetches.try_parked_again(_source_pk(request), now=shared.now_of(request))
    return _back(request, done, "read", "is due again")


def _source_pk(request: HttpRequest) -> int:
    slug = request.POST.get("source", "")
    return next((row.pk for row in billing.sources() if row.slug == slug), 0)


def _back(request: HttpRequest, done: int, what: str, words: str) -> HttpResponse:
    if done:
        messages.success(request, f"{formats.count(done)} {what}{'' if done == 1 else 's'}: {words}.")
    else:
        messages.info(request, "Nothing of this waits any more.")
    return redirect("dashboard:health")


# ---- findings ----


def findings_now(now: datetime) -> list[Finding]:
    """Gather what is wrong or needs a look, the worst first."""
    connection, _ = crm.standing(now=now)
    cards = [_card(one, now) for one in billing.source_health(now=now)]
    return _findings(machine.look(now), cards, connection, now=now)


def _findings(
    told: Machine, cards: Sequence[SourceCard], connection: crm.Connection | None, *, now: datetime
) -> list[Finding]:
    found = [*findings.of_machine(told, now=now)]
    for card in cards:
        slug = card.health.row.slug
        found += findings.of_source(card.health, now=now)
        found += findings.of_lists(slug, card.backfill, "")
        found += findings.of_lists(slug, card.catch_up, "deliveries_missed")
        found += findings.of_lists(slug, card.recount, "recount_differs")
    found += findings.of_salesforce(connection, crm.sync_errors(limit=REFUSALS_SHOWN), now=now)
    found += findings.of_ledger(mrr.proof(), now=now)
    return findings.worst_first(found)


def finding_lines(request: HttpRequest, found: Sequence[Finding], *, today: date) -> list[FindingLine]:
    """Return findings as rows, with who looks after each for those who see people. At most two queries."""
    said = crm.notes_on_findings([one.key for one in found]) if shared.sees_people(request) else {}
    return [_line(request, one, said.get(one.key), today=today) for one in found]


def _line(request: HttpRequest, one: Finding, said: crm.FindingNotes | None, *, today: date) -> FindingLine:
    press = one.press if one.press and may(request, one.press.ability) else None
    line = FindingLine(one, ICONS[one.severity], WORDS[one.severity], press)
    url = reverse("dashboard:finding", args=[one.key])
    if said is None:
        return replace(line, notes_url=url) if may(request, Ability.ANNOTATE) else line
    newest = said.newest
    return replace(
        line,
        notes_url=url,
        lines=said.lines,
        assigned=notes.words(newest),
        is_overdue=newest.due_on is not None and newest.due_on < today,
    )


# ---- what is shown of each ----


def _facts(told: Machine, cards: Sequence[SourceCard], found: Sequence[Finding], now: datetime) -> list[Fact]:
    last = max((one.health.last_event_at for one in cards if one.health.last_event_at), default=None)
    waiting = sum(queue.waiting for queue in told.queues)
    urgent = sum(one.severity == "danger" for one in found)
    return [
        Fact(
            "Workers",
            _age(told.beat_at, now, "never seen"),
            "",
            "ago was their last sign of life" if told.beat_at else "start serve",
        ),
        Fact("Oldest due work", _age(told.due_since, now, "none"), "", "over 2 min is too long"),
        Fact(
            "Waiting",
            formats.count(waiting),
            "",
            f"and {formats.count(told.tasks_waiting)} tasks in the workers' queue",
        ),
        Fact("Last event", _age(last, now, "none yet"), "", "ago" if last else "nothing has arrived"),
        Fact(
            "Findings",
            formats.count(len(found)),
            "",
            f"{formats.count(urgent)} of them {'stops' if urgent == 1 else 'stop'} something"
            if urgent
            else "none stops anything",
        ),
    ]


def _age(at: datetime | None, now: datetime, nothing: str) -> str:
    return formats.age(max(0, int((now - at).total_seconds()))) if at else nothing


def _card(one: billing.SourceHealth, now: datetime) -> SourceCard:
    pk = one.row.pk
    return SourceCard(
        one,
        billing.backfill_progress(pk),
        billing.last_catch_up(pk),
        billing.last_recount(pk),
        reverse("stripe_webhook", args=[one.row.slug]),
        _key_words(one, now),
        _secret_words(one, now),
    )


def _key_words(one: billing.SourceHealth, now: datetime) -> str:
    if not one.has_key:
        return "none: what events leave out is not read"
    age = _age(one.key_since, now, "")
    return f"{age} old" if one.is_key_dated else f"at most {age} old"


def _secret_words(one: billing.SourceHealth, now: datetime) -> str:
    if not one.secrets:
        return "none: every delivery is refused"
    listed = [f"whsec_…{secret.last4}, {_age(secret.created_at, now, '')} old" for secret in one.secrets]
    return "; ".join(listed)
