"""Brings an installation up to date before it serves: tables, cache table, schedules, roles; and opens an empty one."""

from __future__ import annotations

import hashlib
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from config import schedules
from dashboard.models import SetupCode

MIGRATION_LOCK = 7_208_311  # any number that nothing else in the database uses


def bring_up_to_date() -> None:
    """Migrate, make the cache table and install the schedules; several machines may do it at once."""
    with _one_at_a_time():
        call_command("migrate", interactive=False, verbosity=0, stdout=sys.stderr)
        call_command("createcachetable", verbosity=0, stdout=sys.stderr)
        schedules.sync()


def new_setup_link(base_url: str) -> str | None:
    """Return the link that opens the set-up page of an empty install, once; None when there are users.

    Only the code's digest is kept. Codes that nobody used are replaced.
    """
    if get_user_model().objects.exists():
        return None
    code = secrets.token_urlsafe(24)
    SetupCode.objects.filter(used_at__isnull=True).delete()
    SetupCode.objects.create(digest=hashlib.sha256(code.encode()).hexdigest(), created_at=timezone.now())
    return f"{base_url}/dashboard/setup/?code={code}"


def address(bind: str) -> str:
    """Return where people find it: BASE_URL when one was set, else the bound address, which then is BASE_URL."""
    if settings.BASE_URL == "http://127.0.0.1:8000":
        host, _, port = bind.rpartition(":")
        settings.BASE_URL = f"http://{'127.0.0.1' if host in ('0.0.0.0', '[::]') else host}:{port}"  # noqa: S104
    return str(settings.BASE_URL)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [MIGRATION_LOCK])
