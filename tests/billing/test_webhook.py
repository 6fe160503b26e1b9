"""The endpoint: what is kept, what is refused, and with which answer."""

from __future__ import annotations

import io
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from billing import inbox, webhook
from billing.envelope import MAX_BODY_BYTES
from billing.models import SigningSecret, StripeEvent
from config import wsgi
from tests import builders
from tests.builders import SECRET, as_bytes, event, sign, subscription

pytestmark = pytest.mark.django_db

PAYLOADS = Path(__file__).parent.parent / "payloads"
URL = "/webhooks/stripe/acme/"


def post(raw: bytes, header: str | None = None, url: str = URL) -> tuple[int, dict[str, Any]]:
    headers = {"stripe-signature": sign(raw) if header is None else header}
    answer = Client(raise_request_exception=False).post(url, raw, content_type="application/json", headers=headers)
    return answer.status_code, json.loads(answer.content)


def call(environ: dict[str, Any]) -> tuple[str, dict[str, str], bytes]:
    """Call the WSGI application as a server would."""
    told: list[Any] = []
    body = b"".join(wsgi.application(environ, lambda status, headers: told.extend((status, dict(headers)))))
    return told[0], told[1], body


def environ(raw: bytes, **changes: Any) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": URL,
        "CONTENT_LENGTH": str(len(raw)),
        "HTTP_STRIPE_SIGNATURE": sign(raw),
        "wsgi.input": io.BytesIO(raw),
    } | changes


BODY = as_bytes(event("customer.subscription.created", subscription(), id="evt_1"))


# ---- kept ----


def test_a_signed_event_is_kept_as_received(source):
    status, answer = post(BODY)

    kept = StripeEvent.objects.get()
    assert (status, answer) == (200, {"received": True})
    assert bytes(kept.body) == BODY
    assert (kept.stripe_id, kept.type, kept.object_id, kept.customer_id) == (
        "evt_1",
        "customer.subscription.created",
        "sub_1",
        "cus_1",
    )
    assert (kept.state, kept.attempts, kept.origin) == ("waiting", 0, "webhook")
    assert int(kept.created_at.timestamp()) == builders.T0


def test_the_same_event_twice_is_one_row_and_200_both_times(source):
    assert [post(BODY)[0], post(BODY)[0], post(BODY + b"\n")[0]] == [200, 200, 200]
    assert StripeEvent.objects.count() == 1


def test_the_same_event_id_in_two_sources_is_two_rows(source):
    builders.source("other")

    assert [post(BODY)[0], post(BODY, url="/webhooks/stripe/other/")[0]] == [200, 200]
    assert StripeEvent.objects.count() == 2


def test_a_delivery_takes_two_statements(source):
    with CaptureQueriesContext(connection) as queries:
        status, _, _ = call(environ(BODY))

    assert status == "200 OK"
    assert [query["sql"].split()[0] for query in queries] == ["SELECT", "INSERT"]


def test_whoever_waits_for_events_is_told_after_one_is_kept(source, monkeypatch):
    told: list[int] = []
    monkeypatch.setattr(webhook, "after_keep", lambda: told.append(StripeEvent.objects.count()))

    post(BODY)
    post(b"{", None)

    assert told == [1]


def test_a_nudge_that_fails_does_not_change_the_answer(source, monkeypatch):
    monkeypatch.setattr(webhook, "after_keep", lambda: 1 / 0)

    assert post(BODY)[0] == 200


