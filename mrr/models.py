"""What it is worth: the ledger (shown as MRR schedule) and the roll-ups kept in step with it."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import CheckConstraint, Index, Q, UniqueConstraint

from mrr.retention_models import Loss as Loss
from mrr.retention_models import RetentionRollup as RetentionRollup
from mrr.waterfall_models import DiscountChange as DiscountChange
from mrr.waterfall_models import MonthEndSchedule as MonthEndSchedule
from mrr.waterfall_models import ScheduledMonth as ScheduledMonth

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
    digest = models.CharField(max_length=64, default="", editable=False, help_text="SHA-256 of all of the above")

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
    usage_micros = models.BigIntegerField(default=0, help_text="run-rate of metered usage, a month; no part of MRR")
    clock_at = models.DateTimeField(null=True, help_text="when the clock changes this balance next, with no event")

    class Meta:
        constraints = [UniqueConstraint(fields=["customer", "currency"], name="a_customer_has_one_balance")]
        indexes = [
            Index(fields=["source", "currency", "-mrr_micros"], name="balances_largest"),
            Index(fields=["clock_at"], name="balances_by_clock", condition=Q(clock_at__isnull=False)),
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


class PolicyVersion(models.Model):
    """The rules of one time (definitions.md 1 and 2). The newest is in force; without any row it is our own preset."""

    version = models.PositiveIntegerField(unique=True)
    preset = models.CharField(max_length=20, blank=True, help_text="the preset it was laid over")
    settings = models.JSONField(help_text="every setting by name")
    changed = models.JSONField(help_text="what differs from the version before: {key: [before, after]}")
    made_by = models.CharField(max_length=150)
    made_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"policy version {self.version}"


class Repricing(models.Model):
    """How far the customers are replayed under a version. Until it is finished, those after the last one still wait.

    `failed` are customers (our keys) that could not be replayed; they are tried again when it is taken up again.
    """

    version = models.OneToOneField(PolicyVersion, on_delete=models.PROTECT, related_name="repricing")
    last_customer_pk = models.BigIntegerField(default=0)
    customers = models.PositiveIntegerField(default=0)
    posted = models.PositiveIntegerField(default=0)
    reversed = models.PositiveIntegerField(default=0)
    failed = models.JSONField(default=list)
    touched_at = models.DateTimeField(help_text="when the last chunk was done: who does them shows that it lives")
    finished_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"replay under {self.version}"


class SubscriptionLink(models.Model):
    """A subscription of one customer that replaces one of another (definitions.md 3.11); once undone it is history."""

    source = models.ForeignKey("billing.StripeSource", on_delete=models.PROTECT, related_name="+")
    predecessor = models.CharField(max_length=255, help_text="the subscription that ended, sub_…")
    predecessor_customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="+")
    successor = models.CharField(max_length=255, help_text="the subscription that began, sub_…")
    successor_customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="+")
    made_by = models.CharField(max_length=150)
    made_at = models.DateTimeField()
    undone_by = models.CharField(max_length=150, blank=True)
    undone_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            UniqueConstraint(
                fields=["source", "predecessor"],
                condition=Q(undone_at__isnull=True),
                name="a_subscription_is_replaced_once",
            ),
            UniqueConstraint(
                fields=["source", "successor"], condition=Q(undone_at__isnull=True), name="a_subscription_replaces_one"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.predecessor} → {self.successor}"


class RateOrigin(models.TextChoices):
    MANUAL = "manual"
    ECB = "ecb"
    DEMO = "demo"


class Rate(models.Model):
    """One exchange rate of one day: a major unit of `currency` is `rate` major units of `against`. Kept as text.

    The central bank quotes the euro against all others; other origins quote a currency against the reporting one.
    """

    day = models.DateField()
    currency = models.CharField(max_length=3)
    against = models.CharField(max_length=3)
    rate = models.CharField(max_length=40, help_text="decimal text, exact as published")
    origin = models.CharField(max_length=6, choices=RateOrigin.choices)

    class Meta:
        constraints = [
            UniqueConstraint(fields=["currency", "against", "day", "origin"], name="a_day_has_one_rate_an_origin")
        ]

    def __str__(self) -> str:
        return f"{self.day} 1 {self.currency} = {self.rate} {self.against} ({self.origin})"


class FrozenRates(models.Model):
    """The rates of a closed month: later imports never change them.

    `rates` is currency → list of [day, rate]: from that day of the month on one major unit is worth so many reporting
    units, exact text such as `11/10`, null where no rate was known.
    """

    month = models.DateField(unique=True)
    reporting = models.CharField(max_length=3)
    rates = models.JSONField()
    frozen_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"


class RateBook(models.Model):
    """One row: which rates are in force. Whoever converts holds it while they do; whoever changes rates changes it.

    `stamp` is another text after each change. `pinned_on` is the day whose rates constant currency takes; `stale` lists
    [currency, month] whose converted sums still come from the rates before, and ["", ""] for the mixed sums.
    """

    stamp = models.CharField(max_length=32, blank=True)
    reporting = models.CharField(max_length=3)
    pinned_on = models.DateField()
    stale = models.JSONField(default=list)

    def __str__(self) -> str:
        return f"{self.reporting}, pinned on {self.pinned_on}"


class ConvertedRollup(models.Model):
    """A month's movements of one source and foreign currency in the reporting currency, each at its day's rate.

    The sum of entries that were rounded one by one. `held_entries` stand, but no rate of their day is known: they are
    in none of the sums.
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
    held_entries = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            UniqueConstraint(fields=["source", "currency", "month"], name="a_month_is_converted_once"),
        ]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} {self.currency}"


