"""What Stripe told us: sources, the inbox of events, and the mirror of Stripe's objects."""

from __future__ import annotations

from django.db import models
from django.db.models import Index, Q, UniqueConstraint, Value

from billing.encrypted import EncryptedTextField
from billing.forgotten import Forgetting as Forgetting
from billing.forgotten import ForgottenName as ForgottenName
from billing.forgotten import Redaction as Redaction
from billing.listing_models import Listing as Listing
from billing.listing_models import ListingFinding as ListingFinding
from billing.listing_models import ListingPart as ListingPart
from billing.listing_models import ListingState as ListingState
from billing.listing_models import ListingWindow as ListingWindow
from billing.listing_models import Purpose as Purpose
from billing.listing_models import Unposted as Unposted
from billing.written_models import MetadataWrite as MetadataWrite


class StripeSource(models.Model):
    """One Stripe account in one mode: its own endpoint, secrets and world of customers."""

    slug = models.SlugField(max_length=50, unique=True)
    label = models.CharField(max_length=100)
    livemode = models.BooleanField(default=True)
    account_id = models.CharField(max_length=255, blank=True, help_text="acct_… when events carry a Connect account")
    api_key = EncryptedTextField(blank=True, default="")
    api_key_at = models.DateTimeField(null=True, editable=False, help_text="since when it is this key")
    history_from = models.DateField(null=True, blank=True)
    calls_paused_until = models.DateTimeField(null=True, editable=False, help_text="Stripe said: too many calls")
    checked_at = models.DateTimeField(null=True, editable=False, help_text="when key and endpoint were last looked at")
    checks = models.JSONField(
        default=list,
        db_default=Value([], models.JSONField()),
        editable=False,
        help_text="what was found then; see billing/checks.py",
    )
    has_forgotten = models.BooleanField(
        default=False, db_default=False, editable=False, help_text="customers of it are forgotten: bodies are looked at"
    )
    writes_metadata = models.BooleanField(
        "write Account ids to Stripe",
        default=False,
        db_default=False,
        help_text="the Account of a match goes into its customer's metadata; the key needs write access to Customers",
    )
    metadata_written_to = models.DateTimeField(null=True, editable=False, help_text="matches before this are written")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["slug"]
        verbose_name = "Stripe source"

    def __str__(self) -> str:
        return self.label or self.slug


class SigningSecret(models.Model):
    """A webhook signing secret of a source; several may be active while one is rolled."""

    source = models.ForeignKey(StripeSource, on_delete=models.CASCADE, related_name="signing_secrets")
    secret = EncryptedTextField()
    last4 = models.CharField(max_length=4)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(
        null=True, editable=False, help_text="to the minute; only noted while another secret is active too"
    )

    class Meta:
        constraints = [UniqueConstraint(fields=["source", "last4"], name="a_source_knows_a_secret_once")]

    def __str__(self) -> str:
        return f"whsec_…{self.last4}"


class DeliveryRefusal(models.Model):
    """Deliveries to a source that left no event, for one reason within one hour: nobody else would hear of them.

    They were refused, or (`duplicate_updates`) the event was there before.
    """

    source = models.ForeignKey(StripeSource, on_delete=models.CASCADE, related_name="refusals")
    code = models.CharField(max_length=50, help_text="bad_signature, bad_timestamp, wrong_mode, bad_json, …")
    hour = models.DateTimeField()
    count = models.PositiveIntegerField(default=0)
    last_at = models.DateTimeField()
    seconds_off = models.IntegerField(null=True, help_text="bad_timestamp: how far our clock is ahead of Stripe's")

    class Meta:
        verbose_name = "refused delivery"
        verbose_name_plural = "refused deliveries"
        constraints = [UniqueConstraint(fields=["source", "code", "hour"], name="refusals_are_counted_by_hour")]

    def __str__(self) -> str:
        return f"{self.code} × {self.count}"


class EventState(models.TextChoices):
    WAITING = "waiting"
    PROCESSED = "processed"
    IGNORED = "ignored"
    PARKED = "parked"


class Origin(models.TextChoices):
    WEBHOOK = "webhook"
    LOADED = "loaded"
    BACKFILL = "backfill"


