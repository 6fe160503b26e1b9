"""Holds everything that would be written to Salesforce until a person releases it, as after a restored backup."""

from __future__ import annotations

from datetime import datetime

import structlog
from django.db import transaction
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Greatest

from crm.channels.salesforce import bulk
from crm.models import Message, Mode, SalesforceOrg, SyncRecord, WorkState
from crm.outbox import SALESFORCE

log = structlog.get_logger(__name__)

REASON_LENGTH = 300


def hold_all(reason: str, *, by: str, now: datetime, is_restored: bool = False) -> bool:
    """Write nothing to Salesforce from now on; returns False where no org is connected. A call under way still ends.

    Events go on being processed and Accounts read: what is owed waits in its newest state. Who holds a second time
    changes nothing but the reason. `is_restored` says that the database is older than what Salesforce holds: then all
    that was ever written is owed again whatever we believe stands there, Bulk jobs of then are forgotten, a post is
    looked for before it is made, and nobody is told of what was true before `now`, for they were told. `by` is a
    username, or what held it.
    """
    with transaction.atomic():
        org = SalesforceOrg.objects.order_by("pk").select_for_update().first()
        if org is None:
            return False
        org.held_since = org.held_since or now
        org.held_because, org.held_by = reason[:REASON_LENGTH], by
        org.save(update_fields=["held_since", "held_because", "held_by"])
        if is_restored:
            org.live_since = now if org.mode == Mode.LIVE else None
            org.save(update_fields=["live_since"])
            _distrust_what_was_sent(now=now)
    log.warning("salesforce writes held", by=by, reason=org.held_because)
    return True


def release_held(*, by: str, now: datetime) -> bool:
    """Let everything go again that `hold_all` kept, in its newest state; returns False where nothing was held."""
    held = SalesforceOrg.objects.filter(held_since__isnull=False)
    released = held.update(held_since=None, held_because="", held_by="", paused_until=None)
    if released:
        log.warning("salesforce writes released", by=by)
    return bool(released)


def _distrust_what_was_sent(*, now: datetime) -> None:
    """Owe all that was written once more: Salesforce may hold newer values than this database remembers."""
    bulk.forget_all(now=now)
    was_sent = Q(state=WorkState.SENT)
    SyncRecord.objects.filter(confirmed__gt=0).update(
        fields_sent=None,
        wanted=F("wanted") + 1,
        due_at=Case(When(was_sent, then=Value(now)), default=F("due_at")),
        state=Case(When(was_sent, then=Value(WorkState.WAITING.value)), default=F("state")),
    )
    told = Message.objects.filter(channel=SALESFORCE, state=WorkState.WAITING)
    told.update(attempts=Greatest(F("attempts"), 1))  # from the second try on, the channel looks before it posts
    lost = Message.objects.exclude(channel=SALESFORCE).filter(state=WorkState.WAITING)
    lost.update(state=WorkState.DROPPED, error_code="restored", error="It may have been told before the restore.")


def held_by(by: str) -> tuple[datetime, str] | None:
    """Return since when and why `by` holds all writes, None when it does not hold them."""
    org = SalesforceOrg.objects.filter(held_by=by).order_by("pk").first()
    return (org.held_since, org.held_because) if org is not None and org.held_since is not None else None
