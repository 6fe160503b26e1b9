"""Whose customers are whose: the owners of Salesforce Accounts as the mirror has them today."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.db.models import Case, Count, F, Q, QuerySet, When

from crm.models import Account, Match


@dataclass(frozen=True, slots=True)
class OwnerChoice:
    """An owner of Accounts: `key` names it in addresses (its Salesforce id, its name where only that is known)."""

    key: str
    name: str
    customers: int


def owner_choices(sources: Collection[int]) -> list[OwnerChoice]:
    """Return who owns Accounts of customers of these sources, by name. One query."""
    rows = _owned(sources).values_list("key", "account__owner_name").annotate(customers=Count("pk")).order_by()
    found: dict[str, OwnerChoice] = {}
    for key, name, customers in rows:  # a user who was renamed has Accounts under both names until they are read again
        known = found.get(key)
        found[key] = OwnerChoice(
            key, max(name, known.name if known else ""), customers + (known.customers if known else 0)
        )
    return sorted(found.values(), key=lambda one: (one.name.casefold(), one.key))


def owner_names(ids: Collection[str]) -> dict[str, str]:
    """Return the names of Salesforce users who own Accounts, by id, as far as they are known. One query."""
    rows = Account.objects.filter(owner_id__in=ids).exclude(owner_name="").values_list("owner_id", "owner_name")
    return dict(rows.order_by("owner_id", "owner_name").distinct())


def customers_owned(keys: Collection[str], *, sources: Collection[int]) -> list[int]:
    """Return the customers whose Account one of these owns, by our key, sorted."""
    return sorted(_owned(sources).filter(key__in=keys).values_list("customer_id", flat=True))


def customers_owned_by_others(keys: Collection[str], *, sources: Collection[int]) -> list[int]:
    """Return the customers whose Account somebody else owns than these; who has no known owner is not among them."""
    return sorted(_owned(sources).exclude(key__in=keys).values_list("customer_id", flat=True))


def _owned(sources: Collection[int]) -> QuerySet[Any]:
    known = Match.objects.filter(undone_at__isnull=True, customer__source_id__in=sources)
    key = Case(When(account__owner_id="", then=F("account__owner_name")), default=F("account__owner_id"))
    return known.exclude(Q(account__owner_id="") & Q(account__owner_name="")).annotate(key=key)
