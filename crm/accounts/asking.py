"""What is asked of Salesforce for the mirror: of whom, which objects, which columns, since when."""

from __future__ import annotations

from datetime import datetime

from crm.channels.salesforce.fields import ACCOUNT
from crm.models import Account, Contact, SalesforceOrg, SalesforceUser

CONTACT = "Contact"
USER = "User"
OBJECTS = (USER, ACCOUNT, CONTACT)  # an owner who leaves between two reads is then news of the next

ACCOUNT_COLUMNS = (
    "Id, Name, Website, Phone, BillingCity, BillingPostalCode, BillingCountry, Type, OwnerId, Owner.Name, "
    "Owner.IsActive, ParentId, LastActivityDate, IsDeleted, MasterRecordId, SystemModstamp"
)
CONTACT_COLUMNS = "Id, AccountId, Email, IsDeleted"
USER_COLUMNS = "Id, Name, Email, ManagerId, IsActive, SystemModstamp"
# Users of portals and guests own no Accounts, and there may be a hundred thousand of them.
OWNERS = "UserType IN ('Standard', 'PowerPartner')"


def can_be_asked(org: SalesforceOrg | None, *, now: datetime) -> bool:
    """Say whether there is an org behind the connection that lets us in; a shadow connection reads too."""
    if org is None or org.is_demo or org.error_code:
        return False
    return org.paused_until is None or org.paused_until <= now


def readable(now: datetime) -> SalesforceOrg | None:
    """Return the org, if it can be asked now."""
    org = SalesforceOrg.objects.order_by("pk").first()
    return org if can_be_asked(org, now=now) else None


def columns(sobject: str, org: SalesforceOrg, *, with_csm: bool = True) -> list[str]:
    """Return the columns that are asked of an object, among an Account's the lookup of its CSM."""
    told = {ACCOUNT: ACCOUNT_COLUMNS, CONTACT: CONTACT_COLUMNS, USER: USER_COLUMNS}[sobject].split(", ")
    if sobject == ACCOUNT and org.csm_field and with_csm:
        told += [org.csm_field, f"{relationship(org.csm_field)}.IsActive"]
    return told


def soql(sobject: str, org: SalesforceOrg, since: datetime | None, *, with_csm: bool = True) -> str:
    """Return the query for what changed since a moment, deleted and merged records too, or for all there is.

    The very first read leaves out what is deleted and Contacts without an e-mail; where something is mirrored already,
    all is asked for: what we know may have been deleted, or have lost its e-mail, meanwhile.
    """
    where = [OWNERS] if sobject == USER else []
    if since is not None:
        where.append(f"SystemModstamp >= {since:%Y-%m-%dT%H:%M:%SZ}")
    elif sobject != USER and not MODELS[sobject].objects.filter(org=org).exists():
        where.append("IsDeleted = false")
        where += ["Email != null"] if sobject == CONTACT else []
    told = f"SELECT {', '.join(columns(sobject, org, with_csm=with_csm))} FROM {sobject}"  # noqa: S608  # SOQL, our own names
    return f"{told} WHERE {' AND '.join(where)}" if where else told


def relationship(field: str) -> str:
    """Return the name that follows a lookup in a query: CSM__r for CSM__c."""
    return f"{field.removesuffix('__c')}__r" if field.endswith("__c") else field.removesuffix("Id")


MODELS: dict[str, type[Account] | type[Contact] | type[SalesforceUser]] = {
    ACCOUNT: Account,
    CONTACT: Contact,
    USER: SalesforceUser,
}
