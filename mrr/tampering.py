"""Finds what somebody changed behind our back: entries, the chain over them, closed months and bodies of events.

Each part goes through its rows in slices, so that memory stays flat and a long check can be taken up where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cached_property
from typing import Any

from django.db.models import F

from billing import selectors as billing
from mrr import books, close, digests, seals
from mrr.models import ActionKind, BookAction, BookState, CheckRun, FrozenRates, LedgerEntry, Seal

ENTRIES, SEALS, BODIES = 500, 50, 300
Tell = Callable[[str], None]


class Chain:
    """What the seals say is sealed, read once."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    @cached_property
    def sealed(self) -> seals.Ranges:
        return seals.Ranges(part for ranges in Seal.objects.values_list("ranges", flat=True) for part in ranges)

    @cached_property
    def floor(self) -> int:
        """Up to this row key every entry must be sealed."""
        return seals.floor(now=self._now)


def entries(after: int, chain: Chain, tell: Tell) -> int | None:
    """Check the entries of the next rows: hash, lines, reversal, seal. Returns the last row's key, None at the end."""
    above = LedgerEntry.objects.filter(pk__gt=after) if after else LedgerEntry.objects.all()
    rows = list(
        above.annotate(
            reverses_key=F("reverses__key"),
            reversed_customer=F("reverses__customer_id"),
            reversed_currency=F("reverses__currency"),
            reversed_micros=F("reverses__amount_micros"),
        ).order_by("pk")[:ENTRIES]
    )
    if not rows:
        return None
    bodies = billing.body_hashes({(row.source_id, event_id) for row in rows for event_id in row.event_ids})
    for row in rows:
        if row.pk <= chain.floor and row.pk not in chain.sealed:
            tell(f"entry {row.key}: no seal covers it, though later ones are sealed")
        if row.digest != digests.of_entry(row, reverses=row.reverses_key or "", bodies=bodies):
            tell(f"entry {row.key}: it, or the hash of one of its events' bodies, was changed after it was posted")
            continue
        if sum(line["micros"] for line in row.lines) != row.amount_micros:
            tell(f"entry {row.key}: its lines do not add up to its amount")
        taken_back = (row.reversed_customer, row.reversed_currency, row.reversed_micros)
        if row.reverses_key and taken_back != (row.customer_id, row.currency, -row.amount_micros):
            tell(f"entry {row.key}: it does not take back what {row.reverses_key} says")
    return max(rows[-1].pk, 1)


def chain_of_seals(after: int, tell: Tell) -> int | None:
    """Check the next seals (`after` is the number of seals done): their own hash, the one before, the sealed rows."""
    rows = list(Seal.objects.filter(number__gte=max(0, after - 1)).order_by("number")[: SEALS + 1])
    previous = rows.pop(0) if after and rows and rows[0].number == after - 1 else None
    if not rows:
        return None
    is_previous_right = previous is None or _is_right(previous)
    for seal in rows:
        is_right = True
        if seal.number != (previous.number + 1 if previous else 0):
            tell(f"seal {seal.number}: the seals before it, from {previous.number + 1 if previous else 0} on, are gone")
        elif previous is not None and seal.previous != previous.digest and is_previous_right:
            tell(f"seal {previous.number}: it was changed after seal {seal.number} had been set on it")
        for pk in _missing(seal):
            is_right = False
            tell(f"entry of row {pk}: seal {seal.number} covers it, and it is gone")
        if is_right and not (is_right := _is_right(seal)):
            tell(f"seal {seal.number}: it, or the hash kept on an entry that it covers, was changed")
        previous, is_previous_right = seal, is_right
    return rows[-1].number + 1


def known_head(tell: Tell) -> None:
    """Check that the newest seal of the last finished check still stands: the end of a chain can be cut off."""
    last = CheckRun.objects.filter(finished_at__isnull=False, seal_number__isnull=False).order_by("-pk").first()
    if (
        last
        and last.seal_number is not None
        and not Seal.objects.filter(number=last.seal_number, digest=last.seal_digest).exists()
    ):
        tell(f"seal {last.seal_number}: the check of {last.started_at:%Y-%m-%d} saw it, and it is gone or changed")


