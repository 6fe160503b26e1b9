"""Who is told: the Salesforce connection, the mirror of Accounts, matches, and the outbox."""

from __future__ import annotations

from django.db import models
from django.db.models import Index, Q, UniqueConstraint

from billing.encrypted import EncryptedTextField
from crm.given_models import FinanceMrr as FinanceMrr
from crm.given_models import UsageSignal as UsageSignal
from crm.made_models import MadeAccount as MadeAccount
from crm.mirror_models import MirrorRead as MirrorRead
from crm.mirror_models import SalesforceUser as SalesforceUser
from crm.mirror_models import WaitingKey as WaitingKey
from crm.note_models import Note as Note
from crm.summary_models import SummaryKind as SummaryKind
from crm.summary_models import SummaryRule as SummaryRule


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
    integration_user_id = models.CharField(max_length=18, blank=True, help_text="whom our token acts for")
    is_sandbox = models.BooleanField(null=True)
    api_version = models.CharField(max_length=10, blank=True)
    mode = models.CharField(max_length=10, choices=Mode.choices, default=Mode.SHADOW)
    live_since = models.DateTimeField(null=True)
    calls_used = models.PositiveIntegerField(null=True, help_text="of the org's rolling day, as its last answer said")
    calls_limit = models.PositiveIntegerField(null=True)
    calls_at = models.DateTimeField(null=True, help_text="when the org last said how many calls were used")
    reserve_calls = models.PositiveIntegerField(default=1000, help_text="of the org's daily calls, left to others")
    write_allowance = models.PositiveIntegerField(
        default=3000, help_text="calls a day that write; above, sending slows"
    )
    read_allowance = models.PositiveIntegerField(default=500, help_text="calls a day that read")
    flush_credit = models.IntegerField(default=30_000, help_text="thousandths of a call that may go at once")
    flush_credit_at = models.DateTimeField(null=True)
    stopped_at = models.DateTimeField(null=True, help_text="set = the reserve is reached; cleared when calls are free")
    won_stage = models.CharField(max_length=255, blank=True, help_text="the stage OpportunityStage.IsWon names")
    is_won_stage_chosen = models.BooleanField(default=False, help_text="a person chose it, of several")
    has_currencies = models.BooleanField(
        default=False, help_text="several currencies: what we write says which its amounts are in"
    )
    mirrored_to = models.DateTimeField(null=True, help_text="Accounts and Contacts changed before this are mirrored")
    mirroring_until = models.DateTimeField(null=True, help_text="lease: one worker reads Accounts, the others pass")
    hastened_at = models.DateTimeField(null=True, help_text="when a Flow said last that something changed there")
    callback_secret = EncryptedTextField(blank=True, default="", db_default="")
    waiting_alert_days = models.PositiveSmallIntegerField(
        default=14, db_default=14, help_text="tell when a paying customer waits longer for its Account; 0 = never"
    )
    waiting_alert_amount = models.BigIntegerField(
        default=0,
        db_default=0,
        help_text="tell when more MRR waits than these whole units of the reporting currency; 0 = never",
    )
    waiting_alerted_at = models.DateTimeField(null=True, help_text="set = people were told that too much waits")
    refreshing_until = models.DateTimeField(null=True, help_text="lease: one worker renews the token, the others wait")
    paused_until = models.DateTimeField(null=True)
    held_since = models.DateTimeField(null=True, help_text="set = nothing is written until a person releases it")
    held_because = models.CharField(max_length=300, blank=True)
    held_by = models.CharField(max_length=150, blank=True, help_text="username of who held it, or what did")
    error_code = models.CharField(max_length=80, blank=True, help_text="set = a person must reconnect; nothing is sent")
    error = models.TextField(blank=True)
    error_at = models.DateTimeField(null=True)
    app_known_by = models.DateTimeField(null=True, help_text="a new app may be unknown to Salesforce until then")
    deploy_id = models.CharField(max_length=18, blank=True, help_text="a deployment that has not ended yet")
    checked_at = models.DateTimeField(null=True, help_text="when the org was last compared with what we write")
    findings = models.JSONField(default=list, help_text="[{sobject, field, code, text, is_remark}] of that check")
    makes_opportunities = models.BooleanField(
        default=False, help_text="where a subscription fits none, one is made; else a person is asked"
    )
    makes_accounts = models.BooleanField(
        default=False, db_default=False, help_text="people may have an Account made for a customer that fits none"
    )
    deletes_tasks = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Tasks of a match that was undone are deleted; else they say so and are closed",
    )
    compared_to = models.DateTimeField(null=True, help_text="what others changed there before this was compared")
    patrolled = models.JSONField(default=dict, help_text="{kind: key of the record up to which this round compared}")
    patrolled_at = models.DateTimeField(null=True, help_text="when the last round over all records ended")
    log_days = models.PositiveIntegerField(default=400, help_text="how long writes stay with request and response")
    csm_field = models.CharField(
        max_length=80, blank=True, help_text="API name of a User lookup on Account; empty = the Account's owner"
    )
    match_threshold = models.PositiveSmallIntegerField(
        default=85, db_default=85, help_text="points from which a customer is matched without a person"
    )
    blocked_domains = models.TextField(
        blank=True, default="", db_default="", help_text="domains of several companies, which say nothing of one"
    )
    alert_email = models.CharField(
        max_length=500, blank=True, help_text="told when sending stops and goes on; commas between addresses"
    )
    alert_channel = models.CharField(max_length=80, blank=True, help_text="Slack channel told the same")
    is_demo = models.BooleanField(default=False, help_text="records what it would send; there is no org behind it")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "Salesforce org"

    def __str__(self) -> str:
        return self.instance_url


