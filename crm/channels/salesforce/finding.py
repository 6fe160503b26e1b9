"""Finds the Opportunity of each subscription that begins to count: one query for all, a question where none is sure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from billing import selectors as billing
from crm import opportunities
from crm.channels.kinds import Held, Outcome
from crm.channels.salesforce import budget, checks, mapping
from crm.channels.salesforce import fields as names
from crm.channels.salesforce.guarded import Guarded
from crm.channels.salesforce.mapping import FieldMap
from crm.channels.salesforce.packing import Question
from crm.channels.salesforce.soql import quoted_list
from crm.models import Account, OpportunityChoice, RecordKind, SalesforceOrg, SyncRecord, WorkState
from crm.opportunities import Candidate, Chosen, Unclear

if TYPE_CHECKING:
    from crm.channels.salesforce.client import Client
    from crm.records import Begun, Built

AMOUNT_OPEN = timedelta(minutes=60)  # while the grouping window is open the booked amount may still be corrected
DEFAULT_WON_STAGE = "Closed Won"
ASKED_AT_ONCE = 100  # of one query: its address must stay below 16 KB
ANSWER_HOLDS = timedelta(minutes=2)  # of a query that rode with a flush
NAME_LENGTH = 120
AMOUNT = "Amount"
COLUMNS = "Id, AccountId, Name, StageName, IsClosed, IsWon, CloseDate, Owner.Name, HasOpportunityLineItem"


@dataclass(frozen=True, slots=True)
class Looked:
    """What looking came to: outcomes of what is held, what each record says now, and what is to ride with the writes.

    `guarded` is the one Opportunity that Salesforce may find and take in the same call.
    """

    outcomes: dict[int, Outcome]
    found: dict[int, Built]
    questions: list[Question]
    guarded: Guarded | None = None


def find(
    client: Client,
    rows: Mapping[int, SyncRecord],
    built: Mapping[int, Built],
    *,
    now: datetime,
    is_quiet: bool = False,
) -> Looked:
    """Give each record that looks for its Opportunity the one that fits for sure, or hold it and keep the question.

    What a person chose stands. A schedule entry that goes with a found Opportunity points at it. One query for all
    that look, none where nobody does. Where few writes go (`is_quiet`) and one record looks, Salesforce finds and takes
    it in the same call. When the day's reads run short, the query is returned to ride with this flush's writes. What
    such a query answered, kept on the record, serves the next flush.
    """
    outcomes: dict[int, Outcome] = {}
    found = dict(built)
    looking = {pk: made for pk, made in built.items() if made.begun is not None and not made.their_id}
    told = {pk: made for pk, made in looking.items() if _is_fresh(rows[pk], now)}
    asking = {pk: made for pk, made in looking.items() if pk not in told}
    questions: list[Question] = []
    guarded = _guarded(client, asking, built) if is_quiet and len(looking) == len(asking) == 1 else None
    if guarded or (asking and not budget.may_look(client.org, now=now)):
        questions = [] if guarded else _questions(client.org, asking)
        found = {pk: made for pk, made in found.items() if pk not in asking}
        looking, asking = told, {}
    if looking:
        stage = known_won_stage(client)
        candidates = {one.id: one for pk in told for one in map(candidate, rows[pk].looked_up or ())}
        candidates |= _candidates(client, asking)
        chosen = _chosen(client.org, rows, looking, candidates, now=now)
        is_standard = mapping.of(client.org).name(names.OPPORTUNITY, AMOUNT) == AMOUNT
        names_of = (
            _account_names(looking) if any(isinstance(one, Chosen) and not one.id for one in chosen.values()) else {}
        )
        for pk, one in chosen.items():
            if isinstance(one, Unclear):
                outcomes[pk] = Held(one.code, one.text)
                del found[pk]
            else:
                rows[pk].was = as_it_was(candidates.get(one.id), looking[pk], is_first=rows[pk].attempts < 2)
                found[pk] = _as_chosen(looking[pk], one, stage, names_of, keeps_amount=is_standard)
        _point(found, chosen, looking)
    for pk, made in found.items():
        if made.begun is not None and pk not in looking:
            found[pk] = _corrected(made, rows[pk], now=now)
    return Looked(outcomes, found, questions, guarded)


def closing(begun: Begun, stage: str) -> dict[str, Any]:
    """Return what an Opportunity says when we win it; no Amount while it is not known."""
    return {"StageName": stage, "CloseDate": begun.on.isoformat(), **_booked(begun)}


def _booked(begun: Begun) -> dict[str, Any]:
    """Return the Amount, if it is known, and the currency it is in where the org has several.

    The currency goes with the Amount alone: without ours, it would give the rep's Amount another meaning.
    """
    if not begun.amount:
        return {}
    return {AMOUNT: begun.amount, **({names.CURRENCY: begun.currency} if begun.currency else {})}


def as_it_was(one: Candidate | None, made: Built, *, is_first: bool) -> dict[str, Any] | None:
    """Return what an Opportunity says before we write to it; None for one that we make, or may have written to before.

    An earlier try without an answer may have written what we see.
    """
    if one is None or made.begun is None:
        return None
    if not is_first and one.subscription_id.lower() == made.begun.subscription_id.lower():
        return None
    said = {"StageName": one.stage, "CloseDate": one.close_on.isoformat() if one.close_on else None}
    return {
        **said,
        AMOUNT: one.amount or None,
        names.CURRENCY: one.currency,
        names.SUBSCRIPTION_ID: one.subscription_id,
    }


def known_won_stage(client: Client) -> str:
    """Return the won stage, asked once of each org."""
    if not client.org.won_stage:
        client.org.won_stage = next(iter(checks.won_stages(client)), DEFAULT_WON_STAGE)
        SalesforceOrg.objects.filter(pk=client.org.pk).update(won_stage=client.org.won_stage)
    return client.org.won_stage


def _guarded(client: Client, asking: Mapping[int, Built], built: Mapping[int, Built]) -> Guarded | None:
    """Return what Salesforce may find and take by itself; None where a person chose, a name decides, or rivals look."""
    ((row, made),) = asking.items()
    theirs = mapping.of(client.org)
    named = made.begun.named_id if made.begun is not None else ""
    if made.begun is None or named or _by_person(asking) or not theirs.name(names.OPPORTUNITY, names.SUBSCRIPTION_ID):
        return None
    if len(_rivals(asking, sure=()).get(made.account_id, ())) > 1:
        return None
    subscription = made.begun.subscription_id
    return Guarded(
        row,
        made.account_id,
        subscription,
        made.begun.on,
        _query([(made.account_id, made.begun)], set(), theirs),
        links=made.fields,
        wins={**made.fields, **closing(made.begun, known_won_stage(client))},
        entries=frozenset(
            pk
            for pk, one in built.items()
            if one.sobject == names.MRR_SCHEDULE and one.fields.get("Stripe_Subscription_Id__c") == subscription
        ),
    )


# ---- choosing ----


def _chosen(
    org: SalesforceOrg,
    rows: Mapping[int, SyncRecord],
    looking: Mapping[int, Built],
    candidates: Mapping[str, Candidate],
    *,
    now: datetime,
) -> dict[int, Chosen | Unclear]:
    by_person = _by_person(looking)
    rivals = _rivals(looking, sure=_sure(looking, candidates) | by_person.keys())
    chosen: dict[int, Chosen | Unclear] = {}
    questions: list[OpportunityChoice] = []
    for pk, made in looking.items():
        assert made.begun is not None
        one: Chosen | Unclear
        if pk in by_person:
            one = opportunities.as_told(made.begun.subscription_id, by_person[pk], list(candidates.values()))
        else:
            one = opportunities.choose(
                made.begun.subscription_id,
                made.account_id,
                made.begun.on,
                list(candidates.values()),
                named_id=made.begun.named_id,
                may_create=org.makes_opportunities,
                rivals=sum(one != pk for one in rivals.get(made.account_id, ())),
            )
        chosen[pk] = one
        if isinstance(one, Unclear):
            listed = opportunities.to_choose_from(made.account_id, made.begun.on, list(candidates.values()))
            questions.append(
                OpportunityChoice(
                    record_id=pk,
                    code=one.code,
                    text=one.text,
                    candidates=[opportunities.as_json(each) for each in listed],
                    asked_at=now,
                )
            )
    OpportunityChoice.objects.bulk_create(
        questions,
        update_conflicts=True,
        unique_fields=["record"],
        update_fields=["code", "text", "candidates", "asked_at", "chosen_id", "chosen_by", "chosen_at"],
    )
    return chosen


def _by_person(looking: Mapping[int, Built]) -> dict[int, str]:
    """Return what people chose: the Opportunity's id, empty for one that is to be made."""
    told = OpportunityChoice.objects.filter(record_id__in=looking, chosen_at__isnull=False)
    return dict(told.values_list("record_id", "chosen_id"))


