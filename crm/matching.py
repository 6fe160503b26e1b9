"""Decides which Account a customer is: the sure ones alone, the rest by a person, every decision with its evidence."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from django.db import IntegrityError, transaction

from billing import selectors as billing
from crm import accounts, outbox, scoring
from crm.channels.kinds import ChannelError
from crm.ids import ACCOUNT, MalformedId, long_id
from crm.models import Account, Contact, Match, SalesforceOrg, Unmatched
from crm.scoring import Candidate, Reason

log = structlog.get_logger(__name__)

METADATA_KEY = "salesforce_account_id"
NOT_READ = "account_not_read"  # the mirror lacks the Account that a customer names; Salesforce is asked next
MERGES_FOLLOWED = 5


class AlreadyMatched(Exception):
    """Somebody, or the machine, was first. `who` is a username, empty for the machine; `when` is an aware datetime."""

    def __init__(self, who: str, when: datetime, account_id: str) -> None:
        super().__init__(f"{who or 'The machine'} matched this customer at {when:%Y-%m-%d %H:%M} UTC.")
        self.who = who
        self.when = when
        self.account_id = account_id


class UnknownAccount(LookupError):
    """No such Account is mirrored from Salesforce, or it was deleted there."""


class UnknownMatch(LookupError):
    """There is no such match, or it was undone before."""


class UnknownCustomer(LookupError):
    """There is no such customer, or it belongs to a test source."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the evidence says of one customer: an Account, or why it waits and what it might be."""

    account: Account | None
    how: str = ""
    reason: str = ""
    evidence: tuple[Reason, ...] = ()
    candidates: tuple[Candidate, ...] = ()


def match_customers(customer_pks: Collection[int], *, now: datetime, anew: bool = False) -> list[int]:
    """Match what is sure among customers, write down why the rest waits, and return the keys of those matched now.

    Runs in a transaction with the customers' rows locked by the caller; nothing is asked of Salesforce. Sure is: the
    Account id in the customer's metadata stands for a living Account; else exactly one Account has a Contact with the
    customer's e-mail. Who waits and has not changed is passed over, unless `anew`: Accounts or Contacts did change.
    """
    matched = Match.objects.filter(customer_id__in=customer_pks, undone_at__isnull=True)
    open_pks = set(customer_pks) - set(matched.values_list("customer_id", flat=True))
    customers = billing.customers(open_pks) if open_pks else {}
    waiting = {pk: customer for pk, customer in customers.items() if customer.livemode}
    if not waiting:
        return []
    if not anew:
        seen = dict(Unmatched.objects.filter(customer_id__in=waiting).values_list("customer_id", "basis"))
        waiting = {pk: customer for pk, customer in waiting.items() if seen.get(pk) != _basis(customer)}
        if not waiting:
            return []
    org = SalesforceOrg.objects.order_by("pk").first()
    decisions = _decide(waiting, org, now=now)
    found = {pk: decision for pk, decision in decisions.items() if decision.account is not None}
    _write_matches(found, now=now)
    rest = {pk: decision for pk, decision in decisions.items() if decision.account is None}
    _write_unmatched(rest, waiting, now=now)
    return sorted(found)


def _basis(customer: billing.CustomerRow) -> str:
    """Digest what of a customer matching looks at; another digest means that it must look again."""
    looked_at = [customer.email, customer.name, customer.postal_code, customer.metadata.get(METADATA_KEY)]
    return hashlib.sha256(json.dumps(looked_at, default=str).encode()).hexdigest()


def match_waiting(*, now: datetime, limit: int = 5000) -> int:
    """Try all unmatched customers again, because Accounts or Contacts changed; returns how many found theirs."""
    pks = list(Unmatched.objects.order_by("checked_at").values_list("customer_id", flat=True)[:limit])
    count = 0
    for start in range(0, len(pks), 200):
        with transaction.atomic():
            billing.lock_customers(pks[start : start + 200])
            count += len(match_customers(pks[start : start + 200], now=now, anew=True))
    return count


def keep_up(*, now: datetime) -> int:
    """Learn what changed in Salesforce when it is time to ask, and try who waits again; returns how many found theirs.

    A call that fails is logged; the next turn asks again.
    """
    if not accounts.is_due(now=now):
        return 0
    try:
        read = accounts.refresh(now=now)
    except ChannelError as error:
        log.warning("accounts not read", code=error.code, message=error.message)
        return 0
    found = match_waiting(now=now) if read.news else 0
    return found + (follow_accounts(now=now) if read.total else 0)


