"""What the kept sums say of a period, a source and a currency at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from django.db.models import Value

from mrr import fx
from mrr.days import day_of
from mrr.models import BookRollup, ConvertedRollup, LedgerEntry, MixedRollup, MonthRollup
from mrr.rollups import CONVERTED_COLUMNS, EVENT_COLUMN, MIXED_COLUMNS, MONTH_COLUMNS
from mrr.selectors import ends as reading
from mrr.waterfalls import PARTS, Basis, Compared

_COUNTED = {
    "opening": "opening_customers",
    "new": "new_customers",
    "reactivated": "reactivated_customers",
    "churned": "churned_customers",
}
_NATIVE, _CONVERTED, _MIXED = range(3)
_KINDS: tuple[tuple[Any, Sequence[str]], ...] = (
    (MonthRollup, MONTH_COLUMNS),
    (ConvertedRollup, CONVERTED_COLUMNS),
    (MixedRollup, MIXED_COLUMNS),
)


@dataclass(frozen=True, slots=True)
class Opened:
    """One currency through a period, in its own micros: start + opened + moved + adjusted = end."""

    start: int = 0
    opened: int = 0
    moved: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    adjusted: int = 0
    end: int = 0

    def plus(self, start: int, end: int, *, opened: int = 0) -> Opened:
        """Return the same with more at both ends; what it moved is left as it is."""
        return replace(self, start=self.start + start, end=self.end + end, opened=self.opened + opened)


Cell = dict[str, int]
Place = tuple[int, int, str, date]  # which sums, source, currency ("" = customers of several as a whole), month


@dataclass(slots=True)
class Flows:
    """The sums of some sources up to the last month of a period."""

    first: date
    last: date
    currency: str | None
    sums: dict[Place, Cell]
    late: Sequence[tuple[int, str, int, date, date]]  # source, currency, micros, its own day, the month it is booked in

    @classmethod
    def read(
        cls, sources: Sequence[int], first: date, last: date, *, currency: str | None, basis: Basis = Basis.RESTATED
    ) -> Flows:
        """Read them: one query, as closed two or three."""
        flows = cls(first, last, currency, {}, ())
        columns = (*EVENT_COLUMN.values(), *MIXED_COLUMNS, "held_entries")
        kinds = _KINDS if currency is None else _KINDS[:1]
        parts = [
            _rows(model, sources, last, currency).values_list(
                Value(kind), "source_id", "currency", "month", *(name if name in kept else Value(0) for name in columns)
            )
            for kind, (model, kept) in enumerate(kinds)
        ]
        for kind, source_pk, code, month, *amounts in parts[0].union(*parts[1:], all=True):
            flows._add((kind, source_pk, code, month), zip(columns, amounts, strict=True))
        if basis is Basis.CLOSED:
            flows._book(sources)
        return flows

    @property
    def currencies(self) -> list[str]:
        return sorted({code for kind, _, code, _ in self.sums if kind == _NATIVE})

    @property
    def sources(self) -> set[int]:
        return {source_pk for kind, source_pk, *_ in self.sums if kind == _NATIVE}

    def of(self, sources: Collection[int]) -> dict[str, Opened]:
        """Return each currency's balances and movements."""
        found: dict[str, list[int]] = {}
        moved: dict[str, Cell] = {}
        for (kind, source_pk, code, month), cell in self.sums.items():
            if kind != _NATIVE or source_pk not in sources:
                continue
            start, opened, adjusted = found.setdefault(code, [0, 0, 0])
            parts = moved.setdefault(code, dict.fromkeys(PARTS, 0))
            if month < self.first:
                found[code][0] = start + _change(cell)
                continue
            found[code][1] = opened + cell.get("opening_micros", 0)
            found[code][2] = adjusted + cell.get("adjustment_micros", 0)
            for name in PARTS:
                parts[name] += cell.get(f"{name}_micros", 0)
        return {
            code: Opened(start, opened, moved[code], adjusted, start + opened + adjusted + sum(moved[code].values()))
            for code, (start, opened, adjusted) in found.items()
        }

    def customers(self, sources: Collection[int], *, mixed: bool) -> dict[str, int]:
        """Count customers: each currency's own, or with `mixed` each customer once, whatever currencies it pays in."""
        counts = dict.fromkeys((*_COUNTED, "closing"), 0)
        for (kind, source_pk, code, month), cell in self.sums.items():
            if kind == _CONVERTED or source_pk not in sources or (kind == _MIXED and not mixed):
                continue
            sign = -1 if kind == _MIXED and code else 1
            for name, column in _COUNTED.items():
                number = sign * cell.get(column, 0)
                counts["closing"] += -number if name == "churned" else number
                if month >= self.first:
                    counts[name] += number
                else:
                    counts["opening"] += -number if name == "churned" else number
        return counts

    def compared(self, sources: Collection[int]) -> dict[str, Compared]:
        """Return both ends of the period compared, a customer and currency each by itself."""
        found: dict[str, Compared] = {}
        for code, one in self._compared_parts(sources).items():
            found[code] = one
        for (kind, source_pk, code, month), cell in self.sums.items():
            if kind == _NATIVE and source_pk in sources:
                counts = found.setdefault(code, Compared()).counts
                gained = sum(cell.get(_COUNTED[name], 0) for name in ("opening", "new", "reactivated"))
                change = gained - cell.get(_COUNTED["churned"], 0)
                counts["closing"] += change
                counts["opening"] += change if month < self.first else cell.get("opening_customers", 0)
        return found

    def _compared_parts(self, sources: Collection[int]) -> dict[str, Compared]:
        if self.first != self.last:
            return reading.compared_by_currency(sources, self.first, self.last, currency=self.currency)
        found: dict[str, Compared] = {}
        for (kind, source_pk, code, month), cell in self.sums.items():
            if kind == _NATIVE and source_pk in sources and month == self.first:
                one = found.setdefault(code, Compared())
                for name in PARTS:
                    one.parts[name] += cell.get(f"netted_{name}_micros", 0)
                for name in ("new", "reactivated", "churned"):
                    one.counts[name] += cell.get(f"netted_{name}_customers", 0)
        return found

    def converted(self, sources: Collection[int], reporting: str) -> dict[str, int]:
        """Return the movements in the reporting currency, each entry at its own day's rate."""
        found = dict.fromkeys(PARTS, 0)
        for (kind, source_pk, code, month), cell in self.sums.items():
            if self._is_reporting(kind, code, reporting) and source_pk in sources and month >= self.first:
                for name in PARTS:
                    found[name] += cell.get(f"{name}_micros", 0)
        return found

    def opened(self, sources: Collection[int], currency: str, reporting: str) -> int:
        """Return what one currency's opening entries of the period come to, each at its own day's rate."""
        return sum(
            cell.get("opening_micros", 0)
            for (kind, source_pk, code, month), cell in self.sums.items()
            if code == currency
            and self._is_reporting(kind, code, reporting)
            and source_pk in sources
            and month >= self.first
        )

    def adjusted(self, sources: Collection[int], rates: fx.Conversion) -> int:
        """Return the adjustments of the period in the reporting currency, each entry at its own day's rate."""
        own = sum(
            cell.get("adjustment_micros", 0)
            for (kind, source_pk, code, month), cell in self.sums.items()
            if kind == _NATIVE and code == rates.reporting and source_pk in sources and month >= self.first
        )
        return own + sum(
            rates.at(micros, code, day) or 0
            for source_pk, code, micros, day, month in self.late
            if code != rates.reporting and source_pk in sources and self.first <= month <= self.last
        )

    def held(self, sources: Collection[int]) -> set[str]:
        """Return currencies with an entry in the period that could not be converted."""
        return {
            code
            for (kind, source_pk, code, month), cell in self.sums.items()
            if kind == _CONVERTED and source_pk in sources and month >= self.first and cell.get("held_entries")
        }

    def _is_reporting(self, kind: int, code: str, reporting: str) -> bool:
        return kind == (_NATIVE if code == reporting else _CONVERTED)

    def _add(self, place: Place, amounts: Iterable[tuple[str, int]]) -> None:
        cell = self.sums.setdefault(place, {})
        for name, amount in amounts:
            cell[name] = cell.get(name, 0) + amount

    def _book(self, sources: Sequence[int]) -> None:
        """Put every entry into the month it was booked in; what came late is an adjustment there."""
        columns = (*MONTH_COLUMNS, "adjustment_micros")
        rows = _rows(BookRollup, sources, self.last, self.currency)
        for source_pk, code, month, *amounts in rows.values_list("source_id", "currency", "month", *columns):
            self._add((_NATIVE, source_pk, code, month), zip(columns, amounts, strict=True))
        if self.currency is not None:
            return
        late = LedgerEntry.objects.filter(source_id__in=sources, backdated_from__isnull=False).values_list(
            "source_id", "currency", "type", "reverses__type", "amount_micros", "effective_at", "book_month"
        )
        found = []
        rates = fx.conversion(self.currencies)
        for source_pk, code, kind, reversed_kind, micros, effective_at, book_month in late:
            day = day_of(effective_at)
            found.append((source_pk, code, micros, day, book_month))
            amount = rates.at(micros, code, day)
            if code != rates.reporting and amount is not None and day.replace(day=1) <= self.last:
                place = (_CONVERTED, source_pk, code, day.replace(day=1))
                self._add(place, [(EVENT_COLUMN[reversed_kind or kind], -amount)])
        self.late = found


def _rows(model: Any, sources: Sequence[int], last: date, currency: str | None) -> Any:
    rows = model.objects.filter(source_id__in=sources, month__lte=last).order_by()
    return rows if currency is None else rows.filter(currency=currency)


def _change(cell: Mapping[str, int]) -> int:
    return sum(cell.get(f"{name}_micros", 0) for name in ("opening", *PARTS, "adjustment"))
