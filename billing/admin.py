"""Sources, events and mirrored objects in Django's admin: to look things up, and to process an event again."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html

from billing import fetches, inbox, owed, selectors, sources
from billing.models import (
    Charge,
    Coupon,
    Customer,
    Discount,
    Dispute,
    Invoice,
    InvoiceLine,
    OwedFetch,
    Payout,
    Price,
    Product,
    Refund,
    SigningSecret,
    Snapshot,
    StripeEvent,
    StripeSource,
    Subscription,
    SubscriptionSchedule,
)


class ReadOnly(admin.ModelAdmin):
    """What Stripe told us is looked at, never edited."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


# ---- sources ----


class SourceForm(forms.ModelForm):
    """A source, with secrets that can be written and never read."""

    new_signing_secret = forms.CharField(
        label="Add a signing secret",
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="Starts with whsec_. Those that are active are listed below by their last four characters.",
    )
    new_api_key = forms.CharField(
        label="Set the API key",
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="A restricted key that may read: rk_live_… or rk_test_….",
    )

    class Meta:
        model = StripeSource
        fields = ["slug", "label", "livemode", "account_id", "history_from", "writes_metadata"]

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if self.instance.pk and "livemode" in self.changed_data and selectors.has_events([self.instance.pk]):
            self.add_error("livemode", "A source's mode cannot change once it has events. Add another source.")
        self._check("new_signing_secret", sources.check_signing_secret)
        self._check(
            "new_api_key",
            lambda key: sources.check_api_key(key, livemode=bool(values.get("livemode")), allow_secret_key=False),
        )
        return values

    def _check(self, name: str, check: Any) -> None:
        value = self.cleaned_data.get(name)
        try:
            if value:
                check(value)
        except sources.SourceError as error:
            self.add_error(name, str(error))


class SigningSecrets(admin.TabularInline):
    model = SigningSecret
    extra = 0
    fields = ("last4", "created_at")
    readonly_fields = ("last4", "created_at")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(StripeSource)