class StripeEvent(models.Model):
    """One event as received, once; the row is also the queue. What was received never changes (database rule)."""

    source = models.ForeignKey(StripeSource, on_delete=models.PROTECT, related_name="events")
    stripe_id = models.CharField(max_length=255)
    type = models.CharField(max_length=100)
    created_at = models.DateTimeField(null=True, help_text="Stripe's `created`, whole seconds")
    livemode = models.BooleanField(default=True)
    api_version = models.CharField(max_length=50, blank=True)
    object_id = models.CharField(max_length=255, blank=True)
    customer_id = models.CharField(max_length=255, blank=True, help_text="cus_… the event belongs to, if it names one")
    body = models.BinaryField()
    body_sha256 = models.CharField(max_length=64)
    origin = models.CharField(max_length=10, choices=Origin.choices, default=Origin.WEBHOOK)
    received_at = models.DateTimeField()

    state = models.CharField(max_length=10, choices=EventState.choices, default=EventState.WAITING)
    reason = models.CharField(max_length=50, blank=True, help_text="code: why it is parked or ignored")
    error = models.TextField(blank=True)
    attempts = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField()
    leased_until = models.DateTimeField(null=True)
    processed_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "Stripe event"
        constraints = [UniqueConstraint(fields=["source", "stripe_id"], name="an_event_is_kept_once")]
        indexes = [
            Index(fields=["due_at", "id"], name="events_due", condition=Q(state="waiting")),
            Index(fields=["source", "customer_id"], name="events_due_of_customer", condition=Q(state="waiting")),
            Index(fields=["source", "object_id", "created_at"], name="events_of_an_object"),
            Index(fields=["state", "id"], name="events_by_state", condition=~Q(state="processed")),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.stripe_id}"


class Mirrored(models.Model):
    """What every mirrored Stripe object has: its key, and which event its state comes from."""

    stripe_id = models.CharField(max_length=255)
    created_at = models.DateTimeField(null=True, help_text="Stripe's `created` of the object")
    version_at = models.DateTimeField(
        null=True, help_text="`created` of the event that told this state; null = only heard of"
    )
    version_event = models.CharField(max_length=255, blank=True)

    class Meta:
        abstract = True


class Needs(models.IntegerChoices):
    """What there is about a customer beside its subscriptions, as bits: whom it lacks, no statement asks for it."""

    DISCOUNT = 1, "a discount of its own"
    SCHEDULE = 2, "a schedule"
    DISPUTE = 4, "a dispute"
    INVOICES = 8, "items whose worth invoices tell: metered, or with tax inside"


class Customer(Mirrored):
    """Stripe's payer. Its row is the lock under which everything about it changes."""

    source = models.ForeignKey(StripeSource, on_delete=models.PROTECT, related_name="customers")
    name = models.CharField(max_length=500, blank=True)
    email = models.CharField(max_length=512, blank=True)
    phone = models.CharField(max_length=100, blank=True)
    description = models.TextField(blank=True)
    country = models.CharField(max_length=2, blank=True)
    postal_code = models.CharField(max_length=50, blank=True)
    address = models.JSONField(default=dict)
    metadata = models.JSONField(default=dict)
    currency = models.CharField(max_length=3, blank=True)
    delinquent = models.BooleanField(default=False)
    deleted_at = models.DateTimeField(null=True)
    needs = models.PositiveSmallIntegerField(default=0, db_default=0, help_text="bits of Needs; once set they stay")
    forgotten_at = models.DateTimeField(null=True, help_text="set = nothing that tells of the person is kept from then")

    class Meta:
        constraints = [UniqueConstraint(fields=["source", "stripe_id"], name="a_customer_is_mirrored_once")]
        indexes = [
            Index(fields=["stripe_id"], name="customers_by_stripe_id"),
            Index(fields=["email"], name="customers_by_email"),
        ]

    def __str__(self) -> str:
        return self.stripe_id


class Product(Mirrored):
    source = models.ForeignKey(StripeSource, on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=500, blank=True)
    is_active = models.BooleanField(default=True)

    class Meta:
        constraints = [UniqueConstraint(fields=["source", "stripe_id"], name="a_product_is_mirrored_once")]

    def __str__(self) -> str:
        return self.name or self.stripe_id


