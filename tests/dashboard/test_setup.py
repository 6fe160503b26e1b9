"""The set-up page: each step is green or says what to do, and its buttons do it, against a strict fake of Stripe."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from billing import examining, refusals, sources, webhook
from billing.models import StripeSource
from config import pipeline
from crm.models import SalesforceOrg
from dashboard.roles import Role
from tests.builders import as_bytes, customer, event, sign, subscription
from tests.dashboard.test_pages import page_of, text_of
from tests.fakes.stripe import FakeStripe

KEY = "rk_live_0123456789"
URL = "/dashboard/setup/"
READS = {f"{right.name}_read" for right in examining.RIGHTS}
FORM = {"step": "source", "label": "Acme US", "slug": "acme-us", "mode": "live", "api_key": KEY, "signing_secret": ""}

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def stripe(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeStripe]:
    monkeypatch.setattr(refusals, "EVERY_SECONDS", 0.0)
    with FakeStripe(key=KEY, livemode=True) as fake:
        settings.STRIPE_API_BASE, settings.BASE_URL = fake.url, "https://ledger.example"
        yield fake


@pytest.fixture
def admin() -> Client:
    return page_of(Role.ADMIN)


def press(admin: Client, step: str, **fields: str) -> str:
    return text_of(admin.post(URL, {"step": step, "slug": "acme-us", **fields}, follow=True))


def test_a_source_is_saved_once_its_key_was_tried(admin, stripe):
    answer = admin.post(URL, FORM, follow=True)

    shown = text_of(answer)
    assert "The key reads all that is needed: Customers, Subscriptions, Prices" in shown
    assert "Stripe's live mode has no endpoint for this source" in shown
    assert "https://ledger.example/webhooks/stripe/acme-us/" in shown
    assert KEY not in answer.content.decode()


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("sk_live_51Nqabcdef", "A full secret key can move money, and we only read."),
        ("rk_test_0123456789", "This key is not of the source's mode, which is live."),
        ("rk_live_unknown", "Stripe does not know this key."),
    ],
)
def test_a_key_that_cannot_be_used_is_refused_at_its_field(admin, key, said):
    answer = admin.post(URL, {**FORM, "api_key": key})

    assert (answer.status_code, said in text_of(answer)) == (422, True)
    assert key not in answer.content.decode()
    assert not StripeSource.objects.exists()


def test_an_api_key_is_not_a_signing_secret(admin):
    answer = admin.post(URL, {**FORM, "signing_secret": "sk_live_51Nqabcdef"})

    assert "This is an API key. The signing secret starts with whsec_" in text_of(answer)
    assert not StripeSource.objects.exists()


def test_the_buttons_make_mend_and_replace_the_endpoint(admin, stripe):
    admin.post(URL, FORM)

    assert "gets every event that we read" in press(admin, "create")
    stripe.endpoint()["enabled_events"].remove("invoice.paid")
    assert "does not send 1 of the 68 events" in press(admin, "check")
    assert "gets every event that we read" in press(admin, "mend")
    stripe.endpoint()["api_version"] = "2024-06-20"
    assert "old layout of 2024-06-20" in press(admin, "check")
    assert "gets every event that we read" in press(admin, "create")


def test_a_key_without_the_right_to_write_leads_to_doing_it_by_hand(admin, stripe):
    stripe.add_key(KEY, READS)
    admin.post(URL, FORM)

    shown = press(admin, "check")
    assert "This key may not look at webhook endpoints" in shown
    assert "Make the endpoint by hand" in shown and "subscription_schedule.updated" in shown
    assert "Grant it in Stripe" in press(admin, "create")


def test_the_key_is_replaced_and_a_secret_added_on_the_card(admin, stripe):
    admin.post(URL, FORM)
    stripe.add_key("rk_live_second")

    assert "The key is in use" in press(admin, "key", api_key="rk_live_second")
    assert "Stripe does not know this key" in press(admin, "key", api_key="rk_live_unknown")
    assert "Stripe's next delivery proves it" in press(admin, "secret", signing_secret="whsec_0123456789")


def test_two_sources_stand_side_by_side_and_the_steps_show_the_worse(admin, stripe):
    admin.post(URL, FORM)
    press(admin, "create")
    assert "2 of 7 steps are done" in text_of(admin.get(URL))
    sources.add("acme-eu", label="Acme EU")

    shown = text_of(admin.get(URL))

    assert "Stripe: Acme US" in shown and "Stripe: Acme EU" in shown
    assert "1 of 7 steps are done" in shown


def test_the_page_is_read_with_few_queries_and_without_asking_stripe(admin, stripe, django_assert_max_num_queries):
    admin.post(URL, FORM)
    stripe.forgets_requests()

    with django_assert_max_num_queries(22):
        admin.get(URL)

    assert stripe.requests == []


@pytest.mark.parametrize("step", ["check", "create", "nothing"])
def test_a_source_or_step_that_is_not_there_is_no_crash(admin, step):
    answer = admin.post(URL, {"step": step, "slug": "gone"}, follow=True)

    assert answer.status_code == (400 if step == "nothing" else 200)


# ---- the eight faults, in words ----


def broken_right(admin: Client, stripe: FakeStripe) -> None:
    stripe.add_key(KEY, READS - {"invoice_read"} | {"webhook_write"})


def broken_events(admin: Client, stripe: FakeStripe) -> None:
    stripe.endpoint()["enabled_events"].remove("customer.subscription.updated")


def broken_version(admin: Client, stripe: FakeStripe) -> None:
    stripe.endpoint()["api_version"] = "2022-11-15"


def broken_clock(admin: Client, stripe: FakeStripe) -> None:
    stripe.clock = lambda: time.time() - 600


def deliver(stripe: FakeStripe, secret: str, **fields: Any) -> None:
    body = as_bytes(event("customer.subscription.created", subscription(), **{"livemode": True, **fields}))
    webhook.receive("acme-us", body, sign(body, secret=secret), now=timezone.now())


def broken_secret(admin: Client, stripe: FakeStripe) -> None:
    deliver(stripe, "whsec_of_another_endpoint")


def broken_mode(admin: Client, stripe: FakeStripe) -> None:
    deliver(stripe, "whsec_of_the_test_endpoint", livemode=False)


@pytest.mark.parametrize(
    ("breaks", "said"),
    [
        (broken_secret, "signed with a secret that this source does not have"),
        (broken_right, "The key may not read Invoices"),
        (broken_mode, "it was a test-mode event, and this source is live"),
        (broken_events, "does not send 1 of the 68 events that we read: customer.subscription.updated"),
        (broken_version, "sends events in the old layout of 2022-11-15"),
        (broken_clock, "clock is 10 min ahead of Stripe's"),
    ],
)
def test_each_fault_of_stripes_side_is_named_in_words(admin, stripe, breaks, said):
    admin.post(URL, FORM)
    press(admin, "create")
    breaks(admin, stripe)

    shown = press(admin, "check")

    assert said in shown and "To mend" in shown


def org(**fields: Any) -> None:
    SalesforceOrg.objects.create(instance_url="https://acme.my.salesforce.com", **fields)


def test_an_app_that_salesforce_does_not_know_yet_is_named_with_its_time(admin):
    org(app_known_by=timezone.now() + timedelta(minutes=8))

    assert "Salesforce does not know the app yet. A new app takes up to ten minutes" in press(admin, "check")


def test_a_field_that_may_not_be_written_is_named_with_its_cure(admin):
    text = "Account.MRR__c is hidden from the integration user by field-level security."
    finding = {"sobject": "Account", "field": "MRR__c", "code": "field_hidden", "text": text, "is_remark": False}
    org(api_version="65.0", checked_at=timezone.now(), findings=[finding])

    shown = press(admin, "check")

    assert text in shown and "Deploy what is missing on the Salesforce page" in shown


# ---- history ----


def read_lists() -> None:
    """Do what a worker does when the reading is due."""
    while pipeline.drain_listings().listed:
        continue
    pipeline.drain_unposted()


def test_history_is_read_by_a_button_and_proven_complete(admin, stripe):
    stripe.add(customer("cus_1", livemode=True))
    stripe.add(subscription("sub_1", livemode=True))
    admin.post(URL, FORM)
    press(admin, "create")

    assert "Reading begins, and goes on by itself" in press(admin, "history")
    assert "Reading Stripe's lists" in text_of(admin.get(URL))
    read_lists()

    shown = text_of(admin.get(URL))
    assert "were listed and every one of them is kept" in shown
    assert "MRR stands: the overview shows it." in shown


def test_a_list_that_stripe_refuses_is_named_and_read_again(admin, stripe):
    admin.post(URL, FORM)
    stripe.add_key(KEY, READS - {"payout_read"})
    press(admin, "history")
    read_lists()

    assert "Not every list could be read: payouts (missing_permission)" in text_of(admin.get(URL))
