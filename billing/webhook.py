"""The endpoint that Stripe delivers events to: verify, keep, answer. It is lean because everything else can wait."""

# ruff: noqa: S608  (statements are put together from our own names; values travel apart)
from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from django.contrib.auth.decorators import login_not_required
from django.db import InterfaceError, NotSupportedError, OperationalError, connection
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from billing import encrypted, envelope, inbox, refusals, secret_uses, statements
from billing.envelope import MAX_BODY_BYTES
from billing.models import Origin, SigningSecret, StripeSource

log = structlog.get_logger(__name__)

PREFIX: Final = "/webhooks/stripe/"
TOLERANCE_SECONDS: Final = 300
Answer = tuple[int, bytes]


def _nobody_to_tell() -> None:
    pass


# Called after an event is committed, to nudge the pipeline. It must be cheap; losing a call costs nothing but time.
after_keep: Callable[[], None] = _nobody_to_tell


def receive(slug: str, raw: bytes, signature: str, *, now: datetime) -> Answer:
    """Keep one delivery and return the answer: status and one line of JSON.

    200 once the event is committed, or was before; 400 for a signature, timestamp or body that cannot be accepted; 404
    for an unknown source; 413 for a body over 1 MiB; 503 when it cannot be kept, so that Stripe tries again. Two
    statements at most, unless customers of the source are forgotten.
    """
    try:
        return _with_a_fresh_connection(lambda: _receive(slug, raw, signature, now))
    except Refused as refused:
        log.info("webhook refused", source=slug[:50], status=refused.status, code=refused.code)
        return refused.answer()
    except Exception as error:
        log.error("webhook not kept", source=slug[:50], error=inbox.described(error))
        return Refused(503, "not_kept", "The event could not be kept. Send it again later.").answer()