# ---- signatures ----


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "bad_signature"),
        ("t=1", "bad_signature"),
        ("v1=" + "0" * 64, "bad_signature"),
        ("nonsense", "bad_signature"),
        ("t=now,v1=" + "0" * 64, "bad_signature"),
        ("t=-5,v1=" + "0" * 64, "bad_signature"),
        ("t=" + "9" * 5000 + ",v1=" + "0" * 64, "bad_signature"),
        ("t=²,v1=é", "bad_signature"),
        ("t=1,t=2,v1=" + "0" * 64, "bad_signature"),
    ],
)
def test_a_header_that_cannot_be_read_is_refused_without_a_write(source, header, code):
    assert refused(header) == code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"secret": "whsec_somebody_else"}, "bad_signature"),
        ({"raw": BODY + b" "}, "bad_signature"),
        ({"away": -310}, "bad_timestamp"),
        ({"away": +310}, "bad_timestamp"),
    ],
)
def test_what_is_not_signed_by_us_now_is_refused_without_a_write(source, changes, code):
    at = int(time.time()) + changes.get("away", 0)
    header = sign(changes.get("raw", BODY), at=at, secret=changes.get("secret", SECRET))

    assert refused(header) == code


def test_stripe_s_weak_scheme_is_not_trusted(source):
    assert refused(sign(BODY).replace("v1=", "v0=")) == "bad_signature"


def refused(header: str) -> str:
    status, _, body = call(environ(BODY, HTTP_STRIPE_SIGNATURE=header))
    assert status == "400 Bad Request"
    assert body.count(b"\n") == 1
    assert SECRET.encode() not in body
    assert not StripeEvent.objects.exists()
    code: str = json.loads(body)["error"]["code"]
    return code


def test_a_missing_header_is_refused(source):
    answer = Client().post(URL, BODY, content_type="application/json")

    assert answer.status_code == 400


@pytest.mark.parametrize("away", [-300, -299, 0, 299, 300])
def test_up_to_300_seconds_are_tolerated_both_ways(source, away):
    now = datetime(2026, 6, 1, tzinfo=UTC)
    header = sign(BODY, at=int(now.timestamp()) + away)

    assert webhook.receive("acme", BODY, header, now=now)[0] == 200


def test_any_active_secret_will_do_while_one_is_rolled(source):
    SigningSecret.objects.create(source=source, secret="whsec_the_new_one_4567", last4="4567")
    new = sign(BODY, secret="whsec_the_new_one_4567")
    both = sign(BODY) + "," + new.partition(",")[2]

    assert [post(BODY)[0], post(BODY, new)[0], post(BODY, both)[0]] == [200, 200, 200]


def test_several_signatures_in_a_header_need_one_that_fits(source):
    at, good = sign(BODY).split(",")

    assert post(BODY, f"{at}, v1={'0' * 64}, {good}, v0=abc")[0] == 200


def test_a_secret_taken_out_is_refused_at_once(source):
    assert post(BODY)[0] == 200
    SigningSecret.objects.all().delete()

    status, answer = post(BODY)

    assert (status, answer["error"]["code"]) == (400, "no_signing_secret")


def test_one_secret_that_cannot_be_read_does_not_stop_the_others(source):
    broken = SigningSecret.objects.create(source=source, secret="whsec_broken_9999", last4="9999")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE billing_signingsecret SET secret = 'gAAAAABnot-a-token' WHERE id = %s", [broken.pk])

    assert post(BODY)[0] == 200
    assert post(BODY, sign(BODY, secret="whsec_broken_9999"))[0] == 503


def test_a_changed_byte_is_refused(source):
    changed = BODY.replace(b'"usd"', b'"eur"', 1)

    assert post(changed, sign(BODY))[0] == 400


# ---- addresses, methods, sizes ----


@pytest.mark.parametrize("slug", ["nobody", "no such", "..", "a" * 51, "%00", "ä"])
def test_an_unknown_source_is_404(source, slug):
    status, _, body = call(environ(BODY, PATH_INFO=f"/webhooks/stripe/{slug}/"))

    assert status == "404 Not Found"
    assert json.loads(body)["error"]["code"] == "unknown_source"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_405_and_say_what_is_allowed(source, method):
    status, headers, _ = call(environ(BODY, REQUEST_METHOD=method))
    answer = Client().generic(method, URL)

    assert (status[:3], headers["Allow"]) == ("405", "POST")
    assert (answer.status_code, answer["Allow"]) == (405, "POST")


