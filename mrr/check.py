"""Proves the ledger: recounts every customer from its events, and the sums from the ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.db import transaction

from billing import selectors as billing
from mrr import ledger, rollups
from mrr.engine.movements import Movement, Replay, reconcile
from mrr.models import CohortRollup, CustomerBalance, LedgerEntry, MonthRollup

CHUNK = 200


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
) -> Checked:
    """Recompute every customer and the sums; return the counts and the fingerprint of the standing ledger.

    Each difference is told in one line. `as_of` leaves out what became true after it, on both sides. With `repair` the
    ledger is brought in step (by entries and reversals, as always) and the sums are written anew.
    """
    differences = 0
    customers = 0
    lines: list[str] = []
    months: rollups.Sums = {}
    cohorts: rollups.Sums = {}
    for chunk in _chunks(billing.customer_pks()):
        customers += len(chunk)
        if repair:
            with transaction.atomic():
                billing.lock_customers(chunk)
                differences += len(ledger.post(billing.histories(chunk), now=now))
        histories, names = billing.histories(chunk), billing.customers(chunk)
        standing = ledger.standing_of(chunk)
        balances = _kept_balances(chunk)
        for pk, history in histories.items():
            name = names[pk]
            found = ledger.replayed(history, now=now)
            posted = standing[pk]
            if as_of is not None:
                posted = [movement for movement in posted if movement.effective_at <= as_of.timestamp()]
            wrong = _movements_differ(name.stripe_id, found, posted) + (
                _balances_differ(name.stripe_id, found, balances.get(pk, {})) if as_of is None else []
            )
            differences += len(wrong)
            for difference in wrong:
                tell(difference)
            lines += [fingerprint_line(name.source_slug, name.stripe_id, movement) for movement in posted]
            entries = ledger.standing_rows(posted)
            cohort = ledger.cohort_number(found)
            rollups.add(months, rollups.months_of(entries), sign=1, prefix=(history.source_pk,))
            rollups.add(cohorts, rollups.cohorts_of(entries, cohort), sign=1, prefix=(history.source_pk,))
    if as_of is None:
        for difference in _sums_differ(months, cohorts):
            differences += 1
            tell(difference)
        if repair:
            with transaction.atomic():
                _write_sums(months, cohorts)
    return Checked(customers, LedgerEntry.objects.count(), differences, fingerprint(lines))


def fingerprint(lines: Sequence[str]) -> str:
    """Return the SHA-256 of the standing ledger's lines, sorted, each ended by a newline."""
    digest = hashlib.sha256()
    for line in sorted(lines):
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def fingerprint_line(source_slug: str, customer_id: str, movement: Movement) -> str:
    """Write one standing entry as the fingerprint reads it."""
    items = ",".join(sorted(f"{line.item}:{line.micros}" for line in movement.lines))
    return "\t".join(
        (
            source_slug,
            customer_id,
            movement.currency,
            str(movement.effective_at),
            movement.type,
            movement.reason,
            str(movement.micros),
            items,
        )
    )


def _chunks(pks: Iterable[int]) -> Iterator[list[int]]:
    chunk: list[int] = []
    for pk in pks:
        chunk.append(pk)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _kept_balances(pks: Sequence[int]) -> dict[int, dict[str, tuple[int, int]]]:
    kept: dict[int, dict[str, tuple[int, int]]] = {}
    rows = CustomerBalance.objects.filter(customer_id__in=pks)
    for pk, currency, micros, scheduled in rows.values_list(
        "customer_id", "currency", "mrr_micros", "scheduled_micros"
    ):
        kept.setdefault(pk, {})[currency] = (micros, scheduled)
    return kept


def _movements_differ(customer_id: str, found: Replay, posted: Sequence[Movement]) -> list[str]:
    missing, wrong = reconcile(found.movements, posted)
    return [
        f"{customer_id}: {said} {m.type} {m.micros} {m.currency} at {m.effective_at} ({m.reason})"
        for said, movements in (("not posted:", missing), ("posted but not so:", wrong))
        for m in movements
    ]


def _balances_differ(customer_id: str, found: Replay, kept: dict[str, tuple[int, int]]) -> list[str]:
    wanted = {currency: (micros, found.scheduled.get(currency, 0)) for currency, micros in found.balances.items()}
    held = {currency: pair for currency, pair in kept.items() if any(pair)}
    return [f"{customer_id}: balances are kept as {held}, but come to {wanted}"] if wanted != held else []


def _sums_differ(months: rollups.Sums, cohorts: rollups.Sums) -> Iterator[str]:
    tables: list[tuple[Any, tuple[str, ...], tuple[str, ...], rollups.Sums]] = [
        (MonthRollup, ("source_id", "currency", "month"), rollups.MONTH_COLUMNS, months),
        (CohortRollup, ("source_id", "currency", "cohort", "month"), rollups.COHORT_COLUMNS, cohorts),
    ]
    for model, key, columns, wanted in tables:
        kept = {}
        for row in model.objects.values_list(*key, *columns):
            place = tuple(
                rollups.month_number(value) if isinstance(value, date) else value for value in row[: len(key)]
            )
            kept[place] = {name: amount for name, amount in zip(columns, row[len(key) :], strict=True) if amount}
        want = {place: {name: amount for name, amount in cell.items() if amount} for place, cell in wanted.items()}
        for place in sorted(kept.keys() | want.keys(), key=str):
            if kept.get(place, {}) != want.get(place, {}):
                yield f"{model.__name__} {place}: kept {kept.get(place, {})}, comes to {want.get(place, {})}"


def _write_sums(months: rollups.Sums, cohorts: rollups.Sums) -> None:
    MonthRollup.objects.all().delete()
    CohortRollup.objects.all().delete()
    rollups.apply(months, cohorts)
