"""Makes the demo company: Accounts from a fixture, users, and a story posted to the real endpoint and drained."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import transaction
from django.utils import timezone

from billing.models import EventState, SigningSecret, StripeEvent, StripeSource
from config import pipeline
from config.demo import companies, rates, story
from crm.domains import address_key, company_domain
from crm.keys import account_keys
from crm.models import Account, Contact, SalesforceOrg
from dashboard.roles import Role
from mrr import fx
from mrr.days import day_of
from mrr.engine.rates import Origin

POSTMEN = 2
IN_FIXTURE = 400
TRIES = 8

Advance = Callable[[int], None]


class DemoRefused(Exception):
    """The demo would mix with what is there; the message says what to do instead."""


@dataclass(frozen=True)
class Size:
    customers: int
    months: int


def refuse_real_data() -> None:
    """Raise DemoRefused when the database holds sources, users or a connection that are not the demo's."""
    if SalesforceOrg.objects.filter(is_demo=True).exists():
        return
    if StripeSource.objects.exists() or SalesforceOrg.objects.exists() or get_user_model().objects.exists():
        raise DemoRefused(
            "This database is in use. The demo needs one of its own: "
            "set DATA_DIR (for SQLite) or DATABASE_URL to another, empty place and run it again."
        )


def is_made() -> dict[str, Any] | None:
    """Return what was made, when this database holds the whole demo."""
    if not _marker().exists() or not SalesforceOrg.objects.filter(is_demo=True).exists():
        return None
    made: dict[str, Any] = json.loads(_marker().read_text())
    return made if StripeEvent.objects.count() >= made["events"] else None


def make_company(size: Size) -> dict[str, Path]:
    """Make sources, users, Salesforce's side and the event files; returns the files by source. Safe to repeat."""
    folder = _folder()
    with transaction.atomic():
        for slug, (label, _) in story.SOURCES.items():
            source, _ = StripeSource.objects.get_or_create(slug=slug, defaults={"label": label})
            if not source.signing_secrets.exists():
                secret = f"whsec_{secrets.token_urlsafe(24)}"
                SigningSecret.objects.create(source=source, secret=secret, last4=secret[-4:])
        _make_salesforce(size.customers)
        make_users()
    files = {slug: folder / f"{slug}.jsonl" for slug in story.SOURCES}
    if not all(path.exists() for path in files.values()) or not StripeEvent.objects.exists():
        told = story.events(now=int(time.time()), customers=size.customers, months=size.months)
        for slug, path in files.items():
            path.write_text("".join(f"{one.text}\n" for one in told[slug]), encoding="utf-8")
    return files


def keep_rates(months: int, *, now: datetime) -> None:
    """Add the demo's own exchange rates up to today; those of earlier days stay as they were made."""
    today = day_of(now)
    newest = fx.newest(Origin.DEMO)
    first = newest + timedelta(days=1) if newest else rates.beginning(today, months=months)
    fx.keep_up(today)
    fx.store(list(rates.quotes(first, today, reporting=settings.REPORTING_CURRENCY)))


def make_users() -> str:
    """Make one user a role, with one password made up once; returns it."""
    path = _folder() / "password"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(f"ledger-{secrets.token_hex(4)}\n")
    password = path.read_text().strip()
    for role in Role:
        user, is_new = get_user_model().objects.get_or_create(
            username=role.value, defaults={"email": f"{role.value}@northwind.example", "is_staff": role is Role.ADMIN}
        )
        if is_new or not user.check_password(password):
            user.set_password(password)
            user.is_superuser = role is Role.ADMIN
            user.save()
        user.groups.add(Group.objects.get_or_create(name=role.value)[0])
    return password


def deliver(files: dict[str, Path], address: tuple[str, int], advance: Advance) -> int:
    """Sign each event and post it to the endpoint over HTTP, a few at a time; returns how many were delivered.

    Calls `advance` with how many more went through. Raises RuntimeError when the endpoint keeps refusing one.
    """
    work: queue.Queue[tuple[str, bytes, bytes] | None] = queue.Queue(maxsize=200)
    failed: list[str] = []
    postmen = [
        threading.Thread(target=_post_all, args=(work, address, advance, failed), daemon=True) for _ in range(POSTMEN)
    ]
    for postman in postmen:
        postman.start()
    count = 0
    for slug, secret, line in _lines(files):
        if failed:
            break
        work.put((slug, secret, line))
        count += 1
    for _ in postmen:
        work.put(None)
    for postman in postmen:
        postman.join()
    if failed:
        raise RuntimeError(failed[0])
    return count