class Price(Mirrored):
    """What is sold and for how much. Amounts are decimal text: the database must not make floats of them."""

    source = models.ForeignKey(StripeSource, on_delete=models.PROTECT, related_name="+")
    product_id = models.CharField(max_length=255, blank=True)
    nickname = models.CharField(max_length=500, blank=True)
    currency = models.CharField(max_length=3, blank=True)
    unit_amount_decimal = models.CharField(max_length=40, blank=True)
    interval = models.CharField(max_length=10, blank=True)
    interval_count = models.PositiveIntegerField(default=1)
    usage_type = models.CharField(max_length=20, blank=True)
    billing_scheme = models.CharField(max_length=20, blank=True)
    tiers_mode = models.CharField(max_length=20, blank=True)
    tiers = models.JSONField(null=True)
    transform_quantity = models.JSONField(null=True)
    currency_options = models.JSONField(null=True, help_text="what it costs in each currency, when known")
    is_active = models.BooleanField(default=True)

    class Meta:
        constraints = [UniqueConstraint(fields=["source", "stripe_id"], name="a_price_is_mirrored_once")]

    def __str__(self) -> str:
        return self.nickname or self.stripe_id


class Coupon(Mirrored):
    source = models.ForeignKey(StripeSource, on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=500, blank=True)
    percent_off = models.CharField(max_length=40, blank=True)
    amount_off_minor = models.BigIntegerField(null=True)
    currency = models.CharField(max_length=3, blank=True)
    duration = models.CharField(max_length=20, blank=True)
    duration_in_months = models.PositiveIntegerField(null=True)
    applies_to = models.JSONField(null=True, help_text="product ids, when known")
    is_valid = models.BooleanField(default=True)

    class Meta:
        constraints = [UniqueConstraint(fields=["source", "stripe_id"], name="a_coupon_is_mirrored_once")]

    def __str__(self) -> str:
        return self.name or self.stripe_id


class CouponTerms(models.Model):
    """What a coupon takes off. A coupon that was deleted and made again under its id has other terms: one row each."""

    source = models.ForeignKey(StripeSource, on_delete=models.PROTECT, related_name="+")
    coupon_id = models.CharField(max_length=255)
    created_at = models.DateTimeField(help_text="Stripe's `created` of the coupon")
    percent_off = models.CharField(max_length=40, blank=True)
    amount_off_minor = models.BigIntegerField(null=True)
    currency = models.CharField(max_length=3, blank=True)
    duration = models.CharField(max_length=20, blank=True)
    applies_to = models.JSONField(null=True, help_text="product ids, when known")
    currency_options = models.JSONField(null=True, help_text="minor units off by currency, when known")

    class Meta:
        constraints = [
            UniqueConstraint(fields=["source", "coupon_id", "created_at"], name="a_coupon_s_terms_are_kept_once")
        ]

    def __str__(self) -> str:
        return self.coupon_id


class TaxRate(models.Model):
    """An inclusive tax rate; `percentage` is decimal text. It never changes at Stripe."""

    source = models.ForeignKey(StripeSource, on_delete=models.PROTECT, related_name="+")
    stripe_id = models.CharField(max_length=255)
    percentage = models.CharField(max_length=40)

    class Meta:
        constraints = [UniqueConstraint(fields=["source", "stripe_id"], name="a_tax_rate_is_kept_once")]

    def __str__(self) -> str:
        return f"{self.percentage} %"


class Discount(Mirrored):
    """A coupon as applied to a customer or a subscription."""

    source = models.ForeignKey(StripeSource, on_delete=models.PROTECT, related_name="+")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="discounts", null=True)
    subscription_id = models.CharField(max_length=255, blank=True)
    coupon_id = models.CharField(max_length=255, blank=True)
    start_at = models.DateTimeField(null=True)
    end_at = models.DateTimeField(null=True)
    deleted_at = models.DateTimeField(null=True)
    is_of_customer = models.BooleanField(
        default=False, db_default=False, help_text="on the customer itself, for all its subscriptions"
    )
    first_at = models.DateTimeField(null=True, help_text="`created` of the first event that told of it")
    first_event = models.CharField(max_length=255, blank=True, db_default="")

    class Meta:
        constraints = [UniqueConstraint(fields=["source", "stripe_id"], name="a_discount_is_mirrored_once")]

    def __str__(self) -> str:
        return self.stripe_id