class FieldMapping(models.Model):
    """Which field of theirs holds one of ours, and what our values are called there; without a row: our names."""

    org = models.ForeignKey(SalesforceOrg, on_delete=models.CASCADE, related_name="mappings")
    sobject = models.CharField(max_length=80)
    field = models.CharField(max_length=80, help_text="our name of it")
    their_field = models.CharField(max_length=80, blank=True, help_text="its API name there; empty = not written")
    values = models.JSONField(default=dict, help_text="{our picklist value: theirs}")

    class Meta:
        constraints = [UniqueConstraint(fields=["org", "sobject", "field"], name="a_field_is_mapped_once")]

    def __str__(self) -> str:
        return f"{self.sobject}.{self.field} = {self.their_field}"


class SalesforceSignIn(models.Model):
    """A person on the way through Salesforce's login page: works once, for one session, for ten minutes."""

    state_digest = models.CharField(max_length=64, unique=True)
    verifier = EncryptedTextField(help_text="PKCE: its hash went to Salesforce with the person")
    instance_url = models.URLField()
    login_url = models.URLField(blank=True)
    client_id = models.CharField(max_length=255)
    client_secret = EncryptedTextField(blank=True, default="")
    redirect_url = models.URLField(max_length=500)
    begun_by = models.CharField(max_length=150)
    begun_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.begun_by} {self.begun_at:%Y-%m-%d %H:%M}"


class Account(models.Model):
    """A Salesforce Account, mirrored as matching needs it."""

    org = models.ForeignKey(SalesforceOrg, on_delete=models.PROTECT, related_name="accounts")
    salesforce_id = models.CharField(max_length=18)
    name = models.CharField(max_length=255)
    name_key = models.CharField(max_length=255, blank=True, help_text="the name without case, accents and legal form")
    name_start = models.CharField(
        max_length=5, blank=True, default="", db_default="", help_text="its first letters: finds misspelt names"
    )
    website = models.CharField(max_length=255, blank=True)
    domain = models.CharField(max_length=255, blank=True, help_text="what of the website a company can register")
    phone = models.CharField(max_length=80, blank=True)
    phone_key = models.CharField(
        max_length=20, blank=True, default="", db_default="", help_text="the phone as digits after its country's code"
    )
    city = models.CharField(max_length=80, blank=True)
    postal_code = models.CharField(max_length=40, blank=True)
    country = models.CharField(max_length=80, blank=True)
    type = models.CharField(max_length=80, blank=True)
    owner_name = models.CharField(max_length=255, blank=True)
    owner_id = models.CharField(max_length=18, blank=True)
    owner_is_active = models.BooleanField(default=False)
    csm_id = models.CharField(max_length=18, blank=True, help_text="whom the connection's csm_field names")
    csm_is_active = models.BooleanField(default=False)
    parent_id = models.CharField(max_length=18, blank=True)
    is_deleted = models.BooleanField(default=False)
    merged_into = models.CharField(max_length=18, blank=True)
    last_activity_on = models.DateField(null=True, help_text="as of its last change: activity alone stamps nothing")
    modified_at = models.DateTimeField(null=True, help_text="null = asked for by its id, and not there")
    forgotten_at = models.DateTimeField(null=True, help_text="set = it bears a forgotten person's name: kept bare")

    class Meta:
        constraints = [UniqueConstraint(fields=["org", "salesforce_id"], name="an_account_is_mirrored_once")]
        indexes = [
            Index(fields=["domain"], name="accounts_by_domain"),
            Index(fields=["name_key"], name="accounts_by_name"),
            Index(fields=["name_start"], name="accounts_by_start_of_name"),
            Index(fields=["phone_key"], name="accounts_by_phone", condition=~Q(phone_key="")),
        ]

    def __str__(self) -> str:
        return self.salesforce_id


