"""Evidence that a customer is an Account: what speaks for it, what against, and what it weighs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final

from crm.company_names import (
    Agreement,
    agreement,
    domain_label,
    is_called_as,
    is_for_another,
    is_named_by,
    is_readable,
    is_short_by_domain,
    is_slip_by_domain,
    legal_form,
    taken_apart,
)
from crm.places import postcode_key

NEAR: Final = 20  # points below what counts: who stands there already is a rival, and a person decides
FULL_EMAIL: Final = 90

# Points for each kind of evidence; where a kind has degrees, the most it can weigh.
WEIGHTS: Final[Mapping[str, int]] = {
    "metadata_id": 100,
    "contact_email": FULL_EMAIL,
    "same_email": 90,
    "same_mailbox": 80,
    "website_domain": 45,
    "company_name": 40,
    "domain_name": 40,
    "contact_domain": 40,
    "phone": 35,
    "postal_code": 10,
    "country": 5,
    "same_customers": 45,
    "same_family": 5,
    "other_country": -10,
    "other_website": -20,
    "other_legal_form": -15,
    "other_customers": -15,
    "unlike_name": -5,
    "other_name": -40,
    "other_part": -25,
    "for_another": -25,
    "shared_email": -30,
    "name_elsewhere": -30,
}
# Evidence against that leaves the choice to a person, whatever else is said.
DOUBTS: Final = frozenset({"other_name", "other_part", "for_another", "shared_email", "name_elsewhere"})
NAME_POINTS: Final = {
    Agreement.SAME: 40,
    Agreement.ORDER: 35,
    Agreement.SPELLING: 25,
    Agreement.GROUP: 20,
    Agreement.INITIALS: 10,
    Agreement.PARTLY: 10,
}
SURE_NAME: Final = NAME_POINTS[Agreement.SPELLING]  # a name that agrees so far says who it is, with another fact
SETTLED: Final = 35  # a slip, or initials, that the domain bears out
UNREADABLE: Final = 30  # the Account is called as the domain, and the customer's name is in other letters
ONE_CONTACT: Final = 35  # at a domain that does not bear the Account's name
LIKE_CUSTOMERS: Final = 10  # matched by the machine, or beside what the domain says already
EMAIL_AT_BLOCKED: Final = 20
DOMAIN_BESIDE_EMAIL: Final = 10  # the same address says both
WORTH_A_LOOK: Final = 15  # what speaks for an Account that people are shown, however much speaks against it

# Mailboxes of an office: the customer's name there is a company's, not that of who reads the mail.
_OFFICES = frozenset(
    "accounting accounts accountspayable admin ap ar billing bills bookkeeping books buchhaltung client clients compta "
    "comptabilite contact dev devops facturacion facturation factures finance finanzen hello hi info invoice invoices "
    "it kontakt kunden mail office ops order orders payable payables payment payments procurement purchasing reception "
    "rechnung rechnungen sales saas service software stripe subscriptions support team tech treasury vendor "
    "vendors".split()
)


@dataclass(frozen=True, slots=True)
class CustomerFacts:
    """What a customer says of itself, as it is compared. `domain` is empty at free mail and at blocked domains.

    `name` is empty where none is given, or words that are no name; `is_tagged` says that the e-mail is mailbox+tag@.
    """

    name: str = ""
    email: str = ""
    domain: str = ""
    phone: str = ""
    country: str = ""
    postal_code: str = ""
    has_free_mail: bool = False
    has_blocked_mail: bool = False
    is_tagged: bool = False
    other_names: tuple[str, ...] = ()  # of other customers with this very e-mail


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """What Salesforce and our matches say of an Account, as seen from one customer."""

    id: str
    name: str
    domain: str = ""
    phone: str = ""
    country: str = ""
    postal_code: str = ""
    type: str = ""
    last_activity_on: date | None = None
    owner_is_active: bool = False
    has_contact: bool = False  # a Contact of it has the customer's e-mail
    has_mailbox: bool = False  # a Contact of it has that mailbox, written otherwise
    contacts_at_domain: int = 0
    customers_at_domain: int = 0  # matched to it, with the customer's domain
    customers_in_family: int = 0  # of that domain, matched to its parent or to another Account of its parent
    customers_elsewhere: int = 0  # of that domain, matched to another candidate
    is_chosen_at_domain: bool = False  # a person matched a customer with the customer's domain to it
    chosen_names: tuple[str, ...] = ()  # of customers with this very e-mail whom a person matched to it


@dataclass(frozen=True, slots=True)
class Reason:
    """One piece of evidence: what it is, what it weighs, and how to say it."""

    kind: str
    weight: int
    text: str

    def as_json(self) -> dict[str, object]:
        return {"kind": self.kind, "weight": self.weight, "text": self.text}


@dataclass(frozen=True, slots=True)
class Candidate:
    """An Account that may be the customer, with all evidence, for and against, and hints that weigh nothing."""

    account_id: str
    name: str
    reasons: tuple[Reason, ...]
    hints: tuple[Reason, ...] = ()

    @property
    def total(self) -> int:
        return sum(reason.weight for reason in self.reasons)

    @property
    def score(self) -> int:
        """The sum of all evidence, from 0 to 100."""
        return max(0, min(100, self.total))

    @property
    def in_favour(self) -> int:
        return sum(reason.weight for reason in self.reasons if reason.weight > 0)

    @property
    def has_doubt(self) -> bool:
        return any(reason.kind in DOUBTS for reason in self.reasons)

    def weight_of(self, kind: str) -> int:
        return next((reason.weight for reason in self.reasons if reason.kind == kind), 0)

    def as_json(self) -> dict[str, object]:
        return {
            "account_id": self.account_id,
            "name": self.name,
            "score": self.score,
            "reasons": [reason.as_json() for reason in self.reasons],
            "hints": [hint.as_json() for hint in self.hints],
        }


def evidence(kind: str, text: str, weight: int | None = None) -> Reason:
    """Return a piece of evidence with the weight of its kind, or of a degree of it."""
    return Reason(kind, WEIGHTS[kind] if weight is None else weight, text)


def candidates(customer: CustomerFacts, accounts: Iterable[AccountFacts]) -> list[Candidate]:
    """Weigh each Account that may be the customer, the best first; those that nothing speaks for are left out."""
    known = sorted(accounts, key=lambda one: one.id)
    names = {one.id: agreement(customer.name, one.name) for one in known}
    is_elsewhere = any(names[one.id] == Agreement.SAME and not one.has_contact for one in known)
    facts = {one.id: one for one in known}
    weighed = [
        Candidate(one.id, one.name, tuple(_reasons(customer, one, names[one.id], is_elsewhere=is_elsewhere)))
        for one in known
    ]
    kept = [one for one in weighed if one.score > 0 or one.in_favour >= WORTH_A_LOOK]
    ranked = sorted(kept, key=lambda one: (-one.total, _tie_breakers(facts[one.account_id]), one.name, one.account_id))
    return _with_hints(ranked, facts)


def sure(found: Sequence[Candidate], *, threshold: int) -> Candidate | None:
    """Return the candidate that needs no person: at the threshold, told by more than points, alone, without doubt."""
    best = _lone(found, threshold=threshold)
    return best if best is not None and best.score >= threshold and _is_told(best) else None


def acceptable(found: Sequence[Candidate], *, threshold: int) -> Candidate | None:
    """Return the candidate that a person may take with many others: alone, without doubt, and not of another name."""
    best = _lone(found, threshold=threshold)
    return best if best is not None and (_is_told(best) or not best.weight_of("unlike_name")) else None


def _lone(found: Sequence[Candidate], *, threshold: int) -> Candidate | None:
    if not found or found[0].has_doubt or rivals(found, threshold=threshold):
        return None
    return found[0]


def rivals(found: Sequence[Candidate], *, threshold: int) -> int:
    """Count the candidates that stand near the best one, or near the threshold where it is above that.

    However far the best is ahead of the threshold, a second one who is near to being taken is for a person to rule out.
    """
    if not found:
        return 0
    bar = min(found[0].score, threshold) - NEAR
    return sum(one.score >= bar for one in found[1:])


def read(said: Mapping[str, Any]) -> Candidate:
    """Return a candidate from the form in which the queue keeps it, as `Candidate.as_json` made it."""
    reasons, hints = (tuple(Reason(**one) for one in said.get(part, ())) for part in ("reasons", "hints"))
    return Candidate(said["account_id"], said["name"], reasons, hints)


def _is_told(candidate: Candidate) -> bool:
    """Say whether the facts tell who it is, whatever their points: each of these a person would take without a doubt.

    A Contact's e-mail; a customer with the same e-mail and name whom a person matched there; the company's own domain,
    by its website, its Contacts or its customers whom a person matched there, together with the name; its own domain
    that is the Account's whole name, where the customer's cannot be compared; the name with telephone and postcode.
    """
    of = candidate.weight_of
    if of("contact_email") >= FULL_EMAIL or of("same_mailbox") or of("same_email"):
        return True
    is_named = of("company_name") >= SURE_NAME
    if of("website_domain") or of("contact_domain") or of("same_customers") > LIKE_CUSTOMERS:
        return is_named or bool(of("domain_name"))
    return is_named and bool(of("phone")) and bool(of("postal_code"))


# ---- what speaks for it, and what against ----


def _reasons(
    customer: CustomerFacts, account: AccountFacts, named: Agreement, *, is_elsewhere: bool
) -> Iterable[Reason]:
    chosen = [one for one in account.chosen_names if agreement(one, customer.name) in _ALIKE]
    yield from _by_address(customer, account, named)
    if chosen:
        yield evidence("same_email", f"A person matched {chosen[0]}, with the same e-mail, to it")
    yield from _by_name(customer, account, named, is_chosen=bool(chosen))
    yield from _by_place(customer, account)
    yield from _by_others(customer, account)
    if account.has_contact and is_elsewhere and named not in _ALIKE:
        yield evidence("name_elsewhere", f"Another Account bears the name {customer.name}")


_ALIKE: Final = (Agreement.SAME, Agreement.ORDER, Agreement.SPELLING)


def _by_address(customer: CustomerFacts, account: AccountFacts, named: Agreement) -> Iterable[Reason]:
    has_contact = account.has_contact or account.has_mailbox
    if account.has_contact:
        weight = EMAIL_AT_BLOCKED if customer.has_blocked_mail else FULL_EMAIL
        yield evidence("contact_email", f"A Contact of the Account has the e-mail {customer.email}", weight)
    elif account.has_mailbox and not customer.has_blocked_mail:
        yield evidence("same_mailbox", f"A Contact of the Account has the same mailbox as {customer.email}")
    if not customer.domain:
        return
    if account.domain == customer.domain:
        weight = DOMAIN_BESIDE_EMAIL if has_contact else WEIGHTS["website_domain"]
        yield evidence("website_domain", f"The e-mail's domain {customer.domain} is the Account's website", weight)
        yield from _by_name_of_domain(customer, account)
    elif has_contact:
        # Where no name says whose it is, somebody elsewhere may look after this Account among others.
        if named is Agreement.OPEN and account.domain and not _is_at_own_domain(customer, account):
            yield evidence("other_website", _OTHER_WEBSITE.format(account.domain, customer.domain))
    elif account.contacts_at_domain:
        is_one = account.contacts_at_domain == 1
        count = "A Contact has" if is_one else f"{account.contacts_at_domain} Contacts have"
        weight = ONE_CONTACT if is_one and not is_named_by(account.name, customer.domain) else WEIGHTS["contact_domain"]
        yield evidence("contact_domain", f"{count} an address at {customer.domain}", weight)
    elif account.domain and not account.is_chosen_at_domain and not _is_like(customer, account.domain):
        yield evidence("other_website", _OTHER_WEBSITE.format(account.domain, customer.domain))


_OTHER_WEBSITE: Final = "The website is {}, the e-mail's domain {}"


def _by_name_of_domain(customer: CustomerFacts, account: AccountFacts) -> Iterable[Reason]:
    """Where the customer's name cannot be compared, what the domain itself says of the name."""
    if customer.is_tagged or is_readable(customer.name, account.name) or not is_called_as(account.name, account.domain):
        return
    if not customer.name:
        yield evidence("domain_name", f"The customer gives no name, and the Account is called as {customer.domain}")
    elif agreement(customer.name, account.name) is Agreement.OPEN:
        text = f"The name is in other letters, and the Account is called as {customer.domain}"
        yield evidence("domain_name", text, UNREADABLE)


