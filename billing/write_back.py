"""Writes the Account id of a match into the metadata of Stripe's customer, where a source is set to; off at first."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from auditlog.models import LogEntry
from django.db import transaction
from django.db.models import Count, F, Q, QuerySet

from billing import stripe_api
from billing.models import Customer, FetchState, MetadataWrite, StripeSource

log = structlog.get_logger(__name__)

KEY: Final = "salesforce_account_id"
OVERLAP: Final = timedelta(minutes=10)  # a decision may be committed after a later one was seen
LEASE: Final = timedelta(minutes=3)
LOOKS_EVERY: Final = timedelta(minutes=1)
BATCH: Final = 20
ATTEMPTS: Final = 8
PAUSE: Final = timedelta(seconds=6)
AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a source writes to Stripe's metadata, and what became of it; `codes` says why some were given up on."""

    is_on: bool = False
    waiting: int = 0
    done: int = 0
    parked: int = 0
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Followed:
    """A source whose matches are written back, and from when on they are to be looked at (None: all)."""

    source_pk: int
    after: datetime | None


def followed() -> list[Followed]:
    """Return the sources that are set to write. One query."""
    rows = StripeSource.objects.filter(writes_metadata=True).exclude(api_key="")
    return [
        Followed(pk, seen - OVERLAP if seen else None) for pk, seen in rows.values_list("pk", "metadata_written_to")
    ]


def owe(source_pk: int, wanted: Mapping[int, str], *, now: datetime) -> int:
    """Owe what customers' metadata is to name, empty for nothing; returns how many rows are new or changed.

    What stands there already, and what we never wrote, is left as it is; so is whom we were asked to forget.
    """
    count = 0
    pks = sorted(wanted)
    for start in range(0, len(pks), AT_ONCE):
        chunk = pks[start : start + AT_ONCE]
        with transaction.atomic():
            known = {row.customer_id: row for row in MetadataWrite.objects.filter(customer_id__in=chunk)}
            customers = Customer.objects.filter(pk__in=chunk, source_id=source_pk, forgotten_at=None)
            names = {pk: (data or {}).get(KEY, "") for pk, data in customers.values_list("pk", "metadata")}
            new = [
                MetadataWrite(customer_id=pk, wanted=wanted[pk], due_at=now)
                for pk in names
                if pk not in known and wanted[pk] and str(names[pk])[:15] != wanted[pk][:15]
            ]
            MetadataWrite.objects.bulk_create(new, ignore_conflicts=True)
            changed = [row for pk, row in known.items() if pk in names and row.wanted != wanted[pk]]
            for row in changed:
                row.wanted, row.version, row.state = wanted[row.customer_id], row.version + 1, FetchState.WAITING
                row.attempts, row.due_at, row.code, row.error = 0, now, "", ""
            columns = ["wanted", "version", "state", "attempts", "due_at", "code", "error"]
            MetadataWrite.objects.bulk_update(changed, columns)
            count += len(new) + len(changed)
    StripeSource.objects.filter(pk=source_pk).update(metadata_written_to=now)
    return count


def standings() -> dict[int, Standing]:
    """Return each source's setting, and what became of its writes, by the source's key. Two queries."""
    counts: dict[int, dict[str, int]] = {}
    codes: dict[int, set[str]] = {}
    rows = MetadataWrite.objects.values_list("customer__source_id", "state", "code")
    for pk, state, code, count in rows.annotate(count=Count("pk")).order_by("customer__source_id"):
        kept = counts.setdefault(pk, dict.fromkeys(FetchState.values, 0))
        kept[state] += count
        if state == FetchState.PARKED:
            codes.setdefault(pk, set()).add(code)
    return {
        pk: Standing(is_on, **counts.get(pk, {}), codes=tuple(sorted(codes.get(pk, ()))))
        for pk, is_on in StripeSource.objects.values_list("pk", "writes_metadata")
    }


def choose(source_pk: int, wanted: bool, *, by: str) -> bool:
    """Set whether a source writes; says whether that is a change, which is kept with its author."""
    with transaction.atomic():
        source = StripeSource.objects.select_for_update().get(pk=source_pk)
        if source.writes_metadata == wanted:
            return False
        StripeSource.objects.filter(pk=source_pk).update(writes_metadata=wanted)
        LogEntry.objects.log_create(
            source,
            changes={"writes_metadata": [str(not wanted), str(wanted)]},
            action=LogEntry.Action.UPDATE,
            object_repr=source.label,
            serialized_data=None,
            additional_data={"by": by},
        )
    return True


