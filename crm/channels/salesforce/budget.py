"""The wall around Salesforce's API calls: each call is counted before it is made, and stops at the org's reserve."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.db import transaction
from django.db.models import F, Sum

from crm import alerts
from crm.channels.kinds import Wait
from crm.channels.salesforce import pace
from crm.models import ApiHour, SalesforceOrg
from mrr import selectors as mrr

log = structlog.get_logger(__name__)

RESERVE_REACHED = "API_RESERVE_REACHED"
LOOK_AGAIN = timedelta(minutes=15)  # while stopped the org is asked so often whether calls are free again
POLL_SECONDS = 300.0  # one read of Users, Accounts and Contacts
LATELY = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Budget:
    """Where the day stands, for people: our calls, what they will come to, and the org's own count.

    `gap_seconds` is how far calls are spaced now, 0 while they go at once; `headroom` what is left above the reserve.
    """

    writes: int
    write_allowance: int
    reads: int
    read_allowance: int
    forecast: int
    used: int | None
    limit: int | None
    reserve: int
    said_at: datetime | None
    gap_seconds: float
    is_scarce: bool
    stopped_at: datetime | None

    @property
    def headroom(self) -> int | None:
        return None if self.used is None or self.limit is None else max(0, self.limit - self.reserve - self.used)


def may_send(org: SalesforceOrg, *, now: datetime) -> bool:
    """Say whether a flush may begin now: the day's pace allows a call and the reserve is not reached."""
    return org.stopped_at is None and _credit(org, _day(org, now), now) >= pace.CALL


def wait_seconds(org: SalesforceOrg, *, now: datetime) -> float:
    """Return how long the day's pace lets the next flush wait; 0 when it may go now."""
    day = _day(org, now)
    return pace.wait_seconds(_credit(org, day, now), day=day)


def spend(org_pk: int, *, is_write: bool, now: datetime, is_probe: bool = False) -> None:
    """Count one call before it is made. Raises Wait when it would touch the reserve, and stops the lane.

    Workers count one after the other, so the org's count is overshot by the calls under way at most. A probe, which
    asks whether calls are free again, may touch the reserve.
    """
    with transaction.atomic():
        org = SalesforceOrg.objects.select_for_update().get(pk=org_pk)
        is_spent = pace.is_spent(used=org.calls_used, limit=org.calls_limit, reserve=org.reserve_calls)
        is_stopping = is_spent and not is_probe
        if is_stopping:
            _stop(org, now)
        else:
            day = _day(org, now)
            credit = _credit(org, day, now)
            if is_write:
                org.flush_credit, org.flush_credit_at = credit - pace.CALL, now
            org.calls_used = None if org.calls_used is None else org.calls_used + 1
            org.save(update_fields=["calls_used", "flush_credit", "flush_credit_at"])
            _count(org, is_write=is_write, now=now)
    if is_stopping:
        raise Wait(RESERVE_REACHED, _words(org), until=now + LOOK_AGAIN)


def heard(org: SalesforceOrg, *, used: int, limit: int, now: datetime) -> None:
    """Keep what an answer said of the org's last 24 hours: stop at the reserve, go on when calls are free."""
    org.calls_used, org.calls_limit, org.calls_at = used, limit, now
    SalesforceOrg.objects.filter(pk=org.pk).update(calls_used=used, calls_limit=limit, calls_at=now)
    if pace.is_spent(used=used, limit=limit, reserve=org.reserve_calls):
        _stop(org, now)
    elif since := _go_on(org):
        alerts.over(org.pk, alerts.RESERVE, since=since, now=now)
        log.info("salesforce calls are free again", used=used, limit=limit, reserve=org.reserve_calls)


def is_to_be_asked(org: SalesforceOrg, *, now: datetime) -> bool:
    """Say whether sending stopped at the reserve and the org should be asked whether calls are free again."""
    return org.stopped_at is not None and (org.paused_until is None or org.paused_until <= now)


def still_stopped(org: SalesforceOrg, *, now: datetime) -> None:
    """Put off the next look: nothing is free yet."""
    SalesforceOrg.objects.filter(pk=org.pk, stopped_at__isnull=False).update(paused_until=now + LOOK_AGAIN)


