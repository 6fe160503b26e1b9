"""What a comparison of an org finds beyond its fields: stages, currencies, and rules that may refuse a write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings

from crm.channels.kinds import Permanent
from crm.channels.salesforce.fields import ACCOUNT, CURRENCY, MRR_SCHEDULE, NEEDED, OBJECTS, OPPORTUNITY
from crm.channels.salesforce.mapping import FieldMap
from crm.channels.salesforce.soql import quoted_list
from crm.selectors import people
from mrr import selectors as mrr

if TYPE_CHECKING:
    from crm.channels.salesforce.client import Client


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that would refuse a write, or (a remark) may: where, what, and what to do about it."""

    sobject: str
    field: str
    code: str
    text: str
    is_remark: bool = False


def won_stages(client: Client) -> list[str]:
    """Return the org's active won stages in its order."""
    soql = "SELECT ApiName, MasterLabel FROM OpportunityStage WHERE IsWon = true AND IsActive = true ORDER BY SortOrder"
    return [str(one.get("ApiName") or one.get("MasterLabel") or "") for one in client.query(soql)]


def stages(client: Client, opportunity: Mapping[str, Any] | None) -> list[Finding]:
    """Say whether the won stage is there, and which record types do not offer it. Two calls and one a record type."""

    def finding(code: str, text: str, *, is_remark: bool = False) -> Finding:
        return Finding(OPPORTUNITY, "StageName", code, text, is_remark)

    found, chosen = won_stages(client), client.org.won_stage
    if not found:
        return [finding("no_won_stage", "No active stage is won. Make one in Setup, Opportunity, Fields, Stage.")]
    if chosen and chosen not in found:
        text = f"The won stage '{chosen}' is not an active won stage any more. The org has: {', '.join(found)}."
        return [finding("won_stage", f"{text} Choose one in the mapping.")]
    findings = []
    stage = chosen or found[0]
    if len(found) > 1 and not client.org.is_won_stage_chosen:
        text = f"Several stages are won: {', '.join(found)}. We would use '{stage}'; choose one in the mapping."
        findings.append(finding("several_won_stages", text, is_remark=True))
    for record_type in (opportunity or {}).get("recordTypeInfos", ()):
        if record_type.get("master") or not record_type.get("active", True) or not record_type.get("available", True):
            continue
        path = f"ui-api/object-info/{OPPORTUNITY}/picklist-values/{record_type['recordTypeId']}/StageName"
        try:
            answer = client.restful(path)
        except Permanent as refusal:
            text = f"The stages of record type '{record_type.get('name')}' cannot be read ({refusal.code})."
            findings.append(finding("record_type_unreadable", text, is_remark=True))
            continue
        if stage not in {str(one.get("value")) for one in answer.get("values", ())}:
            text = (
                f"Record type '{record_type.get('name')}' does not offer the stage '{stage}', so its Opportunities "
                "would be closed in a stage that its people do not see. Add the stage to its sales process."
            )
            findings.append(finding("record_type_stage", text, is_remark=True))
    return findings


def has_currencies(described: Mapping[str, Any] | None) -> bool:
    """Say, by the describe of an object, whether the org has several currencies."""
    return _currency_field(described) is not None


def keep_currencies(client: Client, described: Mapping[str, Any]) -> None:
    """Keep whether the org has several currencies; since it has, what was written without one is owed again."""
    from django.db.models import F

    from crm.models import RecordKind, SalesforceOrg, SyncRecord, WorkState

    found = has_currencies(described)
    changed = SalesforceOrg.objects.filter(pk=client.org.pk, has_currencies=not found).update(has_currencies=found)
    if changed and found:
        written = SyncRecord.objects.filter(kind=RecordKind.SCHEDULE, state=WorkState.SENT)
        written.update(state=WorkState.WAITING, wanted=F("wanted") + 1, due_at=client.now, attempts=0)


