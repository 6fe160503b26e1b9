"""How each source fares, for whoever is on call: lag, backlog, what was put in order, keys and secrets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Count, Exists, Max, Min, OuterRef, Q

from billing.checks import Check, kept
from billing.deliveries import deliveries
from billing.event_facts import FetchIssue, SourceRow, fetch_issues
from billing.models import EventState, Origin, SigningSecret, StripeEvent, StripeSource
from billing.refusals import RefusalRow, duplicates, refusals

RECENT: Final = 1000  # events looked at for lag, versions and order: a page must not walk through millions
LOOKED_BACK: Final = timedelta(days=1)
KEY_AGE: Final = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class SecretRow:
    """An active signing secret without its text. `last_used_at` is only noted while there is another."""

    pk: int
    last4: str
    created_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class Lag:
    """Seconds that half of the events, and all but one in a hundred, took at most; None where nothing was measured."""

    median: float | None = None
    slowest: float | None = None


@dataclass(frozen=True, slots=True)
class ParkedReason:
    """How many events of a source are parked for one reason."""

    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """How one source fares. What is said of `recent` events is of this source's among the last thousand of all.

    `delivery` is from Stripe's `created` until we had it, `processing` from then until it was worked on. `repaired`
    came after a younger event of the same object and was put in order. `duplicates` and `refused` are of a day.
    `checks` are what Stripe answered at `checked_at`: the key's rights, clocks, the endpoint.
    """

    row: SourceRow
    last_event_at: datetime | None
    recent: int
    delivery: Lag
    processing: Lag
    versions: tuple[tuple[str, int], ...]
    repaired: int
    duplicates: int
    refused: tuple[RefusalRow, ...]
    waiting: int
    oldest_due_at: datetime | None
    parked: tuple[ParkedReason, ...]
    fetches: tuple[FetchIssue, ...]
    has_key: bool
    key_since: datetime
    is_key_dated: bool
    secrets: tuple[SecretRow, ...]
    checked_at: datetime | None
    checks: tuple[Check, ...]
    last_delivery: Check

    def is_key_old(self, *, now: datetime) -> bool:
        return self.has_key and now - self.key_since > KEY_AGE

    def old_secrets(self, *, now: datetime) -> list[SecretRow]:
        return [one for one in self.secrets if now - one.created_at > KEY_AGE]


@dataclass(frozen=True, slots=True)
class _Recent:
    count: int
    last_at: datetime
    delivery: Lag
    processing: Lag
    versions: tuple[tuple[str, int], ...]
    repaired: int


def source_health(*, now: datetime) -> list[SourceHealth]:
    """Return how every source fares, by slug. Eight queries, and up to four a source."""
    recent = _recent()
    since = now - LOOKED_BACK
    refused = refusals(since=since)
    twice = duplicates(since=since)
    waiting = _waiting(now)
    parked = _parked()
    issues = fetch_issues()
    looked = kept()
    secrets = list(SigningSecret.objects.order_by("-pk").values_list("source_id", *SECRET))
    found = []
    for source in StripeSource.objects.order_by("slug"):
        row = SourceRow(
            source.pk,
            source.slug,
            source.label,
            source.livemode,
            source.account_id,
            source.history_from,
            source.created_at,
        )
        lately = recent.get(source.pk)
        count, oldest = waiting.get(source.pk, (0, None))
        checked_at, checks = looked.get(source.pk, (None, []))
        found.append(
            SourceHealth(
                row=row,
                last_event_at=lately.last_at if lately else _last_event_at(source.pk),
                recent=lately.count if lately else 0,
                delivery=lately.delivery if lately else Lag(),
                processing=lately.processing if lately else Lag(),
                versions=lately.versions if lately else (),
                repaired=lately.repaired if lately else 0,
                duplicates=twice.get(source.pk, 0),
                refused=tuple(one for one in refused if one.source_pk == source.pk),
                waiting=count,
                oldest_due_at=oldest,
                parked=tuple(parked.get(source.pk, ())),
                fetches=tuple(one for one in issues if one.source_pk == source.pk),
                has_key=bool(source.api_key),
                key_since=source.api_key_at or source.created_at,
                is_key_dated=source.api_key_at is not None,
                secrets=tuple(SecretRow(*rest) for pk, *rest in secrets if pk == source.pk),
                checked_at=checked_at,
                checks=tuple(checks),
                last_delivery=deliveries(source.pk, livemode=source.livemode, now=now),
            )
        )
    return found


SECRET: Final = ("pk", "last4", "created_at", "last_used_at")


def _recent() -> dict[int, _Recent]:
    """Measure the last thousand events. What came out of order is told by an older row with a later `created`."""
    younger = StripeEvent.objects.filter(
        source_id=OuterRef("source_id"), object_id=OuterRef("object_id"), created_at__gt=OuterRef("created_at")
    )
    rows = (
        StripeEvent.objects.order_by("-pk")
        .annotate(is_late=~Q(object_id="") & Exists(younger.filter(pk__lt=OuterRef("pk"))))
        .values_list("source_id", "origin", "created_at", "received_at", "processed_at", "api_version", "is_late")
    )
    by_source: dict[int, list[tuple[str, datetime | None, datetime, datetime | None, str, bool]]] = {}
    for source_pk, *rest in rows[:RECENT]:
        by_source.setdefault(source_pk, []).append(tuple(rest))
    return {pk: _measured(found) for pk, found in by_source.items()}


def _measured(rows: Sequence[tuple[str, datetime | None, datetime, datetime | None, str, bool]]) -> _Recent:
    delivered = [
        max(0.0, (received - created).total_seconds())
        for origin, created, received, *_ in rows
        if origin == Origin.WEBHOOK and created is not None
    ]
    worked = [max(0.0, (done - received).total_seconds()) for _, _, received, done, *_ in rows if done is not None]
    versions = Counter(version for *_, version, _ in rows if version)
    return _Recent(
        count=len(rows),
        last_at=rows[0][2],
        delivery=_lag(delivered),
        processing=_lag(worked),
        versions=tuple(versions.most_common()),
        repaired=sum(is_late for *_, is_late in rows),
    )


def _lag(seconds: list[float]) -> Lag:
    if not seconds:
        return Lag()
    seconds.sort()
    return Lag(seconds[(len(seconds) - 1) // 2], seconds[(len(seconds) - 1) * 99 // 100])


def _last_event_at(source_pk: int) -> datetime | None:
    """A source without an event among the last thousand is a quiet one, whose rows are few to look through."""
    return StripeEvent.objects.filter(source_id=source_pk).aggregate(at=Max("received_at"))["at"]


def _waiting(now: datetime) -> dict[int, tuple[int, datetime | None]]:
    rows = StripeEvent.objects.filter(state=EventState.WAITING).order_by().values_list("source_id")
    counted = rows.annotate(count=Count("pk"), oldest=Min("due_at", filter=Q(due_at__lte=now)))
    return {pk: (count, oldest) for pk, count, oldest in counted}


def _parked() -> dict[int, list[ParkedReason]]:
    rows = StripeEvent.objects.filter(state=EventState.PARKED).order_by().values_list("source_id", "reason")
    found: dict[int, list[ParkedReason]] = {}
    for source_pk, reason, count in rows.annotate(count=Count("pk")).order_by("-count", "reason"):
        found.setdefault(source_pk, []).append(ParkedReason(reason, count))
    return found
