"""What Stripe told us: sources, the inbox of events, and the mirror of Stripe's objects."""

from __future__ import annotations

from django.db import models
from django.db.models import Index, Q, UniqueConstraint

from billing.encrypted import EncryptedTextField


class StripeSource(models.Model):
    """One Stripe account in one mode: its own endpoint, secrets and world of customers."""

    slug = models.SlugField(max_length=50, unique=True)
    label = models.CharField(max_length=100)
    livemode = models.BooleanField(default=True)
    account_id = models.CharField(max_length=255, blank=True, help_text="acct_… when events carry a Connect account")
    api_key = EncryptedTextField(blank=True, default="")
    history_from = models.DateField(null=True, blank=True)
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

    class Meta:
        constraints = [UniqueConstraint(fields=["source", "last4"], name="a_source_knows_a_secret_once")]

    def __str__(self) -> str:
        return f"whsec_…{self.last4}"


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


class Discount(Mirrored):
    """A coupon as applied to a customer or a subscription."""

    source = models.ForeignKey(StripeSource, on_delete=models.PROTECT, related_name="+")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="discounts", null=True)
    subscription_id = models.CharField(max_length=255, blank=True)
    coupon_id = models.CharField(max_length=255, blank=True)
    start_at = models.DateTimeField(null=True)
    end_at = models.DateTimeField(null=True)
    deleted_at = models.DateTimeField(null=True)

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
    has_all_lines = models.BooleanField(default=True)
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
