"""The records of the fake org and the rules of saving them: required, unique, references, deleted, stamps."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from .errors import MoreThanOne, SalesforceError, no_external_id, no_such_column, not_found
from .schema import Field, SObject
from .values import coerce, long_id, stamp, with_suffix

Record = dict[str, Any]
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass
class Rejection:
    """One planned refusal of a save."""

    error: SalesforceError
    sobject: str | None
    count: int | None
    matches: Callable[[Record], bool]


class Store:
    """Tables of records by id. Every public method takes the lock; ids are kept in their form of 18."""

    def __init__(self, objects: dict[str, SObject], clock: Callable[[], datetime], lock: threading.RLock) -> None:
        self.objects = objects
        self.clock = clock
        self.lock = lock
        self.tables: dict[str, dict[str, Record]] = {}
        self.rules: list[tuple[str, Callable[[Record], str | None]]] = []
        self.rejections: list[Rejection] = []
        self.undeletable: set[str] = set()
        self.watchers: list[Callable[[str, Record], None]] = []  # told of each record before it is kept
        self.race_seconds = 0.0
        self.user_id: str | None = None
        self.admin_id: str | None = None
        self._indexes: dict[tuple[str, str], dict[str, set[str]]] = {}
        self._journal: list[tuple[str, str, Record | None]] | None = None
        self._made = 0

    # Reading

    def table(self, sobject: str) -> dict[str, Record]:
        return self.tables.setdefault(sobject, {})

    def sobject(self, name: str) -> SObject:
        """An object the integration user may see, by its name in any case. Raises NOT_FOUND."""
        found = next((one for one in self.objects.values() if one.name.lower() == name.lower()), None)
        if found is None or found.hidden:
            raise not_found()
        return found

    def get(self, sobject: SObject, given: str) -> Record:
        """A living record. Raises MALFORMED_ID, NOT_FOUND, ENTITY_IS_DELETED."""
        with self.lock:
            record = self.table(sobject.name).get(long_id(given))
            if record is None:
                raise no_external_id(given)
            if record["IsDeleted"]:
                raise SalesforceError("ENTITY_IS_DELETED", "entity is deleted")
            return record

    def matching(self, sobject: SObject, field: Field, value: Any) -> list[str]:
        """Ids of living records whose key is this, ignoring case."""
        with self.lock:
            key = _key(coerce(field, value, sobject=sobject.name))
            return sorted(self._index(sobject.name, field.name).get(key, ()))

    def external_id(self, sobject: SObject, name: str) -> Field:
        field = sobject.find(name)
        if field is None or not (field.external_id or field.name == "Id"):
            raise no_external_id(name)
        return field

    def one_by_key(self, sobject: SObject, field: Field, value: str) -> Record:
        found = self.matching(sobject, field, value)
        if len(found) > 1:
            raise MoreThanOne(found)
        if not found:
            raise not_found()
        return self.get(sobject, found[0])

    # Writing

    def insert(self, sobject: SObject, body: Mapping[str, Any], *, as_system: bool = False) -> Record:
        with self.lock:
            if not sobject.writable and not as_system:
                raise SalesforceError(
                    "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", f"entity type cannot be inserted: {sobject.name}"
                )
            given = self._values(sobject, body, creating=True, as_system=as_system)
            record: Record = {name: self._default(field) for name, field in sobject.fields.items()}
            record |= given | {"Id": given.get("Id") or self._new_id(sobject)}
            return self._save(sobject, record, None, given, as_system=as_system)

    def update(self, sobject: SObject, given_id: str, body: Mapping[str, Any], *, as_system: bool = False) -> Record:
        with self.lock:
            before = self.get(sobject, given_id)
            given = self._values(sobject, body, creating=False, as_system=as_system)
            return self._save(sobject, {**before, **given}, before, given, as_system=as_system)

    def upsert(self, sobject: SObject, field: Field, value: Any, body: Mapping[str, Any]) -> tuple[Record, bool]:
        """The record and whether it was created. `race_seconds` opens the gap between looking and writing that two
        upserts at once fall into: without a unique key they make twins, with one the loser gets DUPLICATE_VALUE."""
        if self.race_seconds == 0:
            with self.lock:
                return self._upsert(sobject, field, value, body, self.matching(sobject, field, value))
        found = self.matching(sobject, field, value)
        time.sleep(self.race_seconds)
        return self._upsert(sobject, field, value, body, found)

    def _upsert(
        self, sobject: SObject, field: Field, value: Any, body: Mapping[str, Any], found: list[str]
    ) -> tuple[Record, bool]:
        if len(found) > 1:
            raise MoreThanOne(found)
        if found:
            return self.update(sobject, found[0], body), False
        return self.insert(sobject, {**body, field.name: value}), True

    def delete(self, sobject: SObject, given_id: str, *, master_id: str | None = None) -> None:
        """Into the recycle bin, where queryAll still sees it."""
        with self.lock:
            before = self.get(sobject, given_id)
            if sobject.name in self.undeletable and not master_id:
                raise SalesforceError("INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id", [])
            changed: Record = {"IsDeleted": True, "SystemModstamp": stamp(self.clock())}
            if master_id:
                changed["MasterRecordId"] = master_id
            self._put(sobject.name, before["Id"], {**before, **changed})

    def restore(self, sobject: SObject, given_id: str) -> None:
        with self.lock:
            before = self.table(sobject.name)[long_id(given_id)]
            back: Record = {"IsDeleted": False, "SystemModstamp": stamp(self.clock())}
            if "MasterRecordId" in before:
                back["MasterRecordId"] = None  # it stands for itself again; what it lost to the winner stays there
            self._put(sobject.name, before["Id"], {**before, **back})

    def purge(self, sobject: SObject, given_id: str) -> None:
        """Out of the recycle bin: nobody sees it any more."""
        with self.lock:
            self._put(sobject.name, long_id(given_id), None)

    def repoint(self, loser_id: str, winner_id: str) -> None:
        """Give everything that refers to one record to another, as a merge does."""
        with self.lock:
            for sobject in self.objects.values():
                names = [field.name for field in sobject.fields.values() if field.references]
                for record in list(self.table(sobject.name).values()):
                    changed = {
                        name: winner_id for name in names if record[name] == loser_id and name != "MasterRecordId"
                    }
                    if changed:
                        now = {"SystemModstamp": stamp(self.clock())}
                        self._put(sobject.name, record["Id"], {**record, **changed, **now})

    @contextmanager
    def all_or_none(self) -> Iterator[None]:
        """Undo every write of the block if it raises; nobody else writes meanwhile."""
        with self.lock:
            outer, self._journal = self._journal, []
            try:
                yield
            except BaseException:
                for sobject, record_id, before in reversed(self._journal):
                    self._set(sobject, record_id, before)
                self._journal = []
                raise
            finally:
                if outer is not None:
                    outer.extend(self._journal)
                self._journal = outer

    # Checking

    def _values(self, sobject: SObject, body: Mapping[str, Any], *, creating: bool, as_system: bool) -> Record:
        """The fields of a body as they will be kept. Raises SalesforceError for the first that is refused."""
        values: Record = {}
        for name, value in body.items():
            if name.lower() == "attributes":
                continue
            field = sobject.fields.get(name) if as_system else sobject.find(name)
            if isinstance(value, Mapping) and field is None:
                field, value = self._related(sobject, name, value)
            if field is None:
                raise no_such_column(name, sobject.name)
            if not as_system and not (field.createable if creating else field.updateable):
                raise _not_writable(field)
            values[field.name] = coerce(field, value, sobject=sobject.name)
        return values

    def _related(self, sobject: SObject, name: str, key: Mapping[str, Any]) -> tuple[Field, str]:
        """A parent named by its External ID: {"Account": {"Key__c": "1"}}."""
        field = sobject.related(name)
        if field is None:
            raise no_such_column(name, sobject.name)
        keys = [(key_name, value) for key_name, value in key.items() if key_name != "attributes"]
        if len(keys) != 1:
            message = f"More than 1 field provided in an external foreign key reference in entity: {name}"
            raise SalesforceError("INVALID_FIELD", message)
        key_name, value = keys[0]
        for parent_name in field.references:
            parent = self.objects[parent_name]
            key_field = parent.find(key_name)
            found = self.matching(parent, key_field, value) if key_field and key_field.external_id else []
            if len(found) == 1:
                return field, found[0]
        message = f"Foreign key external ID: {value} not found for field {key_name} in entity {field.references[0]}"
        raise SalesforceError("INVALID_FIELD", message)

    def _save(
        self, sobject: SObject, record: Record, before: Record | None, given: Record, *, as_system: bool
    ) -> Record:
        if before is not None and before.get("HasOpportunityLineItem") and not as_system:
            record["Amount"] = before["Amount"]  # the products decide; Salesforce says nothing
            if record.get("CurrencyIsoCode") != before.get("CurrencyIsoCode"):
                message = "The currency cannot be changed: the opportunity has products"
                raise SalesforceError("FIELD_INTEGRITY_EXCEPTION", message, ["CurrencyIsoCode"])
        self._require(sobject, record, given)
        self._check_references(sobject, record, given)
        self._compute(sobject, record)
        self._refuse_as_planned(sobject, record)
        for name, rule in self.rules:
            message = rule(record) if name == sobject.name else None
            if message:
                raise SalesforceError("FIELD_CUSTOM_VALIDATION_EXCEPTION", message)
        self._check_unique(sobject, record)
        if before is None:
            for watcher in self.watchers:
                watcher(sobject.name, record)
        now, who = stamp(self.clock()), self.admin_id if as_system else self.user_id
        if before is None:
            record["CreatedDate"] = given.get("CreatedDate") or now
            record["CreatedById"] = who
        record["LastModifiedDate"], record["LastModifiedById"] = now, who
        record["SystemModstamp"] = given.get("SystemModstamp") or now
        self._put(sobject.name, record["Id"], record)
        return record

    def _require(self, sobject: SObject, record: Record, given: Record) -> None:
        missing = [field.name for field in sobject.fields.values() if field.required and record[field.name] is None]
        if missing:
            message = f"Required fields are missing: [{', '.join(missing)}]"
            raise SalesforceError("REQUIRED_FIELD_MISSING", message, missing)

    def _check_references(self, sobject: SObject, record: Record, given: Record) -> None:
        for name, value in given.items():
            field = sobject.fields[name]
            if value is None or not field.references:
                continue
            allowed = [self.objects[to] for to in field.references if to in self.objects]
            parent = next((one for one in allowed if one.prefix == value[:3]), None)
            if parent is None:
                message = f"{field.label}: id value of incorrect type: {value}"
                raise SalesforceError("MALFORMED_ID", message, [name])
            found = self.table(parent.name).get(value)
            if found is None:
                raise SalesforceError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", [name])
            if found["IsDeleted"]:
                raise SalesforceError("ENTITY_IS_DELETED", "entity is deleted", [name])

    def _check_unique(self, sobject: SObject, record: Record) -> None:
        for field in sobject.fields.values():
            if not field.unique or record[field.name] is None:
                continue
            others = self._index(sobject.name, field.name).get(_key(record[field.name]), set()) - {record["Id"]}
            if others:
                message = f"duplicate value found: {field.name} duplicates value on record with id: {min(others)}"
                raise SalesforceError("DUPLICATE_VALUE", message)

    def _refuse_as_planned(self, sobject: SObject, record: Record) -> None:
        for planned in self.rejections:
            if planned.count == 0 or planned.sobject not in (None, sobject.name) or not planned.matches(record):
                continue
            if planned.count is not None:
                planned.count -= 1
            raise planned.error

    def _compute(self, sobject: SObject, record: Record) -> None:
        """What Salesforce works out by itself."""
        if sobject.name == "Contact":
            record["Name"] = " ".join(part for part in (record["FirstName"], record["LastName"]) if part)
        elif sobject.name == "Opportunity":
            stages = self.table("OpportunityStage").values()
            stage = next((one for one in stages if one["ApiName"] == record["StageName"]), None)
            record["IsWon"], record["IsClosed"] = bool(stage and stage["IsWon"]), bool(stage and stage["IsClosed"])
        elif sobject.name == "Task":
            record["IsClosed"] = record["Status"] == "Completed"
            record["AccountId"] = self._account_of(record["WhatId"]) or self._account_of(record["WhoId"])
        elif sobject.name == "MRR_Schedule__c" and record["Name"] is None:
            record["Name"] = f"MRR-{len(self.table(sobject.name)) + 1:06d}"

    def _account_of(self, record_id: str | None) -> str | None:
        if record_id is None or record_id.startswith("001"):
            return record_id
        for name in ("Contact", "Opportunity"):
            if record_id in self.table(name):
                account_id: str | None = self.table(name)[record_id]["AccountId"]
                return account_id
        return None

    def _default(self, field: Field) -> Any:
        if field.name == "OwnerId":
            return self.user_id
        if field.type == "boolean":
            return bool(field.default)
        return field.default

    # Keeping

    def _new_id(self, sobject: SObject) -> str:
        self._made += 1
        left, digits = self._made, ""
        while left:
            left, digit = divmod(left, len(DIGITS))
            digits = DIGITS[digit] + digits
        return with_suffix(f"{sobject.prefix}5g{digits:0>10}")

    def _put(self, sobject: str, record_id: str, record: Record | None) -> None:
        if self._journal is not None:
            self._journal.append((sobject, record_id, self.table(sobject).get(record_id)))
        self._set(sobject, record_id, record)

    def _set(self, sobject: str, record_id: str, record: Record | None) -> None:
        table = self.table(sobject)
        before = table.get(record_id)
        for (name, field), index in self._indexes.items():
            if name != sobject:
                continue
            if before and not before["IsDeleted"] and before.get(field) is not None:
                index[_key(before[field])].discard(record_id)
            if record and not record["IsDeleted"] and record.get(field) is not None:
                index.setdefault(_key(record[field]), set()).add(record_id)
        if record is None:
            table.pop(record_id, None)
        else:
            table[record_id] = record

    def _index(self, sobject: str, field: str) -> dict[str, set[str]]:
        if (sobject, field) not in self._indexes:
            index: dict[str, set[str]] = {}
            for record in self.table(sobject).values():
                if not record["IsDeleted"] and record.get(field) is not None:
                    index.setdefault(_key(record[field]), set()).add(record["Id"])
            self._indexes[sobject, field] = index
        return self._indexes[sobject, field]

    def fields_added(self) -> None:
        """Records kept before a field was deployed have it from now on."""
        for name, sobject in self.objects.items():
            for record in self.table(name).values():
                for field in sobject.fields.values():
                    record.setdefault(field.name, False if field.type == "boolean" else None)

    # Saving to a file

    def dump(self) -> dict[str, Any]:
        """All records as plain JSON, numbers as exact text."""
        with self.lock:
            tables = {name: [_plain(record) for record in table.values()] for name, table in self.tables.items()}
            return {"made": self._made, "tables": tables}

    def load(self, dumped: Mapping[str, Any]) -> None:
        with self.lock:
            self._made = dumped["made"]
            self._indexes.clear()
            self.tables = {}
            for name, records in dumped["tables"].items():
                fields = self.objects[name].fields
                for record in records:
                    kept = {key: coerce(fields[key], value, sobject=name) if value is not None else None
                            for key, value in record.items()}  # fmt: skip
                    self.table(name)[record["Id"]] = kept


def _plain(record: Record) -> Record:
    return {name: str(value) if isinstance(value, Decimal) else value for name, value in record.items()}


def _key(value: Any) -> str:
    return str(value).casefold()


def _not_writable(field: Field) -> SalesforceError:
    message = (
        f"Unable to create/update fields: {field.name}. Please check the security settings of this field and verify "
        "that it is read/write for your profile or permission set."
    )
    return SalesforceError("INVALID_FIELD_FOR_INSERT_UPDATE", message, [field.name])