def _sure(looking: Mapping[int, Built], candidates: Mapping[str, Candidate]) -> set[int]:
    """Return the records whose Opportunity carries the subscription's id or is named by it: nobody's rivals."""
    carried = {one.subscription_id.lower() for one in candidates.values() if one.subscription_id}
    return {
        pk
        for pk, made in looking.items()
        if made.begun is not None and (made.begun.named_id or made.begun.subscription_id.lower() in carried)
    }


def _rivals(looking: Mapping[int, Built], *, sure: Collection[int]) -> dict[str, Collection[int]]:
    """Return the records of each Account that look for their Opportunity too, now or since earlier.

    Subscriptions that have ended since are nobody's rivals, nor are those whose Opportunity is sure.
    """
    accounts = {made.account_id for pk, made in looking.items() if pk not in sure}
    lost = SyncRecord.objects.filter(
        kind=RecordKind.OPPORTUNITY,
        salesforce_id="",
        choice__chosen_at__isnull=True,
        customer__matches__account__salesforce_id__in=accounts,
        customer__matches__undone_at__isnull=True,
    ).exclude(state=WorkState.DROPPED)
    found = [
        one
        for one in lost.values_list("pk", "key", "customer_id", "customer__matches__account__salesforce_id")
        if one[0] not in sure
    ]
    if len(found) < 2:
        return {}
    held = billing.subscriptions_of({customer_pk for _, _, customer_pk, _ in found})
    counted = {one.stripe_id for subscriptions in held.values() for one in subscriptions if one.is_counted}
    rivals: dict[str, list[int]] = {}
    for pk, key, _, account_id in found:
        if key in counted:
            rivals.setdefault(account_id, []).append(pk)
    return {account_id: tuple(pks) for account_id, pks in rivals.items()}


