"""Has an Account made in Salesforce for a customer that fits none; after a lost answer it looks and makes none."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import structlog
from django.db import transaction

from billing import selectors as billing
from crm import accounts, domains
from crm.channels.kinds import ChannelError, Unclear
from crm.channels.salesforce import fields as names
from crm.ids import ACCOUNT, MalformedId, long_id
from crm.matching.acting import UnknownCustomer, refuse_second, take
from crm.models import MadeAccount, Match, Mode, SalesforceOrg

if TYPE_CHECKING:
    from crm.channels.salesforce.client import Client

log = structlog.get_logger(__name__)

SETTLES: Final = timedelta(minutes=11)  # Salesforce ends every request within ten minutes
CLOCKS: Final = timedelta(minutes=5)  # by which Salesforce's clock and ours may differ
CUSTOMER_IDS: Final = "Stripe_Customer_Ids__c"
NAME_LENGTH: Final = 255


class NotMade(Exception):
    """No Account was made, or it is not known yet; the message says why and what to do."""


def create_account(customer_pk: int, *, by: str, now: datetime) -> Match:
    """Have an Account made for a customer, and match the customer to it. Calls Salesforce, with no transaction open.

    Raises NotMade (in shadow mode it says what would be made), UnknownCustomer, AlreadyMatched.
    """
    org = _may_make(now)
    with transaction.atomic():
        billing.lock_customers([customer_pk])
        customer = billing.customers([customer_pk]).get(customer_pk)
        if customer is None or not customer.livemode:
            raise UnknownCustomer("There is no such customer, or it belongs to a test source.")
        refuse_second(customer_pk)
        wanted = _fields(customer, org)
        if org.mode != Mode.LIVE or org.is_demo:
            raise NotMade(f"In shadow mode nothing is written. It would make the Account {_words(wanted)}.")
        _ask_once(customer_pk, by=by, now=now)
    try:
        account_id = _make(org, wanted, now=now)
    except Unclear as error:
        log.warning("account perhaps made", customer=customer.stripe_id, code=error.code)
        text = "Salesforce's answer was lost, so it may have been made. It is looked for in ten minutes, and matched."
        MadeAccount.objects.filter(customer_id=customer_pk).update(error=text)
        raise NotMade(text) from None
    except ChannelError as error:
        text = f"Salesforce made no Account: {error.message} ({error.code})"
        MadeAccount.objects.filter(customer_id=customer_pk).update(is_open=False, error=text)
        raise NotMade(text) from None
    return _matched(customer_pk, account_id, by=by, now=now)


def look_for_made(*, now: datetime) -> int:
    """Look for Accounts whose answer was lost, and match their customers; returns how many. Makes none."""
    lost = list(MadeAccount.objects.filter(is_open=True, asked_at__lte=now - SETTLES).order_by("asked_at")[:20])
    org = SalesforceOrg.objects.order_by("pk").first() if lost else None
    if org is None or org.mode != Mode.LIVE or not accounts.can_be_asked(org, now=now):
        return 0
    customers = billing.customers([row.customer_id for row in lost])
    try:
        found = {row.pk: _standing(org, customers[row.customer_id].stripe_id, row.asked_at, now=now) for row in lost}
    except ChannelError as error:
        log.warning("made accounts not looked for", code=error.code, message=error.message)
        return 0
    matched = 0
    for row in lost:
        if account_id := found[row.pk]:
            matched += _match_found(row, account_id, now=now)
        else:
            text = "It was not made. Ask for it again, or match the customer by hand."
            MadeAccount.objects.filter(pk=row.pk).update(is_open=False, error=text)
    return matched


# ---- asking ----


def _may_make(now: datetime) -> SalesforceOrg:
    org = SalesforceOrg.objects.order_by("pk").first()
    if org is None:
        raise NotMade("No Salesforce org is connected. Connect one first.")
    if not org.makes_accounts:
        raise NotMade("Accounts are made in Salesforce only. An administrator may allow it under Salesforce, Rules.")
    if org.mode == Mode.LIVE and not org.is_demo and not accounts.can_be_asked(org, now=now):
        raise NotMade("Salesforce does not answer us now. The connection's page says why.")
    if org.held_since:
        raise NotMade("All writes to Salesforce are held. Release them first.")
    return org


def _fields(customer: billing.CustomerRow, org: SalesforceOrg) -> dict[str, str]:
    name = customer.name.strip()
    if not name:
        raise NotMade("The customer has no name in Stripe. Give it one there first.")
    domain = domains.company_domain(customer.email, blocked=domains.blocked_domains(org.blocked_domains))
    website = {"Website": domain} if domain else {}
    return {"Name": name[:NAME_LENGTH], **website, CUSTOMER_IDS: customer.stripe_id}


def _words(wanted: Mapping[str, str]) -> str:
    return f"{wanted['Name']} ({wanted['Website']})" if "Website" in wanted else wanted["Name"]


def _ask_once(customer_pk: int, *, by: str, now: datetime) -> None:
    """Write down that one is asked for, before anything is sent; the customer's row is locked."""
    row = MadeAccount.objects.filter(customer_id=customer_pk).first()
    if row is not None and row.is_open:
        raise NotMade(f"{row.by} asked for one at {row.asked_at:%Y-%m-%d %H:%M} UTC. {row.error}".strip())
    MadeAccount.objects.update_or_create(
        customer_id=customer_pk,
        defaults={"by": by, "asked_at": now, "is_open": True, "account_id": "", "error": ""},
    )


