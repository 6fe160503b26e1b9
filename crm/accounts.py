"""The mirror of Salesforce's Accounts and Contacts, kept by incremental reads: matching asks it, not Salesforce."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog

from crm import forgetting
from crm.channels.kinds import Permanent
from crm.channels.salesforce.soql import quoted_list
from crm.domains import address_key, company_domain
from crm.ids import ACCOUNT, long_id
from crm.keys import account_keys
from crm.models import Account, Contact, SalesforceOrg

if TYPE_CHECKING:
    from crm.channels.salesforce.client import Client

log = structlog.get_logger(__name__)

EVERY = timedelta(minutes=10)  # two queries each: 288 of the day's 500 reads
OVERLAP = timedelta(minutes=5)  # a record saved by a long transaction is stamped before it can be seen
PAGE = 500
IDS_AT_ONCE = 200
PEOPLE_AT_ONCE = 300

ACCOUNT_COLUMNS = (
    "Id, Name, Website, Phone, BillingCity, BillingPostalCode, BillingCountry, Type, OwnerId, Owner.Name, "
    "Owner.IsActive, ParentId, IsDeleted, MasterRecordId, SystemModstamp"
)
CONTACT_COLUMNS = "Id, AccountId, Email, IsDeleted"


@dataclass(frozen=True, slots=True)
class Mirrored:
    """How many records a read brought, and how many of them said something that the mirror did not know."""

    accounts: int = 0
    contacts: int = 0
    news: int = 0

    @property
    def total(self) -> int:
        return self.accounts + self.contacts


def is_due(*, now: datetime) -> bool:
    """Say whether the scheduled read should ask Salesforce now."""
    org = _readable(now)
    return org is not None and (org.mirrored_to is None or now - org.mirrored_to >= EVERY)


def refresh(*, now: datetime, report: Callable[[int], None] = lambda count: None) -> Mirrored:
    """Read what changed since the last read, all at first.

    Talks to Salesforce with no transaction open; raises ChannelError. `report` is told how many records came so far.
    """
    from crm.channels.salesforce.client import Client

    org = _readable(now)
    if org is None:
        return Mirrored()
    since = org.mirrored_to - OVERLAP if org.mirrored_to else None
    with Client(org, now=now) as client:
        accounts, news = _keep(_accounts_since(client, org, since), org, _keep_accounts, report)
        contacts, more = _keep(
            client.query(_soql("Contact", CONTACT_COLUMNS, since), with_deleted=True), org, _keep_contacts, report
        )
    SalesforceOrg.objects.filter(pk=org.pk).update(mirrored_to=now)
    return Mirrored(accounts, contacts, news + more)


def read_named(account_ids: Collection[str], *, now: datetime) -> int:
    """Ask Salesforce for Accounts by their ids, one call for 200; those that are not there are remembered as such.

    Returns how many there are. Raises ChannelError; does nothing where there is nobody to ask.
    """
    from crm.channels.salesforce.client import Client

    org = _readable(now)
    wanted = sorted({long_id(one, prefix=ACCOUNT) for one in account_ids})
    if org is None or not wanted:
        return 0
    found = 0
    with Client(org, now=now) as client:
        for start in range(0, len(wanted), IDS_AT_ONCE):
            ids = quoted_list(wanted[start : start + IDS_AT_ONCE])
            soql = f"SELECT {_account_columns(org)} FROM Account WHERE Id IN {ids}"  # noqa: S608  # SOQL, values quoted
            found += _keep(client.query(soql, with_deleted=True), org, _keep_accounts, lambda count: None)[0]
    known = set(Account.objects.filter(salesforce_id__in=wanted).values_list("salesforce_id", flat=True))
    unknown = [Account(org=org, salesforce_id=one, is_deleted=True) for one in wanted if one not in known]
    Account.objects.bulk_create(unknown, ignore_conflicts=True)
    return found


def can_be_asked(org: SalesforceOrg | None, *, now: datetime) -> bool:
    """Say whether there is an org behind the connection that lets us in; a shadow connection reads too."""
    if org is None or org.is_demo or org.error_code:
        return False
    return org.paused_until is None or org.paused_until <= now


def _readable(now: datetime) -> SalesforceOrg | None:
    org = SalesforceOrg.objects.order_by("pk").first()
    return org if can_be_asked(org, now=now) else None


def keep_people(*, now: datetime) -> int:
    """Learn which owners and CSMs are active now: a User who leaves stamps no Account. One call for 300 of them.

    Returns how many Accounts changed by it; raises ChannelError.
    """
    from crm.channels.salesforce.client import Client

    org = _readable(now)
    if org is None:
        return 0
    standing = Account.objects.filter(org=org, is_deleted=False)
    ids = {one for pair in standing.values_list("owner_id", "csm_id").distinct() for one in pair if one}
    changed = 0
    with Client(org, now=now) as client:
        for start in range(0, len(ids), PEOPLE_AT_ONCE):
            chunk = sorted(ids)[start : start + PEOPLE_AT_ONCE]
            soql = f"SELECT Id FROM User WHERE IsActive = true AND Id IN {quoted_list(chunk)}"  # noqa: S608  # SOQL, values quoted
            active = {str(one["Id"]) for one in client.query(soql)}
            for column in ("owner", "csm"):
                here = standing.filter(**{f"{column}_id__in": chunk})
                flag = f"{column}_is_active"
                changed += here.filter(**{f"{column}_id__in": active, flag: False}).update(**{flag: True})
                changed += here.exclude(**{f"{column}_id__in": active}).filter(**{flag: True}).update(**{flag: False})
    return changed


def _accounts_since(client: Client, org: SalesforceOrg, since: datetime | None) -> Iterator[Mapping[str, Any]]:
    """Yield what changed; where the lookup of the CSM is gone from the org, without it: the mirror must not stop."""
    try:
        yield from client.query(_soql("Account", _account_columns(org), since), with_deleted=True)
    except Permanent as refusal:
        if not org.csm_field or refusal.code != "INVALID_FIELD":
            raise
        log.warning("the CSM's lookup cannot be read", field=org.csm_field, message=refusal.message)
        yield from client.query(_soql("Account", ACCOUNT_COLUMNS, since), with_deleted=True)


def _account_columns(org: SalesforceOrg) -> str:
    if not org.csm_field:
        return ACCOUNT_COLUMNS
    return f"{ACCOUNT_COLUMNS}, {org.csm_field}, {_relationship(org.csm_field)}.IsActive"


def _relationship(field: str) -> str:
    """Return the name that follows a lookup in a query: CSM__r for CSM__c."""
    return f"{field.removesuffix('__c')}__r" if field.endswith("__c") else field.removesuffix("Id")


def _soql(sobject: str, columns: str, since: datetime | None) -> str:
    """A first read takes what lives; later ones take what changed, deleted and merged records too."""
    where = "IsDeleted = false" if since is None else f"SystemModstamp >= {since:%Y-%m-%dT%H:%M:%SZ}"
    if since is None and sobject == "Contact":
        where += " AND Email != null"
    return f"SELECT {columns} FROM {sobject} WHERE {where} ORDER BY SystemModstamp"  # noqa: S608  # SOQL; values go through soql.quoted


# ---- keeping ----


def _keep(
    records: Iterable[Mapping[str, Any]],
    org: SalesforceOrg,
    keep: Callable[[SalesforceOrg, list[Mapping[str, Any]]], int],
    report: Callable[[int], None],
) -> tuple[int, int]:
    """Keep records page by page; returns how many came, and how many say something that the mirror did not know."""
    count = news = 0
    page: list[Mapping[str, Any]] = []
    for record in records:
        page.append(record)
        if len(page) == PAGE:
            news += keep(org, page)
            count += len(page)
            report(count)
            page = []
    return count + len(page), news + (keep(org, page) if page else 0)


def _keep_accounts(org: SalesforceOrg, records: list[Mapping[str, Any]]) -> int:
    rows = {record["Id"]: account_row(org, record) for record in records}
    columns = [
        column.name
        for column in Account._meta.concrete_fields
        if column.name not in ("id", "org", "salesforce_id", "forgotten_at")
    ]
    _keep_forgotten(Account, org, rows)
    # Our own writes stamp an Account anew; only what the mirror looks at is news.
    news = _news(Account, org, rows, [name for name in columns if name != "modified_at"])
    Account.objects.bulk_create(
        list(rows.values()), update_conflicts=True, unique_fields=["org", "salesforce_id"], update_fields=columns
    )
    return news


def _keep_forgotten(model: Any, org: SalesforceOrg, rows: Mapping[str, Any]) -> None:
    """Leave out what tells of a forgotten person, whatever Salesforce says of it."""
    ids = [row.salesforce_id for row in rows.values()]
    forgotten = model.objects.filter(org=org, salesforce_id__in=ids, forgotten_at__isnull=False)
    known = set(forgotten.values_list("salesforce_id", flat=True))
    for row in rows.values():
        if row.salesforce_id in known:
            forgetting.without_person(row)


def _news(model: Any, org: SalesforceOrg, rows: Mapping[str, Any], columns: Sequence[str]) -> int:
    """Return how many rows are not mirrored yet, or otherwise."""
    ids = [row.salesforce_id for row in rows.values()]
    known = {row.salesforce_id: row for row in model.objects.filter(org=org, salesforce_id__in=ids)}
    return sum(
        row.salesforce_id not in known
        or any(getattr(known[row.salesforce_id], name) != getattr(row, name) for name in columns)
        for row in rows.values()
    )


def account_row(org: SalesforceOrg, record: Mapping[str, Any]) -> Account:
    """Return an unsaved row of an Account as Salesforce's API writes it; the demo's fixture has the same shape."""
    name, website = _text(record, "Name", 255), _text(record, "Website", 255)
    phone, country = _text(record, "Phone", 80), _text(record, "BillingCountry", 80)
    stamp = record.get("SystemModstamp")
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
        modified_at=datetime.fromisoformat(str(stamp)) if stamp else None,
    )


def _people(org: SalesforceOrg, record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "owner_id": _text(record, "OwnerId", 18),
        "owner_is_active": bool((record.get("Owner") or {}).get("IsActive")),
        "csm_id": _text(record, org.csm_field, 18) if org.csm_field else "",
        "csm_is_active": bool(org.csm_field and (record.get(_relationship(org.csm_field)) or {}).get("IsActive")),
    }


def _keep_contacts(org: SalesforceOrg, records: list[Mapping[str, Any]]) -> int:
    rows = {record["Id"]: contact_row(org, record) for record in records}
    _keep_forgotten(Contact, org, rows)
    news = _news(Contact, org, rows, ["account_id", "email", "domain", "is_deleted"])
    Contact.objects.bulk_create(
        list(rows.values()),
        update_conflicts=True,
        unique_fields=["org", "salesforce_id"],
        update_fields=["account_id", "email", "domain", "is_deleted"],
    )
    return news


def contact_row(org: SalesforceOrg, record: Mapping[str, Any]) -> Contact:
    """Return an unsaved row of a Contact as Salesforce's API writes it; one that lost its e-mail counts as deleted."""
    email = address_key(str(record.get("Email") or ""))[:255]
    return Contact(
        org=org,
        salesforce_id=long_id(str(record["Id"])),
        account_id=_text(record, "AccountId", 18),
        email=email,
        domain=company_domain(email),
        is_deleted=bool(record.get("IsDeleted")) or not email,
    )


def _text(record: Mapping[str, Any], name: str, length: int) -> str:
    return str(record.get(name) or "").replace("\x00", "")[:length]
