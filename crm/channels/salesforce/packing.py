"""Packs writes into as few API calls as Salesforce allows. Pure: writes in, requests out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

PARTS = 25  # of one Composite request
COLLECTIONS = 5  # of those at most
RECORDS = 200  # of one collection
BULK_FROM = 2000  # more of one kind than this go by Bulk API 2.0
ORDER = {"Opportunity": 0, "Account": 1, "MRR_Schedule__c": 2, "Task": 3, "FeedItem": 4}


@dataclass(frozen=True, slots=True)
class Write:
    """One record to bring in step: by its id where that is known, else upserted by its External ID, else made.

    `row` is our row's ref; `group` the parent Account: Salesforce locks it, so what has one parent goes together.
    """

    row: int
    group: str
    sobject: str
    fields: Mapping[str, Any]
    their_id: str = ""
    key_field: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """A query that rides with writes and costs no call of its own; `rows` wait for its answer."""

    rows: tuple[int, ...]
    soql: str


@dataclass(frozen=True, slots=True)
class Part:
    """One subrequest, and the rows it carries in order."""

    rows: tuple[int, ...]
    method: str
    path: str
    body: Mapping[str, Any]
    is_collection: bool
    is_question: bool = False

    def as_json(self, *, version: str, reference: str) -> dict[str, Any]:
        url = f"/services/data/v{version}/{self.path}"
        asked = {"method": self.method, "url": url, "referenceId": reference}
        return asked if self.is_question or self.method == "DELETE" else {**asked, "body": dict(self.body)}


def pack(writes: Sequence[Write], questions: Sequence[Question] = ()) -> list[list[Part]]:
    """Return the parts of each Composite request, in the order to send.

    Quiet: up to 25 writes are one request with a part each. Busy: collections of up to 200 records of one kind, five
    to a request. A record never stands twice in one request: the second write goes with the next. Questions ride where
    there is room for them.
    """
    ordered = sorted(writes, key=lambda write: (write.group, ORDER.get(write.sobject, 9)))
    requests: list[list[Part]] = []
    for once in _without_twins(ordered):
        requests += [[single(write) for write in once]] if len(once) <= PARTS else _collections(once)
    for question in questions:
        _ride(question, requests)
    return requests


def goes_by_bulk(due: int) -> bool:
    """Say whether so many due records of one kind are better carried by Bulk API 2.0."""
    return due > BULK_FROM


def _ride(question: Question, requests: list[list[Part]]) -> None:
    """Put a query into the first request that has room for one more; queries and collections are limited together."""
    path = f"query?q={quote(question.soql, safe='')}"
    part = Part(question.rows, "GET", path, {}, is_collection=False, is_question=True)
    for parts in requests:
        heavy = sum(one.is_collection or one.is_question for one in parts)
        if len(parts) < PARTS and heavy < COLLECTIONS:
            parts.append(part)
            return
    requests.append([part])


def _without_twins(writes: Iterable[Write]) -> list[list[Write]]:
    rounds: list[list[Write]] = []
    seen: dict[tuple[str, str], int] = {}
    for write in writes:
        if not write.their_id and not write.key:
            name = (write.sobject, f"new {write.row}")
        else:
            name = (write.sobject, (write.their_id or write.key).lower())
        place = seen.get(name, 0)
        seen[name] = place + 1
        if place == len(rounds):
            rounds.append([])
        rounds[place].append(write)
    return rounds


def single(write: Write) -> Part:
    """Return the part that carries one write."""
    if not write.their_id and not write.key:
        return Part((write.row,), "POST", f"sobjects/{write.sobject}", write.fields, is_collection=False)
    if write.their_id:
        path = f"sobjects/{write.sobject}/{write.their_id}"
    else:
        path = f"sobjects/{write.sobject}/{write.key_field}/{quote(write.key, safe='')}"
    return Part((write.row,), "PATCH", path, write.fields, is_collection=False)


def _collections(writes: Sequence[Write]) -> list[list[Part]]:
    kinds: dict[tuple[str, bool, str], list[Write]] = {}
    for write in writes:
        is_new = not write.their_id and not write.key
        kinds.setdefault((write.sobject, is_new, "" if write.their_id else write.key_field), []).append(write)
    parts: list[Part] = []
    for (sobject, is_new, key_field), same in sorted(kinds.items(), key=lambda kind: ORDER.get(kind[0][0], 9)):
        for at in range(0, len(same), RECORDS):
            parts.append(_collection(sobject, key_field, same[at : at + RECORDS], is_new=is_new))
    return [parts[at : at + COLLECTIONS] for at in range(0, len(parts), COLLECTIONS)]


def _collection(sobject: str, key_field: str, writes: Sequence[Write], *, is_new: bool) -> Part:
    records = []
    for write in writes:
        name = {} if is_new else {key_field: write.key} if key_field else {"Id": write.their_id}
        records.append({"attributes": {"type": sobject}, **name, **write.fields})
    path = f"composite/sobjects/{sobject}/{key_field}" if key_field else "composite/sobjects"
    rows = tuple(write.row for write in writes)
    method = "POST" if is_new else "PATCH"
    return Part(rows, method, path, {"allOrNone": False, "records": records}, is_collection=True)
