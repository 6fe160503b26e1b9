"""Rows by a source and an id of Stripe's."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from billing.statements import select

Key = tuple[int, str]  # a source's primary key and Stripe's id


def rows_of(model: Any, column: str, keys: Collection[Key], names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """The rows of these keys: the key first, then the columns asked for. None asked: no statement."""
    if not keys:
        return
    wanted: dict[str, Collection[Any]] = {"source_id": {key[0] for key in keys}, column: {key[1] for key in keys}}
    for source_pk, name, *rest in select(model, ("source_id", column, *names), wanted):
        if (source_pk, name) in keys:
            yield ((source_pk, name), *rest)