def ask_for_named(*, now: datetime) -> int:
    """Ask Salesforce, once, for the Accounts that customers name and the mirror lacks; returns how many found theirs.

    Runs outside any transaction. What cannot be asked now is tried again when the customer changes or Accounts do.
    """
    pks = list(Unmatched.objects.filter(reason=NOT_READ).values_list("customer_id", flat=True)[:1000])
    if not pks:
        return 0
    named = {_named_id(customer.metadata)[0] for customer in billing.customers(pks).values()}
    try:
        accounts.read_named(named - {""}, now=now)
    except ChannelError as error:
        log.warning("accounts not read", code=error.code, message=error.message)
        Unmatched.objects.filter(customer_id__in=pks, reason=NOT_READ).update(reason="no_account_for_id")
        return 0
    with transaction.atomic():
        billing.lock_customers(pks)
        return len(match_customers(pks, now=now, anew=True))


def match(customer_pk: int, account_id: str, *, by: str, now: datetime) -> Match:
    """Match a customer to an Account because a person says so, and release what was held for it.

    `account_id` has 15 or 18 characters; one that the mirror lacks is asked for. Raises MalformedId, UnknownAccount,
    UnknownCustomer, AlreadyMatched.
    """
    wanted = long_id(account_id, prefix=ACCOUNT)
    if not Account.objects.filter(salesforce_id=wanted, is_deleted=False).exists():
        try:
            accounts.read_named([wanted], now=now)
        except ChannelError as error:
            log.warning("account not read", code=error.code, message=error.message)
    with transaction.atomic():
        billing.lock_customers([customer_pk])
        customer = billing.customers([customer_pk]).get(customer_pk)
        if customer is None or not customer.livemode:
            raise UnknownCustomer("There is no such customer, or it belongs to a test source.")
        _refuse_second(customer_pk)
        account = _living(wanted, _accounts([wanted]))
        if account is None:
            raise UnknownAccount(f"Account {wanted} is not among the Accounts read from Salesforce, or it was deleted.")
        waiting = Unmatched.objects.filter(customer_id=customer_pk).first()
        seen = [one for one in (waiting.candidates if waiting else []) if one["account_id"] == account.salesforce_id]
        try:
            with transaction.atomic():
                made = Match.objects.create(
                    customer_id=customer_pk,
                    account=account,
                    how="person",
                    evidence=seen[0]["reasons"] if seen else [],
                    matched_by=by,
                    matched_at=now,
                )
        except IntegrityError:
            _refuse_second(customer_pk)
            raise
        Unmatched.objects.filter(customer_id=customer_pk).delete()
        outbox.release([customer_pk], now=now)
        outbox.owe_accounts([account.salesforce_id], now=now)
    return made


def unmatch(match_pk: int, *, by: str, now: datetime) -> Match:
    """Undo a match: it stays as history, the customer waits again, and what Salesforce holds is taken off the Account.

    Raises UnknownMatch.
    """
    with transaction.atomic():
        made = Match.objects.select_related("account").filter(pk=match_pk, undone_at__isnull=True).first()
        if made is None:
            raise UnknownMatch("This match is not there, or was undone before.")
        billing.lock_customers([made.customer_id])
        undone = Match.objects.filter(pk=match_pk, undone_at__isnull=True).update(undone_at=now, undone_by=by)
        if not undone:
            raise UnknownMatch("This match was undone by somebody else just now.")
        customers = billing.customers([made.customer_id])
        decision = _decide(customers, made.account.org, now=now)[made.customer_id]
        waits = Decision(None, reason="undone", candidates=_with_taken(decision))
        _write_unmatched({made.customer_id: waits}, customers, now=now)
        outbox.point_anew([made.customer_id], now=now)
        outbox.owe_accounts([made.account.salesforce_id], now=now)
    made.refresh_from_db()
    return made


