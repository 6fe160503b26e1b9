"""Which Account the evidence says that a customer is, or why it waits; reads the mirror, writes nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from billing import selectors as billing
from crm import accounts, scoring
from crm.domains import address_key, blocked_domains, other_writings
from crm.ids import ACCOUNT, written_id
from crm.matching.gathering import MERGES_FOLLOWED as MERGES_FOLLOWED
from crm.matching.gathering import Gathered, contacts_by_email, gather
from crm.matching.gathering import accounts_by_id as accounts_by_id
from crm.matching.gathering import living as living
from crm.models import Account, Match, SalesforceOrg
from crm.scoring import Candidate, Reason
from crm.waiting import METADATA_KEY as METADATA_KEY

NOT_READ = "account_not_read"  # the mirror lacks the Account that a customer names; Salesforce is asked next
SHOWN = 5
# What the Contacts say that leaves the choice open: the rest of the evidence may settle it.
OPEN = frozenset({"", "no_email", "no_contact"})


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
    """Return the decision on each customer: the Account its metadata names, else the one that the evidence leaves.

    At most about ten queries. What a person undid is never taken again.
    """
    if org is None:
        return {pk: Decision(None, reason="no_org") for pk in customers}
    emails = {pk: address_key(customer.email) for pk, customer in customers.items()}
    contacts = contacts_by_email({one for email in emails.values() for one in (email, *other_writings(email)) if one})
    named = {pk: named_id(customer.metadata) for pk, customer in customers.items()}
    on_contacts = {account_id for found in contacts.values() for account_id in found if account_id}
    mirrored = accounts_by_id({found for found, _ in named.values() if found} | on_contacts)
    decided = {pk: _by_id(named[pk], mirrored) for pk in customers}
    open_ones = {pk: customers[pk] for pk, decision in decided.items() if decision is None or decision.account is None}
    found = gather(open_ones, contacts, mirrored, blocked=blocked_domains(org.blocked_domains)) if open_ones else {}
    can_ask = accounts.can_be_asked(org, now=now)
    undone = _undone(customers)
    decisions: dict[int, Decision] = {}
    for pk in customers:
        decision = decided[pk]
        if decision is None or decision.account is None:
            decision = _by_evidence(found[pk], decision, _contacts_say(emails[pk], contacts, mirrored), org)
        decisions[pk] = _settled(decision, undone.get(pk, set()), can_ask=can_ask)
    return decisions


def with_taken(decision: Decision) -> tuple[Candidate, ...]:
    """What the machine would take again becomes the first candidate, for a person to decide this time."""
    if decision.account is None:
        return decision.candidates
    taken_id = decision.account.salesforce_id
    known = next((one for one in decision.candidates if one.account_id == taken_id), None)
    taken = known or Candidate(taken_id, decision.account.name, decision.evidence)
    return (taken, *(one for one in decision.candidates if one.account_id != taken_id))[:SHOWN]


def named_id(metadata: Mapping[str, str]) -> tuple[str, str]:
    """Return the Account id of a customer's metadata and, where it is none, what stands there instead."""
    return written_id(str(metadata.get(METADATA_KEY) or ""), prefix=ACCOUNT)


def _undone(customers: Collection[int]) -> dict[int, set[str]]:
    """Return the Accounts that a person took each customer off; what fell with its Account nobody decided."""
    found: dict[int, set[str]] = {}
    rows = Match.objects.filter(customer_id__in=customers, undone_at__isnull=False).exclude(undone_by="")
    for pk, account_id in rows.values_list("customer_id", "account__salesforce_id"):
        found.setdefault(pk, set()).add(account_id)
    return found


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


def _contacts_say(email: str, contacts: Mapping[str, Sequence[str]], mirrored: Mapping[str, Account]) -> str:
    """Return why the Contacts with the customer's e-mail leave its Account open; empty when just one Account has it."""
    if not email:
        return "no_email"
    on = contacts.get(email, [])
    if not on:
        return "no_contact"
    fitting = {account.salesforce_id for one in on if one and (account := living(one, mirrored))}
    if len(fitting) > 1:
        return "several_contacts"
    if fitting and all(on):
        return ""
    if not any(on):
        return "contact_without_account"
    return "several_contacts" if fitting else "deleted_account"


def _by_evidence(gathered: Gathered, by_id: Decision | None, by_contact: str, org: SalesforceOrg) -> Decision:
    """Take the one sure candidate, unless the metadata names another Account or the Contacts are at odds."""
    found = scoring.candidates(gathered.customer, gathered.accounts)
    shown = tuple(found[:SHOWN])
    if by_id is not None:
        return replace(by_id, candidates=shown)
    if by_contact not in OPEN:
        return Decision(None, reason=by_contact, candidates=shown)
    sure = scoring.sure(found, threshold=org.match_threshold)
    if sure is not None:
        is_by_email = sure.weight_of("contact_email") or sure.weight_of("same_mailbox")
        how = "email" if is_by_email else "evidence"
        account = gathered.mirrored[sure.account_id]
        return Decision(account, how=how, evidence=sure.reasons, candidates=shown)
    return Decision(None, reason=_why_not(found, by_contact, threshold=org.match_threshold), candidates=shown)


def _why_not(found: Sequence[Candidate], by_contact: str, *, threshold: int) -> str:
    if found and found[0].score >= threshold and scoring.rivals(found, threshold=threshold):
        return "several_candidates"
    return by_contact or "evidence_against"


def _settled(decision: Decision, undone: Collection[str], *, can_ask: bool) -> Decision:
    """Leave to a person what a person undid, and say what cannot be asked for now."""
    if decision.account is not None and decision.account.salesforce_id in undone:
        return Decision(None, reason="undone", candidates=with_taken(decision))
    if decision.reason == NOT_READ and not can_ask:
        return replace(decision, reason="no_account_for_id")
    return decision
