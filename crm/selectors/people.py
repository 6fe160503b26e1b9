"""Who looks after customers, as their Accounts name them in the mirror."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from crm.models import Account, Match
from crm.people import Looking, Person, looks_after


@dataclass(frozen=True, slots=True)
class Owner:
    """A Salesforce user who owns Accounts; either is empty where it is not known."""

    id: str
    name: str


def owners_of(customer_pks: Collection[int]) -> dict[int, Owner]:
    """Return who owns the Account of each customer that has one, as far as it is known. One query."""
    rows = Match.objects.filter(customer_id__in=customer_pks, undone_at__isnull=True)
    known = rows.exclude(account__owner_id="", account__owner_name="")
    found = known.values_list("customer_id", "account__owner_id", "account__owner_name")
    return {pk: Owner(owner_id, name) for pk, owner_id, name in found}


def looking_after(customer_pks: Collection[int]) -> dict[int, Looking]:
    """Return who looks after each customer that has an Account. One query."""
    rows = Match.objects.filter(customer_id__in=customer_pks, undone_at__isnull=True).select_related("account")
    return {row.customer_id: _looking(row.account) for row in rows}


def without_anybody(*, limit: int) -> tuple[int, list[tuple[str, str]]]:
    """Return how many matched Accounts nobody active looks after, and the first: (Salesforce id, code)."""
    matched = Account.objects.filter(matches__undone_at__isnull=True, matches__isnull=False, is_deleted=False)
    rows = matched.distinct().order_by("salesforce_id")
    known = rows.exclude(owner_id="", csm_id="")  # read before owners were: nothing is known of them yet
    found = [(row.salesforce_id, _looking(row).problem) for row in known.iterator() if _looking(row).problem]
    return len(found), found[:limit]


def _looking(account: Account) -> Looking:
    return looks_after(Person(account.csm_id, account.csm_is_active), Person(account.owner_id, account.owner_is_active))
