"""Who is matched, who waits, who is at risk and what Salesforce is owed, as frozen rows for pages and the API."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

from django.conf import settings
from django.db.models import Count, F, Max, Min, Q, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Coalesce

from crm import risk
from crm.models import (
    Account,
    Contact,
    CustomerRisk,
    Match,
    Message,
    RecordKind,
    SalesforceOrg,
    SyncRecord,
    Unmatched,
    WorkState,
)
from mrr import selectors as mrr
from mrr.engine.money import shown

# ---- matches ----


@dataclass(frozen=True, slots=True)
class MatchRow:
    """That a customer is an Account: how it was found, who said so (empty: the machine), and when."""

    pk: int
    customer_pk: int
    account_id: str
    account_name: str
    owner_name: str
    how: str
    evidence: Sequence[Mapping[str, Any]]
    matched_by: str
    matched_at: datetime
    undone_by: str
    undone_at: datetime | None


def account_ids(customer_pks: Collection[int]) -> dict[int, str]:
    """Return the Salesforce id of the Account of each customer that has one."""
    rows = Match.objects.filter(customer_id__in=customer_pks, undone_at__isnull=True)
    return dict(rows.values_list("customer_id", "account__salesforce_id"))


def matches_of(customer_pks: Collection[int]) -> dict[int, MatchRow]:
    """Return the standing match of each customer that has one."""
    rows = Match.objects.filter(customer_id__in=customer_pks, undone_at__isnull=True).select_related("account")
    return {row.customer_id: _match(row) for row in rows}


def match_history(customer_pk: int) -> list[MatchRow]:
    """Return all matches of a customer, those undone too, newest first."""
    rows = Match.objects.filter(customer_id=customer_pk).select_related("account").order_by("-matched_at", "-pk")
    return [_match(row) for row in rows]


def _match(row: Match) -> MatchRow:
    return MatchRow(
        row.pk,
        row.customer_id,
        row.account.salesforce_id,
        row.account.name,
        row.account.owner_name,
        row.how,
        row.evidence,
        row.matched_by,
        row.matched_at,
        row.undone_by,
        row.undone_at,
    )


@dataclass(frozen=True, slots=True)
class AccountRow:
    """A Salesforce Account as mirrored, with how many customers are matched to it."""

    salesforce_id: str
    name: str
    website: str
    city: str
    postal_code: str
    country: str
    type: str
    owner_name: str
    customers: int


def accounts(account_ids: Collection[str]) -> dict[str, AccountRow]:
    """Return mirrored Accounts by their Salesforce ids; unknown ids are left out."""
    return {row.salesforce_id: row for row in _accounts(Account.objects.filter(salesforce_id__in=account_ids))}


def accounts_of(customer_pks: Collection[int]) -> dict[int, AccountRow]:
    """Return the Account of each customer that has one. Two queries."""
    ids = account_ids(customer_pks)
    found = accounts(set(ids.values())) if ids else {}
    return {pk: found[account_id] for pk, account_id in ids.items() if account_id in found}


def accounts_matching(search: str, *, limit: int = 20) -> list[AccountRow]:
    """Return living Accounts whose name, domain, id or a Contact's e-mail fits what a person typed."""
    text = search.strip()
    if len(text) < 2:
        return []
    by_contact = Contact.objects.filter(email__startswith=text.lower(), is_deleted=False).exclude(account_id="")
    fits = Q(name__icontains=text) | Q(domain__istartswith=text) | Q(salesforce_id__startswith=text)
    if "@" in text:
        fits |= Q(salesforce_id__in=list(by_contact.values_list("account_id", flat=True)[:limit]))
    return _accounts(Account.objects.filter(fits, is_deleted=False).order_by("name", "salesforce_id")[:limit])


def _accounts(rows: QuerySet[Account]) -> list[AccountRow]:
    standing = Count("matches", filter=Q(matches__undone_at__isnull=True))
    return [
        AccountRow(
            row.salesforce_id,
            row.name,
            row.website,
            row.city,
            row.postal_code,
            row.country,
            row.type,
            row.owner_name,
            row.customers,
        )
        for row in rows.annotate(customers=standing)
    ]


# ---- unmatched customers ----

