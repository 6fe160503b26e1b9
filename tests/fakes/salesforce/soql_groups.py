"""What a query reads of records: fields over their parents, and aggregates of groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .schema import Field, SObject
from .store import Record, Store
from .values import shown


@dataclass(frozen=True)
class Path:
    """A field, reached over parents: Account.Owner.Name."""

    sobject: SObject
    parents: tuple[Field, ...]
    field: Field
    text: str

    def value(self, store: Store, row: Record) -> Any:
        for parent in self.parents:
            found = parent_of(store, row.get(parent.name))
            if found is None:
                return None
            row = found
        return row.get(self.field.name)


@dataclass(frozen=True)
class Aggregate:
    """COUNT, MIN or MAX of a field, and the name it goes by in the answer."""

    function: str
    path: Path
    alias: str

    def of(self, store: Store, rows: list[Record]) -> Any:
        values = [value for row in rows if (value := self.path.value(store, row)) is not None]
        if self.function == "COUNT":
            return len(values)
        return (min if self.function == "MIN" else max)(values, default=None)


@dataclass(frozen=True)
class Groups:
    """What is said of each group: its aggregates, where its COUNT is as HAVING wants it."""

    by: Path
    told: list[Aggregate]
    having: tuple[Aggregate, int] | None

    def rows(self, store: Store, found: list[Record]) -> list[dict[str, Any]]:
        groups: dict[Any, list[Record]] = {}
        for row in found:
            groups.setdefault(self.by.value(store, row), []).append(row)
        kept = [rows for rows in groups.values() if not self.having or self.having[0].of(store, rows) == self.having[1]]
        attributes = {"attributes": {"type": "AggregateResult"}}
        return [attributes | {one.alias: shown(one.of(store, rows)) for one in self.told} for rows in kept]


def parent_of(store: Store, parent_id: str | None) -> Record | None:
    if parent_id is None:
        return None
    for name, sobject in store.objects.items():
        if sobject.prefix == parent_id[:3]:
            return store.table(name).get(parent_id)
    return None
