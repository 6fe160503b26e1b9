"""The chosen customer's card: the Accounts it may be, the evidence, both records, and what a match would do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from crm import matching
from crm import selectors as crm
from dashboard import formats
from dashboard.pages import notes, shared
from dashboard.pages.explain import plural
from dashboard.pages.unmatched import compare, effect
from dashboard.pages.unmatched.words import ADVICE, KINDS
from dashboard.roles import Ability, may

MOST_CANDIDATES = 9  # as many as there are keys
LIKE = "like:"  # before the key of another customer, whose Account is meant
SHOWN_CUSTOMERS = 3


@dataclass(frozen=True)
class EvidenceLine:
    """One piece of evidence: short in the chip, whole in its title. A hint has no weight."""

    label: str
    text: str
    weight: int

    @property
    def points(self) -> str:
        return formats.count(self.weight, signed=True) if self.weight else ""


@dataclass(frozen=True)
class CandidateLine:
    """An Account that the customer may be, beside the customer, and what accepting it would do."""

    value: str
    name: str
    detail: str
    score: int | None
    reasons: tuple[EvidenceLine, ...]
    key: str
    is_chosen: bool
    record_url: str
    pair: tuple[compare.PairLine, ...]
    effect: str
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """What a menu of the card offers, and the digit that picks it."""

    value: str
    label: str
    key: str


@dataclass(frozen=True)
class Card:
    """The chosen customer. `rests` says how it was set aside: snoozed, expected, ignored or nothing."""

    pk: int
    who: str
    url: str
    customer_id: str
    source: str
    mrr: str
    since: datetime
    why: str
    advice: str
    code: str
    rests: str
    rests_words: str
    has_news: bool
    candidates: tuple[CandidateLine, ...]
    assigned: str
    ignore_choices: tuple[Choice, ...]
    wait_choices: tuple[Choice, ...]
    people_choices: tuple[Choice, ...]
    may_make_account: bool
    find: str
    like: str


@dataclass(frozen=True)
class _Found:
    """A candidate before it is set beside the customer."""

    value: str
    account_id: str
    name: str
    score: int | None
    reasons: Sequence[Mapping[str, Any]]


def card(request: HttpRequest, row: crm.UnmatchedRow, assigned: crm.NoteRow | None, *, now: datetime) -> Card:
    """Set one customer out for a decision."""
    connection = crm.connection()
    return Card(
        pk=row.customer_pk,
        who=shared.who(request, name=row.name, email=row.email, stripe_id=row.customer_id),
        url=reverse("dashboard:customer", args=[row.customer_pk]),
        customer_id=row.customer_id,
        source=row.source,
        mrr=formats.money(row.mrr_minor, row.currency),
        since=row.since,
        why=row.reason_text,
        advice=ADVICE.get(row.reason, ""),
        code=row.reason,
        rests=rests(row, now=now),
        rests_words=rests_words(row, now=now),
        has_news=row.news_at is not None,
        candidates=_candidates(request, row, connection),
        assigned=notes.words(assigned),
        ignore_choices=_numbered(matching.IGNORE_REASONS.items()),
        wait_choices=_numbered(matching.WAITS.items()),
        people_choices=_people(request, assigned) if may(request, Ability.ANNOTATE) else (),
        may_make_account=connection is not None and connection.makes_accounts,
        find=request.GET.get("find", ""),
        like=request.GET.get("like", ""),
    )


def rests(row: crm.UnmatchedRow, *, now: datetime) -> str:
    """Say how a person set the customer aside, empty where it waits in the queue."""
    if row.ignored_because:
        return "ignored"
    if row.waits_for and row.news_at is None and (row.waits_until is None or row.waits_until > now):
        return "expected"
    return "snoozed" if row.snoozed_until is not None and row.snoozed_until > now else ""


def rests_words(row: crm.UnmatchedRow, *, now: datetime) -> str:
    """Say it in words: why, by whom, until when."""
    kind = rests(row, now=now)
    if kind == "ignored":
        at = f" on {formats.day(row.ignored_at.astimezone(shared.zone()).date())}" if row.ignored_at else ""
        return f"{matching.IGNORE_REASONS.get(row.ignored_because, row.ignored_because)}: {row.ignored_by}{at}"
    if kind == "expected":
        what = matching.WAITS.get(row.waits_for, row.waits_for)
        return f"{what}: {row.waits_by}{_until(row.waits_until)}"
    return f"Snoozed{_until(row.snoozed_until)}" if kind else ""


def _until(at: datetime | None) -> str:
    return f", until {formats.day(at.astimezone(shared.zone()).date())}" if at else ""


def _numbered(choices: Iterable[tuple[object, str]]) -> tuple[Choice, ...]:
    return tuple(
        Choice(str(value), label, str(at) if at < 10 else "") for at, (value, label) in enumerate(choices, start=1)
    )


def _people(request: HttpRequest, assigned: crm.NoteRow | None) -> tuple[Choice, ...]:
    """Offer the reader first, then the others, and nobody at the end."""
    able = notes.able(request)
    mine = {pk: f"{name} (you)" for pk, name in able.items() if pk == request.user.pk}
    others = {pk: name for pk, name in able.items() if pk != request.user.pk}
    nobody = {"": "Nobody"} if assigned and assigned.assignee_pk else {}
    return _numbered((mine | others | nobody).items())


# ---- candidates ----


def _candidates(
    request: HttpRequest, row: crm.UnmatchedRow, connection: crm.Connection | None
) -> tuple[CandidateLine, ...]:
    sees = shared.sees_people(request)
    found = _found(request, row, sees=sees)[:MOST_CANDIDATES]
    if not found:
        return ()
    ids = {one.account_id for one in found}
    accounts, others = crm.accounts(ids), crm.beside(row.customer_pk, row.email, ids)
    on = {id_: [one for one in others if one.account_id == id_ and not one.is_same_payer] for id_ in ids}
    payers = [one for one in others if one.is_same_payer]
    there = effect.on_accounts(row.customer_pk, {id_: [one.customer_pk for one in held] for id_, held in on.items()})
    asked = request.GET.get("candidate", "")
    chosen = next((one.value for one in found if one.value == asked), _first(found))
    lines = []
    for number, one in enumerate(found, start=1):
        account = accounts.get(one.account_id)
        name = one.name if sees else one.account_id
        has_contact = any(said["kind"] in ("contact_email", "same_mailbox") for said in one.reasons)
        lines.append(
            CandidateLine(
                value=one.value,
                name=name,
                detail=_detail(account) if account and sees else "",
                score=one.score,
                reasons=tuple(_evidence(said, sees=sees) for said in one.reasons),
                key=str(number),
                is_chosen=one.value == chosen,
                record_url=crm.record_url(connection, one.account_id),
                pair=_pair(row, account, has_contact=has_contact) if sees and account else (),
                effect=effect.effect(row, one.account_id, name, there),
                warnings=tuple(_warnings(one.account_id, on[one.account_id], payers, sees=sees)),
            )
        )
    return tuple(lines)


def _found(request: HttpRequest, row: crm.UnmatchedRow, *, sees: bool) -> list[_Found]:
    """Return what the reader searched for, then what the machine found."""
    found = [
        _Found(one.account_id, one.account_id, one.name, one.score, (*one.reasons, *one.hints))
        for one in row.candidates
    ]
    known = {one.account_id for one in found}
    if not sees:
        return found
    searched: list[_Found] = []
    if search := request.GET.get("find", "").strip()[:200]:
        searched += [
            _Found(one.salesforce_id, one.salesforce_id, one.name, None, [{"kind": "searched", "text": ""}])
            for one in crm.accounts_matching(search, limit=MOST_CANDIDATES)
            if one.salesforce_id not in known
        ]
    if like := request.GET.get("like", "").strip()[:200]:
        searched += _like(row.customer_pk, like)
    return [*found[: MOST_CANDIDATES - len(searched)], *searched] if searched else found


def _like(customer_pk: int, search: str) -> list[_Found]:
    """Return the Accounts of other customers that fit what was typed."""
    return [
        _Found(
            f"{LIKE}{one.customer_pk}",
            one.account_id,
            one.account_name,
            None,
            [{"kind": "like_customer", "text": f"Its customer {one.name or one.customer_id} ({one.source})"}],
        )
        for one in crm.matched_searched(search, limit=MOST_CANDIDATES)
        if one.customer_pk != customer_pk
    ]


def _first(found: Sequence[_Found]) -> str:
    """Choose the first that was searched for, or else the machine's best."""
    searched = next((one.value for one in found if one.score is None), "")
    return searched or found[0].value


