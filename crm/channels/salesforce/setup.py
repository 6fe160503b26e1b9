"""Sets an org up: says what would refuse a write, and deploys our object, fields and rights by the Metadata API."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from crm.channels.kinds import Permanent, Transient
from crm.channels.salesforce import checks, mapping, metadata
from crm.channels.salesforce.checks import Finding
from crm.channels.salesforce.fields import ACCOUNT, ACTIVITY, MRR_SCHEDULE, NEEDED, OBJECTS, OPPORTUNITY, TASK, Needed
from crm.channels.salesforce.mapping import FieldMap
from crm.channels.salesforce.soql import quoted, quoted_list

if TYPE_CHECKING:
    from crm.channels.salesforce.client import Client

MADE = (MRR_SCHEDULE, OPPORTUNITY, TASK)  # objects of which we make records
POLL_SECONDS = (0.5, 1.0, 2.0, 3.0, 5.0)
DEPLOY_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Deployed:
    """What a deployment did: the components it made or changed, and whether the permission set was assigned anew.

    `is_done` is False while Salesforce still works on it; deploying again goes on with it.
    """

    changed: tuple[str, ...]
    is_assigned: bool
    is_done: bool = True

    @property
    def has_changed(self) -> bool:
        return bool(self.changed) or self.is_assigned


# ---- checking ----


def check(
    client: Client, *, theirs: FieldMap | None = None, report: Callable[[str], None] = lambda what: None
) -> list[Finding]:
    """Return what is missing, different or may refuse; without a finding that is no remark, every write could be made.

    One call for each object, and five more. Raises ChannelError when Salesforce does not answer.
    """
    theirs = theirs if theirs is not None else mapping.of(client.org)
    findings: list[Finding] = []
    there = custom_fields(client)
    described: dict[str, Mapping[str, Any]] = {}
    for sobject in OBJECTS:
        report(f"Reading {sobject}")
        found = client.describe(sobject)
        if found is not None:
            described[sobject] = found
        wanted = [needed for needed in NEEDED if needed.sobject == sobject]
        findings += _object_findings(sobject, found, wanted, theirs, there)
    if OPPORTUNITY in described:
        checks.keep_currencies(client, described[OPPORTUNITY])
    report("Reading stages and rules")
    findings += checks.stages(client, described.get(OPPORTUNITY))
    findings += checks.currencies(described, theirs)
    findings += checks.owners()
    findings += checks.duplicate_rules(client)
    findings += checks.validation_rules(client)
    return findings


def custom_fields(client: Client) -> set[tuple[str, str]] | None:
    """Return the custom fields of the standard objects we write (object, API name), seen or hidden.

    None when the integration user may not read the set-up: then what it does not see may be hidden or missing.
    """
    homes = quoted_list((ACCOUNT, OPPORTUNITY, ACTIVITY, MRR_SCHEDULE))
    soql = (
        "SELECT DeveloperName, NamespacePrefix, EntityDefinition.QualifiedApiName FROM CustomField "  # noqa: S608
        f"WHERE EntityDefinition.QualifiedApiName IN {homes}"
    )
    try:
        rows = client.tooling(soql)
    except Permanent:
        return None
    return {
        (str(row["EntityDefinition"]["QualifiedApiName"]), f"{row['DeveloperName']}__c")
        for row in rows
        if row.get("EntityDefinition") and not row.get("NamespacePrefix")
    }


def _object_findings(
    sobject: str,
    found: Mapping[str, Any] | None,
    wanted: Iterable[Needed],
    theirs: FieldMap,
    there: set[tuple[str, str]] | None,
) -> list[Finding]:
    if found is None:
        text = (
            f"The integration user does not see {sobject}. Deploy it, then assign the permission set "
            f"{metadata.PERMISSION_SET_LABEL}."
        )
        return [Finding(sobject, "", "object_missing", text)]
    findings: list[Finding] = []
    for right, verb in (("updateable", "edit"), ("createable", "create")):
        if not found.get(right, True) and (verb == "edit" or sobject in MADE):
            text = f"The integration user may not {verb} {sobject}. Give its permission set the right to {verb} it."
            findings.append(Finding(sobject, "", "object_read_only", text))
    fields = {str(one["name"]).lower(): one for one in found.get("fields", ())}
    written: set[str] = set()
    for needed in wanted:
        name = theirs.name(sobject, needed.name)
        written.add(name.lower())
        if name:
            findings += _field_findings(needed, name, fields.get(name.lower()), theirs, there)
    findings += _required_of_others(sobject, fields.values(), written)
    return findings


def _field_findings(
    needed: Needed,
    their_name: str,
    found: Mapping[str, Any] | None,
    theirs: FieldMap,
    there: set[tuple[str, str]] | None,
) -> list[Finding]:
    def finding(code: str, text: str) -> Finding:
        return Finding(needed.sobject, their_name, code, text)

    name = f"{needed.sobject}.{their_name}"
    if found is None:
        return [_unseen(needed, their_name, there)]
    findings: list[Finding] = []
    if found.get("type") not in needed.types:
        wanted = " or ".join(needed.types)
        findings.append(finding("field_type", f"{name} is of type {found.get('type')}; it should be {wanted}."))
    elif not found.get("updateable") and not needed.is_key:
        text = (
            f"{name} may not be edited by the integration user. "
            f"Give the permission set {metadata.PERMISSION_SET_LABEL} edit access."
        )
        findings.append(finding("field_read_only", text))
    length = int(found.get("length") or 0)
    if needed.length and 0 < length < needed.length:
        findings.append(finding("field_length", f"{name} holds {length} characters; it should hold {needed.length}."))
    if needed.scale and int(found.get("scale") or 0) < needed.scale:
        findings.append(
            finding(
                "field_scale", f"{name} has {found.get('scale')} decimals; with fewer than {needed.scale} sums differ."
            )
        )
    if needed.is_key and not (found.get("externalId") and found.get("unique")):
        text = f"{name} must be a unique External ID: without unique, two writes at once make twins."
        findings.append(finding("field_not_unique", text))
    if needed.is_key and needed.sobject != MRR_SCHEDULE and not found.get("nillable", True):
        text = f"{name} is required, which stops every {needed.sobject} that people make by hand. Take 'required' off."
        findings.append(finding("field_required", text))
    return findings + _picklist_findings(needed, their_name, found, theirs)


def _unseen(needed: Needed, their_name: str, there: set[tuple[str, str]] | None) -> Finding:
    name = f"{needed.sobject}.{their_name}"
    home = ACTIVITY if needed.sobject == TASK else needed.sobject
    grant = f"Give the permission set {metadata.PERMISSION_SET_LABEL} edit access to it and assign it."
    if there is None:
        text = f"{name} is not there, or field-level security hides it from the integration user."
        return Finding(needed.sobject, their_name, "field_missing", text)
    if (home, their_name) in there or not their_name.endswith("__c"):
        text = f"{name} is there, but field-level security hides it from the integration user. {grant}"
        return Finding(needed.sobject, their_name, "field_hidden", text)
    text = f"{name} is not there. Deploy it, make it in Setup, or name the org's own field in the mapping."
    return Finding(needed.sobject, their_name, "field_missing", text)


def _picklist_findings(needed: Needed, their_name: str, found: Mapping[str, Any], theirs: FieldMap) -> list[Finding]:
    """Say which of our values a restricted picklist would refuse."""
    if not found.get("restrictedPicklist"):
        return []
    allowed = {str(one.get("value")) for one in found.get("picklistValues", ()) if one.get("active", True)}
    ours = {theirs.value(needed.sobject, needed.name, value): value for value in needed.values}
    missing = sorted(set(ours) - allowed)
    if not missing:
        return []
    text = (
        f"{needed.sobject}.{their_name} does not offer {', '.join(missing)}. "
        "Add them to the picklist, or name the org's own words in the mapping."
    )
    return [Finding(needed.sobject, their_name, "picklist_value", text)]


def _required_of_others(sobject: str, fields: Iterable[Mapping[str, Any]], written: set[str]) -> list[Finding]:
    """Name what others made required on an object of ours: without it no record can be made."""
    if sobject != MRR_SCHEDULE:
        return []
    return [
        Finding(sobject, str(one["name"]), "required_by_others", f"{sobject}.{one['name']} is required and not ours.")
        for one in fields
        if not one.get("nillable", True)
        and one.get("createable")
        and not one.get("defaultedOnCreate")
        and str(one["name"]).lower() not in written | {"ownerid", "name"}
    ]


# ---- deploying ----


def deploy(
    client: Client,
    *,
    theirs: FieldMap | None = None,
    within_seconds: float = DEPLOY_SECONDS,
    report: Callable[[str], None] = lambda what: None,
) -> Deployed:
    """Deploy what the org lacks, and assign the permission set to the integration user; again it changes nothing.

    What Account, Opportunity and Activity have already is left as it is. A deployment that is still running when the
    time is over is gone on with by the next call. Raises ChannelError; Permanent names what was refused.
    """
    theirs = theirs if theirs is not None else mapping.of(client.org)
    if not client.org.integration_user_id:
        raise Permanent("no_user", "It is not known which user the connection acts for. Connect again, then deploy.")
    if not client.org.deploy_id:
        report("Sending the deployment")
        _keep_id(client, _start(client, theirs))
    until = time.monotonic() + within_seconds
    for attempt in range(1_000_000):
        result = _status(client)
        if result.get("done"):
            break
        pause = POLL_SECONDS[min(attempt, len(POLL_SECONDS) - 1)]
        if time.monotonic() + pause > until:
            return Deployed((), is_assigned=False, is_done=False)
        report(f"Salesforce deploys: {result.get('status')}")
        time.sleep(pause)
    _keep_id(client, "")
    _refuse_failed(result)
    changed = tuple(
        f"{one.get('componentType')} {one.get('fullName')}"
        for one in _rows(result, "componentSuccesses")
        if one.get("fullName") != "package.xml" and (one.get("created") or one.get("changed"))
    )
    report("Assigning the permission set")
    return Deployed(changed, is_assigned=_assign(client))


def _start(client: Client, theirs: FieldMap) -> str:
    there = custom_fields(client)
    if there is None:  # what it does not see it would make anew
        there = {
            (ACTIVITY if sobject == TASK else sobject, str(one["name"]))
            for sobject in (ACCOUNT, OPPORTUNITY, TASK)
            for one in (client.describe(sobject) or {}).get("fields", ())
        }
    packed = metadata.package(version=client.org.api_version, names=theirs.names(), there=there)
    options = {
        "allowMissingFiles": False,
        "checkOnly": False,
        "ignoreWarnings": True,
        "purgeOnDelete": False,
        "rollbackOnError": True,
        "singlePackage": True,
    }
    parts: dict[str, tuple[str | None, bytes, str]] = {
        "json": (None, json.dumps({"deployOptions": options}).encode(), "application/json"),
        "file": ("deploy.zip", packed, "application/zip"),
    }
    try:
        answer = client.upload("metadata/deployRequest", parts)
    except Permanent as refusal:
        if not refusal.code.startswith("INSUFFICIENT_ACCESS"):
            raise
        text = (
            "The integration user may not deploy: that takes 'Modify Metadata Through Metadata API Functions'. Give it "
            "for the set-up and take it back after, or deploy crm/channels/salesforce/package with Salesforce's CLI "
            "as an administrator: sf project deploy start."
        )
        raise Permanent(refusal.code, text) from None
    return str(answer["id"])


def _status(client: Client) -> Mapping[str, Any]:
    path = f"metadata/deployRequest/{client.org.deploy_id}"
    try:
        answer = client.restful(path, params={"includeDetails": "true"})
    except Permanent as refusal:
        if refusal.code == "NOT_FOUND":
            _keep_id(client, "")
        raise
    found = answer.get("deployResult")
    return found if isinstance(found, dict) else {}


def _refuse_failed(result: Mapping[str, Any]) -> None:
    if result.get("success"):
        return
    failures = _rows(result, "componentFailures")
    named = "; ".join(f"{one.get('fullName')}: {one.get('problem')}" for one in failures[:5])
    more = f"; and {len(failures) - 5} more" if len(failures) > 5 else ""
    said = named + more or str(result.get("errorMessage") or result.get("status"))
    raise Permanent("deploy_failed", f"Salesforce refused the deployment, and nothing of it stands. {said}")


def _rows(result: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    found = (result.get("details") or {}).get(name) or ()
    return [found] if isinstance(found, Mapping) else list(found)


def _keep_id(client: Client, deploy_id: str) -> None:
    from crm.models import SalesforceOrg

    client.org.deploy_id = deploy_id
    SalesforceOrg.objects.filter(pk=client.org.pk).update(deploy_id=deploy_id)


def _assign(client: Client) -> bool:
    """Assign the permission set to the integration user; says whether that was needed."""
    soql = f"SELECT Id FROM PermissionSet WHERE Name = {quoted(metadata.PERMISSION_SET)}"  # noqa: S608
    try:
        found = next(iter(client.query(soql)), None)
        if found is None:
            raise Permanent("permission_set_unseen", "It was deployed, but cannot be read.")
        return _assign_to_user(client, str(found["Id"]))
    except Permanent as refusal:
        text = (
            f"Everything is deployed, but the integration user may not assign permission sets ({refusal.code}). "
            f"Assign {metadata.PERMISSION_SET_LABEL} to it in Setup, Permission Sets, Manage Assignments."
        )
        raise Permanent("not_assigned", text) from None


def _assign_to_user(client: Client, permission_set_id: str) -> bool:
    user_id = client.org.integration_user_id
    soql = (
        "SELECT Id FROM PermissionSetAssignment "  # noqa: S608
        f"WHERE AssigneeId = {quoted(user_id)} AND PermissionSetId = {quoted(permission_set_id)}"
    )
    if any(client.query(soql)):
        return False
    body = {"AssigneeId": user_id, "PermissionSetId": permission_set_id}
    try:
        client.restful("sobjects/PermissionSetAssignment", method="POST", json=body)
    except Transient as refusal:
        if refusal.code != "DUPLICATE_VALUE":
            raise
        return False  # somebody else was first
    return True


def keep(client: Client, findings: Sequence[Finding], *, now: datetime) -> None:
    """Keep what a check found, so that a page shows it without asking Salesforce."""
    from crm.models import SalesforceOrg

    rows = [
        {"sobject": one.sobject, "field": one.field, "code": one.code, "text": one.text, "is_remark": one.is_remark}
        for one in findings
    ]
    SalesforceOrg.objects.filter(pk=client.org.pk).update(checked_at=now, findings=rows)