def try_parked_again(source_pk: int, *, now: datetime) -> int:
    """Put writes that were given up on back to waiting; returns how many."""
    parked = MetadataWrite.objects.filter(customer__source_id=source_pk, state=FetchState.PARKED)
    return parked.update(state=FetchState.WAITING, due_at=now, attempts=0, code="", error="")


def is_due(*, now: datetime) -> bool:
    """Say whether matches are to be looked at again, or a write is due."""
    if not followed():
        return False
    old = Q(metadata_written_to__isnull=True) | Q(metadata_written_to__lte=now - LOOKS_EVERY)
    return StripeSource.objects.filter(old, writes_metadata=True).exists() or _due(now=now).exists()


# ---- sending ----


def send_due(*, now: datetime, limit: int = BATCH) -> int:
    """Write what is due to Stripe, with no transaction open; returns how many rows were tried."""
    rows = _claim(now=now, limit=limit)
    readers = {row.customer.source_id: stripe_api.Reader(row.customer.source) for row in rows}
    for row in rows:
        try:
            _write(readers[row.customer.source_id], row)
        except stripe_api.NotFound:
            _settle(row, state=FetchState.DONE, written="", error="Stripe has no such customer any more.")
        except stripe_api.StripeError as error:
            log.warning("metadata not written", customer=row.customer.stripe_id, error=type(error).__name__)
            _fail(row, error, now=now)
        else:
            _settle(row, state=FetchState.DONE, written=row.wanted)
    return len(rows)


def _claim(*, now: datetime, limit: int) -> list[MetadataWrite]:
    """Take due rows under a lease; the attempt is counted before the work."""
    free = Q(leased_until__isnull=True) | Q(leased_until__lte=now)
    taken = []
    for row in _due(now=now).select_related("customer__source").order_by("due_at", "pk")[:limit]:
        mine = MetadataWrite.objects.filter(free, pk=row.pk, version=row.version, state=FetchState.WAITING)
        if mine.update(leased_until=now + LEASE, attempts=F("attempts") + 1):
            row.attempts += 1
            taken.append(row)
    return taken


def _due(*, now: datetime) -> QuerySet[MetadataWrite]:
    free = Q(leased_until__isnull=True) | Q(leased_until__lte=now)
    is_open = Q(customer__source__calls_paused_until__isnull=True) | Q(customer__source__calls_paused_until__lte=now)
    return MetadataWrite.objects.filter(
        free, is_open, state=FetchState.WAITING, due_at__lte=now, customer__source__writes_metadata=True
    ).exclude(customer__source__api_key="")


def _write(reader: stripe_api.Reader, row: MetadataWrite) -> None:
    """Name the Account, or take out what we named; what somebody else put there since stays."""
    if not row.wanted:
        there = reader.one("customers", row.customer.stripe_id).get("metadata") or {}
        if not row.written or there.get(KEY) != row.written:
            return
    # Stripe refuses another request by the same key, and answers the same one as it did before.
    once = f"mrr-ledger-{row.pk}-{row.version}-{row.wanted or 'none'}"
    reader.change("customers", row.customer.stripe_id, {"metadata": {KEY: row.wanted}}, once=once)


def _fail(row: MetadataWrite, error: stripe_api.StripeError, *, now: datetime) -> None:
    if isinstance(error, stripe_api.RateLimited):  # nobody gets through: the source waits, and no attempt is lost
        StripeSource.objects.filter(pk=row.customer.source_id).update(calls_paused_until=now + PAUSE)
        _settle(row, attempts=row.attempts - 1, error=str(error))
    elif isinstance(error, stripe_api.NotAllowed):
        code = "wrong_api_key" if isinstance(error, stripe_api.WrongKey) else "missing_permission"
        _settle(row, state=FetchState.PARKED, code=code, error=str(error))
    elif row.attempts >= ATTEMPTS:
        _settle(row, state=FetchState.PARKED, code="failed", error=str(error))
    else:
        seconds = 2 ** (row.attempts + 1) * random.uniform(0.75, 1.25)
        _settle(row, due_at=now + timedelta(seconds=seconds), error=str(error))


def _settle(row: MetadataWrite, **said: object) -> None:
    """Write down what became of a wish. One that changed meanwhile stays due, and knows what stands there now."""
    rows = MetadataWrite.objects.filter(pk=row.pk)
    if not rows.filter(version=row.version).update(**{"code": "", "error": "", **said}, leased_until=None):
        rows.update(**{name: value for name, value in said.items() if name == "written"}, leased_until=None)