class Unread(io.BytesIO):
    """A body that nobody may read."""

    def read(self, *_: Any) -> bytes:
        raise AssertionError("the body was read")


def test_a_body_that_says_it_is_too_large_is_not_read(source):
    status, _, _ = call(environ(b"", CONTENT_LENGTH=str(3 * MAX_BODY_BYTES), **{"wsgi.input": Unread()}))

    assert status.startswith("413")


@pytest.mark.parametrize(("size", "expected"), [(MAX_BODY_BYTES, 200), (MAX_BODY_BYTES + 1, 413)])
def test_the_limit_is_one_mebibyte(source, size, expected):
    body = event("customer.created", builders.customer())
    raw = as_bytes(body)
    raw = raw[:-1] + b" " * (size - len(raw)) + b"}"

    assert post(raw)[0] == expected


def test_a_chunked_body_is_read_to_its_end_and_no_further_than_the_limit(source):
    chunked = {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    large = b"x" * (2 * MAX_BODY_BYTES)
    stream = io.BytesIO(large)

    assert call(environ(BODY, **chunked))[0] == "200 OK"
    assert call(environ(large, **chunked | {"wsgi.input": stream}))[0].startswith("413")
    assert stream.tell() <= MAX_BODY_BYTES + 1


def test_a_missing_length_reads_nothing(source):
    status, _, _ = call(environ(BODY, CONTENT_LENGTH="", **{"wsgi.input": Unread()}))

    assert status.startswith("400")


def test_a_body_that_breaks_off_is_refused(source):
    class Broken(io.BytesIO):
        def read(self, *_: Any) -> bytes:
            raise OSError("gone")

    assert call(environ(BODY, **{"wsgi.input": Broken()}))[0].startswith("400")
    assert call(environ(BODY, CONTENT_LENGTH=str(len(BODY) + 10)))[0].startswith("200")  # all there is, and it fits


# ---- bodies ----

WELL_FORMED = (
    b'{"id": "evt_odd", "object": "event", "type": "x.y", "created": 1, "livemode": false, "data": {"object": %s}}'
)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"not json",
        b"[]",
        b'[{"id": "evt_1"}]',
        b'"evt_1"',
        b"null",
        b"17",
        b"\xff\xfe{}",
        BODY[:-5],
        BODY[: len(BODY) // 2],
        b'{"id": "evt_\x00"}',
        b'{"id": "evt_1", "amount": NaN}',
        b'{"id": "evt_1", "amount": -Infinity}',
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a": ' + b"[" * 100_000,
        b'{"id": "evt_1", "n": ' + b"9" * 5000,
        '{"id": "evt_1"}'.encode("utf-16"),
        b'\xef\xbb\xbf{"id": "evt_1"}',
    ],
    ids=range(19),
)
def test_what_is_no_json_object_is_400_and_not_kept(source, raw):
    status, answer = post(raw)

    assert (status, answer["error"]["code"]) == (400, "bad_json")
    assert not StripeEvent.objects.exists()


def changed(**fields: Any) -> bytes:
    return as_bytes(event("customer.created", builders.customer(), id="evt_odd") | fields)


@pytest.mark.parametrize(
    ("raw", "reason", "stripe_id"),
    [
        (b"{}", "no_id", None),
        (changed(id=None), "no_id", None),
        (changed(id=17), "no_id", None),
        (changed(id=""), "no_id", None),
        (changed(id="evt_" + "x" * 252), "no_id", None),
        (changed(id="evt_\x00"), "no_id", None),
        (changed(id="evt 1"), "no_id", None),
        (b'{"id": "evt_\\u0000"}', "no_id", None),
        (changed(type=None), "bad_event", "evt_odd"),
        (changed(type=["x"]), "bad_event", "evt_odd"),
        (changed(type="x" * 101), "bad_event", "evt_odd"),
        (changed(created=None), "bad_event", "evt_odd"),
        (changed(created="2026-01-01"), "bad_event", "evt_odd"),
        (changed(created=10**30), "bad_event", "evt_odd"),
        (changed(created=-1), "bad_event", "evt_odd"),
        (changed(created=True), "bad_event", "evt_odd"),
        (changed(livemode=None), "bad_event", "evt_odd"),
        (changed(data=None), "bad_event", "evt_odd"),
        (changed(data={"object": [1]}), "bad_event", "evt_odd"),
        (changed(livemode=True), "wrong_mode", "evt_odd"),
        (changed(account="acct_other"), "wrong_account", "evt_odd"),
        (changed(account={"id": 1}), "wrong_account", "evt_odd"),
        (changed(object="v2.core.event"), "thin_event", "evt_odd"),
        (WELL_FORMED % (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "too_deep", "evt_odd"),
        (WELL_FORMED % (b'{"amount": ' + b"9" * 5000 + b"}"), "number_too_large", "evt_odd"),
    ],
)
def test_an_odd_event_is_kept_parked_with_its_reason(source, raw, reason, stripe_id):
    first, again = post(raw)[0], post(raw)[0]

    kept = StripeEvent.objects.get()
    assert (first, again) == (200, 200)
    assert (kept.state, kept.reason) == ("parked", reason)
    assert bytes(kept.body) == raw
    assert kept.stripe_id == stripe_id or (stripe_id is None and kept.stripe_id.startswith("body:"))


@pytest.mark.parametrize(
    "text",
    [
        b'"a\\u0000b"',
        b'"a\\ud800b"',
        b'"\\udc00\\ud800"',
        b'"\\ud83d\\ude00"',
        b"1e400",
        b"-0",
        b"123456789012345678901234",
    ],
)
def test_texts_and_numbers_that_databases_refuse_do_no_harm(source, text):
    raw = WELL_FORMED % (b'{"id": %s, "customer": %s, "x": %s}' % (text, text, text))

    assert post(raw)[0] == 200
    kept = StripeEvent.objects.get()
    assert (kept.state, bytes(kept.body)) == ("waiting", raw)
    assert "\x00" not in kept.object_id


def test_an_event_of_the_source_s_own_connect_account_waits(source):
    source.account_id = "acct_ours"
    source.save()

    assert post(changed(account="acct_ours"))[0] == 200
    assert StripeEvent.objects.get().state == "waiting"


# ---- when it cannot be kept ----


def failing(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    if sql.startswith("INSERT INTO billing_stripeevent"):
        raise DatabaseError("disk full near anna@example.test")
    return execute(sql, params, many, context)


def test_an_event_that_cannot_be_written_is_503_so_that_stripe_sends_it_again(source):
    with CaptureQueriesContext(connection), connection.execute_wrapper(failing):
        status, answer = post(BODY)

    assert status == 503
    assert "anna" not in json.dumps(answer)
    assert post(BODY)[0] == 200


def test_anything_unexpected_is_503_too(source, monkeypatch):
    monkeypatch.setattr(inbox, "keep_read", lambda *_, **__: 1 / 0)

    assert post(BODY)[0] == 503


# ---- Stripe's own bodies ----


@pytest.mark.parametrize("path", sorted(PAYLOADS.glob("*.*.*.json")), ids=lambda path: path.stem)
def test_every_payload_is_accepted_and_a_changed_byte_is_not(source, path):
    raw = path.read_bytes()
    flipped = raw[:-3] + bytes([raw[-3] ^ 1]) + raw[-2:]

    assert post(raw)[0] == 200
    assert post(flipped, sign(raw))[0] == 400
    assert bytes(StripeEvent.objects.get().body) == raw


def test_time_moves_no_faster_than_our_own_clock(source):
    later = datetime.now(UTC) + timedelta(hours=1)

    assert webhook.receive("acme", BODY, sign(BODY), now=later)[0] == 400
