"""Which Opportunity a subscription belongs to, as a person says it: chosen once, undone as long as that can be."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F

from crm import accounts
from crm.channels.kinds import ChannelError
from crm.channels.salesforce import fields as names
from crm.ids import OPPORTUNITY, long_id
from crm.models import Match, Mode, OpportunityChoice, RecordKind, SalesforceOrg, SyncRecord, WorkState
from crm.opportunities import QUESTIONS


class NotAsked(LookupError):
    """This subscription waits for no choice: it was made meanwhile, or there never was a question."""


class NotUndone(Exception):
    """The choice stands; the message says why and what to do in Salesforce."""


def choose(record_pk: int, opportunity_id: str, *, by: str, now: datetime) -> OpportunityChoice:
    """Say which Opportunity the subscription of a held record belongs to; empty = a new one is to be made.

    The record is due at once. Raises NotAsked, and MalformedId for an id that is none of an Opportunity.
    """
    wanted = long_id(opportunity_id, prefix=OPPORTUNITY) if opportunity_id else ""
    with transaction.atomic():
        record = _asking(record_pk)
        choice = OpportunityChoice.objects.select_for_update().get(record=record)
        choice.chosen_id, choice.chosen_by, choice.chosen_at = wanted, by, now
        choice.save(update_fields=["chosen_id", "chosen_by", "chosen_at"])
        _due(record, now=now)
    return choice


def look_again(record_pk: int, *, now: datetime) -> None:
    """Ask Salesforce anew which Opportunities there are; raises NotAsked."""
    with transaction.atomic():
        _due(_asking(record_pk), now=now)


def look_again_at_all(*, now: datetime) -> int:
    """Ask anew for every open question: a rep may have made or closed an Opportunity since; returns how many."""
    held = SyncRecord.objects.filter(kind=RecordKind.OPPORTUNITY, state=WorkState.HELD)
    asked = held.filter(error_code__in=QUESTIONS.keys() - {"undone"})
    return asked.update(state=WorkState.WAITING, due_at=now, attempts=0, error_code="", error="")


def undo(record_pk: int, *, by: str, now: datetime) -> OpportunityChoice:
    """Take a choice back: the question stands again, and what was written is taken off the Opportunity.

    An Opportunity that we won gets the stage, date and amount it had. Talks to Salesforce, with no transaction open,
    when the choice was sent. Raises NotAsked when nothing was chosen, NotUndone when it cannot be undone from here.
    """
    record = SyncRecord.objects.filter(pk=record_pk, kind=RecordKind.OPPORTUNITY).select_related("choice").first()
    choice = OpportunityChoice.objects.filter(record_id=record_pk, chosen_at__isnull=False).first()
    if record is None or choice is None:
        raise NotAsked("Nothing was chosen here that could be undone.")
    if record.salesforce_id and record.confirmed:
        _take_off(record, choice, now=now)
    with transaction.atomic():
        record = SyncRecord.objects.select_for_update().get(pk=record_pk)
        record.salesforce_id, record.confirmed, record.fields_sent, record.there = "", 0, None, None
        record.wanted += 1
        record.state, record.error_code, record.error = WorkState.HELD, "undone", f"{by} undid the choice."
        record.save(
            update_fields=[
                "salesforce_id", "confirmed", "fields_sent", "there", "wanted", "state", "error_code", "error",
            ]
        )  # fmt: skip
        choice.chosen_id, choice.chosen_by, choice.chosen_at, choice.asked_at = "", "", None, now
        choice.code, choice.text = "undone", QUESTIONS["undone"] + "."
        choice.save(update_fields=["chosen_id", "chosen_by", "chosen_at", "asked_at", "code", "text"])
        written = SyncRecord.objects.filter(customer=record.customer, kind=RecordKind.SCHEDULE, state=WorkState.SENT)
        written.update(state=WorkState.WAITING, wanted=F("wanted") + 1, due_at=now, attempts=0)
    return choice


def _asking(record_pk: int) -> SyncRecord:
    record = SyncRecord.objects.select_for_update().filter(pk=record_pk, kind=RecordKind.OPPORTUNITY).first()
    if record is None or record.state != WorkState.HELD or record.error_code not in QUESTIONS:
        raise NotAsked("This subscription waits for no choice any more. Somebody may have been first.")
    return record


def _due(record: SyncRecord, *, now: datetime) -> None:
    record.state, record.due_at, record.attempts = WorkState.WAITING, now, 0
    record.error_code = record.error = ""
    record.wanted += 1
    record.save(update_fields=["state", "due_at", "attempts", "error_code", "error", "wanted"])


def _take_off(record: SyncRecord, choice: OpportunityChoice, *, now: datetime) -> None:
    """Write to the Opportunity what it said before we chose it."""
    from crm.channels.salesforce import composite, mapping
    from crm.channels.salesforce.client import Client
    from crm.channels.salesforce.packing import Write

    org = SalesforceOrg.objects.order_by("pk").first()
    if org is None or org.mode != Mode.LIVE or not accounts.can_be_asked(org, now=now):
        raise NotUndone("It was written to Salesforce, which we may not write to now. Undo it when we are live again.")
    # One that we made was not among them: it stays in Salesforce, without the subscription.
    held = next((one for one in choice.candidates if one["id"] == record.salesforce_id), None)
    standing = Match.objects.filter(customer__sync_records=record, undone_at__isnull=True)
    parent = standing.values_list("account__salesforce_id", flat=True).first() or ""
    said = mapping.of(org).apply(names.OPPORTUNITY, _as_it_was(record.fields_sent or {}, held))
    write = Write(record.pk, parent, names.OPPORTUNITY, said, their_id=record.salesforce_id)
    try:
        with Client(org, now=now) as client:
            results = composite.send(client, [write], version=org.api_version, now=now, may_send=lambda: True)
    except ChannelError as error:
        raise NotUndone(f"Salesforce did not take it back: {error.message} ({error.code})") from None
    if isinstance(results[record.pk], ChannelError):
        refusal: Any = results[record.pk]
        raise NotUndone(f"Salesforce did not take it back: {refusal.message} ({refusal.code})")


def _as_it_was(sent: Mapping[str, Any], held: Mapping[str, Any] | None) -> dict[str, Any]:
    said: dict[str, Any] = {names.SUBSCRIPTION_ID: None, "Committed_ARR__c": None}
    if held is None:
        return said
    if "StageName" in sent:
        said |= {"StageName": held["stage"], "CloseDate": held["close_on"] or None}
    if "Amount" in sent:
        said["Amount"] = held["amount"] or None
    if names.CURRENCY in sent and held.get("currency"):
        said[names.CURRENCY] = held["currency"]
    return said