def _as_chosen(made: Built, chosen: Chosen, stage: str, names_of: Mapping[str, str], *, keeps_amount: bool) -> Built:
    """Return the write to the chosen Opportunity; one that is to be made is upserted by the subscription's id.

    `keeps_amount`: our Amount goes into the field that products decide.
    """
    assert made.begun is not None
    if chosen.id:
        fields = {**made.fields, **(closing(made.begun, stage) if chosen.closes else {})}
        if keeps_amount and chosen.keeps_amount:
            fields.pop(AMOUNT, None)
            fields.pop(names.CURRENCY, None)
        return replace(made, fields=fields, their_id=chosen.id)
    name = f"{names_of.get(made.account_id, '')[: NAME_LENGTH - 40]}, subscription from {made.begun.on:%-d %b %Y}"
    fields = {**made.fields, **closing(made.begun, stage), "Name": name.lstrip(", "), "AccountId": made.account_id}
    if made.begun.currency:
        fields[names.CURRENCY] = made.begun.currency
    key = str(fields.pop(names.SUBSCRIPTION_ID))
    return replace(made, fields=fields, key_field=names.SUBSCRIPTION_ID, key=key)


def _account_names(looking: Mapping[int, Built]) -> dict[str, str]:
    ids = {made.account_id for made in looking.values()}
    return dict(Account.objects.filter(salesforce_id__in=ids).values_list("salesforce_id", "name"))


def _point(built: dict[int, Built], chosen: Mapping[int, Chosen | Unclear], looking: Mapping[int, Built]) -> None:
    """Let the schedule entries that go along point at the Opportunity that was found."""
    ids = {
        made.begun.subscription_id: one.id
        for pk, made in looking.items()
        if made.begun is not None and isinstance(one := chosen[pk], Chosen) and one.id
    }
    for pk, made in built.items():
        subscription = made.fields.get(names.SUBSCRIPTION_ID)
        if made.sobject == names.MRR_SCHEDULE and subscription in ids:
            built[pk] = replace(made, fields={**made.fields, "Opportunity__c": ids[subscription]})


