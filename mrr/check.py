"""Proves the ledger: recounts every customer from its events, and proves hashes, chain, closed months and sums.

All parts go through their rows in slices: the command does them in one go, the nightly check a minute at a time.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any, Final

from django.db import connection, connections, transaction
from django.db.models import Case, F, JSONField, When

from billing import selectors as billing
from mrr import as_closed, books, fx, gross, keeping, ledger, links, policies, rollups, seals, tampering
from mrr.engine.movements import Movement, Replay, reconcile
from mrr.engine.policy import MetricPolicy
from mrr.fingerprints import Held, Lines, fingerprint_line, one_view
from mrr.models import BookRollup, CheckRun, CohortRollup, CustomerBalance, LedgerEntry, MonthRollup
from mrr.rollups import Standing

CHUNK = 200
RANGE = 2_000  # customers of one piece of work where processes recount side by side
PARTS: Final = ("customers", "entries", "seals", "months", "events", "discounts", "sums")
# Customers found wrong are remembered, to tell what their sums should be. Beyond so many nobody reads on.
WRONG_CUSTOMERS = 1_000
KEPT_FINDINGS = 100
NIGHTLY_AT = timedelta(hours=2, minutes=30)  # into the day, in the reporting zone
LEASE = timedelta(minutes=6)  # a worker's task ends after five
CLOCK_PATIENCE = timedelta(minutes=5)  # what fell due with no event is posted within half a minute


@dataclass(frozen=True, slots=True)
class Checked:
    customers: int
    entries: int
    differences: int
    fingerprint: str

    def as_json(self) -> dict[str, Any]:
        return {
            "customers": self.customers,
            "entries": self.entries,
            "differences": self.differences,
            "fingerprint": self.fingerprint,
        }


def check(
    *,
    now: datetime,
    as_of: datetime | None = None,
    repair: bool = False,
    tell: Callable[[str], None] = lambda difference: None,
    progress: Callable[[str, int], None] = lambda part, done: None,
    parts: Sequence[str] = PARTS,
    processes: int = 1,
) -> Checked:
    """Check everything, or some parts; return the counts and the fingerprint of the standing ledger.

    Each difference is told in one line. `as_of` leaves out what became true after it, on both sides. With `repair` the
    ledger is brought in step (by entries and reversals, as always) and the sums are written anew; entries, seals and
    closes that were changed stay as they are. With several `processes` customers are recounted side by side.
    """
    run = _Run(now, as_of, repair, tell, policies.current())
    with Lines() as lines:
        run.lines = lines
        for part in parts:
            after: int | None = 0
            if part == "customers" and processes > 1 and not (repair or connection.in_atomic_block):
                _recount_side_by_side(run, processes, progress)
                after = None
            while after is not None:
                after = _step(run, part, after)
                progress(part, after or 0)
        found = lines.fingerprint()
    return Checked(run.customers, LedgerEntry.objects.count(), run.differences, found)


def check_some(*, now: datetime, seconds: float) -> CheckRun | None:
    """Take the nightly check further for so long, and begin one if it is time; None when there is nothing to do.

    One worker at a time. Where it stands is kept on its row, so that any worker can take it up.
    """
    if policies.in_force().replayed_to is not None:
        return None  # a change of policy is being carried out: not all stand under it yet
    row = _tonight(now)
    if row is None:
        return None
    until = time.monotonic() + seconds
    findings = list(row.findings)
    run = _Run(now, None, False, findings.append, policies.current())
    run.wrong = set(row.state.get("wrong", []))
    after: int | None = row.state.get("after", 0)
    while row.stage:
        after = _step(run, row.stage, after or 0)
        if after is None:
            row.stage = next(iter(PARTS[PARTS.index(row.stage) + 1 :]), "")
        if time.monotonic() >= until:  # one step at least, or a busy machine would never get on
            break
    row.customers += run.customers
    row.differences += run.differences
    row.findings = findings[:KEPT_FINDINGS]
    row.state = {"after": after or 0, "wrong": sorted(run.wrong)}
    row.touched_at = now
    if not row.stage:
        head = seals.head()
        row.entries = LedgerEntry.objects.count()
        row.finished_at, row.seal_number, row.seal_digest = now, head.number, head.digest
    row.save()
    return row


def last_run() -> CheckRun | None:
    """Return the last nightly check that was finished."""
    return CheckRun.objects.filter(finished_at__isnull=False).order_by("-pk").first()


# ---- one step of one part ----


@dataclass
class _Run:
    """What the steps of a check share."""

    now: datetime
    as_of: datetime | None
    repair: bool
    tell_one: Callable[[str], None]
    policy: MetricPolicy
    customers: int = 0
    differences: int = 0
    wrong: set[int] = field(default_factory=set)
    lines: Lines | Held | None = None
    chain: tampering.Chain = field(init=False)

    def __post_init__(self) -> None:
        self.chain = tampering.Chain(self.now)

    def tell(self, difference: str) -> None:
        self.differences += 1
        self.tell_one(difference)


def _step(run: _Run, part: str, after: int) -> int | None:
    """Check the next rows of a part; returns where to go on, None when the part is done."""
    if part == "customers":
        return _recount(run, after)
    if part == "sums":
        return _sums(run, after) if run.as_of is None else None
    if part == "discounts":
        return _discounts(run, after) if run.as_of is None else None
    with one_view():
        if part == "entries":
            return tampering.entries(after, run.chain, run.tell)
        if part == "events":
            return tampering.bodies(after, run.tell)
        if part == "seals":
            if not after:
                tampering.known_head(run.tell)
            return tampering.chain_of_seals(after, run.tell)
        tampering.closed_months(run.tell)
        return None


def _recount(run: _Run, after: int) -> int | None:
    """Recompute the next customers from their events and compare with what is posted and kept."""
    pks = billing.next_customer_pks(after=after, limit=CHUNK)
    if not pks:
        return None
    _recount_these(run, pks)
    return pks[-1]


def _recount_these(run: _Run, pks: Sequence[int]) -> None:
    run.customers += len(pks)
    if run.repair:
        with transaction.atomic():
            billing.lock_customers(pks)
            run.differences += len(ledger.post(billing.histories(pks), now=run.now, is_told=False))
    with one_view():
        histories, names = links.linked(billing.histories(pks)), billing.customers(pks)
        standing, balances = ledger.standing_with_keys(pks), ledger.balances_of(pks)
        for pk, history in histories.items():
            name, kept = names[pk], balances[pk]
            found = ledger.replayed(history, now=run.now, policy=run.policy)
            stands = standing[pk]
            if run.as_of is not None:
                stands = [(movement, key) for movement, key in stands if movement.effective_at <= run.as_of.timestamp()]
            wrong = _movements_differ(name.stripe_id, found, stands)
            if run.as_of is None:
                wrong += _balances_differ(name.stripe_id, ledger.wrong_balances(history, kept, found), kept)
            if wrong and _is_just_due(kept.values(), run.now):
                wrong = []
            if wrong and len(run.wrong) < WRONG_CUSTOMERS:
                run.wrong.add(pk)
            for difference in wrong:
                run.tell(difference)
            if run.lines is not None:
                run.lines.add(fingerprint_line(name.source_slug, name.stripe_id, movement) for movement, _ in stands)


def _is_just_due(kept: Iterable[CustomerBalance], now: datetime) -> bool:
    """Say whether the clock has just changed a customer, so that workers are about to post it."""
    return any(row.clock_at is not None and now - CLOCK_PATIENCE < row.clock_at <= now for row in kept)


def _recount_side_by_side(run: _Run, processes: int, progress: Callable[[str, int], None]) -> None:
    """Recount all customers in forked processes, a range of them at a time, each on a connection of its own."""
    asked = [(run.now, run.as_of, run.policy, *bounds) for bounds in _ranges()]
    connections.close_all()  # two processes on one connection would read each other's answers
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        for last, customers, differences, wrong, lines in pool.imap_unordered(_recount_range, asked):
            run.customers += customers
            run.wrong |= set(wrong[: WRONG_CUSTOMERS - len(run.wrong)])
            for difference in differences:
                run.tell(difference)
            if run.lines is not None:
                run.lines.add(lines)
            progress("customers", last)


def _ranges() -> Iterator[tuple[int, int]]:
    """Give the ranges of customers' keys: after which, and through which."""
    after = 0
    while pks := billing.next_customer_pks(after=after, limit=RANGE):
        yield after, pks[-1]
        after = pks[-1]


