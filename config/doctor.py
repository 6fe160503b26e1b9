"""Looks at an installation and says of each thing whether it is well and, where it is not, what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from billing.models import EventState, SigningSecret, StripeEvent, StripeSource
from config import due, schedules
from crm.models import Mode, SalesforceOrg, SyncRecord, WorkState


@dataclass(frozen=True)
class Finding:
    """One check: well or not; what was seen; what to do (empty when it is well). A remark needs no cure to be ready."""

    check: str
    is_well: bool
    seen: str
    cure: str = ""


Check = Callable[[datetime], Iterator[Finding]]


def examine(*, now: datetime) -> list[Finding]:
    """Run all checks. Without a database or its tables the later ones cannot be asked and are left out."""
    found: list[Finding] = []
    for necessary in (database, migrations):
        found += necessary(now)
        if not all(one.is_well for one in found):
            return found
    for check in CHECKS:
        try:
            found += check(now)
        except Exception as error:
            found.append(Finding(check.__name__, False, f"The check itself failed: {error}", "Read the log."))
    return found


def database(now: datetime) -> Iterator[Finding]:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        yield Finding("database", False, f"It does not answer: {error}", "Start it, or correct DATABASE_URL.")
        return
    yield Finding("database", True, f"{connection.vendor} answers.")


def migrations(now: datetime) -> Iterator[Finding]:
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    names = ", ".join(f"{migration.app_label}.{migration.name}" for migration, _ in missing[:3])
    yield Finding(
        "migrations",
        not missing,
        f"{len(missing)} not applied: {names}" if missing else "All are applied.",
        "Run manage.py migrate (serve does it by itself)." if missing else "",
    )


def cache_table(now: datetime) -> Iterator[Finding]:
    cache.set("doctor", "well", 60)
    is_well = cache.get("doctor") == "well"
    where = "Redis" if "redis" in settings.CACHES["default"]["BACKEND"] else "The cache table"
    cure = "Run manage.py createcachetable, or look after Redis. Log-in limits and heartbeats live there."
    yield Finding(
        "cache", is_well, f"{where} {'keeps' if is_well else 'does not keep'} values.", "" if is_well else cure
    )


def keys(now: datetime) -> Iterator[Finding]:
    """Decrypt every stored secret: a lost key is found today and not at the next delivery."""
    stored: list[tuple[str, Callable[[], object]]] = [
        ("signing secrets", lambda: [row.secret for row in SigningSecret.objects.iterator()]),
        ("API keys", lambda: [row.api_key for row in StripeSource.objects.iterator()]),
        ("Salesforce tokens", lambda: [row.access_token for row in SalesforceOrg.objects.iterator()]),
    ]
    for name, read in stored:
        try:
            read()
        except ImproperlyConfigured as error:
            yield Finding("keys", False, f"Stored {name} cannot be read.", str(error))
            return
    yield Finding("keys", True, "Every stored secret can be read.")


def sources(now: datetime) -> Iterator[Finding]:
    rows = list(StripeSource.objects.prefetch_related("signing_secrets"))
    if not rows:
        cure = "Add one: manage.py add_source SLUG --label TEXT --signing-secret env:NAME"
        yield Finding("sources", False, "There is no Stripe source.", cure)
    for source in rows:
        secrets = len(source.signing_secrets.all())
        mode = "live" if source.livemode else "test"
        cure = f"Give it the endpoint's secret: manage.py add_source {source.slug} --signing-secret env:NAME"
        seen = f"{source.slug} ({mode} mode) has {secrets or 'no'} signing secret{'' if secrets == 1 else 's'}."
        yield Finding("sources", secrets > 0, seen, "" if secrets else cure)


def parked_events(now: datetime) -> Iterator[Finding]:
    parked = StripeEvent.objects.filter(state=EventState.PARKED).count()
    cure = "Open Stripe events, read the reason, mend the cause and process them again."
    yield Finding("parked", not parked, f"{parked or 'No'} events are parked.", cure if parked else "")


def workers(now: datetime) -> Iterator[Finding]:
    health = due.health(now=now)
    if health.beat_seconds is None:
        seen = "No worker has ever given a sign of life."
    else:
        seen = f"The workers gave their last sign of life {health.beat_seconds:.0f} s ago."
    yield Finding("workers", health.is_beating, seen, "" if health.is_beating else "Start manage.py serve.")


def due_work(now: datetime) -> Iterator[Finding]:
    health = due.health(now=now)
    for name, seconds in (("inbox", health.inbox_seconds), ("outbox", health.outbox_seconds)):
        is_well = (seconds or 0) <= due.TOO_OLD_SECONDS
        seen = (
            f"The {name}'s oldest due work has waited {seconds:.0f} s." if seconds else f"Nothing waits in the {name}."
        )
        yield Finding(
            "due work", is_well, seen, "" if is_well else "See the log of serve; its watchdog restarts workers."
        )


def salesforce(now: datetime) -> Iterator[Finding]:
    org = SalesforceOrg.objects.order_by("pk").first()
    if org is None:
        cure = "Connect one: manage.py connect_salesforce. Until then all customers stay unmatched."
        yield Finding("Salesforce", True, "No org is connected.", cure)
        return
    if org.error or org.error_code:
        yield Finding("Salesforce", False, org.error or org.error_code, "Run manage.py connect_salesforce again.")
    elif org.paused_until and org.paused_until > now:
        yield Finding(
            "Salesforce",
            False,
            f"Sending is paused until {org.paused_until:%H:%M} UTC.",
            "Wait, or look at its limits.",
        )
    else:
        what = "recorded as would send" if org.mode == Mode.SHADOW else "written"
        yield Finding("Salesforce", True, f"{org.instance_url} is in {org.mode} mode: changes are {what}.")
    refused = SyncRecord.objects.filter(state=WorkState.PARKED).count()
    cure = "Open Salesforce sync: each row says what was refused and what to do."
    yield Finding("Salesforce", not refused, f"{refused or 'No'} records are parked.", cure if refused else "")


def scheduled_jobs(now: datetime) -> Iterator[Finding]:
    missing = schedules.missing_jobs()
    seen = f"Missing: {', '.join(missing)}." if missing else "All are installed."
    yield Finding("schedules", not missing, seen, "Run manage.py sync_schedules." if missing else "")


CHECKS: tuple[Check, ...] = (
    cache_table,
    keys,
    sources,
    parked_events,
    workers,
    due_work,
    salesforce,
    scheduled_jobs,
)