def _is_like(customer: CustomerFacts, website: str) -> bool:
    """Say whether a website may be the customer's though its e-mail is elsewhere: one domain begins as the other."""
    mine, theirs = sorted((domain_label(customer.domain), domain_label(website)), key=len)
    return mine == theirs or (len(mine) >= 5 and theirs.startswith(mine))


def _by_name(customer: CustomerFacts, account: AccountFacts, named: Agreement, *, is_chosen: bool) -> Iterable[Reason]:
    both = f"{customer.name} and {account.name}"
    if is_for_another(customer.name):
        yield evidence("for_another", f"The name says that somebody acts for somebody else: {customer.name}")
    if named in NAME_POINTS:
        yield _of_name(customer, account, named, both)
        forms = {legal_form(customer.name), legal_form(account.name)} - {"", "co"}
        if len(forms) > 1 and named is not Agreement.PARTLY and is_readable(customer.name, account.name):
            yield evidence("other_legal_form", f"The legal forms differ: {both}")
    elif is_chosen:
        return
    elif named is Agreement.APART and not _is_a_persons(customer):
        yield evidence("other_part", f"Each name has a word that the other lacks: {both}")
    elif named is Agreement.UNLIKE and not is_named_by(customer.name, account.domain):
        kind = "other_name" if _is_anothers(customer, account) else "unlike_name"
        yield evidence(kind, f"The names have nothing in common: {both}")