REASONS = {
    "account_not_read": "The Account id in its metadata is being looked up",
    "no_account_for_id": "The Account id in its metadata is not in Salesforce",
    "malformed_id": "The Account id in its metadata is not a Salesforce id",
    "deleted_account": "Its Account was deleted in Salesforce",
    "several_contacts": "Contacts of several Accounts have its e-mail",
    "contact_without_account": "The Contact with its e-mail has no Account",
    "no_email": "It has no e-mail and no Account id",
    "no_contact": "No Contact has its e-mail",
    "no_org": "Salesforce is not connected",
    "undone": "A person undid its match",
}


@dataclass(frozen=True, slots=True)
class CandidateRow:
    account_id: str
    name: str
    score: int
    reasons: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class UnmatchedRow:
    """A customer that waits for an Account: its largest balance, in `currency`, and how many records are held."""

    customer_pk: int
    source: str
    customer_id: str
    name: str
    email: str
    currency: str
    mrr_micros: int
    since: datetime
    reason: str
    status: str
    candidates: Sequence[CandidateRow]
    held: int
    snoozed_until: datetime | None = None

    @property
    def mrr_minor(self) -> int:
        return shown(self.mrr_micros)

    @property
    def reason_text(self) -> str:
        return REASONS.get(self.reason, self.reason)


@dataclass(frozen=True, slots=True)
class UnmatchedPlace:
    """A place in the list of unmatched customers."""

    mrr_micros: int
    customer_pk: int


@dataclass(frozen=True, slots=True)
class UnmatchedPage:
    """Unmatched customers, the largest MRR first; the list goes on after `following` and before `preceding`, if set."""

    rows: tuple[UnmatchedRow, ...]
    following: UnmatchedPlace | None
    preceding: UnmatchedPlace | None = None


def unmatched(
    *,
    limit: int,
    after: UnmatchedPlace | None = None,
    before: UnmatchedPlace | None = None,
    reason: str = "",
    search: str = "",
    searches_people: bool = True,
    sources: Sequence[int] | None = None,
    customer_pk: int | None = None,
    snoozed_at: datetime | None = None,
    awake_at: datetime | None = None,
) -> UnmatchedPage:
    """Return customers that wait for an Account, the largest MRR first. Three queries.

    `awake_at` leaves out those that a person put to rest beyond that moment, `snoozed_at` keeps only them.

    Unless `searches_people`, only ids are searched: a hit by name would tell the name.
    """
    rows = _unmatched(sources).annotate(mrr=Coalesce(Max("customer__balances__mrr_micros"), Value(0)))
    if reason:
        rows = rows.filter(reason=reason)
    if customer_pk is not None:
        rows = rows.filter(customer_id=customer_pk)
    if snoozed_at is not None:
        rows = rows.filter(snoozed_until__gt=snoozed_at)
    if awake_at is not None:
        rows = rows.filter(Q(snoozed_until__isnull=True) | Q(snoozed_until__lte=awake_at))
    if search:
        fits = Q(customer__stripe_id__startswith=search)
        if searches_people:
            fits |= Q(customer__name__icontains=search) | Q(customer__email__icontains=search)
        rows = rows.filter(fits)
    if after is not None:
        rows = rows.filter(Q(mrr__lt=after.mrr_micros) | Q(mrr=after.mrr_micros, customer_id__gt=after.customer_pk))
    if before is not None:
        rows = rows.filter(Q(mrr__gt=before.mrr_micros) | Q(mrr=before.mrr_micros, customer_id__lt=before.customer_pk))
    order = ("mrr", "-customer_id") if before else ("-mrr", "customer_id")
    found: list[Any] = list(rows.select_related("customer__source").order_by(*order)[: limit + 1])
    shown_rows, first, last = _cut(found, limit, after, before)
    pks = [row.customer_id for row in shown_rows]
    balances = mrr.balances(pks)
    held = dict(
        SyncRecord.objects.filter(customer_id__in=pks, state=WorkState.HELD)
        .values_list("customer_id")
        .annotate(count=Count("pk"))
    )
    page = tuple(_unmatched_row(row, balances[row.customer_id], held.get(row.customer_id, 0)) for row in shown_rows)
    return UnmatchedPage(
        page,
        following=UnmatchedPlace(last.mrr, last.customer_id) if last else None,
        preceding=UnmatchedPlace(first.mrr, first.customer_id) if first else None,
    )


