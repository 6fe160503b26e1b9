"""API tokens in Django's admin: to see who has which, and to take one away. They are made by create_api_token."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from dashboard.models import ApiToken


@admin.register(ApiToken)
class ApiTokenAdmin(admin.ModelAdmin):
    list_display = ("user", "role", "last4", "created_at", "expires_at", "last_used_at")
    list_filter = ("role",)
    list_select_related = ("user",)
    fields = ("user", "role", "last4", "created_at", "expires_at", "last_used_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
