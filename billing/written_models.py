"""What is written to Stripe: the Account id of a match, in the metadata of its customer."""

from __future__ import annotations

from django.db import models
from django.db.models import Index, Q


class MetadataWrite(models.Model):
    """The Account id that a customer's metadata is to name; the row is the queue, and the newest wish the only one."""

    customer = models.OneToOneField("billing.Customer", on_delete=models.PROTECT, related_name="metadata_write")
    wanted = models.CharField(max_length=18, blank=True, help_text="empty = none: what we wrote is taken out")
    written = models.CharField(max_length=18, blank=True, help_text="what we wrote last")
    version = models.PositiveIntegerField(default=1, help_text="of the wish; in the key that makes a repeat harmless")
    state = models.CharField(max_length=10, default="waiting", help_text="waiting, done, parked")
    attempts = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField()
    leased_until = models.DateTimeField(null=True)
    code = models.CharField(max_length=50, blank=True)
    error = models.TextField(blank=True)

    class Meta:
        verbose_name = "write to Stripe"
        verbose_name_plural = "writes to Stripe"
        indexes = [Index(fields=["due_at", "id"], name="metadata_writes_due", condition=Q(state="waiting"))]

    def __str__(self) -> str:
        return f"{self.customer_id}: {self.wanted or 'none'}"
