"""Rows of forgetting: whom we were asked to forget, by which names a body tells of them, and what was redacted."""

from __future__ import annotations

from django.db import models
from django.db.models import Index, Q, UniqueConstraint


class Forgetting(models.Model):
    """A customer whose person is to be forgotten, for good: who asked, when and why. The row is also the queue."""

    source = models.ForeignKey("billing.StripeSource", on_delete=models.PROTECT, related_name="forgettings")
    customer_id = models.CharField(max_length=255, help_text="cus_…")
    asked_by = models.CharField(max_length=150)
    asked_at = models.DateTimeField()
    reason = models.TextField(help_text="why; it names nobody")
    due_at = models.DateTimeField(help_text="when it is done, or done again")
    done_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=300, blank=True)
    result = models.JSONField(default=dict, help_text="what was removed here, and what stands elsewhere; no names")

    class Meta:
        constraints = [UniqueConstraint(fields=["source", "customer_id"], name="a_customer_is_forgotten_once")]
        indexes = [Index(fields=["due_at"], name="forgettings_due", condition=Q(done_at__isnull=True))]

    def __str__(self) -> str:
        return self.customer_id


class ForgottenName(models.Model):
    """An id that stands for a forgotten customer alone: its own, or of a charge, invoice, card and the like of it.

    A body that names one of them is redacted when it arrives.
    """

    forgetting = models.ForeignKey(Forgetting, on_delete=models.CASCADE, related_name="names")
    source = models.ForeignKey("billing.StripeSource", on_delete=models.PROTECT, related_name="+")
    stripe_id = models.CharField(max_length=255)

    class Meta:
        constraints = [UniqueConstraint(fields=["source", "stripe_id"], name="a_forgotten_name_is_kept_once")]

    def __str__(self) -> str:
        return self.stripe_id


class Redaction(models.Model):
    """One event's body replaced by its redacted form. Rows are added, never changed.

    Adding a row with a body is what replaces the event's body: a database rule does it, takes the copy out of this row
    again, and lets a body change in no other way. A row without one tells of a body that was redacted before it was
    kept. The event's own SHA-256 stays that of what was received.
    """

    event = models.ForeignKey("billing.StripeEvent", on_delete=models.PROTECT, related_name="redactions")
    forgetting = models.ForeignKey(
        Forgetting, on_delete=models.PROTECT, null=True, related_name="redactions", help_text="null = kept long enough"
    )
    at = models.DateTimeField()
    body = models.BinaryField(null=True)
    body_sha256 = models.CharField(max_length=64, help_text="of the redacted form")

    def __str__(self) -> str:
        return f"{self.event_id} at {self.at:%Y-%m-%d}"
