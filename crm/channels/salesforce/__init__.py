"""The Salesforce channel: brings records in step with the ledger, or says what it would write."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from crm.channels.kinds import ChannelError, Held, Outcome, Parcel, Postponed, Sent, Wait, WouldSend
from crm.channels.salesforce.packing import Write

if TYPE_CHECKING:
    from crm.channels.salesforce.client import Client
    from crm.models import SalesforceOrg, SyncRecord
    from crm.opportunities import Candidate
    from crm.records import Begun, Built

AMOUNT_OPEN = timedelta(minutes=60)  # while the grouping window is open the booked amount may still be corrected
DEFAULT_WON_STAGE = "Closed Won"
ASKED_AT_ONCE = 100  # of one query: its address must stay below 16 KB


class SalesforceChannel:
    """Carries records. In shadow mode nothing leaves: each row keeps what it would have said."""

    name = "salesforce"
    work = "records"
    batch = 1000

    def is_open(self, *, now: datetime) -> bool:
        org = _org()
        if org is None:
            return False
        if not _is_live(org):
            return True
        return not org.error_code and (org.paused_until is None or org.paused_until <= now)

    def deliver(self, parcel: Parcel, *, now: datetime) -> dict[int, Outcome]:
        """Build what each record should say now; send what differs from what Salesforce holds."""
        from crm import records

        org = _org()
        rows: Sequence[SyncRecord] = parcel.rows
        if org is None:
            return {row.pk: Held("no_org", "No Salesforce org is connected.") for row in rows}
        outcomes: dict[int, Outcome] = {}
        built: dict[int, Built] = {}
        for pk, made in records.build(rows, now=now).items():
            if isinstance(made, records.Built):
                built[pk] = made
            else:
                outcomes[pk] = made
        if not _is_live(org):
            return outcomes | {pk: WouldSend(_as_if_first(made, org)) for pk, made in built.items()}
        try:
            outcomes |= _send(org, {row.pk: row for row in rows}, built, parcel, now=now)
        except ChannelError as error:
            outcomes |= dict.fromkeys(built.keys() - outcomes.keys(), error)
        return outcomes


def _org() -> SalesforceOrg | None:
    from crm.models import SalesforceOrg

    return SalesforceOrg.objects.order_by("pk").first()


def _is_live(org: SalesforceOrg) -> bool:
    return org.mode == "live" and not org.is_demo


def _as_if_first(made: Built, org: SalesforceOrg) -> dict[str, Any]:
    if made.begun is None or made.their_id:
        return dict(made.fields)
    return {**made.fields, **_closing(made.begun, org.won_stage or DEFAULT_WON_STAGE)}


def _closing(begun: Begun, stage: str) -> dict[str, Any]:
    return {"StageName": stage, "CloseDate": begun.on.isoformat(), "Amount": begun.amount}


# ---- sending ----


def _send(
    org: SalesforceOrg, rows: Mapping[int, SyncRecord], built: Mapping[int, Built], parcel: Parcel, *, now: datetime
) -> dict[int, Outcome]:
    from crm.channels.salesforce import composite
    from crm.channels.salesforce.client import Client

    with Client(org, now=now) as client:
        outcomes, built = _with_opportunities(client, rows, dict(built), now=now)
        writes: list[Write] = []
        for pk, made in built.items():
            kept = rows[pk].fields_sent if rows[pk].confirmed else None
            if kept is not None and all(name in kept and kept[name] == value for name, value in made.fields.items()):
                outcomes[pk] = Sent(kept, their_id=made.their_id, called=False)
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
        if not writes:
            return outcomes
        results = composite.send(
            client,
            writes,
            version=org.api_version,
            now=now,
            may_send=lambda: time.monotonic() < parcel.send_until,
        )
        wait = next((result for result in results.values() if isinstance(result, Wait)), None)
        if wait is not None:
            client.pause(wait)
    for pk, result in results.items():
        if isinstance(result, ChannelError | Postponed):
            outcomes[pk] = result
        else:
            kept = rows[pk].fields_sent if rows[pk].confirmed else None
            outcomes[pk] = Sent({**(kept or {}), **built[pk].fields}, their_id=result or built[pk].their_id)
    return outcomes


# ---- Opportunities ----


def _with_opportunities(
    client: Client, rows: Mapping[int, SyncRecord], built: dict[int, Built], *, now: datetime
) -> tuple[dict[int, Outcome], dict[int, Built]]:
    """Find the Opportunity of each subscription that has none yet, with one query for all.

    Where a person must choose, the record is held; a schedule entry that goes with a found one points at it.
    """
    from crm import opportunities

    outcomes: dict[int, Outcome] = {}
    looking = {pk: made for pk, made in built.items() if made.begun is not None and not made.their_id}
    if looking:
        stage = _known_won_stage(client)
        candidates = _candidates(client, [(made.account_id, made.begun) for made in looking.values() if made.begun])
        chosen_ids: dict[str, str] = {}
        for pk, made in looking.items():
            assert made.begun is not None
            chosen = opportunities.choose(
                made.begun.subscription_id,
                made.account_id,
                made.begun.on,
                candidates,
                named_id=made.begun.named_id,
                rivals=sum(one.account_id == made.account_id for one in looking.values()) - 1,
            )
            if isinstance(chosen, opportunities.Unclear):
                outcomes[pk] = Held(chosen.code, chosen.text)
                del built[pk]
                continue
            fields = {**made.fields, **(_closing(made.begun, stage) if chosen.closes else {})}
            built[pk] = replace(made, fields=fields, their_id=chosen.id)
            chosen_ids[made.begun.subscription_id] = chosen.id
        for pk, made in built.items():
            subscription = made.fields.get("Stripe_Subscription_Id__c")
            if made.sobject == "MRR_Schedule__c" and subscription in chosen_ids:
                built[pk] = replace(made, fields={**made.fields, "Opportunity__c": chosen_ids[subscription]})
    for pk, made in built.items():
        if made.begun is not None and pk not in looking:
            built[pk] = _corrected(made, rows[pk], now=now)
    return outcomes, built


def _corrected(made: Built, row: SyncRecord, *, now: datetime) -> Built:
    """Keep the amount we booked right while the grouping window is open; later only the committed ARR moves."""
    assert made.begun is not None
    kept = row.fields_sent or {}
    if "Amount" not in kept or now - made.begun.at > AMOUNT_OPEN:
        return made
    return replace(made, fields={**made.fields, "CloseDate": made.begun.on.isoformat(), "Amount": made.begun.amount})


def won_stage(client: Client) -> str:
    """Return the org's won stage: the first that is won and active."""
    soql = "SELECT ApiName, MasterLabel FROM OpportunityStage WHERE IsWon = true AND IsActive = true ORDER BY SortOrder"
    found = [str(one.get("ApiName") or one.get("MasterLabel") or "") for one in client.query(soql)]
    return found[0] if found else DEFAULT_WON_STAGE


