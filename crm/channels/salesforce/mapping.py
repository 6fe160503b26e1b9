"""Our fields by the names and values an org knows them by: orgs have an ARR__c already, and picklists of their own."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from crm.channels.salesforce.fields import ACCOUNT, BY_NAME, MRR_SCHEDULE, NEEDED, OPPORTUNITY, TASK, Needed

if TYPE_CHECKING:
    from crm.channels.salesforce.packing import Write
    from crm.models import SalesforceOrg

API_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}")
LONGEST_FILE = 200_000
# Closing an Opportunity is by these two, whatever an org calls its other fields.
FIXED = frozenset({(OPPORTUNITY, "StageName"), (OPPORTUNITY, "CloseDate")})
_KINDS = {MRR_SCHEDULE: "schedule", ACCOUNT: "account", OPPORTUNITY: "opportunity"}


class BadMapping(Exception):
    """A mapping cannot be used; the message names the field and says what to write instead."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a field of ours is written: its API name there (empty: nowhere), and their words for our values."""

    name: str
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FieldMap:
    """What differs from our own names; a field without an entry is written by our name with our values."""

    targets: Mapping[tuple[str, str], Target] = field(default_factory=dict)

    def name(self, sobject: str, name: str) -> str:
        """Return the API name there of one of our fields; empty when it is not written."""
        target = self.targets.get((sobject, name))
        return target.name if target else name

    def names(self) -> dict[tuple[str, str], str]:
        """Return every field that has another name there."""
        return {key: target.name for key, target in self.targets.items() if target.name != key[1]}

    def value(self, sobject: str, name: str, value: Any) -> Any:
        """Return what a value of ours is called there."""
        target = self.targets.get((sobject, name))
        return target.values.get(value, value) if target and isinstance(value, str) else value

    def apply(self, sobject: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return what we say of a record by their names and values, without what the org does not want written."""
        if not self.targets:
            return dict(fields)
        return {
            their_name: self.value(sobject, name, value)
            for name, value in fields.items()
            if (their_name := self.name(sobject, name))
        }

    def back(self, sobject: str, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a record of theirs says, by our names and values; names that are not ours stay as they are."""
        if not self.targets:
            return dict(record)
        ours = {target.name: key[1] for key, target in self.targets.items() if key[0] == sobject and target.name}
        left_out = {key[1] for key, target in self.targets.items() if key[0] == sobject and target.name != key[1]}
        found: dict[str, Any] = {}
        for their_name, value in record.items():
            name = ours.get(their_name) or ("" if their_name in left_out else their_name)
            if name:
                found[name] = self._our_value(sobject, name, value)
        return found

    def _our_value(self, sobject: str, name: str, value: Any) -> Any:
        target = self.targets.get((sobject, name))
        if target is None or not isinstance(value, str):
            return value
        return next((mine for mine, theirs in target.values.items() if theirs == value), value)


def in_their_words(writes: Sequence[Write], theirs: FieldMap) -> list[Write]:
    """Return writes as they leave: by the org's names and values, key fields too."""
    if not theirs.targets:
        return list(writes)
    return [
        replace(
            write,
            fields=theirs.apply(write.sobject, write.fields),
            key_field=theirs.name(write.sobject, write.key_field) if write.key_field else "",
        )
        for write in writes
    ]


def of(org: SalesforceOrg | None) -> FieldMap:
    """Return the mapping of an org. One query."""
    from crm.models import FieldMapping

    if org is None or org.pk is None:
        return FieldMap()
    rows = FieldMapping.objects.filter(org_id=org.pk)
    return FieldMap({(row.sobject, row.field): Target(row.their_field, dict(row.values)) for row in rows})


def save(org: SalesforceOrg, wanted: FieldMap, *, now: datetime) -> list[str]:
    """Keep a mapping in place of the org's, and owe anew what was written by another; returns the objects it changes.

    What an earlier mapping wrote into another field of theirs stays there.
    """
    from django.db import transaction
    from django.db.models import F

    from crm.models import FieldMapping, SyncRecord, WorkState

    with transaction.atomic():
        before = of(org)
        keys = {*before.targets, *wanted.targets}
        changed = sorted({key[0] for key in keys if before.targets.get(key) != wanted.targets.get(key)})
        FieldMapping.objects.filter(org_id=org.pk).delete()
        FieldMapping.objects.bulk_create(
            FieldMapping(org_id=org.pk, sobject=sobject, field=name, their_field=target.name, values=target.values)
            for (sobject, name), target in sorted(wanted.targets.items())
        )
        kinds = [_KINDS[sobject] for sobject in changed if sobject in _KINDS]
        SyncRecord.objects.filter(kind__in=kinds, state=WorkState.SENT).update(
            state=WorkState.WAITING, wanted=F("wanted") + 1, fields_sent=None, due_at=now, attempts=0
        )
    return changed


# ---- as a file ----


def written(found: FieldMap, *, won_stage: str) -> str:
    """Return a mapping as the file people edit: every field we write, by object, with its name there."""
    objects: dict[str, dict[str, Any]] = {}
    for one in NEEDED:
        if (one.sobject, one.name) in FIXED:
            continue
        target = found.targets.get((one.sobject, one.name), Target(one.name))
        said: Any = target.name or None
        if target.values:
            said = {"field": target.name, "values": dict(target.values)}
        objects.setdefault(one.sobject, {})[one.name] = said
    return json.dumps({"won_stage": won_stage, "fields": objects}, indent=2, ensure_ascii=False) + "\n"


def read(text: str | bytes) -> tuple[FieldMap, str]:
    """Return the mapping of a file, and the won stage it names (empty: the org's own); raises BadMapping."""
    if len(text) > LONGEST_FILE:
        raise BadMapping(f"The file is longer than {LONGEST_FILE:,} characters, so it is not a mapping.")
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        raise BadMapping("The file is not JSON. Download the mapping and change the names in it.") from None
    if not isinstance(given, dict) or not isinstance(given.get("fields"), dict):
        raise BadMapping('The file should hold {"won_stage": …, "fields": {"Account": {"ARR__c": …}}}.')
    unknown = sorted(set(given) - {"won_stage", "fields"})
    if unknown:
        raise BadMapping(f"'{unknown[0]}' is not a part of a mapping. Known are won_stage and fields.")
    stage = given.get("won_stage") or ""
    if not isinstance(stage, str) or len(stage) > 255:
        raise BadMapping("won_stage is the API name of a stage, as text.")
    targets: dict[tuple[str, str], Target] = {}
    for sobject, said in given["fields"].items():
        if not isinstance(said, dict):
            raise BadMapping(f"{sobject} should hold our fields and their names there.")
        for name, target in said.items():
            targets[sobject, name] = _target(sobject, name, target)
    return made(targets), stage


def made(targets: Mapping[tuple[str, str], Target]) -> FieldMap:
    """Return a mapping of what differs from our names; raises BadMapping where two fields meet or a key is left out."""
    kept: dict[tuple[str, str], Target] = {}
    taken: dict[tuple[str, str], str] = {}
    for (sobject, name), target in targets.items():
        check(_needed(sobject, name), target)
        if target != Target(name):
            kept[sobject, name] = target
    for one in NEEDED:
        name = kept.get((one.sobject, one.name), Target(one.name)).name
        if not name:
            continue
        other = taken.setdefault((one.sobject, name.lower()), one.name)
        if other != one.name:
            raise BadMapping(f"{other} and {one.name} would both be written into {one.sobject}.{name}.")
    return FieldMap(kept)


def check(one: Needed, target: Target) -> None:
    """Refuse, as BadMapping, a target that cannot hold a field of ours."""
    name = f"{one.sobject}.{one.name}"
    if (one.sobject, one.name) in FIXED and target != Target(one.name):
        raise BadMapping(f"{name} is Salesforce's own and stays as it is. The won stage is set by won_stage.")
    if not target.name and (one.is_key or one.is_required):
        raise BadMapping(f"{name} is the key that records are found by, so it must be written somewhere.")
    if target.name and not API_NAME.fullmatch(target.name):
        raise BadMapping(f"'{target.name}' is not an API name. It has letters, digits and _, such as ARR_Total__c.")
    if target.values and not {"picklist", "string"} & set(one.types):
        raise BadMapping(f"{name} holds no words, so it has no values to rename.")
    if target.values and one.is_key:
        raise BadMapping(f"{name} is a key; its values are ours.")
    if len(set(target.values.values())) < len(target.values):
        raise BadMapping(
            f"{name}: two of our values would become the same word there, so they could not be told apart."
        )


def _needed(sobject: str, name: str) -> Needed:
    found = BY_NAME.get((sobject, name))
    if found is None:
        known = ", ".join(dict.fromkeys((ACCOUNT, OPPORTUNITY, MRR_SCHEDULE, TASK)))
        raise BadMapping(f"We write no field {name} of {sobject}. Our names stand on the left, for {known}.")
    return found


def _target(sobject: str, name: str, said: Any) -> Target:
    if said is None or isinstance(said, str):
        return Target((said or "").strip())
    if not isinstance(said, dict) or set(said) - {"field", "values"}:
        raise BadMapping(f'{sobject}.{name} is a name, null for not written, or {{"field": …, "values": {{…}}}}.')
    values = said.get("values") or {}
    if not isinstance(values, dict) or not all(isinstance(one, str) and one for pair in values.items() for one in pair):
        raise BadMapping(f"{sobject}.{name}: values name our word and theirs, both as text.")
    their_name = said.get("field", name)
    if their_name is not None and not isinstance(their_name, str):
        raise BadMapping(f"{sobject}.{name}: field is an API name as text, or null.")
    return Target((their_name or "").strip(), {mine: theirs for mine, theirs in values.items() if mine != theirs})