def currencies(described: Mapping[str, Mapping[str, Any]], theirs: FieldMap) -> list[Finding]:
    """Return what an org of several currencies would refuse or misread; nothing in an org with one.

    `described` holds the describe of each object. Reads which currencies the ledger has.
    """
    findings: list[Finding] = []
    for sobject in (OPPORTUNITY, MRR_SCHEDULE):
        field = _currency_field(described.get(sobject))
        if field is None:
            continue
        if not field.get("updateable"):
            text = f"{sobject}.{CURRENCY} may not be edited by the integration user, so amounts cannot say theirs."
            findings.append(Finding(sobject, CURRENCY, "field_read_only", text))
        active = {str(one.get("value")).lower() for one in field.get("picklistValues", ()) if one.get("active", True)}
        lacking = [one.upper() for one in mrr.currencies() if one not in active]
        if lacking:
            text = (
                f"{sobject}: the org has not activated {', '.join(lacking)}, so what is in it is refused. Activate it "
                "in Setup, Manage Currencies."
            )
            findings.append(Finding(sobject, CURRENCY, "currency_inactive", text))
    return findings + _account_amounts(described.get(ACCOUNT), theirs)


def owners() -> list[Finding]:
    """Name the matched Accounts that nobody active looks after, as the mirror knows them: their Tasks get no owner."""
    count, first = people.without_anybody(limit=5)
    if not count:
        return []
    names = ", ".join(account_id for account_id, _ in first) + (" and others" if count > len(first) else "")
    text = (
        f"Of {count} matched Accounts the CSM or owner is missing or not active: {names}. Their Tasks are left to the "
        "integration user. Give them an active owner."
    )
    return [Finding(ACCOUNT, "OwnerId", first[0][1], text, is_remark=True)]


def _account_amounts(account: Mapping[str, Any] | None, theirs: FieldMap) -> list[Finding]:
    """Name fields of the Account that show our sums with the sign of the Account's own currency."""
    if _currency_field(account) is None or account is None:
        return []
    types = {str(one["name"]).lower(): one.get("type") for one in account.get("fields", ())}
    ours = [theirs.name(one.sobject, one.name) for one in NEEDED if one.sobject == ACCOUNT and "currency" in one.types]
    shown = [name for name in ours if types.get(name.lower()) == "currency"]
    if not shown:
        return []
    reporting = settings.REPORTING_CURRENCY.upper()
    text = (
        f"{', '.join(shown)} of Account show amounts in the Account's own currency, and ours are in {reporting}. "
        f"Map them to number fields, or read them as {reporting}."
    )
    return [Finding(ACCOUNT, shown[0], "account_currency", text, is_remark=True)]


def _currency_field(described: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    fields = (described or {}).get("fields", ())
    return next((one for one in fields if one["name"] == CURRENCY), None)


def duplicate_rules(client: Client) -> list[Finding]:
    """Name the active duplicate rules of what we write. One call."""
    soql = (
        "SELECT DeveloperName, MasterLabel, SobjectType FROM DuplicateRule "  # noqa: S608
        f"WHERE IsActive = true AND SobjectType IN {quoted_list(OBJECTS)}"
    )
    try:
        rows = list(client.query(soql))
    except Permanent as refusal:
        text = f"The integration user may not read duplicate rules ({refusal.code}). Look in Setup, Duplicate Rules."
        return [Finding("", "", "rules_unreadable", text, is_remark=True)]
    return [
        Finding(
            str(row["SobjectType"]),
            "",
            "duplicate_rule",
            f"The duplicate rule '{row['MasterLabel']}' is active. Where it blocks edits, it may refuse ours: "
            "let it skip the integration user, or only report.",
            is_remark=True,
        )
        for row in rows
    ]


def validation_rules(client: Client) -> list[Finding]:
    """Name the active validation rules of what we write. One call."""
    soql = (
        "SELECT ValidationName, ErrorMessage, EntityDefinition.QualifiedApiName FROM ValidationRule "  # noqa: S608
        f"WHERE Active = true AND EntityDefinition.QualifiedApiName IN {quoted_list(OBJECTS)}"
    )
    try:
        rows = client.tooling(soql)
    except Permanent as refusal:
        text = (
            f"The integration user may not read validation rules ({refusal.code}), so one that refuses our writes is "
            "only seen when it does. 'View Setup and Configuration' lets it read them."
        )
        return [Finding("", "", "rules_unreadable", text, is_remark=True)]
    return [
        Finding(
            str((row.get("EntityDefinition") or {}).get("QualifiedApiName") or ""),
            "",
            "validation_rule",
            f"The validation rule {row['ValidationName']} is active and may refuse our writes, saying "
            f"“{str(row.get('ErrorMessage') or '').rstrip('.')}”. "
            "Let it skip the integration user where it speaks of people's entries.",
            is_remark=True,
        )
        for row in rows
    ]
