"""Which Account a customer is, who said so, and the Accounts there are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Q, QuerySet

from crm.models import (
    Account,
    Contact,
    Match,
)


@dataclass(frozen=True, slots=True)
class MatchRow:
    """That a customer is an Account: how it was found, who said so (empty: the machine), and when."""

    pk: int
    customer_pk: int
    account_id: str
    account_name: str
    owner_name: str
    how: str
    evidence: Sequence[Mapping[str, Any]]
    matched_by: str
    matched_at: datetime
    undone_by: str
    undone_at: datetime | None


def account_ids(customer_pks: Collection[int]) -> dict[int, str]:
    """Return the Salesforce id of the Account of each customer that has one."""
    rows = Match.objects.filter(customer_id__in=customer_pks, undone_at__isnull=True)
    return dict(rows.values_list("customer_id", "account__salesforce_id"))


def matches_of(customer_pks: Collection[int]) -> dict[int, MatchRow]:
    """Return the standing match of each customer that has one."""
    rows = Match.objects.filter(customer_id__in=customer_pks, undone_at__isnull=True).select_related("account")
    return {row.customer_id: _match(row) for row in rows}


def match_history(customer_pk: int) -> list[MatchRow]:
    """Return all matches of a customer, those undone too, newest first."""
    rows = Match.objects.filter(customer_id=customer_pk).select_related("account").order_by("-matched_at", "-pk")
    return [_match(row) for row in rows]


def _match(row: Match) -> MatchRow:
    return MatchRow(
        row.pk,
        row.customer_id,
        row.account.salesforce_id,
        row.account.name,
        row.account.owner_name,
        row.how,
        row.evidence,
        row.matched_by,
        row.matched_at,
        row.undone_by,
        row.undone_at,
    )


@dataclass(frozen=True, slots=True)
class AccountRow:
    """A Salesforce Account as mirrored, with how many customers are matched to it."""

    salesforce_id: str
    name: str
    website: str
    city: str
    postal_code: str
    country: str
    type: str
    owner_name: str
    customers: int


def accounts(account_ids: Collection[str]) -> dict[str, AccountRow]:
    """Return mirrored Accounts by their Salesforce ids; unknown ids are left out."""
    return {row.salesforce_id: row for row in _accounts(Account.objects.filter(salesforce_id__in=account_ids))}


def accounts_of(customer_pks: Collection[int]) -> dict[int, AccountRow]:
    """Return the Account of each customer that has one. Two queries."""
    ids = account_ids(customer_pks)
    found = accounts(set(ids.values())) if ids else {}
    return {pk: found[account_id] for pk, account_id in ids.items() if account_id in found}


def accounts_matching(search: str, *, limit: int = 20) -> list[AccountRow]:
    """Return living Accounts whose name, domain, id or a Contact's e-mail fits what a person typed."""
    text = search.strip()
    if len(text) < 2:
        return []
    by_contact = Contact.objects.filter(email__startswith=text.lower(), is_deleted=False).exclude(account_id="")
    fits = Q(name__icontains=text) | Q(domain__istartswith=text) | Q(salesforce_id__startswith=text)
    if "@" in text:
        fits |= Q(salesforce_id__in=list(by_contact.values_list("account_id", flat=True)[:limit]))
    return _accounts(Account.objects.filter(fits, is_deleted=False).order_by("name", "salesforce_id")[:limit])


def _accounts(rows: QuerySet[Account]) -> list[AccountRow]:
    standing = Count("matches", filter=Q(matches__undone_at__isnull=True))
    return [
        AccountRow(
            row.salesforce_id,
            row.name,
            row.website,
            row.city,
            row.postal_code,
            row.country,
            row.type,
            row.owner_name,
            row.customers,
        )
        for row in rows.annotate(customers=standing)
    ]


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """The match that a person made last, to be undone."""

    pk: int
    customer_pk: int
    customer_id: str
    customer_name: str
    account_id: str
    account_name: str
    matched_at: datetime


def last_decision(username: str, *, since: datetime) -> DecisionRow | None:
    """Return the last standing match that a person made since a moment."""
    row = (
        Match.objects.filter(matched_by=username, undone_at__isnull=True, matched_at__gte=since)
        .select_related("account", "customer")
        .order_by("-matched_at", "-pk")
        .first()
    )
    if row is None:
        return None
    return DecisionRow(
        row.pk,
        row.customer_id,
        row.customer.stripe_id,
        row.customer.name,
        row.account.salesforce_id,
        row.account.name,
        row.matched_at,
    )
