"""Puts a policy in force: a new version, then every customer replayed under it, in chunks that are taken up again."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from billing import selectors as billing
from crm import assessing, outbox
from mrr import ledger, links, policies
from mrr.engine.movements import reconcile
from mrr.engine.policy import MetricPolicy, differences
from mrr.models import LedgerEntry, PolicyVersion, Repricing

log = structlog.get_logger(__name__)

CHUNK = 50
# Who replays shows after each chunk that it lives; after so long another may take it up.
SILENT = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Change:
    """An entry that a policy adds, or takes back (`is_reversal`). Its amount is the entry's own in both cases."""

    customer_id: str
    is_reversal: bool
    type: str
    reason: str
    currency: str
    micros: int
    effective_at: datetime


Tell = Callable[[Change], None]
Progress = Callable[[int, int], None]


def put_in_force(policy: MetricPolicy, *, preset: str, user: str, now: datetime) -> MetricPolicy:
    """Make a policy the newest version, still to be replayed; the one in force already stays what it is."""
    with transaction.atomic():
        before = policies.current()
        changed = differences(before, policy)
        if not changed:
            return before
        added = policies.add(policy, preset=preset, changed=changed, user=user, now=now)
        Repricing.objects.create(version=PolicyVersion.objects.get(version=added.version), touched_at=now)
    return added


def unfinished() -> Repricing | None:
    """Return the replay that the newest version still owes, None when all customers stand under it."""
    newest = PolicyVersion.objects.order_by("-version").first()
    return Repricing.objects.filter(version=newest, finished_at=None).first() if newest else None


def abandoned(*, now: datetime) -> bool:
    """Say whether a replay waits that nobody works on any more."""
    owed = unfinished()
    return owed is not None and owed.touched_at < now - SILENT


def carry_on(
    *,
    tell: Tell = lambda change: None,
    progress: Progress = lambda done, of: None,
    until: Callable[[], bool] = lambda: False,
) -> Repricing | None:
    """Replay the customers that the newest version has not reached; return how far it came, None if nothing was owed.

    Each chunk is a transaction of its own with its customers locked, so work that came first is waited for and work
    that comes after sees the new version. It stops when `until` says so, or when another version takes over. Who could
    not be replayed is noted, and tried again the next time.
    """
    owed = unfinished()
    if owed is None:
        return None
    customer_pks = billing.customer_pks()
    todo = customer_pks[bisect_right(customer_pks, owed.last_customer_pk) :]
    for start in range(0, len(todo), CHUNK):
        if until() or policies.current().version != owed.version.version:
            break
        chunk = todo[start : start + CHUNK]
        _replay_chunk(owed, chunk, tell)
        progress(len(customer_pks) - len(todo) + start + len(chunk), len(customer_pks))
    else:
        _finish(owed, tell)
    owed.refresh_from_db()
    return owed


def preview(policy: MetricPolicy, *, now: datetime, progress: Progress = lambda done, of: None) -> Iterator[Change]:
    """Yield what a policy would change in the ledger; writes nothing."""
    customer_pks = billing.customer_pks()
    for start in range(0, len(customer_pks), CHUNK):
        chunk = customer_pks[start : start + CHUNK]
        names = billing.customers(chunk)
        standing = ledger.standing_of(chunk)
        for pk, history in sorted(
            links.linked(billing.histories(chunk), policy=policy).items(), key=lambda each: each[0]
        ):
            found = ledger.replayed(history, now=now, policy=policy)
            to_post, to_reverse = reconcile(found.movements, standing[pk])
            for is_reversal, movements in ((True, to_reverse), (False, to_post)):
                for each in movements:
                    at = datetime.fromtimestamp(each.effective_at, tz=now.tzinfo)
                    yield Change(
                        names[pk].stripe_id, is_reversal, each.type, each.reason, each.currency, each.micros, at
                    )
        progress(start + len(chunk), len(customer_pks))


# ---- a chunk ----


def _replay_chunk(owed: Repricing, customer_pks: Sequence[int], tell: Tell) -> None:
    """Replay a chunk in one transaction; if it fails, customer by customer, so that only the bad one is left out."""
    try:
        _tell(_replay(owed, customer_pks), tell)
        return
    except Exception as error:
        log.warning("replay of a chunk failed", customers=len(customer_pks), error=type(error).__name__)
    for pk in customer_pks:
        try:
            _tell(_replay(owed, [pk]), tell)
        except Exception:
            log.exception("replay failed", customer_pk=pk)
            owed.failed = [*owed.failed, pk]
            Repricing.objects.filter(pk=owed.pk).update(failed=owed.failed, last_customer_pk=pk)


def _replay(owed: Repricing, customer_pks: Sequence[int]) -> list[LedgerEntry]:
    now = timezone.now()
    with transaction.atomic():
        billing.lock_customers(customer_pks)
        entries = ledger.post(billing.histories(customer_pks), now=now, is_told=False)
        if entries:
            touched = {entry.customer_id for entry in entries}
            assessing.assess(touched, now=now)
            outbox.owe_for(entries, touched, now=now)
        reversals = sum(entry.type == "reversal" for entry in entries)
        Repricing.objects.filter(pk=owed.pk).update(
            last_customer_pk=customer_pks[-1],
            customers=F("customers") + len(customer_pks),
            posted=F("posted") + len(entries) - reversals,
            reversed=F("reversed") + reversals,
            touched_at=now,
        )
    return entries


def _finish(owed: Repricing, tell: Tell) -> None:
    """Try once more who could not be replayed; all being well, the version has reached everybody."""
    owed.refresh_from_db()
    last, failed = owed.last_customer_pk, list(owed.failed)
    for pk in failed:
        try:
            _tell(_replay(owed, [pk]), tell)
            owed.failed.remove(pk)
        except Exception:
            log.exception("replay failed again", customer_pk=pk)
    now = timezone.now()
    Repricing.objects.filter(pk=owed.pk).update(
        failed=owed.failed, last_customer_pk=last, touched_at=now, finished_at=None if owed.failed else now
    )


def _tell(entries: Iterable[LedgerEntry], tell: Tell) -> None:
    entries = sorted(entries, key=lambda entry: (entry.customer_id, entry.sequence))
    names = billing.customers(list({entry.customer_id for entry in entries})) if entries else {}
    for entry in entries:
        is_reversal = entry.type == "reversal"
        shown = entry.reverses if is_reversal and entry.reverses else entry
        tell(
            Change(
                names[entry.customer_id].stripe_id,
                is_reversal,
                shown.type,
                shown.reason,
                shown.currency,
                shown.amount_micros,
                shown.effective_at,
            )
        )
