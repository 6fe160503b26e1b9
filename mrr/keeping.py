"""Keeps the sums of long periods and the losses in step with the ledger, in the transaction that posts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from mrr import retention, rollups
from mrr.models import Loss, RetentionRollup
from mrr.retention import LONGEST
from mrr.rollups import Standing, month_date, month_number

STARTS: Final = tuple(f"start_{number}" for number in range(1, LONGEST + 1))
_SAID: Final = ("currency", "is_mixed", "month", "back_month", "reason", "product", "tenure_months", *STARTS)
_PLACE: Final = ("source_id", "currency", "is_mixed", "span", "month")

Convert = Callable[[int, str], int | None]
Said = tuple[Any, ...]  # a loss as its row says it, in the order of _SAID


@dataclass(frozen=True, slots=True)
class Moved:
    """A customer whose entries changed: what stood before, what stands now, and the months it was acquired in."""

    source_pk: int
    customer_pk: int
    before: Sequence[Standing]
    after: Sequence[Standing]
    cohort_before: int | None
    cohort_after: int | None

    @property
    def is_mixed(self) -> bool:
        return len({entry.currency for entry in (*self.before, *self.after)}) > 1


def move(moved: Iterable[Moved], convert: Convert) -> None:
    """Take what these customers were out of the sums and losses, and put in what they are now.

    `convert` is asked for customers of several currencies alone.
    """
    sums: rollups.Sums = {}
    gone: list[int] = []
    added: list[Loss] = []
    for one in moved:
        rollups.add(sums, _kept(one.before, convert), sign=-1, prefix=(one.source_pk,))
        rollups.add(sums, _kept(one.after, convert), sign=1, prefix=(one.source_pk,))
        before = [*losses(one.before, one.cohort_before), *whole_losses(one.before, one.cohort_before, convert)]
        after = [*losses(one.after, one.cohort_after), *whole_losses(one.after, one.cohort_after, convert)]
        if before != after:
            gone += [one.customer_pk] if before else []
            added += [_row(one.source_pk, one.customer_pk, said) for said in after]
    rollups.apply_retention(sums)
    if gone:
        Loss.objects.filter(customer_id__in=gone).delete()
    if added:
        Loss.objects.bulk_create(added, batch_size=400)


def kept(entries: Sequence[Standing]) -> rollups.Sums:
    """Return a customer's part of the long periods in each of its currencies: (currency, is_mixed, span, month)."""
    is_mixed = _is_mixed(entries)
    return {
        (currency, is_mixed, span, month): columns
        for (currency, span, month), columns in retention.kept_of(entries).items()
    }


def whole_kept(entries: Sequence[Standing], convert: Convert) -> rollups.Sums:
    """Return the part of a customer of several currencies taken as a whole; nothing for any other."""
    if not _is_mixed(entries):
        return {}
    found = retention.kept_of(rollups.as_one(entries, convert))
    return {("", False, span, month): columns for (_, span, month), columns in found.items()}


def losses(entries: Sequence[Standing], cohort: int | None) -> list[Said]:
    """Return a customer's losses in each of its currencies, as rows say them."""
    is_mixed = _is_mixed(entries)
    return [_said(loss, is_mixed) for loss in retention.losses_of(entries, cohort)]


def whole_losses(entries: Sequence[Standing], cohort: int | None, convert: Convert) -> list[Said]:
    """Return the losses of a customer of several currencies taken as a whole; nothing for any other."""
    if not _is_mixed(entries):
        return []
    return [_said(loss, False) for loss in retention.losses_of(rollups.as_one(entries, convert), cohort)]


# ---- written anew ----


def rewrite(source_pk: int, sums: rollups.Sums, lost: Mapping[int, Sequence[Said]]) -> None:
    """Write the sums and losses of a source anew, those of wholes left as they are."""
    RetentionRollup.objects.filter(source_id=source_pk).exclude(currency="").delete()
    rollups.apply_retention(sums)
    Loss.objects.filter(source_id=source_pk).exclude(currency="").delete()
    rows = (_row(source_pk, customer_pk, said) for customer_pk, all_said in lost.items() for said in all_said)
    Loss.objects.bulk_create(rows, batch_size=400)


