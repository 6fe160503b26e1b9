"""Who looks after a customer: one rule for everything that names a person in Salesforce. Pure."""

from __future__ import annotations

from dataclasses import dataclass

OWNER_INACTIVE = "owner_inactive"
CSM_INACTIVE = "csm_inactive"
NO_OWNER = "no_owner"


@dataclass(frozen=True, slots=True)
class Person:
    """A User of Salesforce, as an Account names it; an empty id is nobody."""

    id: str = ""
    is_active: bool = False


@dataclass(frozen=True, slots=True)
class Looking:
    """Who looks after an Account: the User's id, or nobody and the code that says why."""

    id: str
    problem: str = ""


def looks_after(csm: Person, owner: Person) -> Looking:
    """Return the CSM: whom the configured lookup of the Account names, else its owner; nobody who is inactive."""
    if csm.id:
        return Looking(csm.id) if csm.is_active else Looking("", CSM_INACTIVE)
    if owner.id:
        return Looking(owner.id) if owner.is_active else Looking("", OWNER_INACTIVE)
    return Looking("", NO_OWNER)
