"""Which week or month a summary is of, and when it falls due. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo

DAY = timedelta(days=1)
WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Period:
    """Whole days from `first` to `last`, both in, of the reporting zone; told from `due_at` on."""

    first: date
    last: date
    due_at: datetime


def last_week(now: datetime, zone: tzinfo, *, day: int, hour: int, starts: int = 0) -> Period:
    """Return the newest week whose summary has fallen due: on each `day` (0 is Monday) at an hour, of the week before.

    Weeks begin on `starts`. An hour that the clock leaves out in spring falls due an hour later.
    """
    on = _local(now, zone, hour)
    on -= DAY * ((on.weekday() - day) % 7)
    begins = on - DAY * ((on.weekday() - starts) % 7)
    return Period(begins - WEEK, begins - DAY, _at(on, hour, zone))


def last_month(now: datetime, zone: tzinfo, *, day: int, hour: int) -> Period:
    """Return the newest month whose summary has fallen due: on a day of each month (1 to 28), of the month before."""
    on = _local(now, zone, hour)
    if on.day < day:
        on = on.replace(day=1) - DAY
    on = on.replace(day=day)
    last = on.replace(day=1) - DAY
    return Period(last.replace(day=1), last, _at(on, hour, zone))


def _local(now: datetime, zone: tzinfo, hour: int) -> date:
    """Return the newest day whose hour has come."""
    today = now.astimezone(zone).date()
    return today if _at(today, hour, zone) <= now else today - DAY


def _at(on: date, hour: int, zone: tzinfo) -> datetime:
    return datetime.combine(on, time(hour), tzinfo=zone)
