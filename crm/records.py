"""Builds what each Salesforce record should say now, from the ledger and the mirror as they stand when it is sent."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

from django.conf import settings

from billing import selectors as billing
from crm import facts, payments
from crm.amounts import ARR_PLACES, MRR_PLACES, decimal, difference, total
from crm.channels.kinds import Dropped, Held
from crm.channels.salesforce import fields as names
from crm.differences import without_accepted
from crm.ids import OPPORTUNITY, MalformedId, long_id
from crm.models import Account, CustomerRisk, Match, RecordKind, SalesforceOrg, SyncRecord
from crm.outbox import UNMATCHED, beginning
from crm.risk import Severity
from mrr import selectors as mrr
from mrr.engine import money

STATUS_ORDER = ("past_due", "active", "trialing", "unpaid", "paused", "incomplete", "incomplete_expired", "canceled")


@dataclass(frozen=True, slots=True)
class Begun:
    """How a subscription began to count: what closing its Opportunity needs."""

    subscription_id: str
    at: datetime
    on: date
    amount: str
    named_id: str = ""
    is_fixed: bool = False  # the amount is that of the first invoice; empty while it is not known
    currency: str = ""  # as Salesforce writes it; empty in an org with one currency


@dataclass(frozen=True, slots=True)
class Built:
    """What one record should say; `begun` only where the record is an Opportunity.

    `account_id` is the parent Account.
    """

    sobject: str
    account_id: str
    fields: Mapping[str, Any]
    their_id: str = ""
    key_field: str = ""
    key: str = ""
    begun: Begun | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """All that the records of one round say, read at once."""

    customers: Mapping[int, billing.CustomerRow]
    account_of: Mapping[int, str]
    customers_of: Mapping[str, Sequence[int]]
    movements: Mapping[int, Sequence[mrr.Movement]]
    balances: Mapping[int, Sequence[mrr.Balance]]
    subscriptions: Mapping[int, Sequence[billing.SubscriptionRow]]
    money: Mapping[int, facts.Money]
    risks: Mapping[int, CustomerRisk]
    rates: mrr.Conversion
    today: date
    has_currencies: bool = False
    opportunities: Mapping[str, str] = field(default_factory=dict)
    first_amounts: Mapping[str, tuple[str, int] | None] = field(default_factory=dict)
    gone: Collection[str] = ()


def build(rows: Sequence[SyncRecord], *, now: datetime) -> dict[int, Built | Held | Dropped]:
    """Return, for each row, what its record should say now, or why nothing is to be sent.

    A few queries, however many rows.
    """
    read = _read(rows, now=now)
    made: dict[int, Built | Held | Dropped] = {}
    for row in rows:
        if row.kind == RecordKind.ACCOUNT:
            made[row.pk] = _account(row, read)
        elif row.kind == RecordKind.SCHEDULE:
            made[row.pk] = _schedule(row, read)
        else:
            made[row.pk] = _opportunity(row, read)
        built = made[row.pk]
        if row.accepted and isinstance(built, Built):
            made[row.pk] = replace(built, fields=without_accepted(built.fields, row.accepted))
    return made


def _read(rows: Sequence[SyncRecord], *, now: datetime) -> Read:
    account_ids = {row.key for row in rows if row.kind == RecordKind.ACCOUNT}
    own = {row.customer_id for row in rows if row.customer_id is not None}
    matches = Match.objects.filter(undone_at__isnull=True).values_list("customer_id", "account__salesforce_id")
    account_of = dict(matches.filter(customer_id__in=own))
    customers_of: dict[str, list[int]] = {account_id: [] for account_id in account_ids}
    for customer_pk, account_id in matches.filter(account__salesforce_id__in=account_ids).order_by("customer_id"):
        customers_of[account_id].append(customer_pk)
    of_accounts = {pk for pks in customers_of.values() for pk in pks}
    everyone = sorted(own | of_accounts)
    customers = billing.customers(everyone)
    subscriptions = billing.subscriptions_of(everyone)
    movements = mrr.movements_of(everyone, has_reversed=True)
    balances = mrr.balances(of_accounts)
    wanted = {line.subscription for pk in own for one in movements[pk] for line in one.lines}
    linked = SyncRecord.objects.filter(kind=RecordKind.OPPORTUNITY, key__in=wanted, takes_back=False).exclude(
        salesforce_id=""
    )
    monies = facts.money_of(of_accounts, now=now)
    return Read(
        customers=customers,
        account_of=account_of,
        customers_of=customers_of,
        movements={pk: sorted(found, key=lambda one: one.pk) for pk, found in movements.items()},
        balances=balances,
        subscriptions=subscriptions,
        money=monies,
        risks={row.customer_id: row for row in CustomerRisk.objects.filter(customer_id__in=of_accounts)},
        rates=mrr.exchange(_currencies(balances, monies)),
        today=_day(now),
        has_currencies=SalesforceOrg.objects.filter(has_currencies=True).exists(),
        opportunities=dict(linked.values_list("key", "salesforce_id")),
        first_amounts=_first_amounts(rows, customers),
        gone=set(
            Account.objects.filter(salesforce_id__in=account_ids, is_deleted=True).values_list(
                "salesforce_id", flat=True
            )
        ),
    )


def _currencies(balances: Mapping[int, Sequence[mrr.Balance]], monies: Mapping[int, facts.Money]) -> set[str]:
    found = {one.currency for held in balances.values() for one in held}
    for one in monies.values():
        found |= {currency for currency, _ in one.past_due} | (
            {one.last_payment.currency} if one.last_payment else set()
        )
    return found


# ---- MRR schedule ----


def _schedule(row: SyncRecord, read: Read) -> Built | Held | Dropped:
    assert row.customer_id is not None
    account_id = read.account_of.get(row.customer_id, "")
    if not account_id:
        return Held(UNMATCHED, "The customer has no Account yet.")
    before = after = 0
    for entry in read.movements[row.customer_id]:
        if entry.key == row.key:
            customer = read.customers[row.customer_id]
            before = _balance_before(entry, read.movements[row.customer_id])
            after = before + entry.amount_micros
            said = _entry_fields(entry, customer, before, after, read)
            said["Account__c"] = account_id
            if read.has_currencies:
                said[names.CURRENCY] = entry.currency.upper()
            return Built(names.MRR_SCHEDULE, account_id, said, key_field=names.LEDGER_KEY, key=row.key)
    return Dropped("no_entry", "The ledger has no such entry.")


def _balance_before(entry: mrr.Movement, posted: Sequence[mrr.Movement]) -> int:
    """The customer's MRR in the entry's currency as the ledger stood before it was posted, whatever came later."""
    return sum(one.amount_micros for one in posted if one.pk < entry.pk and one.currency == entry.currency)


def _entry_fields(
    entry: mrr.Movement, customer: billing.CustomerRow, before: int, after: int, read: Read
) -> dict[str, Any]:
    main = max(entry.lines, key=lambda line: abs(line.micros), default=None)
    subscription = main.subscription if main else ""
    return {
        "Opportunity__c": read.opportunities.get(subscription),
        "Type__c": entry.type,
        "Reason__c": entry.reason,
        "MRR_Delta__c": difference(before, after, entry.currency, MRR_PLACES),
        "MRR_After__c": decimal(after, entry.currency, MRR_PLACES),
        "ARR_Delta__c": difference(12 * before, 12 * after, entry.currency, ARR_PLACES),
        "Currency__c": entry.currency.upper(),
        "Start_Date__c": _day(entry.effective_at).isoformat(),
        "Effective_At__c": _moment(entry.effective_at),
        "Posted_At__c": _moment(entry.posted_at),
        "Source_Label__c": customer.source_label,
        "Stripe_Customer_Id__c": customer.stripe_id,
        "Stripe_Subscription_Id__c": subscription or None,
        "Stripe_Event_Id__c": entry.event_ids[-1] if entry.event_ids else None,
        "Reverses__c": entry.reverses,
        "Policy_Version__c": entry.policy_version,
        "Detail_Url__c": f"{settings.BASE_URL}/dashboard/customers/{entry.customer_pk}/",
    }


# ---- Account ----


def _account(row: SyncRecord, read: Read) -> Built | Dropped:
    pks = read.customers_of[row.key]
    if not pks and row.key in read.gone:
        return Dropped("account_gone", "The Account was deleted or merged into another in Salesforce.")
    said = _account_fields(pks, read) if pks else _nothing()
    return Built(names.ACCOUNT, row.key, said, their_id=row.key)


def _account_fields(pks: Sequence[int], read: Read) -> dict[str, Any]:
    balances = [one for pk in pks for one in read.balances.get(pk, ())]
    movements = [one for pk in pks for one in read.movements[pk] if not one.reverses and not one.reversed_by]
    monies = [read.money[pk] for pk in pks]
    risks = [read.risks[pk] for pk in pks if pk in read.risks]
    worst = max(risks, key=lambda found: found.score, default=None)
    payment = max((Severity(one.payment_severity) for one in risks), key=_SEVERITIES.index, default=Severity.NONE)
    last = max((one.last_payment for one in monies if one.last_payment), key=lambda paid: paid.at, default=None)
    mrr_parts = [(one.currency, one.mrr_micros) for one in balances]
    upcoming = [sub.current_period_end_at for pk in pks for sub in read.subscriptions.get(pk, ()) if sub.is_counted]
    return {
        "MRR__c": _total(mrr_parts, MRR_PLACES, read),
        "ARR__c": _total(mrr_parts, ARR_PLACES, read, times=12),
        "CMRR__c": _total([(one.currency, one.cmrr_micros) for one in balances], MRR_PLACES, read),
        "Billing_Status__c": _status([sub.status for pk in pks for sub in read.subscriptions.get(pk, ())]),
        "Last_Expansion_Date__c": _latest(movements, "expansion"),
        "Last_Contraction_Date__c": _latest(movements, "contraction"),
        "Payment_Risk__c": str(payment),
        "Churn_Risk_Score__c": worst.score if worst else 0,
        "Churn_Risk_Reasons__c": _reasons(worst) if worst else None,
        "In_Dispute__c": any(one.is_disputed for one in monies),
        "Stripe_Customer_Ids__c": _ids([read.customers[pk] for pk in pks]),
        "Last_Payment_Date__c": _day(last.at).isoformat() if last else None,
        "Last_Payment_Amount__c": _paid(last, read) if last else None,
        "Past_Due_Amount__c": _past_due(monies, read),
        "Next_Invoice_Date__c": _day(min(filter(None, upcoming))).isoformat() if any(upcoming) else None,
        "Ledger_Version__c": max((one.pk for pk in pks for one in read.movements[pk]), default=None),
    }


def _total(
    parts: Sequence[tuple[str, int]], places: int, read: Read, *, times: int = 1, day: date | None = None
) -> str | None:
    """Write a sum in the reporting currency, at the rates of a day (today's); None where one of them is missing."""

    def convert(micros: int, currency: str) -> int | None:
        return read.rates.at(micros, currency, day or read.today)

    return total(parts, places, reporting=settings.REPORTING_CURRENCY, convert=convert, times=times)


def _paid(last: facts.Payment, read: Read) -> str | None:
    """Write the last payment at the rate of its own day."""
    return _total([(last.currency, last.amount_minor * money.MICROS)], ARR_PLACES, read, day=_day(last.at))


def _past_due(monies: Sequence[facts.Money], read: Read) -> str | None:
    owed = [(currency, minor * money.MICROS) for one in monies for currency, minor in one.past_due]
    return _total(owed, ARR_PLACES, read)


def _nothing() -> dict[str, Any]:
    """What an Account says that has no customer any more: nothing, as before the first match."""
    wanted = [needed for needed in names.NEEDED if needed.sobject == names.ACCOUNT]
    return {needed.name: False if "boolean" in needed.types else None for needed in wanted}


def _ids(customers: Sequence[billing.CustomerRow]) -> str:
    """The Stripe ids; with the label of each source where there are several, so that nobody looks in the wrong one."""
    if len({one.source_label for one in customers}) < 2:
        return ", ".join(one.stripe_id for one in customers)
    return ", ".join(f"{one.stripe_id} ({one.source_label})" for one in customers)


def _reasons(worst: CustomerRisk) -> str:
    return "\n".join(f"{part['points']} {part['evidence']}" for part in worst.parts)


_SEVERITIES = list(Severity)


def _status(statuses: Collection[str]) -> str | None:
    return next((status for status in STATUS_ORDER if status in statuses), None)


def _latest(movements: Sequence[mrr.Movement], kind: str) -> str | None:
    last = max((one.effective_at for one in movements if one.type == kind), default=None)
    return _day(last).isoformat() if last else None


# ---- Opportunity ----


def _opportunity(row: SyncRecord, read: Read) -> Built | Held | Dropped:
    assert row.customer_id is not None
    account_id = read.account_of.get(row.customer_id, "")
    if not account_id:
        return Held(UNMATCHED, "The customer has no Account yet.")
    standing = [one for one in read.movements[row.customer_id] if not one.reverses and not one.reversed_by]
    now_micros, currency = _worth(row.key, standing)
    begun = _begun(row.key, sorted(standing, key=lambda one: (one.effective_at, one.pk)))
    if begun is None and not row.salesforce_id:
        return Dropped("taken_back", "The subscription did not begin to count after all.")
    if begun is not None and row.key in read.first_amounts:
        paid = read.first_amounts[row.key]
        amount = decimal(paid[1] * money.MICROS, paid[0], ARR_PLACES) if paid else ""
        begun = replace(begun, amount=amount, is_fixed=True)
    if begun is not None and read.has_currencies:
        begun = replace(begun, currency=currency.upper())
    subscriptions = {one.stripe_id: one for one in read.subscriptions.get(row.customer_id, ())}
    if begun is not None and row.key in subscriptions:
        begun = _named(begun, subscriptions[row.key].metadata)
    said = {names.SUBSCRIPTION_ID: row.key, "Committed_ARR__c": decimal(12 * now_micros, currency, ARR_PLACES)}
    return Built(names.OPPORTUNITY, account_id, said, their_id=row.salesforce_id, begun=begun)


def _begun(subscription_id: str, standing: Sequence[mrr.Movement]) -> Begun | None:
    for entry in standing:
        lines = [
            {"subscription": line.subscription, "micros": line.micros, "reason": line.reason, "before": line.before}
            for line in entry.lines
        ]
        if subscription_id in beginning(entry.type, lines):
            worth = sum(line.micros for line in entry.lines if line.subscription == subscription_id)
            amount = decimal(12 * worth, entry.currency, ARR_PLACES)
            return Begun(subscription_id, entry.effective_at, _day(entry.effective_at), amount)
    return None


def _worth(subscription_id: str, standing: Sequence[mrr.Movement]) -> tuple[int, str]:
    """Return a subscription's MRR now, and its currency."""
    found = [
        (one.currency, line.micros) for one in standing for line in one.lines if line.subscription == subscription_id
    ]
    return sum(micros for _, micros in found), found[0][0] if found else settings.REPORTING_CURRENCY


def _first_amounts(
    rows: Sequence[SyncRecord], customers: Mapping[int, billing.CustomerRow]
) -> Mapping[str, tuple[str, int] | None]:
    """Return the first invoices' amounts of the subscriptions whose source books those instead of ARR."""
    begun = [row for row in rows if row.kind == RecordKind.OPPORTUNITY and row.customer_id in customers]
    chosen = {row.key: customers[row.customer_id].source_pk for row in begun if row.customer_id is not None}
    return payments.first_amounts(chosen) if chosen else {}


def _named(begun: Begun, metadata: Mapping[str, Any]) -> Begun:
    try:
        named = long_id(str(metadata.get("salesforce_opportunity_id") or ""), prefix=OPPORTUNITY)
    except MalformedId:
        return begun
    return replace(begun, named_id=named)


# ---- days and moments ----


def _day(at: datetime) -> date:
    return at.astimezone(mrr.reporting_zone()).date()


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}Z"
