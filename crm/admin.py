"""Salesforce's connection, matches, risks and outgoing work in Django's admin: to look things up, and to try again."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from crm import outbox
from crm.models import (
    Account,
    Contact,
    CustomerRisk,
    Match,
    Message,
    SalesforceOrg,
    SourceRules,
    SyncRecord,
    Unmatched,
)


class ReadOnly(admin.ModelAdmin):
    """What the product decided is looked at here, and changed on its own pages."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(SalesforceOrg)
class SalesforceOrgAdmin(ReadOnly):
    """The connection without its secrets; its rules are set on a page of their own, which keeps who changed what."""

    list_display = (
        "instance_url",
        "org_id",
        "mode",
        "is_sandbox",
        "api_version",
        "calls_used",
        "calls_limit",
        "error_code",
    )
    fields = (
        ("instance_url", "login_url"),
        ("org_id", "is_sandbox", "is_demo"),
        ("client_id", "username"),
        ("mode", "live_since"),
        ("api_version", "won_stage"),
        ("calls_used", "calls_limit", "calls_at", "stopped_at"),
        ("write_allowance", "read_allowance", "reserve_calls"),
        ("makes_opportunities", "csm_field", "log_days"),
        ("alert_email", "alert_channel"),
        ("token_at", "mirrored_to", "paused_until"),
        ("error_code", "error"),
        "created_at",
    )


@admin.register(SourceRules)
class SourceRulesAdmin(ReadOnly):
    """Per source: which payments leave a Task, and where a won Opportunity's Amount comes from."""

    list_display = ("source", "payment_tasks", "amount_from")
    list_select_related = ("source",)


@admin.register(Account)
class AccountAdmin(ReadOnly):
    list_display = ("salesforce_id", "name", "domain", "owner_name", "is_deleted", "modified_at")
    list_filter = ("is_deleted",)
    search_fields = ("salesforce_id", "name", "domain")


@admin.register(Contact)
class ContactAdmin(ReadOnly):
    list_display = ("salesforce_id", "account_id", "email", "is_deleted")
    list_filter = ("is_deleted",)
    search_fields = ("salesforce_id", "account_id", "email")


@admin.register(Match)
class MatchAdmin(ReadOnly):
    list_display = ("customer", "account", "how", "matched_by", "matched_at", "undone_by", "undone_at")
    list_filter = ("how",)
    list_select_related = ("customer", "account")
    search_fields = ("customer__stripe_id", "account__salesforce_id", "account__name")
    date_hierarchy = "matched_at"


@admin.register(Unmatched)
class UnmatchedAdmin(ReadOnly):
    list_display = ("customer", "reason", "since", "checked_at", "snoozed_until")
    list_filter = ("reason",)
    list_select_related = ("customer",)
    search_fields = ("customer__stripe_id", "customer__name")


@admin.register(CustomerRisk)
class CustomerRiskAdmin(ReadOnly):
    list_display = ("customer", "score", "severity", "payment_severity", "since", "assessed_at")
    list_filter = ("severity",)
    list_select_related = ("customer",)
    search_fields = ("customer__stripe_id", "customer__name")


class WorkAdmin(ReadOnly):
    """Outgoing work, with the action to try parked or held rows again."""

    actions = ("try_again",)

    def has_try_again_permission(self, request: HttpRequest) -> bool:
        return request.user.is_superuser


@admin.register(SyncRecord)
class SyncRecordAdmin(WorkAdmin):
    list_display = ("kind", "key", "state", "wanted", "confirmed", "attempts", "due_at", "sent_at", "error_code")
    list_filter = ("state", "kind")
    search_fields = ("key", "salesforce_id", "customer__stripe_id")

    @admin.action(description="Try again now", permissions=["try_again"])
    def try_again(self, request: HttpRequest, rows: QuerySet[SyncRecord]) -> None:
        now = timezone.now()
        count = 0
        for pk in rows.values_list("pk", flat=True):
            outbox.retry(pk, now=now)
            count += 1
        self.message_user(request, f"{count} records are due now.", messages.SUCCESS)


@admin.register(Message)
class MessageAdmin(WorkAdmin):
    list_display = ("channel", "topic", "customer", "state", "attempts", "due_at", "sent_at", "error_code")
    list_filter = ("state", "channel", "topic")
    list_select_related = ("customer",)
    search_fields = ("customer__stripe_id",)

    @admin.action(description="Try again now", permissions=["try_again"])
    def try_again(self, request: HttpRequest, rows: QuerySet[Message]) -> None:
        count = outbox.retry_messages(list(rows.values_list("pk", flat=True)), now=timezone.now())
        self.message_user(request, f"{count} messages are due now.", messages.SUCCESS)