def _make(org: SalesforceOrg, wanted: Mapping[str, str], *, now: datetime) -> str:
    from crm.channels.salesforce import mapping
    from crm.channels.salesforce.client import Client

    with Client(org, now=now) as client:
        said = mapping.of(org).apply(names.ACCOUNT, wanted)
        answer = client.restful(f"sobjects/{names.ACCOUNT}", method="POST", json=said)
    try:
        return long_id(str((answer or {}).get("id") or ""), prefix=ACCOUNT)
    except (MalformedId, AttributeError):
        raise Unclear("UNREADABLE_ANSWER", "Salesforce did not say the id of the Account.") from None


def _standing(org: SalesforceOrg, stripe_id: str, asked_at: datetime, *, now: datetime) -> str:
    """Return the Account that our own user made for a customer since it was asked for; empty where there is none."""
    from crm.channels.salesforce import mapping
    from crm.channels.salesforce.client import Client

    with Client(org, now=now) as client:
        theirs = mapping.of(org)
        for one in client.query(_soql(client, theirs.name(names.ACCOUNT, CUSTOMER_IDS), asked_at)):
            if stripe_id in str(theirs.back(names.ACCOUNT, one).get(CUSTOMER_IDS) or ""):
                return long_id(str(one["Id"]), prefix=ACCOUNT)
    return ""


def _soql(client: Client, ids_field: str, asked_at: datetime) -> str:
    from crm.channels.salesforce.soql import quoted

    since = f"{asked_at - CLOCKS:%Y-%m-%dT%H:%M:%SZ}"
    return (
        f"SELECT Id, {ids_field} FROM Account WHERE CreatedDate >= {since} "  # noqa: S608  # SOQL, values quoted
        f"AND CreatedById = {quoted(client.org.integration_user_id)}"
    )


# ---- matching ----


def _matched(customer_pk: int, account_id: str, *, by: str, now: datetime) -> Match:
    MadeAccount.objects.filter(customer_id=customer_pk).update(is_open=False, account_id=account_id, error="")
    try:
        accounts.read_named([account_id], now=now)
    except ChannelError as error:
        raise NotMade(f"Account {account_id} was made, and is matched once it is read: {error.message}") from None
    said = {"kind": "made_account", "weight": 100, "text": f"{by} had Account {account_id} made for it"}
    return take(customer_pk, account_id, by=by, now=now, said=said)


def _match_found(row: MadeAccount, account_id: str, *, now: datetime) -> int:
    from crm.matching.acting import AlreadyMatched

    try:
        _matched(row.customer_id, account_id, by=row.by, now=now)
    except (NotMade, AlreadyMatched, LookupError) as error:
        log.warning("made account not matched", account=account_id, error=str(error))
        return 0
    return 1