class Contact(models.Model):
    """A Contact's e-mail, lower case, with its Account (empty when it has none)."""

    org = models.ForeignKey(SalesforceOrg, on_delete=models.PROTECT, related_name="contacts")
    salesforce_id = models.CharField(max_length=18)
    account_id = models.CharField(max_length=18, blank=True)
    email = models.CharField(max_length=255)
    domain = models.CharField(
        max_length=255, blank=True, default="", db_default="", help_text="the e-mail's, where a company owns it"
    )
    is_deleted = models.BooleanField(default=False)
    forgotten_at = models.DateTimeField(null=True, help_text="set = a forgotten person's: its e-mail is not kept")

    class Meta:
        constraints = [UniqueConstraint(fields=["org", "salesforce_id"], name="a_contact_is_mirrored_once")]
        indexes = [
            Index(fields=["email"], name="contacts_by_email"),
            Index(fields=["domain", "account_id"], name="contacts_by_domain", condition=~Q(domain="")),
        ]

    def __str__(self) -> str:
        return self.salesforce_id


class Match(models.Model):
    """Our decision that a customer is an Account; undone, it stays as history."""

    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="matches")
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="matches")
    how = models.CharField(max_length=20, help_text="metadata, email, evidence, merge, person")
    evidence = models.JSONField(default=list)
    matched_by = models.CharField(max_length=150, blank=True, help_text="username; empty = automatic")
    matched_at = models.DateTimeField()
    waited_since = models.DateTimeField(null=True, help_text="since when it had been without an Account; null = never")
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
    due_at = models.DateTimeField(null=True, db_index=True, help_text="when it is tried again; null = now")
    snoozed_until = models.DateTimeField(null=True)
    waits_for = models.CharField(max_length=40, blank=True, db_default="", help_text="what a person said it waits for")
    waits_until = models.DateTimeField(null=True, help_text="null with waits_for = until there is news about it")
    waits_by = models.CharField(max_length=150, blank=True, db_default="", help_text="username of who said so")
    ignored_because = models.CharField(
        max_length=40, blank=True, db_default="", help_text="set = a person left it out, and why"
    )
    ignored_note = models.CharField(max_length=500, blank=True, db_default="")
    ignored_by = models.CharField(max_length=150, blank=True, db_default="", help_text="username")
    ignored_at = models.DateTimeField(null=True)
    news_at = models.DateTimeField(null=True, help_text="since it was set aside, an Account appeared that may be it")

    class Meta:
        verbose_name_plural = "unmatched customers"
        indexes = [Index(fields=["ignored_because"], name="unmatched_by_ignored")]

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


class Priority(models.IntegerChoices):
    """What goes first when not all can go: lost and endangered MRR, then the rest of today, then refreshes."""

    URGENT = 1
    NEWS = 2
    REFRESH = 3