class StripeSourceAdmin(admin.ModelAdmin):
    form = SourceForm
    list_display = ("slug", "label", "mode", "history_from", "secrets", "key")
    readonly_fields = ("key",)
    inlines = (SigningSecrets,)

    def get_readonly_fields(self, request: HttpRequest, obj: StripeSource | None = None) -> tuple[str, ...]:
        return ("key", "slug") if obj else ("key",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[StripeSource]:
        return super().get_queryset(request).prefetch_related("signing_secrets")

    def has_delete_permission(self, request: HttpRequest, obj: StripeSource | None = None) -> bool:
        return obj is not None and super().has_delete_permission(request, obj) and not selectors.has_events([obj.pk])

    def save_model(self, request: HttpRequest, obj: StripeSource, form: Any, change: bool) -> None:
        key = form.cleaned_data.get("new_api_key")
        if key:
            obj.api_key = key
        super().save_model(request, obj, form, change)
        if key:
            owed.resume(obj.pk, now=timezone.now())
        secret = form.cleaned_data.get("new_signing_secret")
        if secret:
            try:
                sources.add(obj.slug, signing_secrets=[secret])
            except sources.SourceError as error:
                self.message_user(request, str(error), messages.ERROR)

    @admin.display(description="Mode")
    def mode(self, source: StripeSource) -> str:
        return "live" if source.livemode else "test"

    @admin.display(description="Signing secrets")
    def secrets(self, source: StripeSource) -> str:
        return ", ".join(f"…{secret.last4}" for secret in source.signing_secrets.all()) or "none"

    @admin.display(description="API key")
    def key(self, source: StripeSource) -> str:
        return f"set, ends in {source.api_key[-4:]}" if source.api_key else "not set"


# ---- events ----


@admin.register(StripeEvent)
class StripeEventAdmin(ReadOnly):
    list_display = ("stripe_id", "type", "source", "state", "reason", "attempts", "created_at", "received_at")
    list_filter = ("state", "source", "reason", "type")
    list_select_related = ("source",)
    search_fields = ("=stripe_id", "=customer_id", "=object_id")
    search_help_text = "The whole id of an event, a customer or an object"
    ordering = ("-id",)
    show_full_result_count = False
    actions = ("process_again",)
    fields = (
        "source",
        "stripe_id",
        "type",
        "created_at",
        "received_at",
        "livemode",
        "api_version",
        "object_id",
        "customer_id",
        "origin",
        "state",
        "reason",
        "error",
        "attempts",
        "due_at",
        "leased_until",
        "processed_at",
        "body_sha256",
        "payload",
    )
    readonly_fields = ("payload",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[StripeEvent]:
        return super().get_queryset(request).defer("body")

    @admin.display(description="Payload")
    def payload(self, event: StripeEvent) -> str:
        details = selectors.event_details(event.stripe_id, source_pks=[event.source_id])
        return format_html("<pre>{}</pre>", details[0].pretty if details else "")

    @admin.action(description="Process again", permissions=["process"])
    def process_again(self, request: HttpRequest, chosen: QuerySet[StripeEvent]) -> None:
        now = timezone.now()
        count = sum(inbox.reprocess(pk, now=now) for pk in chosen.values_list("pk", flat=True))
        self.message_user(request, f"{count} events wait to be processed again.", messages.SUCCESS)

    def has_process_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("billing.change_stripeevent")


# ---- what is owed to the mirror ----


@admin.register(OwedFetch)
class OwedFetchAdmin(ReadOnly):
    list_display = ("stripe_id", "kind", "source", "state", "code", "attempts", "waiting", "created_at", "done_at")
    list_filter = ("state", "kind", "code", "source")
    list_select_related = ("source",)
    search_fields = ("=stripe_id", "=customer__stripe_id")
    ordering = ("-id",)
    show_full_result_count = False
    actions = ("ask_again",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[OwedFetch]:
        return super().get_queryset(request).annotate(waiting_count=Count("waiters"))

    @admin.display(description="Customers waiting")
    def waiting(self, fetch: Any) -> int:
        return int(fetch.waiting_count)

    @admin.action(description="Try again", permissions=["ask"])
    def ask_again(self, request: HttpRequest, chosen: QuerySet[OwedFetch]) -> None:
        pks = list(chosen.values_list("pk", flat=True))
        count = fetches.try_again(OwedFetch.objects.filter(pk__in=pks), now=timezone.now())
        self.message_user(request, f"{count} fetches are due again.", messages.SUCCESS)

    def has_ask_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("billing.change_owedfetch")


# ---- mirrored objects ----


@admin.register(Customer)
class CustomerAdmin(ReadOnly):
    list_display = ("stripe_id", "name", "email", "currency", "source", "created_at", "deleted_at")
    list_filter = ("source",)
    list_select_related = ("source",)
    search_fields = ("=stripe_id", "name", "email")
    ordering = ("-id",)
    show_full_result_count = False


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnly):
    list_display = ("stripe_id", "customer", "status", "currency", "started_at", "cancel_at", "ended_at", "source")
    list_filter = ("status", "source")
    list_select_related = ("customer", "source")
    search_fields = ("=stripe_id", "=customer__stripe_id")
    ordering = ("-id",)
    show_full_result_count = False
    exclude = ("items", "metadata", "discount_ids")
    readonly_fields = ("items_as_told",)

    @admin.display(description="Items")
    def items_as_told(self, subscription: Subscription) -> str:
        return format_html("<pre>{}</pre>", json.dumps(subscription.items, indent=2, ensure_ascii=False))


@admin.register(Snapshot)
class SnapshotAdmin(ReadOnly):
    list_display = ("subscription_id", "event_type", "event_id", "created_at", "is_live")
    search_fields = ("=subscription_id", "=event_id", "=customer__stripe_id")
    ordering = ("-id",)
    show_full_result_count = False


class Lines(admin.TabularInline):
    model = InvoiceLine
    extra = 0
    can_delete = False
    fields = ("stripe_id", "amount_minor", "quantity", "is_proration", "price_id", "period_start_at", "period_end_at")
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Invoice)
class InvoiceAdmin(ReadOnly):
    list_display = (
        "stripe_id",
        "number",
        "customer",
        "status",
        "total_minor",
        "currency",
        "attempt_count",
        "created_at",
    )
    list_filter = ("status", "source")
    list_select_related = ("customer",)
    search_fields = ("=stripe_id", "=number", "=customer__stripe_id")
    ordering = ("-id",)
    show_full_result_count = False
    inlines = (Lines,)


@admin.register(Charge)
class ChargeAdmin(ReadOnly):
    list_display = ("stripe_id", "customer", "status", "amount_minor", "refunded_minor", "currency", "created_at")
    list_filter = ("status", "source")
    list_select_related = ("customer",)
    search_fields = ("=stripe_id", "=customer__stripe_id", "=payment_intent_id")
    ordering = ("-id",)
    show_full_result_count = False


@admin.register(Refund, Dispute)
class MoneyBackAdmin(ReadOnly):
    list_display = ("stripe_id", "customer", "status", "reason", "amount_minor", "currency", "created_at")
    list_filter = ("status", "source")
    list_select_related = ("customer",)
    search_fields = ("=stripe_id", "=charge_id", "=customer__stripe_id")
    ordering = ("-id",)
    show_full_result_count = False


@admin.register(Payout)
class PayoutAdmin(ReadOnly):
    list_display = ("stripe_id", "status", "amount_minor", "currency", "arrives_at", "source")
    list_filter = ("status", "source")
    search_fields = ("=stripe_id",)
    ordering = ("-id",)


@admin.register(SubscriptionSchedule)
class ScheduleAdmin(ReadOnly):
    list_display = ("stripe_id", "customer", "status", "subscription_id", "end_behavior", "created_at", "source")
    list_filter = ("status", "source")
    list_select_related = ("customer", "source")
    search_fields = ("=stripe_id", "=subscription_id", "=customer__stripe_id")
    ordering = ("-id",)
    show_full_result_count = False


@admin.register(Product, Price, Coupon, Discount)
class CatalogueAdmin(ReadOnly):
    list_display = ("stripe_id", "__str__", "source", "created_at")
    list_filter = ("source",)
    list_select_related = ("source",)
    search_fields = ("=stripe_id",)
    ordering = ("-id",)
    show_full_result_count = False