def leave_gone_accounts(account_ids: Collection[str], *, now: datetime) -> set[str]:
    """Ask Salesforce for Accounts that it refused as gone, and let matched customers follow; returns those gone.

    Runs outside any transaction: one call for 200 Accounts, one more where the winner of a merge is not mirrored yet.
    """
    try:
        wanted = set(account_ids)
        for _ in range(MERGES_FOLLOWED):
            if not wanted:
                break
            accounts.read_named(wanted, now=now)
            masters = set(
                Account.objects.filter(salesforce_id__in=wanted)
                .exclude(merged_into="")
                .values_list("merged_into", flat=True)
            )
            wanted = masters - set(
                Account.objects.filter(salesforce_id__in=masters).values_list("salesforce_id", flat=True)
            )
    except ChannelError as error:
        log.warning("accounts not read", code=error.code, message=error.message)
    follow_accounts(now=now)
    gone = Account.objects.filter(salesforce_id__in=account_ids, is_deleted=True)
    return set(gone.values_list("salesforce_id", flat=True))


def follow_accounts(*, now: datetime) -> int:
    """Let customers of merged Accounts follow to the winner, and send those of deleted ones back to matching.

    Each old match stays as history, and the new one says what it was merged from. Returns how many customers moved.
    """
    lost = Match.objects.filter(undone_at__isnull=True, account__is_deleted=True).order_by("customer_id")
    pks = list(lost.values_list("customer_id", flat=True)[:5000])
    for start in range(0, len(pks), 200):
        with transaction.atomic():
            billing.lock_customers(pks[start : start + 200])
            _follow(pks[start : start + 200], now=now)
    return len(pks)


def _follow(customer_pks: Collection[int], *, now: datetime) -> None:
    lost = list(
        Match.objects.select_related("account", "account__org").filter(
            customer_id__in=customer_pks, undone_at__isnull=True, account__is_deleted=True
        )
    )
    mirrored = _accounts({one.account.salesforce_id for one in lost})
    Match.objects.filter(pk__in=[one.pk for one in lost]).update(undone_at=now, undone_by="")
    moved: dict[int, Account] = {}
    for one in lost:
        winner = _living(one.account.salesforce_id, mirrored)
        if winner is not None:
            moved[one.customer_id] = winner
    Match.objects.bulk_create(
        [
            Match(
                customer_id=one.customer_id,
                account=moved[one.customer_id],
                how="merge",
                evidence=[_merged(one.account.salesforce_id, moved[one.customer_id].salesforce_id)],
                matched_at=now,
            )
            for one in lost
            if one.customer_id in moved
        ]
    )
    outbox.repoint(list(moved), now=now)
    outbox.owe_accounts({winner.salesforce_id for winner in moved.values()}, now=now)
    _send_back([one for one in lost if one.customer_id not in moved], now=now)


def _merged(loser_id: str, winner_id: str) -> dict[str, object]:
    return {"kind": "merged_account", "weight": 100, "text": f"Account {loser_id} was merged into {winner_id}"}


def _send_back(lost: Sequence[Match], *, now: datetime) -> None:
    if not lost:
        return
    customers = billing.customers([one.customer_id for one in lost])
    decisions = _decide(customers, lost[0].account.org, now=now)
    waits = {
        pk: Decision(None, reason="deleted_account", candidates=_with_taken(decision))
        for pk, decision in decisions.items()
    }
    _write_unmatched(waits, customers, now=now)
    outbox.point_anew(list(customers), now=now)


def snooze(customer_pk: int, *, until: datetime | None) -> None:
    """Let an unmatched customer rest until a moment, or wake it (None); raises UnknownCustomer if it does not wait."""
    if not Unmatched.objects.filter(customer_id=customer_pk).update(snoozed_until=until):
        raise UnknownCustomer("This customer does not wait for an Account.")


def _refuse_second(customer_pk: int) -> None:
    first = Match.objects.select_related("account").filter(customer_id=customer_pk, undone_at__isnull=True).first()
    if first is not None:
        raise AlreadyMatched(first.matched_by, first.matched_at, first.account.salesforce_id)


def _with_taken(decision: Decision) -> tuple[Candidate, ...]:
    """What the machine would take again becomes the first candidate, for a person to decide this time."""
    if decision.account is None:
        return decision.candidates
    taken = Candidate(decision.account.salesforce_id, decision.account.name, decision.evidence)
    return (taken, *(one for one in decision.candidates if one.account_id != taken.account_id))


# ---- deciding ----


