"""The fakes refuse what Stripe and Slack refuse, and fail when told to: shown with the libraries the product uses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import stripe
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from tests.fakes.slack import FakeSlack
from tests.fakes.stripe import FakeStripe


@pytest.fixture
def fake_stripe() -> Iterator[FakeStripe]:
    with FakeStripe() as fake:
        yield fake


@pytest.fixture
def slack() -> Iterator[FakeSlack]:
    with FakeSlack() as fake:
        yield fake


# ---- The server itself ----


def test_trouble_strikes_where_it_is_planned_and_once(slack: FakeSlack) -> None:
    slack.fails_next(503, match="auth.test")
    slack.html_next(match="users.info")

    statuses = [
        requests.get(f"{slack.api_url}{name}", timeout=5).status_code
        for name in ("users.list", "auth.test", "auth.test")
    ]
    page = requests.get(f"{slack.api_url}users.info", timeout=5)

    assert statuses == [200, 503, 200]
    assert page.headers["Content-Type"].startswith("text/html")
    assert [request.status for request in slack.requests_to("auth.test")] == [503, 200]


def test_trouble_can_strike_every_third_request_for_ever(slack: FakeSlack) -> None:
    slack.fails_next(503, count=None, every=3)

    statuses = [requests.get(f"{slack.api_url}auth.test", timeout=5).status_code for _ in range(6)]

    assert statuses == [200, 200, 503, 200, 200, 503]


def test_a_delay_comes_before_everything_else(slack: FakeSlack) -> None:
    slack.delays_next(0.3)
    started = time.monotonic()

    with pytest.raises(requests.Timeout):
        requests.get(f"{slack.api_url}auth.test", timeout=0.1)

    assert time.monotonic() - started < 0.3


def test_connections_stay_open_and_end_with_the_fake(slack: FakeSlack) -> None:
    session, address = requests.Session(), f"{slack.api_url}auth.test"
    for _ in range(3):
        session.get(address, timeout=5)
    slack.stop()

    assert slack.connections == 1
    with pytest.raises(requests.ConnectionError):
        session.get(address, timeout=5)


# ---- Stripe ----


VERSION = "2026-10-28.endive"


def client(fake: FakeStripe, key: str = "rk_test_fake") -> stripe.StripeClient:
    return stripe.StripeClient(key, stripe_version=VERSION, max_network_retries=0, base_addresses={"api": fake.url})


def price(number: int = 1) -> dict[str, Any]:
    tiers = [
        {"up_to": 10, "unit_amount": 100, "flat_amount": None},
        {"up_to": None, "unit_amount": 50, "flat_amount": None},
    ]
    return {
        "id": f"price_{number}", "object": "price", "created": 1_700_000_000, "active": True, "currency": "usd",
        "product": "prod_1", "type": "recurring", "tiers": tiers, "tiers_mode": "graduated", "unit_amount": None,
    }  # fmt: skip


def subscription(number: int, status: str = "active", **more: Any) -> dict[str, Any]:
    item = {"id": f"si_{number}", "object": "subscription_item", "created": 1, "price": price(), "discounts": []}
    discount = {"id": "di_1", "object": "discount", "source": {"type": "coupon", "coupon": "co_1"}, "customer": "cus_1"}
    return {"id": f"sub_{number}", "object": "subscription", "created": 1_700_000_000 + number, "status": status,
            "customer": f"cus_{number}", "currency": "usd", "discounts": [discount], "metadata": {},
            "items": {"object": "list", "data": [item], "has_more": False}, **more}  # fmt: skip


def test_lists_are_newest_first_and_walked_by_cursor(fake_stripe: FakeStripe) -> None:
    for number in range(25):
        fake_stripe.add({"id": f"cus_{number}", "object": "customer", "created": 1_700_000_000 + number})

    walked = [one.id for one in client(fake_stripe).v1.customers.list({"limit": 10}).auto_paging_iter()]
    since = client(fake_stripe).v1.customers.list({"created": {"gte": 1_700_000_020}, "limit": 100})

    assert walked == [f"cus_{number}" for number in reversed(range(25))]
    assert len(since.data) == 5 and not since.has_more
    assert fake_stripe.calls == 4
    assert set(fake_stripe.versions) == {VERSION}


def test_cancelled_subscriptions_are_listed_only_when_asked_for(fake_stripe: FakeStripe) -> None:
    fake_stripe.add_all(
        subscription(n, status) for n, status in enumerate(("active", "canceled", "incomplete_expired"))
    )

    def listed(**given: Any) -> list[str]:
        return sorted(one.status for one in client(fake_stripe).v1.subscriptions.list(given))

    assert listed() == ["active", "incomplete_expired"]
    assert listed(status="all") == ["active", "canceled", "incomplete_expired"]
    assert listed(status="ended") == ["canceled", "incomplete_expired"]
    assert listed(customer="cus_0") == ["active"]
    with pytest.raises(stripe.InvalidRequestError):
        listed(status="gone")


def test_what_needs_expansion_stays_out_until_it_is_asked_for(fake_stripe: FakeStripe) -> None:
    fake_stripe.add_all([subscription(1), price(), {"id": "co_1", "object": "coupon", "created": 1, "percent_off": 10}])
    api = client(fake_stripe).v1

    plain, whole = (
        api.subscriptions.retrieve("sub_1"),
        api.subscriptions.retrieve("sub_1", {"expand": ["discounts.source.coupon"]}),
    )

    assert plain.discounts == ["di_1"]
    assert "tiers" not in plain["items"].data[0].price
    assert whole.discounts[0].source.coupon.percent_off == 10
    assert "tiers" not in api.prices.retrieve("price_1")
    assert len(api.prices.retrieve("price_1", {"expand": ["tiers"]}).tiers) == 2
    assert len(api.prices.list({"expand": ["data.tiers"]}).data[0].tiers) == 2
    with pytest.raises(stripe.InvalidRequestError, match="more than 4 levels"):
        api.subscriptions.list({"expand": ["data.items.data.price.tiers"]})
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        api.prices.list({"expand": ["data.nickname"]})


def test_an_object_carries_ten_rows_and_the_rest_is_paged(fake_stripe: FakeStripe) -> None:
    lines = [{"id": f"il_{n}", "object": "line_item", "amount": n} for n in range(25)]
    fake_stripe.add(
        {"id": "in_1", "object": "invoice", "created": 1, "lines": {"object": "list", "data": lines, "has_more": False}}
    )
    api = client(fake_stripe).v1

    invoice = api.invoices.retrieve("in_1")

    assert (len(invoice.lines.data), invoice.lines.has_more) == (10, True)
    assert len(list(api.invoices.line_items.list("in_1", {"limit": 20}).auto_paging_iter())) == 25


def test_a_missing_right_is_403_and_named(fake_stripe: FakeStripe) -> None:
    fake_stripe.add(subscription(1))
    fake_stripe.add({"id": "cus_1", "object": "customer", "created": 1})
    fake_stripe.add_key("rk_test_narrow", {"subscription_read"})
    api = client(fake_stripe, "rk_test_narrow").v1

    api.subscriptions.list()
    with pytest.raises(stripe.PermissionError, match="rak_customer_read"):
        api.customers.list()
    with pytest.raises(stripe.PermissionError, match="rak_customer_read"):
        api.subscriptions.retrieve("sub_1", {"expand": ["customer"]})


def test_writing_includes_reading(fake_stripe: FakeStripe) -> None:
    fake_stripe.add_key("rk_test_w", {"webhook_write"})

    assert client(fake_stripe, "rk_test_w").v1.webhook_endpoints.list().data == []


def test_errors_have_stripe_s_classes_and_codes(fake_stripe: FakeStripe) -> None:
    api = client(fake_stripe).v1

    with pytest.raises(stripe.AuthenticationError):
        client(fake_stripe, "rk_test_wrong").v1.customers.list()
    with pytest.raises(stripe.InvalidRequestError) as missing:
        api.customers.retrieve("cus_none")
    with pytest.raises(stripe.InvalidRequestError) as unknown:
        api.customers.list({"colour": "red"})  # type: ignore[typeddict-unknown-key]
    with pytest.raises(stripe.InvalidRequestError):
        api.customers.list({"limit": 101})
    with pytest.raises(stripe.InvalidRequestError, match="not for reconciliation"):
        api.customers.search({"query": "email:'a'"})

    assert (missing.value.http_status, missing.value.code) == (404, "resource_missing")
    assert (unknown.value.code, unknown.value.param) == ("parameter_unknown", "colour")


def test_a_version_is_required(fake_stripe: FakeStripe) -> None:
    answer = requests.get(
        f"{fake_stripe.url}/v1/customers", headers={"Authorization": "Bearer rk_test_fake"}, timeout=5
    )

    assert answer.status_code == 400
    assert fake_stripe.versions == []


def test_the_rate_limit_names_its_reason(fake_stripe: FakeStripe) -> None:
    api = client(fake_stripe).v1
    fake_stripe.limits_next("endpoint-rate")
    fake_stripe.limits_next("lock_timeout")

    with pytest.raises(stripe.RateLimitError) as rate:
        api.customers.list()
    with pytest.raises(stripe.RateLimitError) as lock:
        api.customers.list()
    fake_stripe.rate_per_second = 3.0
    refused = 0
    for _ in range(10):
        try:
            api.customers.list()
        except stripe.RateLimitError:
            refused += 1

    assert rate.value.headers["Stripe-Rate-Limited-Reason"] == "endpoint-rate"
    assert "Stripe-Rate-Limited-Reason" not in lock.value.headers
    assert refused >= 5


def test_a_deleted_customer_still_answers(fake_stripe: FakeStripe) -> None:
    fake_stripe.add({"id": "cus_1", "object": "customer", "created": 1})
    fake_stripe.deletes("cus_1")
    api = client(fake_stripe).v1

    assert api.customers.retrieve("cus_1").deleted is True
    assert api.customers.list().data == []


def test_events_are_listed_by_type_and_delivery_for_thirty_days(fake_stripe: FakeStripe) -> None:
    now = int(time.time())
    for number, (kind, age, delivered) in enumerate(
        [
            ("invoice.paid", 0, True),
            ("invoice.paid", 5, False),
            ("customer.created", 9, False),
            ("invoice.paid", 31 * 86_400, False),
        ]
    ):
        event = {"id": f"evt_{number}", "object": "event", "created": now - age, "type": kind, "data": {"object": {}}}
        fake_stripe.add_event(event, delivered=delivered)
    api = client(fake_stripe).v1

    assert [one.id for one in api.events.list()] == ["evt_0", "evt_1", "evt_2"]
    assert [one.id for one in api.events.list({"delivery_success": False, "types": ["invoice.paid"]})] == ["evt_1"]
    assert [one.id for one in api.events.list({"type": "customer.*"})] == ["evt_2"]
    with pytest.raises(stripe.InvalidRequestError):
        api.events.retrieve("evt_3")


def test_a_webhook_endpoint_shows_its_secret_once(fake_stripe: FakeStripe) -> None:
    api = client(fake_stripe).v1
    given: Any = {"url": "http://127.0.0.1/w", "enabled_events": ["invoice.paid"], "api_version": VERSION}

    made = api.webhook_endpoints.create(given, {"idempotency_key": "k1"})
    again = api.webhook_endpoints.create(given, {"idempotency_key": "k1"})

    assert made.secret.startswith("whsec_") and again.id == made.id
    assert [(one.api_version, one.enabled_events) for one in api.webhook_endpoints.list()] == [
        (VERSION, ["invoice.paid"])
    ]
    assert "secret" not in api.webhook_endpoints.retrieve(made.id)
    with pytest.raises(stripe.IdempotencyError):
        api.webhook_endpoints.create({**given, "url": "http://127.0.0.1/x"}, {"idempotency_key": "k1"})


# ---- Slack ----


def bot(slack: FakeSlack, token: str = "xoxb-fake") -> WebClient:
    return WebClient(token, base_url=slack.api_url)


def refusal(call: Any, **given: Any) -> str:
    with pytest.raises(SlackApiError) as caught:
        call(**given)
    return str(caught.value.response["error"])


def section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def test_a_message_arrives_where_the_bot_is_a_member(slack: FakeSlack) -> None:
    channel = slack.add_channel("closed-won")
    slack.add_channel("sales", member=False)
    slack.add_channel("secret", member=False, private=True)
    slack.add_channel("old", archived=True)

    bot(slack).chat_postMessage(channel="#closed-won", text="Acme", blocks=[section("*Acme* pays $30")])

    assert [(one.channel, one.all_text) for one in slack.messages] == [(channel, "Acme\n*Acme* pays $30")]
    post = bot(slack).chat_postMessage
    assert refusal(post, channel="sales", text="x") == "not_in_channel"
    assert refusal(post, channel="secret", text="x") == "channel_not_found"
    assert refusal(post, channel="nowhere", text="x") == "channel_not_found"
    assert refusal(post, channel="old", text="x") == "is_archived"
    assert refusal(bot(slack).api_call, api_method="chat.postMessage", json={"channel": channel}) == "no_text"
    assert refusal(bot(slack, "xoxb-wrong").chat_postMessage, channel=channel, text="x") == "invalid_auth"


@pytest.mark.parametrize(
    "blocks",
    [
        [{"type": "chapter"}],
        [{"type": "section"}],
        [section("")],
        [section("x" * 3001)],
        [{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}],
        [{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}],
        [{"type": "divider", "text": "x"}],
        [{"type": "context", "elements": [{"type": "mrkdwn", "text": "x"}] * 11}],
        [{"type": "actions", "elements": [{"type": "button", "text": {"type": "plain_text", "text": "x" * 76}}]}],
        [{"type": "divider"}] * 51,
        [{**section("x"), "block_id": "same"}] * 2,
    ],
)
def test_malformed_blocks_are_refused(slack: FakeSlack, blocks: list[dict[str, Any]]) -> None:
    channel = slack.add_channel("closed-won")

    assert refusal(bot(slack).chat_postMessage, channel=channel, text="x", blocks=blocks) == "invalid_blocks"


def test_a_name_that_rings_everybody_is_noticed(slack: FakeSlack) -> None:
    channel = slack.add_channel("closed-won")
    plain = {"type": "header", "text": {"type": "plain_text", "text": "<!here>"}}

    bot(slack).chat_postMessage(channel=channel, text="&lt;!channel&gt; Ltd", blocks=[plain])
    assert slack.mentions == []

    bot(slack).chat_postMessage(channel=channel, text="<!channel> Ltd", blocks=[section("<!here|x> and <@U123>")])
    assert slack.mentions == ["<!channel>", "<!here|x>", "<@U123>"]


def test_people_are_found_by_e_mail_and_written_to(slack: FakeSlack) -> None:
    user = slack.add_user("Ada", "ada@fake.example")
    slack.add_user("Bob", "bob@fake.example", deleted=True)
    api = bot(slack)

    found = api.users_lookupByEmail(email="ADA@fake.example")["user"]["id"]
    direct = api.conversations_open(users=found)["channel"]["id"]
    api.chat_postMessage(channel=direct, text="Hello")
    api.chat_postMessage(channel=user, text="Hello")

    assert [one.channel for one in slack.messages] == [direct, direct]
    assert refusal(api.users_lookupByEmail, email="bob@fake.example") == "users_not_found"


def test_channels_are_listed_in_pages_and_joined(slack: FakeSlack) -> None:
    ids = [slack.add_channel(f"c{number}", member=False) for number in range(3)]
    api = bot(slack)

    first = api.conversations_list(limit=2)
    second = api.conversations_list(limit=2, cursor=first["response_metadata"]["next_cursor"])
    api.conversations_join(channel=ids[0])

    assert [one["id"] for one in [*first["channels"], *second["channels"]]] == ids
    assert api.conversations_info(channel=ids[0])["channel"]["is_member"] is True
    assert api.auth_test()["user_id"] == slack.bot_id


def test_the_limit_says_when_to_come_back_and_scopes_are_checked(slack: FakeSlack) -> None:
    slack.limits_next(7)
    slack.scopes.discard("users:read.email")

    with pytest.raises(SlackApiError) as caught:
        bot(slack).auth_test()

    assert (caught.value.response.status_code, caught.value.response.headers["Retry-After"]) == (429, "7")
    assert refusal(bot(slack).users_lookupByEmail, email="ada@fake.example") == "missing_scope"
