"""What the inbox holds, as frozen rows: sources, events, and how many of them are where."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.db.models import Count, DateTimeField, Exists, Max, Min, OuterRef, QuerySet, Subquery, Value

from billing import envelope
from billing.models import (
    EventState,
    FetchKind,
    FetchState,
    Forgetting,
    Origin,
    OwedFetch,
    Redaction,
    StripeEvent,
    StripeSource,
    Subscription,
)
from billing.owed import NO_KEY
from billing.statements import select


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A Stripe account in one mode; its secrets are nobody's to read here."""

    pk: int
    slug: str
    label: str
    livemode: bool
    account_id: str
    history_from: date | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event without its body; `reason` is the code of why it is ignored or parked."""

    pk: int
    source_pk: int
    source_slug: str
    stripe_id: str
    type: str
    created_at: datetime | None
    received_at: datetime
    livemode: bool
    api_version: str
    object_id: str
    customer_id: str
    origin: str
    state: str
    reason: str
    error: str
    attempts: int
    due_at: datetime
    processed_at: datetime | None


@dataclass(frozen=True, slots=True)
class EventDetail:
    """One event with its body: as JSON where it can be read whole, and as received. The body may hold personal data."""

    row: EventRow
    body: dict[str, Any] | None
    text: str
    sha256: str

    @property
    def pretty(self) -> str:
        """The body for people: indented JSON, or as received where it cannot be read."""
        return self.text if self.body is None else json.dumps(self.body, indent=2, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class EventCounts:
    """How many events are in each state. Nothing is silent: together they are all that was received."""

    waiting: int = 0
    processed: int = 0
    ignored: int = 0
    parked: int = 0

    @property
    def received(self) -> int:
        return self.waiting + self.processed + self.ignored + self.parked


Pks = Collection[int] | None  # None: all sources


def sources() -> list[SourceRow]:
    """Return all sources by slug."""
    names = ("pk", "slug", "label", "livemode", "account_id", "history_from", "created_at")
    return [SourceRow(*row) for row in StripeSource.objects.order_by("slug").values_list(*names)]


def newest_api_version(source_pk: int) -> str:
    """Return the API version of a source's last delivered event, "" before the first. One query."""
    rows = StripeEvent.objects.filter(source_id=source_pk, origin=Origin.WEBHOOK)
    return rows.order_by("-pk").values_list("api_version", flat=True).first() or ""


def live_source_pks() -> list[int]:
    """Return the sources of real money, by our key."""
    return list(StripeSource.objects.filter(livemode=True).order_by("pk").values_list("pk", flat=True))


@dataclass(frozen=True, slots=True)
class FetchIssue:
    """Why a source's objects are not read yet: `fetch_waiting`, `no_api_key`, `missing_permission` or `fetch_parked`.

    `customers` is how many customers' MRR lacks them, `said` one of the errors.
    """

    source_pk: int
    source_slug: str
    code: str
    count: int
    customers: int
    oldest_at: datetime
    said: str


def fetch_issues(source_pks: Pks = None) -> list[FetchIssue]:
    """Return what is owed by Stripe's API and why, by source; nothing when all is known."""
    rows = OwedFetch.objects.exclude(state=FetchState.DONE)
    if source_pks is not None:
        rows = rows.filter(source_id__in=source_pks)
    counted = (
        rows.order_by()
        .values_list("source_id", "source__slug", "state", "code")
        .annotate(
            count=Count("pk", distinct=True),
            customers=Count("waiters__customer", distinct=True),
            oldest=Min("created_at"),
            said=Max("error"),
        )
    )
    found: dict[tuple[int, str, str], FetchIssue] = {}
    for source_pk, slug, state, reason, count, customers, oldest, said in counted:
        if reason in (NO_KEY, "missing_permission"):
            code = reason
        else:
            code = "fetch_parked" if state == FetchState.PARKED else "fetch_waiting"
        key = (source_pk, slug, code)
        if (known := found.get(key)) is not None:
            count, customers = count + known.count, customers + known.customers
            oldest, said = min(oldest, known.oldest_at), said or known.said
        found[key] = FetchIssue(source_pk, slug, code, count, customers, oldest, said)
    return [found[key] for key in sorted(found)]


