"""Reads the labelled pairs and puts one into the database: a customer, the org's Accounts, and what is true."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from django.utils import timezone

from billing.models import Customer, StripeSource
from crm.domains import address_key, company_domain
from crm.ids import long_id
from crm.keys import account_keys
from crm.models import Account, Contact, Match, SalesforceOrg

FILE = Path(__file__).parent / "labelled_pairs.txt"
FRESH = Path(__file__).parent / "labelled_pairs_fresh.txt"


@dataclass
class Line:
    """One line: what it is, the name, and what else it says under the words of the file's head."""

    word: str
    name: str
    said: dict[str, str]


@dataclass
class Case:
    """A customer, the lines that belong to it, and the domains that people blocked in this org."""

    customer: Line
    lines: list[Line] = field(default_factory=list)
    blocked: str = ""

    @property
    def is_sure(self) -> bool:
        return any(line.word == "sure" for line in self.lines)

    @property
    def is_lookalike(self) -> bool:
        return not any(line.word in ("sure", "is") for line in self.lines)

    @property
    def half(self) -> int:
        """Which half it is in, by a hash that no new case moves."""
        text = f"{self.customer.name} {self.customer.said}"
        return hashlib.sha256(text.encode()).digest()[0] % 2


def cases(file: Path = FILE) -> list[Case]:
    found: list[Case] = []
    blocked = ""
    for text in file.read_text(encoding="utf-8").splitlines():
        if not text or text.startswith("#"):
            continue
        line = _line(text)
        if line.word == "blocked":
            blocked = line.name
        elif line.word == "customer":
            found.append(Case(line, blocked=blocked))
            blocked = ""
        else:
            found[-1].lines.append(line)
    return found


def _line(text: str) -> Line:
    first, *rest = text.split(" | ")
    word, _, name = first.partition(" ")
    said = {key: value for key, _, value in (part.partition(" ") for part in rest)}
    return Line(word, name, said)


class World:
    """One org and one source in the database, with the cases that were put there."""

    def __init__(self) -> None:
        self.org = SalesforceOrg.objects.create(instance_url="https://labelled.my.salesforce.com", is_demo=True)
        self.source = StripeSource.objects.create(slug="labelled")
        self.count = 0
        self.wrong: dict[int, set[str]] = {}  # of each customer, the Accounts that look like it and are not

    def put(self, case: Case) -> tuple[int, set[str]]:
        """Write one case down; returns the customer's key and the ids of the Accounts that it truly is."""
        made = [(line, self._account(line)) for line in case.lines if line.word != "also"]
        right = {account.salesforce_id for line, account in made if line.word in ("sure", "is")}
        for line, account in made:
            if line.word == "was":
                Account.objects.filter(pk=account.pk).update(is_deleted=True, merged_into=min(right))
            if line.word == "gone":
                Account.objects.filter(pk=account.pk).update(is_deleted=True)
            if parent := [other for theirs, other in made if theirs.name == line.said.get("parent")]:
                Account.objects.filter(pk=account.pk).update(parent_id=parent[0].salesforce_id)
        for line in case.lines:
            if line.word == "also":
                self._also(line, {account.name: account for _, account in made})
        if self.org.blocked_domains != case.blocked:
            self.org.blocked_domains = f"{self.org.blocked_domains} {case.blocked}"
        named = next((account.salesforce_id for line, account in made if line.word == "was"), min(right, default=""))
        pk = self._customer(case.customer, named).pk
        self.wrong[pk] = {account.salesforce_id for _, account in made} - right
        return pk, right

    def _next_id(self, prefix: str) -> str:
        self.count += 1
        return long_id(f"{prefix}5g00000{self.count:05d}")

    def _account(self, line: Line) -> Account:
        country, postcode = _place(line)
        web, phone = line.said.get("web", ""), line.said.get("tel", "")
        account = Account.objects.create(
            org=self.org,
            salesforce_id=self._next_id("001"),
            name=line.name,
            website=web,
            phone=phone,
            country=country,
            postal_code=postcode,
            type=line.said.get("type", ""),
            modified_at=timezone.now(),
            **account_keys(name=line.name, website=web, phone=phone, country=country),
        )
        for email in filter(None, line.said.get("mail", "").split(", ")):
            key = address_key(email)
            Contact.objects.create(
                org=self.org,
                salesforce_id=self._next_id("003"),
                account_id=account.salesforce_id,
                email=key,
                domain=company_domain(key),
                is_deleted=line.word == "gone",
            )
        return account

    def _customer(self, line: Line, named: str) -> Customer:
        country, postcode = _place(line)
        ids = {"id": named, "id15": named[:15], "metadata": line.said.get("metadata", "")}
        said = next((text for key, text in ids.items() if key in line.said), "")
        self.count += 1
        return Customer.objects.create(
            source=self.source,
            stripe_id=f"cus_{self.count}",
            name=line.name,
            email=line.said.get("mail", ""),
            phone=line.said.get("tel", ""),
            country=country,
            postal_code=postcode,
            metadata={"salesforce_account_id": said} if said else {},
        )

    def _also(self, line: Line, accounts: dict[str, Account]) -> None:
        other = self._customer(line, "")
        if on := line.said.get("on"):
            name, _, by = on.partition(" by a ")
            how, who = ("person", "ana") if by else ("email", "")
            Match.objects.create(
                customer=other, account=accounts[name], how=how, matched_by=who, matched_at=timezone.now()
            )


def _place(line: Line) -> tuple[str, str]:
    country, _, postcode = line.said.get("in", "").partition(", ")
    return country, postcode