def closed_months(tell: Tell) -> None:
    """Check all that was done with months: that nothing was changed or taken out, and that closed months stand."""
    before = digests.GENESIS
    number = 0
    in_force: dict[object, BookAction] = {}
    for action in BookAction.objects.order_by("number").iterator():
        name = f"{action.month:%Y-%m} {action.kind} (action {action.number})"
        number += 1
        if action.number != number:
            tell(f"{name}: the actions before it, from {number} on, are gone")
            number = action.number
        elif action.previous != before:
            tell(f"{name}: the action before it was changed after it")
        if action.digest != close.digest_of(action):
            tell(f"{name}: it was changed after it was written")
            before = action.digest
            in_force.pop(action.month, None)
            if action.kind == ActionKind.CLOSED:
                in_force[action.month] = action
            continue
        if action.reason and action.reason_sha256 != digests.of_text(action.reason):
            tell(f"{name}: its reason was changed after it was written")
        before = action.digest
        if action.kind == ActionKind.CLOSED:
            in_force[action.month] = action
        elif action.kind == ActionKind.REOPENED:
            in_force.pop(action.month, None)
    sealed = Seal.objects.order_by("-number").values_list("books", flat=True).first()
    if sealed and not BookAction.objects.filter(digest=sealed).exists():
        tell("book actions: the newest seal covers one that is gone")
    for action in in_force.values():
        for found in _month_differs(action):
            tell(f"{action.month:%Y-%m} closed (action {action.number}): {found}")
    through = BookState.objects.values_list("closed_through", flat=True).get(pk=books.STATE_PK)
    last = max((action.month for action in in_force.values()), default=None)
    if through != last:
        tell(f"books: they say closed through {through}, the actions say {last}")


def bodies(after: int, tell: Tell) -> int | None:
    """Check the next events' bodies; returns the last row's key, None at the end."""
    last, wrong = billing.wrong_bodies(after_pk=after, limit=BODIES)
    for source, event_id in wrong:
        tell(f"event {event_id} ({source}): its body is not what was received")
    return last


def _missing(seal: Seal) -> list[int]:
    covered = seals.Ranges(seal.ranges)
    found = seals.Ranges([pk, pk] for pk, _ in _covered(seal))
    if covered.parts == found.parts:
        return []
    return [pk for first, last in covered.parts for pk in range(first, last + 1) if pk not in found]


def _is_right(seal: Seal) -> bool:
    return seal.digest == seals.digest_of(seal, (digest for _, digest in _covered(seal)))


def _covered(seal: Seal) -> Iterator[tuple[int, str]]:
    """Yield row key and kept hash of what a seal covers and is there, by key."""
    covered = seals.Ranges(seal.ranges)
    if not covered.parts:
        return
    first, last = covered.parts[0][0], covered.parts[-1][1]
    rows = LedgerEntry.objects.filter(pk__gte=first, pk__lte=last).order_by("pk").values_list("pk", "digest")
    for pk, digest in rows.iterator(chunk_size=2_000):
        if pk in covered:
            yield pk, digest


def _month_differs(action: BookAction) -> Iterator[str]:
    count, digest = digests.of_booked(close.booked_rows(action.month))
    if count != action.entries:
        yield f"{count} entries are booked in it, at the close there were {action.entries}"
    elif digest != action.entries_digest:
        yield "the hash kept on one of its entries was changed"
    figures = list(close.figures(action.month))
    if figures != action.figures:
        yield f"its sums come to {_unlike(figures, action.figures)} by now"
    rates = FrozenRates.objects.filter(month=action.month).values_list("rates", flat=True).first()
    if digests.of_value(rates or {}) != (action.notes or {}).get("rates_sha256"):
        yield "its exchange rates are not those of the close"


def _unlike(found: list[dict[str, Any]], closed: list[dict[str, Any]] | None) -> str:
    """Name the figures that differ, found → at the close."""
    kept = {(row["source"], row["currency"]): row for row in closed or []}
    come_to = {(row["source"], row["currency"]): row for row in found}
    parts = []
    for key in sorted(kept.keys() | come_to.keys()):
        one, other = come_to.get(key, {}), kept.get(key, {})
        for name in sorted(one.keys() | other.keys()):
            if one.get(name) != other.get(name):
                parts.append(f"{key[0]} {key[1]} {name} {one.get(name)} (at the close {other.get(name)})")
    return ", ".join(parts[:5])