def _is_anothers(customer: CustomerFacts, account: AccountFacts) -> bool:
    """Say whether a name that is not the Account's must be another company's, and the address only looks after it.

    A Contact at a domain that bears the customer's own name is the customer's own, whatever the Account is called.
    """
    if account.has_contact and is_named_by(customer.name, customer.domain):
        return False
    return _is_a_companys(customer) or _is_outside(customer, account)


def _of_name(customer: CustomerFacts, account: AccountFacts, named: Agreement, both: str) -> Reason:
    weight, text = NAME_POINTS[named], _AGREE[named]
    if named is Agreement.SPELLING and not is_readable(customer.name, account.name):
        return evidence("company_name", f"The names sound alike in other letters: {both}", SETTLED)
    if account.domain and account.domain == customer.domain:
        if named is Agreement.SPELLING and is_slip_by_domain(customer.name, account.name, account.domain):
            weight, text = SETTLED, f"{text}, and {account.domain} is spelt as one of them"
        if named is Agreement.INITIALS and is_short_by_domain(customer.name, account.name, account.domain):
            weight, text = SETTLED, f"{text}, and {account.domain} begins with them"
    return evidence("company_name", f"{text}: {both}", weight)


_AGREE: Final = {
    Agreement.SAME: "The names agree",
    Agreement.ORDER: "The names have the same words in another order",
    Agreement.SPELLING: "The names differ by their spelling alone",
    Agreement.GROUP: "The names agree but for a word such as Group or Holding",
    Agreement.INITIALS: "One name is the other's initials",
    Agreement.PARTLY: "One name is part of the other",
}


