"""Chains the entries: each seal covers the hashes of the entries since, and the seal before it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice

from django.db import connection, transaction
from django.db.models import Max

from mrr import digests
from mrr.models import BookAction, LedgerEntry, Seal

ENTRIES_A_SEAL = 20_000
# A transaction may commit its entries after ones with higher keys. None takes so long: a worker ends after 5 minutes.
LATEST_COMMIT = timedelta(hours=1)


def seal_all(*, now: datetime, is_patient: bool = False) -> int:
    """Seal every entry that is not sealed, and what was done with months since; return how many entries.

    While somebody else seals it is left to them, unless `is_patient`.
    """
    sealed = 0
    while _is_due(now):
        with transaction.atomic():
            made = _seal_some(now) if _hold(is_patient=is_patient) else None
        if made is None:
            break
        sealed += made.entries
    return sealed


def head() -> Seal:
    """Return the newest seal."""
    return Seal.objects.order_by("-number")[:1].get()


def waiting_since() -> datetime | None:
    """Return when the oldest entry above the last seal was posted, None when all are sealed."""
    rows = LedgerEntry.objects.filter(pk__gt=head().last_entry).order_by("pk")
    return rows.values_list("posted_at", flat=True).first()


def floor(*, now: datetime) -> int:
    """Return the row key up to which every entry must be sealed by now, 0 when there is none."""
    ripe = Seal.objects.filter(made_at__lt=now - LATEST_COMMIT).order_by("-number")
    return ripe.values_list("last_entry", flat=True).first() or 0


class Ranges:
    """Row keys as [[first, last], …]: without gaps they are two numbers, however many there are."""

    def __init__(self, parts: Iterable[Sequence[int]] = ()) -> None:
        self.parts: list[tuple[int, int]] = []
        for first, last in sorted((part[0], part[1]) for part in parts):
            if self.parts and self.parts[-1][1] == first - 1:
                self.parts[-1] = (self.parts[-1][0], last)
            else:
                self.parts.append((first, last))

    def above(self, low: int) -> int:
        """Count the keys greater than `low`."""
        return sum(last - max(first, low + 1) + 1 for first, last in self.parts if last > low)

    def __contains__(self, pk: int) -> bool:
        place = bisect_right(self.parts, pk, key=lambda part: part[0]) - 1
        return place >= 0 and pk <= self.parts[place][1]


def ranges_of(pks: Iterable[int]) -> list[list[int]]:
    """Return row keys, given in order, as [[first, last], …]."""
    found: list[list[int]] = []
    for pk in pks:
        if found and found[-1][1] == pk - 1:
            found[-1][1] = pk
        else:
            found.append([pk, pk])
    return found


def digest_of(seal: Seal, entries: Iterable[str]) -> str:
    """Return the hash of a seal over these hashes of its entries."""
    return digests.of_seal(
        number=seal.number,
        previous=seal.previous,
        made_at=seal.made_at,
        ranges=seal.ranges,
        books=seal.books,
        entries=entries,
    )


def books_head() -> str:
    """Return the hash of what was last done with a month, empty before the first."""
    return BookAction.objects.order_by("-number").values_list("digest", flat=True).first() or ""


def _is_due(now: datetime) -> bool:
    last = head()
    newest = LedgerEntry.objects.aggregate(pk=Max("pk"))["pk"] or 0
    return newest > last.last_entry or books_head() != last.books or any(_late(now, last.last_entry))


def _hold(*, is_patient: bool) -> bool:
    """Be the only one who seals until the transaction ends: the first seal's row is the lock. (SQLite writes alone.)"""
    first = Seal.objects.filter(number=0)
    has_skip = connection.features.has_select_for_update_skip_locked
    return bool(first.select_for_update(skip_locked=has_skip and not is_patient).values_list("pk"))


def _seal_some(now: datetime) -> Seal | None:
    last = head()
    newer = LedgerEntry.objects.filter(pk__gt=last.last_entry).order_by("pk").values_list("pk", "digest")
    rows = sorted(_late(now, last.last_entry))
    rows += islice(newer.iterator(chunk_size=2_000), ENTRIES_A_SEAL)
    books = books_head()
    if not rows and books == last.books:
        return None
    seal = Seal(
        number=last.number + 1,
        previous=last.digest,
        made_at=now,
        ranges=ranges_of(pk for pk, _ in rows),
        entries=len(rows),
        last_entry=max(last.last_entry, rows[-1][0] if rows else 0),
        books=books,
    )
    seal.digest = digest_of(seal, (digest for _, digest in rows))
    seal.save(force_insert=True)
    return seal


def _late(now: datetime, last: int) -> Iterator[tuple[int, str]]:
    """Yield rows that came into sight after ones with higher keys had been sealed, by key, with their hashes.

    The keys of the last hour's seals are looked through again. What turns up below those was not put there by us: it
    is never sealed, and `check_ledger` names it.
    """
    low = floor(now=now)
    if low == last:
        return
    recent = Seal.objects.filter(last_entry__gte=low, made_at__gte=now - LATEST_COMMIT)
    known = Ranges(part for ranges in recent.values_list("ranges", flat=True) for part in ranges)
    between = LedgerEntry.objects.filter(pk__gt=low, pk__lte=last).order_by("pk")
    if between.count() != known.above(low):
        for pk, digest in between.values_list("pk", "digest").iterator(chunk_size=2_000):
            if pk not in known:
                yield pk, digest