@dataclass(slots=True)
class Wholes:
    """What customers of several currencies are, taken as a whole: of all sources, at the rates in force."""

    sums: rollups.Sums
    losses: list[tuple[int, int, Said]]

    def add(
        self, source_pk: int, customer_pk: int, entries: Sequence[Standing], cohort: int | None, convert: Convert
    ) -> None:
        rollups.add(self.sums, whole_kept(entries, convert), sign=1, prefix=(source_pk,))
        self.losses += [(source_pk, customer_pk, said) for said in whole_losses(entries, cohort, convert)]

    def write(self) -> None:
        """Replace all rows of wholes by these."""
        RetentionRollup.objects.filter(currency="").delete()
        rollups.apply_retention(self.sums)
        Loss.objects.filter(currency="").delete()
        Loss.objects.bulk_create((_row(*one) for one in self.losses), batch_size=400)

    def differences(self) -> Iterator[str]:
        """Tell, one line each, where rows of wholes say other."""
        yield from _sums_differ(RetentionRollup.objects.filter(currency=""), self.sums)
        stands = Loss.objects.filter(currency="").values_list("source_id", "customer_id", *_SAID)
        kept_now = {(row[0], row[1], row[2:]) for row in stands}
        wanted = set(self.losses)
        for source_pk, customer_pk, said in sorted(kept_now ^ wanted, key=str):
            verb = "is to be" if (source_pk, customer_pk, said) in wanted else "is not"
            yield f"Loss source {source_pk} customer {customer_pk} as a whole in {said[2]:%Y-%m} {verb}: {said}"


# ---- proven ----


class KeptLosses:
    """Reads the kept losses of a source beside its entries, both by customer."""

    def __init__(self, source_pk: int) -> None:
        rows = (
            Loss.objects.filter(source_id=source_pk).exclude(currency="").order_by("customer_id", "currency", "month")
        )
        self._rows = rows.values_list("customer_id", *_SAID).iterator(chunk_size=2_000)
        self._next = next(self._rows, None)

    def of(self, customer_pk: int) -> list[Said]:
        """Return a customer's losses; customers must be asked for in the order of their keys."""
        found: list[Said] = []
        while self._next is not None and self._next[0] <= customer_pk:
            found += [self._next[1:]]
            self._next = next(self._rows, None)
        return found


def differ(customer_pk: int, stands: Sequence[Said], wanted: Sequence[Said]) -> Iterator[str]:
    """Tell, one line each, where a customer's kept losses say other than its entries."""
    for said in sorted(set(stands) ^ set(wanted), key=str):
        verb = "is to be" if said in wanted else "is not"
        yield f"Loss customer {customer_pk} {said[0]} in {said[2]:%Y-%m} {verb}: {said}"


def sums_differ(source_pk: int, wanted: rollups.Sums, shifted: rollups.Sums) -> Iterator[str]:
    """Tell where the kept sums of a source say other than its entries, or than these with a shift."""
    rows = RetentionRollup.objects.filter(source_id=source_pk).exclude(currency="")
    yield from _sums_differ(rows, wanted, shifted)


def _sums_differ(rows: Any, wanted: rollups.Sums, shifted: rollups.Sums | None = None) -> Iterator[str]:
    stands = {}
    for row in rows.values_list(*_PLACE, *retention.COLUMNS):
        place = (*row[:4], month_number(row[4]))
        stands[place] = _filled(dict(zip(retention.COLUMNS, row[5:], strict=True)))
    for place in sorted(stands.keys() | wanted.keys(), key=str):
        cell, has, moved = wanted.get(place, {}), stands.get(place, {}), (shifted or {}).get(place, {})
        other = {name: cell.get(name, 0) + moved.get(name, 0) for name in cell.keys() | moved.keys()}
        if has not in (_filled(cell), _filled(other)):
            source_pk, currency, _, span, month = place
            named = f"source {source_pk} {currency or 'as a whole'} {span} months to {month_date(month):%Y-%m}"
            yield f"RetentionRollup {named}: keeps {has}, which comes to {_filled(cell)}"


def _filled(cell: Mapping[str, int]) -> dict[str, int]:
    return {name: amount for name, amount in cell.items() if amount}


# ---- rows ----


def _kept(entries: Sequence[Standing], convert: Convert) -> rollups.Sums:
    return {**kept(entries), **whole_kept(entries, convert)}


def _is_mixed(entries: Sequence[Standing]) -> bool:
    return len({entry.currency for entry in entries}) > 1


def _said(loss: retention.Loss, is_mixed: bool) -> Said:
    return (
        loss.currency,
        is_mixed,
        month_date(loss.month),
        _month_or_none(loss.back),
        loss.reason,
        loss.product,
        loss.tenure_months,
        *loss.starts,
    )


def _month_or_none(number: int | None) -> date | None:
    return None if number is None else month_date(number)


def _row(source_pk: int, customer_pk: int, said: Said) -> Loss:
    return Loss(source_id=source_pk, customer_id=customer_pk, **dict(zip(_SAID, said, strict=True)))