class MixedRollup(models.Model):
    """Months of the customers who ever paid in several currencies: what one customer is, its currencies' sums are not.

    `currency` names their part of that currency's own month (native micros), to be taken out of a total; empty, it is
    the same customers taken as a whole, in the reporting currency at the pinned day's rates, to be put in.
    """

    source = models.ForeignKey("billing.StripeSource", on_delete=models.PROTECT, related_name="+")
    currency = models.CharField(max_length=3, blank=True)
    month = models.DateField()
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
        constraints = [UniqueConstraint(fields=["source", "currency", "month"], name="a_mixed_month_is_kept_once")]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} {self.currency or 'as a whole'}"


class MixedCohortRollup(models.Model):
    """Cohort cells of the customers who ever paid in several currencies; `currency` as in MixedRollup."""

    source = models.ForeignKey("billing.StripeSource", on_delete=models.PROTECT, related_name="+")
    currency = models.CharField(max_length=3, blank=True)
    cohort = models.DateField()
    month = models.DateField()
    acquired_customers = models.BigIntegerField(default=0)
    acquired_micros = models.BigIntegerField(default=0)
    customers = models.BigIntegerField(default=0)
    mrr_micros = models.BigIntegerField(default=0)
    gross_micros = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            UniqueConstraint(fields=["source", "currency", "cohort", "month"], name="a_mixed_cell_is_kept_once")
        ]

    def __str__(self) -> str:
        return f"{self.cohort:%Y-%m} in {self.month:%Y-%m} {self.currency or 'as a whole'}"


class BookState(models.Model):
    """Up to which month the books are closed: one row, which who posts reads locked, so that no close comes between."""

    closed_through = models.DateField(null=True, help_text="first day of the last closed month")

    def __str__(self) -> str:
        return f"closed through {self.closed_through:%Y-%m}" if self.closed_through else "nothing is closed"


class BookRollup(models.Model):
    """By how much the month sums as closed differ from those as restated, per source and currency.

    Rows are there only where something was booked outside its own month. Kept with the ledger, as MonthRollup is.
    """

    source = models.ForeignKey("billing.StripeSource", on_delete=models.PROTECT, related_name="+")
    currency = models.CharField(max_length=3)
    month = models.DateField()
    adjustment_micros = models.BigIntegerField(default=0)
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
        constraints = [UniqueConstraint(fields=["source", "currency", "month"], name="a_month_is_booked_once")]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} {self.currency}, as closed less as restated"


