"""What people bring with them (API tokens, the one-time code of an empty install), and how scheduled jobs ended."""

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


class JobRun(models.Model):
    """How a scheduled job ended last: one row a job, since only its newest run matters to whoever is on call."""

    name = models.CharField(max_length=60, unique=True)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, help_text="null = it runs, or its worker died")
    went_well_at = models.DateTimeField(null=True, help_text="when it last ended without an error")
    error = models.CharField(max_length=300, blank=True)

    class Meta:
        verbose_name = "run of a scheduled job"
        verbose_name_plural = "runs of scheduled jobs"

    def __str__(self) -> str:
        return self.name
