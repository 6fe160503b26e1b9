"""The mirror of Salesforce's Accounts and Contacts, kept by incremental reads: matching asks it, not Salesforce."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from crm import scoring
from crm.channels.salesforce.soql import quoted_list
from crm.ids import ACCOUNT, long_id
from crm.models import Account, Contact, SalesforceOrg

EVERY = timedelta(minutes=10)  # two queries each: 288 of the day's 500 reads
OVERLAP = timedelta(minutes=5)  # a record saved by a long transaction is stamped before it can be seen
PAGE = 500
IDS_AT_ONCE = 200

ACCOUNT_COLUMNS = (
    "Id, Name, Website, Phone, BillingCity, BillingPostalCode, BillingCountry, Type, Owner.Name, ParentId, IsDeleted, "
    "MasterRecordId, SystemModstamp"
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
        accounts, news = _keep(
            client.query(_soql("Account", ACCOUNT_COLUMNS, since), with_deleted=True), org, _keep_accounts, report
        )
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
            soql = f"SELECT {ACCOUNT_COLUMNS} FROM Account WHERE Id IN {ids}"  # noqa: S608  # SOQL, values quoted
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
        column.name for column in Account._meta.concrete_fields if column.name not in ("id", "org", "salesforce_id")
    ]
    # Our own writes stamp an Account anew; only what the mirror looks at is news.
    news = _news(Account, org, rows, [name for name in columns if name != "modified_at"])
    Account.objects.bulk_create(
        list(rows.values()), update_conflicts=True, unique_fields=["org", "salesforce_id"], update_fields=columns
    )
    return news


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
    stamp = record.get("SystemModstamp")
    return Account(
        org=org,
        salesforce_id=long_id(str(record["Id"])),
        name=name,
        name_key=scoring.name_key(name),
        website=website,
        domain=scoring.website_domain(website),
        phone=_text(record, "Phone", 80),
        city=_text(record, "BillingCity", 80),
        postal_code=_text(record, "BillingPostalCode", 40),
        country=_text(record, "BillingCountry", 80),
        type=_text(record, "Type", 80),
        owner_name=str((record.get("Owner") or {}).get("Name") or "")[:255],
        parent_id=_text(record, "ParentId", 18),
        is_deleted=bool(record.get("IsDeleted")),
        merged_into=_text(record, "MasterRecordId", 18),
        modified_at=datetime.fromisoformat(str(stamp)) if stamp else None,
    )


def _keep_contacts(org: SalesforceOrg, records: list[Mapping[str, Any]]) -> int:
    rows = {record["Id"]: contact_row(org, record) for record in records}
    news = _news(Contact, org, rows, ["account_id", "email", "is_deleted"])
    Contact.objects.bulk_create(
        list(rows.values()),
        update_conflicts=True,
        unique_fields=["org", "salesforce_id"],
        update_fields=["account_id", "email", "is_deleted"],
    )
    return news


def contact_row(org: SalesforceOrg, record: Mapping[str, Any]) -> Contact:
    """Return an unsaved row of a Contact as Salesforce's API writes it; one that lost its e-mail counts as deleted."""
    email = scoring.address_key(str(record.get("Email") or ""))[:255]
    return Contact(
        org=org,
        salesforce_id=long_id(str(record["Id"])),
        account_id=_text(record, "AccountId", 18),
        email=email,
        is_deleted=bool(record.get("IsDeleted")) or not email,
    )


def _text(record: Mapping[str, Any], name: str, length: int) -> str:
    return str(record.get(name) or "").replace("\x00", "")[:length]
