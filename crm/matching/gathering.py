"""Reads from the mirror what may concern customers, for many at once: a few queries, however many they are."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from django.db.models import Count, Q
from rapidfuzz import fuzz, process

from billing import selectors as billing
from crm.company_names import name_key, name_start, says_nothing, searched_keys, started_keys
from crm.domains import address_key, company_domain, is_blocked, is_free, is_tagged, other_writings, registrable
from crm.models import Account, Contact, Match
from crm.places import country_code, phone_key
from crm.scoring import AccountFacts, CustomerFacts

MERGES_FOLLOWED: Final = 5
MOST: Final = 20  # Accounts that one key may bring: of more, those whose names are the likest
LIKE: Final = 75  # of 100: two names that begin alike, and so far are alike, are worth weighing
LIKEST: Final = 5


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a customer says of itself, and the Accounts that may be it, as they look from there."""

    customer: CustomerFacts
    accounts: tuple[AccountFacts, ...]
    mirrored: Mapping[str, Account]


def contacts_by_email(emails: Collection[str]) -> dict[str, list[str]]:
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


def living(account_id: str, mirrored: Mapping[str, Account]) -> Account | None:
    """Return the Account, or the one it was merged into; None when it is not there or was deleted."""
    account = mirrored.get(account_id)
    for _ in range(MERGES_FOLLOWED):
        if account is None or not account.merged_into:
            break
        account = mirrored.get(account.merged_into)
    return None if account is None or account.is_deleted else account


def gather(
    customers: Mapping[int, billing.CustomerRow],
    contacts: Mapping[str, Sequence[str]],
    mirrored: Mapping[str, Account],
    *,
    blocked: Collection[str],
) -> dict[int, Gathered]:
    """Return for each customer what is known of it and of each Account that may be it.

    `contacts` and `mirrored` are those of the customers' e-mails, as contacts_by_email and accounts_by_id return them.
    """
    namesakes = _namesakes(customers)
    facts = {pk: _customer(pk, row, namesakes, blocked) for pk, row in customers.items()}
    beside = _accounts_of({other for found in namesakes.values() for other in found})
    at_domains = _contacts_at({one.domain for one in facts.values() if one.domain})
    found = _found_by_keys(facts)
    ids: dict[int, set[str]] = {}
    for pk, customer in facts.items():
        on = {one for email in (customer.email, *other_writings(customer.email)) for one in contacts.get(email, ())}
        by_contact = {found_one for one in on if (found_one := _living_id(one, mirrored))}
        others = (beside[other] for other in namesakes.get(customer.email, {}) if other != pk and other in beside)
        ids[pk] = (
            by_contact
            | set(islice(dict.fromkeys(others), MOST))
            | set(_most(at_domains.get(customer.domain, {})))
            | found[pk]
        )
    known = {**mirrored, **accounts_by_id(set().union(*ids.values()) - mirrored.keys())}
    matched = _matched(known)
    return {
        pk: Gathered(
            customer, tuple(_seen_from(customer, ids[pk], contacts, at_domains, known, matched, blocked)), known
        )
        for pk, customer in facts.items()
    }


# ---- customers ----


def _namesakes(customers: Mapping[int, billing.CustomerRow]) -> dict[str, dict[int, str]]:
    """Return the names of all customers that have the e-mail of one of these, by e-mail and key."""
    said = {one.email for one in customers.values() if address_key(one.email)}
    namesakes: dict[str, dict[int, str]] = defaultdict(dict)
    for email, names in billing.names_by_email(said | {address_key(email) for email in said}).items():
        namesakes[address_key(email)] |= names
    return namesakes


def _accounts_of(customer_pks: Collection[int]) -> dict[int, str]:
    """Return the ids of the Accounts that customers are matched to."""
    rows = Match.objects.filter(customer_id__in=customer_pks, undone_at__isnull=True)
    return dict(rows.values_list("customer_id", "account__salesforce_id"))