def _cut(found: list[Any], limit: int, after: Any, before: Any) -> tuple[list[Any], Any, Any]:
    """Return the rows of a page in order, and the first and last of them where the list goes on beyond.

    `found` holds one row more than the page if there is one, and comes backwards when the page leads up to a place.
    """
    goes_on, rows = len(found) > limit, found[:limit]
    if before is not None:
        rows.reverse()
    has_earlier = goes_on if before is not None else after is not None
    has_later = True if before is not None else goes_on
    return rows, rows[0] if rows and has_earlier else None, rows[-1] if rows and has_later else None


def unmatched_reasons(*, sources: Sequence[int] | None = None) -> dict[str, int]:
    """Return how many customers wait for each reason, the commonest first."""
    rows = _unmatched(sources).values_list("reason").annotate(count=Count("pk")).order_by("-count", "reason")
    return dict(rows)


@dataclass(frozen=True, slots=True)
class MatchedMrr:
    """MRR and paying customers of one currency, matched and not."""

    matched_micros: int = 0
    matched_customers: int = 0
    unmatched_micros: int = 0
    unmatched_customers: int = 0


@dataclass(frozen=True, slots=True)
class MatchTotals:
    """How much of MRR is matched. `customers` counts all that wait, paying or not."""

    customers: int
    currencies: Mapping[str, MatchedMrr]

    def share(self, currency: str) -> Fraction | None:
        """Matched MRR ÷ MRR in a currency; None while there is none."""
        found = self.currencies.get(currency, MatchedMrr())
        total = found.matched_micros + found.unmatched_micros
        return Fraction(found.matched_micros, total) if total else None

    def customer_share(self, currency: str) -> Fraction | None:
        """Matched customers ÷ customers that pay in a currency; None while there are none."""
        found = self.currencies.get(currency, MatchedMrr())
        total = found.matched_customers + found.unmatched_customers
        return Fraction(found.matched_customers, total) if total else None


def unmatched_totals(*, sources: Sequence[int] | None = None) -> MatchTotals:
    """Return how much of MRR is matched, per currency. Two queries."""
    matches = Match.objects.filter(undone_at__isnull=True)
    matched = _paying(matches if sources is None else matches.filter(customer__source_id__in=sources))
    pays = Q(customer__balances__mrr_micros__gt=0)
    rows = (
        _unmatched(sources)
        .values_list("customer__balances__currency")
        .annotate(
            micros=Sum("customer__balances__mrr_micros", filter=pays),
            count=Count("customer_id", filter=pays),
            everybody=Subquery(_counted(_unmatched(sources))),
        )
        .order_by()
    )
    found = list(rows)
    waiting = {currency: (micros, count) for currency, micros, count, _ in found if count}
    nothing = (0, 0)
    return MatchTotals(
        customers=max((everybody for *_, everybody in found), default=0),
        currencies={
            currency: MatchedMrr(*matched.get(currency, nothing), *waiting.get(currency, nothing))
            for currency in sorted({*matched, *waiting})
        },
    )


def _paying(rows: QuerySet[Any]) -> dict[str, tuple[int, int]]:
    found = (
        rows.filter(customer__balances__mrr_micros__gt=0)
        .values_list("customer__balances__currency")
        .annotate(micros=Sum("customer__balances__mrr_micros"), count=Count("customer_id"))
        .order_by()
    )
    return {currency: (micros, count) for currency, micros, count in found}


def _unmatched(sources: Sequence[int] | None) -> QuerySet[Unmatched]:
    rows = Unmatched.objects.all()
    return rows if sources is None else rows.filter(customer__source_id__in=sources)


def _unmatched_row(row: Unmatched, balances: Sequence[mrr.Balance], held: int) -> UnmatchedRow:
    largest = max(balances, key=lambda one: one.mrr_micros, default=None)
    customer = row.customer
    return UnmatchedRow(
        customer_pk=row.customer_id,
        source=customer.source.slug,
        customer_id=customer.stripe_id,
        name=customer.name,
        email=customer.email,
        currency=largest.currency if largest else customer.currency or settings.REPORTING_CURRENCY,
        mrr_micros=largest.mrr_micros if largest else 0,
        since=row.since,
        reason=row.reason,
        status="snoozed" if row.snoozed_until else "waiting",
        candidates=[CandidateRow(**one) for one in row.candidates],
        held=held,
        snoozed_until=row.snoozed_until,
    )


# ---- at risk ----