def _corrected(made: Built, row: SyncRecord, *, now: datetime) -> Built:
    """Keep the amount we booked right while the grouping window is open; later only the committed ARR moves.

    An amount that was not known when we won it, because the first invoice was not paid, is written once.
    """
    assert made.begun is not None
    kept = row.fields_sent or {}
    if "StageName" not in kept or not made.begun.amount:
        return made
    is_open = AMOUNT not in kept if made.begun.is_fixed else AMOUNT in kept and now - made.begun.at <= AMOUNT_OPEN
    if not is_open:
        return made
    booked = {"CloseDate": made.begun.on.isoformat(), **_booked(made.begun)}
    return replace(made, fields={**made.fields, **booked})


# ---- reading ----


def _candidates(client: Client, looking: Mapping[int, Built]) -> dict[str, Candidate]:
    """Read the Opportunities that may belong to subscriptions, by their ids."""
    found: dict[str, Candidate] = {}
    begun = [(made.account_id, made.begun) for made in looking.values() if made.begun is not None]
    told = {one for one in _by_person(looking).values() if one}
    theirs = mapping.of(client.org)
    for start in range(0, len(begun), ASKED_AT_ONCE):
        for one in client.query(_query(begun[start : start + ASKED_AT_ONCE], told, theirs)):
            read = candidate(theirs.back(names.OPPORTUNITY, one))
            found[read.id] = read
    return found


def _questions(org: SalesforceOrg, asking: Mapping[int, Built]) -> list[Question]:
    theirs = mapping.of(org)
    told = {one for one in _by_person(asking).values() if one}
    begun = [(ref, made.account_id, made.begun) for ref, made in asking.items() if made.begun is not None]
    groups = [begun[start : start + ASKED_AT_ONCE] for start in range(0, len(begun), ASKED_AT_ONCE)]
    return [
        Question(tuple(ref for ref, _, _ in group), _query([(account, one) for _, account, one in group], told, theirs))
        for group in groups
    ]


def concerning(made: Built, records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return, of the answer to a query about many, the Opportunities that may belong to one record."""
    assert made.begun is not None
    subscription, named = made.begun.subscription_id.lower(), made.begun.named_id
    return [
        one
        for one in records
        if one.get("AccountId") == made.account_id
        or str(one.get(names.SUBSCRIPTION_ID) or "").lower() == subscription
        or one.get("Id") == named
    ]


def _is_fresh(row: SyncRecord, now: datetime) -> bool:
    return row.looked_up is not None and row.looked_up_at is not None and now - row.looked_up_at <= ANSWER_HOLDS


def _query(begun: Sequence[tuple[str, Begun]], told: set[str], theirs: FieldMap) -> str:
    key = theirs.name(names.OPPORTUNITY, names.SUBSCRIPTION_ID)
    accounts = quoted_list(sorted({account_id for account_id, _ in begun}))
    conditions = [
        f"{key} IN {quoted_list(sorted({one.subscription_id for _, one in begun}))}",
        f"(AccountId IN {accounts} AND {key} = null AND (IsClosed = false OR IsWon = true))",
    ]
    named = sorted({one.named_id for _, one in begun if one.named_id} | told)
    if named:
        conditions.append(f"Id IN {quoted_list(named[:ASKED_AT_ONCE])}")
    columns = [COLUMNS, *filter(None, (key, theirs.name(names.OPPORTUNITY, AMOUNT)))]
    if any(one.currency for _, one in begun):
        columns.append(names.CURRENCY)
    return f"SELECT {', '.join(columns)} FROM Opportunity WHERE {' OR '.join(conditions)}"  # noqa: S608  # SOQL, values quoted


def candidate(record: Mapping[str, Any]) -> Candidate:
    """Return an Opportunity as a query of ours told it."""
    amount = record.get(AMOUNT)
    return Candidate(
        id=str(record["Id"]),
        account_id=str(record.get("AccountId") or ""),
        subscription_id=str(record.get(names.SUBSCRIPTION_ID) or ""),
        is_closed=bool(record.get("IsClosed")),
        is_won=bool(record.get("IsWon")),
        close_on=date.fromisoformat(record["CloseDate"]) if record.get("CloseDate") else None,
        name=str(record.get("Name") or ""),
        stage=str(record.get("StageName") or ""),
        amount="" if amount is None else str(amount),
        currency=str(record.get(names.CURRENCY) or ""),
        owner=str((record.get("Owner") or {}).get("Name") or ""),
        has_products=bool(record.get("HasOpportunityLineItem")),
    )
