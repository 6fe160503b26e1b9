"""What colleagues write to each other about a customer."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Index


class Note(models.Model):
    """One line about a customer: what was said, and who looks after it until when from then on. Lines are only added.

    The newest line of a customer says to whom it is assigned now.
    """

    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="notes")
    text = models.TextField(blank=True, help_text="empty = only the assignment changed")
    assignee = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="assigned_notes"
    )
    due_on = models.DateField(null=True)
    by = models.CharField(max_length=150, help_text="username")
    at = models.DateTimeField()

    class Meta:
        indexes = [Index(fields=["customer", "-id"], name="notes_of_a_customer")]

    def __str__(self) -> str:
        return f"{self.customer_id}: {self.by} {self.at:%Y-%m-%d %H:%M}"