class Refused(Exception):
    """A delivery is not accepted; the message is for whoever set the endpoint up, and holds nothing secret."""

    def __init__(self, status: int, code: str, message: str, *, seconds_off: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.seconds_off = seconds_off

    def answer(self) -> Answer:
        return self.status, json.dumps({"error": {"code": self.code, "message": str(self)}}).encode() + b"\n"


KEPT: Final = (200, b'{"received": true}\n')
TOO_LARGE = Refused(413, "too_large", "The body is over 1 MiB.")
WRONG_METHOD = Refused(405, "method_not_allowed", "Events are delivered by POST.")
NO_SOURCE = Refused(404, "unknown_source", "No source has this address.")


def _receive(slug: str, raw: bytes, signature: str, now: datetime) -> Answer:
    if len(raw) > MAX_BODY_BYTES:
        raise TOO_LARGE
    source, secrets = _source(slug)
    try:
        used = verify(raw, signature, secrets, now=now)
        read = envelope.read(raw, livemode=source.livemode, account_id=source.account_id)
    except Refused as refused:
        _note(source, refused, raw, now)
        raise
    except envelope.NotAnEvent as error:
        unreadable = Refused(400, "bad_json", str(error))
        _note(source, unreadable, raw, now)
        raise unreadable from None
    if inbox.keep_read(source, [(raw, read)], origin=Origin.WEBHOOK, now=now).kept:
        _nudge()
    else:
        _count(lambda: refusals.note(source.pk, refusals.DUPLICATE, now=now))
    if len(secrets) > 1:  # while one is rolled, people wait for the old one to fall silent
        _count(lambda: secret_uses.note(source.pk, used, now=now))
    return KEPT


def _note(source: inbox.SourceRow, refused: Refused, raw: bytes, now: datetime) -> None:
    """Remember why a delivery was refused: it leaves no event behind that could tell."""
    code = refused.code
    if code == "bad_signature" and refusals.says_other_mode(raw, livemode=source.livemode):
        code = "wrong_mode"
    _count(lambda: refusals.note(source.pk, code, now=now, seconds_off=refused.seconds_off))


def _count(note: Callable[[], None]) -> None:
    """Write something down about a delivery that is done with; failing at it changes nothing for the sender."""
    try:
        note()
    except Exception as error:
        log.warning("delivery not counted", error=inbox.described(error))


def _nudge() -> None:
    try:
        after_keep()
    except Exception as error:  # the event is kept; the sweep finds it without a nudge
        log.warning("nudge failed", error=inbox.described(error))


def _with_a_fresh_connection(work: Callable[[], Answer]) -> Answer:
    """Do the work; if that fails for the connection's sake (it was cut, the schema is another now), do it once more.

    This costs nothing while all goes well, where asking whether the connection lives would be a third statement. Doing
    it twice does no harm: an event is kept once.
    """
    try:
        return work()
    except (InterfaceError, OperationalError, NotSupportedError):
        if connection.in_atomic_block or connection.vendor == "sqlite":
            raise
        connection.close()
        return work()


SOURCE = (
    "SELECT s.id, s.livemode, s.account_id, s.has_forgotten, k.secret "
    f"FROM {StripeSource._meta.db_table} s LEFT JOIN {SigningSecret._meta.db_table} k ON k.source_id = s.id "
    "WHERE s.slug = %s ORDER BY k.id DESC"
)
SLUG = re.compile(r"[-a-zA-Z0-9_]{1,50}")


def _source(slug: str) -> tuple[inbox.SourceRow, list[str]]:
    """Return the source and its stored signing secrets, newest first; read each time: a change holds at once."""
    if not SLUG.fullmatch(slug):
        raise NO_SOURCE
    rows = statements.run(SOURCE, [slug])
    if not rows:
        raise NO_SOURCE
    pk, livemode, account_id, has_forgotten, _ = rows[0]
    source = inbox.SourceRow(pk, bool(livemode), account_id, bool(has_forgotten))
    return source, [secret for *_, secret in rows if secret]


# ---- signature ----


def verify(raw: bytes, signature: str, secrets: Iterable[str], *, now: datetime) -> int:
    """Check Stripe's signature of the raw body against each stored (encrypted) secret; raises Refused.

    Returns which of the secrets made it, counted from 0.

    Scheme v1: HMAC-SHA256 over timestamp, full stop and body. Timestamps over 300 s old, or ahead, are refused.
    """
    stored = list(secrets)
    if not stored:
        raise Refused(400, "no_signing_secret", "This source has no signing secret yet. Add it with add_source.")
    timestamp, given = _read_header(signature)
    signed = timestamp + b"." + raw
    unreadable: Exception | None = None
    for which, token in enumerate(stored):
        try:
            secret = encrypted.decrypt(token)
        except Exception as error:
            unreadable = error
            continue
        expected = hmac.digest(secret.encode(), signed, hashlib.sha256).hex().encode()
        # Every candidate is compared, in constant time, whether or not one has matched.
        if sum([hmac.compare_digest(expected, candidate) for candidate in given]):
            used = which
            break
    else:
        if unreadable is not None:
            raise unreadable
        raise Refused(400, "bad_signature", "No active signing secret of this source made this signature.")
    seconds_off = int(now.timestamp()) - int(timestamp)
    if abs(now.timestamp() - int(timestamp)) > TOLERANCE_SECONDS:
        message = "The signature is more than 300 s away from our clock."
        raise Refused(400, "bad_timestamp", message, seconds_off=seconds_off)
    return used


def _read_header(signature: str) -> tuple[bytes, list[bytes]]:
    timestamps: list[str] = []
    given: list[bytes] = []
    for part in signature.split(","):
        name, _, value = part.strip().partition("=")
        if name == "t":
            timestamps.append(value)
        elif name == "v1":
            given.append(value.encode("utf-8", "replace"))
    if not signature:
        raise Refused(400, "bad_signature", "The header Stripe-Signature is missing.")
    if len(timestamps) != 1 or not TIMESTAMP.fullmatch(timestamps[0]) or not given:
        raise Refused(400, "bad_signature", "The header Stripe-Signature is not of the form t=TIME,v1=SIGNATURE.")
    return timestamps[0].encode(), given


TIMESTAMP = re.compile(r"[0-9]{1,12}")


# ---- the two ways in ----


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """The WSGI application for addresses below /webhooks/stripe/, in front of Django's handler."""
    if not connection.in_atomic_block:  # as Django does before each request
        connection.close_if_unusable_or_obsolete()
    status, body = _answer(environ)
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    if status == 405:
        headers.append(("Allow", "POST"))
    start_response(STATUS_LINES[status], headers)
    return [body]


STATUS_LINES: Final = {
    200: "200 OK",
    400: "400 Bad Request",
    404: "404 Not Found",
    405: "405 Method Not Allowed",
    413: "413 Content Too Large",
    503: "503 Service Unavailable",
}


def _answer(environ: dict[str, Any]) -> Answer:
    if environ["REQUEST_METHOD"] != "POST":
        return WRONG_METHOD.answer()
    path = environ.get("PATH_INFO", "")
    slug = path[len(PREFIX) : -1]
    if not path.endswith("/") or not SLUG.fullmatch(slug):
        return NO_SOURCE.answer()
    try:
        raw = _body(environ)
    except Refused as refused:
        return refused.answer()
    return receive(slug, raw, environ.get("HTTP_STRIPE_SIGNATURE", ""), now=datetime.now(UTC))


def _body(environ: dict[str, Any]) -> bytes:
    """Read the body, never more than one byte over the limit; raises Refused."""
    length = _length(environ.get("CONTENT_LENGTH"))
    if length is None:
        # Without a length only a server that ends the input itself (chunked bodies) can be read to the end.
        ends = environ.get("wsgi.input_terminated") or "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower()
        length = MAX_BODY_BYTES + 1 if ends else 0
    elif length > MAX_BODY_BYTES:
        raise TOO_LARGE
    try:
        raw = _read(environ["wsgi.input"], length)
    except Exception:  # whatever the server raises when the other side goes away or sends broken chunks
        raise Refused(400, "bad_body", "The body could not be read to its end.") from None
    if len(raw) > MAX_BODY_BYTES:
        raise TOO_LARGE
    return raw


def _length(header: str | None) -> int | None:
    return int(header) if header and header.isascii() and header.isdigit() and len(header) < 20 else None


def _read(stream: Any, length: int) -> bytes:
    raw: bytes = stream.read(length) if length else b""
    while raw and len(raw) < length:
        more = stream.read(length - len(raw))
        if not more:
            break
        raw += more
    return raw


@csrf_exempt
@login_not_required
def stripe_webhook(request: HttpRequest, slug: str) -> HttpResponse:
    """The same endpoint as a Django view, for the test client and for servers that do not use config/wsgi.py."""
    status, body = _answer({**request.META, "wsgi.input": request, "PATH_INFO": f"{PREFIX}{slug}/"})
    response = HttpResponse(body, status=status, content_type="application/json")
    if status == 405:
        response["Allow"] = "POST"
    return response
