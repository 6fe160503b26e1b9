"""Reads what changed in Salesforce since the last read, in turns: a killed or a long one is carried on by the next.

One call in five minutes asks for Users, Accounts and Contacts together: 288 of the day's 500 reads. Up to 10,000
records of a kind come page by page; more, as at first, by a Bulk query job.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog
from django.db.models import Q

from crm.accounts import asking, by_bulk
from crm.accounts.asking import CONTACT, OBJECTS, USER
from crm.accounts.keeping import Kept, keep
from crm.channels.kinds import ChannelError, Permanent
from crm.channels.salesforce.fields import ACCOUNT
from crm.models import MirrorRead, SalesforceOrg

if TYPE_CHECKING:
    from crm.channels.salesforce.client import Client

log = structlog.get_logger(__name__)

EVERY = timedelta(minutes=5)
HASTE = timedelta(seconds=15)  # between reads that a Flow asked for
SPARE_READS = 50  # left each day to people, however often Flows call
OVERLAP = timedelta(minutes=5)  # a record saved by a long transaction is stamped before it can be seen
BULK_FROM = 10_000
LEASE = timedelta(minutes=2)  # longer than a turn
TURN_SECONDS = 15.0
GONE_PAGE = "INVALID_QUERY_LOCATOR"


@dataclass(frozen=True, slots=True)
class Mirrored:
    """How many records a turn brought, how many said something new, and whether the read came to its end."""

    accounts: int = 0
    contacts: int = 0
    users: int = 0
    news: int = 0
    is_whole: bool = False

    @property
    def total(self) -> int:
        return self.accounts + self.contacts + self.users


def is_due(*, now: datetime) -> bool:
    """Say whether a turn should ask Salesforce now: it is time, a read is unfinished, or a Flow told of news."""
    org = asking.readable(now)
    if org is None:
        return False
    if org.mirrored_to is None or now - org.mirrored_to >= EVERY:
        return True
    return _is_hastened(org, now=now) or MirrorRead.objects.filter(org=org, ended_at__isnull=True).exists()


def hasten(*, now: datetime) -> None:
    """Have the next turn read without waiting for its time, because something changed in Salesforce just now."""
    SalesforceOrg.objects.update(hastened_at=now)


def _is_hastened(org: SalesforceOrg, *, now: datetime) -> bool:
    """A Flow that calls with each change of each record must not use up the day's reads: then time decides again."""
    from crm.channels.salesforce import budget

    if org.hastened_at is None or org.mirrored_to is None or org.hastened_at <= org.mirrored_to:
        return False
    return now - org.mirrored_to >= HASTE and budget.may_look(org, now=now, spare=SPARE_READS)


def refresh(
    *, now: datetime, report: Callable[[int], None] = lambda count: None, seconds: float = TURN_SECONDS
) -> Mirrored:
    """Read what changed since the last read, all at first, for as long as a turn may take.

    Talks to Salesforce with no transaction open; raises ChannelError. Does nothing while another worker reads. `report`
    is told how many records came so far.
    """
    from crm.channels.salesforce.client import Client

    org = asking.readable(now)
    if org is None or not _take(org, now=now):
        return Mirrored()
    turn = _Turn(org, now, time.monotonic() + seconds, report)
    try:
        with Client(org, now=now) as client:
            return turn.take(client, _unfinished(org, now=now))
    finally:
        SalesforceOrg.objects.filter(pk=org.pk).update(mirroring_until=None)


def _take(org: SalesforceOrg, *, now: datetime) -> bool:
    free = Q(mirroring_until__isnull=True) | Q(mirroring_until__lte=now)
    return bool(SalesforceOrg.objects.filter(free, pk=org.pk).update(mirroring_until=now + LEASE))


def _unfinished(org: SalesforceOrg, *, now: datetime) -> list[MirrorRead]:
    """Return the reads to be carried on, or new ones: also when all is to be read anew since they began."""
    since = org.mirrored_to - OVERLAP if org.mirrored_to else None
    known = {one.sobject: one for one in MirrorRead.objects.filter(org=org)}
    left = [known[name] for name in OBJECTS if name in known and known[name].ended_at is None]
    if left and all(one.since == since for one in left):
        return left
    MirrorRead.objects.filter(org=org).delete()
    fresh = [MirrorRead(org=org, sobject=name, since=since, began_at=now) for name in OBJECTS]
    return MirrorRead.objects.bulk_create(fresh)