class Seal(models.Model):
    """A link of the chain over the entries: each names the hash of the one before. Rows are added, never changed.

    `ranges` are the keys of the sealed rows as [[first, last], …], without gaps: what was not there is not in them.
    """

    number = models.PositiveIntegerField(unique=True)
    previous = models.CharField(max_length=64, unique=True, help_text="hash of the seal before")
    made_at = models.DateTimeField()
    ranges = models.JSONField()
    entries = models.PositiveIntegerField(help_text="how many are sealed by it")
    last_entry = models.BigIntegerField(default=0, help_text="the highest row key sealed by now")
    books = models.CharField(max_length=64, blank=True, help_text="hash of the newest book action then")
    digest = models.CharField(max_length=64)

    def __str__(self) -> str:
        return f"seal {self.number}"


class ActionKind(models.TextChoices):
    CLOSED = "closed"
    REOPEN_ASKED = "reopen_asked"
    REOPENED = "reopened"


class BookAction(models.Model):
    """A month closed, asked to be reopened, or reopened. Rows are added, never changed; each covers the one before."""

    number = models.PositiveIntegerField(unique=True)
    kind = models.CharField(max_length=15, choices=ActionKind.choices)
    month = models.DateField()
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    made_at = models.DateTimeField()

    seal = models.ForeignKey(Seal, on_delete=models.PROTECT, null=True, related_name="+", help_text="head at the close")
    policy_version = models.PositiveIntegerField(null=True)
    entries = models.PositiveIntegerField(null=True, help_text="how many are booked in the month, reversals too")
    entries_digest = models.CharField(max_length=64, blank=True)
    figures = models.JSONField(null=True, help_text="the month as closed, per source and currency, in micros")
    notes = models.JSONField(null=True, help_text="what was not well at the close")

    reason = models.TextField(blank=True)
    reason_sha256 = models.CharField(max_length=64, blank=True)
    answers = models.OneToOneField(
        "self", on_delete=models.PROTECT, null=True, related_name="answer", help_text="the request that was granted"
    )
    manner = models.CharField(max_length=20, blank=True, help_text="second_person, one_time_code or notice")
    seconded_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")

    previous = models.CharField(max_length=64, unique=True, help_text="hash of the action before")
    digest = models.CharField(max_length=64)

    class Meta:
        verbose_name = "book action"
        indexes = [Index(fields=["month", "number"], name="actions_of_a_month")]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} {self.get_kind_display().lower()}"


class DepartureRule(models.Model):
    """One row: by how much the last closed month may depart from what was signed before people are told, and who is.

    Both must be exceeded: a share of the signed MRR, and an amount of the reporting currency.
    """

    basis_points = models.PositiveIntegerField(default=50, help_text="hundredths of a percent of the signed MRR")
    minor = models.PositiveBigIntegerField(default=5_000, help_text="minor units of the reporting currency")
    addresses = models.CharField(max_length=500, blank=True, help_text="who gets the mail, separated by commas")

    def __str__(self) -> str:
        return f"{self.basis_points} basis points and {self.minor}"


class Departure(models.Model):
    """From when the last closed month departed from what was signed, or did no longer. Rows are added, never changed.

    A row is a change of state: the newest says how it stands.
    """

    close = models.ForeignKey(BookAction, on_delete=models.PROTECT, related_name="departures")
    at = models.DateTimeField()
    departs = models.BooleanField()
    currency = models.CharField(max_length=3)
    signed_micros = models.BigIntegerField(help_text="closing MRR as closed")
    restated_micros = models.BigIntegerField(help_text="closing MRR as known then")

    def __str__(self) -> str:
        return f"{self.close.month:%Y-%m} {'departs' if self.departs else 'is within tolerance'}"


class CheckRun(models.Model):
    """One run of the nightly check, done in slices: where it stands and what it found."""

    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    touched_at = models.DateTimeField()
    stage = models.CharField(max_length=20)
    state = models.JSONField(default=dict, help_text="what the next slice goes on from")
    customers = models.PositiveIntegerField(default=0)
    entries = models.PositiveIntegerField(default=0)
    differences = models.PositiveIntegerField(default=0)
    findings = models.JSONField(default=list, help_text="the first hundred, one line each")
    seal_number = models.PositiveIntegerField(null=True)
    seal_digest = models.CharField(max_length=64, blank=True)

    def __str__(self) -> str:
        return f"check of {self.started_at:%Y-%m-%d}"
