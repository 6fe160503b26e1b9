"""Brings a restored database up to now: holds Salesforce, reads what Stripe told since, compares, and lets go."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from billing import catch_up
from billing.models import EventState, StripeEvent
from config.backups import tables
from crm import drift, holding, returning
from crm.models import Mode, SalesforceOrg
from mrr.models import LedgerEntry

BY: Final = "restore"
# More than any backup has missed: Salesforce holds the numbers of entries that were lost, and ours must come after.
LOST_KEYS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a restored database is: what still stands in the way, and whether Salesforce is written to again."""

    waits_for: tuple[str, ...] = ()
    is_held: bool = False


def begin(made_at: datetime, *, now: datetime) -> None:
    """Hold what would be written to Salesforce, and owe what Stripe told since the backup; runs after the restore."""
    ledger = tables.of(LedgerEntry)
    tables.count_on_from(ledger, tables.last_key(ledger) + LOST_KEYS)
    if SalesforceOrg.objects.filter(mode=Mode.LIVE, is_demo=False).exists():
        said = f"Restored from the backup of {made_at:%Y-%m-%d %H:%M} UTC: Salesforce may hold newer values."
        holding.hold_all(said, by=BY, now=now, is_restored=True)
    reopen()
    for source in catch_up.sources():
        catch_up.start_gap(source, made_at=made_at, by=BY, now=now)


def reopen() -> None:
    """Take away what kept Salesforce closed while the rows came back."""
    SalesforceOrg.objects.update(paused_until=None)


def finish(*, now: datetime) -> Standing:
    """Let Salesforce go when all was read again and nothing there is newer; else say what it waits for.

    Safe to repeat; workers do it each minute. What a person holds stays held.
    """
    held = holding.held_by(BY)
    gaps = catch_up.gaps(begun_from=held[0] if held else None)
    waits = [_unfilled(gap) for gap in gaps if not gap.is_filled]
    waiting = StripeEvent.objects.filter(state=EventState.WAITING).count()
    if waiting:
        waits.append(f"{waiting} events that were received are still to be worked on.")
    if waits or held is None:
        return Standing(tuple(waits), held is not None)
    owed = [gap.listing.since for gap in gaps if gap.listing is not None and gap.listing.since is not None]
    since = min(owed, default=held[0])  # where no source could have told anything, nothing was written since either
    try:
        ahead = returning.ahead(since=since, now=now)
    except drift.NotChecked as reason:
        return Standing((f"Salesforce was not compared: {reason}",), True)
    if ahead.accounts:
        said = (
            f"Salesforce holds {ahead.records} schedule records that no entry here accounts for (first {ahead.first}). "
            f"They change {ahead.accounts} Accounts. Load the events that are missing, or release the writes."
        )
        if held[1] != said:
            holding.hold_all(said, by=BY, now=now)
        return Standing((said,), True)
    holding.release_held(by=BY, now=now)
    return Standing()


def _unfilled(gap: catch_up.Gap) -> str:
    if gap.listing is None:
        return (
            f"The source '{gap.source_slug}' has no API key: what Stripe told since the backup cannot be read. Load it "
            "with load_events, look the figures over, and release the writes on the sync page."
        )
    why = f": {gap.listing.error}" if gap.listing.error else "."
    return f"The events of '{gap.source_slug}' since the backup are {gap.listing.state}, not done{why}"