class Subscription(Mirrored):
    """What a customer holds now. `items` is a list of item objects as `layouts.Item` writes them."""

    source = models.ForeignKey(StripeSource, on_delete=models.PROTECT, related_name="+")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="subscriptions")
    status = models.CharField(max_length=30)
    currency = models.CharField(max_length=3, blank=True)
    items = models.JSONField(default=list)
    has_all_items = models.BooleanField(default=True)
    discount_ids = models.JSONField(default=list)
    collection_method = models.CharField(max_length=30, blank=True)
    pause_behavior = models.CharField(max_length=30, blank=True)
    started_at = models.DateTimeField(null=True, help_text="Stripe's `start_date`")
    trial_end_at = models.DateTimeField(null=True)
    current_period_end_at = models.DateTimeField(null=True)
    cancel_at = models.DateTimeField(null=True)
    cancel_at_period_end = models.BooleanField(default=False)
    canceled_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    cancellation_reason = models.CharField(max_length=50, blank=True)
    cancellation_feedback = models.CharField(max_length=50, blank=True)
    cancellation_comment = models.TextField(blank=True)
    schedule_id = models.CharField(max_length=255, blank=True)
    metadata = models.JSONField(default=dict)

    class Meta:
        constraints = [UniqueConstraint(fields=["source", "stripe_id"], name="a_subscription_is_mirrored_once")]
        indexes = [
            Index(fields=["status"], name="subscriptions_by_status"),
            Index(fields=["cancel_at"], name="subscriptions_ending", condition=Q(cancel_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return self.stripe_id


class Snapshot(models.Model):
    """What one event said about one subscription: the engine's input. No personal data.

    `state` and `before` are `layouts.SubscriptionState` as JSON; `before` is the state with the event's
    previous_attributes put back, null when the event carries none.
    """

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="snapshots")
    subscription_id = models.CharField(max_length=255)
    event_id = models.CharField(max_length=255)
    event_type = models.CharField(max_length=100)
    created_at = models.DateTimeField()
    is_live = models.BooleanField(default=True, help_text="told by a live delivery, not by backfill or import")
    state = models.JSONField()
    before = models.JSONField(null=True)

    class Meta:
        constraints = [UniqueConstraint(fields=["customer", "event_id"], name="an_event_tells_one_state")]

    def __str__(self) -> str:
        return f"{self.subscription_id} {self.event_id}"


class CompletedItems(models.Model):
    """The items that an event's list was too short for, fetched while that event was still the last word."""

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="+")
    event_id = models.CharField(max_length=255)
    items = models.JSONField(help_text="as `layouts.Item` writes them")

    class Meta:
        constraints = [UniqueConstraint(fields=["customer", "event_id"], name="an_event_s_items_are_completed_once")]

    def __str__(self) -> str:
        return self.event_id


class SubscriptionSchedule(Mirrored):
    """What a subscription will become, phase by phase, as `layouts.schedule` reads it."""

    source = models.ForeignKey(StripeSource, on_delete=models.PROTECT, related_name="+")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="schedules")
    subscription_id = models.CharField(max_length=255, blank=True)
    status = models.CharField(max_length=20, blank=True)
    currency = models.CharField(max_length=3, blank=True)
    end_behavior = models.CharField(max_length=20, blank=True)
    phases = models.JSONField(default=list)

    class Meta:
        constraints = [UniqueConstraint(fields=["source", "stripe_id"], name="a_schedule_is_mirrored_once")]

    def __str__(self) -> str:
        return self.stripe_id


