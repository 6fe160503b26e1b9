"""Reads what stands in Salesforce of the records we keep, many at once, by our own names of their fields."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from crm.channels.salesforce.mapping import FieldMap
from crm.channels.salesforce.soql import quoted, quoted_list

if TYPE_CHECKING:
    from crm.channels.salesforce.client import Client

LONGEST_LIST = 10_000  # characters of a list of values: the address must stay below 16 KB when it is encoded


@dataclass(frozen=True, slots=True)
class There:
    """One record as it stands: its values by our names, and who changed it last and when."""

    id: str
    values: Mapping[str, Any]
    is_deleted: bool
    changed_at: datetime | None
    changed_by: str


def by_values(
    client: Client, mapped: FieldMap, sobject: str, names: Sequence[str], *, column: str, values: Collection[str]
) -> Iterator[There]:
    """Yield the living records whose `column` (Id, or our name of a key field) has one of the values."""
    their_column = column if column == "Id" else mapped.name(sobject, column)
    if not their_column:
        return
    for chunk in _chunks(sorted(values)):
        where = f"{their_column} IN {quoted_list(chunk)}"
        yield from _read(client, mapped, sobject, names, where)


def by_ids(client: Client, mapped: FieldMap, sobject: str, names: Sequence[str], *, ids: Sequence[str]) -> list[There]:
    """Return the living records of up to 2,000 ids, without who changed them. One call."""
    theirs = dict.fromkeys(mapped.name(sobject, name) for name in names)
    columns = ["Id", *(name for name in theirs if name and name != "Id"), "SystemModstamp"]
    return [_there(one, mapped, sobject, names) for one in client.retrieve(sobject, ids, columns) if one]


def changed_by_others(
    client: Client,
    mapped: FieldMap,
    sobject: str,
    names: Sequence[str],
    *,
    our_user_id: str,
    since: datetime | None,
    holding: Sequence[str] = (),
    with_deleted: bool = False,
) -> Iterator[There]:
    """Yield the records that somebody else changed last, since a moment or ever.

    `holding` are our names of fields one of which must be filled when all are asked for. What our own user wrote last
    is ours, so nothing we do is taken for a change of somebody else's.
    """
    conditions: list[str] = []
    if since is not None:
        conditions.append(f"SystemModstamp >= {since:%Y-%m-%dT%H:%M:%SZ}")
    elif filled := [f"{theirs} != null" for name in holding if (theirs := mapped.name(sobject, name))]:
        conditions.append(f"({' OR '.join(filled)})")
    if our_user_id:
        others = f"LastModifiedById != {quoted(our_user_id)}"
        conditions.append(f"({others} OR IsDeleted = true)" if with_deleted else others)
    yield from _read(client, mapped, sobject, names, " AND ".join(conditions), with_deleted=with_deleted)


def changed_since(
    client: Client, mapped: FieldMap, sobject: str, names: Sequence[str], *, since: datetime
) -> Iterator[There]:
    """Yield the living records that anybody changed since a moment, ourselves too."""
    yield from _read(client, mapped, sobject, names, f"SystemModstamp >= {since:%Y-%m-%dT%H:%M:%SZ}")


def has_any(client: Client, sobject: str) -> bool:
    """Say whether there is any record of an object. One call."""
    return next(iter(client.query(f"SELECT Id FROM {sobject} LIMIT 1")), None) is not None  # noqa: S608  # SOQL


def _read(
    client: Client, mapped: FieldMap, sobject: str, names: Sequence[str], where: str, *, with_deleted: bool = False
) -> Iterator[There]:
    theirs = dict.fromkeys(mapped.name(sobject, name) for name in names)
    columns = ["Id", *(name for name in theirs if name and name != "Id")]
    columns += ["SystemModstamp", "LastModifiedBy.Name", "IsDeleted"]
    soql = f"SELECT {', '.join(columns)} FROM {sobject}"  # noqa: S608  # SOQL; values go through soql.quoted
    if where:
        soql += f" WHERE {where}"
    for record in client.query(soql, with_deleted=with_deleted):
        yield _there(record, mapped, sobject, names)


def _there(record: Mapping[str, Any], mapped: FieldMap, sobject: str, names: Sequence[str]) -> There:
    stamp = record.get("SystemModstamp")
    said = mapped.back(sobject, record)
    return There(
        id=str(record["Id"]),
        values={name: said.get(name) for name in names if mapped.name(sobject, name)},
        is_deleted=bool(record.get("IsDeleted")),
        changed_at=datetime.fromisoformat(str(stamp)) if stamp else None,
        changed_by=str((record.get("LastModifiedBy") or {}).get("Name") or ""),
    )


def _chunks(values: Sequence[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    length = 0
    for value in values:
        cost = len(value) + 11  # quotes, comma and space, percent-encoded
        if chunk and length + cost > LONGEST_LIST:
            yield chunk
            chunk, length = [], 0
        chunk.append(value)
        length += cost
    if chunk:
        yield chunk
