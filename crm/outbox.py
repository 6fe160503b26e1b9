"""What we owe the outside world: records to bring in step and messages to tell. The row is the queue."""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Case, F, Q, QuerySet, Value, When

from billing import selectors as billing
from crm import messages, statements
from crm.channels import slack
from crm.channels.kinds import (
    Channel,
    ChannelError,
    Dropped,
    Held,
    Outcome,
    Parcel,
    Permanent,
    Postponed,
    Sent,
    Transient,
    Unclear,
    Wait,
    WouldSend,
)
from crm.models import Match, Message, RecordKind, SalesforceOrg, SyncRecord, WorkState

LEASE = timedelta(seconds=60)
LONGEST_CALL = timedelta(seconds=40)  # connect and read time-outs of one call, with room
ATTEMPTS = 8
FIRST_PAUSE_SECONDS = 5
LONGEST_PAUSE_SECONDS = 3600

UNMATCHED = "unmatched"
NO_ORG = "no_org"
NEEDS_A_PERSON = "needs_a_person"
SEND_AGAIN = "send_again"

Key = tuple[str, str]  # kind, key


class UnknownWork(LookupError):
    """There is no such record or message."""


# ---- owing ----


def owe_for(entries: Sequence[Any], touched: Collection[int], *, now: datetime) -> None:
    """Write down what new ledger entries and changed customers owe Salesforce; runs in the caller's transaction.

    Each entry (a reversal too) owes its schedule record, each subscription that begins to count its Opportunity, each
    matched customer's Account a refresh. Work of a customer without an Account is held; customers of test sources owe
    nothing. A few statements, however many customers.
    """
    customer_pks = {*touched, *(entry.customer_id for entry in entries)}
    if not customer_pks:
        return
    accounts = _accounts_of(customer_pks)
    unmatched = {entry.customer_id for entry in entries} - accounts.keys()
    in_test = billing.in_test_mode(unmatched) if unmatched else set()
    hold = (UNMATCHED if SalesforceOrg.objects.exists() else NO_ORG) if unmatched else ""
    rows: list[SyncRecord] = []
    bumped: dict[str, set[str]] = {kind: set() for kind in RecordKind}
    for entry in entries:
        if entry.customer_id in in_test:
            continue
        code = "" if entry.customer_id in accounts else hold
        rows.append(_row(RecordKind.SCHEDULE, entry.key, entry.customer_id, code, now, wanted=1))
        starts = beginning(entry.type, entry.lines)
        rows += [_row(RecordKind.OPPORTUNITY, name, entry.customer_id, code, now) for name in sorted(starts)]
        bumped[RecordKind.OPPORTUNITY] |= {line["subscription"] for line in entry.lines}
    for account_id in sorted(set(accounts.values())):
        rows.append(_row(RecordKind.ACCOUNT, account_id, None, "", now))
        bumped[RecordKind.ACCOUNT].add(account_id)
    _add(rows)
    _want_newer(bumped, now=now)
    _owe_messages(entries, now=now)


def owe_accounts(account_ids: Collection[str], *, now: datetime) -> None:
    """Owe a refresh of Accounts by their Salesforce ids, as a match or its undoing needs."""
    _add([_row(RecordKind.ACCOUNT, account_id, None, "", now) for account_id in sorted(account_ids)])
    _want_newer({RecordKind.ACCOUNT: set(account_ids)}, now=now)


