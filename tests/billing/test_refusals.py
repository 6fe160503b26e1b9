"""Deliveries that are refused: counted by reason, so that a page can say what is wrong with an endpoint."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing import refusals, secret_uses, sources, webhook
from billing.models import SigningSecret
from billing.refusals import duplicates
from billing.selectors import refusals as refused
from tests import builders
from tests.builders import as_bytes, event, sign, subscription

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 20, 12, 30, tzinfo=UTC)
AT = int(NOW.timestamp())
BODY = as_bytes(event("customer.subscription.created", subscription(), id="evt_1"))
LIVE = as_bytes(event("customer.subscription.created", subscription(), id="evt_2", livemode=True))


@pytest.fixture(autouse=True)
def _each_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(refusals, "_waiting", {})  # what other tests left: a source's key may come again
    monkeypatch.setattr(refusals, "_written", {})


@pytest.fixture
def source():
    return builders.source("acme")


def deliver(raw: bytes, header: str, *, now: datetime = NOW) -> int:
    return webhook.receive("acme", raw, header, now=now)[0]


def codes() -> list[str]:
    return [row.code for row in refused(since=NOW - timedelta(days=1))]


def test_a_signature_of_another_secret_is_counted(source):
    for _ in range(3):
        assert deliver(BODY, sign(BODY, secret="whsec_another_secret", at=AT)) == 400

    (row,) = refused(since=NOW - timedelta(days=1), source_pk=source.pk)
    assert (row.code, row.count, row.last_at) == ("bad_signature", 3, NOW)


def test_an_unknown_signature_on_an_event_of_the_other_mode_hints_at_the_other_endpoint(source):
    deliver(LIVE, sign(LIVE, secret="whsec_another_secret", at=AT))

    assert codes() == ["wrong_mode"]


def test_a_clock_that_is_off_is_counted_with_how_far(source):
    deliver(BODY, sign(BODY, at=AT - 900))

    (row,) = refused(since=NOW - timedelta(days=1))
    assert (row.code, row.seconds_off) == ("bad_timestamp", 900)


def test_what_is_accepted_counts_nothing(source):
    assert deliver(BODY, sign(BODY, at=AT)) == 200

    assert codes() == []


def test_hours_are_added_up_and_old_ones_forgotten(source):
    header = sign(BODY, secret="whsec_another_secret", at=AT)
    deliver(BODY, header, now=NOW - timedelta(days=100))
    deliver(BODY, header, now=NOW - timedelta(hours=2))
    deliver(BODY, header)

    refusals.clear_old(now=NOW)

    (row,) = refused(since=NOW - timedelta(days=365))
    assert (row.count, row.last_at) == (2, NOW)


def test_a_burst_of_refusals_is_written_once(source, monkeypatch, django_assert_num_queries):
    monkeypatch.setattr(refusals, "EVERY_SECONDS", 60.0)
    refusals.note(source.pk, "burst", now=NOW)

    with django_assert_num_queries(0):
        for _ in range(5):
            refusals.note(source.pk, "burst", now=NOW)

    monkeypatch.setattr(refusals, "EVERY_SECONDS", 0.0)
    refusals.note(source.pk, "burst", now=NOW)
    assert [row.count for row in refused(since=NOW - timedelta(days=1))] == [7]


# ---- what leaves no event without being refused ----


def test_an_event_that_comes_again_is_counted_and_is_no_refusal(source):
    for _ in range(3):
        assert deliver(BODY, sign(BODY, at=AT)) == 200

    assert duplicates(since=NOW - timedelta(days=1)) == {source.pk: 2}
    assert codes() == []


def test_an_ordinary_delivery_writes_nothing_but_the_event(source):
    with CaptureQueriesContext(connection) as queries:
        deliver(BODY, sign(BODY, at=AT))

    assert [query["sql"].split()[0] for query in queries] == ["SELECT", "INSERT"]


def test_while_a_secret_is_rolled_each_says_when_it_was_used_last(source, monkeypatch):
    monkeypatch.setattr(secret_uses, "_written", {})
    sources.add("acme", signing_secrets=["whsec_the_new_one_5678"])

    deliver(BODY, sign(BODY, at=AT))
    deliver(LIVE, sign(LIVE, secret="whsec_the_new_one_5678", at=AT + 60), now=NOW + timedelta(minutes=1))

    used = dict(SigningSecret.objects.order_by("pk").values_list("last4", "last_used_at"))
    assert list(used.values()) == [NOW, NOW + timedelta(minutes=1)]


def test_the_use_of_a_secret_is_noted_once_a_minute(source, monkeypatch):
    monkeypatch.setattr(secret_uses, "_written", {})
    sources.add("acme", signing_secrets=["whsec_the_new_one_5678"])
    deliver(BODY, sign(BODY, at=AT))

    with CaptureQueriesContext(connection) as queries:
        deliver(LIVE, sign(LIVE, at=AT))

    assert [query["sql"].split()[0] for query in queries] == ["SELECT", "INSERT"]
