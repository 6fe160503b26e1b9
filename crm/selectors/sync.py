"""What Salesforce is owed and was sent: the connection, records with their fields, refusals, counts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db.models import Count, F, Max, Min, Q, QuerySet, Subquery

from billing import selectors as billing
from crm.channels.salesforce.errors import Explanation, explain
from crm.differences import agree
from crm.models import Account, Drift, DriftState, Match, Message, RecordKind, SalesforceOrg, SyncRecord, WorkState
from crm.selectors.lists import counted
from mrr import selectors as mrr

if TYPE_CHECKING:
    from crm.channels.salesforce.budget import Budget


@dataclass(frozen=True, slots=True)
class Connection:
    """The connection to Salesforce without its secrets. `needs_a_person`: nothing is sent until somebody reconnects."""

    pk: int
    instance_url: str
    org_id: str
    is_sandbox: bool | None
    is_demo: bool
    api_version: str
    mode: str
    live_since: datetime | None
    won_stage: str
    calls_used: int | None
    calls_limit: int | None
    token_at: datetime | None
    mirrored_to: datetime | None
    paused_until: datetime | None
    stopped_at: datetime | None
    held_since: datetime | None
    held_because: str
    held_by: str
    error_code: str
    error: str
    compared_to: datetime | None
    makes_opportunities: bool
    makes_accounts: bool
    log_days: int
    waiting_alerted_at: datetime | None = None
    open_differences: int = 0

    @property
    def is_live(self) -> bool:
        return self.mode == "live"

    @property
    def needs_a_person(self) -> bool:
        return bool(self.error_code)

    def is_paused(self, *, now: datetime) -> bool:
        return self.paused_until is not None and self.paused_until > now


def connection() -> Connection | None:
    """Return the connection to Salesforce; None when there is none. One query."""
    row = _org()
    return _connection(row) if row is not None else None


def standing(*, now: datetime) -> tuple[Connection | None, Budget | None]:
    """Return the connection and where the day stands with Salesforce's calls. Four queries."""
    from crm.channels.salesforce import budget as budgets

    row = _org()
    if row is None:
        return None, None
    return _connection(row), None if row.is_demo else budgets.status(row, now=now)


def _org() -> Any:
    differences = counted(Drift.objects.filter(state=DriftState.OPEN))
    return SalesforceOrg.objects.order_by("pk").annotate(open_differences=Subquery(differences)).first()


def _connection(row: Any) -> Connection:
    return Connection(
        row.pk,
        row.instance_url,
        row.org_id,
        row.is_sandbox,
        row.is_demo,
        row.api_version,
        row.mode,
        row.live_since,
        row.won_stage,
        row.calls_used,
        row.calls_limit,
        row.token_at,
        row.mirrored_to,
        row.paused_until,
        row.stopped_at,
        row.held_since,
        row.held_because,
        row.held_by,
        row.error_code,
        row.error,
        row.compared_to,
        row.makes_opportunities,
        row.makes_accounts,
        row.log_days,
        row.waiting_alerted_at,
        row.open_differences or 0,
    )


def record_url(connection: Connection | None, salesforce_id: str) -> str:
    """Return where a record is looked at in Salesforce; empty without a connection to a real org, or an id."""
    if connection is None or connection.is_demo or not salesforce_id:
        return ""
    return f"{connection.instance_url.rstrip('/')}/{salesforce_id}"


def setup_url(connection: Connection | None, path: str) -> str:
    """Return the address of a page of Salesforce's Setup; empty without a connection to a real org, or a path."""
    if connection is None or connection.is_demo or not path:
        return ""
    return f"{connection.instance_url.rstrip('/')}/lightning/setup/{path}"


def budget(*, now: datetime) -> Budget | None:
    """Return where the day stands with Salesforce's calls; None without a connection. Four queries."""
    from crm.channels.salesforce import budget as budgets

    org = SalesforceOrg.objects.order_by("pk").first()
    return budgets.status(org, now=now) if org is not None else None


@dataclass(frozen=True, slots=True)
class OutboxCounts:
    """Records and messages by state, and when the oldest that is due fell due."""

    waiting: int = 0
    held: int = 0
    sent: int = 0
    would_send: int = 0
    parked: int = 0
    dropped: int = 0
    oldest_due_at: datetime | None = None

    def oldest_due_seconds(self, *, now: datetime) -> int:
        return max(0, int((now - self.oldest_due_at).total_seconds())) if self.oldest_due_at else 0


