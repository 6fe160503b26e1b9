"""What waterfalls before discounts and of CMRR read. Both follow from the events, and are written anew with them."""

from __future__ import annotations

from django.db import models
from django.db.models import Index, UniqueConstraint


class DiscountChange(models.Model):
    """By how much a standing movement of a customer changed what discounts take off its MRR, in native micros.

    The movement before discounts is `net_micros` + `micros`. Movements that moved both alike have no row.
    """

    source = models.ForeignKey("billing.StripeSource", on_delete=models.PROTECT, related_name="+")
    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="+")
    currency = models.CharField(max_length=3)
    effective_at = models.DateTimeField()
    type = models.CharField(max_length=15)
    net_micros = models.BigIntegerField()
    micros = models.BigIntegerField()

    class Meta:
        indexes = [Index(fields=["source", "currency", "effective_at"], name="discounts_by_time")]

    def __str__(self) -> str:
        return f"{self.micros} {self.currency} off at {self.effective_at:%Y-%m-%d}"


class MonthEndSchedule(models.Model):
    """What was scheduled to change a customer's MRR as known when a month ended: CMRR less MRR, in native micros."""

    source = models.ForeignKey("billing.StripeSource", on_delete=models.PROTECT, related_name="+")
    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="+")
    currency = models.CharField(max_length=3)
    month = models.DateField()
    micros = models.BigIntegerField()

    class Meta:
        constraints = [UniqueConstraint(fields=["customer", "currency", "month"], name="a_schedule_is_kept_once")]
        indexes = [Index(fields=["source", "month"], name="schedules_by_month")]

    def __str__(self) -> str:
        return f"{self.micros} {self.currency} ahead at the end of {self.month:%Y-%m}"


class ScheduledMonth(models.Model):
    """A month whose end has, or is to get, its MonthEndSchedule rows.

    `after_pk` is how far the customers are gone through, `entry_pk` up to which ledger entry it is looked after: who
    gets a later entry that reaches back is looked at anew.
    """

    month = models.DateField(unique=True)
    after_pk = models.BigIntegerField(default=0)
    entry_pk = models.BigIntegerField(default=0)
    done_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"
