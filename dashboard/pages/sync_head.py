"""What every list of the sync page stands under: the connection, the backlog, the day's calls and the refusals."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from crm import selectors as crm
from dashboard import formats
from dashboard.pages import shared
from dashboard.parts import Band, Choice, Fact
from dashboard.roles import Ability, may

TABS = {"": "Records", "messages": "Messages", "drift": "Edited there", "log": "Log"}
HIDDEN = "hidden for your role"
# Fields whose text may name a person; what stands in the others are ids, amounts, dates and words of ours.
PERSONAL = frozenset({"Name", "Subject", "Description", "Body", "text", "blocks", "Churn_Risk_Reasons__c", "OwnerId"})


@dataclass(frozen=True)
class Head:
    """The state of the connection and of all outgoing work."""

    tab: str
    now: datetime
    connection: crm.Connection | None
    counts: crm.OutboxCounts
    budget: crm.Budget | None


@dataclass(frozen=True)
class Cause:
    """One refusal for people: why, what to do and where, and Salesforce's own words."""

    code: str
    why: str
    fix: str
    where: str
    where_url: str
    fields: tuple[str, ...]
    said: str
    heals: bool


@dataclass(frozen=True)
class RefusalLine:
    cause: Cause
    url: str
    count: int


@dataclass(frozen=True)
class Budget:
    """The day's calls as three meters, and what they will come to."""

    writes: int
    write_allowance: int
    forecast: int
    reads: int
    read_allowance: int
    used: int | None
    limit: int | None
    reserve: int
    words: str
    is_stopped: bool

    @property
    def usable(self) -> int:
        return max(0, (self.limit or 0) - self.reserve)


def read(request: HttpRequest, tab: str, *, now: datetime) -> Head:
    """Read what stands above each list."""
    connection, budget = crm.standing(now=now)
    return Head(tab, now, connection, crm.outbox_counts(now=now), budget)


def page(request: HttpRequest, template: str, head: Head, context: dict[str, Any]) -> HttpResponse:
    """Render one list under what all of them stand under."""
    connection, now = head.connection, head.now
    sees = shared.sees_people(request)
    done = crm.throughput(now=now)
    return shared.page(
        request,
        template,
        {
            "connection": connection,
            "about_org": _about(connection, now),
            "facts": _facts(connection, head.counts, done, now),
            "hours": done.hours,
            "hours_total": done.total,
            "budget": _budget(head.budget, is_held=connection is not None and connection.held_since is not None),
            "errors": _refusals(connection, sees=sees),
            "tabs": _tabs(request, head),
            "may_retry": may(request, Ability.RETRY),
            "may_connect": may(request, Ability.CONNECT),
            "is_shadow": connection is not None and not connection.is_live,
            "here": request.get_full_path(),
            **context,
        },
        name="Salesforce sync",
        now=now,
        bands=[_shadow_band(connection), _stopped_band(connection, now)],
    )


def cause(found: crm.Explanation, said: str, connection: crm.Connection | None, *, sees: bool) -> Cause:
    """Return a refusal for people. Salesforce's words may name somebody, so not everybody sees them."""
    return Cause(
        found.code,
        found.why,
        found.fix,
        found.where,
        crm.setup_url(connection, found.path),
        found.fields,
        said if sees else "",
        found.heals,
    )


def value(name: str, held: Any, *, sees: bool) -> str:
    """Return a value as text; what may name a person is hidden from those who only see figures."""
    text = _text(held)
    if not sees and text and (name in PERSONAL or "@" in text):
        return HIDDEN
    return text


def number(text: str) -> int | None:
    """Read a place in a list that a page gave out; raises BadRequest for anything else."""
    if text and not text.isdigit():
        raise BadRequest("This place in the list is not one that a page gave out.")
    return int(text) if text else None


def _text(held: Any) -> str:
    if held is None or held == "":
        return ""
    if isinstance(held, dict):  # a reference by External ID
        return ", ".join(f"{name} = {one}" for name, one in held.items())
    if isinstance(held, list):
        return ", ".join(str(one) for one in held)
    return str(held)


def _tabs(request: HttpRequest, head: Head) -> list[Choice]:
    ours = reverse("dashboard:sync")
    differences = head.connection.open_differences if head.connection else 0
    counts = {"drift": formats.count(differences) if differences else ""}
    return [
        Choice(name, f"{ours}?tab={tab}" if tab else ours, tab == head.tab, counts.get(tab, ""))
        for tab, name in TABS.items()
    ]


def _refusals(connection: crm.Connection | None, *, sees: bool) -> list[RefusalLine]:
    ours = reverse("dashboard:sync")
    return [
        RefusalLine(cause(row.explanation, row.text, connection, sees=sees), f"{ours}?code={row.code}", row.count)
        for row in crm.sync_errors(limit=6)
    ]


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


def _facts(
    connection: crm.Connection | None, counts: crm.OutboxCounts, done: crm.Throughput, now: datetime
) -> list[Fact]:
    written = (
        Fact("Sent this hour", formats.count(done.last_hour), "", f"{formats.count(done.total)} within a day")
        if connection and connection.is_live
        else Fact("Would send", formats.count(counts.would_send), "", "records, nothing is written")
    )
    oldest = counts.oldest_due_seconds(now=now)
    return [
        written,
        Fact("Waiting", formats.count(counts.waiting), "", "due now or later"),
        Fact("Held", formats.count(counts.held), "", "for a match or a choice", reverse("dashboard:unmatched")),
        Fact(
            "Parked",
            formats.count(counts.parked),
            "",
            "wait for a person" if counts.parked else "nothing waits for a person",
        ),
        Fact("Oldest due work", formats.age(oldest) if counts.oldest_due_at else "none", "", "limit 60 s"),
    ]


def _budget(found: crm.Budget | None, *, is_held: bool) -> Budget | None:
    if found is None:
        return None
    return Budget(
        found.writes,
        found.write_allowance,
        found.forecast,
        found.reads,
        found.read_allowance,
        found.used,
        found.limit,
        found.reserve,
        "Nothing goes while writes are held." if is_held else _pace(found),
        found.stopped_at is not None,
    )


def _pace(found: crm.Budget) -> str:
    if found.stopped_at is not None:
        return "Stopped at the reserve. Sending goes on by itself when calls are free again."
    if found.gap_seconds >= 1:
        gap = formats.count(round(found.gap_seconds))
        return f"The day's forecast is above the allowance: calls are {gap} s apart, and carry more records each."
    return "What is due goes at once."


def _shadow_band(connection: crm.Connection | None) -> Band | None:
    if connection is None or connection.is_live:
        return None
    return Band("shadow", "eye", "Shadow.", "Nothing is written to Salesforce. Everything below is what would be sent.")


def _stopped_band(connection: crm.Connection | None, now: datetime) -> Band | None:
    if connection is None:
        return None
    if connection.needs_a_person:
        return Band("danger", "plug-off", "Salesforce does not let us in.", connection.error)
    if connection.held_since is not None:
        since = formats.moment(connection.held_since, shared.zone(), seconds=False)
        text = f"{connection.held_because} By {connection.held_by}, {since}. Nothing is lost; what is owed waits."
        return Band("warn", "player-pause", "All writes are held.", text)
    if connection.stopped_at is not None:
        text = "The calls left today are reserved for others. Nothing is lost; sending goes on by itself."
        return Band("warn", "hourglass", "Stopped at the reserve.", text)
    if connection.paused_until is not None and connection.is_paused(now=now):
        at = formats.clock(connection.paused_until, shared.zone())
        return Band("warn", "clock", "Paused.", f"Salesforce asked us to wait. The next try is at {at}.")
    return None
