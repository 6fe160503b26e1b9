"""Deliveries that are refused: counted by reason, so that a page can say what is wrong with an endpoint."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from billing import refusals, webhook
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
