"""Forgets the person behind a customer in all that Stripe told us; numbers, ids and hashes stay as they are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any, Final

from django.db import transaction
from django.db.models import Q, QuerySet

from billing import envelope, redacting, redactions
from billing.models import (
    Customer,
    EventState,
    Forgetting,
    ForgottenName,
    InvoiceLine,
    OwedFetch,
    StripeEvent,
    StripeSource,
    Subscription,
)

AT_ONCE: Final = 200  # bodies in memory


class UnknownCustomer(LookupError):
    """There is no such customer of this source."""


class NamesSomebody(ValueError):
    """The reason for forgetting would itself keep what is to be forgotten."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Whom to forget, as the list that outlives a database tells it; `names` are ids that stand for it alone."""

    source: str
    customer: str
    by: str
    at: datetime
    reason: str
    names: tuple[str, ...] = ()


def ask(slug: str, customer_id: str, *, by: str, reason: str, now: datetime) -> Forgetting:
    """Write down that a customer is to be forgotten, from now on and for good; asked again it is done again.

    From the commit on what arrives about it is redacted. Raises UnknownCustomer, NamesSomebody.
    """
    customer = Customer.objects.filter(source__slug=slug, stripe_id=customer_id).first()
    if customer is None:
        raise UnknownCustomer(f"The source '{slug}' knows no customer {customer_id}.")
    personal = [text for text in (customer.name, customer.email, customer.phone) if text]
    if any(text.lower() in reason.lower() for text in personal):
        raise NamesSomebody("The reason names the person. It is kept: say why without a name, an e-mail or a phone.")
    return _write_down(customer.source, Ask(slug, customer_id, by, now, reason), now=now)


def listed() -> list[Ask]:
    """Return whom we were asked to forget, oldest first. It holds ids and no names: it may be kept beside backups."""
    rows = Forgetting.objects.select_related("source").prefetch_related("names").order_by("pk")
    return [
        Ask(
            row.source.slug,
            row.customer_id,
            row.asked_by,
            row.asked_at,
            row.reason,
            tuple(sorted(name.stripe_id for name in row.names.all())),
        )
        for row in rows
    ]


def take_over(asked: Iterable[Ask], *, now: datetime) -> int:
    """Take over a list from elsewhere, as after a restore: who is not on ours is due to be forgotten; returns how many.

    A customer that the mirror lacks is on the list all the same: what arrives later is redacted. Asks of a source that
    is not here are passed over.
    """
    sources = {source.slug: source for source in StripeSource.objects.all()}
    known = set(Forgetting.objects.values_list("source__slug", "customer_id"))
    new = [one for one in asked if one.source in sources and (one.source, one.customer) not in known]
    for one in new:
        _write_down(sources[one.source], one, now=now)
    return len(new)


def _write_down(source: StripeSource, asked: Ask, *, now: datetime) -> Forgetting:
    with transaction.atomic():
        row, is_new = Forgetting.objects.get_or_create(
            source=source,
            customer_id=asked.customer,
            defaults={"asked_by": asked.by, "asked_at": asked.at, "reason": asked.reason, "due_at": now},
        )
        if not is_new:
            Forgetting.objects.filter(pk=row.pk).update(due_at=now, done_at=None, error="")
        ForgottenName.objects.bulk_create(
            [ForgottenName(forgetting=row, source=source, stripe_id=name) for name in (asked.customer, *asked.names)],
            ignore_conflicts=True,
        )
        StripeSource.objects.filter(pk=source.pk).update(has_forgotten=True)
    return row


def due(*, now: datetime) -> list[Forgetting]:
    """Return what is to be forgotten now, oldest first."""
    rows = Forgetting.objects.filter(done_at__isnull=True, due_at__lte=now)
    return list(rows.select_related("source").order_by("due_at", "pk"))


def customer_pk(forgetting: Forgetting) -> int | None:
    """Return the mirrored customer by our key, None where the mirror lacks it."""
    rows = Customer.objects.filter(source_id=forgetting.source_id, stripe_id=forgetting.customer_id)
    return rows.values_list("pk", flat=True).first()


# ---- the mirror ----