def _recount_range(
    asked: tuple[datetime, datetime | None, MetricPolicy, int, int],
) -> tuple[int, int, list[str], list[int], list[str]]:
    now, as_of, policy, after, last = asked
    differences: list[str] = []
    lines = Held()
    run = _Run(now, as_of, False, differences.append, policy, lines=lines)
    while after < last:
        pks = [pk for pk in billing.next_customer_pks(after=after, limit=CHUNK) if pk <= last]
        _recount_these(run, pks)
        after = pks[-1] if pks else last
    return last, run.customers, differences, sorted(run.wrong), lines


def _movements_differ(customer_id: str, found: Replay, stands: Sequence[tuple[Movement, str]]) -> list[str]:
    posted = [movement for movement, _ in stands]
    if sorted(posted, key=_when) == sorted(found.movements, key=_when):
        return []
    missing, wrong = reconcile(found.movements, posted)
    said = [
        f"{customer_id}: not posted: {m.type} {m.micros} {m.currency} at {m.effective_at} ({m.reason})" for m in missing
    ]
    for m in wrong:
        key = next(key for movement, key in stands if movement == m)
        said.append(
            f"{customer_id}: posted but not so: {m.type} {m.micros} {m.currency} at {m.effective_at} ({m.reason}), "
            f"entry {key}"
        )
    return said


