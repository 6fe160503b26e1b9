"""How fast unmatched customers are weighed against a large org, and how fast the queue of them opens."""

from __future__ import annotations

import json
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from config.demo.companies import SECOND

AT_ONCE: Final = 200
SYLLABLES: Final = "ba cor del fen gal hur iso jun kel lor mar nev or pel quin ros sal tur ven wil".split()
FORMS: Final = ("Inc", "LLC", "Ltd", "GmbH", "S.A.", "B.V.", "")
PLACES: Final = (("US", "78701"), ("US", "10001"), ("GB", "EC1A 1BB"), ("DE", "10115"), ("FR", "69001"))
NOW: Final = datetime(2026, 6, 1, tzinfo=UTC)
OPENED: Final = 15  # times that the page is opened; the first one warms up


def run(*, accounts: int, customers: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Fill a database of its own, weigh all customers as a worker does, and open the queue."""
    from config.benchmarks.stand import stand

    def told(*words: str) -> dict[str, Any]:
        answer = ground.python("-m", "config.benchmarks.matching", *words).stdout.splitlines()[-1]
        found: dict[str, Any] = json.loads(answer)
        return found

    with stand() as ground:
        tell(f"{accounts} Accounts with two Contacts each, {customers} customers")
        told("fill", str(accounts), str(customers))
        tell("each customer is weighed")
        weighed = told("weigh")
        tell("the queue is opened")
        page = told("page")
    return {"database": ground.vendor, "accounts": accounts, "weighed": weighed, "queue": page}


# ---- what is weighed ----


def fill(accounts: int, customers: int) -> dict[str, Any]:
    """Write the org's mirror and customers that are like its Accounts in some ways, and in others not."""
    from django.db import connection

    from billing.models import Customer, StripeSource
    from crm.models import Account, Contact, SalesforceOrg
    from mrr.models import CustomerBalance

    org = SalesforceOrg.objects.create(instance_url="https://bench.my.salesforce.com", is_demo=True, mirrored_to=NOW)
    source = StripeSource.objects.get()
    for start in range(0, accounts, 2000):
        numbers = range(start, min(start + 2000, accounts))
        Account.objects.bulk_create(_account(org, number) for number in numbers)
        Contact.objects.bulk_create(one for number in numbers for one in _contacts(org, number))
    for start in range(0, customers, 2000):
        numbers = range(start, min(start + 2000, customers))
        made = Customer.objects.bulk_create(_customer(source, number, accounts) for number in numbers)
        CustomerBalance.objects.bulk_create(
            CustomerBalance(customer=one, source=source, currency="usd", mrr_micros=(1 + one.pk % 900) * 10**8)
            for one in made
        )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return {"customers": customers}


def _company(number: int) -> tuple[str, str, str, str, str]:
    """Return a company's name, legal form, domain, country and postcode: the same for a number in every run."""
    dice = random.Random(f"matching-{number}")
    coined = "".join(dice.choices(SYLLABLES, k=dice.choice((2, 3, 3)))).capitalize()
    name = f"{coined} {dice.choice(SECOND)}"
    ending = dice.choice(("com", "com", "io", "de", "co.uk"))
    return name, dice.choice(FORMS), f"{name.replace(' ', '-').lower()}.{ending}", *dice.choice(PLACES)


def _id(prefix: str, number: int) -> str:
    from crm.ids import long_id

    return long_id(f"{prefix}5g{number:010d}")


def _account(org: Any, number: int) -> Any:
    from crm.keys import account_keys
    from crm.models import Account

    name, form, domain, country, postcode = _company(number)
    said = {"name": f"{name} {form}".strip(), "website": f"https://www.{domain}", "country": country}
    said["phone"] = f"+1512555{number % 10000:04d}"
    return Account(
        org=org,
        salesforce_id=_id("001", number),
        postal_code=postcode,
        type="Customer" if number % 3 else "Prospect",
        modified_at=NOW,
        **said,
        **account_keys(**said),
    )


def _contacts(org: Any, number: int) -> Iterator[Any]:
    from crm.domains import company_domain
    from crm.models import Contact

    domain = _company(number)[2]
    for place, mailbox in enumerate(("ana", "office")):
        email = f"{mailbox}@{domain}"
        yield Contact(
            org=org,
            salesforce_id=_id("003", 2 * number + place),
            account_id=_id("001", number),
            email=email,
            domain=company_domain(email),
        )


def _customer(source: Any, number: int, accounts: int) -> Any:
    """One in twenty is found alone; the rest resemble an Account by domain, name or spelling, or nobody."""
    from billing.models import Customer

    dice = random.Random(f"customer-{number}")
    name, form, domain, country, postcode = _company(dice.randrange(accounts))
    kind = number % 20
    if 1 <= kind < 8:
        country, form = dice.choice((("SE", form), (country, "AG")))
    if 8 <= kind < 13:
        name, domain = name[:5] + name[6:], "gmail.com"
    if kind >= 16:
        name, _, domain, country, postcode = _company(10**7 + number)
    return Customer(
        source=source,
        stripe_id=f"cus_{number:08d}",
        name=f"{name} {form}".strip(),
        email=f"billing{number}@{domain}",
        phone=f"+1512555{number % 10000:04d}" if kind == 13 else "",
        country=country,
        postal_code=postcode,
    )


# ---- what is measured ----


def weigh() -> dict[str, Any]:
    """Try every customer as a worker does, a batch and a transaction at a time."""
    from django.db import transaction

    from billing import selectors as billing
    from billing.models import Customer
    from crm import matching
    from crm.models import Unmatched

    pks = list(Customer.objects.order_by("pk").values_list("pk", flat=True))
    clock, processor, found = time.monotonic(), time.process_time(), 0
    for start in range(0, len(pks), AT_ONCE):
        with transaction.atomic():
            billing.lock_customers(pks[start : start + AT_ONCE])
            found += len(matching.match_customers(pks[start : start + AT_ONCE], now=NOW, anew=True))
    seconds, processor = time.monotonic() - clock, time.process_time() - processor
    return {
        "customers": len(pks),
        "seconds": round(seconds, 1),
        "processor_ms_a_customer": round(1000 * processor / len(pks), 2),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "matched_alone": found,
        "with_candidates": Unmatched.objects.exclude(candidates=[]).count(),
    }


def page() -> dict[str, Any]:
    """Open the queue as RevOps does: the server's time and queries, without network and browser."""
    from django.conf import settings
    from django.contrib.auth import get_user_model
    from django.contrib.auth.models import Group
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    settings.ALLOWED_HOSTS.append("testserver")
    user = get_user_model().objects.create_user("bench")
    user.groups.add(Group.objects.get(name="revops"))
    client = Client()
    client.force_login(user)
    times, queries = [], 0
    for _ in range(OPENED):
        with CaptureQueriesContext(connection) as captured:
            began = time.monotonic()
            answer = client.get("/dashboard/unmatched/")
            times.append(1000 * (time.monotonic() - began))
        queries = len(captured)
        if answer.status_code != 200:
            raise RuntimeError(f"The queue answered {answer.status_code}.")
    return {
        "median_ms": round(statistics.median(times[1:]), 1),
        "slowest_ms": round(max(times[1:]), 1),
        "queries": queries,
        "kilobytes": round(len(answer.content) / 1024),
    }


if __name__ == "__main__":
    import django

    django.setup()
    stage, *sizes = sys.argv[1:]
    stages: dict[str, Callable[..., dict[str, Any]]] = {"fill": fill, "weigh": weigh, "page": page}
    sys.stdout.write(json.dumps(stages[stage](*[int(size) for size in sizes])) + "\n")
