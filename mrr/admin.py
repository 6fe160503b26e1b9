"""The MRR schedule and its sums in Django's admin: to look things up; rows are added by the pipeline alone."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html

from mrr.engine.money import major_exact
from mrr.models import (
    BookAction,
    CheckRun,
    CohortRollup,
    CustomerBalance,
    LedgerEntry,
    MonthRollup,
    PolicyVersion,
    Repricing,
    Seal,
    SubscriptionLink,
)


class ReadOnly(admin.ModelAdmin):
    """What the engine concluded is looked at, never edited."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(LedgerEntry)
class LedgerEntryAdmin(ReadOnly):
    list_display = ("key", "source", "customer", "type", "reason", "amount", "effective_at", "posted_at", "book_month")
    list_filter = ("type", "reason", "currency", "source", "book_month")
    list_select_related = ("source", "customer")
    search_fields = ("=key", "=customer__stripe_id")
    search_help_text = "The whole key of an entry, or the id of a customer"
    ordering = ("-id",)
    fields = (
        "key",
        ("source", "customer", "sequence"),
        ("type", "reason"),
        ("amount", "amount_micros", "paying_delta"),
        ("effective_at", "posted_at"),
        ("book_month", "backdated_from"),
        ("days_lapsed", "is_live", "policy_version"),
        "reverses",
        "event_ids",
        "written_lines",
        "digest",
    )
    readonly_fields = ("amount", "written_lines", "digest")

    @admin.display(description="Amount, exact")
    def amount(self, entry: LedgerEntry) -> str:
        return f"{major_exact(entry.amount_micros, entry.currency)} {entry.currency.upper()}"

    @admin.display(description="Lines")
    def written_lines(self, entry: LedgerEntry) -> str:
        return format_html("<pre>{}</pre>", json.dumps(entry.lines, indent=2, ensure_ascii=False))


@admin.register(CustomerBalance)
class CustomerBalanceAdmin(ReadOnly):
    list_display = ("customer", "source", "currency", "mrr_micros", "scheduled_micros", "cohort_month", "first_paid_at")
    list_filter = ("currency", "source")
    list_select_related = ("source", "customer")
    search_fields = ("=customer__stripe_id",)
    search_help_text = "The id of a customer"
    ordering = ("-mrr_micros", "id")


@admin.register(MonthRollup)
class MonthRollupAdmin(ReadOnly):
    list_display = (
        "month",
        "source",
        "currency",
        "new_micros",
        "expansion_micros",
        "reactivation_micros",
        "contraction_micros",
        "churn_micros",
    )
    list_filter = ("currency", "source")
    list_select_related = ("source",)
    ordering = ("-month", "source", "currency")


@admin.register(CohortRollup)
class CohortRollupAdmin(ReadOnly):
    list_display = ("cohort", "month", "source", "currency", "customers", "mrr_micros", "gross_micros")
    list_filter = ("currency", "source", "cohort")
    list_select_related = ("source",)
    ordering = ("-cohort", "month", "source", "currency")


@admin.register(PolicyVersion)
class PolicyVersionAdmin(ReadOnly):
    """The rules of each time; `set_policy` adds a version."""

    list_display = ("version", "preset", "changed", "made_by", "made_at")
    ordering = ("-version",)


@admin.register(Repricing)
class RepricingAdmin(ReadOnly):
    list_display = ("version", "customers", "posted", "reversed", "touched_at", "finished_at")
    ordering = ("-version",)


@admin.register(SubscriptionLink)
class SubscriptionLinkAdmin(ReadOnly):
    """Replacements across customers; `link_subscriptions` makes and undoes them."""

    list_display = ("predecessor", "successor", "source", "made_by", "made_at", "undone_by", "undone_at")
    list_filter = ("source",)
    list_select_related = ("source",)
    search_fields = ("=predecessor", "=successor")
    ordering = ("-made_at", "-id")


@admin.register(BookAction)
class BookActionAdmin(ReadOnly):
    """Months closed, asked to be reopened and reopened; `close_month` and `reopen_month` add to them."""

    list_display = ("number", "month", "kind", "made_by", "made_at", "entries", "policy_version", "manner", "reason")
    list_filter = ("kind",)
    list_select_related = ("made_by",)
    ordering = ("-number",)


@admin.register(Seal)
class SealAdmin(ReadOnly):
    list_display = ("number", "made_at", "entries", "last_entry", "digest")
    ordering = ("-number",)


@admin.register(CheckRun)
class CheckRunAdmin(ReadOnly):
    """What the nightly checks found."""

    list_display = ("started_at", "finished_at", "stage", "customers", "entries", "differences", "findings")
    ordering = ("-id",)