def outbox_counts(*, now: datetime) -> OutboxCounts:
    """Return the state of all outgoing work. One query."""
    is_due = Q(state=WorkState.WAITING, due_at__lte=now)
    counted_rows: list[QuerySet[Any, Any]] = [
        model.objects.order_by()
        .values_list("state")
        .annotate(count=Count("pk"), due=Min("due_at", filter=is_due))
        .values_list("state", "count", "due")
        for model in (SyncRecord, Message)
    ]
    counts: dict[str, int] = {}
    oldest: list[datetime] = []
    for state, count, due in counted_rows[0].union(counted_rows[1], all=True):
        counts[state] = counts.get(state, 0) + count
        oldest += [due] if due else []
    return OutboxCounts(**counts, oldest_due_at=min(oldest, default=None))


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """One kind of refusal: how many records have it, what was said last, and what that means."""

    code: str
    text: str
    count: int
    latest_pk: int
    explanation: Explanation


def sync_errors(*, limit: int = 20) -> list[ErrorRow]:
    """Return why records are parked or tried again, the commonest first."""
    rows = SyncRecord.objects.filter(state__in=(WorkState.PARKED, WorkState.WAITING)).exclude(error_code="")
    found = list(
        rows.values("error_code").annotate(count=Count("pk"), latest=Max("pk")).order_by("-count", "error_code")[:limit]
    )
    latest = SyncRecord.objects.in_bulk([one["latest"] for one in found])
    return [
        ErrorRow(
            one["error_code"],
            latest[one["latest"]].error,
            one["count"],
            one["latest"],
            _explained(latest[one["latest"]]),
        )
        for one in found
        if one["latest"] in latest
    ]


def refs_refused(code: str, *, limit: int) -> list[int]:
    """Return the records that one refusal concerns, by their keys, the oldest first."""
    rows = SyncRecord.objects.filter(state__in=TROUBLED, error_code=code)
    return list(rows.order_by("pk").values_list("pk", flat=True)[:limit])


def _explained(row: SyncRecord) -> Explanation:
    return explain(row.error_code, row.error, sobject=SOBJECTS[row.kind], fields=tuple(row.error_fields))


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of a record: what Salesforce holds or held, and what it became or would become."""

    name: str
    before: Any
    after: Any
    is_changed: bool


@dataclass(frozen=True, slots=True)
class SyncRow:
    """One Salesforce record we keep in step, with its customer where it has one."""

    pk: int
    kind: str
    key: str
    salesforce_id: str
    customer_pk: int | None
    customer_id: str
    customer_name: str
    state: str
    attempts: int
    wanted: int
    confirmed: int
    due_at: datetime
    sent_at: datetime | None
    created_at: datetime
    error_code: str
    error: str
    account_name: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    before: Mapping[str, Any] = field(default_factory=dict)
    explanation: Explanation | None = None
    there_at: datetime | None = None
    accepted: Mapping[str, Any] = field(default_factory=dict)
    parent_id: str = ""  # the Account it belongs to, where it is none itself

    @property
    def sobject(self) -> str:
        return SOBJECTS[self.kind]

    @property
    def changes(self) -> list[FieldChange]:
        """Return the fields of the last or would-be write, the changed ones first."""
        found = [
            FieldChange(name, self.before.get(name), value, not agree(value, self.before.get(name)))
            for name, value in self.fields.items()
        ]
        return sorted(found, key=lambda change: not change.is_changed)


TROUBLED = (WorkState.PARKED, WorkState.WAITING)

SOBJECTS = {
    RecordKind.SCHEDULE.value: "MRR_Schedule__c",
    RecordKind.ACCOUNT.value: "Account",
    RecordKind.OPPORTUNITY.value: "Opportunity",
}


@dataclass(frozen=True, slots=True)
class SyncPage:
    """Records, the newest first, and the key after which the list goes on, None at the end."""

    rows: tuple[SyncRow, ...]
    following: int | None


def sync_rows(
    *,
    limit: int,
    before_pk: int | None = None,
    state: str = "",
    kind: str = "",
    error_code: str = "",
    search: str = "",
    searches_people: bool = True,
    customer_pk: int | None = None,
    key: str = "",
) -> SyncPage:
    """Return the records we keep in step, the newest first. Two queries.

    `search` finds a key, a Salesforce id, an event, an Account or a customer; names too if `searches_people`. Up to
    four queries more.
    """
    rows = SyncRecord.objects.all()
    for name, value in (("state", state), ("kind", kind), ("error_code", error_code), ("key", key)):
        if value:
            rows = rows.filter(**{name: value})
    if customer_pk is not None:
        rows = rows.filter(customer_id=customer_pk)
    if search:
        rows = rows.filter(_fits(search.strip(), searches_people=searches_people))
    if before_pk is not None:
        rows = rows.filter(pk__lt=before_pk)
    found = list(_with_customer(rows).order_by("-pk")[: limit + 1])
    return SyncPage(_sync_rows(found[:limit]), found[limit - 1].pk if len(found) > limit else None)


def fitting(search: str, *, searches_people: bool) -> QuerySet[SyncRecord]:
    """Return the records that a search means, as a query to look further in."""
    return SyncRecord.objects.filter(_fits(search, searches_people=searches_people))


def _fits(search: str, *, searches_people: bool) -> Q:
    """Return which records a search means: what it names is found first, so that no index is left unused."""
    if search.startswith("evt_"):
        return _of_event(search)
    named = Q(account__salesforce_id=search)
    customers: Any = []
    if searches_people:
        customers = billing.customers_matching(search, sources=billing.live_source_pks())
        named |= Q(account__name__icontains=search)
    matched = _matched().filter(named | Q(customer__stripe_id=search) | Q(customer_id__in=customers))
    found = Q(customer_id__in=matched.values("customer_id")) | Q(customer_id__in=customers)
    of_accounts = Q(kind=RecordKind.ACCOUNT, key__in=matched.values("account__salesforce_id"))
    return found | of_accounts | Q(customer__stripe_id=search) | Q(key=search) | Q(salesforce_id=search)


def _of_event(event_id: str) -> Q:
    """Return the records that an event's entries made, and the Accounts of its customers."""
    events = [one for source in billing.live_source_pks() for one in billing.events_by_id(source, [event_id])]
    concerned = Q(pk__in=[])
    for event in events:
        concerned |= Q(customer__stripe_id=event.customer_id, customer__source_id=event.source_pk)
    customer_pks = set(SyncRecord.objects.filter(concerned).values_list("customer_id", flat=True)) - {None}
    keys = {one.key for pk in customer_pks if pk for one in mrr.movements_of_event(event_id, pk)}
    account_ids = _matched().filter(customer_id__in=customer_pks).values("account__salesforce_id")
    return Q(kind=RecordKind.SCHEDULE, key__in=keys) | Q(kind=RecordKind.ACCOUNT, key__in=account_ids)


