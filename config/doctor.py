"""Looks at an installation and says of each thing whether it is well and, where it is not, what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from billing import deliveries, examining
from billing import selectors as billing
from billing.checks import State
from billing.models import EventState, SigningSecret, StripeEvent, StripeSource
from config import due, schedules
from crm import org_setup
from crm import selectors as crm
from crm.models import SalesforceOrg, SyncRecord, WorkState
from crm.selectors import set_up
from mrr import check, seals, selectors
from mrr.days import day_of


@dataclass(frozen=True)
class Finding:
    """One check: well or not; what was seen; what to do (empty when it is well). A remark needs no cure to be ready.

    `code` names the fault where a page of help tells more.
    """

    check: str
    is_well: bool
    seen: str
    cure: str = ""
    code: str = ""


Check = Callable[[datetime], Iterator[Finding]]


def examine(*, now: datetime) -> list[Finding]:
    """Run all checks. Without a database or its tables the later ones cannot be asked and are left out."""
    found: list[Finding] = []
    for necessary in (database, migrations):
        found += necessary(now)
        if not all(one.is_well for one in found):
            return found
    for look in CHECKS:
        try:
            found += look(now)
        except Exception as error:
            found.append(Finding(look.__name__, False, f"The check itself failed: {error}", "Read the log."))
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
    """Ask Stripe about each source, and our own rows about its deliveries."""
    rows = list(StripeSource.objects.all())
    if not rows:
        cure = "Add one on the set-up page, or: manage.py add_source SLUG --label TEXT --api-key env:NAME"
        yield Finding("sources", False, "There is no Stripe source.", cure)
    for source in rows:
        found = [
            *examining.refresh(source.pk, now=now),
            deliveries.deliveries(source.pk, livemode=source.livemode, now=now),
        ]
        for one in found:
            seen = f"{source.slug}: {one.sentence}"
            yield Finding(f"Stripe {one.subject}", one.state != State.MEND, seen, one.cure, one.code)


def parked_events(now: datetime) -> Iterator[Finding]:
    parked = StripeEvent.objects.filter(state=EventState.PARKED).count()
    cure = "Open Stripe events, read the reason, mend the cause and process them again."
    yield Finding("parked", not parked, f"{parked or 'No'} events are parked.", cure if parked else "")


def owed_fetches(now: datetime) -> Iterator[Finding]:
    """What Stripe's API owes us: until it comes, MRR that needs it says incomplete."""
    for issue in billing.fetch_issues():
        wait = f"{issue.customers} customer{'' if issue.customers == 1 else 's'}"
        seen = f"{issue.source_slug}: {issue.count} to be read from Stripe ({issue.code}), for {wait}. {issue.said}"
        is_new = issue.code == "fetch_waiting" and (now - issue.oldest_at).total_seconds() < FETCH_PATIENCE_SECONDS
        yield Finding("fetches", is_new, seen.strip(), "" if is_new else FETCH_CURES[issue.code])


FETCH_PATIENCE_SECONDS = 600
FETCH_CURES = {
    "fetch_waiting": "See whether the workers run, and Owed fetches in the admin for what Stripe said.",
    "no_api_key": "Give the source a restricted key that reads: manage.py add_source SLUG --api-key env:NAME",
    "missing_permission": "Grant the key that right in Stripe and choose Try again, or add another key.",
    "fetch_parked": "Open Owed fetches in the admin: each says why. Mend the cause and choose Try again.",
}


def workers(now: datetime) -> Iterator[Finding]:
    health = due.health(now=now)
    if health.beat_seconds is None:
        seen = "No worker has ever given a sign of life."
    else:
        seen = f"The workers gave their last sign of life {health.beat_seconds:.0f} s ago."
    yield Finding("workers", health.is_beating, seen, "" if health.is_beating else "Start manage.py serve.")


def due_work(now: datetime) -> Iterator[Finding]:
    health = due.health(now=now)
    for name, seconds in (
        ("inbox", health.inbox_seconds),
        ("fetches", health.fetches_seconds),
        ("outbox", health.outbox_seconds),
    ):
        is_well = (seconds or 0) <= due.TOO_OLD_SECONDS
        seen = (
            f"The {name}'s oldest due work has waited {seconds:.0f} s." if seconds else f"Nothing waits in the {name}."
        )
        yield Finding(
            "due work", is_well, seen, "" if is_well else "See the log of serve; its watchdog restarts workers."
        )


