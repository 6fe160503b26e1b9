"""What reading Stripe's lists leaves behind: how far each reading is, what it found, and whom it concerns."""

from __future__ import annotations

from django.db import models
from django.db.models import Index, Q, UniqueConstraint


class Purpose(models.TextChoices):
    BACKFILL = "backfill"
    DRY_RUN = "dry_run"
    RECOUNT = "recount"
    CATCH_UP = "catch_up"
    RESTORED = "restored"


class ListingState(models.TextChoices):
    LISTING = "listing"
    POSTING = "posting"
    COUNTING = "counting"
    DONE = "done"
    STOPPED = "stopped"


class Listing(models.Model):
    """One reading of Stripe's lists: a backfill, a nightly recount, a catch-up. The row is the queue."""

    source = models.ForeignKey("billing.StripeSource", on_delete=models.PROTECT, related_name="listings")
    purpose = models.CharField(max_length=10, choices=Purpose.choices)
    state = models.CharField(max_length=10, choices=ListingState.choices, default=ListingState.LISTING)
    by = models.CharField(max_length=150, blank=True, help_text="who asked for it")
    since = models.DateTimeField(null=True, help_text="from when dated objects are listed; null = from the start")
    watermark_at = models.DateTimeField(help_text="taken before the start: what is made later comes by events")
    calls = models.PositiveIntegerField(default=0)
    attempts = models.PositiveIntegerField(default=0, help_text="failures in a row")
    due_at = models.DateTimeField()
    code = models.CharField(max_length=50, blank=True, help_text="why it stopped, or waits")
    error = models.TextField(blank=True)
    counted_to = models.BigIntegerField(default=0, help_text="the customer whose MRR was recounted last, by our key")
    started_at = models.DateTimeField()
    listed_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            UniqueConstraint(
                fields=["source", "purpose"],
                condition=Q(state__in=("listing", "posting", "counting")),
                name="a_source_is_listed_once_at_a_time",
            )
        ]
        indexes = [Index(fields=["source", "purpose", "started_at"], name="listings_of_a_source")]

    def __str__(self) -> str:
        return f"{self.purpose} {self.pk}"


class ListingPart(models.Model):
    """One list of a listing, and what came of it. `kept` is what stands in our rows afterwards: the proof."""

    listing = models.ForeignKey(Listing, on_delete=models.CASCADE, related_name="parts")
    name = models.CharField(max_length=40)
    listed = models.PositiveIntegerField(default=0)
    kept = models.PositiveIntegerField(default=0)
    new = models.PositiveIntegerField(default=0, help_text="we had not heard of these")
    differing = models.PositiveIntegerField(default=0, help_text="our rows said otherwise")
    unreadable = models.PositiveIntegerField(default=0)
    gone = models.PositiveIntegerField(default=0, help_text="we know these, Stripe lists them no more")
    code = models.CharField(max_length=50, blank=True, help_text="why the list could not be read")
    error = models.TextField(blank=True)
    is_done = models.BooleanField(default=False)

    class Meta:
        constraints = [UniqueConstraint(fields=["listing", "name"], name="a_listing_reads_a_list_once")]

    def __str__(self) -> str:
        return self.name


class ListingWindow(models.Model):
    """A stretch of `created` that is still to be read, newest first; gone from here when it is read."""

    part = models.ForeignKey(ListingPart, on_delete=models.CASCADE, related_name="windows")
    first = models.BigIntegerField(help_text="Unix seconds, included")
    last = models.BigIntegerField(help_text="Unix seconds, included")
    cursor = models.CharField(max_length=255, blank=True, help_text="the object that was read last")
    read_to = models.BigIntegerField(null=True, help_text="`created` of that object")
    read = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"


class ListingFinding(models.Model):
    """Something that a listing found otherwise than we had it. No personal data: columns by name alone."""

    listing = models.ForeignKey(Listing, on_delete=models.CASCADE, related_name="findings")
    kind = models.CharField(max_length=30, help_text="event, mrr, or the kind of object")
    stripe_id = models.CharField(max_length=255)
    how = models.CharField(max_length=20, help_text="missing, differs, gone or unreadable")
    details = models.JSONField(default=dict)
    found_at = models.DateTimeField()
    repaired_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [UniqueConstraint(fields=["listing", "kind", "stripe_id"], name="a_listing_names_a_finding_once")]

    def __str__(self) -> str:
        return f"{self.kind} {self.stripe_id} {self.how}"


class Unposted(models.Model):
    """A customer of whom a listing told something new; gone once the ledger was brought in step with it."""

    customer = models.OneToOneField("billing.Customer", on_delete=models.PROTECT, related_name="+")
    listing = models.ForeignKey(Listing, on_delete=models.CASCADE, related_name="unposted")
    due_at = models.DateTimeField(null=True, help_text="not before; null = once the lists are read")

    def __str__(self) -> str:
        return f"{self.customer_id} waits for {self.listing_id}"
