"""After a restore: tells whether Salesforce holds something newer than this database has come to know again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from crm import drift
from crm.channels.kinds import ChannelError
from crm.channels.salesforce import fields as names
from crm.models import RecordKind, SyncRecord

READ = (names.LEDGER_KEY, "Account__c", "MRR_Delta__c")


@dataclass(frozen=True, slots=True)
class Ahead:
    """Schedule records there that no entry here accounts for: how many, and how many Accounts' sums they change."""

    records: int
    accounts: int
    first: str = ""


def ahead(*, since: datetime, now: datetime) -> Ahead:
    """Compare the schedule records changed there since a moment with what is known here; raises drift.NotChecked.

    An entry has the same name whenever it is posted, so one that came back is known by it. What was posted and taken
    back between the backup and its restore is not posted again: such pairs come to nothing and change no sum.
    """
    from crm.channels.salesforce import mapping, reading
    from crm.channels.salesforce.client import Client

    org = drift.comparable(now)
    sums: defaultdict[str, Decimal] = defaultdict(Decimal)
    unknown: list[str] = []
    try:
        with Client(org, now=now) as client:
            found = reading.changed_since(client, mapping.of(org), names.MRR_SCHEDULE, READ, since=since)
            there = {str(one.values[names.LEDGER_KEY]): one for one in found}
    except ChannelError as error:
        raise drift.NotChecked(f"{error.message} ({error.code})") from None
    known = _known(there)
    for key, one in sorted(there.items()):
        if key not in known:
            unknown.append(key)
            sums[str(one.values.get("Account__c") or "")] += Decimal(str(one.values.get("MRR_Delta__c") or 0))
    return Ahead(len(unknown), sum(amount != 0 for amount in sums.values()), unknown[0] if unknown else "")


def _known(keys: Iterable[str]) -> set[str]:
    """Return the keys that records of ours have; those that are asked of may be very many."""
    named = sorted(keys)
    found: set[str] = set()
    for start in range(0, len(named), 500):
        rows = SyncRecord.objects.filter(kind=RecordKind.SCHEDULE, key__in=named[start : start + 500])
        found.update(rows.values_list("key", flat=True))
    return found