def _customer(
    pk: int, row: billing.CustomerRow, namesakes: Mapping[str, Mapping[int, str]], blocked: Collection[str]
) -> CustomerFacts:
    email = address_key(row.email)
    others = {name for other, name in namesakes.get(email, {}).items() if other != pk}
    return CustomerFacts(
        name="" if address_key(row.name) or says_nothing(row.name) else row.name,  # some are named by their address
        email=email,
        domain=company_domain(email, blocked=blocked),
        phone=phone_key(row.phone, row.country),
        country=country_code(row.country),
        postal_code=row.postal_code,
        has_free_mail=is_free(email),
        has_blocked_mail=is_blocked(email, blocked),
        is_tagged=is_tagged(email),
        other_names=tuple(sorted(others)),
    )


# ---- which Accounts may be them ----


def _found_by_keys(facts: Mapping[int, CustomerFacts]) -> dict[int, set[str]]:
    """Return for each customer the ids of Accounts with its domain, its phone, its name or one that is spelt alike."""
    names = {pk: (searched_keys(one.name), _begun(one)) for pk, one in facts.items()}
    domains = {customer.domain for customer in facts.values()} - {""}
    phones = {customer.phone for customer in facts.values()} - {""}
    wanted = (
        Q(domain__in=domains)
        | Q(phone_key__in=phones)
        | Q(name_key__in={key for found, begun in names.values() for key in (*found, *begun)})
        | Q(name_start__in={name_start(key) for _, begun in names.values() for key in begun})
    )
    columns = ("salesforce_id", "domain", "phone_key", "name_key", "name_start")
    by: dict[str, dict[str, dict[str, str]]] = {column: defaultdict(dict) for column in columns[1:]}
    for account_id, *values in Account.objects.filter(wanted, is_deleted=False).values_list(*columns):
        for column, value in zip(columns[1:], values, strict=True):
            by[column][value][account_id] = values[2]
    return {pk: set(_by_keys(customer, *names[pk], by)) for pk, customer in facts.items()}


def _begun(customer: CustomerFacts) -> tuple[str, ...]:
    """Return the keys of names that an Account's may begin like: the customer's own, and the one its domain spells."""
    by_domain = name_key(customer.domain.partition(".")[0].replace("-", " ")) if customer.domain else ""
    return tuple(dict.fromkeys(key for key in (*started_keys(customer.name), by_domain) if key))


def _by_keys(
    customer: CustomerFacts,
    names: Sequence[str],
    begun: Sequence[str],
    by: Mapping[str, Mapping[str, Mapping[str, str]]],
) -> Iterator[str]:
    name = names[0] if names else ""
    if customer.domain:
        yield from _likest(name, by["domain"].get(customer.domain, {}))
    if customer.phone:
        yield from _likest(name, by["phone_key"].get(customer.phone, {}))
    for key in (*names, *begun):
        yield from sorted(by["name_key"].get(key, {}))[:MOST]
    for key in begun:
        alike = by["name_start"].get(name_start(key), {})
        for _, _, account_id in process.extract(key, alike, scorer=fuzz.ratio, score_cutoff=LIKE, limit=LIKEST):
            yield account_id
        goes_on = (one for one, other in alike.items() if other.startswith(f"{key} ") or key.startswith(f"{other} "))
        yield from islice(goes_on, LIKEST)


def _likest(name: str, found: Mapping[str, str]) -> Iterable[str]:
    """Of many Accounts under one key take those whose names are the likest."""
    if len(found) <= MOST:
        return found
    return [account_id for _, _, account_id in process.extract(name, found, scorer=fuzz.ratio, limit=MOST)]


def _contacts_at(domains: Collection[str]) -> dict[str, dict[str, int]]:
    """Return how many Contacts with an address at a domain each Account has."""
    rows = Contact.objects.filter(domain__in=domains, is_deleted=False).exclude(account_id="")
    found: dict[str, dict[str, int]] = {}
    for domain, account_id, count in rows.values_list("domain", "account_id").annotate(count=Count("pk")).order_by():
        found.setdefault(domain, {})[account_id] = count
    return found