def unknown_subscriptions(source_pks: Pks = None) -> int:
    """Return how many subscriptions are known by their invoices alone: their state has not been read yet."""
    known = Subscription.objects.filter(source_id=OuterRef("source_id"), stripe_id=OuterRef("stripe_id"))
    rows = OwedFetch.objects.filter(~Exists(known), kind=FetchKind.SUBSCRIPTION).exclude(state=FetchState.DONE)
    return (rows if source_pks is None else rows.filter(source_id__in=source_pks)).count()


def has_events(source_pks: Pks = None) -> bool:
    """Say whether these sources have received anything."""
    return _of(source_pks).exists()


def event_counts(source_pks: Pks = None) -> EventCounts:
    """Return how many events of these sources together are in each state."""
    return EventCounts(**dict(_of(source_pks).order_by().values_list("state").annotate(Count("pk"))))


def unprocessed_counts(source_pks: Pks = None) -> EventCounts:
    """Return the counts without `processed` (0 here), from a small index: cheap with millions of events."""
    rows = _of(source_pks).exclude(state=EventState.PROCESSED).order_by()
    return EventCounts(**dict(rows.values_list("state").annotate(Count("pk"))))


def events(
    *,
    source_pks: Pks = None,
    states: Collection[str] = (),
    type_prefix: str = "",
    customer_id: str = "",
    before_pk: int | None = None,
    after_pk: int | None = None,
    limit: int = 100,
) -> list[EventRow]:
    """Return events, the newest received first; `before_pk` goes on to older ones, `after_pk` back to newer ones.

    `type_prefix` keeps one type or a family, as `invoice.` does.
    """
    rows = _of(source_pks)
    if states:
        rows = rows.filter(state__in=states)
    if type_prefix:
        rows = rows.filter(type__startswith=type_prefix)
    if customer_id:
        rows = rows.filter(customer_id=customer_id)
    if after_pk is not None:
        return _rows(rows.filter(pk__gt=after_pk).order_by("pk")[:limit])[::-1]
    if before_pk is not None:
        rows = rows.filter(pk__lt=before_pk)
    return _rows(rows.order_by("-pk")[:limit])


def events_by_id(source_pk: int, event_ids: Collection[str]) -> list[EventRow]:
    """Return these events of one source, oldest first."""
    return _rows(StripeEvent.objects.filter(source_id=source_pk, stripe_id__in=event_ids).order_by("created_at", "pk"))


def body_hashes(wanted: Collection[tuple[int, str]]) -> dict[tuple[int, str], str]:
    """Return the SHA-256 of bodies as received, by (source, event id); what is no event of ours is left out."""
    if not wanted:
        return {}
    keys: dict[str, Collection[Any]] = {
        "source_id": {source_pk for source_pk, _ in wanted},
        "stripe_id": {event_id for _, event_id in wanted},
    }
    found = select(StripeEvent, ("source_id", "stripe_id", "body_sha256"), keys)
    return {(source_pk, event_id): sha256 for source_pk, event_id, sha256 in found}


def events_told(
    wanted: Collection[tuple[int, str]],
) -> dict[tuple[int, str], tuple[str, datetime | None, datetime, str]]:
    """Return type, creation, receipt and SHA-256 of events by (source, event id), for evidence; never their bodies."""
    if not wanted:
        return {}
    rows = StripeEvent.objects.filter(
        source_id__in={source_pk for source_pk, _ in wanted}, stripe_id__in={event_id for _, event_id in wanted}
    )
    columns = ("source_id", "stripe_id", "type", "created_at", "received_at", "body_sha256")
    return {(row[0], row[1]): (row[2], row[3], row[4], row[5]) for row in rows.values_list(*columns)}


def wrong_bodies(*, after_pk: int, limit: int) -> tuple[int | None, list[tuple[str, str]]]:
    """Read the next bodies: the last key read (None at the end), and (source, id) of events whose body is another.

    A body is right when it has the SHA-256 of what was received, or of what it was last redacted to.
    """
    rows = StripeEvent.objects.filter(pk__gt=after_pk).order_by("pk")[:limit]
    last, wrong = None, {}
    for pk, slug, stripe_id, body, sha256 in rows.values_list(
        "pk", "source__slug", "stripe_id", "body", "body_sha256"
    ).iterator(chunk_size=100):
        last = pk
        found = hashlib.sha256(body).hexdigest()
        if found != sha256:
            wrong[pk] = (found, slug, stripe_id)
    if not wrong:
        return last, []
    told = Redaction.objects.filter(event_id__in=wrong).order_by("pk").values_list("event_id", "body_sha256")
    redacted = dict(told)
    return last, [(slug, name) for pk, (found, slug, name) in wrong.items() if redacted.get(pk) != found]