def salesforce(now: datetime) -> Iterator[Finding]:
    """Say how the connection stands, what the org lacks (looked at again where that was a day ago), and its limit."""
    org = set_up.salesforce_set_up()
    if org and org.is_connected and (org.checked_at is None or now - org.checked_at > LOOK_AGAIN):
        try:
            org_setup.check(now=now)
        except org_setup.NotDone as error:
            yield Finding("set-up", False, f"The org could not be compared: {error}", "Open the Salesforce page.")
        org = set_up.salesforce_set_up()
    for one in set_up.checks(org, now=now):
        yield Finding(one.subject, one.state != State.MEND, one.sentence, one.cure, one.code)
    _, budget = crm.standing(now=now)
    if budget and budget.used is not None and budget.limit is not None:
        is_well = bool(budget.headroom)
        seen = (
            f"{budget.used} of the org's {budget.limit} calls a day are used; we stop {budget.reserve} before the end."
        )
        cure = "Wait for the day to roll on, or see what else calls the org. What is due is sent then."
        yield Finding("limits", is_well, seen, "" if is_well else cure, "" if is_well else "API_RESERVE_REACHED")
    refused = SyncRecord.objects.filter(state=WorkState.PARKED).count()
    cure = "Open Salesforce sync: each row says what was refused and what to do."
    yield Finding("Salesforce", not refused, f"{refused or 'No'} records are parked.", cure if refused else "")


LOOK_AGAIN = timedelta(days=1)


def ledger(now: datetime) -> Iterator[Finding]:
    """Say what the last nightly check found, and whether entries are sealed."""
    last = check.last_run()
    if last is None:
        yield Finding(
            "ledger", True, "The ledger has not been checked by night yet.", "manage.py check_ledger does it."
        )
    else:
        at = f"{last.finished_at:%Y-%m-%d %H:%M} UTC"
        first = f" The first: {last.findings[0]}." if last.findings else ""
        cure = "Run manage.py check_ledger: it names each. What was changed behind our back it never mends."
        seen = f"The check of {at} found {last.differences or 'no'} differences.{first}"
        yield Finding("ledger", not last.differences, seen, cure if last.differences else "")
        if last.finished_at and now - last.finished_at > timedelta(days=2):
            cure = "See whether the workers run, and the log of serve for `check`."
            yield Finding("ledger", False, f"The ledger was last checked on {at}.", cure)
    unsealed = seals.waiting_since()
    if unsealed and now - unsealed > timedelta(minutes=10):
        cure = "Start manage.py serve: its workers seal entries each minute."
        yield Finding("seals", False, f"Entries wait for their seal since {unsealed:%Y-%m-%d %H:%M} UTC.", cure)


def reopening(now: datetime) -> Iterator[Finding]:
    asked = selectors.reopening_asked()
    if asked:
        seen = f"{asked.asked_by} asks to reopen {asked.month:%Y-%m} since {asked.asked_at:%Y-%m-%d %H:%M} UTC."
        cure = (
            f"Another person of the role finance or admin grants it: reopen_month {asked.month:%Y-%m} --user USER. If "
            f"nobody else is in finance, {asked.asked_by} may do it alone from {asked.alone_at:%Y-%m-%d %H:%M} UTC on."
        )
        yield Finding("reopening", False, seen, cure)


def exchange_rates(now: datetime) -> Iterator[Finding]:
    """Look for currencies with MRR that cannot be converted today, or not at the day that ratios compare by."""
    today = day_of(now)
    found = selectors.standing().currencies
    rates = selectors.exchange([row.currency for row in found])
    if all(row.currency == rates.reporting for row in found):
        yield Finding("exchange rates", True, "None is needed: all MRR is in the reporting currency.")
        return
    held = selectors.converted_mrr(found, today, rates=rates).held
    unpinned = [row.currency for row in found if rates.constant(1, row.currency) is None]
    cure = "Import rates: manage.py import_rates --ecb, or a file of your own. Until then the total is incomplete."
    seen = f"No rate of the last seven days for {', '.join(code.upper() for code in held)}."
    yield Finding("exchange rates", not held, seen if held else "Every currency has a rate.", cure if held else "")
    if unpinned:
        listed = ", ".join(code.upper() for code in unpinned)
        seen = f"No rate of {rates.pinned_on} for {listed}: ratios and cohorts of all currencies are not known."
        yield Finding("exchange rates", False, seen, "Import the rates of that day: manage.py import_rates.")


def scheduled_jobs(now: datetime) -> Iterator[Finding]:
    missing = schedules.missing_jobs()
    seen = f"Missing: {', '.join(missing)}." if missing else "All are installed."
    yield Finding("schedules", not missing, seen, "Run manage.py sync_schedules." if missing else "")


CHECKS: tuple[Check, ...] = (
    cache_table,
    keys,
    sources,
    parked_events,
    owed_fetches,
    workers,
    due_work,
    salesforce,
    ledger,
    reopening,
    exchange_rates,
    scheduled_jobs,
)