MEDIUM_FROM, HIGH_FROM = risk.DEFAULT.medium_from, risk.DEFAULT.high_from


@dataclass(frozen=True, slots=True)
class RiskPart:
    """One signal: its points, what shows it, and since when (None where that is not known)."""

    signal: str
    points: int
    evidence: str
    at: datetime | None

    @property
    def label(self) -> str:
        return SIGNALS.get(self.signal, self.signal)

    @property
    def family(self) -> str:
        """Which colour of the bar it has: payment or cancel, past due or contraction, dispute or usage, the rest."""
        return FAMILIES.get(self.signal, "other")


SIGNALS = {
    "failed_payment": "Payment failed again",
    "no_further_attempt": "No further attempt",
    "past_due": "Past due",
    "open_invoice": "Invoice overdue",
    "scheduled_cancel": "Cancels",
    "contraction": "Contraction",
    "dispute_open": "Dispute open",
    "card_expires": "Card expires",
    "collection_paused": "Collection paused",
    "discount_ends": "Discount ends",
    "usage_down": "Usage down",
    "refund": "Refund",
    "annual_renewal": "Renews",
}
FAMILIES = {
    "failed_payment": "payment",
    "no_further_attempt": "payment",
    "open_invoice": "payment",
    "scheduled_cancel": "payment",
    "past_due": "past_due",
    "contraction": "past_due",
    "collection_paused": "past_due",
    "dispute_open": "dispute",
    "usage_down": "dispute",
    "refund": "dispute",
}


@dataclass(frozen=True, slots=True)
class RiskRow:
    """A paying customer with at least one signal. `mrr_micros` is its largest balance, in `currency`."""

    customer_pk: int
    source: str
    customer_id: str
    name: str
    account_id: str
    account_name: str
    owner_name: str
    currency: str
    mrr_micros: int
    score: int
    severity: str
    payment_severity: str
    parts: tuple[RiskPart, ...]
    since: datetime | None
    past_due_since: datetime | None
    assessed_at: datetime

    @property
    def mrr_minor(self) -> int:
        return shown(self.mrr_micros)


@dataclass(frozen=True, slots=True)
class RiskPlace:
    """A place in the list of customers at risk."""

    score: int
    customer_pk: int


@dataclass(frozen=True, slots=True)
class RiskPage:
    """Customers at risk, the highest score first; the list goes on after `following` and before `preceding`, if set."""

    rows: tuple[RiskRow, ...]
    following: RiskPlace | None
    preceding: RiskPlace | None = None


def at_risk_rows(
    *,
    limit: int,
    after: RiskPlace | None = None,
    before: RiskPlace | None = None,
    severity: str = "",
    signal: str = "",
    sources: Sequence[int] | None = None,
) -> RiskPage:
    """Return customers at risk as judged last, the highest score first. Three queries."""
    rows = _risks(sources)
    if severity:
        rows = rows.filter(severity=severity)
    if signal:
        rows = rows.filter(parts__icontains=f'"{signal}"')
    if after is not None:
        rows = rows.filter(Q(score__lt=after.score) | Q(score=after.score, customer_id__gt=after.customer_pk))
    if before is not None:
        rows = rows.filter(Q(score__gt=before.score) | Q(score=before.score, customer_id__lt=before.customer_pk))
    order = ("score", "-customer_id") if before else ("-score", "customer_id")
    found = list(rows.select_related("customer__source").order_by(*order)[: limit + 1])
    shown_rows, first, last = _cut(found, limit, after, before)
    return RiskPage(
        _risk_rows(shown_rows),
        following=RiskPlace(last.score, last.customer_id) if last else None,
        preceding=RiskPlace(first.score, first.customer_id) if first else None,
    )


def risk_of(customer_pk: int) -> RiskRow | None:
    """Return one customer's risk; None when nothing speaks against it."""
    return next(iter(_risk_rows(list(CustomerRisk.objects.filter(customer_id=customer_pk)))), None)


@dataclass(frozen=True, slots=True)
class RiskAmount:
    """MRR of so many customers in one currency."""

    micros: int = 0
    customers: int = 0

    @property
    def minor(self) -> int:
        return shown(self.micros)


@dataclass(frozen=True, slots=True)
class Largest:
    """The customer that stands for a list: the one with the most MRR in a currency."""

    customer_pk: int
    customer_id: str
    name: str
    micros: int


