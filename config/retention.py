"""Lets go of what was kept long enough, kind by kind; what a number needs is never among it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from auditlog.models import LogEntry
from django.conf import settings
from django.core.management import call_command
from django_q.models import Task

from billing import forgetting, listings, refusals
from crm import writes
from dashboard.imports import applying

A_NIGHT: Final = 20_000  # bodies; a first night with many years behind it goes on the next


def let_go(*, now: datetime) -> int:
    """Delete or redact all that is older than it is kept; returns how many bodies were redacted.

    A raw body is not deleted: it becomes its redacted form, from which every figure can still be read.
    """
    call_command("clearsessions")
    if settings.TASK_DAYS:
        Task.objects.filter(stopped__lt=now - timedelta(days=settings.TASK_DAYS)).delete()
    if settings.AUDIT_DAYS:
        LogEntry.objects.filter(timestamp__lt=now - timedelta(days=settings.AUDIT_DAYS)).delete()
    writes.forget_old(now=now)
    listings.forget_old(now=now)
    refusals.clear_old(now=now)
    applying.throw_away_old(now=now)
    if not settings.RAW_BODY_DAYS:
        return 0
    return forgetting.redact_old(before=now - timedelta(days=settings.RAW_BODY_DAYS), limit=A_NIGHT, now=now)
