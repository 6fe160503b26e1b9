"""Compares what we write with what the org has: objects, fields, types and rights, as its describe tells them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from crm.channels.salesforce.fields import NEEDED, Needed


class Describer(Protocol):
    def describe(self, sobject: str) -> dict[str, Any] | None:
        """Return what the integration user sees of an object; None when it sees none of it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that would refuse a write: where, what, and what to do about it."""

    sobject: str
    field: str
    code: str
    text: str


def check(client: Describer, *, report: Callable[[str], None] = lambda sobject: None) -> list[Finding]:
    """Return what is missing or different; empty when every write could be made. One call for each object."""
    findings: list[Finding] = []
    for sobject in dict.fromkeys(needed.sobject for needed in NEEDED):
        report(sobject)
        found = client.describe(sobject)
        wanted = [needed for needed in NEEDED if needed.sobject == sobject]
        findings += _object_findings(sobject, found, wanted)
    return findings


def _object_findings(sobject: str, found: Mapping[str, Any] | None, wanted: Iterable[Needed]) -> list[Finding]:
    if found is None:
        text = (
            f"The integration user does not see {sobject}. Deploy it, then assign the permission set MRR Ledger writer."
        )
        return [Finding(sobject, "", "object_missing", text)]
    findings: list[Finding] = []
    if not found.get("updateable", True):
        text = f"The integration user may not edit {sobject}. Give its permission set edit access."
        findings.append(Finding(sobject, "", "object_read_only", text))
    fields = {str(one["name"]).lower(): one for one in found.get("fields", ())}
    for needed in wanted:
        findings += _field_findings(needed, fields.get(needed.name.lower()))
    return findings


def _field_findings(needed: Needed, found: Mapping[str, Any] | None) -> list[Finding]:
    def finding(code: str, text: str) -> Finding:
        return Finding(needed.sobject, needed.name, code, text)

    name = f"{needed.sobject}.{needed.name}"
    if found is None:
        return [
            finding(
                "field_missing", f"{name} is not there, or field-level security hides it from the integration user."
            )
        ]
    findings: list[Finding] = []
    if found.get("type") not in needed.types:
        wanted = " or ".join(needed.types)
        findings.append(finding("field_type", f"{name} is of type {found.get('type')}; it should be {wanted}."))
    elif not found.get("updateable") and not needed.is_key:
        text = (
            f"{name} may not be edited by the integration user. Give the permission set MRR Ledger writer edit access."
        )
        findings.append(finding("field_read_only", text))
    if needed.length and 0 < int(found.get("length") or 0) < needed.length:
        findings.append(
            finding("field_length", f"{name} holds {found['length']} characters; it should hold {needed.length}.")
        )
    if needed.scale and int(found.get("scale") or 0) < needed.scale:
        findings.append(
            finding(
                "field_scale", f"{name} has {found.get('scale')} decimals; with fewer than {needed.scale} sums differ."
            )
        )
    if needed.is_key and not (found.get("externalId") and found.get("unique")):
        text = f"{name} must be a unique External ID: without unique, two writes at once make twins."
        findings.append(finding("field_not_unique", text))
    return findings