@dataclass(frozen=True, slots=True)
class RiskTotals:
    """MRR at risk (medium and high), MRR at high risk, and past due MRR, by currency; `customers` counts all listed.

    `largest_high` is who has the most MRR of those at high risk, by currency.
    """

    customers: int
    at_risk: Mapping[str, RiskAmount]
    high: Mapping[str, RiskAmount]
    past_due: Mapping[str, RiskAmount]
    largest_high: Mapping[str, Largest] = field(default_factory=dict)


def at_risk(*, now: datetime, sources: Sequence[int] | None = None) -> RiskTotals:
    """Return the totals of risk as judged last. One query."""
    rows = _risks(sources).values_list(
        "customer_id",
        "customer__stripe_id",
        "customer__name",
        "severity",
        "past_due",
        "customer__balances__currency",
        "customer__balances__mrr_micros",
    )
    risky: dict[str, RiskAmount] = {}
    high: dict[str, RiskAmount] = {}
    largest: dict[str, Largest] = {}
    past_due: dict[int, Mapping[str, int]] = {}
    for customer_pk, stripe_id, name, severity, amounts, currency, micros in rows:
        past_due[customer_pk] = amounts
        if micros and severity in ("medium", "high"):
            risky[currency] = _plus(risky.get(currency), micros, 1)
        if micros and severity == "high":
            high[currency] = _plus(high.get(currency), micros, 1)
            if currency not in largest or micros > largest[currency].micros:
                largest[currency] = Largest(customer_pk, stripe_id, name, micros)
    late: dict[str, RiskAmount] = {}
    for amounts in past_due.values():
        for currency, micros in amounts.items():
            late[currency] = _plus(late.get(currency), micros, 1)
    return RiskTotals(len(past_due), risky, high, late, largest)


def lost_lately(*, now: datetime, sources: Sequence[int] | None = None, days: int = 30) -> list[mrr.Movement]:
    """Return what was lost lately because a customer went unpaid or was paused, newest first."""
    first = (now - timedelta(days=days)).astimezone(mrr.reporting_zone()).date()
    chosen = mrr.MovementFilter(sources=sources, types=("churn", "contraction"), first=first)
    found = mrr.movements(chosen, limit=1000).movements
    return [one for one in reversed(found) if one.reason in ("payment_failed", "paused")]


def _risks(sources: Sequence[int] | None) -> QuerySet[CustomerRisk]:
    if sources is None:
        return CustomerRisk.objects.filter(customer__source__livemode=True)
    return CustomerRisk.objects.filter(customer__source_id__in=sources)


def _risk_rows(found: Sequence[CustomerRisk]) -> tuple[RiskRow, ...]:
    pks = [row.customer_id for row in found]
    balances = mrr.balances(pks) if pks else {}
    matches = matches_of(pks) if pks else {}
    return tuple(_risk_row(row, balances[row.customer_id], matches.get(row.customer_id)) for row in found)


def _risk_row(row: CustomerRisk, balances: Sequence[mrr.Balance], match: MatchRow | None) -> RiskRow:
    largest = max(balances, key=lambda one: one.mrr_micros, default=None)
    return RiskRow(
        customer_pk=row.customer_id,
        source=row.customer.source.slug,
        customer_id=row.customer.stripe_id,
        name=row.customer.name,
        account_id=match.account_id if match else "",
        account_name=match.account_name if match else "",
        owner_name=match.owner_name if match else "",
        currency=largest.currency if largest else settings.REPORTING_CURRENCY,
        mrr_micros=largest.mrr_micros if largest else 0,
        score=row.score,
        severity=row.severity,
        payment_severity=row.payment_severity,
        parts=tuple(
            RiskPart(
                part["signal"],
                part["points"],
                part["evidence"],
                datetime.fromisoformat(part["at"]) if part["at"] else None,
            )
            for part in row.parts
        ),
        since=row.since,
        past_due_since=row.past_due_since,
        assessed_at=row.assessed_at,
    )


def _plus(amount: RiskAmount | None, micros: int, customers: int) -> RiskAmount:
    amount = amount or RiskAmount()
    return RiskAmount(amount.micros + micros, amount.customers + customers)


# ---- Salesforce sync ----


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
    error_code: str
    error: str

    @property
    def is_live(self) -> bool:
        return self.mode == "live"

    @property
    def needs_a_person(self) -> bool:
        return bool(self.error_code)

    def is_paused(self, *, now: datetime) -> bool:
        return self.paused_until is not None and self.paused_until > now