def _evidence(said: Mapping[str, Any], *, sees: bool) -> EvidenceLine:
    kind = said["kind"]
    label = said["text"] if kind == "like_customer" and sees else KINDS.get(kind, kind.replace("_", " ").capitalize())
    return EvidenceLine(label, said["text"] if sees else "", said.get("weight", 0))


def _detail(account: crm.AccountRow) -> str:
    words = [part for part in (account.city or account.country, account.type) if part]
    if account.customers:
        words.append(f"{formats.count(account.customers)} {plural(account.customers, 'customer')} matched")
    return " · ".join(words)


def _pair(row: crm.UnmatchedRow, account: crm.AccountRow, *, has_contact: bool) -> tuple[compare.PairLine, ...]:
    """Set the two records side by side; only what both know is called equal or different."""
    contact = "A Contact has it" if has_contact else "No Contact with this e-mail" if row.email else ""
    return (
        compare.words("Name", row.name, account.name),
        compare.domains("Domain", row.email.partition("@")[2].casefold(), compare.host(account.website)),
        compare.told("E-mail", row.email, contact, is_equal=has_contact),
        compare.phones("Phone", row.phone, account.phone),
        compare.places("Postcode", row.postal_code, account.postal_code),
        compare.places("Country", row.country, account.country),
        compare.told("Owner", "", account.owner_name),
    )


# ---- warnings ----


def _warnings(account_id: str, on: Sequence[crm.Beside], payers: Sequence[crm.Beside], *, sees: bool) -> Iterator[str]:
    """Say what a careful person would want to know before accepting."""
    if on:
        listed = ", ".join((one.name or one.customer_id) if sees else one.customer_id for one in on[:SHOWN_CUSTOMERS])
        more = f" and {formats.count(len(on) - SHOWN_CUSTOMERS)} more" if len(on) > SHOWN_CUSTOMERS else ""
        is_are = "is" if len(on) == 1 else "are"
        others = plural(len(on), "customer")
        yield f"{formats.count(len(on))} other {others} {is_are} on this Account: {listed}{more}."
    if payers and all(one.account_id != account_id for one in payers):
        one = payers[0]
        name = one.account_name if sees else one.account_id
        yield (
            f"Its e-mail also pays as {one.customer_id} ({one.source}), which is {name}. "
            "Accepting spreads one payer over two Accounts."
        )
