"""Which Account a customer is, who said so, and the Accounts there are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Q, QuerySet, Value

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
    customer_id: str
    customer_name: str
    customer_email: str
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
    rows = Match.objects.filter(customer_id__in=customer_pks, undone_at__isnull=True).select_related(
        "account", "customer"
    )
    return {row.customer_id: _match(row) for row in rows}


def match_history(customer_pk: int) -> list[MatchRow]:
    """Return all matches of a customer, those undone too, newest first."""
    rows = (
        Match.objects.filter(customer_id=customer_pk)
        .select_related("account", "customer")
        .order_by("-matched_at", "-pk")
    )
    return [_match(row) for row in rows]


def _match(row: Match) -> MatchRow:
    return MatchRow(
        row.pk,
        row.customer_id,
        row.customer.stripe_id,
        row.customer.name,
        row.customer.email,
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


def account_changes(source_pk: int, *, after: datetime | None) -> dict[int, str]:
    """Return the Account ids that customers of a source got since a moment, empty for those who lost theirs."""
    rows = Match.objects.filter(customer__source_id=source_pk)
    since = Q() if after is None else Q(matched_at__gte=after)
    standing = rows.filter(since, undone_at__isnull=True).values_list("customer_id", "account__salesforce_id")
    if after is None:
        return dict(standing)
    lost = rows.filter(undone_at__gte=after).exclude(
        customer_id__in=Match.objects.filter(undone_at__isnull=True).values("customer_id")
    )
    return dict.fromkeys(lost.values_list("customer_id", flat=True), "") | dict(standing)


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
    phone: str
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
            row.phone,
            row.customers,
        )
        for row in rows.annotate(customers=standing)
    ]


@dataclass(frozen=True, slots=True)
class Beside:
    """A matched customer that a decision should know of: on a candidate's Account, or with the same e-mail."""

    customer_pk: int
    customer_id: str
    name: str
    source: str
    account_id: str
    account_name: str
    is_same_payer: bool


def beside(customer_pk: int, email: str, account_ids: Collection[str]) -> list[Beside]:
    """Return who else is on these Accounts, and who else pays with this e-mail, those matched first before the others.

    A customer may be both, and comes twice then. One query.
    """
    standing = Match.objects.filter(undone_at__isnull=True).exclude(customer_id=customer_pk)
    on_accounts = standing.filter(account__salesforce_id__in=account_ids).annotate(same=Value(False))
    payers = standing.filter(customer__email=email).annotate(same=Value(True))
    columns = (
        "customer_id", "customer__stripe_id", "customer__name", "customer__source__label",
        "account__salesforce_id", "account__name", "same", "matched_at",
    )  # fmt: skip
    found = on_accounts.values_list(*columns)
    if email:
        found = found.union(payers.values_list(*columns), all=True)
    rows = sorted(found, key=lambda row: (row[-1], row[0]))
    return [
        Beside(pk, id_, name, label, account, called, same) for pk, id_, name, label, account, called, same, _ in rows
    ]


def matched_searched(search: str, *, limit: int) -> list[Beside]:
    """Return customers that have an Account, with this id or with this text in name or e-mail, by name. One query."""
    fits = Q(customer__stripe_id=search) | Q(customer__name__icontains=search) | Q(customer__email__icontains=search)
    standing = Match.objects.filter(fits, undone_at__isnull=True, customer__source__livemode=True)
    rows = standing.order_by("customer__name", "customer_id").values_list(
        "customer_id", "customer__stripe_id", "customer__name", "customer__source__label",
        "account__salesforce_id", "account__name",
    )  # fmt: skip
    return [Beside(*row, is_same_payer=False) for row in rows[:limit]]