def connection() -> Connection | None:
    """Return the connection to Salesforce; None when there is none."""
    row = SalesforceOrg.objects.order_by("pk").first()
    if row is None:
        return None
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
        row.error_code,
        row.error,
    )


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
    """Return the state of all outgoing work. Four queries."""
    counts: dict[str, int] = {}
    oldest: list[datetime] = []
    for model in (SyncRecord, Message):
        rows: QuerySet[Any] = model.objects.all()
        for state, count in rows.values_list("state").annotate(count=Count("pk")).order_by():
            counts[state] = counts.get(state, 0) + count
        due = rows.filter(state=WorkState.WAITING, due_at__lte=now).aggregate(at=Min("due_at"))["at"]
        oldest += [due] if due else []
    return OutboxCounts(**counts, oldest_due_at=min(oldest, default=None))


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """One kind of refusal: how many records have it, and what was said last."""

    code: str
    text: str
    count: int
    latest_pk: int


def sync_errors(*, limit: int = 20) -> list[ErrorRow]:
    """Return why records are parked or tried again, the commonest first."""
    rows = SyncRecord.objects.filter(state__in=(WorkState.PARKED, WorkState.WAITING)).exclude(error_code="")
    found = list(
        rows.values("error_code").annotate(count=Count("pk"), latest=Max("pk")).order_by("-count", "error_code")[:limit]
    )
    texts = dict(SyncRecord.objects.filter(pk__in=[one["latest"] for one in found]).values_list("pk", "error"))
    return [ErrorRow(one["error_code"], texts.get(one["latest"], ""), one["count"], one["latest"]) for one in found]


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of a record: what Salesforce held by our last write, and what it became or would become."""

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

    @property
    def sobject(self) -> str:
        return SOBJECTS[self.kind]

    @property
    def changes(self) -> list[FieldChange]:
        """Return the fields of the last or would-be write, the changed ones first."""
        found = [
            FieldChange(name, self.before.get(name), value, self.before.get(name) != value)
            for name, value in self.fields.items()
        ]
        return sorted(found, key=lambda change: not change.is_changed)


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
) -> SyncPage:
    """Return the records we keep in step, the newest first. Two queries.

    `search` finds a key, a Salesforce id or a customer's id; names too if `searches_people`.
    """
    rows = SyncRecord.objects.all()
    for name, value in (("state", state), ("kind", kind), ("error_code", error_code)):
        if value:
            rows = rows.filter(**{name: value})
    if customer_pk is not None:
        rows = rows.filter(customer_id=customer_pk)
    if search:
        fits = Q(key__startswith=search) | Q(salesforce_id__startswith=search) | Q(customer__stripe_id=search)
        if searches_people:
            fits |= Q(customer__name__icontains=search)
        rows = rows.filter(fits)
    if before_pk is not None:
        rows = rows.filter(pk__lt=before_pk)
    found = list(_with_customer(rows).order_by("-pk")[: limit + 1])
    return SyncPage(_sync_rows(found[:limit]), found[limit - 1].pk if len(found) > limit else None)


def schedule_states(keys: Collection[str]) -> dict[str, str]:
    """Return how the Salesforce record of each ledger entry stands, by the entry's key."""
    rows = SyncRecord.objects.filter(kind=RecordKind.SCHEDULE, key__in=keys)
    return dict(rows.values_list("key", "state"))


def sync_row(pk: int) -> SyncRow | None:
    """Return one record by its key."""
    return next(iter(_sync_rows(list(_with_customer(SyncRecord.objects.filter(pk=pk))))), None)


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
            before=row.fields_before or {},
        )
        for row in found
    )


# ---- for the frame of every page, and the workbench ----


@dataclass(frozen=True, slots=True)
class CrmPulse:
    """What waits for people: unmatched customers, those at risk, parked records; and how Salesforce is connected."""

    unmatched: int = 0
    at_risk: int = 0
    parked: int = 0
    mode: str = ""
    error: str = ""


