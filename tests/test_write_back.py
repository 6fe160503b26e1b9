"""The Account of a match is written into Stripe's metadata, where a source is set to; an undone one is taken out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from billing import examining, sources
from billing.models import Customer, MetadataWrite, StripeSource
from config import pipeline
from crm import matching
from crm.ids import long_id
from crm.models import Account, Match, SalesforceOrg
from tests import builders
from tests.fakes.stripe import FakeStripe
from tests.scenario import Scenario, seconds

pytestmark = pytest.mark.django_db

KEY = "rk_live_0123456789"
ACCOUNT, OTHER = long_id("0015g00000AAAAA"), long_id("0015g00000BBBBB")
JAN = seconds("2026-01-10")


@pytest.fixture
def stripe(settings: Any) -> Iterator[FakeStripe]:
    with FakeStripe(key=KEY, livemode=True) as fake:
        settings.STRIPE_API_BASE = fake.url
        yield fake


@pytest.fixture
def scenario(stripe: FakeStripe) -> Scenario:
    made = Scenario()
    org = SalesforceOrg.objects.create(instance_url="https://acme.invalid", is_demo=True)
    for account_id in (ACCOUNT, OTHER):
        Account.objects.create(org=org, salesforce_id=account_id, name=account_id, modified_at=timezone.now())
    sources.add(made.source.slug, api_key=KEY)
    StripeSource.objects.update(writes_metadata=True)
    customer = builders.customer(at=JAN)
    stripe.add(customer)
    made.tell("customer.created", customer, "2026-01-10")
    return made


def matched(account_id: str = ACCOUNT) -> Match:
    return matching.match(Customer.objects.get().pk, account_id, by="ana", now=timezone.now())


def there(stripe: FakeStripe) -> str | None:
    """What stands in Stripe."""
    found = stripe.object(Customer.objects.get().stripe_id)
    return found["metadata"].get("salesforce_account_id")


def writes(stripe: FakeStripe) -> list[Any]:
    return [one for one in stripe.requests if one.method == "POST"]


def test_it_is_off_at_first(scenario, stripe):
    StripeSource.objects.update(writes_metadata=False)
    matched()

    scenario.drain()

    assert there(stripe) is None and not MetadataWrite.objects.exists()


def test_the_account_is_written_and_our_own_event_goes_round_in_no_circle(scenario, stripe):
    matched()
    scenario.drain()
    assert there(stripe) == ACCOUNT

    scenario.tell("customer.updated", stripe.object(Customer.objects.get().stripe_id), "2026-01-11")
    scenario.drain()

    assert len(writes(stripe)) == 1
    assert Match.objects.count() == 1 and MetadataWrite.objects.get().state == "done"


def test_another_match_writes_another_account_and_undoing_takes_it_out(scenario, stripe):
    first = matched()
    scenario.drain()
    matching.unmatch(first.pk, by="ana", now=timezone.now())
    second = matched(OTHER)
    scenario.drain()
    assert there(stripe) == OTHER

    matching.unmatch(second.pk, by="ana", now=timezone.now())
    scenario.drain()

    assert there(stripe) is None


def test_what_somebody_else_put_there_since_stays(scenario, stripe):
    made = matched()
    scenario.drain()
    customer = stripe.object(Customer.objects.get().stripe_id)
    stripe.add({**customer, "metadata": {"salesforce_account_id": OTHER}})

    matching.unmatch(made.pk, by="ana", now=timezone.now())
    scenario.drain()

    assert there(stripe) == OTHER


def test_a_lost_answer_is_repeated_with_the_same_key(scenario, stripe):
    stripe.cuts_next("response", match="customers/")
    matched()
    scenario.drain()

    pipeline.drain_fetches(now=timezone.now() + timedelta(minutes=5))

    keys = {one.headers.get("Idempotency-Key") or one.headers.get("idempotency-key") for one in writes(stripe)}
    assert len(writes(stripe)) == 2 and len(keys) == 1 and None not in keys
    assert (there(stripe), MetadataWrite.objects.get().state) == (ACCOUNT, "done")


def test_without_the_right_it_is_parked_and_the_check_says_so(scenario, stripe):
    stripe.keys.clear()
    stripe.add_key(KEY, ["customer_read"])
    matched()

    scenario.drain()

    row = MetadataWrite.objects.get()
    assert (row.state, row.code) == ("parked", "missing_permission") and "rak_customer_write" in row.error
    assert examining.MAY_NOT_WRITE in examining.examine(StripeSource.objects.get())


def test_with_the_right_the_check_says_nothing_and_changes_nothing(scenario, stripe):
    assert examining.MAY_NOT_WRITE not in examining.examine(StripeSource.objects.get())
    assert there(stripe) is None