class _Turn:
    """One turn at reading: what it has brought so far, and when it must end."""

    def __init__(self, org: SalesforceOrg, now: datetime, until: float, report: Callable[[int], None]) -> None:
        self.org = org
        self.now = now
        self.until = until
        self.report = report
        self.kept: dict[str, Kept] = {name: Kept() for name in OBJECTS}

    def take(self, client: Client, reads: list[MirrorRead]) -> Mirrored:
        """Read on until all is read or time is up."""
        first = [one for one in reads if not one.by_bulk and not one.locator]
        pages = self._first_pages(client, first) if first else {}
        for read in reads:
            page = pages.get(read.sobject)
            if read.by_bulk is None and page is not None:
                read.total = int(page.get("totalSize") or 0)
                read.by_bulk = read.total > BULK_FROM
            if read.ended_at is None:
                self._read(client, read, page)
        is_whole = all(one.ended_at is not None for one in reads)
        if is_whole:
            self._end(reads[0].began_at)
        told = self.kept
        news = sum(one.news for one in told.values())
        return Mirrored(told[ACCOUNT].count, told[CONTACT].count, told[USER].count, news, is_whole)

    def _read(self, client: Client, read: MirrorRead, page: Mapping[str, Any] | None) -> None:
        if read.by_bulk:
            by_bulk.carry_on(client, read, until=self.until, keep=lambda records: self._keep(read, records))
        if not read.by_bulk:
            self._by_pages(client, read, page)

    def _by_pages(self, client: Client, read: MirrorRead, page: Mapping[str, Any] | None) -> None:
        """Keep page after page; where to go on is written down with each."""
        from crm.channels.salesforce.client import page_after

        while page is not None or read.locator:
            if page is None:
                page = self._page(client, read)
            self._keep(read, page.get("records") or ())
            read.locator = page_after(page)
            if not read.locator:
                read.ended_at = self.now
            read.save()
            page = None
            if time.monotonic() > self.until:
                return

    def _page(self, client: Client, read: MirrorRead) -> Mapping[str, Any]:
        """Return the page where the last turn stopped; one that Salesforce keeps no longer is begun anew."""
        try:
            return client.page(read.locator)
        except Permanent as refusal:
            if refusal.code == GONE_PAGE:
                MirrorRead.objects.filter(pk=read.pk).update(locator="", kept=0)
            raise

    def _keep(self, read: MirrorRead, records: Any) -> None:
        kept = keep(read.sobject, records, self.org, now=self.now)
        self.kept[read.sobject] += kept
        read.kept += kept.count
        self.report(sum(one.count for one in self.kept.values()))

    def _first_pages(self, client: Client, reads: list[MirrorRead]) -> dict[str, Mapping[str, Any]]:
        """Ask for all of them in one call. Raises ChannelError for what may not be read, Users excepted."""
        queries = [self._soql(read) for read in reads]
        found: dict[str, Mapping[str, Any]] = {}
        for read, said in zip(reads, client.first_pages(queries), strict=True):
            answer = self._without_csm(client, read, said) if isinstance(said, ChannelError) else said
            if isinstance(answer, ChannelError) and read.sobject == USER and isinstance(answer, Permanent):
                self._leave_out(read, answer)
            elif isinstance(answer, ChannelError):
                raise answer
            else:
                found[read.sobject] = answer
        return found

    def _without_csm(self, client: Client, read: MirrorRead, refusal: ChannelError) -> Mapping[str, Any] | ChannelError:
        """Where the lookup of the CSM is gone from the org, read without it: the mirror must not stop."""
        if read.sobject != ACCOUNT or not self.org.csm_field or refusal.code != "INVALID_FIELD":
            return refusal
        log.warning("the CSM's lookup cannot be read", field=self.org.csm_field, message=refusal.message)
        self.org.csm_field = ""  # of this turn's copy: the rule stays, and the check of the org names it
        return client.first_pages([self._soql(read)])[0]

    def _leave_out(self, read: MirrorRead, refusal: ChannelError) -> None:
        """Matching needs no Users: an org that hides them is read without."""
        log.warning("users not read", code=refusal.code, message=refusal.message)
        read.error_code, read.ended_at = refusal.code, self.now
        read.save()

    def _soql(self, read: MirrorRead) -> str:
        return f"{asking.soql(read.sobject, self.org, read.since)} ORDER BY SystemModstamp"

    def _end(self, began_at: datetime) -> None:
        """All before the read began is mirrored now, unless somebody asked meanwhile for all to be read anew."""
        SalesforceOrg.objects.filter(pk=self.org.pk, mirrored_to=self.org.mirrored_to).update(mirrored_to=began_at)
