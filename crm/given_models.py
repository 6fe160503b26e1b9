"""What people and other systems tell us of customers: how much they use, and what finance's own sheet says."""

from __future__ import annotations

from django.db import models
from django.db.models import UniqueConstraint


class UsageSignal(models.Model):
    """The value of one metric of a customer's use at one time."""

    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="usage_signals")
    metric = models.CharField(max_length=60)
    at = models.DateTimeField()
    value_micros = models.BigIntegerField(help_text="millionths of the value")

    class Meta:
        constraints = [UniqueConstraint(fields=["customer", "metric", "at"], name="a_metric_has_one_value_at_a_time")]

    def __str__(self) -> str:
        return f"{self.metric} at {self.at:%Y-%m-%d}"


class FinanceMrr(models.Model):
    """A customer's MRR at the end of a month as finance's own sheet has it: for comparison, in none of our figures."""

    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="finance_mrr")
    month = models.DateField(help_text="its first day")
    currency = models.CharField(max_length=3)
    amount_minor = models.BigIntegerField()

    class Meta:
        constraints = [UniqueConstraint(fields=["customer", "month", "currency"], name="finance_says_one_mrr_a_month")]
        indexes = [models.Index(fields=["month"], name="finance_mrr_by_month")]
        verbose_name = "finance's MRR"
        verbose_name_plural = "finance's MRR"

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} {self.currency}"