def pulse() -> CrmPulse:
    """Return the pulse for the frame of every page: one query, two while Salesforce is not connected."""
    counts = {
        "unmatched": _counted(Unmatched.objects.all()),
        "at_risk": _counted(CustomerRisk.objects.filter(customer__source__livemode=True)),
        "parked": _counted(SyncRecord.objects.filter(state=WorkState.PARKED)),
    }
    org = SalesforceOrg.objects.order_by("pk").annotate(**{name: Subquery(rows) for name, rows in counts.items()})
    found: Any = org.values_list("unmatched", "at_risk", "parked", "mode", "error").first()  # type: ignore[misc]
    if found is not None:
        unmatched, at_risk, parked, mode, error = found
        return CrmPulse(unmatched or 0, at_risk or 0, parked or 0, mode, error)
    return CrmPulse(unmatched=Unmatched.objects.count())


def _counted(rows: QuerySet[Any]) -> QuerySet[Any, Any]:
    """Count rows inside another query."""
    found: QuerySet[Any, Any] = rows.order_by().annotate(one=Value(1)).values("one").annotate(count=Count("pk"))
    return found.values("count")


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """The match that a person made last, to be undone."""

    pk: int
    customer_pk: int
    customer_id: str
    customer_name: str
    account_id: str
    account_name: str
    matched_at: datetime


def last_decision(username: str, *, since: datetime) -> DecisionRow | None:
    """Return the last standing match that a person made since a moment."""
    row = (
        Match.objects.filter(matched_by=username, undone_at__isnull=True, matched_at__gte=since)
        .select_related("account", "customer")
        .order_by("-matched_at", "-pk")
        .first()
    )
    if row is None:
        return None
    return DecisionRow(
        row.pk,
        row.customer_id,
        row.customer.stripe_id,
        row.customer.name,
        row.account.salesforce_id,
        row.account.name,
        row.matched_at,
    )


def largest_unmatched(currency: str, *, sources: Sequence[int] | None = None) -> Largest | None:
    """Return the unmatched customer with the most MRR in a currency."""
    return _largest(_unmatched(sources), currency)


def _largest(rows: QuerySet[Any], currency: str) -> Largest | None:
    found = (
        rows.filter(customer__balances__currency=currency, customer__balances__mrr_micros__gt=0)
        .order_by("-customer__balances__mrr_micros", "customer_id")
        .values_list("customer_id", "customer__stripe_id", "customer__name", "customer__balances__mrr_micros")
        .first()
    )
    return Largest(*found) if found else None


@dataclass(frozen=True, slots=True)
class Resting:
    """Customers that a person put to rest, and the Salesforce records that are held for all who wait."""

    snoozed: int = 0
    held: int = 0
    held_since: datetime | None = None


def resting(*, now: datetime) -> Resting:
    """Return what the workbench shows above its queue. Two queries."""
    held = SyncRecord.objects.filter(state=WorkState.HELD).aggregate(count=Count("pk"), since=Min("created_at"))
    snoozed = Unmatched.objects.filter(snoozed_until__gt=now).count()
    return Resting(snoozed, held["count"], held["since"])


@dataclass(frozen=True, slots=True)
class Member:
    """One customer of a list behind a figure, and its exact part of it."""

    customer_pk: int
    customer_id: str
    name: str
    micros: int


def risk_members(
    currency: str, *, severities: Collection[str] = (), sources: Sequence[int] | None = None
) -> list[Member]:
    """Return whose MRR is at risk of these severities (none: whose is past due), the largest first. One query."""
    rows = _risks(sources)
    if not severities:
        late = rows.filter(past_due_since__isnull=False).values_list(
            "customer_id", "customer__stripe_id", "customer__name", "past_due"
        )
        found = [Member(pk, stripe_id, name, due[currency]) for pk, stripe_id, name, due in late if due.get(currency)]
        return sorted(found, key=lambda one: (-one.micros, one.customer_pk))
    return _members(rows.filter(severity__in=severities), currency)


def unmatched_members(currency: str, *, sources: Sequence[int] | None = None) -> list[Member]:
    """Return whose MRR is unmatched, the largest first. One query."""
    return _members(_unmatched(sources), currency)


def _members(rows: QuerySet[Any], currency: str) -> list[Member]:
    found = rows.filter(customer__balances__currency=currency, customer__balances__mrr_micros__gt=0).order_by(
        "-customer__balances__mrr_micros", "customer_id"
    )
    return [
        Member(*row)
        for row in found.values_list(
            "customer_id", "customer__stripe_id", "customer__name", "customer__balances__mrr_micros"
        )
    ]