def may_look(org: SalesforceOrg, *, now: datetime, spare: int = 0) -> bool:
    """Say whether the day's reads suffice for a question of its own, beside the reads of Accounts still to come.

    `spare` reads are left to others.
    """
    reads = _spent(org, now)[1]
    return reads + _seconds_left(now) / POLL_SECONDS + spare < org.read_allowance


def status(org: SalesforceOrg, *, now: datetime) -> Budget:
    """Return where the day stands. Two queries."""
    writes, reads = _spent(org, now)
    day = _day_of(org, writes, now)
    lately = org.api_hours.filter(hour__gt=now - LATELY - timedelta(hours=1)).aggregate(sum=Sum("writes"))["sum"] or 0
    into_hour = timedelta(minutes=now.minute, seconds=now.second)
    return Budget(
        writes=day.spent,
        write_allowance=org.write_allowance,
        reads=reads,
        read_allowance=org.read_allowance,
        forecast=pace.forecast(day, lately=lately, lately_seconds=(LATELY + into_hour).total_seconds()),
        used=org.calls_used,
        limit=org.calls_limit,
        reserve=org.reserve_calls,
        said_at=org.calls_at,
        gap_seconds=pace.wait_seconds(0, day=day) if _credit(org, day, now) < 2 * pace.CALL else 0.0,
        is_scarce=day.is_scarce,
        stopped_at=org.stopped_at,
    )


def _stop(org: SalesforceOrg, now: datetime) -> None:
    """Close the lane; of all workers the one that finds it open says so."""
    first = SalesforceOrg.objects.filter(pk=org.pk, stopped_at__isnull=True).update(stopped_at=now)
    SalesforceOrg.objects.filter(pk=org.pk).update(paused_until=now + LOOK_AGAIN)
    if first:
        alerts.stopped(org.pk, alerts.RESERVE, _words(org), at=now)
        log.error("salesforce calls stopped at the reserve", used=org.calls_used, limit=org.calls_limit)


def _go_on(org: SalesforceOrg) -> datetime | None:
    """Open the lane again; returns since when it was closed to the one worker that opened it."""
    since = SalesforceOrg.objects.filter(pk=org.pk).values_list("stopped_at", flat=True).first()
    if since is None:
        return None
    opened = SalesforceOrg.objects.filter(pk=org.pk, stopped_at=since).update(stopped_at=None, paused_until=None)
    return since if opened else None


def _words(org: SalesforceOrg) -> str:
    left = (org.calls_limit or 0) - (org.calls_used or 0)
    return (
        f"Of the org's {org.calls_limit} daily calls {left} are left, and {org.reserve_calls} are reserved for others. "
        "Sending goes on by itself when calls are free again."
    )


def _day(org: SalesforceOrg, now: datetime) -> pace.Day:
    return _day_of(org, _spent(org, now)[0], now)


def _day_of(org: SalesforceOrg, writes: int, now: datetime) -> pace.Day:
    scarce = pace.is_scarce(used=org.calls_used, limit=org.calls_limit, reserve=org.reserve_calls)
    return pace.Day(writes, org.write_allowance, _seconds_left(now), is_scarce=scarce)


def _credit(org: SalesforceOrg, day: pace.Day, now: datetime) -> int:
    idle = (now - org.flush_credit_at).total_seconds() if org.flush_credit_at else float(pace.DAY_SECONDS)
    return pace.credit_after(org.flush_credit, idle_seconds=idle, day=day)


def _spent(org: SalesforceOrg, now: datetime) -> tuple[int, int]:
    """Return our writes and reads of this day of the reporting zone."""
    found = ApiHour.objects.filter(org_id=org.pk, hour__gte=_day_start(now)).aggregate(w=Sum("writes"), r=Sum("reads"))
    return found["w"] or 0, found["r"] or 0


def _day_start(now: datetime) -> datetime:
    return mrr.day_start(now.astimezone(mrr.reporting_zone()).date())


def _seconds_left(now: datetime) -> float:
    tomorrow = now.astimezone(mrr.reporting_zone()).date() + timedelta(days=1)
    return max(0.0, (mrr.day_start(tomorrow) - now).total_seconds())


def _count(org: SalesforceOrg, *, is_write: bool, now: datetime) -> None:
    hour = now.replace(minute=0, second=0, microsecond=0)
    column = "writes" if is_write else "reads"
    if not ApiHour.objects.filter(org=org, hour=hour).update(**{column: F(column) + 1}):
        ApiHour.objects.create(org=org, hour=hour, **{column: 1})