def _is_a_companys(customer: CustomerFacts) -> bool:
    """Say whether the customer's name must be that of the company that pays, and an Account of that name is meant.

    It has a legal form, or the mail goes to an office; a private address says nothing about who pays.
    """
    if customer.has_free_mail or _mailbox(customer) in _OFFICES:
        return True
    return bool(legal_form(customer.name)) and not _is_a_persons(customer)


def _is_outside(customer: CustomerFacts, account: AccountFacts) -> bool:
    """Say whether a Contact's e-mail may be that of somebody who works for others: a bookkeeper, somebody at an agency.

    The customer is not called as the mailbox; or it is, and the address is not at the Account's own domain.
    """
    if not (account.has_contact or account.has_mailbox):
        return False
    return not _is_a_persons(customer) or (bool(account.domain) and not _is_at_own_domain(customer, account))


def _is_at_own_domain(customer: CustomerFacts, account: AccountFacts) -> bool:
    """Say whether the customer's e-mail is at the Account's own domain: its website, or one that bears its name."""
    return bool(customer.domain) and (account.domain == customer.domain or is_named_by(account.name, customer.domain))


def _is_a_persons(customer: CustomerFacts) -> bool:
    """Say whether the customer is called as its mailbox is: Ana Duarte at ana.duarte@, aduarte@ or ad@."""
    words = [word for one in taken_apart(customer.name) for word in one.words]
    mailbox = _mailbox(customer)
    return any(word in mailbox for word in words if len(word) >= 3) or (
        len(words) > 1 and mailbox == "".join(word[0] for word in words)
    )


