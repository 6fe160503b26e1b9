"""Keeps redacted bodies: of what arrives about a forgotten customer, and in the place of what was kept before."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from billing import envelope, redacting
from billing.envelope import Envelope
from billing.models import ForgottenName, Redaction, StripeEvent

Whose = tuple[int, str]  # a forgetting's primary key, and its customer


def of_arrivals(source_pk: int, read: Sequence[tuple[bytes, Envelope]]) -> dict[str, tuple[int, bytes]]:
    """Return what is kept of the events that tell of forgotten customers: by event id, the forgetting and the body.

    An event that names another customer as its own is that customer's, whatever else it names.
    """
    bodies = {event.stripe_id: event.body or {**_bare(event), **redacting.gist(raw)} for raw, event in read}
    named = {event.stripe_id: redacting.names(bodies[event.stripe_id]) | {event.customer_id} for _, event in read}
    whose = whose_names(source_pk, {name for names in named.values() for name in names if name})
    found: dict[str, tuple[int, bytes]] = {}
    for _, event in read:
        owners = {whose[name] for name in named[event.stripe_id] if name in whose}
        for forgetting_pk, customer_id in sorted(owners):
            if event.customer_id in ("", customer_id):
                found[event.stripe_id] = (forgetting_pk, redacting.redacted(bodies[event.stripe_id]))
                learn(source_pk, forgetting_pk, named[event.stripe_id])
                break
    return found


def _bare(event: Envelope) -> dict[str, object]:
    """What its row says of a body that cannot be read to its end."""
    return {"id": event.stripe_id, "type": event.type, "livemode": event.livemode}


def whose_names(source_pk: int, names: Collection[str]) -> dict[str, Whose]:
    """Return the forgetting of each name that stands for a forgotten customer."""
    rows = ForgottenName.objects.filter(source_id=source_pk, stripe_id__in=names)
    return {
        name: (forgetting_pk, customer_id)
        for name, forgetting_pk, customer_id in rows.values_list(
            "stripe_id", "forgetting_id", "forgetting__customer_id"
        )
    }


def learn(source_pk: int, forgetting_pk: int, names: Iterable[str]) -> None:
    """Remember what else stands for a forgotten customer alone; other customers' ids never do."""
    own = sorted(name for name in names if name and not name.startswith("cus_"))
    rows = [ForgottenName(source_id=source_pk, forgetting_id=forgetting_pk, stripe_id=name) for name in own]
    ForgottenName.objects.bulk_create(rows, ignore_conflicts=True)


def note(arrived: Mapping[int, tuple[int, bytes]], *, now: datetime) -> None:
    """Write down that bodies were redacted before they were kept: by event, the forgetting and what was kept."""
    rows = [_row(pk, forgetting_pk, body, now) for pk, (forgetting_pk, body) in sorted(arrived.items())]
    Redaction.objects.bulk_create(rows)


def catch_up(events: Iterable[StripeEvent], *, now: datetime) -> None:
    """Redact the bodies that were on their way in when their customer was forgotten; each comes with its body."""
    for event in events:
        body, _ = envelope.parse(bytes(event.body))
        whose = whose_names(event.source_id, [event.customer_id])
        if whose and not redacting.is_redacted(body):
            ((forgetting_pk, _),) = whose.values()
            replace({event.pk: redacting.redacted(body)}, forgetting_pk=forgetting_pk, now=now)


def replace(bodies: Mapping[int, bytes], *, forgetting_pk: int | None, now: datetime) -> None:
    """Put redacted bodies in the place of what was kept, by event. The rows that say so do it: a database rule."""
    rows = [_row(pk, forgetting_pk, body, now, applied=body) for pk, body in sorted(bodies.items())]
    Redaction.objects.bulk_create(rows, batch_size=100)


def _row(
    event_pk: int, forgetting_pk: int | None, body: bytes, now: datetime, *, applied: bytes | None = None
) -> Redaction:
    digest = hashlib.sha256(body).hexdigest()
    return Redaction(event_id=event_pk, forgetting_id=forgetting_pk, at=now, body=applied, body_sha256=digest)
