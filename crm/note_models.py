"""What colleagues write to each other about a customer, or about a finding of the health page."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Index, Q

About = int | str  # a customer by our key, or a finding by its key


class Note(models.Model):
    """One line about a customer or a finding: what was said, and who looks after it until when. Lines are only added.

    The newest line says to whom the customer, or the finding, is assigned now.
    """

    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, null=True, related_name="notes")
    finding = models.CharField(
        max_length=200, blank=True, default="", db_default="", help_text="what is wrong and where, as code:where"
    )
    text = models.TextField(blank=True, help_text="empty = only the assignment changed")
    assignee = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="assigned_notes"
    )
    due_on = models.DateField(null=True)
    by = models.CharField(max_length=150, help_text="username")
    at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="a_note_is_about_one_thing",
                condition=Q(customer__isnull=False, finding="") | (Q(customer__isnull=True) & ~Q(finding="")),
            )
        ]
        indexes = [
            Index(fields=["customer", "-id"], name="notes_of_a_customer"),
            Index(fields=["finding", "-id"], condition=~Q(finding=""), name="notes_of_a_finding"),
        ]

    def __str__(self) -> str:
        return f"{self.finding or self.customer_id}: {self.by} {self.at:%Y-%m-%d %H:%M}"


def columns(about: About) -> dict[str, About]:
    """Return what a note is about as the columns that say so, to filter by and to make a line with."""
    return {"customer_id": about} if isinstance(about, int) else {"finding": about}
