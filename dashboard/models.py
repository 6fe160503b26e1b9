"""What people bring with them: API tokens and the one-time code of an empty install."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class ApiToken(models.Model):
    """A token of the API: kept as a digest, with a role of its own that never exceeds the user's."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    role = models.CharField(max_length=10)
    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the token")
    last4 = models.CharField(max_length=4)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "API token"

    def __str__(self) -> str:
        return f"…{self.last4}"


class SetupCode(models.Model):
    """The one-time code that opens the set-up page of an empty install; kept as a digest."""

    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return "used" if self.used_at else "open"
