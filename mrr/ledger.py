"""What the engine concluded, written down: rows are added, never changed."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings

from billing.selectors import History
from mrr import rollups
from mrr.engine.movements import Movement, Replay, line_as_json, line_from_json, reconcile, replay
from mrr.engine.policy import DEFAULT
from mrr.models import CustomerBalance, LedgerEntry
from mrr.rollups import Standing


@dataclass(frozen=True, slots=True)
class Posted:
    """What is written down about one customer before a post."""

    standing: dict[Movement, list[int]]  # movement → keys of the entries that say so
    entries: dict[int, LedgerEntry]
    sequence: int
    balances: dict[str, CustomerBalance]


def post(histories: Mapping[int, History], *, now: datetime) -> list[LedgerEntry]:
    """Bring the ledger of these customers in step with their histories and return the entries added.

    The caller holds the customers' rows locked and a transaction open. Movements that are missing become entries,
    entries that no longer hold get a reversal; balances and roll-ups move by the difference.
    """
    posted = _posted(list(histories))
    added: list[LedgerEntry] = []
    balances: list[CustomerBalance] = []
    months: rollups.Sums = {}
    cohorts: rollups.Sums = {}
    for customer_pk, history in histories.items():
        known = posted[customer_pk]
        found = replayed(history, now=now)
        entries = _difference(history, known, found, now=now)
        changed = _balances(history, known, found, entries)
        balances += changed
        if entries:
            added += entries
            _move_rollups(history, known, found, months, cohorts)
    if added:
        LedgerEntry.objects.bulk_create(added)
    if balances:
        CustomerBalance.objects.bulk_create(
            balances,
            update_conflicts=True,
            unique_fields=["customer", "currency"],
            update_fields=[
                "mrr_micros",
                "scheduled_micros",
                "incomplete_items",
                "first_paid_at",
                "cohort_month",
                "acquired_micros",
                "last_movement_at",
            ],
        )
    if months or cohorts:
        rollups.apply(months, cohorts)
    return added


def replayed(history: History, *, now: datetime) -> Replay:
    """Return what the engine makes of one customer's history."""
    history_from = None
    if history.history_from is not None:
        start = datetime.combine(history.history_from, datetime.min.time(), reporting_zone())
        history_from = int(start.timestamp())
    return replay(
        history.steps, as_of=int(now.timestamp()), deleted=history.deleted, history_from=history_from, policy=DEFAULT
    )


def reporting_zone() -> ZoneInfo:
    return ZoneInfo(settings.REPORTING_TIME_ZONE)


def month_of(at: int) -> date:
    """Return the first day of the month, in the reporting zone, that a moment falls into."""
    return datetime.fromtimestamp(at, reporting_zone()).date().replace(day=1)


def standing_of(customer_pks: Sequence[int]) -> dict[int, list[Movement]]:
    """Return the standing ledger of customers as the engine's values."""
    return {pk: [m for m, keys in known.standing.items() for _ in keys] for pk, known in _posted(customer_pks).items()}


# ---- what is posted ----


def _posted(customer_pks: Sequence[int]) -> dict[int, Posted]:
    found = {pk: Posted({}, {}, 0, {}) for pk in customer_pks}
    rows = list(LedgerEntry.objects.filter(customer_id__in=customer_pks).order_by("customer_id", "sequence"))
    reversed_pks = {row.reverses_id for row in rows if row.reverses_id is not None}
    for row in rows:
        known = found[row.customer_id]
        if known.sequence < row.sequence:
            known = found[row.customer_id] = replace(known, sequence=row.sequence)
        if row.reverses_id is None and row.pk not in reversed_pks:
            known.standing.setdefault(movement_of(row), []).append(row.pk)
            known.entries[row.pk] = row
    for balance in CustomerBalance.objects.filter(customer_id__in=customer_pks):
        found[balance.customer_id].balances[balance.currency] = balance
    return found


def movement_of(row: LedgerEntry) -> Movement:
    """Return a ledger row as the engine's value."""
    return Movement(
        row.type,
        row.reason,
        row.currency,
        row.amount_micros,
        row.paying_delta,
        int(row.effective_at.timestamp()),
        tuple(row.event_ids),
        tuple(line_from_json(line) for line in row.lines),
        row.days_lapsed,
    )


# ---- what to add ----


def _difference(history: History, known: Posted, found: Replay, *, now: datetime) -> list[LedgerEntry]:
    to_post, to_reverse = reconcile(found.movements, (m for m, keys in known.standing.items() for _ in keys))
    sequence = known.sequence
    entries: list[LedgerEntry] = []
    taken: dict[Movement, int] = {}
    for movement in to_reverse:
        place = taken.get(movement, 0)
        taken[movement] = place + 1
        sequence += 1
        entries.append(_reversal(known.entries[known.standing[movement][place]], sequence, now))
    for movement in sorted(to_post, key=lambda movement: (movement.effective_at, movement.currency)):
        sequence += 1
        entries.append(_entry(history, movement, sequence, now))
    return entries