def event_details(stripe_id: str, *, source_pks: Pks = None) -> list[EventDetail]:
    """Return the events of this id with their bodies: none, one, or one of each source that knows it."""
    rows = _of(source_pks).filter(stripe_id=stripe_id).order_by("source__slug")
    bodies = {pk: (bytes(body), sha256) for pk, body, sha256 in rows.values_list("pk", "body", "body_sha256")}
    return [_detail(row, *bodies[row.pk]) for row in _rows(rows) if row.pk in bodies]


def first_delivery_at() -> datetime | None:
    """Return when Stripe first delivered an event of a live source, None before: what was before was read or loaded."""
    rows = StripeEvent.objects.filter(origin=Origin.WEBHOOK, source__livemode=True).order_by("pk")
    return rows.values_list("received_at", flat=True).first()


def _detail(row: EventRow, raw: bytes, sha256: str) -> EventDetail:
    try:
        body, fault = envelope.parse(raw)
    except envelope.NotAnEvent:
        body, fault = {}, "bad_json"
    return EventDetail(row, None if fault else body, raw.decode("utf-8", "replace"), sha256)


def _of(source_pks: Pks) -> QuerySet[StripeEvent]:
    return StripeEvent.objects.all() if source_pks is None else StripeEvent.objects.filter(source_id__in=source_pks)


def _rows(found: QuerySet[StripeEvent]) -> list[EventRow]:
    return [
        EventRow(*row)
        for row in found.values_list(
            "pk",
            "source_id",
            "source__slug",
            "stripe_id",
            "type",
            "created_at",
            "received_at",
            "livemode",
            "api_version",
            "object_id",
            "customer_id",
            "origin",
            "state",
            "reason",
            "error",
            "attempts",
            "due_at",
            "processed_at",
        )
    ]


@dataclass(frozen=True, slots=True)
class InboxPulse:
    """How fresh the inbox is: when the last event came, what waits or is parked in live sources, the oldest due."""

    last_received_at: datetime | None = None
    waiting: int = 0
    parked: int = 0
    oldest_due_at: datetime | None = None
    beat_at: datetime | None = None


def inbox_pulse(*, now: datetime, beat: QuerySet[Any, Any] | None = None) -> InboxPulse:
    """Return the pulse for the frame of every page: one query.

    `beat` reads one moment, when the workers beat last, which is kept elsewhere: every page asks for both.
    """
    stuck = StripeEvent.objects.exclude(state=EventState.PROCESSED).filter(source__livemode=True).order_by()
    waiting = stuck.filter(state=EventState.WAITING)
    last = (
        StripeEvent.objects.order_by("-pk")
        .annotate(
            waiting=Subquery(_counted(waiting)),
            parked=Subquery(_counted(stuck.filter(state=EventState.PARKED))),
            oldest=Subquery(
                waiting.filter(due_at__lte=now)
                .annotate(one=Value(1))
                .values("one")
                .annotate(at=Min("due_at"))
                .values("at")
            ),
        )
        .annotate(beat=Value(None, output_field=DateTimeField()) if beat is None else Subquery(beat))
        .values_list("received_at", "waiting", "parked", "oldest", "beat")
        .first()
    )
    if last is None:
        return InboxPulse()
    received_at, waits, parked, oldest, beat_at = last
    return InboxPulse(received_at, waits or 0, parked or 0, oldest, beat_at)


def _counted(rows: QuerySet[Any]) -> QuerySet[Any, Any]:
    """Count rows inside another query."""
    return rows.annotate(one=Value(1)).values("one").annotate(count=Count("pk")).values("count")


@dataclass(frozen=True, slots=True)
class ForgettingRow:
    """A customer that is, or is to be, forgotten: who asked and why; done_at None = it waits for its turn."""

    asked_by: str
    asked_at: datetime
    reason: str
    done_at: datetime | None
    error: str
    events: int
    rows: int
    left: int


def forgetting_of(source_pk: int, customer_id: str) -> ForgettingRow | None:
    """Return what was asked about a customer, None when nobody asked to forget it."""
    row = Forgetting.objects.filter(source_id=source_pk, customer_id=customer_id).first()
    if row is None:
        return None
    done = row.result
    changed = sum(done.get("rows", {}).values())
    asked = (row.asked_by, row.asked_at, row.reason, row.done_at, row.error)
    return ForgettingRow(*asked, done.get("events", 0), changed, len(done.get("left", ())))
