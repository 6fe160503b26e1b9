"""Reads one object by a Bulk query job: Salesforce works it out in its own time, and its parts are kept one by one."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import structlog

from crm.accounts import asking
from crm.channels.kinds import ChannelError, Permanent, Transient
from crm.models import MirrorRead

if TYPE_CHECKING:
    from crm.channels.salesforce.client import Client

log = structlog.get_logger(__name__)

PART = 20_000  # records, some 5 MB: what is in memory at once
POLL_SECONDS = 5.0
LAST = "null"  # what Salesforce writes for the locator after the last part
FLAGS = frozenset({"IsDeleted", "IsActive"})

Keep = Callable[[Iterator[dict[str, Any]]], None]


def carry_on(client: Client, read: MirrorRead, *, until: float, keep: Keep) -> None:
    """Go on with a job, or begin it, until its results are kept or time is up; each step is written down.

    Where Salesforce will have no such job, or let it fail, the object is left to be read page by page.
    """
    try:
        if not read.job_id:
            read.job_id = client.query_job(asking.soql(read.sobject, client.org, read.since))
            read.save()
        if _is_done(client, read.job_id, until=until):
            _read_parts(client, read, until=until, keep=keep)
    except Permanent as refusal:
        log.warning("not read by bulk", sobject=read.sobject, code=refusal.code, message=refusal.message)
        read.by_bulk, read.job_id, read.locator, read.kept = False, "", "", 0
        read.save()


def _is_done(client: Client, job_id: str, *, until: float) -> bool:
    """Look whether the job is done, and look again while there is time. Raises Permanent where it failed."""
    while True:
        answer = client.restful(f"jobs/query/{job_id}") or {}
        if answer.get("state") == "JobComplete":
            return True
        if answer.get("state") in ("Failed", "Aborted"):
            raise Permanent("BULK_JOB_FAILED", str(answer.get("errorMessage") or "The Bulk query failed."))
        if time.monotonic() + POLL_SECONDS > until:
            return False
        time.sleep(POLL_SECONDS)


def _read_parts(client: Client, read: MirrorRead, *, until: float, keep: Keep) -> None:
    """Keep part after part, at least one a turn; where to go on is written down with each."""
    while read.ended_at is None:
        params = {"maxRecords": str(PART), **({"locator": read.locator} if read.locator else {})}
        text, headers = client.text_with_headers(f"jobs/query/{read.job_id}/results", params)
        following = headers.get("Sforce-Locator")
        if not following:
            raise Transient("UNREADABLE_ANSWER", "The results of the Bulk job cannot be read.")
        keep(records(text, asking.columns(read.sobject, client.org)))
        read.locator = "" if following == LAST else following
        if following == LAST:
            read.ended_at = client.now
        read.save()
        if time.monotonic() > until:
            break
    if read.ended_at is not None:
        _throw_away(client, read.job_id)


def _throw_away(client: Client, job_id: str) -> None:
    """Take the results from Salesforce's shelf, where they would lie for a week."""
    try:
        client.restful(f"jobs/query/{job_id}", method="DELETE")
    except ChannelError as refusal:
        log.info("bulk query not thrown away", job_id=job_id, code=refusal.code)


def records(text: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the records of a part as the REST API would show them. Raises Transient for what is no such part.

    The first line names the columns; `columns` says how we write their names.
    """
    lines = csv.reader(io.StringIO(text, newline=""))
    ours = {name.lower(): name for name in columns}
    given = [ours.get(name.lower(), name) for name in next(lines, ())]
    if "Id" not in given:
        raise Transient("UNREADABLE_ANSWER", "The results of the Bulk job cannot be read.")
    for cells in lines:
        record: dict[str, Any] = {}
        for name, cell in zip(given, cells, strict=True):
            relation, _, field = name.rpartition(".")
            value = cell == "true" if field in FLAGS else cell or None
            if relation:
                record.setdefault(relation, {})[field] = value
            else:
                record[field] = value
        yield record
