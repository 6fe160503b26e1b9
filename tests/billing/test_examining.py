"""A source looked at as somebody who sets it up would: each fault is named in words, with what to do about it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from billing import checks, deliveries, endpoints, examining, refusals, sources, webhook
from billing.checks import Check, State
from billing.models import SigningSecret, StripeSource
from tests.builders import as_bytes, event, sign, subscription
from tests.fakes.stripe import FakeStripe

KEY = "rk_live_0123456789"
URL = "https://ledger.example/webhooks/stripe/main/"
READS = {f"{right.name}_read" for right in examining.RIGHTS}

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def stripe(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeStripe]:
    monkeypatch.setattr(refusals, "EVERY_SECONDS", 0.0)
    with FakeStripe(key=KEY, livemode=True) as fake:
        settings.STRIPE_API_BASE, settings.BASE_URL = fake.url, "https://ledger.example"
        yield fake


@pytest.fixture
def source() -> StripeSource:
    return sources.add("main", label="Main", api_key=KEY)[0]


def faults(source: StripeSource) -> dict[str, Check]:
    found = examining.refresh(source.pk, now=timezone.now())
    return {one.code: one for one in found if one.state != State.OK}


def delivered(source: StripeSource, *, now: datetime | None = None) -> Check:
    return deliveries.deliveries(source.pk, livemode=source.livemode, now=now or timezone.now())


# ---- the key ----


def test_a_whole_source_has_nothing_to_mend(source):
    endpoints.create(source)

    assert faults(source) == {}
    at, kept = checks.kept()[source.pk]
    assert at is not None and {one.subject for one in kept} == {"key", "clock", "endpoint"}


def test_the_rights_are_tried_side_by_side(source, stripe):
    endpoints.create(source)
    stripe.latency_seconds = 0.2
    begun = time.monotonic()

    examining.examine(source)

    assert len(stripe.requests_to("GET")) >= len(examining.RIGHTS) + 1
    assert time.monotonic() - begun < 0.2 * (len(examining.RIGHTS) + 1) / 2


def test_a_missing_right_has_its_name_in_the_dashboard(source, stripe):
    stripe.add_key(KEY, READS - {"charge_read"} | {"webhook_write"})
    endpoints.create(source)

    (fault,) = faults(source).values()

    assert fault.sentence == "The key may not read Charges and Refunds: payments that failed or went back."
    assert "Set Charges and Refunds to Read (rak_charge_read)" in fault.cure


def test_a_key_that_stripe_does_not_know_is_one_fault_and_not_ten(source, stripe):
    stripe.keys.clear()

    assert set(faults(source)) == {"wrong_api_key"}


def test_a_stripe_that_does_not_answer_is_no_missing_right(source, stripe):
    stripe.fails_next(503, count=None, match="GET /v1/payouts")

    assert {"stripe_unreachable", "endpoint_missing"} == set(faults(source))


def test_a_source_without_a_key_says_what_it_goes_without():
    source = sources.add("main", label="Main")[0]

    (check,) = examining.examine(source)

    assert (check.state, check.code) == (State.TODO, "no_api_key")


def test_a_clock_that_is_off_is_found_before_a_delivery_is_refused(source, stripe):
    endpoints.create(source)
    stripe.clock = lambda: time.time() + 250

    assert faults(source)["clock_off"].sentence.startswith("This machine's clock is 4 min behind Stripe's.")


# ---- replacing the key ----


def test_a_new_key_is_tried_before_it_takes_the_old_ones_place(source, stripe):
    stripe.add_key("rk_live_whole", None)

    examining.replace_key(source.pk, "rk_live_whole", now=timezone.now())

    source.refresh_from_db()
    assert source.api_key == "rk_live_whole"


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("rk_live_unknown", "Stripe does not know this key"),
        ("rk_live_poor", "The key in use was kept"),
        ("rk_test_other", "not of the source's mode"),
        ("sk_live_whole", "A full secret key can move money"),
    ],
)
def test_a_worse_key_is_not_taken(source, stripe, key, said):
    stripe.add_key("rk_live_poor", READS - {"payout_read"})

    with pytest.raises(sources.SourceError, match=said):
        examining.replace_key(source.pk, key, now=timezone.now())

    source.refresh_from_db()
    assert source.api_key == KEY


# ---- the endpoint ----


def test_an_endpoint_is_made_with_our_events_and_version_and_its_secret_is_kept(source, stripe):
    endpoints.create(source)

    made = stripe.endpoint()
    assert (made["url"], made["api_version"]) == (URL, "2026-10-28.endive")
    assert set(made["enabled_events"]) == set(endpoints.EVENTS)
    assert SigningSecret.objects.get().secret == made["secret"]


def test_an_endpoint_that_is_not_there_is_named(source):
    assert "nothing is delivered" in faults(source)["endpoint_missing"].sentence


def test_an_address_that_is_almost_ours_is_named(source, stripe):
    endpoints.create(source)
    stripe.endpoint()["url"] = URL.rstrip("/")

    assert "with the slash at its end" in faults(source)["endpoint_elsewhere"].cure


def test_a_missing_event_is_named_and_added(source, stripe):
    endpoints.create(source)
    stripe.endpoint()["enabled_events"].remove("invoice.paid")

    assert "1 of the 68 events that we read: invoice.paid" in faults(source)["endpoint_events_missing"].sentence
    endpoints.mend(source)
    assert faults(source) == {}


def test_an_endpoint_that_was_switched_off_is_switched_on(source, stripe):
    endpoints.create(source)
    stripe.endpoint()["status"] = "disabled"

    assert "endpoint_disabled" in faults(source)
    endpoints.mend(source)
    assert faults(source) == {}


def test_an_endpoint_of_an_old_version_is_replaced_with_an_overlap(source, stripe):
    endpoints.create(source)
    old = stripe.endpoint()
    old["api_version"] = "2024-06-20"

    assert "old layout of 2024-06-20" in faults(source)["endpoint_version_old"].sentence
    endpoints.create(source)

    assert faults(source) == {}
    assert (stripe.object(old["id"])["status"], stripe.endpoint()["status"]) == ("disabled", "enabled")
    assert SigningSecret.objects.count() == 2


def test_an_endpoint_without_a_version_of_its_own_is_judged_by_what_it_sent(source, stripe):
    endpoints.create(source)
    stripe.endpoint()["api_version"] = None
    assert faults(source) == {}

    body = as_bytes(event("customer.subscription.created", subscription(), livemode=True, api_version="2024-06-20"))
    webhook.receive("main", body, sign(body, secret=stripe.endpoint()["secret"]), now=timezone.now())

    assert "follows the account's API version" in faults(source)["endpoint_version_old"].sentence


def test_live_events_need_an_address_with_tls(source, settings):
    settings.BASE_URL = "http://127.0.0.1:8000"

    assert "https addresses alone" in faults(source)["address_not_https"].sentence


def test_a_key_that_may_not_look_at_endpoints_leaves_it_to_a_person(source, stripe):
    stripe.add_key(KEY, READS)

    (left,) = faults(source).values()

    assert (left.code, left.state) == ("endpoint_unseen", State.TODO)


# ---- deliveries ----


def deliver(stripe: FakeStripe, *, secret: str = "", at: int | None = None, **fields: Any) -> int:
    body = as_bytes(event("customer.subscription.created", subscription(), **{"livemode": True, **fields}))
    return webhook.receive(
        "main", body, sign(body, secret=secret or stripe.endpoint()["secret"], at=at), now=timezone.now()
    )[0]


def test_the_signing_secret_is_proven_by_stripes_own_delivery(source, stripe):
    assert delivered(source).code == "no_signing_secret"
    endpoints.create(source)
    assert delivered(source).code == "no_delivery_yet"

    assert deliver(stripe) == 200

    assert delivered(source).state == State.OK


def test_a_wrong_secret_is_named_until_a_right_delivery_comes(source, stripe):
    endpoints.create(source)
    deliver(stripe, secret="whsec_of_another_endpoint")
    assert delivered(source).code == "bad_signature"

    deliver(stripe)

    assert delivered(source).state == State.OK


def test_the_secret_of_the_other_modes_endpoint_is_told_from_a_wrong_one(source, stripe):
    endpoints.create(source)

    deliver(stripe, secret="whsec_of_the_test_mode", livemode=False)

    assert "a test-mode event, and this source is live" in delivered(source).sentence


def test_an_event_of_the_other_mode_that_is_signed_right_is_named_too(source, stripe):
    endpoints.create(source)

    assert deliver(stripe, livemode=False) == 200

    assert delivered(source).code == "wrong_mode"


def test_a_delivery_from_another_time_names_the_clock(source, stripe):
    endpoints.create(source)

    assert deliver(stripe, at=int(time.time()) + 900) == 400

    found = delivered(source)
    assert (found.code, "15 min behind Stripe's" in found.sentence) == ("bad_timestamp", True)


def test_refusals_of_long_ago_are_forgotten(source, stripe):
    endpoints.create(source)
    deliver(stripe, secret="whsec_of_another_endpoint")

    assert delivered(source, now=timezone.now() + timedelta(days=4)).code == "no_delivery_yet"