class Invoice(Mirrored):
    source = models.ForeignKey(StripeSource, on_delete=models.PROTECT, related_name="+")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="invoices")
    subscription_id = models.CharField(max_length=255, blank=True)
    number = models.CharField(max_length=100, blank=True)
    status = models.CharField(max_length=20, blank=True)
    currency = models.CharField(max_length=3)
    billing_reason = models.CharField(max_length=60, blank=True)
    collection_method = models.CharField(max_length=30, blank=True)
    amount_due_minor = models.BigIntegerField(default=0)
    amount_paid_minor = models.BigIntegerField(default=0)
    amount_remaining_minor = models.BigIntegerField(default=0)
    subtotal_minor = models.BigIntegerField(default=0)
    tax_minor = models.BigIntegerField(default=0)
    total_minor = models.BigIntegerField(default=0)
    attempt_count = models.PositiveIntegerField(default=0)
    next_payment_attempt_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)
    finalized_at = models.DateTimeField(null=True)
    paid_at = models.DateTimeField(null=True)
    voided_at = models.DateTimeField(null=True)
    uncollectible_at = models.DateTimeField(null=True)
    has_all_lines = models.BooleanField(default=True, help_text="the last event had them")
    has_fetched_lines = models.BooleanField(default=False, db_default=False, help_text="they were read")
    last_failed_at = models.DateTimeField(null=True, help_text="`created` of the latest invoice.payment_failed")

    class Meta:
        constraints = [UniqueConstraint(fields=["source", "stripe_id"], name="an_invoice_is_mirrored_once")]
        indexes = [
            Index(fields=["customer", "created_at"], name="invoices_of_a_customer"),
            Index(fields=["due_at"], name="invoices_open", condition=Q(status="open")),
        ]

    def __str__(self) -> str:
        return self.number or self.stripe_id


class InvoiceLine(models.Model):
    invoice = models.ForeignKey(Invoice, on_delete=models.CASCADE, related_name="lines")
    stripe_id = models.CharField(max_length=255)
    amount_minor = models.BigIntegerField()
    discount_minor = models.BigIntegerField(default=0)
    tax_minor = models.BigIntegerField(default=0)
    quantity = models.BigIntegerField(null=True)
    is_proration = models.BooleanField(default=False)
    subscription_id = models.CharField(max_length=255, blank=True)
    subscription_item_id = models.CharField(max_length=255, blank=True)
    price_id = models.CharField(max_length=255, blank=True)
    description = models.TextField(blank=True)
    period_start_at = models.DateTimeField(null=True)
    period_end_at = models.DateTimeField(null=True)
    inclusive_taxes = models.JSONField(null=True, help_text="taxes inside the amount, as `layouts` reads them")

    class Meta:
        constraints = [UniqueConstraint(fields=["invoice", "stripe_id"], name="an_invoice_holds_a_line_once")]

    def __str__(self) -> str:
        return self.stripe_id


class Charge(Mirrored):
    source = models.ForeignKey(StripeSource, on_delete=models.PROTECT, related_name="+")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="charges", null=True)
    invoice_id = models.CharField(max_length=255, blank=True)
    payment_intent_id = models.CharField(max_length=255, blank=True)
    status = models.CharField(max_length=20, blank=True)
    currency = models.CharField(max_length=3)
    amount_minor = models.BigIntegerField(default=0)
    refunded_minor = models.BigIntegerField(default=0)
    is_disputed = models.BooleanField(default=False)
    failure_code = models.CharField(max_length=100, blank=True)
    card_expires_on = models.DateField(null=True, help_text="last day of the card's month")

    class Meta:
        constraints = [UniqueConstraint(fields=["source", "stripe_id"], name="a_charge_is_mirrored_once")]

    def __str__(self) -> str:
        return self.stripe_id


class Refund(Mirrored):
    source = models.ForeignKey(StripeSource, on_delete=models.PROTECT, related_name="+")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="refunds", null=True)
    charge_id = models.CharField(max_length=255, blank=True)
    status = models.CharField(max_length=20, blank=True)
    reason = models.CharField(max_length=50, blank=True)
    currency = models.CharField(max_length=3)
    amount_minor = models.BigIntegerField(default=0)

    class Meta:
        constraints = [UniqueConstraint(fields=["source", "stripe_id"], name="a_refund_is_mirrored_once")]
        indexes = [Index(fields=["source", "charge_id"], name="refunds_of_a_charge")]

    def __str__(self) -> str:
        return self.stripe_id


