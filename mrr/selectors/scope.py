"""What every selector needs: which sources are meant, and when a day begins."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from django.conf import settings

from billing import selectors as billing


def sources_or_live(sources: Sequence[int] | None) -> Sequence[int]:
    """Return the sources named, or all live ones: test data is in no total unless it is asked for."""
    return billing.live_source_pks() if sources is None else sources


def reporting_zone() -> ZoneInfo:
    return ZoneInfo(settings.REPORTING_TIME_ZONE)


def day_start(day: date) -> datetime:
    """Return the moment a day begins in the reporting zone; a day is [its start, the next day's start)."""
    return datetime.combine(day, time.min, reporting_zone())


def month_after(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)