class Work(models.Model):
    """What both kinds of outgoing work have: the row is the queue."""

    priority = models.PositiveSmallIntegerField(choices=Priority.choices, default=Priority.NEWS)
    state = models.CharField(max_length=12, choices=WorkState.choices, default=WorkState.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField()
    leased_until = models.DateTimeField(null=True)
    error_code = models.CharField(max_length=80, blank=True)
    error = models.TextField(blank=True)
    error_fields = models.JSONField(default=list, help_text="API names that the refusal names")
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)
    takes_back = models.BooleanField(
        default=False, db_default=False, help_text="its match was undone: what stands there is taken back first"
    )

    class Meta:
        abstract = True

    @property
    def ref(self) -> int:
        """The row's name among those of one parcel, which may hold records and messages: messages count downwards."""
        return int(self.pk)


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
    parent_id = models.CharField(max_length=18, blank=True, help_text="the Account Salesforce locks to save it")
    bulk_job = models.ForeignKey(
        "BulkJob",
        on_delete=models.SET_NULL,
        related_name="records",
        null=True,
        help_text="the Bulk job that carries it",
    )
    looked_up = models.JSONField(
        null=True, help_text="the Opportunities it may belong to, as Salesforce told at looked_up_at"
    )
    looked_up_at = models.DateTimeField(null=True)
    fields_sent = models.JSONField(null=True, help_text="field values of the last confirmed or would-be write")
    fields_before = models.JSONField(null=True, help_text="what Salesforce held before: our last confirmed write")
    was = models.JSONField(null=True, help_text="what an Opportunity said before we linked or won it; null = not known")
    there = models.JSONField(null=True, help_text="what Salesforce held when we looked last; {} = no such record")
    there_at = models.DateTimeField(null=True)
    accepted = models.JSONField(
        default=dict, help_text="{field: {ours, theirs}}: theirs stays until ours changes, as a person decided"
    )

    class Meta:
        verbose_name = "Salesforce record"
        constraints = [UniqueConstraint(fields=["kind", "key"], name="a_record_is_synced_by_one_row")]
        indexes = [
            Index(fields=["priority", "due_at", "id"], name="records_due", condition=Q(state="waiting")),
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
    their_id = models.CharField(max_length=80, blank=True, help_text="its id there")

    class Meta:
        indexes = [Index(fields=["priority", "due_at", "id"], name="messages_due", condition=Q(state="waiting"))]

    def __str__(self) -> str:
        return f"{self.channel} {self.topic}"

    @property
    def ref(self) -> int:
        return -int(self.pk)


class ApiHour(models.Model):
    """How many API calls we made in one hour, by what they were for."""

    org = models.ForeignKey(SalesforceOrg, on_delete=models.CASCADE, related_name="api_hours")
    hour = models.DateTimeField()
    writes = models.PositiveIntegerField(default=0)
    reads = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name = "hour of API calls"
        verbose_name_plural = "hours of API calls"
        constraints = [UniqueConstraint(fields=["org", "hour"], name="an_hour_is_counted_once")]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:00}: {self.writes} + {self.reads}"


class BulkState(models.TextChoices):
    MAKING = "making", "asked for, not known yet"
    OPEN = "open", "known, without its rows"
    RUNNING = "running", "Salesforce works through it"
    READING = "reading", "done, its results are read"
    ENDED = "ended"
    ABORTED = "aborted"


class BulkJob(models.Model):
    """One Bulk API 2.0 job, step by step: whoever takes its lease carries on where the last one stopped."""

    org = models.ForeignKey(SalesforceOrg, on_delete=models.PROTECT, related_name="bulk_jobs")
    sobject = models.CharField(max_length=80)
    operation = models.CharField(max_length=10)
    key_field = models.CharField(max_length=80)
    columns = models.JSONField(default=list, help_text="of its CSV, in their order")
    job_id = models.CharField(max_length=18, blank=True)
    state = models.CharField(max_length=10, choices=BulkState.choices, default=BulkState.MAKING)
    rows = models.PositiveIntegerField()
    failed = models.PositiveIntegerField(default=0)
    polls = models.PositiveIntegerField(default=0)
    attempts = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField()
    leased_until = models.DateTimeField(null=True)
    error_code = models.CharField(max_length=80, blank=True)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "Bulk job"
        indexes = [
            Index(fields=["due_at"], name="bulk_jobs_due", condition=~Q(state__in=("ended", "aborted"))),
        ]

    def __str__(self) -> str:
        return f"{self.operation} {self.rows} {self.sobject}"


class BulkRow(models.Model):
    """One record of a Bulk job: what is written, and the version it was read at."""

    job = models.ForeignKey(BulkJob, on_delete=models.CASCADE, related_name="carried")
    record = models.ForeignKey(SyncRecord, on_delete=models.CASCADE, related_name="bulk_rows")
    key = models.CharField(max_length=255, help_text="of its key field; results come in no order")
    wanted = models.PositiveBigIntegerField()
    leased_until = models.DateTimeField()
    fields = models.JSONField(default=dict)

    class Meta:
        verbose_name = "row of a Bulk job"
        verbose_name_plural = "rows of Bulk jobs"
        constraints = [UniqueConstraint(fields=["job", "record"], name="a_record_stands_once_in_a_job")]

    def __str__(self) -> str:
        return f"{self.job_id} {self.key}"


class WriteOutcome(models.TextChoices):
    WOULD_SEND = "would_send"
    SENT = "sent"
    REFUSED = "refused"
    LATER = "later", "tried, waits"
    UNCLEAR = "unclear"
    RETRIED = "retried", "retried by a person"
    SKIPPED = "skipped", "skipped by a person"
    HELD = "held", "held by a person"


