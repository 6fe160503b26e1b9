"""Who is told: the Salesforce connection, the mirror of Accounts, matches, and the outbox."""

from __future__ import annotations

from django.db import models
from django.db.models import Index, Q, UniqueConstraint

from billing.encrypted import EncryptedTextField


class Mode(models.TextChoices):
    SHADOW = "shadow"
    LIVE = "live"


class SalesforceOrg(models.Model):
    """A connection to one Salesforce org. Shadow until a person switches it to live."""

    instance_url = models.URLField()
    login_url = models.URLField(blank=True)
    client_id = models.CharField(max_length=255, blank=True)
    client_secret = EncryptedTextField(blank=True, default="")
    jwt_key = EncryptedTextField(blank=True, default="")
    username = models.CharField(max_length=255, blank=True)
    refresh_token = EncryptedTextField(blank=True, default="")
    access_token = EncryptedTextField(blank=True, default="")
    token_at = models.DateTimeField(null=True)
    org_id = models.CharField(max_length=18, blank=True)
    is_sandbox = models.BooleanField(null=True)
    api_version = models.CharField(max_length=10, blank=True)
    mode = models.CharField(max_length=10, choices=Mode.choices, default=Mode.SHADOW)
    live_since = models.DateTimeField(null=True)
    calls_used = models.PositiveIntegerField(null=True, help_text="of the org's rolling day, as its last answer said")
    calls_limit = models.PositiveIntegerField(null=True)
    won_stage = models.CharField(max_length=255, blank=True, help_text="the stage OpportunityStage.IsWon names")
    mirrored_to = models.DateTimeField(null=True, help_text="Accounts and Contacts changed before this are mirrored")
    refreshing_until = models.DateTimeField(null=True, help_text="lease: one worker renews the token, the others wait")
    paused_until = models.DateTimeField(null=True)
    error_code = models.CharField(max_length=80, blank=True, help_text="set = a person must reconnect; nothing is sent")
    error = models.TextField(blank=True)
    is_demo = models.BooleanField(default=False, help_text="records what it would send; there is no org behind it")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "Salesforce org"

    def __str__(self) -> str:
        return self.instance_url


class Account(models.Model):
    """A Salesforce Account, mirrored as matching needs it."""

    org = models.ForeignKey(SalesforceOrg, on_delete=models.PROTECT, related_name="accounts")
    salesforce_id = models.CharField(max_length=18)
    name = models.CharField(max_length=255)
    name_key = models.CharField(max_length=255, blank=True, help_text="the name without case, accents and legal form")
    website = models.CharField(max_length=255, blank=True)
    domain = models.CharField(max_length=255, blank=True)
    phone = models.CharField(max_length=80, blank=True)
    city = models.CharField(max_length=80, blank=True)
    postal_code = models.CharField(max_length=40, blank=True)
    country = models.CharField(max_length=80, blank=True)
    type = models.CharField(max_length=80, blank=True)
    owner_name = models.CharField(max_length=255, blank=True)
    parent_id = models.CharField(max_length=18, blank=True)
    is_deleted = models.BooleanField(default=False)
    merged_into = models.CharField(max_length=18, blank=True)
    modified_at = models.DateTimeField(null=True, help_text="null = asked for by its id, and not there")

    class Meta:
        constraints = [UniqueConstraint(fields=["org", "salesforce_id"], name="an_account_is_mirrored_once")]
        indexes = [
            Index(fields=["domain"], name="accounts_by_domain"),
            Index(fields=["name_key"], name="accounts_by_name"),
        ]

    def __str__(self) -> str:
        return self.salesforce_id


class Contact(models.Model):
    """A Contact's e-mail, lower case, with its Account (empty when it has none)."""

    org = models.ForeignKey(SalesforceOrg, on_delete=models.PROTECT, related_name="contacts")
    salesforce_id = models.CharField(max_length=18)
    account_id = models.CharField(max_length=18, blank=True)
    email = models.CharField(max_length=255)
    is_deleted = models.BooleanField(default=False)

    class Meta:
        constraints = [UniqueConstraint(fields=["org", "salesforce_id"], name="a_contact_is_mirrored_once")]
        indexes = [Index(fields=["email"], name="contacts_by_email")]

    def __str__(self) -> str:
        return self.salesforce_id


