"""When a day or a month begins in the reporting zone."""

from __future__ import annotations

from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from django.conf import settings


def reporting_zone() -> ZoneInfo:
    return ZoneInfo(settings.REPORTING_TIME_ZONE)


def day_of(moment: datetime) -> date:
    """Return the day, in the reporting zone, that a moment falls into."""
    return moment.astimezone(reporting_zone()).date()


def day_start(day: date) -> datetime:
    """Return the moment a day begins in the reporting zone; a day is [its start, the next day's start)."""
    return datetime.combine(day, time.min, reporting_zone())


def month_after(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)