class Dispute(Mirrored):
    """Names a charge, never a customer: the customer is filled in when the charge is known."""

    source = models.ForeignKey(StripeSource, on_delete=models.PROTECT, related_name="+")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="disputes", null=True)
    charge_id = models.CharField(max_length=255, blank=True)
    status = models.CharField(max_length=40, blank=True)
    reason = models.CharField(max_length=60, blank=True)
    currency = models.CharField(max_length=3)
    amount_minor = models.BigIntegerField(default=0)
    evidence_due_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [UniqueConstraint(fields=["source", "stripe_id"], name="a_dispute_is_mirrored_once")]
        indexes = [Index(fields=["source", "charge_id"], name="disputes_of_a_charge")]

    def __str__(self) -> str:
        return self.stripe_id


class DisputeRuling(models.Model):
    """How a dispute ended, as one event told it: `lost` or `won`."""

    source = models.ForeignKey(StripeSource, on_delete=models.PROTECT, related_name="+")
    dispute_id = models.CharField(max_length=255)
    event_id = models.CharField(max_length=255)
    at = models.DateTimeField(help_text="the event's `created`")
    status = models.CharField(max_length=40)
    is_live = models.BooleanField(default=True)

    class Meta:
        constraints = [UniqueConstraint(fields=["source", "event_id"], name="an_event_rules_once")]
        indexes = [Index(fields=["source", "dispute_id"], name="rulings_of_a_dispute")]

    def __str__(self) -> str:
        return f"{self.dispute_id} {self.status}"


class Payout(Mirrored):
    source = models.ForeignKey(StripeSource, on_delete=models.PROTECT, related_name="+")
    status = models.CharField(max_length=20, blank=True)
    currency = models.CharField(max_length=3)
    amount_minor = models.BigIntegerField(default=0)
    arrives_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [UniqueConstraint(fields=["source", "stripe_id"], name="a_payout_is_mirrored_once")]

    def __str__(self) -> str:
        return self.stripe_id


# ---- what payloads lack and Stripe must be asked for ----


class FetchKind(models.TextChoices):
    PRICE = "price"
    COUPON = "coupon"
    SUBSCRIPTION = "subscription"
    SCHEDULE = "subscription_schedule"
    INVOICE = "invoice"
    CHARGE = "charge"


class FetchState(models.TextChoices):
    WAITING = "waiting"
    DONE = "done"
    PARKED = "parked"


class OwedFetch(models.Model):
    """One object to read from Stripe's API; the row is the queue, and however many customers wait it is read once."""

    source = models.ForeignKey(StripeSource, on_delete=models.PROTECT, related_name="fetches")
    kind = models.CharField(max_length=30, choices=FetchKind.choices)
    stripe_id = models.CharField(max_length=255)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="+", null=True)
    state = models.CharField(max_length=10, choices=FetchState.choices, default=FetchState.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField()
    leased_until = models.DateTimeField(null=True)
    code = models.CharField(max_length=50, blank=True, help_text="why it waits or is parked")
    error = models.TextField(blank=True)
    asked_at = models.DateTimeField(null=True, help_text="when the last request that was answered was sent")
    created_at = models.DateTimeField()
    done_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "owed fetch"
        verbose_name_plural = "owed fetches"
        constraints = [UniqueConstraint(fields=["source", "kind", "stripe_id"], name="a_fetch_is_owed_once")]
        indexes = [
            Index(fields=["due_at", "id"], name="fetches_due", condition=Q(state="waiting")),
            Index(fields=["state", "id"], name="fetches_by_state", condition=~Q(state="done")),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.stripe_id}"


class FetchWaiter(models.Model):
    """A customer whose MRR lacks what a fetch brings; gone once the ledger was brought in step with it."""

    fetch = models.ForeignKey(OwedFetch, on_delete=models.CASCADE, related_name="waiters")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="+")
    due_at = models.DateTimeField(null=True, help_text="not before; null = at once")

    class Meta:
        constraints = [UniqueConstraint(fields=["fetch", "customer"], name="a_customer_waits_for_a_fetch_once")]

    def __str__(self) -> str:
        return f"{self.customer_id} waits for {self.fetch_id}"
