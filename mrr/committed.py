"""Keeps what was scheduled to change MRR as known when each month ended, so that CMRR has a past.

A month is kept once it has ended; months before that are rebuilt from the events created by then. Subscription
schedules that Stripe has changed since are taken as they are known now. Who gets a ledger entry that reaches back into
kept months is looked at anew, so that the result follows from the events in whatever order they came.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from django.db import transaction
from django.db.models import Max, Min

from billing import selectors as billing
from billing.selectors import History
from mrr import ledger, links, policies
from mrr.days import day_of, day_start, month_after
from mrr.engine.policy import MetricPolicy
from mrr.models import LedgerEntry, MonthEndSchedule, MonthRollup, ScheduledMonth

CHUNK = 200
SETTLED = timedelta(hours=2)  # into the next month: the grouping window has passed, what was on its way has come

Kept = dict[tuple[int, int, str, date], int]  # source, customer, currency, month → micros


def keep(*, now: datetime, seconds: float) -> bool:
    """Keep what is missing, for so long at most; returns whether anything is left to do."""
    until = time.monotonic() + seconds
    _begin(now)
    while (months := list(ScheduledMonth.objects.filter(done_at__isnull=True))) and time.monotonic() < until:
        after = min(row.after_pk for row in months)
        same = [row for row in months if row.after_pk == after]
        pks = billing.next_customer_pks(after=after, limit=CHUNK)
        if pks:
            _keep(pks, [row.month for row in same])
            ScheduledMonth.objects.filter(pk__in=[row.pk for row in same]).update(after_pk=pks[-1])
        else:
            ScheduledMonth.objects.filter(pk__in=[row.pk for row in same]).update(done_at=now)
    if months:
        return True
    return _look_again(until)


def kept_since() -> date | None:
    """Return the first month whose end is kept; None while there is none."""
    found: date | None = ScheduledMonth.objects.filter(done_at__isnull=False).aggregate(first=Min("month"))["first"]
    return found


def scheduled_then(
    history: History, ends: Mapping[date, datetime], policy: MetricPolicy
) -> dict[tuple[str, date], int]:
    """Return what was scheduled, by currency and month, from what had been told by the moment each month ended."""
    found: dict[tuple[str, date], int] = {}
    if not history.facts.plans and not any(step.state.ends_at for steps in history.steps.values() for step in steps):
        return found
    for month, end in ends.items():
        at = int(end.timestamp())
        steps = {
            name: told
            for name, all_steps in history.steps.items()
            if (told := [s for s in all_steps if s.created < at])
        }
        deleted = history.deleted if history.deleted is not None and history.deleted[0] < at else None
        known = replace(history, steps=steps, deleted=deleted)
        replayed = ledger.replayed(known, now=datetime.fromtimestamp(at - 1, UTC), policy=policy)
        found |= {(code, month): micros for code, micros in replayed.scheduled.items() if micros}
    return found


def _begin(now: datetime) -> None:
    """Note the months that have ended and are not kept yet."""
    first = MonthRollup.objects.aggregate(first=Min("month"))["first"]
    if first is None:
        return
    last = (day_of(now - SETTLED).replace(day=1) - timedelta(days=1)).replace(day=1)
    known = set(ScheduledMonth.objects.values_list("month", flat=True))
    newest = LedgerEntry.objects.aggregate(last=Max("pk"))["last"] or 0
    missing = []
    month = first
    while month <= last:
        if month not in known:
            missing.append(ScheduledMonth(month=month, entry_pk=newest))
        month = month_after(month)
    ScheduledMonth.objects.bulk_create(missing, ignore_conflicts=True)


def _look_again(until: float) -> bool:
    """Look anew at customers who got entries that reach back into kept months."""
    months = list(ScheduledMonth.objects.filter(done_at__isnull=False))
    if not months:
        return False
    seen = min(row.entry_pk for row in months)
    last_end = day_start(month_after(max(row.month for row in months)))
    newest = LedgerEntry.objects.aggregate(last=Max("pk"))["last"] or 0
    late = LedgerEntry.objects.filter(pk__gt=seen, pk__lte=newest, effective_at__lt=last_end)
    pks = sorted(set(late.values_list("customer_id", flat=True)))
    for at in range(0, len(pks), CHUNK):
        if time.monotonic() >= until:
            return True
        _keep(pks[at : at + CHUNK], [row.month for row in months])
    ScheduledMonth.objects.filter(pk__in=[row.pk for row in months]).update(entry_pk=newest)
    return False


def _keep(pks: Sequence[int], months: Iterable[date]) -> None:
    """Write what was scheduled for these customers at the ends of these months."""
    ends = {month: day_start(month_after(month)) for month in months}
    policy = policies.current()
    wanted: Kept = {}
    for pk, history in links.linked(billing.histories(pks), policy=policy).items():
        for (code, month), micros in scheduled_then(history, ends, policy).items():
            wanted[history.source_pk, pk, code, month] = micros
    with transaction.atomic():
        MonthEndSchedule.objects.filter(customer_id__in=pks, month__in=list(ends)).delete()
        MonthEndSchedule.objects.bulk_create(
            MonthEndSchedule(source_id=source_pk, customer_id=pk, currency=code, month=month, micros=micros)
            for (source_pk, pk, code, month), micros in wanted.items()
        )