def _mailbox(customer: CustomerFacts) -> str:
    local = customer.email.partition("@")[0].partition("+")[0]
    return "".join(letter for letter in local if letter.isalpha())


def _by_place(customer: CustomerFacts, account: AccountFacts) -> Iterable[Reason]:
    if customer.phone and customer.phone == account.phone:
        yield evidence("phone", f"Both have the telephone number +{customer.phone}")
    is_known = bool(customer.country and account.country)
    is_other = is_known and customer.country != account.country
    postcode = postcode_key(customer.postal_code)
    if postcode and not is_other and postcode == postcode_key(account.postal_code):
        yield evidence("postal_code", f"Both are in {customer.postal_code}")
    if is_other:
        yield evidence("other_country", f"The customer is in {customer.country}, the Account in {account.country}")
    elif is_known:
        yield evidence("country", f"Both are in {customer.country}")


def _by_others(customer: CustomerFacts, account: AccountFacts) -> Iterable[Reason]:
    """What became of customers who are like this one: of the same domain, or with the very same e-mail."""
    at = f"at {customer.domain}"
    if account.customers_at_domain:
        is_learnt = account.is_chosen_at_domain and not _has_domain(customer, account)
        weight = WEIGHTS["same_customers"] if is_learnt else LIKE_CUSTOMERS
        by = ", by a person" if is_learnt else ""
        yield evidence("same_customers", f"{_others(account.customers_at_domain, at)} matched to it{by}", weight)
    elif account.customers_in_family:
        yield evidence("same_family", f"{_others(account.customers_in_family, at)} matched to Accounts of its parent")
    if account.customers_elsewhere:
        yield evidence("other_customers", f"{_others(account.customers_elsewhere, at)} matched to another Account")
    if account.has_contact and not account.chosen_names:
        named = [one for one in customer.other_names if agreement(one, customer.name) is Agreement.UNLIKE]
        if named:
            yield evidence(
                "shared_email", f"{_others(len(named), 'of another name')} using the e-mail {customer.email}"
            )


def _has_domain(customer: CustomerFacts, account: AccountFacts) -> bool:
    """Say whether Salesforce itself has the customer's domain at the Account, so that nothing is learnt from people."""
    return account.domain == customer.domain or bool(account.contacts_at_domain)


def _others(count: int, which: str) -> str:
    return f"One other customer {which} is" if count == 1 else f"{count} other customers {which} are"


# ---- hints ----


def _tie_breakers(account: AccountFacts) -> tuple[bool, int, bool, int]:
    """Order Accounts that weigh the same, the likeliest first: this order is shown and decides nothing."""
    active = account.last_activity_on.toordinal() if account.last_activity_on else 0
    is_customer = account.type.casefold().startswith("customer")
    return (not is_customer, -active, not account.owner_is_active, -account.contacts_at_domain)


_HINTS: Final[tuple[tuple[str, Callable[[AccountFacts], Any], Callable[[AccountFacts], str]], ...]] = (
    ("customer_type", lambda one: one.type.casefold().startswith("customer"), lambda one: f"Its type is {one.type}"),
    (
        "last_activity",
        lambda one: one.last_activity_on or date.min,
        lambda one: f"The latest activity of all: {one.last_activity_on}",
    ),
    ("active_owner", lambda one: one.owner_is_active, lambda one: "Its owner is active"),
    (
        "most_contacts",
        lambda one: one.contacts_at_domain,
        lambda one: f"The most Contacts at the domain: {one.contacts_at_domain}",
    ),
)


def _with_hints(ranked: Sequence[Candidate], facts: Mapping[str, AccountFacts]) -> list[Candidate]:
    """Say on each candidate by which tie-breakers it is ahead of another; a lone candidate needs none."""
    hints: dict[str, list[Reason]] = {one.account_id: [] for one in ranked}
    for kind, value, text in _HINTS:
        values = {one.account_id: value(facts[one.account_id]) for one in ranked}
        most = max(values.values(), default=None)
        ahead = [account_id for account_id, found in values.items() if found == most]
        if len(ahead) < len(ranked):
            for account_id in ahead:
                hints[account_id].append(Reason(kind, 0, text(facts[account_id])))
    return [replace(one, hints=tuple(hints[one.account_id])) for one in ranked]
