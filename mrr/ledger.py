"""What the engine concluded, written down: rows are added, never changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import count
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.conf import settings

from billing.selectors import History
from mrr import as_closed, books, fx, gross, keeping, links, policies, rollups
from mrr.engine.movements import Movement, Replay, line_as_json, line_from_json, reconcile, replay
from mrr.engine.policy import MetricPolicy
from mrr.models import CustomerBalance, LedgerEntry
from mrr.rollups import Standing

BALANCE_COLUMNS = (
    "mrr_micros",
    "scheduled_micros",
    "incomplete_items",
    "first_paid_at",
    "cohort_month",
    "acquired_micros",
    "last_movement_at",
    "usage_micros",
    "clock_at",
)


@dataclass(frozen=True, slots=True)
class Posted:
    """What is written down about one customer before a post."""

    standing: dict[Movement, list[int]]  # movement → keys of the entries that say so
    entries: dict[int, LedgerEntry]
    sequence: int
    balances: dict[str, CustomerBalance]
    rows: list[LedgerEntry]  # all of them, oldest first

    @property
    def movements(self) -> list[Movement]:
        """What stands, each as often as it is posted."""
        return [movement for movement, keys in self.standing.items() for _ in keys]


@dataclass(frozen=True, slots=True)
class Changed:
    """A customer whose ledger gets entries."""

    history: History
    known: Posted
    found: Replay
    entries: list[LedgerEntry]


def post(histories: Mapping[int, History], *, now: datetime, is_told: bool = True) -> list[LedgerEntry]:
    """Bring the ledger of these customers in step with their histories and return the entries added.

    The caller holds the customers' rows locked and a transaction open. Movements that are missing become entries,
    entries that no longer hold get a reversal; balances and roll-ups move by the difference. With `is_told` false the
    entries count as no news: a change of policy, a repair.
    """
    in_force = policies.in_force()
    policy = in_force.policy
    posted = posted_of(list(histories))
    added: list[LedgerEntry] = []
    balances: list[CustomerBalance] = []
    changed: list[Changed] = []
    for customer_pk, history in links.linked(histories, policy=policy).items():
        known = posted[customer_pk]
        found = replayed(history, now=now, policy=policy)
        told_from = in_force.told_from(customer_pk) if is_told else None
        entries = _difference(history, known, found, policy, now=now, told_from=told_from)
        balances += wrong_balances(history, known.balances, found)
        if entries:
            added += entries
            changed.append(Changed(history, known, found, entries))
    if added:
        books.enter(added)
        LedgerEntry.objects.bulk_create(added)
    if balances:
        CustomerBalance.objects.bulk_create(
            balances,
            update_conflicts=True,
            unique_fields=["customer", "currency"],
            update_fields=BALANCE_COLUMNS,
        )
    if changed:
        _move_rollups(changed)
    return added


def look_again(customer_pk: int, *, at: datetime) -> None:
    """Put off what the clock has due for a customer that could not be posted."""
    CustomerBalance.objects.filter(customer_id=customer_pk, clock_at__lt=at).update(clock_at=at)


def replayed(history: History, *, now: datetime, policy: MetricPolicy) -> Replay:
    """Return what the engine makes of one customer's history under a policy."""
    history_from = None
    if history.history_from is not None:
        start = datetime.combine(history.history_from, datetime.min.time(), reporting_zone())
        history_from = int(start.timestamp())
    return replay(
        history.steps,
        as_of=int(now.timestamp()),
        deleted=history.deleted,
        history_from=history_from,
        facts=history.facts,
        policy=policy,
    )


def reporting_zone() -> ZoneInfo:
    return ZoneInfo(settings.REPORTING_TIME_ZONE)


def month_of(at: int) -> date:
    """Return the first day of the month, in the reporting zone, that a moment falls into."""
    return datetime.fromtimestamp(at, reporting_zone()).date().replace(day=1)


def standing_of(customer_pks: Sequence[int]) -> dict[int, list[Movement]]:
    """Return the standing ledger of customers as the engine's values."""
    return {pk: [movement for movement, _ in stands] for pk, stands in standing_with_keys(customer_pks).items()}


def standing_with_keys(customer_pks: Sequence[int]) -> dict[int, list[tuple[Movement, str]]]:
    """Return the standing ledger of customers as the engine's values, each with the name of its entry, as posted."""
    rows = list(
        LedgerEntry.objects.filter(customer_id__in=customer_pks)
        .order_by("customer_id", "sequence")
        .values_list("customer_id", "pk", "key", "reverses_id", *MOVEMENT_COLUMNS)
    )
    reversed_pks = {reverses for _, _, _, reverses, *_ in rows if reverses is not None}
    found: dict[int, list[tuple[Movement, str]]] = {pk: [] for pk in customer_pks}
    for customer_pk, pk, key, reverses, *columns in rows:
        if reverses is None and pk not in reversed_pks:
            found[customer_pk].append((_movement(*columns), key))
    return found


