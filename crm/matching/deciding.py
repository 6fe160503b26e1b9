"""Which Account the evidence says that a customer is, or why it waits; reads the mirror, writes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from billing import selectors as billing
from crm import accounts, scoring
from crm.company_names import name_key
from crm.domains import address_key, company_domain
from crm.ids import ACCOUNT, MalformedId, long_id
from crm.models import Account, Contact, Match, SalesforceOrg
from crm.scoring import Candidate, Reason

METADATA_KEY = "salesforce_account_id"
NOT_READ = "account_not_read"  # the mirror lacks the Account that a customer names; Salesforce is asked next
MERGES_FOLLOWED = 5


@dataclass(frozen=True, slots=True)
class Decision:
    """What the evidence says of one customer: an Account, or why it waits and what it might be."""

    account: Account | None
    how: str = ""
    reason: str = ""
    evidence: tuple[Reason, ...] = ()
    candidates: tuple[Candidate, ...] = ()


def decide(
    customers: Mapping[int, billing.CustomerRow], org: SalesforceOrg | None, *, now: datetime
) -> dict[int, Decision]:
    if org is None:
        return {pk: Decision(None, reason="no_org") for pk in customers}
    undone = set(
        Match.objects.filter(customer_id__in=customers, undone_at__isnull=False).values_list(
            "customer_id", "account__salesforce_id"
        )
    )
    emails = {pk: address_key(customer.email) for pk, customer in customers.items()}
    contacts = _contacts({email for email in emails.values() if email})
    named = {pk: named_id(customer.metadata) for pk, customer in customers.items()}
    ids = {found for found, _ in named.values() if found} | {
        account_id for found in contacts.values() for account_id in found if account_id
    }
    mirrored = accounts_by_id(ids)
    can_ask = accounts.can_be_asked(org, now=now)
    decisions: dict[int, Decision] = {}
    for pk in customers:
        decision = _by_id(named[pk], mirrored) or _by_email(emails[pk], contacts, mirrored)
        if decision.account is not None and (pk, decision.account.salesforce_id) in undone:
            decision = Decision(None, reason="undone", candidates=with_taken(decision))
        if decision.reason == NOT_READ and not can_ask:
            decision = Decision(None, reason="no_account_for_id")
        decisions[pk] = decision
    return _with_hints(decisions, customers, emails, contacts, mirrored)


def with_taken(decision: Decision) -> tuple[Candidate, ...]:
    """What the machine would take again becomes the first candidate, for a person to decide this time."""
    if decision.account is None:
        return decision.candidates
    taken = Candidate(decision.account.salesforce_id, decision.account.name, decision.evidence)
    return (taken, *(one for one in decision.candidates if one.account_id != taken.account_id))


def named_id(metadata: Mapping[str, str]) -> tuple[str, str]:
    """Return the Account id of a customer's metadata and, where it is none, what stands there instead."""
    text = str(metadata.get(METADATA_KEY) or "").strip()
    if not text:
        return "", ""
    try:
        return long_id(text, prefix=ACCOUNT), text
    except MalformedId:
        return "", text


def _by_id(named: tuple[str, str], mirrored: Mapping[str, Account]) -> Decision | None:
    account_id, text = named
    if not text:
        return None
    if not account_id:
        return Decision(None, reason="malformed_id")
    account = living(account_id, mirrored)
    if account is not None:
        said = scoring.evidence("metadata_id", f"The customer's metadata names {account_id}")
        return Decision(account, how="metadata", evidence=(said,))
    known = mirrored.get(account_id)
    if known is None:
        return Decision(None, reason=NOT_READ)
    return Decision(None, reason="deleted_account" if known.modified_at else "no_account_for_id")


def _by_email(email: str, contacts: Mapping[str, list[str]], mirrored: Mapping[str, Account]) -> Decision:
    if not email:
        return Decision(None, reason="no_email")
    on = contacts.get(email, [])
    if not on:
        return Decision(None, reason="no_contact")
    found = {account_id: living(account_id, mirrored) for account_id in on if account_id}
    fitting = {account.salesforce_id: account for account in found.values() if account is not None}
    if len(fitting) > 1:
        return Decision(None, reason="several_contacts")
    if fitting and all(on):
        (account,) = fitting.values()
        said = scoring.evidence("contact_email", f"A Contact of the Account has the e-mail {email}")
        return Decision(account, how="email", evidence=(said,))
    if not any(on):
        return Decision(None, reason="contact_without_account")
    return Decision(None, reason="several_contacts" if fitting else "deleted_account")


