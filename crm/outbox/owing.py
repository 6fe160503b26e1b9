"""What is owed: rows that begin due, are held until there is an Account, and are wanted anew."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Case, F, Q, QuerySet, Value, When
from django.db.models.functions import Least

from billing import selectors as billing
from crm import messages, statements
from crm.channels import slack
from crm.channels.once import BEGUN
from crm.models import (
    Match,
    Message,
    OpportunityChoice,
    Priority,
    RecordKind,
    SalesforceOrg,
    SyncRecord,
    Unmatched,
    WorkState,
)
from mrr import selectors as mrr

UNMATCHED = "unmatched"
NO_ORG = "no_org"
IGNORED = "ignored"
WITHDRAWN = "withdrawn"
WITHOUT_ACCOUNT = (UNMATCHED, NO_ORG, IGNORED)

SALESFORCE = "salesforce"  # its channel's name

Key = tuple[str, str]  # kind, key


class UnknownWork(LookupError):
    """There is no such record or message."""


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
    ignored = _ignored(unmatched) if unmatched else set()
    rows: list[SyncRecord] = []
    bumped: dict[Key, Priority] = {}
    urgent = dict.fromkeys(at_risk, Priority.URGENT)
    for entry in entries:
        if entry.customer_id in in_test:
            continue
        code = "" if entry.customer_id in accounts else IGNORED if entry.customer_id in ignored else hold
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
    _owe_messages(entries, accounts, ignored, now=now)


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


def _owe_messages(
    entries: Sequence[Any], accounts: Mapping[int, str], ignored: Collection[int], *, now: datetime
) -> None:
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
        hold = "" if entry.customer_id in accounts else IGNORED if entry.customer_id in ignored else UNMATCHED
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


def _ignored(customer_pks: Collection[int]) -> set[int]:
    left_out = Unmatched.objects.filter(customer_id__in=customer_pks).exclude(ignored_because="")
    return set(left_out.values_list("customer_id", flat=True))


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
    due: dict[str, Any] = {"state": WorkState.WAITING, "due_at": now, "attempts": 0, "error_code": "", "error": ""}
    held = records.filter(state=WorkState.HELD, error_code__in=WITHOUT_ACCOUNT)
    released = _in_order(held.filter(kind=RecordKind.SCHEDULE), due, now=now) + held.update(**due)
    _release_messages(customer_pks, now=now)
    standing = Q(kind=RecordKind.SCHEDULE, takes_back=True)  # an entry is pointed at the new Account where it stands
    written = records.filter(Q(state=WorkState.SENT) | standing)
    return released + written.update(**due, wanted=F("wanted") + 1, takes_back=False, leased_until=None)


def _release_messages(customer_pks: Collection[int], *, now: datetime) -> None:
    """Let the newest held message of each kind go, at its time; what it makes old news is dropped.

    What was told on an Account by mistake is told on the right one, unless it is old by now.
    """
    told = Message.objects.filter(customer_id__in=customer_pks, state=WorkState.DROPPED, error_code=WITHDRAWN)
    told.filter(created_at__gt=now - messages.TOO_OLD).update(
        state=WorkState.WAITING, due_at=now, attempts=0, error_code="", error=""
    )
    held = Message.objects.filter(
        customer_id__in=customer_pks, channel=SALESFORCE, state=WorkState.HELD, error_code__in=(UNMATCHED, IGNORED)
    )
    newest: dict[tuple[int | None, str], int] = {}
    for pk, customer_pk, topic in held.order_by("pk").values_list("pk", "customer_id", "topic"):
        newest[customer_pk, topic] = pk
    if newest:
        held.filter(pk__in=newest.values()).update(state=WorkState.WAITING, attempts=0, error_code="", error="")
        held.update(state=WorkState.DROPPED, error_code="newer", error="A newer message of its kind tells more.")


def _in_order(held: QuerySet[SyncRecord], due: Mapping[str, Any], *, now: datetime) -> int:
    """Let schedule entries go in the order in which they were effective, however late Stripe told of them."""
    rows = list(held.only("pk", "key", "customer_id"))
    if len(rows) < 2:
        return 0
    movements = mrr.movements_of(sorted({row.customer_id or 0 for row in rows}), has_reversed=True)
    effective = {one.key: (one.effective_at, one.pk) for found in movements.values() for one in found}
    rows.sort(key=lambda row: effective.get(row.key, (now, row.pk)))
    for place, row in enumerate(rows):
        for name, value in due.items():
            setattr(row, name, value)
        row.due_at = now - timedelta(microseconds=len(rows) - place)
        row.priority = Priority.NEWS
    statements.save(rows, [*due, "priority"])
    return len(rows)


def repoint(customer_pks: Collection[int], *, now: datetime) -> None:
    """Owe again all that customers' records say, because their Account was merged into another."""
    records = SyncRecord.objects.filter(customer_id__in=customer_pks).exclude(state=WorkState.DROPPED)
    records.update(state=WorkState.WAITING, wanted=F("wanted") + 1, due_at=now, attempts=0, error_code="", error="")


def org_connected() -> None:
    """Say of what was held because no org was connected that it waits for a match now."""
    held = SyncRecord.objects.filter(state=WorkState.HELD, error_code=NO_ORG)
    held.update(error_code=UNMATCHED)


def hold_as(code: str, customer_pks: Collection[int]) -> None:
    """Say of work that is held because customers have no Account whether they wait for one or are left out."""
    before = UNMATCHED if code == IGNORED else IGNORED
    for rows in (SyncRecord.objects, Message.objects):
        rows.filter(customer_id__in=customer_pks, state=WorkState.HELD, error_code=before).update(error_code=code)


def point_anew(customer_pks: Collection[int], *, now: datetime) -> None:
    """Take back what Salesforce holds for customers that have no Account any more, and hold what it never got.

    What is on its way ends first. What a person chose among the old Account's Opportunities is chosen no more.
    """
    records = SyncRecord.objects.filter(customer_id__in=customer_pks)
    stands = Q(confirmed__gt=0) | ~Q(salesforce_id="")
    records.exclude(stands).exclude(state=WorkState.DROPPED).update(
        state=WorkState.HELD, error_code=UNMATCHED, error="", leased_until=None
    )
    taken: dict[str, Any] = {
        "state": WorkState.WAITING, "takes_back": True, "due_at": now, "attempts": 0, "error_code": "", "error": "",
    }  # fmt: skip
    records.filter(stands).update(**taken, wanted=F("wanted") + 1)
    OpportunityChoice.objects.filter(record__customer_id__in=customer_pks).delete()
    told = Message.objects.filter(customer_id__in=customer_pks, channel=SALESFORCE)
    told.filter(state=WorkState.WAITING, takes_back=False).update(
        state=WorkState.HELD, error_code=UNMATCHED, error="", leased_until=None
    )
    told.filter(state=WorkState.SENT).update(**taken)


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
    parked.filter(their_id=BEGUN).update(their_id="")  # a person has looked whether it arrived
    return parked.update(state=WorkState.WAITING, due_at=now, attempts=0, error_code="", error="")


def send_for_real(*, now: datetime) -> int:
    """Owe everything that was only recorded in shadow mode, because the connection went live; returns how many."""
    shadows = SyncRecord.objects.filter(state=WorkState.WOULD_SEND)
    return shadows.update(state=WorkState.WAITING, due_at=now, attempts=0, wanted=F("wanted") + 1)