# ---- what is posted ----


def posted_of(customer_pks: Sequence[int]) -> dict[int, Posted]:
    """Return what is written down about customers."""
    rows = list(LedgerEntry.objects.filter(customer_id__in=customer_pks).order_by("customer_id", "sequence"))
    last = {row.customer_id: row.sequence for row in rows}
    found = {pk: Posted({}, {}, last.get(pk, 0), {}, []) for pk in customer_pks}
    reversed_pks = {row.reverses_id for row in rows if row.reverses_id is not None}
    for row in rows:
        known = found[row.customer_id]
        known.rows.append(row)
        if row.reverses_id is None and row.pk not in reversed_pks:
            known.standing.setdefault(movement_of(row), []).append(row.pk)
            known.entries[row.pk] = row
    for pk, balances in balances_of(customer_pks).items():
        found[pk].balances.update(balances)
    return found


def balances_of(customer_pks: Sequence[int]) -> dict[int, dict[str, CustomerBalance]]:
    """Return the balances kept of customers, by currency."""
    found: dict[int, dict[str, CustomerBalance]] = {pk: {} for pk in customer_pks}
    for balance in CustomerBalance.objects.filter(customer_id__in=customer_pks):
        found[balance.customer_id][balance.currency] = balance
    return found


MOVEMENT_COLUMNS: Final = (
    "type",
    "reason",
    "currency",
    "amount_micros",
    "paying_delta",
    "effective_at",
    "event_ids",
    "lines",
    "days_lapsed",
)


def movement_of(row: LedgerEntry) -> Movement:
    """Return a ledger row as the engine's value."""
    return _movement(*[getattr(row, name) for name in MOVEMENT_COLUMNS])


def _movement(
    kind: str,
    reason: str,
    currency: str,
    micros: int,
    paying_delta: int,
    effective_at: datetime,
    event_ids: list[str],
    lines: list[dict[str, Any]],
    days_lapsed: int | None,
) -> Movement:
    return Movement(
        kind,
        reason,
        currency,
        micros,
        paying_delta,
        int(effective_at.timestamp()),
        tuple(event_ids),
        tuple([line_from_json(line) for line in lines]),
        days_lapsed,
    )


# ---- what to add ----


def _difference(
    history: History, known: Posted, found: Replay, policy: MetricPolicy, *, now: datetime, told_from: int | None
) -> list[LedgerEntry]:
    to_post, to_reverse = reconcile(found.movements, (m for m, keys in known.standing.items() for _ in keys))
    if not (to_post or to_reverse):
        return []
    sequence = known.sequence
    names = _Names(history, known.rows)
    entries: list[LedgerEntry] = []
    taken: dict[Movement, int] = {}
    for movement in to_reverse:
        place = taken.get(movement, 0)
        taken[movement] = place + 1
        sequence += 1
        entries.append(_reversal(known.entries[known.standing[movement][place]], names, sequence, policy, now))
    for movement in sorted(to_post, key=lambda movement: (movement.effective_at, movement.currency)):
        sequence += 1
        entry = _entry(history, movement, names, sequence, policy, now)
        entry.is_live = movement.is_live and told_from is not None and movement.effective_at >= told_from
        entries.append(entry)
    return entries


def _entry(
    history: History, movement: Movement, names: _Names, sequence: int, policy: MetricPolicy, now: datetime
) -> LedgerEntry:
    return LedgerEntry(
        key=names.new(movement.currency, movement.effective_at, movement.type, movement.reason, movement.micros),
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
        days_lapsed=movement.days_lapsed,
        policy_version=policy.version,
    )


def _reversal(entry: LedgerEntry, names: _Names, sequence: int, policy: MetricPolicy, now: datetime) -> LedgerEntry:
    return LedgerEntry(
        key=names.new("reversal", entry.key),
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
        is_live=False,
        policy_version=policy.version,
        reverses=entry,
    )


class _Names:
    """Names one customer's new entries after what they say, so that what is posted anew has its old name again.

    After a restore the lost entries come back under their names, and Salesforce, which knows them already, gets no
    second record. Small letters and digits alone: Salesforce ignores case.
    """

    def __init__(self, history: History, rows: Iterable[LedgerEntry]) -> None:
        self._whose = (history.source_pk, history.customer_id)
        self._taken = {row.key for row in rows}

    def new(self, *said: object) -> str:
        """Return the first name for these words that no entry of the customer has."""
        for times in count():
            words = "\t".join(map(str, (*self._whose, *said, times)))
            name = "mle_" + hashlib.sha256(words.encode()).hexdigest()[:26]
            if name not in self._taken:
                break
        self._taken.add(name)
        return name


