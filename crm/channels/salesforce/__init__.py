"""The Salesforce channel: brings records in step with the ledger and tells people, or says what it would do."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import structlog

from crm.channels.kinds import ChannelError, Dropped, Held, LookedUp, Outcome, Parcel, Postponed, Sent, Wait, WouldSend
from crm.channels.salesforce.packing import Write

if TYPE_CHECKING:
    from crm.channels.salesforce.client import Client
    from crm.channels.salesforce.guarded import Found, Guarded
    from crm.models import Message, SalesforceOrg, SyncRecord
    from crm.records import Built

log = structlog.get_logger(__name__)


class SalesforceChannel:
    """Carries records, and the messages that go with them. In shadow mode each row keeps what it would have said."""

    name = "salesforce"
    work = "records"
    batch = 1000

    def is_open(self, *, now: datetime) -> bool:
        """Say whether a flush may begin: in live mode the day's pace and the org's reserve allow it."""
        from crm.channels.salesforce import budget

        org = current_org()
        if org is None:
            return False
        if not is_live(org):
            return True
        if org.error_code or org.held_since or (org.paused_until is not None and org.paused_until > now):
            return False
        return budget.may_send(org, now=now)

    def deliver(self, parcel: Parcel, *, now: datetime) -> dict[int, Outcome]:
        """Build what each row should say now; send what differs from what Salesforce holds."""
        from crm.models import SyncRecord

        org = current_org()
        if org is None:
            return {row.ref: Held("no_org", "No Salesforce org is connected.") for row in parcel.rows}
        rows = {row.ref: row for row in parcel.rows if isinstance(row, SyncRecord)}
        built, outcomes = build(rows, now=now)
        told, unsaid = _told([row for row in parcel.rows if row.ref not in rows], org, now=now)
        outcomes |= unsaid
        if not is_live(org):
            would: dict[int, Outcome] = {pk: WouldSend(_as_if_first(made, org)) for pk, made in built.items()}
            return outcomes | would | {ref: WouldSend(write.fields) for ref, write in told.items()}
        try:
            outcomes |= _send(org, rows, built, told, parcel, now=now)
        except ChannelError as error:
            outcomes |= dict.fromkeys((built.keys() | told.keys()) - outcomes.keys(), error)
        return outcomes


def look_again(*, now: datetime) -> None:
    """Ask the org, once in a while, whether calls are free again after sending stopped at the reserve."""
    from crm.channels.salesforce import budget
    from crm.channels.salesforce.client import Client

    org = current_org()
    if org is None or org.error_code or not budget.is_to_be_asked(org, now=now):
        return
    budget.still_stopped(org, now=now)
    try:
        with Client(org, now=now) as client:
            client.ask_limits()
    except ChannelError as error:
        log.warning("salesforce limits not read", code=error.code, message=error.message)


def build(rows: Mapping[int, SyncRecord], *, now: datetime) -> tuple[dict[int, Built], dict[int, Outcome]]:
    """Return what each record should say now, and what becomes of those that say nothing; each learns its Account."""
    from crm import records

    built: dict[int, Built] = {}
    unsaid: dict[int, Outcome] = {}
    for pk, made in records.build(list(rows.values()), now=now).items():
        if isinstance(made, records.Built):
            built[pk] = made
            rows[pk].parent_id = made.account_id
        else:
            unsaid[pk] = made
    return built, unsaid


def changed(rows: Mapping[int, SyncRecord], built: Mapping[int, Built]) -> tuple[list[Write], dict[int, Outcome]]:
    """Return the writes of records that say something new; what Salesforce holds already needs no call."""
    writes: list[Write] = []
    unchanged: dict[int, Outcome] = {}
    for pk, made in built.items():
        kept = rows[pk].fields_sent if rows[pk].confirmed else None
        if kept is not None and all(name in kept and kept[name] == value for name, value in made.fields.items()):
            unchanged[pk] = Sent(kept, their_id=made.their_id, called=False)
        else:
            writes.append(
                Write(
                    pk,
                    made.account_id,
                    made.sobject,
                    made.fields,
                    their_id=made.their_id,
                    key_field=made.key_field,
                    key=made.key,
                )
            )
    return writes, unchanged


def written(row: SyncRecord, fields: Mapping[str, Any], *, their_id: str) -> Sent:
    """Return what Salesforce holds of a record after a write: what we wrote before and did not write now stays."""
    kept = row.fields_sent if row.confirmed else None
    return Sent({**(kept or {}), **fields}, their_id=their_id)


def current_org() -> SalesforceOrg | None:
    from crm.models import SalesforceOrg

    return SalesforceOrg.objects.order_by("pk").first()


def is_live(org: SalesforceOrg) -> bool:
    return org.mode == "live" and not org.is_demo


def _as_if_first(made: Built, org: SalesforceOrg) -> dict[str, Any]:
    from crm.channels.salesforce import finding

    if made.begun is None or made.their_id:
        return dict(made.fields)
    return {**made.fields, **finding.closing(made.begun, org.won_stage or finding.DEFAULT_WON_STAGE)}


# ---- messages ----


def _told(rows: Sequence[Message], org: SalesforceOrg, *, now: datetime) -> tuple[dict[int, Write], dict[int, Outcome]]:
    """Return the Task or post of each message, and what becomes of those that say nothing now."""
    if not rows:
        return {}, {}
    from crm import messages, payments
    from crm import selectors as crm
    from crm.channels import told
    from crm.channels.salesforce import chatter, tasks
    from mrr import selectors as mrr

    pks = {row.customer_id for row in rows if row.customer_id is not None}
    accounts, balances = crm.account_ids(pks), mrr.balances(pks)
    paying = {pk for pk, held in balances.items() if any(one.is_paying for one in held)}
    paid = payments.fields_of([row for row in rows if row.topic == messages.PAYMENT])
    rows_of_movements = [row for row in rows if row.topic != messages.PAYMENT]
    movements = told.movements(rows_of_movements, now=now, live_since=org.live_since if is_live(org) else None)
    owners = crm.looking_after({row.customer_id or 0 for row in rows if row.topic == messages.WIN_BACK})
    writes: dict[int, Write] = {}
    unsaid: dict[int, Outcome] = {}
    for row in rows:
        account_id = accounts.get(row.customer_id or 0, "")
        if row.topic == messages.PAYMENT:
            _told_of_payment(row, paid[row.ref], account_id, writes, unsaid)
            continue
        movement = movements[row.ref]
        if isinstance(movement, Dropped):
            unsaid[row.ref] = movement
        elif row.topic == messages.WIN_BACK and row.customer_id in paying:
            unsaid[row.ref] = Dropped("came_back", "The customer pays again.")
        elif not account_id:
            unsaid[row.ref] = Held("unmatched", "The customer has no Account yet.")
        elif row.topic == messages.WIN_BACK:
            owner_id = owners[row.customer_id or 0].id
            writes[row.ref] = tasks.win_back(row, movement, account_id, owner_id=owner_id, now=now)
        else:
            writes[row.ref] = chatter.closed_won(row, movement, account_id)
    return writes, unsaid


def _told_of_payment(
    row: Message,
    fields: Mapping[str, Any] | None,
    account_id: str,
    writes: dict[int, Write],
    unsaid: dict[int, Outcome],
) -> None:
    from crm.channels.salesforce import tasks

    if fields is None:
        unsaid[row.ref] = Dropped("taken_back", "The invoice is not paid after all.")
    elif not account_id:
        unsaid[row.ref] = Held("unmatched", "The customer has no Account yet.")
    else:
        writes[row.ref] = tasks.payment(row, fields, account_id)


# ---- sending ----


def _send(
    org: SalesforceOrg,
    rows: Mapping[int, SyncRecord],
    built: Mapping[int, Built],
    told: Mapping[int, Write],
    parcel: Parcel,
    *,
    now: datetime,
) -> dict[int, Outcome]:
    from crm.channels.salesforce import composite, finding, guarded, mapping
    from crm.channels.salesforce.client import Client

    theirs = mapping.of(org)

    def may_send() -> bool:
        return time.monotonic() < parcel.send_until

    with Client(org, now=now) as client:
        is_quiet = len(parcel.rows) <= guarded.MOST_WRITES
        looked = finding.find(client, rows, built, now=now, is_quiet=is_quiet)
        outcomes, found = looked.outcomes, looked.found
        writes, unchanged = changed(rows, found)
        outcomes |= unchanged
        standing = _standing_posts(client, parcel, told)
        outcomes |= {ref: Sent(told[ref].fields, their_id=their_id, called=False) for ref, their_id in standing.items()}
        writes += [write for ref, write in told.items() if ref not in standing]
        parcel.asked.update({write.row: _asked(write) for write in writes})
        if looked.guarded is not None:
            one = guarded.send(
                client, looked.guarded, writes, theirs, version=org.api_version, now=now, may_send=may_send
            )
            results = one.results
            found, taken = _as_found(found, built, looked.guarded, one)
            if one.was is not None:
                said = finding.candidate(theirs.back("Opportunity", one.was))
                rows[taken.row].was = finding.as_it_was(said, built[taken.row], is_first=True)
            writes.append(taken)
            path = f"sobjects/Opportunity/{one.their_id}".rstrip("/")
            parcel.asked[taken.row] = {"method": "PATCH", "path": path, "fields": taken.fields}
        elif writes or looked.questions:
            results = composite.send(
                client,
                mapping.in_their_words(writes, theirs),
                looked.questions,
                version=org.api_version,
                now=now,
                may_send=may_send,
            )
        else:
            return outcomes
        wait = next((result for result in results.values() if isinstance(result, Wait)), None)
        if wait is not None:
            client.pause(wait)
    for ref, result in results.items():
        if isinstance(result, LookedUp):
            candidates = [theirs.back("Opportunity", one) for one in result.candidates]
            outcomes[ref] = LookedUp(tuple(finding.concerning(built[ref], candidates)))
        elif not isinstance(result, str):
            outcomes[ref] = result
        elif ref in told:
            outcomes[ref] = Sent(told[ref].fields, their_id=result)
        else:
            outcomes[ref] = written(rows[ref], _said(found[ref]), their_id=result or found[ref].their_id)
    return outcomes | after_gone_accounts(outcomes, writes, now=now)


def _as_found(
    found: Mapping[int, Built], built: Mapping[int, Built], asked: Guarded, one: Found
) -> tuple[dict[int, Built], Write]:
    """Return what each record said when an Opportunity was found in the same call, and the write of that."""
    made = replace(built[asked.row], fields=one.fields or asked.wins, their_id=one.their_id)
    pointing = {
        ref: replace(found[ref], fields={**found[ref].fields, "Opportunity__c": one.their_id}) for ref in one.pointing
    }
    write = Write(asked.row, asked.account_id, made.sobject, made.fields, their_id=one.their_id)
    return {**found, **pointing, asked.row: made}, write


def _said(made: Built) -> Mapping[str, Any]:
    """Return what a record says after its write: an Opportunity that was made holds its key as a field, too."""
    return {**made.fields, made.key_field: made.key} if made.begun is not None and made.key_field else made.fields


def _asked(write: Write) -> dict[str, Any]:
    """Return what is asked of Salesforce for one record, as the log shows it; how it is packed is another matter."""
    if write.sobject == "FeedItem":
        return {"method": "POST", "path": "chatter/feed-elements", "fields": write.fields}
    address = write.their_id or (f"{write.key_field}/{write.key}" if write.key_field else "")
    path = f"sobjects/{write.sobject}/{address}".rstrip("/")
    return {"method": "PATCH" if address else "POST", "path": path, "fields": write.fields}


def _standing_posts(client: Client, parcel: Parcel, told: Mapping[int, Write]) -> dict[int, str]:
    """Look for posts that an earlier try may have left; a first try looks for nothing."""
    from crm.channels.salesforce import chatter

    tried = {row.ref for row in parcel.rows if row.attempts > 1}
    again = {ref: write for ref, write in told.items() if ref in tried and write.sobject == chatter.FEED_ITEM}
    return chatter.standing(client, again) if again else {}


def after_gone_accounts(
    outcomes: Mapping[int, Outcome], writes: Sequence[Write], *, now: datetime
) -> dict[int, Outcome]:
    """Where a refusal says that something is gone, follow Accounts that were merged and let go of deleted ones.

    What concerned those is due again, for the Account it belongs to now.
    """
    from crm import matching
    from crm.channels.salesforce import errors

    refused = {
        write.row: write.group
        for write in writes
        if write.group and isinstance(found := outcomes.get(write.row), ChannelError) and found.code in errors.GONE
    }
    left = matching.leave_gone_accounts(set(refused.values()), now=now) if refused else set()
    return {ref: Postponed() for ref, account_id in refused.items() if account_id in left}