def _entry(history: History, movement: Movement, sequence: int, now: datetime) -> LedgerEntry:
    return LedgerEntry(
        key=new_key(),
        source_id=history.source_pk,
        customer_id=history.customer_pk,
        sequence=sequence,
        type=movement.type,
        reason=movement.reason,
        currency=movement.currency,
        amount_micros=movement.micros,
        paying_delta=movement.paying_delta,
        lines=[line_as_json(line) for line in movement.lines],
        event_ids=list(movement.event_ids),
        effective_at=datetime.fromtimestamp(movement.effective_at, UTC),
        posted_at=now,
        book_month=month_of(movement.effective_at),
        days_lapsed=movement.days_lapsed,
        is_live=movement.is_live,
        policy_version=DEFAULT.version,
    )


def _reversal(entry: LedgerEntry, sequence: int, now: datetime) -> LedgerEntry:
    return LedgerEntry(
        key=new_key(),
        source_id=entry.source_id,
        customer_id=entry.customer_id,
        sequence=sequence,
        type="reversal",
        reason=entry.reason,
        currency=entry.currency,
        amount_micros=-entry.amount_micros,
        paying_delta=-entry.paying_delta,
        lines=[{**line, "micros": -line["micros"]} for line in entry.lines],
        event_ids=entry.event_ids,
        effective_at=entry.effective_at,
        posted_at=now,
        book_month=entry.book_month,
        is_live=False,
        policy_version=DEFAULT.version,
        reverses_id=entry.pk,
    )


def new_key() -> str:
    """Return a name for an entry that no other entry has, whatever the case of its letters: Salesforce ignores case."""
    return "mle_" + secrets.token_hex(13)


# ---- balances and roll-ups ----


def _balances(history: History, known: Posted, found: Replay, entries: Sequence[LedgerEntry]) -> list[CustomerBalance]:
    """Return the balance rows that differ from what is kept."""
    first: dict[str, Movement] = {}
    last: dict[str, Movement] = {}
    for movement in found.movements:
        first.setdefault(movement.currency, movement)
        last[movement.currency] = movement
    cohort = month_of(found.cohort_at) if found.cohort_at is not None else None
    changed: list[CustomerBalance] = []
    for currency in sorted({*known.balances, *first, *found.incomplete}):
        began, latest = first.get(currency), last.get(currency)
        wanted: dict[str, Any] = {
            "mrr_micros": found.balances.get(currency, 0),
            "scheduled_micros": found.scheduled.get(currency, 0),
            "incomplete_items": found.incomplete.get(currency, 0),
            "first_paid_at": datetime.fromtimestamp(began.effective_at, UTC) if began else None,
            "cohort_month": cohort if began else None,
            "acquired_micros": began.micros if began else 0,
            "last_movement_at": datetime.fromtimestamp(latest.effective_at, UTC) if latest else None,
        }
        kept = known.balances.get(currency)
        if kept is None or any(getattr(kept, name) != value for name, value in wanted.items()):
            changed.append(
                CustomerBalance(
                    customer_id=history.customer_pk, source_id=history.source_pk, currency=currency, **wanted
                )
            )
    return changed


def _move_rollups(history: History, known: Posted, found: Replay, months: rollups.Sums, cohorts: rollups.Sums) -> None:
    before = standing_rows(m for m, keys in known.standing.items() for _ in keys)
    after = standing_rows(found.movements)
    old = next((balance.cohort_month for balance in known.balances.values() if balance.cohort_month), None)
    old_cohort = rollups.month_number(old) if old else None
    cohort = cohort_number(found)
    prefix = (history.source_pk,)
    rollups.add(months, rollups.months_of(before), sign=-1, prefix=prefix)
    rollups.add(months, rollups.months_of(after), sign=1, prefix=prefix)
    rollups.add(cohorts, rollups.cohorts_of(before, old_cohort), sign=-1, prefix=prefix)
    rollups.add(cohorts, rollups.cohorts_of(after, cohort), sign=1, prefix=prefix)


def cohort_number(found: Replay) -> int | None:
    """Return the number of the month a customer was acquired in."""
    return rollups.month_number(month_of(found.cohort_at)) if found.cohort_at is not None else None


def standing_rows(movements: Iterable[Movement]) -> list[Standing]:
    """Return movements as the roll-ups need them."""
    return [
        Standing(
            m.type, m.currency, m.micros, m.paying_delta, m.effective_at, rollups.month_number(month_of(m.effective_at))
        )
        for m in movements
    ]
