"""The measure for the webhook: the least Django view that checks a signature and does one INSERT."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from config.benchmarks.stand import SECRET


@csrf_exempt
def webhook(request: HttpRequest) -> HttpResponse:
    """Answer 200 once the event is inserted, 400 for a wrong signature."""
    from billing.models import StripeEvent

    raw = request.body
    parts = dict(part.partition("=")[::2] for part in request.headers["Stripe-Signature"].split(","))
    wanted = hmac.new(SECRET.encode(), parts["t"].encode() + b"." + raw, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(wanted, parts["v1"]):
        return HttpResponse(status=400)
    event = json.loads(raw)
    now = datetime.now(UTC)
    StripeEvent.objects.create(
        source_id=1,
        stripe_id="bare_" + event["id"],
        type=event["type"],
        created_at=datetime.fromtimestamp(event["created"], UTC),
        livemode=event["livemode"],
        body=raw,
        body_sha256="",
        received_at=now,
        due_at=now,
        state="ignored",
    )
    return HttpResponse()


urlpatterns = [path("webhooks/stripe/bench/", webhook)]