def _most(counts: Mapping[str, int]) -> list[str]:
    return sorted(counts, key=lambda one: (-counts[one], one))[:MOST]


# ---- as they look from one customer ----


@dataclass(frozen=True, slots=True)
class _Matched:
    """A customer that stands on an Account: its name, e-mail and that one's domain, and whether a person said so."""

    name: str
    email: str
    domain: str
    is_chosen: bool


def _matched(known: Mapping[str, Account]) -> dict[str, list[_Matched]]:
    """Return who is matched to Accounts and to their parents."""
    ids = known.keys() | {one.parent_id for one in known.values() if one.parent_id}
    rows = Match.objects.filter(undone_at__isnull=True, account__salesforce_id__in=ids)
    found: dict[str, list[_Matched]] = {}
    columns = ("account__salesforce_id", "customer__name", "customer__email", "how")
    for account_id, name, said, how in rows.values_list(*columns):
        email = address_key(said)
        one = _Matched(name, email, registrable(email.rpartition("@")[2]), how == "person")
        found.setdefault(account_id, []).append(one)
    return found


def _seen_from(
    customer: CustomerFacts,
    ids: Collection[str],
    contacts: Mapping[str, Sequence[str]],
    at_domains: Mapping[str, Mapping[str, int]],
    known: Mapping[str, Account],
    matched: Mapping[str, Sequence[_Matched]],
    blocked: Collection[str],
) -> Iterator[AccountFacts]:
    with_contact, with_mailbox = (
        {_living_id(one, known) for email in emails for one in contacts.get(email, ())}
        for emails in ((customer.email,), other_writings(customer.email))
    )
    accounts = {one.salesforce_id: one for account_id in ids if (one := living(account_id, known))}
    counts: Counter[str] = Counter()
    for account_id, number in at_domains.get(customer.domain, {}).items():
        counts[_living_id(account_id, known) or account_id] += number
    beside = _customers_at(customer.domain, accounts.values(), matched)
    for account_id, account in sorted(accounts.items()):
        facts = _account(account, blocked)
        others = sum(beside.values()) - beside[account_id]
        family = sum(
            number for one, number in beside.items() if one != account_id and _is_family(account, known.get(one), one)
        )
        yield replace(
            facts,
            has_contact=account_id in with_contact,
            has_mailbox=account_id in with_mailbox,
            contacts_at_domain=counts[account_id],
            customers_at_domain=beside[account_id],
            is_chosen_at_domain=bool(customer.domain)
            and any(one.is_chosen and one.domain == customer.domain for one in matched.get(account_id, ())),
            customers_in_family=family,
            customers_elsewhere=others - family,
            chosen_names=tuple(
                sorted(one.name for one in matched.get(account_id, ()) if one.is_chosen and one.email == customer.email)
            ),
        )


def _customers_at(domain: str, accounts: Iterable[Account], matched: Mapping[str, Sequence[_Matched]]) -> Counter[str]:
    """Count the customers of a domain on each of the Accounts and on their parents."""
    found: Counter[str] = Counter()
    if domain:
        for account_id in {one for account in accounts for one in (account.salesforce_id, account.parent_id) if one}:
            found[account_id] = sum(one.domain == domain for one in matched.get(account_id, ()))
    return found


def _is_family(account: Account, other: Account | None, other_id: str) -> bool:
    """Say whether the other is the Account's parent, its child, or has the same parent."""
    if account.parent_id == other_id:
        return True
    return other is not None and other.parent_id in {account.salesforce_id, account.parent_id} - {""}


def _account(account: Account, blocked: Collection[str]) -> AccountFacts:
    return AccountFacts(
        id=account.salesforce_id,
        name=account.name,
        domain="" if account.domain in blocked else account.domain,
        phone=account.phone_key,
        country=country_code(account.country),
        postal_code=account.postal_code,
        type=account.type,
        last_activity_on=account.last_activity_on,
        owner_is_active=account.owner_is_active,
    )


def _living_id(account_id: str, known: Mapping[str, Account]) -> str:
    account = living(account_id, known)
    return account.salesforce_id if account else ""
