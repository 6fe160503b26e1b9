"""Tries a mapping with a write of each kind that Salesforce takes back itself: a last part fails, and all with it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from crm.channels.salesforce import errors
from crm.channels.salesforce.fields import ACCOUNT, LEDGER_KEY, MESSAGE_KEY, MRR_SCHEDULE, NEEDED, OPPORTUNITY, TASK
from crm.channels.salesforce.mapping import FIXED, FieldMap

if TYPE_CHECKING:
    from crm.channels.salesforce.client import Client

NOBODY = "001000000000000AAA"  # an Account that no org has: writing to it fails, and takes the rest back
_LAST = "last"


@dataclass(frozen=True, slots=True)
class Tried:
    """One write of the trial: what it held, by the org's names. `is_taken` is None where it was only described."""

    sobject: str
    fields: Mapping[str, Any]
    is_taken: bool | None
    text: str = ""


def describe(theirs: FieldMap, *, now: datetime) -> list[Tried]:
    """Return what a trial would write, without asking anybody."""
    samples = _samples(theirs, account_id=None, now=now)
    return [Tried(sobject, samples[sobject], None) for sobject in (ACCOUNT, MRR_SCHEDULE, OPPORTUNITY, TASK)]


def run(client: Client, theirs: FieldMap, *, now: datetime) -> list[Tried]:
    """Write a record of each kind and have it taken back, in one transaction of Salesforce; raises ChannelError.

    A refusal names the first kind it met; the kinds after it were not tried, and say so.
    """
    account = next(iter(client.query("SELECT Id FROM Account ORDER BY SystemModstamp DESC LIMIT 1")), None)
    deal = next(iter(client.query("SELECT Id FROM Opportunity ORDER BY SystemModstamp DESC LIMIT 1")), None)
    account_id = str(account["Id"]) if account else None
    samples = _samples(theirs, account_id=account_id, now=now)
    key = f"trial-{secrets.token_hex(8)}"
    schedule_key = theirs.name(MRR_SCHEDULE, LEDGER_KEY)
    task_key = theirs.name(TASK, MESSAGE_KEY)
    paths: dict[str, str] = {MRR_SCHEDULE: f"sobjects/{MRR_SCHEDULE}/{schedule_key}/{key}"}
    if account_id:
        paths[ACCOUNT] = f"sobjects/{ACCOUNT}/{account_id}"
        paths[TASK] = f"sobjects/{TASK}/{task_key}/{key}"
    if deal:
        paths[OPPORTUNITY] = f"sobjects/{OPPORTUNITY}/{deal['Id']}"
    order = [sobject for sobject in (ACCOUNT, MRR_SCHEDULE, OPPORTUNITY, TASK) if sobject in paths]
    without_key = {MRR_SCHEDULE: schedule_key, TASK: task_key}
    parts = [
        _part(
            client,
            sobject,
            paths[sobject],
            {k: v for k, v in samples[sobject].items() if k != without_key.get(sobject)},
        )
        for sobject in order
    ]
    parts.append(_part(client, _LAST, f"sobjects/{ACCOUNT}/{NOBODY}", {"Description": key}))
    answers = client.restful("composite", method="POST", json={"allOrNone": True, "compositeRequest": parts})[
        "compositeResponse"
    ]
    if all(200 <= int(answer["httpStatusCode"]) < 300 for answer in answers):  # nothing failed, so it stands
        client.restful(paths[MRR_SCHEDULE], method="DELETE")
    left_out = [
        Tried(sobject, samples[sobject], None, "The org has no record of this kind to try it on.")
        for sobject in (ACCOUNT, OPPORTUNITY, TASK)
        if sobject not in paths
    ]
    return [*_read(order, samples, answers, now=now), *left_out]


def _read(
    order: Sequence[str],
    samples: Mapping[str, Mapping[str, Any]],
    answers: Sequence[Mapping[str, Any]],
    *,
    now: datetime,
) -> list[Tried]:
    tried: list[Tried] = []
    has_failed = False
    for sobject, answer in zip(order, answers, strict=False):
        refusal = errors.rows_error(answer.get("body"), now=now) if int(answer["httpStatusCode"]) >= 300 else None
        if refusal is None or refusal.code == "PROCESSING_HALTED":
            # Halted means that another part failed: the last one, or one before this.
            is_taken = None if has_failed else True
            tried.append(Tried(sobject, samples[sobject], is_taken, "Not tried: see above." if has_failed else ""))
        else:
            has_failed = True
            tried.append(Tried(sobject, samples[sobject], False, f"{refusal.message} ({refusal.code})"))
    return tried


def _part(client: Client, reference: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    url = f"/services/data/v{client.org.api_version}/{path}"
    return {"method": "PATCH", "url": url, "referenceId": reference, "body": dict(body)}


def _samples(theirs: FieldMap, *, account_id: str | None, now: datetime) -> dict[str, dict[str, Any]]:
    """A value of the right kind for each field we write."""
    found: dict[str, dict[str, Any]] = {}
    for one in NEEDED:
        if (one.sobject, one.name) in FIXED or (one.sobject, one.name) == (OPPORTUNITY, "Amount"):
            continue
        value = _sample(one.types, one.values, one.scale, now)
        if one.to == ACCOUNT:
            value = account_id
        if one.is_key:
            value = f"trial-{secrets.token_hex(8)}"
        found.setdefault(one.sobject, {})[one.name] = value
    found[TASK] |= {"Subject": "Trial of the MRR ledger", "WhatId": account_id}
    return {sobject: theirs.apply(sobject, fields) for sobject, fields in found.items()}


def _sample(types: Sequence[str], values: Sequence[str], scale: int, now: datetime) -> Any:
    if values:
        return values[0]
    match types[0]:
        case "double" | "currency":
            return f"1.{'0' * scale}" if scale else 1
        case "date":
            return date(now.year, now.month, now.day).isoformat()
        case "datetime":
            return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")
        case "boolean":
            return False
        case "reference":
            return None
    return "usd"