def _when(movement: Movement) -> tuple[int, str]:
    return movement.effective_at, movement.currency


NEVER_WRONG: Final = frozenset({"clock_at"})  # it passes between a check and the posting it asks for


def _balances_differ(
    customer_id: str, wanted: Sequence[CustomerBalance], balances: Mapping[str, CustomerBalance]
) -> list[str]:
    said = []
    for row in wanted:
        kept = balances.get(row.currency)
        unlike = {
            name: (getattr(kept, name, None), getattr(row, name))
            for name in ledger.BALANCE_COLUMNS
            if name not in NEVER_WRONG and getattr(kept, name, None) != getattr(row, name)
        }
        if kept is None and not any(wants for _, wants in unlike.values()):
            continue
        if unlike:
            said.append(
                f"{customer_id}: the balance in {row.currency} keeps "
                + ", ".join(f"{name} {has}, which comes to {wants}" for name, (has, wants) in sorted(unlike.items()))
            )
    return said


# ---- sums ----


def _discounts(run: _Run, after: int) -> int | None:
    """Prove what discounts take off the next customers' MRR; with `repair` write it anew."""
    pks = billing.next_customer_pks(after=after, limit=CHUNK)
    if not pks:
        return None
    known = [pk for pk in pks if pk not in run.wrong]  # of a ledger that is wrong nothing else can be right
    sources = dict(LedgerEntry.objects.filter(customer_id__in=known).values_list("customer_id", "source_id").distinct())
    if run.repair:
        with transaction.atomic():
            billing.lock_customers(list(sources))
            gross.write(sources, ledger.standing_of(list(sources)))
    with one_view():
        for difference in gross.differences(sources, ledger.standing_of(list(sources))):
            run.tell(difference)
    return pks[-1]


def _sums(run: _Run, after: int) -> int | None:
    """Prove the kept sums of the next source from its entries; with `repair` write them anew. The last step is FX."""
    pks = [source.pk for source in billing.sources() if source.pk > after]
    if not pks:
        if run.repair:
            fx.rebuild_all()
        with one_view():
            for difference in fx.differences():
                run.tell(difference)
        return None
    source_pk = min(pks)
    if run.repair:
        with transaction.atomic():
            books.hold()
            _write_sums(source_pk, _counted(source_pk))
    with one_view():
        counted = _counted(source_pk, keeping.KeptLosses(source_pk))
        shift = _as_it_should_be(run, source_pk)
        for difference in _sums_differ(source_pk, counted, shift):
            run.tell(difference)
        for pk, differences in counted.lost_otherwise.items():
            for difference in differences if pk not in run.wrong else ():
                run.tell(difference)
    return source_pk