def clear_mirror(pk: int, *, now: datetime) -> set[str]:
    """Take the person out of a customer's rows, locked by the caller's transaction; returns what was told of it.

    From the commit on nothing that tells of it is mirrored any more.
    """
    customer = Customer.objects.get(pk=pk)
    told = {customer.name, customer.email, customer.phone, customer.address.get("line1", "")}
    Customer.objects.filter(pk=pk).update(
        name="",
        email="",
        phone="",
        description="",
        country="",
        postal_code="",
        address={},
        metadata={},
        forgotten_at=now,
    )
    Subscription.objects.filter(customer_id=pk).update(cancellation_comment="", metadata={})
    InvoiceLine.objects.filter(invoice__customer_id=pk).update(description="")
    OwedFetch.objects.filter(Q(customer_id=pk) | Q(waiters__customer_id=pk)).update(error="")
    return {text for text in told if len(text) >= redacting.LEAST}


# ---- bodies ----


def told_by_events(forgetting: Forgetting) -> set[str]:
    """Return what the bodies tell of the person, to search by, and learn by which ids events speak of the customer."""
    told: set[str] = set()
    for events in _of_customer(forgetting):
        redactions.learn(forgetting.source_id, forgetting.pk, _names(events))
        told |= _told(events)
    for events in _of_nobody(forgetting, told):
        redactions.learn(forgetting.source_id, forgetting.pk, _names(events))
        told |= _told(events)
    return told


def redact_events(forgetting: Forgetting, told: Collection[str], *, now: datetime) -> int:
    """Redact every event that tells of the customer; returns how many that were.

    Of the events that name no customer those are meant that name an id of its own, or an e-mail address that was told.
    """
    count = 0
    for events in chain(_of_customer(forgetting), _of_nobody(forgetting, told)):
        bodies = {pk: redacting.redacted(body) for pk, body in events if not redacting.is_redacted(body)}
        with transaction.atomic():
            redactions.replace(bodies, forgetting_pk=forgetting.pk, now=now)
            StripeEvent.objects.filter(pk__in=bodies).exclude(error="").update(error="")
        count += len(bodies)
    return count


def redact_old(*, before: datetime, limit: int, now: datetime) -> int:
    """Redact up to `limit` bodies that were received before a moment and worked on; returns how many."""
    old = StripeEvent.objects.filter(
        received_at__lt=before, state__in=(EventState.PROCESSED, EventState.IGNORED), redactions__isnull=True
    )
    pks = list(old.order_by("pk").values_list("pk", flat=True)[:limit])
    count = 0
    for start in range(0, len(pks), AT_ONCE):
        for events in _slices(StripeEvent.objects.filter(pk__in=pks[start : start + AT_ONCE])):
            bodies = {pk: redacting.redacted(body) for pk, body in events}
            redactions.replace(bodies, forgetting_pk=None, now=now)
            count += len(bodies)
    return count


Bodies = list[tuple[int, dict[str, Any]]]  # events by our key


def _of_customer(forgetting: Forgetting) -> Iterator[Bodies]:
    own = StripeEvent.objects.filter(source_id=forgetting.source_id, customer_id=forgetting.customer_id)
    return _slices(own)


def _of_nobody(forgetting: Forgetting, told: Collection[str]) -> Iterator[Bodies]:
    """Disputes, refunds, mandates, guests' charges and the like: they name no customer, all are looked at."""
    known = set(ForgottenName.objects.filter(forgetting=forgetting).values_list("stripe_id", flat=True))
    addresses = {text for text in told if "@" in text}
    for events in _slices(StripeEvent.objects.filter(source_id=forgetting.source_id, customer_id="")):
        yield [
            (pk, body)
            for pk, body in events
            if not known.isdisjoint(redacting.names(body)) or not addresses.isdisjoint(redacting.told_of(body))
        ]


def _slices(rows: QuerySet[StripeEvent]) -> Iterator[Bodies]:
    """Yield events with their bodies as JSON, some at a time, by key."""
    last = 0
    while found := list(rows.filter(pk__gt=last).order_by("pk").values_list("pk", "body")[:AT_ONCE]):
        last = found[-1][0]
        yield [(pk, _read(bytes(body))) for pk, body in found]


def _read(raw: bytes) -> dict[str, Any]:
    body, fault = envelope.parse(raw)
    return {**body, **redacting.gist(raw)} if fault else body


def _names(events: Bodies) -> set[str]:
    return {name for _, body in events for name in redacting.names(body)}


def _told(events: Bodies) -> set[str]:
    return {text for _, body in events for text in redacting.told_of(body)}