class LoggedWrite(models.Model):
    """One write, would-be write, or decision about one: what was asked and what came back. Kept for `log_days`."""

    at = models.DateTimeField(db_index=True)
    outcome = models.CharField(max_length=12, choices=WriteOutcome.choices)
    record = models.ForeignKey(SyncRecord, on_delete=models.CASCADE, related_name="writes", null=True)
    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="writes", null=True)
    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="writes", null=True)
    sobject = models.CharField(max_length=80)
    key = models.CharField(max_length=255, help_text="the key of the record or message")
    method = models.CharField(max_length=8, blank=True)
    path = models.CharField(max_length=500, blank=True)
    before = models.JSONField(null=True, help_text="what Salesforce held of these fields, as far as we knew")
    request = models.JSONField(null=True)
    response = models.JSONField(null=True)
    error_code = models.CharField(max_length=80, blank=True)
    by = models.CharField(max_length=150, blank=True, help_text="username of who decided")

    class Meta:
        indexes = [
            Index(fields=["outcome", "-id"], name="writes_by_outcome"),
            Index(fields=["sobject", "key"], name="writes_of_a_record"),
        ]

    def __str__(self) -> str:
        return f"{self.sobject} {self.key} {self.outcome}"


class DriftState(models.TextChoices):
    OPEN = "open"
    OVERWRITTEN = "overwritten"
    ADOPTED = "adopted"
    IGNORED = "ignored"
    GONE = "gone", "agrees again"


class Drift(models.Model):
    """A field that somebody else changed in Salesforce since we wrote it, and what a person decided about it."""

    record = models.ForeignKey(SyncRecord, on_delete=models.CASCADE, related_name="drifts")
    field = models.CharField(max_length=80, help_text="our name of it; IsDeleted when the record is gone")
    ours = models.JSONField(null=True)
    theirs = models.JSONField(null=True)
    changed_by = models.CharField(max_length=255, blank=True, help_text="who changed the record last there")
    changed_at = models.DateTimeField(null=True)
    found_at = models.DateTimeField()
    state = models.CharField(max_length=12, choices=DriftState.choices, default=DriftState.OPEN)
    decided_by = models.CharField(max_length=150, blank=True)
    decided_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            UniqueConstraint(fields=["record", "field"], condition=Q(state="open"), name="a_difference_is_open_once")
        ]
        indexes = [Index(fields=["state", "-id"], name="drifts_by_state")]

    def __str__(self) -> str:
        return f"{self.record_id}.{self.field} {self.state}"


class OpportunityChoice(models.Model):
    """A subscription whose Opportunity a person must choose: why, which there are, and what was chosen."""

    record = models.OneToOneField(SyncRecord, on_delete=models.CASCADE, related_name="choice")
    code = models.CharField(max_length=80)
    text = models.TextField()
    candidates = models.JSONField(
        default=list, help_text="[{id, name, stage, close_on, amount, is_won, is_closed, subscription_id, owner}]"
    )
    asked_at = models.DateTimeField()
    chosen_id = models.CharField(max_length=18, blank=True, help_text="empty with chosen_at = one is to be made")
    chosen_by = models.CharField(max_length=150, blank=True)
    chosen_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "choice of an Opportunity"
        verbose_name_plural = "choices of Opportunities"

    def __str__(self) -> str:
        return f"{self.record_id}: {self.chosen_id or self.code}"


class PaymentTasks(models.TextChoices):
    FIRST_INVOICE = "first_invoice", "the first invoice of a subscription"
    EVERY = "every", "every invoice"
    NONE = "none", "none"


class AmountFrom(models.TextChoices):
    ARR = "arr", "ARR"
    FIRST_INVOICE = "first_invoice", "the first invoice"


class SourceRules(models.Model):
    """What Salesforce is told of one source's payments; a source without a row has the defaults."""

    source = models.OneToOneField("billing.StripeSource", on_delete=models.CASCADE, related_name="crm_rules")
    payment_tasks = models.CharField(
        max_length=14, choices=PaymentTasks.choices, default=PaymentTasks.FIRST_INVOICE, help_text="completed Tasks"
    )
    amount_from = models.CharField(
        max_length=14, choices=AmountFrom.choices, default=AmountFrom.ARR, help_text="Amount of the Opportunity we win"
    )

    class Meta:
        verbose_name = "rules of a source"
        verbose_name_plural = "rules of sources"

    def __str__(self) -> str:
        return f"source {self.source_id}"
