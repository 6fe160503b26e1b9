"""What a record of Salesforce becomes in the mirror; a record from the API and one from a Bulk job look the same."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from crm.accounts.asking import relationship
from crm.domains import address_key, company_domain
from crm.ids import long_id
from crm.keys import account_keys
from crm.models import Account, Contact, SalesforceOrg, SalesforceUser


def account_row(org: SalesforceOrg, record: Mapping[str, Any]) -> Account:
    """Return an unsaved row of an Account."""
    name, website = _text(record, "Name", 255), _text(record, "Website", 255)
    phone, country = _text(record, "Phone", 80), _text(record, "BillingCountry", 80)
    last_activity = record.get("LastActivityDate")
    return Account(
        org=org,
        salesforce_id=long_id(str(record["Id"])),
        name=name,
        website=website,
        phone=phone,
        city=_text(record, "BillingCity", 80),
        postal_code=_text(record, "BillingPostalCode", 40),
        country=country,
        **account_keys(name=name, website=website, phone=phone, country=country),
        type=_text(record, "Type", 80),
        owner_name=str((record.get("Owner") or {}).get("Name") or "")[:255],
        **_people(org, record),
        parent_id=_text(record, "ParentId", 18),
        is_deleted=bool(record.get("IsDeleted")),
        merged_into=_text(record, "MasterRecordId", 18),
        last_activity_on=date.fromisoformat(str(last_activity)) if last_activity else None,
        modified_at=_stamp(record),
    )


def _people(org: SalesforceOrg, record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "owner_id": _text(record, "OwnerId", 18),
        "owner_is_active": bool((record.get("Owner") or {}).get("IsActive")),
        "csm_id": _text(record, org.csm_field, 18) if org.csm_field else "",
        "csm_is_active": bool(org.csm_field and (record.get(relationship(org.csm_field)) or {}).get("IsActive")),
    }


def contact_row(org: SalesforceOrg, record: Mapping[str, Any]) -> Contact:
    """Return an unsaved row of a Contact; one that lost its e-mail counts as deleted."""
    email = address_key(str(record.get("Email") or ""))[:255]
    return Contact(
        org=org,
        salesforce_id=long_id(str(record["Id"])),
        account_id=_text(record, "AccountId", 18),
        email=email,
        domain=company_domain(email),
        is_deleted=bool(record.get("IsDeleted")) or not email,
    )


def user_row(org: SalesforceOrg, record: Mapping[str, Any]) -> SalesforceUser:
    """Return an unsaved row of a User."""
    return SalesforceUser(
        org=org,
        salesforce_id=long_id(str(record["Id"])),
        name=_text(record, "Name", 255),
        email=_text(record, "Email", 255),
        manager_id=_text(record, "ManagerId", 18),
        is_active=bool(record.get("IsActive")),
        modified_at=_stamp(record),
    )


def _stamp(record: Mapping[str, Any]) -> datetime | None:
    stamp = record.get("SystemModstamp")
    return datetime.fromisoformat(str(stamp)) if stamp else None


def _text(record: Mapping[str, Any], name: str, length: int) -> str:
    return str(record.get(name) or "").replace("\x00", "")[:length]