def beginning(entry_type: str, lines: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the subscriptions that a movement brings from no MRR to some; an item added to one is not that."""
    if entry_type in ("opening", "reversal"):
        return set()
    found: dict[str, int] = {}
    for line in lines:
        began = line["micros"] > 0 and line["reason"] != "item_added" and not (line.get("before") or {}).get("micros")
        found[line["subscription"]] = found.get(line["subscription"], 0) + (line["micros"] if began else 0)
    return {subscription for subscription, micros in found.items() if micros > 0}


def _owe_messages(entries: Sequence[Any], *, now: datetime) -> None:
    """Owe people what movements have to tell, where a channel is set up to tell it."""
    told = [entry for entry in entries if entry.type in messages.TOLD]
    org = SalesforceOrg.objects.order_by("pk").first() if told and slack.is_configured() else None
    if org is None:
        return
    in_test = billing.in_test_mode({entry.customer_id for entry in told})
    rows: list[Message] = []
    for entry in told:
        owed = messages.closed_won(
            entry.type,
            customer_pk=entry.customer_id,
            event_ids=entry.event_ids,
            is_live=entry.is_live,
            effective_at=entry.effective_at,
            live_since=org.live_since,
            now=now,
        )
        if owed is not None and entry.customer_id not in in_test:
            rows.append(
                Message(
                    channel=slack.SlackChannel.name,
                    topic=owed.topic,
                    dedupe_key=owed.dedupe_key,
                    customer_id=entry.customer_id,
                    entry_id=entry.pk,
                    due_at=owed.due_at,
                    created_at=now,
                )
            )
    statements.insert_new(rows)


def _accounts_of(customer_pks: Collection[int]) -> dict[int, str]:
    matches = Match.objects.filter(customer_id__in=customer_pks, undone_at__isnull=True)
    return dict(matches.values_list("customer_id", "account__salesforce_id"))


def _row(kind: str, key: str, customer_pk: int | None, hold: str, now: datetime, *, wanted: int = 0) -> SyncRecord:
    return SyncRecord(
        kind=kind,
        key=key,
        customer_id=customer_pk,
        wanted=wanted,
        state=WorkState.HELD if hold else WorkState.WAITING,
        error_code=hold,
        due_at=now,
        created_at=now,
    )


def _add(rows: list[SyncRecord]) -> None:
    """Insert what is not there yet, in one order, so that two transactions cannot wait for each other."""
    rows.sort(key=lambda row: (row.kind, row.key))
    statements.insert_new(rows)


def _want_newer(keys: Mapping[str, Collection[str]], *, now: datetime) -> None:
    """Raise the version wanted of records that exist. What is held or waits keeps its time, the rest is due.

    An insert that met a row of another transaction has waited for its commit, so no version is lost.
    """
    chosen = Q(pk__in=[])
    for kind, names in keys.items():
        if names:
            chosen |= Q(kind=kind, key__in=sorted(names))
    locked = SyncRecord.objects.filter(chosen).order_by("pk").select_for_update()
    stays = Q(state__in=(WorkState.HELD, WorkState.WAITING))
    SyncRecord.objects.filter(pk__in=locked.values("pk")).update(
        wanted=F("wanted") + 1,
        due_at=Case(When(stays, then=F("due_at")), default=Value(now)),
        attempts=Case(When(stays, then=F("attempts")), default=Value(0)),
        state=Case(When(stays, then=F("state")), default=Value(WorkState.WAITING.value)),
    )


# ---- holding and releasing ----


def release(customer_pks: Collection[int], *, now: datetime) -> int:
    """Let held work of customers go, because they have an Account now; returns how many records.

    What was written for them under an earlier match is owed again, so that it points at the Account.
    """
    records = SyncRecord.objects.filter(customer_id__in=customer_pks)
    held = records.filter(state=WorkState.HELD, error_code__in=(UNMATCHED, NO_ORG))
    released = held.update(state=WorkState.WAITING, due_at=now, attempts=0, error_code="", error="")
    written = records.filter(state=WorkState.SENT)
    return released + written.update(state=WorkState.WAITING, wanted=F("wanted") + 1, due_at=now, attempts=0)


def org_connected() -> None:
    """Say of what was held because no org was connected that it waits for a match now."""
    held = SyncRecord.objects.filter(state=WorkState.HELD, error_code=NO_ORG)
    held.update(error_code=UNMATCHED)


def point_anew(customer_pks: Collection[int], *, now: datetime) -> None:
    """Owe again all that customers' records say, because their Account changed.

    What Salesforce never got is held until the next match; what it holds is written again, without an Account for now.
    """
    records = SyncRecord.objects.filter(customer_id__in=customer_pks)
    records.filter(confirmed=0).exclude(state=WorkState.DROPPED).update(
        state=WorkState.HELD, error_code=UNMATCHED, error="", leased_until=None
    )
    records.filter(confirmed__gt=0).update(
        state=WorkState.WAITING, wanted=F("wanted") + 1, due_at=now, attempts=0, error_code="", error=""
    )


def retry(pk: int, *, now: datetime) -> SyncRecord:
    """Make one parked, held or waiting record due now; raises UnknownWork."""
    changed = SyncRecord.objects.filter(pk=pk).update(
        state=WorkState.WAITING, due_at=now, attempts=0, error_code="", error="", wanted=F("wanted") + 1
    )
    if not changed:
        raise UnknownWork(f"There is no Salesforce record {pk} here.")
    return SyncRecord.objects.get(pk=pk)


def retry_messages(pks: Collection[int], *, now: datetime) -> int:
    """Make messages due now that were parked; returns how many. What was told is not told again."""
    parked = Message.objects.filter(pk__in=pks, state=WorkState.PARKED)
    return parked.update(state=WorkState.WAITING, due_at=now, attempts=0, error_code="", error="")


def send_for_real(*, now: datetime) -> int:
    """Owe everything that was only recorded in shadow mode, because the connection went live; returns how many."""
    shadows = SyncRecord.objects.filter(state=WorkState.WOULD_SEND)
    return shadows.update(state=WorkState.WAITING, due_at=now, attempts=0, wanted=F("wanted") + 1)


# ---- sending ----


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of the work of one round."""

    sent: int = 0
    would_send: int = 0
    parked: int = 0
    waiting: int = 0

    @property
    def total(self) -> int:
        return self.sent + self.would_send + self.parked + self.waiting


def send_due(channels: Sequence[Channel], *, now: datetime) -> Settled:
    """Send one batch of what is due through each channel; no transaction is open while a channel talks."""
    counts = Settled()
    for channel in channels:
        parcel = claim(channel, now=now)
        if parcel is not None:
            found = settle(parcel, deliver(channel, parcel, now=now), now=now)
            counts = Settled(
                counts.sent + found.sent,
                counts.would_send + found.would_send,
                counts.parked + found.parked,
                counts.waiting + found.waiting,
            )
    return counts


def claim(channel: Channel, *, now: datetime, limit: int | None = None) -> Parcel | None:
    """Take the oldest due rows of a channel under a lease; None when nothing is due or the lane is closed.

    The attempt is counted before the work: a worker that dies must not try for ever.
    """
    if not channel.is_open(now=now):
        return None
    due = _due(channel, now=now)
    if not due.exists():  # SQLite's transaction would take the write lock for nothing
        return None
    until = now + LEASE
    send_until = time.monotonic() + (LEASE - LONGEST_CALL).total_seconds()
    with transaction.atomic():
        if connection.features.has_select_for_update_skip_locked:
            due = due.select_for_update(skip_locked=True)
        rows = list(due[: limit or channel.batch])
        model = due.model
        model.objects.filter(pk__in=[row.pk for row in rows]).update(leased_until=until, attempts=F("attempts") + 1)
    for row in rows:
        row.leased_until, row.attempts = until, row.attempts + 1
    return Parcel(tuple(rows), send_until) if rows else None


def deliver(channel: Channel, parcel: Parcel, *, now: datetime) -> dict[int, Outcome]:
    """Let a channel send; a failure of the whole parcel is that of each row."""
    try:
        return channel.deliver(parcel, now=now)
    except ChannelError as error:
        return {row.pk: error for row in parcel.rows}


def settle(parcel: Parcel, outcomes: Mapping[int, Outcome], *, now: datetime) -> Settled:
    """Write down what became of each row.

    A record is confirmed at the version that was read when it was claimed; one wanted anew meanwhile stays due.
    """
    claimed = {row.pk: row for row in parcel.rows}
    if not claimed:
        return Settled()
    model: Any = type(parcel.rows[0])
    counted: dict[str, int] = {}
    with transaction.atomic():
        rows = list(model.objects.filter(pk__in=claimed).order_by("pk").select_for_update())
        linked: set[int] = set()
        for row in rows:
            known_before = getattr(row, "salesforce_id", "")
            _settle_row(row, claimed[row.pk], outcomes.get(row.pk), now)
            counted[row.state] = counted.get(row.state, 0) + 1
            if model is SyncRecord and row.kind == RecordKind.OPPORTUNITY and row.salesforce_id != known_before:
                linked.add(row.customer_id)
        columns = ["state", "attempts", "due_at", "leased_until", "error_code", "error", "sent_at"]
        if model is SyncRecord:
            columns += ["wanted", "confirmed", "salesforce_id", "fields_sent", "fields_before"]
        else:
            columns += ["body"]
        statements.save(rows, columns)
        if linked:
            _point_at_opportunities(linked, but=claimed, now=now)
    return Settled(
        sent=counted.get(WorkState.SENT, 0),
        would_send=counted.get(WorkState.WOULD_SEND, 0),
        parked=counted.get(WorkState.PARKED, 0),
        waiting=counted.get(WorkState.WAITING, 0) + counted.get(WorkState.HELD, 0) + counted.get(WorkState.DROPPED, 0),
    )


def _point_at_opportunities(customer_pks: Collection[int], *, but: Collection[int], now: datetime) -> None:
    """Owe the schedule entries that went before their Opportunity was found; those that went with it point at it."""
    earlier = SyncRecord.objects.filter(
        customer_id__in=customer_pks, kind=RecordKind.SCHEDULE, state=WorkState.SENT
    ).exclude(pk__in=but)
    earlier.update(state=WorkState.WAITING, wanted=F("wanted") + 1, due_at=now, attempts=0)


def _due(channel: Channel, *, now: datetime) -> QuerySet[Any]:
    free = Q(leased_until__isnull=True) | Q(leased_until__lte=now)
    rows: QuerySet[Any]
    if channel.work == "records":
        rows = SyncRecord.objects.all()
    else:
        rows = Message.objects.filter(channel=channel.name)
    return rows.filter(free, state=WorkState.WAITING, due_at__lte=now).order_by("due_at", "pk")


def _settle_row(row: Any, claimed: Any, outcome: Outcome | None, now: datetime) -> None:
    if row.leased_until != claimed.leased_until:
        _after_a_lost_lease(row, outcome)
        return
    row.leased_until = None
    resend = row.error_code == SEND_AGAIN
    row.error_code = row.error = ""
    match outcome:
        case Sent() | WouldSend():
            _done(row, claimed, outcome, now, resend=resend)
        case Held(code=code, message=message):
            row.state, row.error_code, row.error, row.attempts = WorkState.HELD, code, message, 0
        case Dropped(code=code, message=message):
            row.state, row.error_code, row.error = WorkState.DROPPED, code, message
        case Permanent() as error:
            row.state, row.error_code, row.error = WorkState.PARKED, error.code, error.message
        case Wait() as error:
            row.error_code, row.error = error.code, error.message
            row.attempts = max(0, row.attempts - 1)
            row.due_at = max(now, error.until)
        case Postponed():
            row.attempts = max(0, row.attempts - 1)
        case Transient() | Unclear() as error:
            _try_later(row, error, now)
        case _:
            _try_later(row, Transient("no_outcome", "The channel did not say what became of it."), now)


def _done(row: Any, claimed: Any, outcome: Sent | WouldSend, now: datetime, *, resend: bool) -> None:
    row.attempts, row.sent_at = 0, now
    is_record = isinstance(row, SyncRecord)
    if not is_record:
        row.body = dict(outcome.fields)
    if isinstance(outcome, WouldSend):
        row.state = WorkState.WOULD_SEND
        if is_record:
            row.fields_before = row.fields_sent if row.confirmed else row.fields_before
            row.fields_sent, row.confirmed = dict(outcome.fields), 0
    else:
        row.state = WorkState.SENT
        if is_record:
            if outcome.called:
                row.fields_before = row.fields_sent if row.confirmed else None
            row.fields_sent = None if resend else dict(outcome.fields)
            row.confirmed = claimed.wanted
            row.salesforce_id = outcome.their_id or row.salesforce_id
    if is_record and (row.wanted > claimed.wanted or resend):
        row.state, row.due_at = WorkState.WAITING, now


def _after_a_lost_lease(row: Any, outcome: Outcome | None) -> None:
    """We came late: another worker has, or had, the row. If we wrote, ours may stand on top: send again."""
    if isinstance(row, SyncRecord) and isinstance(outcome, Sent | Unclear):
        row.wanted += 1
        row.fields_sent = None
        row.error_code = SEND_AGAIN if row.leased_until else row.error_code
        if row.state in (WorkState.SENT, WorkState.WOULD_SEND):
            row.state = WorkState.WAITING


def _try_later(row: Any, error: ChannelError, now: datetime) -> None:
    row.error_code, row.error = error.code, error.message
    if row.attempts >= ATTEMPTS:
        row.state = WorkState.PARKED
        row.error = f"{error.message} Given up after {row.attempts} attempts."
    else:
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 3 ** (row.attempts - 1))
        row.due_at = now + timedelta(seconds=pause * random.uniform(0.8, 1.2))
