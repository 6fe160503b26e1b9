"""What retention pages read: sums of long periods, and who was lost when. Kept in step with the ledger."""

from __future__ import annotations

from django.db import models
from django.db.models import Index, UniqueConstraint


class RetentionRollup(models.Model):
    """What became of the customers of a period's start: `span` months that end with `month`, netted. Losses negative.

    What they began with is in the month sums. `is_mixed` are the customers who ever paid in several currencies: their
    rows count in their currencies alone; the rows with no currency are the same customers taken as a whole, in the
    reporting currency at the pinned day's rates. Months may lie ahead: a loss of today is one of next month's year too.
    """

    source = models.ForeignKey("billing.StripeSource", on_delete=models.PROTECT, related_name="+")
    currency = models.CharField(max_length=3, blank=True)
    is_mixed = models.BooleanField()
    span = models.PositiveSmallIntegerField()
    month = models.DateField()
    expansion_micros = models.BigIntegerField(default=0)
    contraction_micros = models.BigIntegerField(default=0)
    churn_micros = models.BigIntegerField(default=0)
    churned_customers = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            UniqueConstraint(fields=["source", "currency", "is_mixed", "span", "month"], name="a_period_is_summed_once")
        ]

    def __str__(self) -> str:
        return f"{self.span} months to {self.month:%Y-%m} {self.currency or 'as a whole'}"


class Loss(models.Model):
    """A customer that paid when `month` began and paid nothing when it ended; `currency` and `is_mixed` as above.

    `start_1` is what it paid at the start of that month, `start_2` at the start of the month before, and so on: what a
    period that begins there has lost. `back_month` is the first that ends with MRR again.
    """

    source = models.ForeignKey("billing.StripeSource", on_delete=models.PROTECT, related_name="+")
    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="+")
    currency = models.CharField(max_length=3, blank=True)
    is_mixed = models.BooleanField()
    month = models.DateField()
    back_month = models.DateField(null=True)
    reason = models.CharField(max_length=30)
    product = models.CharField(max_length=255, blank=True, help_text="that of the line that ended last and moved most")
    tenure_months = models.IntegerField(help_text="since the month of acquisition")
    start_1 = models.BigIntegerField()
    start_2 = models.BigIntegerField()
    start_3 = models.BigIntegerField()
    start_4 = models.BigIntegerField()
    start_5 = models.BigIntegerField()
    start_6 = models.BigIntegerField()
    start_7 = models.BigIntegerField()
    start_8 = models.BigIntegerField()
    start_9 = models.BigIntegerField()
    start_10 = models.BigIntegerField()
    start_11 = models.BigIntegerField()
    start_12 = models.BigIntegerField()

    class Meta:
        verbose_name_plural = "losses"
        constraints = [
            UniqueConstraint(fields=["customer", "currency", "month"], name="a_customer_is_lost_once_a_month")
        ]
        indexes = [Index(fields=["source", "currency", "month"], name="losses_by_month")]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} {self.currency or 'as a whole'} {self.reason}"