class Match(models.Model):
    """Our decision that a customer is an Account; undone, it stays as history."""

    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="matches")
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="matches")
    how = models.CharField(max_length=20, help_text="metadata, email, person")
    evidence = models.JSONField(default=list)
    matched_by = models.CharField(max_length=150, blank=True, help_text="username; empty = automatic")
    matched_at = models.DateTimeField()
    undone_by = models.CharField(max_length=150, blank=True)
    undone_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "matches"
        constraints = [
            UniqueConstraint(
                fields=["customer"], condition=Q(undone_at__isnull=True), name="a_customer_has_one_account"
            )
        ]

    def __str__(self) -> str:
        return f"{self.customer_id} = {self.account_id}"


class Unmatched(models.Model):
    """A customer that waits for an Account, and why."""

    customer = models.OneToOneField("billing.Customer", on_delete=models.PROTECT, related_name="unmatched")
    reason = models.CharField(max_length=40)
    basis = models.CharField(max_length=64, blank=True, help_text="digest of what of the customer was looked at")
    candidates = models.JSONField(
        default=list, help_text="[{account_id, name, score, reasons: [{kind, weight, text}]}]"
    )
    since = models.DateTimeField()
    checked_at = models.DateTimeField()
    snoozed_until = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "unmatched customers"

    def __str__(self) -> str:
        return f"{self.customer_id}: {self.reason}"


class CustomerRisk(models.Model):
    """A paying customer with at least one signal, as judged last; who has none has no row. No personal data."""

    customer = models.OneToOneField("billing.Customer", on_delete=models.PROTECT, related_name="risk")
    score = models.PositiveSmallIntegerField()
    severity = models.CharField(max_length=6)
    payment_severity = models.CharField(max_length=6)
    parts = models.JSONField(default=list, help_text="[{signal, points, evidence, at}]")
    since = models.DateTimeField(null=True)
    past_due = models.JSONField(default=dict, help_text="MRR of past due subscriptions: {currency: micros}")
    past_due_since = models.DateTimeField(null=True)
    assessed_at = models.DateTimeField()

    class Meta:
        verbose_name = "customer at risk"
        verbose_name_plural = "customers at risk"
        indexes = [Index(fields=["-score", "customer"], name="risks_highest")]

    def __str__(self) -> str:
        return f"{self.customer_id}: {self.score}"


class WorkState(models.TextChoices):
    WAITING = "waiting"
    HELD = "held"
    SENT = "sent"
    WOULD_SEND = "would_send"
    PARKED = "parked"
    DROPPED = "dropped"


class Work(models.Model):
    """What both kinds of outgoing work have: the row is the queue."""

    state = models.CharField(max_length=12, choices=WorkState.choices, default=WorkState.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField()
    leased_until = models.DateTimeField(null=True)
    error_code = models.CharField(max_length=80, blank=True)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True


class RecordKind(models.TextChoices):
    SCHEDULE = "schedule"
    ACCOUNT = "account"
    OPPORTUNITY = "opportunity"


class SyncRecord(Work):
    """One Salesforce record to bring in step: version wanted, version confirmed. Coalesces by itself.

    `key`: of a schedule entry its ledger key, of an Account its Salesforce id, of an Opportunity the subscription's id.
    """

    kind = models.CharField(max_length=12, choices=RecordKind.choices)
    key = models.CharField(max_length=255)
    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="sync_records", null=True)
    wanted = models.PositiveBigIntegerField(default=1)
    confirmed = models.PositiveBigIntegerField(default=0)
    salesforce_id = models.CharField(max_length=18, blank=True)
    fields_sent = models.JSONField(null=True, help_text="field values of the last confirmed or would-be write")
    fields_before = models.JSONField(null=True, help_text="what Salesforce held before: our last confirmed write")

    class Meta:
        verbose_name = "Salesforce record"
        constraints = [UniqueConstraint(fields=["kind", "key"], name="a_record_is_synced_by_one_row")]
        indexes = [
            Index(fields=["due_at", "id"], name="records_due", condition=Q(state="waiting")),
            Index(fields=["customer", "state"], name="records_of_a_customer"),
            Index(fields=["state", "sent_at"], name="records_by_state"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


class Message(Work):
    """One thing to tell somebody, once: its dedupe key is unique."""

    channel = models.CharField(max_length=20)
    topic = models.CharField(max_length=40)
    dedupe_key = models.CharField(max_length=120, unique=True)
    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="messages", null=True)
    entry = models.ForeignKey("mrr.LedgerEntry", on_delete=models.PROTECT, related_name="messages", null=True)
    body = models.JSONField(default=dict, help_text="what was, or would have been, sent")

    class Meta:
        indexes = [Index(fields=["due_at", "id"], name="messages_due", condition=Q(state="waiting"))]

    def __str__(self) -> str:
        return f"{self.channel} {self.topic}"
