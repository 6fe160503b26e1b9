"""The queue of customers that wait for an Account: when each is tried again, and whom news from Salesforce concerns.

A row that waits is due at once when an Account or a Contact with one of its keys appears or changes, and otherwise
after a pause that grows with its age, for what keys cannot tell: a name that is only alike, a rule that changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from django.db.models import Case, F, Q, Value, When

from billing import selectors as billing
from crm.company_names import name_key, name_start, searched_keys
from crm.domains import address_key, company_domain, other_writings
from crm.ids import ACCOUNT, written_id
from crm.models import Account, Contact, Match, Unmatched, WaitingKey
from crm.places import phone_key

METADATA_KEY = "salesforce_account_id"
KEYS_AT_ONCE = 500
YOUNG, OLD = timedelta(hours=2), timedelta(days=1)
PAUSES = (timedelta(minutes=10), timedelta(hours=6), timedelta(days=1))  # of the young, of the rest, of the old


def due(*, now: datetime, limit: int | None = None) -> list[int]:
    """Return the keys of the customers that are to be tried now, those first that were not for longest."""
    rows = Unmatched.objects.filter(Q(due_at__isnull=True) | Q(due_at__lte=now))
    return list(rows.order_by(F("due_at").asc(nulls_first=True), "pk").values_list("customer_id", flat=True)[:limit])


def lock(customer_pks: Iterable[int]) -> dict[int, str]:
    """Lock those of customers that wait, in one order, and return what was looked at of each when it was tried last."""
    rows = Unmatched.objects.filter(customer_id__in=customer_pks).order_by("customer_id").select_for_update()
    return dict(rows.values_list("customer_id", "basis"))


def wake(shared: Iterable[str], *, now: datetime) -> int:
    """Make due whoever waits and has one of these keys; returns how many were not.

    Whoever is being tried just now is locked, and made due once that is done: it may not have seen the news.
    """
    numbers = sorted({_number(one) for one in shared})
    woken = 0
    for start in range(0, len(numbers), KEYS_AT_ONCE):
        having = WaitingKey.objects.filter(key__in=numbers[start : start + KEYS_AT_ONCE])
        rows = Unmatched.objects.filter(pk__in=having.values("unmatched_id"))
        pks = list(rows.order_by("customer_id").select_for_update().values_list("pk", flat=True))
        woken += Unmatched.objects.filter(pk__in=pks, due_at__gt=now).update(due_at=now)
    return woken


def wake_all() -> int:
    """Make due everybody who waits, because a rule changed or Salesforce was read for the first time."""
    return Unmatched.objects.filter(due_at__isnull=False).update(due_at=None)


def put_off(
    customers: Mapping[int, billing.CustomerRow], candidates: Mapping[int, Sequence[str]], *, now: datetime
) -> None:
    """Let customers that were tried just now wait until their next turn, and note what would wake them before.

    `candidates` are the ids of the Accounts that each may be.
    """
    rows = Unmatched.objects.filter(customer_id__in=customers)
    young, rest, old = (Value(now + pause) for pause in PAUSES)
    rows.update(due_at=Case(When(since__gt=now - YOUNG, then=young), When(since__gt=now - OLD, then=rest), default=old))
    pks = dict(rows.values_list("customer_id", "pk"))
    wanted = {
        (pks[pk], _number(key))
        for pk, customer in customers.items()
        for key in of_customer(customer, candidates.get(pk, ()))
    }
    before = Match.objects.filter(customer_id__in=customers).values_list("customer_id", "account__salesforce_id")
    wanted |= {(pks[pk], _number(_of_id(account_id))) for pk, account_id in before}  # it may be undeleted
    known = {(one.unmatched_id, one.key): one.pk for one in WaitingKey.objects.filter(unmatched_id__in=pks.values())}
    WaitingKey.objects.filter(pk__in=[pk for pair, pk in known.items() if pair not in wanted]).delete()
    new = [WaitingKey(unmatched_id=pk, key=key) for pk, key in sorted(wanted - known.keys())]
    WaitingKey.objects.bulk_create(new, ignore_conflicts=True)


def put_off_failed(customer_pks: Collection[int], *, now: datetime) -> None:
    """Let customers wait whom trying failed for, so that they do not stand before the others."""
    Unmatched.objects.filter(customer_id__in=customer_pks).update(due_at=now + PAUSES[0])


# ---- what a customer and a record may share ----


def of_customer(customer: billing.CustomerRow, candidates: Iterable[str] = ()) -> Iterator[str]:
    """Yield what an Account or a Contact must share with a customer to concern it."""
    yield from _of_email(address_key(customer.email))
    for other in other_writings(customer.email):
        yield from _of_email(other)
    for key in (*searched_keys(customer.name), _spelt_by(company_domain(customer.email))):
        yield from _of_start(name_start(key))
    yield from _of_phone(phone_key(customer.phone, customer.country))
    named, _ = written_id(str(customer.metadata.get(METADATA_KEY) or ""), prefix=ACCOUNT)
    if named:
        yield _of_id(named)
    for account_id in candidates:
        yield _of_id(account_id)


def of_account(account: Account) -> Iterator[str]:
    """Yield what a customer may share with an Account."""
    yield _of_id(account.salesforce_id)
    if account.domain:
        yield f"domain:{account.domain}"
    yield from _of_start(account.name_start)
    yield from _of_phone(account.phone_key)


def of_contact(contact: Contact) -> Iterator[str]:
    """Yield what a customer may share with a Contact."""
    yield from _of_email(contact.email)


def _of_id(account_id: str) -> str:
    return f"id:{account_id[:15]}"


def _of_email(email: str) -> Iterator[str]:
    if email:
        yield f"email:{email}"
    domain = company_domain(email)
    if domain:
        yield f"domain:{domain}"


def _spelt_by(domain: str) -> str:
    return name_key(domain.partition(".")[0].replace("-", " "))


def _of_start(letters: str) -> Iterator[str]:
    """A name concerns those that begin with the same letters: what is misspelt is mostly so later on."""
    if letters:
        yield f"name:{letters}"


def _of_phone(digits: str) -> Iterator[str]:
    if digits:
        yield f"phone:{digits}"


def _number(key: str) -> int:
    """Return a key as the number it is kept as: short, and it says nothing of a person to whoever reads the table."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), signed=True)
