"""What it is worth: the ledger (shown as MRR schedule) and the roll-ups kept in step with it."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import CheckConstraint, Index, Q, UniqueConstraint

MICROS_HELP = "millionths of the currency's minor unit"


class EntryType(models.TextChoices):
    OPENING = "opening"
    NEW = "new"
    EXPANSION = "expansion"
    REACTIVATION = "reactivation"
    CONTRACTION = "contraction"
    CHURN = "churn"
    REVERSAL = "reversal"


class LedgerEntry(models.Model):
    """One movement of one customer's MRR in one currency, or the reversal of one. Rows are added, never changed.

    `lines` is a list of objects {subscription, item, price, product, reason, micros, before, after}; before and
    after are the item's terms ({price, unit_amount_decimal, quantity, interval, interval_count, micros, …}) or null.
    """

    key = models.CharField(max_length=40, unique=True, help_text="our name for the entry, in Salesforce too")
    source = models.ForeignKey("billing.StripeSource", on_delete=models.PROTECT, related_name="+")
    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="entries")
    sequence = models.PositiveIntegerField(
        help_text="counts a customer's entries; two workers cannot post the same one"
    )
    type = models.CharField(max_length=15, choices=EntryType.choices)
    reason = models.CharField(max_length=30)
    currency = models.CharField(max_length=3)
    amount_micros = models.BigIntegerField(help_text=MICROS_HELP)
    paying_delta = models.SmallIntegerField(default=0, help_text="+1 begins, -1 stops to have MRR in this currency")
    lines = models.JSONField()
    event_ids = models.JSONField()
    effective_at = models.DateTimeField()
    posted_at = models.DateTimeField()
    book_month = models.DateField()
    backdated_from = models.DateField(null=True)
    days_lapsed = models.PositiveIntegerField(null=True, help_text="of a reactivation: days without MRR")
    is_live = models.BooleanField(default=True, help_text="caused by a live delivery; only then people may be told")
    policy_version = models.PositiveIntegerField(default=1)
    reverses = models.OneToOneField("self", on_delete=models.PROTECT, null=True, related_name="reversed_by")

    class Meta:
        verbose_name = "MRR schedule entry"
        verbose_name_plural = "MRR schedule"
        constraints = [
            UniqueConstraint(fields=["customer", "sequence"], name="an_entry_has_its_place"),
            CheckConstraint(condition=~Q(amount_micros=0), name="an_entry_moves_something"),
            CheckConstraint(
                condition=Q(type="reversal", reverses__isnull=False) | (~Q(type="reversal") & Q(reverses__isnull=True)),
                name="a_reversal_names_its_entry",
            ),
        ]
        indexes = [
            Index(fields=["source", "currency", "effective_at"], name="entries_by_time"),
            Index(fields=["customer", "effective_at"], name="entries_of_a_customer"),
            Index(fields=["effective_at", "id"], name="entries_latest"),
            # Few entries are either: without these, what stands and what came late is found by reading all.
            Index(fields=["reverses"], name="entries_reversals", condition=Q(reverses__isnull=False)),
            Index(fields=["source", "currency"], name="entries_late", condition=Q(backdated_from__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.amount_micros} {self.currency} {self.effective_at:%Y-%m-%d}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.pk and not kwargs.get("force_insert"):
            raise TypeError("The ledger is append-only: post a reversal instead of changing an entry.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("The ledger is append-only: post a reversal instead of deleting an entry.")


class CustomerBalance(models.Model):
    """A customer's MRR now, per currency, and what it began with. Kept with the ledger, proven by check_ledger."""

    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="balances")
    source = models.ForeignKey("billing.StripeSource", on_delete=models.PROTECT, related_name="+")
    currency = models.CharField(max_length=3)
    mrr_micros = models.BigIntegerField(default=0)
    scheduled_micros = models.BigIntegerField(default=0, help_text="what is already scheduled to change: CMRR less MRR")
    incomplete_items = models.PositiveIntegerField(
        default=0, help_text="items that count as 0 because their price is unknown"
    )
    first_paid_at = models.DateTimeField(null=True)
    cohort_month = models.DateField(null=True)
    acquired_micros = models.BigIntegerField(default=0)
    last_movement_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [UniqueConstraint(fields=["customer", "currency"], name="a_customer_has_one_balance")]
        indexes = [
            Index(fields=["source", "currency", "-mrr_micros"], name="balances_largest"),
            Index(
                fields=["source"],
                name="balances_unsettled",
                condition=~Q(scheduled_micros=0) | Q(incomplete_items__gt=0),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.mrr_micros} {self.currency}"


class MonthRollup(models.Model):
    """Sums of one month per source and currency: event view (by entry), netted view (by month-end balances), counts.

    The opening of a month is the sum of all earlier months. Losses are negative.
    """

    source = models.ForeignKey("billing.StripeSource", on_delete=models.PROTECT, related_name="+")
    currency = models.CharField(max_length=3)
    month = models.DateField()
    opening_micros = models.BigIntegerField(default=0)
    new_micros = models.BigIntegerField(default=0)
    expansion_micros = models.BigIntegerField(default=0)
    reactivation_micros = models.BigIntegerField(default=0)
    contraction_micros = models.BigIntegerField(default=0)
    churn_micros = models.BigIntegerField(default=0)
    opening_customers = models.BigIntegerField(default=0)
    new_customers = models.BigIntegerField(default=0)
    reactivated_customers = models.BigIntegerField(default=0)
    churned_customers = models.BigIntegerField(default=0)
    netted_new_micros = models.BigIntegerField(default=0)
    netted_expansion_micros = models.BigIntegerField(default=0)
    netted_reactivation_micros = models.BigIntegerField(default=0)
    netted_contraction_micros = models.BigIntegerField(default=0)
    netted_churn_micros = models.BigIntegerField(default=0)
    netted_new_customers = models.BigIntegerField(default=0)
    netted_reactivated_customers = models.BigIntegerField(default=0)
    netted_churned_customers = models.BigIntegerField(default=0)

    class Meta:
        constraints = [UniqueConstraint(fields=["source", "currency", "month"], name="a_month_is_summed_once")]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} {self.currency}"


class CohortRollup(models.Model):
    """How the month-end balances of one cohort changed in one month; cumulated over months they are the cells.

    `gross_micros` follows min(acquired, balance). Acquired figures stand in the month the customer was acquired.
    """

    source = models.ForeignKey("billing.StripeSource", on_delete=models.PROTECT, related_name="+")
    currency = models.CharField(max_length=3)
    cohort = models.DateField()
    month = models.DateField()
    acquired_customers = models.BigIntegerField(default=0)
    acquired_micros = models.BigIntegerField(default=0)
    customers = models.BigIntegerField(default=0)
    mrr_micros = models.BigIntegerField(default=0)
    gross_micros = models.BigIntegerField(default=0)

    class Meta:
        constraints = [UniqueConstraint(fields=["source", "currency", "cohort", "month"], name="a_cell_is_kept_once")]

    def __str__(self) -> str:
        return f"{self.cohort:%Y-%m} in {self.month:%Y-%m}"
