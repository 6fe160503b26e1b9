"""The rules that a person sets about what Salesforce is told and who is told when it stops; each change is kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from auditlog.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction

from billing import selectors as billing
from crm import alerts, waiting
from crm.channels.salesforce.fields import ACCOUNT
from crm.domains import blocked_domains
from crm.models import SalesforceOrg, SourceRules

OF_ORG = (
    "makes_opportunities",
    "makes_accounts",
    "deletes_tasks",
    "write_allowance",
    "read_allowance",
    "reserve_calls",
    "log_days",
    "csm_field",
    "match_threshold",
    "blocked_domains",
    "waiting_alert_days",
    "waiting_alert_amount",
    "alert_email",
    "alert_channel",
)
OF_SOURCE = ("payment_tasks", "amount_from")


class NoOrg(Exception):
    """No Salesforce org is connected, so there is nothing to set rules for."""


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One Stripe source, and which of its payments leave a Task and where a won Opportunity's Amount comes from."""

    pk: int
    label: str
    payment_tasks: str
    amount_from: str


@dataclass(frozen=True, slots=True)
class Change:
    """One rule that was changed: when, by whom, what of, and its value before and after."""

    at: datetime
    by: str
    what: str
    field: str
    before: str
    after: str


def of_org() -> dict[str, Any] | None:
    """Return the connection's rules; None without one. One query."""
    return SalesforceOrg.objects.order_by("pk").values(*OF_ORG).first()


def of_sources() -> list[SourceRow]:
    """Return the rules of each source, the defaults where nothing was set. Two queries."""
    kept = {row.source_id: row for row in SourceRules.objects.all()}
    default = SourceRules()
    return [
        SourceRow(
            one.pk,
            one.label,
            kept.get(one.pk, default).payment_tasks,
            kept.get(one.pk, default).amount_from,
        )
        for one in billing.sources()
        if one.livemode
    ]


def change_org(wanted: Mapping[str, Any], *, by: str) -> list[str]:
    """Set rules of the connection; returns the names of those that changed. Raises NoOrg."""
    with transaction.atomic():
        org = SalesforceOrg.objects.order_by("pk").select_for_update().first()
        if org is None:
            raise NoOrg("No Salesforce org is connected. Connect one first.")
        changed = _change(org, {name: wanted[name] for name in OF_ORG if name in wanted}, str(org), by=by)
        if "csm_field" in changed:
            SalesforceOrg.objects.filter(pk=org.pk).update(mirrored_to=None)  # who looks after whom is read anew
        if not {"match_threshold", "blocked_domains"}.isdisjoint(changed):
            waiting.wake_all()
        return changed


def fault_of_lookup(name: str, *, now: datetime) -> str:
    """Say why a field of Account cannot name who looks after it; empty where it can. One call, none without a change.

    Raises ChannelError when Salesforce does not answer.
    """
    from crm.channels.salesforce.client import Client

    org = SalesforceOrg.objects.order_by("pk").first()
    if org is None or not name or name == org.csm_field:
        return ""
    with Client(org, now=now) as client:
        described = client.describe(ACCOUNT) or {}
    found = next((one for one in described.get("fields", ()) if one["name"] == name), None)
    if found is None:
        return f"Account has no field {name} that the integration user sees."
    if found.get("type") != "reference" or "User" not in (found.get("referenceTo") or ()):
        return f"{name} is no lookup of a User."
    return ""


def read_domains(text: str) -> tuple[list[str], list[str]]:
    """Return the domains that a text lists, each as a company can register it, and the words that are none."""
    words = re.split(r"[\s,;]+", text.strip().lower())
    return sorted(blocked_domains(text)), [word for word in words if word and not blocked_domains(word)]


def change_source(source_pk: int, wanted: Mapping[str, str], *, by: str) -> list[str]:
    """Set rules of a source; returns the names of those that changed. What was told or booked before stays."""
    with transaction.atomic():
        rules, _ = SourceRules.objects.select_for_update().get_or_create(source_id=source_pk)
        label = next((one.label for one in billing.sources() if one.pk == source_pk), str(source_pk))
        return _change(rules, {name: wanted[name] for name in OF_SOURCE if name in wanted}, label, by=by)


def try_alerts(*, by: str, now: datetime) -> int:
    """Owe a trial alert to each receiver; returns how many there are. Raises NoOrg."""
    org = SalesforceOrg.objects.order_by("pk").first()
    if org is None:
        raise NoOrg("No Salesforce org is connected. Connect one first.")
    return alerts.stopped(org.pk, alerts.TEST, f"{by} tried whether alerts arrive. Nothing stopped.", at=now)


def last_changes(*, limit: int) -> list[Change]:
    """Return what was changed last, the newest first. Two queries."""
    ours = ContentType.objects.get_for_models(SalesforceOrg, SourceRules).values()
    stripe_s = ContentType.objects.get_by_natural_key("billing", "stripesource")  # whether matches are written there
    rows = LogEntry.objects.filter(content_type__in=[*ours, stripe_s]).order_by("-timestamp", "-pk")[:limit]
    return [
        Change(row.timestamp, str((row.additional_data or {}).get("by", "")), row.object_repr, name, *pair)
        for row in rows
        for name, pair in sorted((row.changes_dict or {}).items())
    ]


def _change(row: SalesforceOrg | SourceRules, wanted: Mapping[str, Any], label: str, *, by: str) -> list[str]:
    changes = {
        name: [str(getattr(row, name)), str(value)] for name, value in wanted.items() if getattr(row, name) != value
    }
    for name in changes:
        setattr(row, name, wanted[name])
    if changes:
        row.save(update_fields=list(changes))
        LogEntry.objects.log_create(
            row,
            changes=changes,
            action=LogEntry.Action.UPDATE,
            object_repr=label,
            serialized_data=None,
            additional_data={"by": by},
        )
    return sorted(changes)
