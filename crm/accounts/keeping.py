"""Keeps records of Salesforce in the mirror, page by page, and wakes the customers whom their news may concern."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from django.db import transaction

from crm import forgetting, waiting
from crm.accounts.asking import CONTACT, MODELS, USER
from crm.accounts.rows import account_row, contact_row, user_row
from crm.channels.salesforce.fields import ACCOUNT
from crm.models import Account, SalesforceOrg, SalesforceUser

PAGE = 500
ROWS: dict[str, Callable[[SalesforceOrg, Mapping[str, Any]], Any]] = {
    ACCOUNT: account_row,
    CONTACT: contact_row,
    USER: user_row,
}
OWN = frozenset({"id", "org", "salesforce_id", "forgotten_at"})  # not theirs to say
# Our own writes stamp an Account anew, and activity decides nothing: only what matching looks at is news.
NO_NEWS = frozenset({"modified_at", "last_activity_on"})


@dataclass(frozen=True, slots=True)
class Kept:
    """How many records were kept, and how many of them said something that the mirror did not know."""

    count: int = 0
    news: int = 0

    def __add__(self, other: Kept) -> Kept:
        return Kept(self.count + other.count, self.news + other.news)


def keep(sobject: str, records: Iterable[Mapping[str, Any]], org: SalesforceOrg, *, now: datetime) -> Kept:
    """Keep records, 500 to a transaction; whoever waits and shares something with what is new is due at once."""
    kept = Kept()
    coming = iter(records)
    while page := list(islice(coming, PAGE)):
        with transaction.atomic():
            kept += _keep_page(sobject, page, org, now=now)
    return kept


def _keep_page(sobject: str, records: Sequence[Mapping[str, Any]], org: SalesforceOrg, *, now: datetime) -> Kept:
    model: Any = MODELS[sobject]
    rows = {row.salesforce_id: row for row in (ROWS[sobject](org, record) for record in records)}
    known = {row.salesforce_id: row for row in model.objects.filter(org=org, salesforce_id__in=rows)}
    for name, row in rows.items():
        if name in known and known[name].forgotten_at:
            forgetting.without_person(row)  # whatever Salesforce says of a forgotten person
    if sobject == ACCOUNT:
        _leave_out_forgotten_owners(org, rows.values())
    columns = [column.name for column in model._meta.concrete_fields if column.name not in OWN]
    model.objects.bulk_create(
        rows.values(), update_conflicts=True, unique_fields=["org", "salesforce_id"], update_fields=columns
    )
    looked_at = [name for name in columns if name not in NO_NEWS]
    changed = [(known.get(name), row) for name, row in rows.items() if _is_news(known.get(name), row, looked_at)]
    if sobject == USER:
        _tell_accounts(org, [row for before, row in changed if before is not None])
    else:
        waiting.wake(_concerned(changed), now=now)
    return Kept(len(records), len(changed))


def _leave_out_forgotten_owners(org: SalesforceOrg, rows: Iterable[Account]) -> None:
    forgotten = SalesforceUser.objects.filter(org=org, forgotten_at__isnull=False)
    ids = set(forgotten.values_list("salesforce_id", flat=True))
    for row in rows:
        if row.owner_id in ids:
            row.owner_name = ""


def _is_news(known: Any, row: Any, looked_at: Sequence[str]) -> bool:
    return known is None or any(getattr(known, name) != getattr(row, name) for name in looked_at)


def _concerned(changed: Sequence[tuple[Any, Any]]) -> Iterator[str]:
    """Yield what a waiting customer may share with changed rows, as they were and as they are."""
    for before, after in changed:
        for row in (before, after):
            if row is not None:
                yield from waiting.of_account(row) if isinstance(row, Account) else waiting.of_contact(row)


def _tell_accounts(org: SalesforceOrg, users: Sequence[SalesforceUser]) -> None:
    """Let Accounts know of their owner's and CSM's new name or leaving: a User who leaves stamps no Account."""
    for user in users:
        owned = Account.objects.filter(org=org, owner_id=user.salesforce_id)
        owned.exclude(owner_name=user.name, owner_is_active=user.is_active).update(
            owner_name=user.name, owner_is_active=user.is_active
        )
        looked_after = Account.objects.filter(org=org, csm_id=user.salesforce_id)
        looked_after.exclude(csm_is_active=user.is_active).update(csm_is_active=user.is_active)
