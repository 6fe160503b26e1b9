"""When and to whom the summary of a week or a month is told."""

from __future__ import annotations

from django.db import models
from django.db.models import CheckConstraint, Q


class SummaryKind(models.TextChoices):
    WEEKLY = "weekly"
    MONTHLY = "monthly"


class SummaryRule(models.Model):
    """One row for the week's summary and one for the month's; without a row it is off."""

    kind = models.CharField(max_length=10, choices=SummaryKind.choices, unique=True)
    is_on = models.BooleanField(default=False)
    day = models.PositiveSmallIntegerField(help_text="of the week, Monday is 0; or of the month, 1 to 28")
    hour = models.PositiveSmallIntegerField(help_text="of the day in the reporting zone")
    addresses = models.CharField(max_length=1000, blank=True, help_text="who gets the mail, separated by commas")
    channel = models.CharField(max_length=80, blank=True, help_text="Slack channel told the same")
    names_customers = models.BooleanField(default=False, help_text="else their movements stand without a name")
    on_since = models.DateTimeField(null=True, help_text="what fell due before it was switched on is not told")
    told_through = models.DateField(null=True, help_text="last day of the last period that was told")

    class Meta:
        constraints = [
            CheckConstraint(
                name="a_summary_falls_due_on_a_day_that_there_is",
                condition=Q(kind="weekly", day__lte=6) | Q(kind="monthly", day__gte=1, day__lte=28),
            ),
            CheckConstraint(name="a_summary_falls_due_at_an_hour_that_there_is", condition=Q(hour__lte=23)),
        ]

    def __str__(self) -> str:
        return self.kind