@dataclass
class _Counted:
    """The sums of one source: by month, by cohort and month, by how much months as closed differ, of long periods.

    `lost` are its losses by customer where they are to be written, `lost_otherwise` what is wrong with those kept.
    """

    months: rollups.Sums = field(default_factory=dict)
    cohorts: rollups.Sums = field(default_factory=dict)
    elsewhere: rollups.Sums = field(default_factory=dict)
    kept: rollups.Sums = field(default_factory=dict)
    lost: dict[int, list[keeping.Said]] = field(default_factory=dict)
    lost_otherwise: dict[int, list[str]] = field(default_factory=dict)

    def add(self, source_pk: int, rows: Sequence[LedgerEntry], stands: Sequence[Standing], cohort: int | None) -> None:
        prefix = (source_pk,)
        months = rollups.months_of(stands)
        rollups.add(self.months, months, sign=1, prefix=prefix)
        rollups.add(self.cohorts, rollups.cohorts_of(stands, cohort), sign=1, prefix=prefix)
        late = as_closed.difference(books.booked(rows), months)
        rollups.add(self.elsewhere, late, sign=1, prefix=prefix)
        rollups.add(self.kept, keeping.kept(stands), sign=1, prefix=prefix)

    def lose(self, pk: int, lost: list[keeping.Said], stands: keeping.KeptLosses | None) -> None:
        if stands is None:
            self.lost[pk] = lost
        elif differences := list(keeping.differ(pk, stands.of(pk), lost)):
            self.lost_otherwise[pk] = differences


LIGHT = (
    "id",
    "customer_id",
    "sequence",
    "type",
    "currency",
    "amount_micros",
    "paying_delta",
    "effective_at",
    "book_month",
    "backdated_from",
    "reverses_id",
    "reason",
)
# Lines are large; of all entries those that end a customer's MRR say in which product.
ENDED_LINES: Final = Case(When(paying_delta__lt=0, then=F("lines")), output_field=JSONField())


def _counted(source_pk: int, stands: keeping.KeptLosses | None = None) -> _Counted:
    counted = _Counted()
    cohorts = dict(
        CustomerBalance.objects.filter(source_id=source_pk, cohort_month__isnull=False).values_list(
            "customer_id", "cohort_month"
        )
    )
    entries = LedgerEntry.objects.filter(source_id=source_pk).order_by("customer_id", "sequence").only(*LIGHT)
    entries = entries.annotate(ended_lines=ENDED_LINES)
    for pk, group in groupby(entries.iterator(chunk_size=2_000), key=lambda row: row.customer_id):
        rows = list(group)
        acquired = cohorts.get(pk)
        cohort = rollups.month_number(acquired) if acquired is not None else None
        standing = _standing(rows)
        counted.add(source_pk, rows, standing, cohort)
        counted.lose(pk, keeping.losses(standing, cohort), stands)
    counted.lose(sys.maxsize, [], stands)  # losses of customers without entries
    return counted


def _standing(rows: Sequence[Any]) -> list[Standing]:
    taken_back = {row.reverses_id for row in rows}
    return [
        Standing(
            row.type,
            row.currency,
            row.amount_micros,
            row.paying_delta,
            int(row.effective_at.timestamp()),
            rollups.month_number(books.month_of(row.effective_at)),
            row.reason,
            rollups.product_of(row.ended_lines or ()),
        )
        for row in rows
        if row.reverses_id is None and row.pk not in taken_back
    ]


