"""Takes out of Salesforce what was written for a match that was undone, so that nothing is left without an Account.

Schedule entries are deleted: the next match makes them anew, by the same key. An Opportunity says again what it said
before. A Task is closed with a line that says why, or deleted where the connection's rule says so; a post is deleted.
Each step may be repeated: what is gone already counts as taken back.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import structlog

from billing import selectors as billing
from crm import messages, opportunities, outbox
from crm.channels.kinds import ChannelError, Outcome, Parcel, Postponed, Sent, Wait
from crm.channels.salesforce import SalesforceChannel, composite, current_org, is_live, mapping
from crm.channels.salesforce import fields as names
from crm.channels.salesforce.chatter import FEED_ITEM
from crm.channels.salesforce.errors import GONE
from crm.channels.salesforce.packing import Part
from crm.channels.salesforce.soql import quoted_list
from crm.models import Message, RecordKind, SalesforceOrg, SyncRecord
from crm.opportunities import GivenBack
from mrr import selectors as mrr

if TYPE_CHECKING:
    from crm.channels.salesforce.client import Client
    from crm.channels.salesforce.mapping import FieldMap

log = structlog.get_logger(__name__)

AT_ONCE = 200  # of one collection
BY_KEY = 15  # parts of their own beside the collections, within the 25 of a request
NOT_ALLOWED = frozenset(
    {"INSUFFICIENT_ACCESS_OR_READONLY", "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", "DELETE_FAILED"}
)
OPPORTUNITY_COLUMNS = ("Id", "Name", "StageName", "CloseDate", "HasOpportunityLineItem")


@dataclass(slots=True)
class Plan:
    """What is asked of Salesforce: records to delete by id or by key, and records to change. By row."""

    deleted: dict[int, tuple[str, str]] = field(default_factory=dict)  # object, id
    by_key: dict[int, str] = field(default_factory=dict)  # path
    changed: dict[int, tuple[str, str, Mapping[str, Any]]] = field(default_factory=dict)  # object, id, their fields
    gone: set[int] = field(default_factory=set)
    left: dict[int, tuple[str, ...]] = field(default_factory=dict)  # fields of an Opportunity that stay as they are


def take_back(*, now: datetime) -> outbox.Settled:
    """Take back one batch of what is due; does nothing where nothing may be written now."""
    org = current_org()
    if org is None or not is_live(org) or not SalesforceChannel().is_open(now=now):
        return outbox.Settled()
    parcel = outbox.claim_to_take_back(now=now, limit=AT_ONCE)
    if parcel is None:
        return outbox.Settled()
    outcomes: dict[int, Outcome]
    try:
        outcomes = _take(org, parcel, now=now)
    except ChannelError as error:
        outcomes = {row.ref: error for row in parcel.rows}
    return outbox.settle_taken_back(parcel, outcomes, now=now)


def _take(org: SalesforceOrg, parcel: Parcel, *, now: datetime) -> dict[int, Outcome]:
    from crm.channels.salesforce.client import Client

    theirs = mapping.of(org)
    with Client(org, now=now) as client:
        plan = _planned(client, org, parcel, theirs, now=now)
        results = _send(client, org, plan, parcel, now=now)
        refused = {row for row, result in results.items() if _is_refused(result) and row in plan.deleted}
        if refused:
            results |= _send(client, org, _without_deleting(plan, refused, parcel, theirs), parcel, now=now)
        wait = next((result for result in results.values() if isinstance(result, Wait)), None)
        if wait is not None:
            client.pause(wait)
    outcomes: dict[int, Outcome] = {row: Sent({}, called=False) for row in plan.gone}
    for row, result in results.items():
        is_gone = isinstance(result, ChannelError) and result.code in GONE
        outcomes[row] = result if not isinstance(result, str) and not is_gone else Sent(parcel.asked[row]["fields"])
    _note_what_is_left(plan, outcomes, parcel)
    return {row.ref: Postponed() for row in parcel.rows} | outcomes


# ---- planning ----


def _planned(client: Client, org: SalesforceOrg, parcel: Parcel, theirs: FieldMap, *, now: datetime) -> Plan:
    records = [row for row in parcel.rows if isinstance(row, SyncRecord)]
    told = [row for row in parcel.rows if isinstance(row, Message)]
    plan = Plan()
    for row in records:
        if row.kind == RecordKind.SCHEDULE:
            _delete(plan, row.ref, names.MRR_SCHEDULE, row.salesforce_id, names.LEDGER_KEY, row.key, theirs)
    _plan_opportunities(client, plan, [row for row in records if row.kind == RecordKind.OPPORTUNITY], theirs)
    for one in told:
        if one.topic == messages.CLOSED_WON:
            _delete_post(plan, one)
        elif org.deletes_tasks:
            _delete(plan, one.ref, names.TASK, one.their_id, names.MESSAGE_KEY, one.dedupe_key, theirs)
    if not org.deletes_tasks:
        _plan_tasks(client, plan, [row for row in told if row.topic != messages.CLOSED_WON], theirs, now=now)
    return plan


def _delete(plan: Plan, ref: int, sobject: str, their_id: str, key_field: str, key: str, theirs: FieldMap) -> None:
    if their_id:
        plan.deleted[ref] = (sobject, their_id)
    else:
        plan.by_key[ref] = f"sobjects/{sobject}/{theirs.name(sobject, key_field)}/{quote(key, safe='')}"


def _delete_post(plan: Plan, row: Message) -> None:
    if row.their_id:
        plan.deleted[row.ref] = (FEED_ITEM, row.their_id)
    else:
        plan.gone.add(row.ref)


def _plan_opportunities(client: Client, plan: Plan, rows: Sequence[SyncRecord], theirs: FieldMap) -> None:
    if not rows:
        return
    key = theirs.name(names.OPPORTUNITY, names.SUBSCRIPTION_ID)
    columns = [*OPPORTUNITY_COLUMNS, *filter(None, (key, theirs.name(names.OPPORTUNITY, "Amount")))]
    if any(names.CURRENCY in (row.fields_sent or {}) for row in rows):
        columns.append(names.CURRENCY)
    ids = quoted_list(sorted({row.salesforce_id for row in rows if row.salesforce_id}) or [""])
    keys = quoted_list(sorted(row.key for row in rows))
    where = f"Id IN {ids} OR {key} IN {keys}" if key else f"Id IN {ids}"
    soql = f"SELECT {', '.join(columns)} FROM Opportunity WHERE {where}"  # noqa: S608  # SOQL, values quoted
    found = [theirs.back(names.OPPORTUNITY, one) for one in client.query(soql)]
    for row in rows:
        there = next(
            (one for one in found if str(one.get(names.SUBSCRIPTION_ID) or "").lower() == row.key.lower()), None
        )
        if there is None:  # deleted, or somebody gave it to another subscription
            plan.gone.add(row.ref)
            continue
        has_products = bool(there.get("HasOpportunityLineItem"))
        back = opportunities.give_back(row.fields_sent or {}, row.was, there, has_products=has_products)
        _plan_opportunity(plan, row.ref, str(there["Id"]), back, theirs)


def _carries(one: Mapping[str, Any], row: SyncRecord, *, by_key: bool) -> bool:
    """Say whether an Opportunity is still that of the subscription; by its id where the org keeps no key of ours."""
    if not by_key:
        return str(one["Id"]) == row.salesforce_id
    return str(one.get(names.SUBSCRIPTION_ID) or "").lower() == row.key.lower()


def _plan_opportunity(plan: Plan, ref: int, their_id: str, back: GivenBack, theirs: FieldMap) -> None:
    if back.is_made:
        plan.deleted[ref] = (names.OPPORTUNITY, their_id)
        return
    plan.changed[ref] = (names.OPPORTUNITY, their_id, theirs.apply(names.OPPORTUNITY, back.fields))
    if back.left:
        plan.left[ref] = back.left


def _plan_tasks(client: Client, plan: Plan, rows: Sequence[Message], theirs: FieldMap, *, now: datetime) -> None:
    ids = sorted({row.their_id for row in rows if row.their_id})
    asked = ["Id", "Subject", "Description"]
    found = {one["Id"]: one for one in client.retrieve(names.TASK, ids, asked) if one} if ids else {}
    on = now.astimezone(mrr.reporting_zone()).date()
    for row in rows:
        there = found.get(row.their_id)
        if there is None:
            plan.gone.add(row.ref)
            continue
        said = messages.withdrawn_task(str(there.get("Subject") or ""), str(there.get("Description") or ""), on=on)
        plan.changed[row.ref] = (names.TASK, row.their_id, theirs.apply(names.TASK, said))


def _without_deleting(plan: Plan, refused: set[int], parcel: Parcel, theirs: FieldMap) -> Plan:
    """Where we may not delete, an entry is taken off its Account and Opportunity, and what else we made is let go."""
    other = Plan(left=plan.left)
    for row in parcel.rows:
        if row.ref not in refused or not isinstance(row, SyncRecord):
            continue
        sobject, their_id = plan.deleted[row.ref]
        emptied = ("Account__c", "Opportunity__c")
        if sobject == names.OPPORTUNITY:
            emptied = (names.SUBSCRIPTION_ID, "Committed_ARR__c")
            plan.left[row.ref] = ("Id",)
        other.changed[row.ref] = (sobject, their_id, theirs.apply(sobject, dict.fromkeys(emptied)))
    return other


# ---- sending ----


def _send(
    client: Client, org: SalesforceOrg, plan: Plan, parcel: Parcel, *, now: datetime
) -> dict[int, composite.Result]:
    """Send all in one Composite request; what there is no room or no time for is left for the next turn."""
    parts = _parts(plan, parcel)
    rows = [row for part in parts for row in part.rows]
    if not parts:
        return {}
    if time.monotonic() > parcel.send_until:
        return dict.fromkeys(rows, Postponed())
    asked = [part.as_json(version=org.api_version, reference=f"p{place}") for place, part in enumerate(parts)]
    return composite.read(parts, client.composite(asked), now=now)


def _parts(plan: Plan, parcel: Parcel) -> list[Part]:
    parts: list[Part] = []
    if plan.deleted:
        ordered = sorted(plan.deleted.items(), key=lambda one: (one[1], one[0]))
        ids = ",".join(their_id for _, (_, their_id) in ordered)
        path = f"composite/sobjects?ids={ids}&allOrNone=false"
        parts.append(Part(tuple(ref for ref, _ in ordered), "DELETE", path, {}, is_collection=True))
        for ref, (sobject, their_id) in ordered:
            parcel.asked[ref] = {"method": "DELETE", "path": f"sobjects/{sobject}/{their_id}", "fields": {}}
    if plan.changed:
        ordered_changes = sorted(plan.changed.items(), key=lambda one: (one[1][0], one[0]))
        records = [
            {"attributes": {"type": sobject}, "Id": their_id, **said}
            for _, (sobject, their_id, said) in ordered_changes
        ]
        body = {"allOrNone": False, "records": records}
        rows = tuple(ref for ref, _ in ordered_changes)
        parts.append(Part(rows, "PATCH", "composite/sobjects", body, is_collection=True))
        for ref, (sobject, their_id, said) in ordered_changes:
            parcel.asked[ref] = {"method": "PATCH", "path": f"sobjects/{sobject}/{their_id}", "fields": said}
    for ref, path in list(plan.by_key.items())[:BY_KEY]:
        parts.append(Part((ref,), "DELETE", path, {}, is_collection=False))
        parcel.asked[ref] = {"method": "DELETE", "path": path, "fields": {}}
    return parts


def _is_refused(result: composite.Result) -> bool:
    return isinstance(result, ChannelError) and result.code in NOT_ALLOWED


def _note_what_is_left(plan: Plan, outcomes: Mapping[int, Outcome], parcel: Parcel) -> None:
    """Say in the customer's history which fields of an Opportunity a person has to look at."""
    from crm.matching.recording import record

    for row in parcel.rows:
        left = plan.left.get(row.ref)
        if left and isinstance(outcomes.get(row.ref), Sent):
            words = "it stays" if left == ("Id",) else ", ".join(left)
            their_id = parcel.asked[row.ref]["path"].rsplit("/", 1)[-1]
            customers = {pk: one.stripe_id for pk, one in billing.customers([row.customer_id]).items()}
            record(customers, {row.customer_id: {f"not_as_it_was {their_id}": ("", words)}}, by="")
            log.warning("opportunity not as it was", opportunity=their_id, left=left, customer=row.customer_id)
