"""Links or wins an Opportunity in the call that looks for it: guards are queries that find it where one rule is sure.

Salesforce runs the parts of a Composite request in order, and a part that refers to what an earlier one did not find is
not run. So each write names the record that its guard found, and where no rule is sure nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from urllib.parse import quote

from crm.channels.kinds import ChannelError, Postponed
from crm.channels.salesforce import composite, packing
from crm.channels.salesforce.composite import Result, Sender
from crm.channels.salesforce.fields import MRR_SCHEDULE, OPPORTUNITY, SUBSCRIPTION_ID
from crm.channels.salesforce.mapping import FieldMap, in_their_words
from crm.channels.salesforce.packing import Part, Write
from crm.channels.salesforce.soql import quoted
from crm.opportunities import WON_NEAR

MOST_WRITES = 6  # beside it: with their links to it and the guards they still fit into one request
HALTED = "PROCESSING_HALTED"  # said of a part that refers to what was not found
POINTS_BY = "Opportunity__c"
ASKED, FREE, WON, LONE, OPEN = range(5)  # places of the queries, which come first
LINK, WIN, FIRST = 5, 6, 7  # of the two writes of which one may run, and of the first write of another record
DEAL = "deal"


@dataclass(frozen=True, slots=True)
class Guarded:
    """One Opportunity to look for and to write, by our names: `links` is said of one that is won, `wins` of an open.

    `question` tells all there are, for where no rule is sure; `entries` are the rows of schedule entries that are to
    point at it.
    """

    row: int
    account_id: str
    subscription_id: str
    began_on: date
    question: str
    links: Mapping[str, Any]
    wins: Mapping[str, Any]
    entries: frozenset[int]


@dataclass(frozen=True, slots=True)
class Found:
    """What became of each row; the Opportunity's id and what was said of it, both empty where no rule was sure.

    `was` is what it said before, by their names; `pointing` are the entries that point at it now. Where no rule was
    sure, its result is all there is to choose from.
    """

    results: Mapping[int, Result]
    their_id: str = ""
    fields: Mapping[str, Any] | None = None
    was: Mapping[str, Any] | None = None
    pointing: frozenset[int] = frozenset()


def send(
    client: Sender,
    guarded: Guarded,
    writes: Sequence[Write],
    theirs: FieldMap,
    *,
    version: str,
    now: datetime,
    may_send: Callable[[], bool],
) -> Found:
    """Send it and the writes that go with it, all in one call; a failure of the call is that of each row."""
    ordered = sorted(writes, key=lambda write: packing.ORDER.get(write.sobject, 9))
    parts = parts_of(guarded, ordered, theirs)
    rows = {row for part in parts for row in part.rows}
    if not may_send():
        return Found(dict.fromkeys(rows, Postponed()))
    try:
        answers = client.composite(
            [part.as_json(version=version, reference=f"p{number}") for number, part in enumerate(parts)]
        )
    except ChannelError as error:
        return Found(dict.fromkeys(rows, error))
    return read(guarded, parts, answers, writes=len(ordered), now=now)


def parts_of(guarded: Guarded, writes: Sequence[Write], theirs: FieldMap) -> list[Part]:
    """Return the parts of the request: queries, the two guarded writes, the others, and links to what was found."""
    key_field, points_by = theirs.name(OPPORTUNITY, SUBSCRIPTION_ID), theirs.name(MRR_SCHEDULE, POINTS_BY)
    parts = [_query(guarded.row, soql) for soql in _queries(guarded, key_field)]
    for place, fields in ((WON, guarded.links), (OPEN, guarded.wins)):
        path = f"sobjects/{OPPORTUNITY}/{_found(place)}"
        parts.append(_patch(guarded.row, path, theirs.apply(OPPORTUNITY, fields)))
    parts += [packing.single(write) for write in in_their_words(writes, theirs)]
    for place, write in enumerate(writes, start=FIRST):
        if write.row in guarded.entries and points_by:
            path = f"sobjects/{write.sobject}/@{{p{place}.id}}"
            parts += [_patch(write.row, path, {points_by: _found(guard)}) for guard in (WON, OPEN)]
    return parts


def read(
    guarded: Guarded, parts: Sequence[Part], answers: Sequence[Mapping[str, Any]], *, writes: int, now: datetime
) -> Found:
    """Return what the answers say: of each other row by its own write, of which there are so many."""
    end = FIRST + writes
    results = composite.read(parts[FIRST:end], answers[FIRST:end], now=now)
    for place, guard, fields in ((LINK, WON, guarded.links), (WIN, OPEN, guarded.wins)):
        said = composite.read([parts[place]], [answers[place]], now=now)[guarded.row]
        if isinstance(said, ChannelError) and said.code == HALTED:
            continue
        their_id = str(answers[guard]["body"]["records"][0][DEAL])
        linked = zip(parts[end:], answers[end:], strict=True)
        pointing = frozenset(part.rows[0] for part, answer in linked if _is_done(answer))
        result = said if isinstance(said, ChannelError) else their_id
        was = _was(answers[ASKED], their_id)
        return Found({**results, guarded.row: result}, their_id, fields, was, pointing)
    asked = composite.read([parts[ASKED]], [answers[ASKED]], now=now)[guarded.row]
    return Found({**results, guarded.row: asked})


def _was(answer: Mapping[str, Any], their_id: str) -> Mapping[str, Any] | None:
    """Return what the Opportunity said when all were asked for, which came before any write."""
    body = answer.get("body")
    records = body.get("records") if isinstance(body, Mapping) else None
    return next((one for one in records or () if str(one.get("Id")) == their_id), None)


def _is_done(answer: Mapping[str, Any]) -> bool:
    return 200 <= int(answer.get("httpStatusCode") or 0) < 300


# ---- the queries ----


def _queries(guarded: Guarded, key: str) -> list[str]:
    """Return the queries in their places. No rule is sure where an Opportunity carries the subscription's id already.

    WON: the Account's only one won near the start. LONE: the Account, where none was won near it and no open one has
    products, whose Amount Salesforce works out itself. OPEN: its only open one.
    """
    account = quoted(guarded.account_id)
    near = _near(guarded.began_on)
    of_account = f"SELECT AccountId FROM Opportunity WHERE AccountId = {account}"  # noqa: S608  # SOQL, values quoted
    carries = f"{of_account} AND {key} = {quoted(guarded.subscription_id)}"
    unsure = f"{of_account} AND {key} = null AND ({near} OR (IsClosed = false AND HasOpportunityLineItem = true))"
    free = f"SELECT Id FROM Account WHERE Id = {account} AND Id NOT IN ({carries})"  # noqa: S608
    return [
        guarded.question,
        free,
        _only(FREE, f"{key} = null AND {near}"),
        f"{free} AND Id NOT IN ({unsure})",
        _only(LONE, f"{key} = null AND IsClosed = false"),
    ]


def _near(began_on: date) -> str:
    first, last = began_on - WON_NEAR, began_on + WON_NEAR
    return f"(IsWon = true AND CloseDate >= {first.isoformat()} AND CloseDate <= {last.isoformat()})"


def _only(place: int, condition: str) -> str:
    """A query for the only Opportunity that fits, of the Account that an earlier one found; nothing for several."""
    return (
        f"SELECT MAX(Id) {DEAL} FROM Opportunity WHERE AccountId = '{_found(place, 'Id')}' AND {condition} "  # noqa: S608
        "GROUP BY AccountId HAVING COUNT(Id) = 1"
    )


def _found(place: int, name: str = DEAL) -> str:
    return f"@{{p{place}.records[0].{name}}}"


def _query(row: int, soql: str) -> Part:
    """A query as a part; its references stay readable, since Salesforce fills them in before it reads the address."""
    path = quote(soql, safe="")
    for place in (FREE, LONE):
        reference = _found(place, "Id")
        path = path.replace(quote(reference, safe=""), reference)
    return Part((row,), "GET", f"query?q={path}", {}, is_collection=False, is_question=True)


def _patch(row: int, path: str, fields: Mapping[str, Any]) -> Part:
    return Part((row,), "PATCH", path, fields, is_collection=False)
