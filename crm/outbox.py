"""What we owe the outside world: records to bring in step and messages to tell. The row is the queue."""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, Value, When
from django.db.models.functions import Least

from billing import selectors as billing
from crm import messages, statements, writes
from crm.channels import slack
from crm.channels.kinds import (
    Channel,
    ChannelError,
    Dropped,
    Held,
    LookedUp,
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
from crm.channels.salesforce import budget
from crm.channels.salesforce.errors import LOCKED
from crm.models import (
    BulkJob,
    BulkState,
    Match,
    Message,
    Mode,
    Priority,
    RecordKind,
    SalesforceOrg,
    SyncRecord,
    WorkState,
)

LEASE = timedelta(seconds=60)
LONGEST_CALL = timedelta(seconds=40)  # connect and read time-outs of one call, with room
SOON = timedelta(seconds=5)
ATTEMPTS = 8
MESSAGES_AT_ONCE = 100  # beside records
FIRST_PAUSE_SECONDS = 5
LONGEST_PAUSE_SECONDS = 3600

UNMATCHED = "unmatched"
NO_ORG = "no_org"
NEEDS_A_PERSON = "needs_a_person"
SEND_AGAIN = "send_again"

SALESFORCE = "salesforce"  # its channel's name

COLUMNS = ("state", "attempts", "due_at", "leased_until", "error_code", "error", "error_fields", "sent_at")
RECORD_COLUMNS = (
    "wanted",
    "confirmed",
    "salesforce_id",
    "fields_sent",
    "fields_before",
    "parent_id",
    "bulk_job",
    "looked_up",
    "looked_up_at",
)
MESSAGE_COLUMNS = ("body", "their_id")

Key = tuple[str, str]  # kind, key


class UnknownWork(LookupError):
    """There is no such record or message."""


# ---- owing ----


def owe_for(entries: Sequence[Any], touched: Collection[int], *, now: datetime, at_risk: Collection[int] = ()) -> None:
    """Write down what new ledger entries and changed customers owe Salesforce; runs in the caller's transaction.

    Each entry (a reversal too) owes its schedule record, each subscription that begins to count its Opportunity, each
    matched customer's Account a refresh. Work of a customer without an Account is held; customers of test sources owe
    nothing. Churn, and customers whose risk changed (`at_risk`), go before other news, and news before refreshes. A
    few statements, however many customers.
    """
    customer_pks = {*touched, *(entry.customer_id for entry in entries)}
    if not customer_pks:
        return
    accounts = _accounts_of(customer_pks)
    unmatched = {entry.customer_id for entry in entries} - accounts.keys()
    in_test = billing.in_test_mode(unmatched) if unmatched else set()
    hold = (UNMATCHED if SalesforceOrg.objects.exists() else NO_ORG) if unmatched else ""
    rows: list[SyncRecord] = []
    bumped: dict[Key, Priority] = {}
    urgent = dict.fromkeys(at_risk, Priority.URGENT)
    for entry in entries:
        if entry.customer_id in in_test:
            continue
        code = "" if entry.customer_id in accounts else hold
        priority = _priority(entry)
        urgent[entry.customer_id] = min(priority, urgent.get(entry.customer_id, Priority.REFRESH))
        rows.append(_row(RecordKind.SCHEDULE, entry.key, entry.customer_id, code, now, wanted=1, priority=priority))
        for name in sorted(beginning(entry.type, entry.lines)):
            rows.append(_row(RecordKind.OPPORTUNITY, name, entry.customer_id, code, now, priority=priority))
        _bump(bumped, RecordKind.OPPORTUNITY, {line["subscription"] for line in entry.lines}, priority)
    for customer_pk, account_id in accounts.items():
        _bump(bumped, RecordKind.ACCOUNT, {account_id}, urgent.get(customer_pk, Priority.REFRESH))
    for account_id in sorted(set(accounts.values())):
        priority = bumped[RecordKind.ACCOUNT, account_id]
        rows.append(_row(RecordKind.ACCOUNT, account_id, None, "", now, priority=priority))
    _add(rows)
    _want_newer(bumped, now=now)
    _owe_messages(entries, accounts, now=now)


def owe_accounts(account_ids: Collection[str], *, now: datetime, priority: Priority = Priority.REFRESH) -> None:
    """Owe a refresh of Accounts by their Salesforce ids, as a match or its undoing needs."""
    _add([_row(RecordKind.ACCOUNT, one, None, "", now, priority=priority) for one in sorted(account_ids)])
    _want_newer({(RecordKind.ACCOUNT, account_id): priority for account_id in account_ids}, now=now)


def _priority(entry: Any) -> Priority:
    if not entry.is_live:
        return Priority.REFRESH
    return Priority.URGENT if entry.type == "churn" else Priority.NEWS


def _bump(bumped: dict[Key, Priority], kind: str, names: Iterable[str], priority: Priority) -> None:
    for name in names:
        bumped[kind, name] = min(priority, bumped.get((kind, name), Priority.REFRESH))


def beginning(entry_type: str, lines: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the subscriptions that a movement brings from no MRR to some; an item added to one is not that."""
    if entry_type in ("opening", "reversal"):
        return set()
    found: dict[str, int] = {}
    for line in lines:
        began = line["micros"] > 0 and line["reason"] != "item_added" and not (line.get("before") or {}).get("micros")
        found[line["subscription"]] = found.get(line["subscription"], 0) + (line["micros"] if began else 0)
    return {subscription for subscription, micros in found.items() if micros > 0}


def _owe_messages(entries: Sequence[Any], accounts: Mapping[int, str], *, now: datetime) -> None:
    """Owe people what movements have to tell, where a channel is set up to tell it.

    In Salesforce it is told on the customer's Account, so without one it is held.
    """
    told = [entry for entry in entries if entry.type in messages.TOLD and entry.is_live]
    org = SalesforceOrg.objects.order_by("pk").first() if told else None
    if org is None:
        return
    in_test = billing.in_test_mode({entry.customer_id for entry in told})
    rows: list[Message] = []
    for entry in told:
        if entry.customer_id in in_test:
            continue
        if entry.type in slack.TOLD and slack.is_configured():
            rows += _message(entry, slack.SlackChannel.name, "", org, now)
        hold = "" if entry.customer_id in accounts else UNMATCHED
        rows += _message(entry, SALESFORCE, hold, org, now)
    statements.insert_new(rows)


def _message(entry: Any, channel: str, hold: str, org: SalesforceOrg, now: datetime) -> list[Message]:
    owed = messages.owed(
        entry.type,
        channel="" if channel == slack.SlackChannel.name else channel,
        customer_pk=entry.customer_id,
        event_ids=entry.event_ids,
        is_live=entry.is_live,
        effective_at=entry.effective_at,
        live_since=org.live_since,
        now=now,
    )
    if owed is None:
        return []
    return [
        Message(
            channel=channel,
            topic=owed.topic,
            dedupe_key=owed.dedupe_key,
            customer_id=entry.customer_id,
            entry_id=entry.pk,
            priority=_priority(entry),
            state=WorkState.HELD if hold else WorkState.WAITING,
            error_code=hold,
            due_at=owed.due_at,
            created_at=now,
        )
    ]


def _accounts_of(customer_pks: Collection[int]) -> dict[int, str]:
    matches = Match.objects.filter(customer_id__in=customer_pks, undone_at__isnull=True)
    return dict(matches.values_list("customer_id", "account__salesforce_id"))


def _row(
    kind: str,
    key: str,
    customer_pk: int | None,
    hold: str,
    now: datetime,
    *,
    wanted: int = 0,
    priority: Priority = Priority.NEWS,
) -> SyncRecord:
    return SyncRecord(
        kind=kind,
        priority=priority,
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


def _want_newer(keys: Mapping[Key, Priority], *, now: datetime) -> None:
    """Raise the version wanted of records that exist. What is held or waits keeps its time, the rest is due.

    An insert that met a row of another transaction has waited for its commit, so no version is lost.
    """
    if not keys:
        return
    names: dict[tuple[str, Priority], list[str]] = {}
    for (kind, name), priority in sorted(keys.items()):
        names.setdefault((kind, priority), []).append(name)
    chosen, wanted = Q(pk__in=[]), []
    for (kind, priority), found in names.items():
        of_these = Q(kind=kind, key__in=found)
        chosen |= of_these
        wanted.append(When(of_these, then=Value(int(priority))))
    locked = SyncRecord.objects.filter(chosen).order_by("pk").select_for_update()
    stays = Q(state__in=(WorkState.HELD, WorkState.WAITING))
    priority_now = Case(*wanted, default=Value(int(Priority.NEWS)))
    SyncRecord.objects.filter(pk__in=locked.values("pk")).update(
        wanted=F("wanted") + 1,
        priority=Case(When(stays, then=Least(F("priority"), priority_now)), default=priority_now),
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
    _release_messages(customer_pks)
    written = records.filter(state=WorkState.SENT)
    return released + written.update(state=WorkState.WAITING, wanted=F("wanted") + 1, due_at=now, attempts=0)


def _release_messages(customer_pks: Collection[int]) -> None:
    """Let the newest held message of each kind go, at its time; what it makes old news is dropped."""
    held = Message.objects.filter(
        customer_id__in=customer_pks, channel=SALESFORCE, state=WorkState.HELD, error_code=UNMATCHED
    )
    newest: dict[tuple[int | None, str], int] = {}
    for pk, customer_pk, topic in held.order_by("pk").values_list("pk", "customer_id", "topic"):
        newest[customer_pk, topic] = pk
    if newest:
        held.filter(pk__in=newest.values()).update(state=WorkState.WAITING, attempts=0, error_code="", error="")
        held.update(state=WorkState.DROPPED, error_code="newer", error="A newer message of its kind tells more.")


def repoint(customer_pks: Collection[int], *, now: datetime) -> None:
    """Owe again all that customers' records say, because their Account was merged into another."""
    records = SyncRecord.objects.filter(customer_id__in=customer_pks).exclude(state=WorkState.DROPPED)
    records.update(state=WorkState.WAITING, wanted=F("wanted") + 1, due_at=now, attempts=0, error_code="", error="")


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
    untold = Message.objects.filter(customer_id__in=customer_pks, channel=SALESFORCE, state=WorkState.WAITING)
    untold.update(state=WorkState.HELD, error_code=UNMATCHED, error="", leased_until=None)


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

    def __add__(self, other: Settled) -> Settled:
        return Settled(
            self.sent + other.sent,
            self.would_send + other.would_send,
            self.parked + other.parked,
            self.waiting + other.waiting,
        )


def send_due(channels: Sequence[Channel], *, now: datetime) -> Settled:
    """Send one batch of what is due through each channel; no transaction is open while a channel talks."""
    counts = Settled()
    for channel in channels:
        parcel = claim(channel, now=now)
        if parcel is not None:
            counts += settle(parcel, deliver(channel, parcel, now=now), now=now)
    return counts


def is_due(channels: Sequence[Channel], *, now: datetime) -> bool:
    """Say whether a channel that is open, or soon will be, has something to send now.

    A lane that is closed for longer, by a limit, the day's pace or a person's absence, is left to the sweep.
    """
    for channel in channels:
        if channel.name == SALESFORCE:
            if not _opens_soon(now):
                continue
            if due_jobs(now=now).exists():
                return True
        if any(queue.exists() for queue in _due(channel, now=now)):
            return True
    return False


def _opens_soon(now: datetime) -> bool:
    org = SalesforceOrg.objects.order_by("pk").first()
    if org is None or org.error_code or org.held_since or (org.paused_until or now) > now + SOON:
        return False
    is_live = org.mode == Mode.LIVE and not org.is_demo
    return not is_live or budget.wait_seconds(org, now=now) <= SOON.total_seconds()


def due_jobs(*, now: datetime) -> QuerySet[BulkJob]:
    """Return the Bulk jobs that have a step to be done now."""
    free = Q(leased_until__isnull=True) | Q(leased_until__lte=now)
    ended = (BulkState.ENDED, BulkState.ABORTED)
    return BulkJob.objects.filter(free, due_at__lte=now).exclude(state__in=ended)


def claim(channel: Channel, *, now: datetime, limit: int | None = None) -> Parcel | None:
    """Take the oldest due rows of a channel under a lease; None when nothing is due or the lane is closed.

    The attempt is counted before the work: a worker that dies must not try for ever.
    """
    if not channel.is_open(now=now):
        return None
    due = _due(channel, now=now)
    if not any(queue.exists() for queue in due):  # SQLite's transaction would take the write lock for nothing
        return None
    until = now + LEASE
    send_until = time.monotonic() + (LEASE - LONGEST_CALL).total_seconds()
    most = limit or channel.batch
    with transaction.atomic():
        rows: list[Any] = []
        for queue in due:
            taken = _take(queue, most - len(rows), until=until)
            rows += taken
    return Parcel(tuple(rows), send_until) if rows else None


def _take(due: QuerySet[Any], most: int, *, until: datetime) -> list[Any]:
    if most <= 0:
        return []
    if connection.features.has_select_for_update_skip_locked:
        due = due.select_for_update(skip_locked=True)
    rows = list(due[:most])
    due.model.objects.filter(pk__in=[row.pk for row in rows]).update(leased_until=until, attempts=F("attempts") + 1)
    for row in rows:
        row.leased_until, row.attempts = until, row.attempts + 1
    return rows


def deliver(channel: Channel, parcel: Parcel, *, now: datetime) -> dict[int, Outcome]:
    """Let a channel send; a failure of the whole parcel is that of each row."""
    try:
        return channel.deliver(parcel, now=now)
    except ChannelError as error:
        return {row.ref: error for row in parcel.rows}


def settle(parcel: Parcel, outcomes: Mapping[int, Outcome], *, now: datetime) -> Settled:
    """Write down what became of each row.

    A record is confirmed at the version that was read when it was claimed; one wanted anew meanwhile stays due.
    """
    if not parcel.rows:
        return Settled()
    counted: dict[str, int] = {}
    with transaction.atomic():
        for model in (SyncRecord, Message):
            claimed = {row.pk: row for row in parcel.rows if isinstance(row, model)}
            if claimed:
                _settle_rows(model, claimed, outcomes, counted, now)
        writes.keep(parcel, outcomes, now=now)
    return Settled(
        sent=counted.get(WorkState.SENT, 0),
        would_send=counted.get(WorkState.WOULD_SEND, 0),
        parked=counted.get(WorkState.PARKED, 0),
        waiting=counted.get(WorkState.WAITING, 0) + counted.get(WorkState.HELD, 0) + counted.get(WorkState.DROPPED, 0),
    )


def _settle_rows(
    model: Any, claimed: Mapping[int, Any], outcomes: Mapping[int, Outcome], counted: dict[str, int], now: datetime
) -> None:
    rows = list(model.objects.filter(pk__in=claimed).order_by("pk").select_for_update())
    linked: set[int] = set()
    for row in rows:
        known_before = getattr(row, "salesforce_id", "")
        _settle_row(row, claimed[row.pk], outcomes.get(row.ref), now)
        counted[row.state] = counted.get(row.state, 0) + 1
        if model is SyncRecord and row.kind == RecordKind.OPPORTUNITY and row.salesforce_id != known_before:
            linked.add(row.customer_id)
    statements.save(rows, COLUMNS + (RECORD_COLUMNS if model is SyncRecord else MESSAGE_COLUMNS))
    if linked:
        pointing = {pk for pk, row in claimed.items() if _points(outcomes.get(row.ref))}
        _point_at_opportunities(linked, but=pointing, now=now)


def _points(outcome: Outcome | None) -> bool:
    return isinstance(outcome, Sent) and bool(outcome.fields.get("Opportunity__c"))


def _point_at_opportunities(customer_pks: Collection[int], *, but: Collection[int], now: datetime) -> None:
    """Owe the schedule entries that went before their Opportunity was found; those that went with it point at it."""
    earlier = SyncRecord.objects.filter(
        customer_id__in=customer_pks, kind=RecordKind.SCHEDULE, state=WorkState.SENT
    ).exclude(pk__in=but)
    earlier.update(state=WorkState.WAITING, wanted=F("wanted") + 1, due_at=now, attempts=0)


def _due(channel: Channel, *, now: datetime) -> list[QuerySet[Any]]:
    """Return what a channel may take, what matters most and is oldest first; a few messages go with the records."""
    free = Q(leased_until__isnull=True) | Q(leased_until__lte=now)
    told = Message.objects.filter(free, channel=channel.name, state=WorkState.WAITING, due_at__lte=now)
    told = told.order_by("priority", "due_at", "pk")
    if channel.work != "records":
        return [told]
    return [told[:MESSAGES_AT_ONCE], due_records(now=now).order_by("priority", "due_at", "pk")]


def due_records(*, now: datetime) -> QuerySet[SyncRecord]:
    """Return the records that may be sent now: one whose Account was locked waits while a sibling is being sent."""
    free = Q(leased_until__isnull=True) | Q(leased_until__lte=now)
    siblings = SyncRecord.objects.filter(parent_id=OuterRef("parent_id"), leased_until__gt=now, bulk_job__isnull=True)
    locked = Q(error_code=LOCKED) & ~Q(parent_id="")
    due = SyncRecord.objects.filter(free, state=WorkState.WAITING, due_at__lte=now)
    return due.filter(~locked | ~Exists(siblings))


def _settle_row(row: Any, claimed: Any, outcome: Outcome | None, now: datetime) -> None:
    if row.leased_until != claimed.leased_until:
        _after_a_lost_lease(row, outcome)
        return
    row.leased_until = None
    resend = row.error_code == SEND_AGAIN
    row.error_code, row.error, row.error_fields = "", "", []
    if isinstance(row, SyncRecord):
        row.parent_id, row.bulk_job_id = claimed.parent_id or row.parent_id, None
        row.looked_up, row.looked_up_at = None, None
    if isinstance(outcome, ChannelError):
        row.error_fields = list(outcome.fields)
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
        case LookedUp(candidates=candidates):
            row.attempts = max(0, row.attempts - 1)
            row.looked_up, row.looked_up_at = [dict(one) for one in candidates], now
        case Transient() | Unclear() as error:
            _try_later(row, error, now)
        case _:
            _try_later(row, Transient("no_outcome", "The channel did not say what became of it."), now)


def _done(row: Any, claimed: Any, outcome: Sent | WouldSend, now: datetime, *, resend: bool) -> None:
    row.attempts, row.sent_at = 0, now
    is_record = isinstance(row, SyncRecord)
    if not is_record:
        row.body = dict(outcome.fields)
        row.their_id = outcome.their_id if isinstance(outcome, Sent) else ""
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
        row.due_at = now + timedelta(seconds=pause * _jitter(row, error))


def _jitter(row: Any, error: ChannelError) -> float:
    """Scatter what is tried again, but let records whose Account was locked meet again in one call."""
    if error.code == LOCKED and isinstance(row, SyncRecord) and row.parent_id:
        return random.Random(f"{row.parent_id} {row.attempts}").uniform(0.8, 1.2)
    return random.uniform(0.8, 1.2)