# ---- balances and roll-ups ----


def wrong_balances(history: History, kept: Mapping[str, CustomerBalance], found: Replay) -> list[CustomerBalance]:
    """Return the balance rows that differ from what is kept."""
    first: dict[str, Movement] = {}
    last: dict[str, Movement] = {}
    for movement in found.movements:
        first.setdefault(movement.currency, movement)
        last[movement.currency] = movement
    cohort = month_of(found.cohort_at) if found.cohort_at is not None else None
    changed: list[CustomerBalance] = []
    for currency in sorted({*kept, *first, *found.incomplete, *found.scheduled, *found.usage, *found.clock}):
        began, latest = first.get(currency), last.get(currency)
        wanted: dict[str, Any] = {
            "mrr_micros": found.balances.get(currency, 0),
            "scheduled_micros": found.scheduled.get(currency, 0),
            "incomplete_items": found.incomplete.get(currency, 0),
            "first_paid_at": datetime.fromtimestamp(began.effective_at, UTC) if began else None,
            "cohort_month": cohort if began else None,
            "acquired_micros": began.micros if began else 0,
            "last_movement_at": datetime.fromtimestamp(latest.effective_at, UTC) if latest else None,
            "usage_micros": found.usage.get(currency, 0),
            "clock_at": datetime.fromtimestamp(found.clock[currency], UTC) if currency in found.clock else None,
        }
        stands = kept.get(currency)
        if stands is None or any(getattr(stands, name) != value for name, value in wanted.items()):
            changed.append(
                CustomerBalance(
                    customer_id=history.customer_pk, source_id=history.source_pk, currency=currency, **wanted
                )
            )
    return changed


def _move_rollups(changed: Iterable[Changed]) -> None:
    """Take what these customers came to out of the kept sums, and put in what they come to now."""
    months: rollups.Sums = {}
    cohorts: rollups.Sums = {}
    elsewhere: rollups.Sums = {}
    moved: list[keeping.Moved] = []
    added: list[LedgerEntry] = []
    for one in changed:
        before = standing_rows(one.known.movements)
        after = standing_rows(one.found.movements)
        old = next((balance.cohort_month for balance in one.known.balances.values() if balance.cohort_month), None)
        old_cohort = rollups.month_number(old) if old else None
        cohort = cohort_number(one.found)
        prefix = (one.history.source_pk,)
        months_before, months_after = rollups.months_of(before), rollups.months_of(after)
        rollups.add(months, months_before, sign=-1, prefix=prefix)
        rollups.add(months, months_after, sign=1, prefix=prefix)
        rollups.add(cohorts, rollups.cohorts_of(before, old_cohort), sign=-1, prefix=prefix)
        rollups.add(cohorts, rollups.cohorts_of(after, cohort), sign=1, prefix=prefix)
        booked = books.booked([*one.known.rows, *one.entries])
        if any(entry.is_elsewhere for entry in booked):
            was = booked[: len(one.known.rows)]
            rollups.add(elsewhere, as_closed.difference(was, months_before), sign=-1, prefix=prefix)
            rollups.add(elsewhere, as_closed.difference(booked, months_after), sign=1, prefix=prefix)
        history = one.history
        moved.append(keeping.Moved(history.source_pk, history.customer_pk, before, after, old_cohort, cohort))
        added += one.entries
    rollups.apply(months, cohorts)
    if elsewhere:
        books.apply(elsewhere)
    rates = fx.keep(added, [one for one in moved if one.is_mixed])
    keeping.move(moved, rates.constant)
    gross.move(
        (one.history.source_pk, one.history.customer_pk, one.known.movements, one.found.movements) for one in changed
    )


def cohort_number(found: Replay) -> int | None:
    """Return the number of the month a customer was acquired in."""
    return rollups.month_number(month_of(found.cohort_at)) if found.cohort_at is not None else None


def standing_rows(movements: Iterable[Movement]) -> list[Standing]:
    """Return movements as the roll-ups need them."""
    return [
        Standing(
            m.type,
            m.currency,
            m.micros,
            m.paying_delta,
            m.effective_at,
            rollups.month_number(month_of(m.effective_at)),
            m.reason,
            max(m.lines, key=lambda line: abs(line.micros)).product or "" if m.lines else "",
        )
        for m in movements
    ]