def living(account_id: str, mirrored: Mapping[str, Account]) -> Account | None:
    """Return the Account, or the one it was merged into; None when it is not there or was deleted."""
    account = mirrored.get(account_id)
    for _ in range(MERGES_FOLLOWED):
        if account is None or not account.merged_into:
            break
        account = mirrored.get(account.merged_into)
    return None if account is None or account.is_deleted else account


def _with_hints(
    decisions: dict[int, Decision],
    customers: Mapping[int, billing.CustomerRow],
    emails: Mapping[int, str],
    contacts: Mapping[str, list[str]],
    mirrored: Mapping[str, Account],
) -> dict[int, Decision]:
    """Give each customer that waits its candidates; a website's domain and a name are hints, never enough alone."""
    waiting = [pk for pk, decision in decisions.items() if decision.account is None and not decision.candidates]
    domains = {pk: company_domain(emails[pk]) for pk in waiting}
    names = {pk: name_key(customers[pk].name) for pk in waiting}
    by_domain = _accounts_by("domain", {domain for domain in domains.values() if domain})
    by_name = _accounts_by("name_key", {name for name in names.values() if name})
    for pk in waiting:
        found: list[tuple[str, str, Reason]] = []
        for account_id in contacts.get(emails[pk], []) if emails[pk] else []:
            account = living(account_id, mirrored)
            if account is not None:
                said = scoring.evidence("contact_email", f"A Contact of the Account has the e-mail {emails[pk]}")
                found.append((account.salesforce_id, account.name, said))
        for account in by_domain.get(domains[pk], []):
            said = scoring.evidence("website_domain", f"The e-mail's domain {domains[pk]} is the Account's website")
            found.append((account.salesforce_id, account.name, said))
        for account in by_name.get(names[pk], []):
            said = scoring.evidence("company_name", f"The names agree: {customers[pk].name} and {account.name}")
            found.append((account.salesforce_id, account.name, said))
        here = _postcode(customers[pk].postal_code)
        for account in [*by_domain.get(domains[pk], []), *by_name.get(names[pk], [])]:
            if here and _postcode(account.postal_code) == here:
                said = scoring.evidence("postal_code", f"Both are in {customers[pk].postal_code}")
                found.append((account.salesforce_id, account.name, said))
        kept = tuple(scoring.candidates(found)[:5])
        decisions[pk] = Decision(None, reason=decisions[pk].reason, candidates=kept)
    return decisions


def _postcode(text: str) -> str:
    return text.replace(" ", "").lower()


def _contacts(emails: Collection[str]) -> dict[str, list[str]]:
    """Return, for each e-mail, the Account ids of the Contacts that have it, empty for a Contact without one."""
    found: dict[str, set[str]] = {}
    rows = Contact.objects.filter(email__in=emails, is_deleted=False).values_list("email", "account_id")
    for email, account_id in rows:
        found.setdefault(email, set()).add(account_id)
    return {email: sorted(ids) for email, ids in found.items()}


def accounts_by_id(ids: Iterable[str]) -> dict[str, Account]:
    """Return mirrored Accounts by id, and those they were merged into."""
    found: dict[str, Account] = {}
    missing = set(ids)
    for _ in range(MERGES_FOLLOWED + 1):
        if not missing:
            break
        found |= {one.salesforce_id: one for one in Account.objects.filter(salesforce_id__in=missing)}
        missing = {one.merged_into for one in found.values() if one.merged_into} - found.keys() - missing
    return found


def _accounts_by(column: str, values: Collection[str]) -> dict[str, list[Account]]:
    if not values:
        return {}
    found: dict[str, list[Account]] = {}
    for account in Account.objects.filter(**{f"{column}__in": values}, is_deleted=False).order_by(
        "name", "salesforce_id"
    ):
        found.setdefault(getattr(account, column), []).append(account)
    return found