def _as_it_should_be(run: _Run, source_pk: int) -> _Counted:
    """Return by how much the sums differ if the customers found wrong had the ledger that their events come to.

    An entry that somebody changed must not make the sums look wrong too: they still say what they said.
    """
    shift = _Counted()
    if not run.wrong:
        return shift
    histories = links.linked(billing.histories(sorted(run.wrong)))
    standing = ledger.standing_of(list(histories))
    for pk, history in histories.items():
        if history.source_pk != source_pk:
            continue
        found = ledger.replayed(history, now=run.now, policy=run.policy)
        cohort = ledger.cohort_number(found)
        for sign, movements in ((1, found.movements), (-1, standing[pk])):
            entries = ledger.standing_rows(movements)
            prefix = (source_pk,)
            rollups.add(shift.months, rollups.months_of(entries), sign=sign, prefix=prefix)
            rollups.add(shift.cohorts, rollups.cohorts_of(entries, cohort), sign=sign, prefix=prefix)
            rollups.add(shift.kept, keeping.kept(entries), sign=sign, prefix=prefix)
    return shift


MONTH, CELL = ("source_id", "currency", "month"), ("source_id", "currency", "cohort", "month")


def _sums_differ(source_pk: int, counted: _Counted, shift: _Counted) -> Iterator[str]:
    tables: list[tuple[Any, tuple[str, ...], tuple[str, ...], rollups.Sums, rollups.Sums]] = [
        (MonthRollup, MONTH, rollups.MONTH_COLUMNS, counted.months, shift.months),
        (CohortRollup, CELL, rollups.COHORT_COLUMNS, counted.cohorts, shift.cohorts),
        (BookRollup, MONTH, as_closed.COLUMNS, counted.elsewhere, shift.elsewhere),
    ]
    for model, key, columns, wanted, shifted in tables:
        kept = {}
        for row in model.objects.filter(source_id=source_pk).values_list(*key, *columns):
            place = tuple(
                rollups.month_number(value) if isinstance(value, date) else value for value in row[: len(key)]
            )
            kept[place] = _filled(dict(zip(columns, row[len(key) :], strict=True)))
        for place in sorted(kept.keys() | wanted.keys(), key=str):
            cell, has = wanted.get(place, {}), kept.get(place, {})
            moved = shifted.get(place, {})
            other = {name: cell.get(name, 0) + moved.get(name, 0) for name in cell.keys() | moved.keys()}
            if has not in (_filled(cell), _filled(other)):
                unlike = sorted(name for name in columns if has.get(name, 0) != cell.get(name, 0))
                said = ", ".join(f"{name} {has.get(name, 0)}, which comes to {cell.get(name, 0)}" for name in unlike)
                yield f"{model.__name__} {_named(place)}: keeps {said}"
    yield from keeping.sums_differ(source_pk, counted.kept, shift.kept)


def _filled(cell: dict[str, int]) -> dict[str, int]:
    return {name: amount for name, amount in cell.items() if amount}


def _named(place: tuple[Any, ...]) -> str:
    source_pk, currency, *months = place
    return " ".join([f"source {source_pk}", currency, *(f"{rollups.month_date(number):%Y-%m}" for number in months)])


def _write_sums(source_pk: int, counted: _Counted) -> None:
    for model in (MonthRollup, CohortRollup, BookRollup):
        model.objects.filter(source_id=source_pk).delete()
    rollups.apply(counted.months, counted.cohorts)
    books.apply(counted.elsewhere)
    keeping.rewrite(source_pk, counted.kept, counted.lost)


# ---- the row of the night ----


def _tonight(now: datetime) -> CheckRun | None:
    """Return the check to go on with, held for this worker; begin one when the night's has not begun."""
    zone = books.reporting_zone()
    day = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    begins = day + NIGHTLY_AT if now >= day + NIGHTLY_AT else day - timedelta(days=1) + NIGHTLY_AT
    newest = CheckRun.objects.order_by("-pk").first()
    if newest is None or (newest.finished_at is not None and newest.started_at < begins):
        newest = CheckRun.objects.create(started_at=now, touched_at=now, stage=PARTS[0])
    if newest.finished_at is not None:
        return None
    held_until = now + LEASE
    free = CheckRun.objects.filter(pk=newest.pk, touched_at__lte=now, finished_at__isnull=True)
    if not free.update(touched_at=held_until):
        return None
    newest.refresh_from_db()
    return newest
