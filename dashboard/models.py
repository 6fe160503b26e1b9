"""What people bring (API tokens, the one-time code of an empty install, files), and how scheduled jobs ended."""

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


class Work(models.TextChoices):
    """What is owed to a file that somebody brought, by a worker where the file is large."""

    READING = "reading"
    APPLYING = "applying"
    UNDOING = "undoing"


class Import(models.Model):
    """A file that somebody brought: looked at, then applied or thrown away, and perhaps undone.

    `applied_at` is when it was asked to be applied, whether or not a worker is still at it.
    """

    kind = models.CharField(max_length=20)
    file_name = models.CharField(max_length=200, blank=True)
    body = models.BinaryField(null=True, help_text="the file until it is applied; then it goes")
    faults = models.JSONField(default=list, help_text="the first bad rows: [line, column, reason, cure]; goes with it")
    rows = models.PositiveIntegerField()
    bad = models.PositiveIntegerField()
    added = models.PositiveIntegerField(help_text="before it is applied: what it would add, and so on")
    changed = models.PositiveIntegerField()
    already = models.PositiveIntegerField()
    by = models.CharField(max_length=150)
    at = models.DateTimeField()
    applied_by = models.CharField(max_length=150, blank=True)
    applied_at = models.DateTimeField(null=True)
    undone_by = models.CharField(max_length=150, blank=True)
    undone_at = models.DateTimeField(null=True)
    work = models.CharField(max_length=10, choices=Work, blank=True, db_default="", help_text="empty = nothing is owed")
    due_at = models.DateTimeField(null=True, help_text="when the work may be taken up")
    done = models.PositiveIntegerField(db_default=0, help_text="rows of the work that are behind it")
    reached = models.BigIntegerField(db_default=0, help_text="key of the last change that an undo put back")
    skips_bad = models.BooleanField(db_default=False, help_text="apply leaves out bad rows")
    problem = models.CharField(max_length=300, blank=True, db_default="", help_text="why the work was not done")

    class Meta:
        indexes = [
            models.Index(fields=["-at", "-id"], name="imports_newest_first"),
            models.Index(fields=["due_at"], condition=~models.Q(work=""), name="imports_to_work_on"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"


class ImportChange(models.Model):
    """What an import said of one place, and what stood there before: an undo puts that back. Ids and figures alone."""

    batch = models.ForeignKey(Import, on_delete=models.CASCADE, related_name="changes")
    place = models.CharField(max_length=120, help_text="what it is about, as the kind writes it")
    before = models.CharField(max_length=60, blank=True, help_text="empty = nothing stood there")
    after = models.CharField(max_length=60)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["place", "batch"], name="an_import_says_a_place_once")]
        verbose_name = "change by an import"
        verbose_name_plural = "changes by imports"

    def __str__(self) -> str:
        return self.place