def _decide(
    customers: Mapping[int, billing.CustomerRow], org: SalesforceOrg | None, *, now: datetime
) -> dict[int, Decision]:
    if org is None:
        return {pk: Decision(None, reason="no_org") for pk in customers}
    undone = set(
        Match.objects.filter(customer_id__in=customers, undone_at__isnull=False).values_list(
            "customer_id", "account__salesforce_id"
        )
    )
    emails = {pk: scoring.address_key(customer.email) for pk, customer in customers.items()}
    contacts = _contacts({email for email in emails.values() if email})
    named = {pk: _named_id(customer.metadata) for pk, customer in customers.items()}
    ids = {found for found, _ in named.values() if found} | {
        account_id for found in contacts.values() for account_id in found if account_id
    }
    mirrored = _accounts(ids)
    can_ask = accounts.can_be_asked(org, now=now)
    decisions: dict[int, Decision] = {}
    for pk in customers:
        decision = _by_id(named[pk], mirrored) or _by_email(emails[pk], contacts, mirrored)
        if decision.account is not None and (pk, decision.account.salesforce_id) in undone:
            decision = Decision(None, reason="undone", candidates=_with_taken(decision))
        if decision.reason == NOT_READ and not can_ask:
            decision = Decision(None, reason="no_account_for_id")
        decisions[pk] = decision
    return _with_hints(decisions, customers, emails, contacts, mirrored)


def _named_id(metadata: Mapping[str, str]) -> tuple[str, str]:
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
    account = _living(account_id, mirrored)
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
    found = {account_id: _living(account_id, mirrored) for account_id in on if account_id}
    living = {account.salesforce_id: account for account in found.values() if account is not None}
    if len(living) > 1:
        return Decision(None, reason="several_contacts")
    if living and all(on):
        (account,) = living.values()
        said = scoring.evidence("contact_email", f"A Contact of the Account has the e-mail {email}")
        return Decision(account, how="email", evidence=(said,))
    if not any(on):
        return Decision(None, reason="contact_without_account")
    return Decision(None, reason="several_contacts" if living else "deleted_account")


def _living(account_id: str, mirrored: Mapping[str, Account]) -> Account | None:
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
    domains = {pk: scoring.company_domain(emails[pk]) for pk in waiting}
    names = {pk: scoring.name_key(customers[pk].name) for pk in waiting}
    by_domain = _accounts_by("domain", {domain for domain in domains.values() if domain})
    by_name = _accounts_by("name_key", {name for name in names.values() if name})
    for pk in waiting:
        found: list[tuple[str, str, Reason]] = []
        for account_id in contacts.get(emails[pk], []) if emails[pk] else []:
            account = _living(account_id, mirrored)
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


# ---- the mirror of Accounts, as matching reads it ----


def _contacts(emails: Collection[str]) -> dict[str, list[str]]:
    """Return, for each e-mail, the Account ids of the Contacts that have it, empty for a Contact without one."""
    found: dict[str, set[str]] = {}
    rows = Contact.objects.filter(email__in=emails, is_deleted=False).values_list("email", "account_id")
    for email, account_id in rows:
        found.setdefault(email, set()).add(account_id)
    return {email: sorted(ids) for email, ids in found.items()}


def _accounts(ids: Iterable[str]) -> dict[str, Account]:
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


# ---- writing ----


def _write_matches(found: Mapping[int, Decision], *, now: datetime) -> None:
    if not found:
        return
    made = [
        Match(
            customer_id=pk,
            account=decision.account,
            how=decision.how,
            evidence=[{"kind": one.kind, "weight": one.weight, "text": one.text} for one in decision.evidence],
            matched_at=now,
        )
        for pk, decision in sorted(found.items())
    ]
    Match.objects.bulk_create(made, ignore_conflicts=True)  # a person who was first keeps the customer
    Unmatched.objects.filter(customer_id__in=found).delete()
    outbox.release(list(found), now=now)
    outbox.owe_accounts({one.account.salesforce_id for one in found.values() if one.account}, now=now)


def _write_unmatched(
    found: Mapping[int, Decision], customers: Mapping[int, billing.CustomerRow], *, now: datetime
) -> None:
    Unmatched.objects.bulk_create(
        [
            Unmatched(
                customer_id=pk,
                reason=decision.reason,
                basis=_basis(customers[pk]),
                candidates=[one.as_json() for one in decision.candidates],
                since=now,
                checked_at=now,
            )
            for pk, decision in sorted(found.items())
        ],
        update_conflicts=True,
        unique_fields=["customer"],
        update_fields=["reason", "basis", "candidates", "checked_at"],
    )