def _known_won_stage(client: Client) -> str:
    """Return the won stage, asked once of each org."""
    from crm.models import SalesforceOrg

    if not client.org.won_stage:
        client.org.won_stage = won_stage(client)
        SalesforceOrg.objects.filter(pk=client.org.pk).update(won_stage=client.org.won_stage)
    return client.org.won_stage


def _candidates(client: Client, begun: Sequence[tuple[str, Begun]]) -> list[Candidate]:
    """Read the Opportunities that may belong to subscriptions; `begun` holds each with its Account's id."""
    found: dict[str, Candidate] = {}
    for start in range(0, len(begun), ASKED_AT_ONCE):
        for one in client.query(_query(begun[start : start + ASKED_AT_ONCE])):
            candidate = _candidate(one)
            found[candidate.id] = candidate
    return list(found.values())


def _query(begun: Sequence[tuple[str, Begun]]) -> str:
    from crm.channels.salesforce.soql import quoted_list

    accounts = quoted_list(sorted({account_id for account_id, _ in begun}))
    conditions = [
        f"Stripe_Subscription_Id__c IN {quoted_list(sorted({one.subscription_id for _, one in begun}))}",
        f"(AccountId IN {accounts} AND Stripe_Subscription_Id__c = null AND (IsClosed = false OR IsWon = true))",
    ]
    named = sorted({one.named_id for _, one in begun if one.named_id})
    if named:
        conditions.append(f"Id IN {quoted_list(named)}")
    columns = "Id, AccountId, IsClosed, IsWon, CloseDate, Stripe_Subscription_Id__c"
    return f"SELECT {columns} FROM Opportunity WHERE {' OR '.join(conditions)}"  # noqa: S608  # SOQL, values quoted


def _candidate(record: Mapping[str, Any]) -> Candidate:
    from crm.opportunities import Candidate

    return Candidate(
        id=str(record["Id"]),
        account_id=str(record.get("AccountId") or ""),
        subscription_id=str(record.get("Stripe_Subscription_Id__c") or ""),
        is_closed=bool(record.get("IsClosed")),
        is_won=bool(record.get("IsWon")),
        close_on=date.fromisoformat(record["CloseDate"]) if record.get("CloseDate") else None,
    )
