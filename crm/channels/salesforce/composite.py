"""Sends packed writes as Composite requests and says what became of each row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from crm.channels.kinds import ChannelError, LookedUp, Postponed, Transient, Unclear
from crm.channels.salesforce import errors
from crm.channels.salesforce.packing import Part, Question, Write, pack
from crm.ids import MalformedId, long_id

# The record's id there (empty where it said none), the answer to a question, or why it did not work.
Result = str | LookedUp | Postponed | ChannelError


class Sender(Protocol):
    def composite(self, parts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Send one Composite request and return the answers of its parts."""


def send(
    client: Sender,
    writes: Sequence[Write],
    questions: Sequence[Question] = (),
    *,
    version: str,
    now: datetime,
    may_send: Callable[[], bool],
) -> dict[int, Result]:
    """Send all writes and return, for each row, the record's id or what went wrong.

    A request that fails as a whole fails for its rows; what comes after a limit or an outage is not tried.
    `may_send` is asked before each request: it says no when our lease may soon be another worker's.
    """
    results: dict[int, Result] = {}
    stopped: ChannelError | Postponed | None = None
    for parts in pack(writes, questions):
        rows = [row for part in parts for row in part.rows]
        if stopped is None and not may_send():
            stopped = Postponed()
        if stopped is None:
            try:
                answers = client.composite(
                    [part.as_json(version=version, reference=f"p{number}") for number, part in enumerate(parts)]
                )
                results |= read(parts, answers, now=now)
                continue
            except ChannelError as error:
                results |= dict.fromkeys(rows, error)
                stopped = error
        else:
            results |= dict.fromkeys(rows, stopped)
    return results


def read(parts: Sequence[Part], answers: Sequence[Mapping[str, Any]], *, now: datetime) -> dict[int, Result]:
    """Return what each part's answer says of its rows: 200 for the whole says nothing about a part."""
    results: dict[int, Result] = {}
    for part, answer in zip(parts, answers, strict=True):
        status, body = int(answer.get("httpStatusCode") or 0), answer.get("body")
        if status >= 300 or status < 200:
            refusal = errors.from_answer(status, body, is_write=not part.is_question, now=now)
            results |= dict.fromkeys(part.rows, refusal)
        elif part.is_question:
            results |= dict.fromkeys(part.rows, _found(body))
        elif part.is_collection:
            results |= _collection_rows(part, body, now)
        else:
            results[part.rows[0]] = _id_of(body)
    return results


def _collection_rows(part: Part, body: Any, now: datetime) -> dict[int, Result]:
    if not isinstance(body, list) or len(body) != len(part.rows):
        return dict.fromkeys(
            part.rows, Unclear("UNREADABLE_ANSWER", "Salesforce's answer does not speak of each record.")
        )
    found: dict[int, Result] = {}
    for row, said in zip(part.rows, body, strict=True):
        found[row] = _id_of(said) if said.get("success") is True else errors.rows_error(said.get("errors"), now=now)
    return found


def _found(body: Any) -> Result:
    """What a question found, which must be all of it: of a longer list the rest would be guessed."""
    records = body.get("records") if isinstance(body, Mapping) else None
    if not isinstance(records, list) or body.get("done") is not True:
        return Transient("UNREADABLE_ANSWER", "Salesforce's answer to a query cannot be read whole.")
    return LookedUp(tuple(one for one in records if isinstance(one, Mapping)))


def _id_of(said: Any) -> str:
    """The id of 200 and 201; 204 says none, and needs none."""
    try:
        return long_id(str(said.get("id") or "")) if isinstance(said, Mapping) else ""
    except MalformedId:
        return ""
