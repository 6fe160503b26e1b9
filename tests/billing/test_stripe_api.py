"""Calls to Stripe's API, over HTTP to a fake one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from billing import stripe_api
from billing.models import StripeSource
from tests import builders
from tests.fakes.stripe import FakeStripe

KEY = "rk_test_0123456789"


@pytest.fixture
def stripe(settings: Any) -> Iterator[FakeStripe]:
    with FakeStripe() as fake:
        fake.add_key(KEY)
        tiers = [{"up_to": None, "unit_amount": 500}]
        fake.add(builders.price("price_1", amount=None, billing_scheme="tiered", tiers_mode="volume", tiers=tiers))
        settings.STRIPE_API_BASE = fake.url
        yield fake


def client(key: str = KEY) -> Any:
    return stripe_api.client(StripeSource(slug="acme", label="Acme", livemode=False, api_key=key))


def test_an_object_is_read_as_plain_json_with_what_was_asked_for(stripe):
    plain = stripe_api.retrieve(client(), "prices", "price_1")
    whole = stripe_api.retrieve(client(), "prices", "price_1", expand=["tiers"])

    assert "tiers" not in plain
    assert whole["tiers"][0]["unit_amount"] == 500
    assert {request.header("Stripe-Version") for request in stripe.requests} == {"2026-10-28.endive"}


def test_what_stripe_does_not_know_is_not_found(stripe):
    with pytest.raises(stripe_api.NotFound):
        stripe_api.retrieve(client(), "prices", "price_2")


def test_a_missing_right_is_named(stripe):
    stripe.add_key("rk_test_nothing", [])

    with pytest.raises(stripe_api.NotAllowed, match="plan_read"):
        stripe_api.retrieve(client("rk_test_nothing"), "prices", "price_1")


def test_a_wrong_key_is_not_repeated_in_the_error(stripe):
    with pytest.raises(stripe_api.NotAllowed) as refused:
        stripe_api.retrieve(client("rk_test_unknown_key"), "prices", "price_1")

    assert "unknown_key" not in str(refused.value)


def test_too_many_calls_mean_later(stripe):
    stripe.fails_next(429, count=None)

    with pytest.raises(stripe_api.Busy):
        stripe_api.retrieve(client(), "prices", "price_1")


def test_a_stripe_that_is_down_means_later_after_two_more_tries(stripe):
    stripe.fails_next(503, count=None)

    with pytest.raises(stripe_api.Busy):
        stripe_api.retrieve(client(), "prices", "price_1")
    assert len(stripe.requests) == 3


def test_without_a_key_nothing_is_called(stripe):
    with pytest.raises(stripe_api.NotAllowed, match="no API key"):
        client("")