def drain(advance: Advance) -> pipeline.Drained:
    """Run the pipeline until nothing is due, as a worker would."""
    done = pipeline.Drained()
    while True:
        batch = pipeline.drain_all(now=timezone.now())
        done += batch
        advance(batch.events)
        if not batch:
            return done


def write_marker(size: Size, done: pipeline.Drained, seconds: float) -> dict[str, Any]:
    """Write down that the demo is whole, and return it."""
    made = {
        "customers": size.customers,
        "months": size.months,
        "events": StripeEvent.objects.count(),
        "entries": done.entries,
        "parked": StripeEvent.objects.filter(state=EventState.PARKED).count(),
        "seconds": round(seconds, 1),
    }
    _marker().write_text(json.dumps(made) + "\n")
    return made


# ---- Salesforce's side ----


def _make_salesforce(customers: int) -> None:
    if SalesforceOrg.objects.filter(is_demo=True).exists():
        return
    now = timezone.now()
    org = SalesforceOrg.objects.create(
        instance_url="https://northwind-demo.my.salesforce.com",
        org_id="00D5g00000DEMO1EAO",
        is_sandbox=False,
        is_demo=True,
        mirrored_to=now,
    )
    accounts, contacts = _fixture(customers)
    Account.objects.bulk_create(
        Account(
            org=org,
            modified_at=now,
            **account_keys(name=one["name"], website=one["website"], phone=one["phone"], country=one["country"]),
            **one,
        )
        for one in accounts
    )
    Contact.objects.bulk_create(
        Contact(org=org, **{**one, "email": address_key(one["email"]), "domain": company_domain(one["email"])})
        for one in contacts
    )


def _fixture(customers: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Read the fixture; for more customers than it holds, the rest is made as the fixture was."""
    kept = json.loads((Path(__file__).parent / "accounts.json").read_text(encoding="utf-8"))
    if customers > IN_FIXTURE:
        return companies.accounts_and_contacts(customers)
    return kept["accounts"], kept["contacts"]


# ---- posting ----


def _lines(files: dict[str, Path]) -> Iterator[tuple[str, bytes, bytes]]:
    """Give the events of all sources in the order of time, as they would have come in, with their signing secret."""
    found = []
    for slug, path in files.items():
        secret = StripeSource.objects.get(slug=slug).signing_secrets.latest("id").secret.encode()
        for line in path.read_bytes().splitlines():
            found.append((json.loads(line)["created"], slug, secret, line))
    found.sort(key=lambda one: one[0])
    for _, slug, secret, line in found:
        yield slug, secret, line


def _post_all(
    work: queue.Queue[tuple[str, bytes, bytes] | None],
    address: tuple[str, int],
    advance: Advance,
    failed: list[str],
) -> None:
    connection = http.client.HTTPConnection(*address, timeout=30)
    while (one := work.get()) is not None:
        if failed:
            continue
        slug, secret, line = one
        try:
            _post(connection, slug, secret, line)
            advance(1)
        except Exception as error:  # told to the caller, who stops the others
            failed.append(str(error))
    connection.close()


def _post(connection: http.client.HTTPConnection, slug: str, secret: bytes, line: bytes) -> None:
    """Deliver one event as Stripe would: a refusal or a cut is tried again, with a new signature."""
    said = ""
    for attempt in range(TRIES):
        at = str(int(datetime.now(UTC).timestamp())).encode()
        signature = hmac.digest(secret, at + b"." + line, hashlib.sha256).hex()
        headers = {"Content-Type": "application/json", "Stripe-Signature": f"t={at.decode()},v1={signature}"}
        try:
            connection.request("POST", f"/webhooks/stripe/{slug}/", body=line, headers=headers)
            answer = connection.getresponse()
            said = f"{answer.status} {answer.read()[:200]!r}"
            if answer.status == 200:
                return
            if answer.status < 500:
                break
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            said = str(error)
        time.sleep(0.05 * 2**attempt)
    raise RuntimeError(f"The endpoint did not keep an event: {said}")


def _folder() -> Path:
    folder = Path(settings.DATA_DIR) / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _marker() -> Path:
    return _folder() / "made.json"
