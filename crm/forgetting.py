"""Forgets the person behind a customer in matches, messages, logs and Salesforce's mirror; figures and ids stay."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from django.db.models import Q, QuerySet
from django.db.models.functions import Lower

from crm.channels.salesforce.fields import NEEDED
from crm.models import (
    Account,
    BulkRow,
    Contact,
    Drift,
    LoggedWrite,
    Match,
    Message,
    Note,
    OpportunityChoice,
    SalesforceUser,
    SyncRecord,
    Unmatched,
    WaitingKey,
)

GONE: Final = "[forgotten]"

# Texts that hold figures, dates, codes and ids, by the name of their field there. All other texts go.
KEPT: Final = frozenset(
    {needed.name for needed in NEEDED if needed.made_as != "LongTextArea"}
    | {"Stripe_Customer_Ids__c", "CurrencyIsoCode", "AccountId", "WhatId", "ParentId", "ActivityDate", "Priority"}
    | {"Status", "id", "Id", "errorCode", "fields", "channel", "ts", "subscription_id", "stage", "close_on", "amount"}
)


def clear(customer_pk: int) -> None:
    """Take the person out of a customer's rows, in the caller's transaction with the customer's row locked."""
    for match in Match.objects.filter(customer_id=customer_pk):
        said = [{**reason, "text": GONE} for reason in match.evidence]
        Match.objects.filter(pk=match.pk).update(evidence=said)
    Unmatched.objects.filter(customer_id=customer_pk).update(candidates=[], basis="", ignored_note="")
    WaitingKey.objects.filter(unmatched__customer_id=customer_pk).delete()
    Note.objects.filter(customer_id=customer_pk).delete()  # people call people by names that nobody told us
    records = SyncRecord.objects.filter(customer_id=customer_pk)
    records.update(error="", looked_up=None, looked_up_at=None)
    _filter(records, "fields_sent", "fields_before", "there")
    for record in records.exclude(accepted={}):
        kept = {name: value if name in KEPT else _without_words(value, "") for name, value in record.accepted.items()}
        SyncRecord.objects.filter(pk=record.pk).update(accepted=kept)
    told = Message.objects.filter(customer_id=customer_pk)
    told.update(error="")
    _filter(told, "body")
    own = Q(customer_id=customer_pk) | Q(record__customer_id=customer_pk) | Q(message__customer_id=customer_pk)
    _filter(LoggedWrite.objects.filter(own), "before", "request", "response")
    _filter(BulkRow.objects.filter(record__customer_id=customer_pk), "fields")
    for drift in Drift.objects.filter(record__customer_id=customer_pk).exclude(field__in=KEPT):
        Drift.objects.filter(pk=drift.pk).update(
            ours=_without_words(drift.ours, ""), theirs=_without_words(drift.theirs, "")
        )
    _filter(OpportunityChoice.objects.filter(record__customer_id=customer_pk), "candidates")


def _filter(rows: QuerySet[Any], *columns: str) -> None:
    """Take the words out of JSON columns."""
    for row in rows.only("pk", *columns).iterator():
        kept = {name: _without_words(getattr(row, name), "") for name in columns}
        if any(kept[name] != getattr(row, name) for name in columns):
            type(row)._default_manager.filter(pk=row.pk).update(**kept)


def _without_words(value: Any, key: str) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_words(part, name) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_words(part, key) for part in value]
    return GONE if isinstance(value, str) and value and key not in KEPT else value


# ---- the mirror of Salesforce ----


def hide(told: Collection[str], *, now: datetime) -> dict[str, list[str]]:
    """Take the person out of the mirror of Salesforce, now and whenever it is read again; returns the ids there.

    A Contact or a User is the person's by one of its e-mail addresses; an Account by having the very name or phone,
    unless another customer that is not forgotten is matched to it.
    """
    texts = {text.casefold() for text in told}
    found: dict[str, list[str]] = {"Contact": [], "User": [], "Account": []}
    for contact in Contact.objects.filter(email__in=texts):
        found["Contact"].append(_hide(contact, now))
    for user in SalesforceUser.objects.annotate(lower=Lower("email")).filter(lower__in=texts - {""}):
        found["User"].append(_hide(user, now))
        Account.objects.filter(org=user.org_id, owner_id=user.salesforce_id).update(owner_name="")
    by_name = Q(pk__in=[])
    for text in told:
        by_name |= Q(name__iexact=text) | Q(phone__iexact=text)
    others = Match.objects.filter(undone_at__isnull=True, customer__forgotten_at__isnull=True)
    for account in Account.objects.filter(by_name).exclude(pk__in=others.values("account_id")):
        found["Account"].append(_hide(account, now))
    return found


def _hide(row: Contact | Account | SalesforceUser, now: datetime) -> str:
    without_person(row)
    row.forgotten_at = now
    row.save()
    return row.salesforce_id


def without_person(row: Contact | Account | SalesforceUser) -> None:
    """Empty what a mirrored row, saved or not, tells of a person. A Contact without an e-mail counts as deleted."""
    if isinstance(row, Contact):
        row.email, row.domain, row.is_deleted = "", "", True
        return
    if isinstance(row, SalesforceUser):
        row.name = row.email = ""
        return
    row.name = row.salesforce_id
    row.name_key = row.name_start = row.website = row.domain = row.phone = row.phone_key = ""
    row.city = row.postal_code = row.country = ""