def _matched() -> QuerySet[Match]:
    return Match.objects.filter(undone_at__isnull=True)


def schedule_states(keys: Collection[str]) -> dict[str, str]:
    """Return how the Salesforce record of each ledger entry stands, by the entry's key."""
    rows = SyncRecord.objects.filter(kind=RecordKind.SCHEDULE, key__in=keys)
    return dict(rows.values_list("key", "state"))


def sync_row(pk: int) -> SyncRow | None:
    """Return one record by its key."""
    return next(iter(_sync_rows(list(_with_customer(SyncRecord.objects.filter(pk=pk))))), None)


def listed(rows: QuerySet[SyncRecord]) -> tuple[SyncRow, ...]:
    """Return records as rows, in the order of the query. Two queries."""
    return _sync_rows(list(_with_customer(rows)))


def _with_customer(rows: QuerySet[SyncRecord]) -> QuerySet[SyncRecord]:
    return rows.annotate(customer_stripe_id=F("customer__stripe_id"), customer_name=F("customer__name"))


def _sync_rows(found: Sequence[Any]) -> tuple[SyncRow, ...]:
    ids = [row.key for row in found if row.kind == RecordKind.ACCOUNT]
    names = dict(Account.objects.filter(salesforce_id__in=ids).values_list("salesforce_id", "name")) if ids else {}
    return tuple(
        SyncRow(
            pk=row.pk,
            kind=row.kind,
            key=row.key,
            salesforce_id=row.salesforce_id or (row.key if row.kind == RecordKind.ACCOUNT else ""),
            customer_pk=row.customer_id,
            customer_id=row.customer_stripe_id or "",
            customer_name=row.customer_name or "",
            state=row.state,
            attempts=row.attempts,
            wanted=row.wanted,
            confirmed=row.confirmed,
            due_at=row.due_at,
            sent_at=row.sent_at,
            created_at=row.created_at,
            error_code=row.error_code,
            error=row.error,
            account_name=names.get(row.key, ""),
            fields=row.fields_sent or {},
            before=(row.there if row.there_at and row.state == WorkState.WOULD_SEND else row.fields_before) or {},
            explanation=_explained(row) if row.error_code and row.state in TROUBLED else None,
            there_at=row.there_at,
            accepted=row.accepted,
            parent_id=row.parent_id if row.kind != RecordKind.ACCOUNT else "",
        )
        for row in found
    )
