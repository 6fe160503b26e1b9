"""The queue: the figures above it, its lists and filters, its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.http import HttpRequest
from django.urls import reverse

from crm import selectors as crm
from dashboard import formats
from dashboard.pages import notes, shared
from dashboard.pages.shared import Scope
from dashboard.pages.unmatched.asked import AGES, MINE, SCORES, Asked
from dashboard.pages.unmatched.card import rests, rests_words
from dashboard.pages.unmatched.lists import lengths
from dashboard.pages.unmatched.words import OTHER_STATE, STATES
from dashboard.parts import Choice, Empty, Fact
from dashboard.roles import Ability, may

RESTS = {
    "snoozed": ("n", "clock", "Snoozed"),
    "expected": ("n", "hourglass", "Expected"),
    "ignored": ("n", "ban", "Ignored"),
}
ORDER_WORDS = {
    crm.UnmatchedOrder.MRR: "Largest amount first",
    crm.UnmatchedOrder.AGE: "Longest waiting first",
    crm.UnmatchedOrder.SCORE: "Best candidate first",
}


@dataclass(frozen=True)
class Amount:
    """An amount in a currency of its own; amounts of several are listed, never added."""

    currency: str
    minor: int


@dataclass(frozen=True)
class Heading:
    """What stands above the rows: how many, of how much MRR, kept by which filter."""

    total: int
    word: str
    amounts: tuple[Amount, ...]
    note: str
    order: str


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
    state_words: str
    has_news: bool
    assigned: str
    is_chosen: bool


@dataclass(frozen=True)
class Filter:
    """A menu of the filter bar."""

    name: str
    choices: Sequence[Choice]


@dataclass(frozen=True)
class Sort:
    """A column that the list can be sorted by; `direction` is aria-sort's word where it is."""

    label: str
    url: str
    direction: str


def facts(scope: Scope, totals: crm.MatchTotals, held: crm.HeldWork, now: datetime) -> list[Fact]:
    currency = scope.currency
    found = totals.currencies.get(currency, crm.MatchedMrr())
    paying = found.matched_customers + found.unmatched_customers
    age = f"oldest {formats.age(int((now - held.since).total_seconds()))}" if held.since else "none waits"
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
        Fact("Held Salesforce writes", formats.count(held.count), "", age, f"{reverse('dashboard:sync')}?state=held"),
    ]


def filters(request: HttpRequest, scope: Scope, asked: Asked, counts: crm.UnmatchedCounts) -> list[Filter]:
    """Return the menus of the filter bar; what cannot be chosen among is left out."""

    def choices(name: str, told: str, known: Mapping[str, str], any_word: str = "Any") -> list[Choice]:
        kept = {"customer": None, "find": None, "like": None, "candidate": None}
        first = Choice(any_word, shared.link(request, **{**kept, name: None}), not told)
        return [
            first,
            *(
                Choice(label, shared.link(request, **{**kept, name: code}), code == told)
                for code, label in known.items()
            ),
        ]

    reasons = {
        code: f"{crm.REASONS.get(code, code)} · {formats.count(count)}" for code, count in counts.reasons.items()
    }
    found = [Filter("Reason", choices("reason", asked.reason, reasons))]
    found.append(
        Filter("Score", choices("score", asked.score, {code: words for code, (words, _, _) in SCORES.items()}))
    )
    found.append(Filter("Waits", choices("age", asked.age, {code: words for code, (words, _) in AGES.items()})))
    currencies = {one.currency: one.currency.upper() for one in scope.standing.currencies}
    if len(currencies) > 1:
        found.append(Filter("Currency", choices("currency", asked.currency, currencies)))
    if len(scope.source_choices) > 2:
        found.append(Filter("Source", scope.source_choices))
    if may(request, Ability.ANNOTATE) and asked.tab != MINE:
        able = {str(pk): name for pk, name in notes.able(request).items()}
        found.append(Filter("Assignee", choices("assignee", asked.assignee, able, "Anyone")))
    return found


def sorts(request: HttpRequest, asked: Asked) -> dict[str, Sort]:
    """Return the columns by which the list can be sorted: the most first, of ages the longest."""
    names = {"mrr": "MRR", "age": "Age", "score": "Score"}
    return {
        code: Sort(
            label,
            shared.link(request, order=None if code == "mrr" else code, customer=None),
            "descending" if asked.order.value == code else "",
        )
        for code, label in names.items()
    }


def heading(asked: Asked, scope: Scope, totals: crm.MatchTotals, counts: crm.UnmatchedCounts) -> Heading:
    """Say how many there are. Of filtered lists the page does not count what it does not show."""
    words = {"": "waiting", MINE: "yours", "expected": "expected", "snoozed": "snoozed", "ignored": "ignored"}
    amounts = tuple(
        Amount(code, shared.minor(one.unmatched_micros))
        for code, one in sorted(totals.currencies.items(), key=lambda pair: pair[0] != scope.currency)
        if one.unmatched_micros
    )
    return Heading(
        lengths(counts)[asked.tab],
        words[asked.tab],
        amounts if not asked.tab and not asked.is_filtered else (),
        crm.REASONS.get(asked.reason, ""),
        ORDER_WORDS[asked.order],
    )


def line(
    request: HttpRequest, row: crm.UnmatchedRow, assigned: crm.NoteRow | None, *, is_chosen: bool, now: datetime
) -> QueueLine:
    sees = shared.sees_people(request)
    named = shared.who(request, name=row.name, email=row.email, stripe_id=row.customer_id)
    tone, glyph, words = STATES.get(row.reason, OTHER_STATE)
    if row.reason == "several_contacts" and len(row.candidates) == 2:
        words = "Two fit"
    set_aside = rests(row, now=now)
    if set_aside:
        tone, glyph, words = RESTS[set_aside]
    return QueueLine(
        pk=row.customer_pk,
        who=named,
        second=row.email if sees and row.email and row.email != named else row.source,
        url=shared.link(request, customer=row.customer_pk, find=None, like=None, candidate=None),
        currency=row.currency,
        minor=row.mrr_minor,
        code=f"cus:{row.customer_pk}:{row.currency}",
        since=row.since,
        best=row.candidates[0].score if row.candidates else None,
        tone=tone,
        glyph=glyph,
        state=words,
        state_words=rests_words(row, now=now) if set_aside else row.reason_text,
        has_news=row.news_at is not None,
        assigned=notes.words(assigned),
        is_chosen=is_chosen,
    )


def nothing(request: HttpRequest, asked: Asked) -> Empty:
    """Say why the list is empty, and the way on."""
    if asked.is_filtered:
        told = dict.fromkeys(("reason", "score", "age", "assignee", "currency", "customer"))
        text = f"{crm.REASONS[asked.reason]}." if asked.reason else ""
        return Empty("filter", "Nobody fits these filters", text, "Show all", shared.link(request, **told))
    back = ("Show who waits", shared.link(request, tab=None, customer=None))
    match asked.tab:
        case "mine":
            return Empty("user", "None of them is assigned to you", "", *back)
        case "snoozed":
            return Empty("clock", "Nobody is snoozed", "", *back)
        case "expected":
            text = "Whoever waits for an answer or a new Account stands here until its day or until there is news."
            return Empty("hourglass", "Nothing is expected", text, *back)
        case "ignored":
            return Empty("ban", "Nobody is ignored", "", *back)
    return Empty(
        "circle-check",
        "Every customer has an Account",
        "New ones appear here when nothing in Salesforce fits for sure.",
    )
