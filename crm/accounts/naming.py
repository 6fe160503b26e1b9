"""Reads Accounts by their ids: those that customers name, and the winners of merges, where the mirror lacks them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from crm.accounts import asking
from crm.accounts.keeping import keep
from crm.channels.salesforce.fields import ACCOUNT as ACCOUNTS
from crm.channels.salesforce.soql import quoted_list
from crm.ids import ACCOUNT, long_id
from crm.models import Account

IDS_AT_ONCE = 200


def read_named(account_ids: Collection[str], *, now: datetime) -> int:
    """Ask Salesforce for Accounts by their ids, one call for 200; those that are not there are remembered as such.

    Returns how many there are. Raises ChannelError; does nothing where there is nobody to ask.
    """
    from crm.channels.salesforce.client import Client

    org = asking.readable(now)
    wanted = sorted({long_id(one, prefix=ACCOUNT) for one in account_ids})
    if org is None or not wanted:
        return 0
    found = 0
    columns = ", ".join(asking.columns(ACCOUNTS, org))
    with Client(org, now=now) as client:
        for start in range(0, len(wanted), IDS_AT_ONCE):
            ids = quoted_list(wanted[start : start + IDS_AT_ONCE])
            soql = f"SELECT {columns} FROM Account WHERE Id IN {ids}"  # noqa: S608  # SOQL, values quoted
            found += keep(ACCOUNTS, client.query(soql, with_deleted=True), org, now=now).count
    known = set(Account.objects.filter(salesforce_id__in=wanted).values_list("salesforce_id", flat=True))
    unknown = [Account(org=org, salesforce_id=one, is_deleted=True) for one in wanted if one not in known]
    Account.objects.bulk_create(unknown, ignore_conflicts=True)
    return found
