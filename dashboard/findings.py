"""What is wrong or needs a look, the worst first: each with its code, its words, where to go and what to press."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from django.urls import reverse

from billing import selectors as billing
from billing.checks import State
from crm import selectors as crm
from dashboard import formats
from dashboard.machine import Machine
from dashboard.roles import Ability
from mrr import selectors as mrr

Severity = Literal["danger", "warn", "remark"]
_WORST_FIRST: Final = ("danger", "warn", "remark")

OVERDUE: Final = timedelta(minutes=2)
FETCH_PATIENCE: Final = timedelta(minutes=10)
UNCHECKED: Final = timedelta(days=2)
BACKUP_AGE: Final = timedelta(days=2)
UNSEALED: Final = timedelta(minutes=10)
IDLE: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Press:
    """A button of a finding: where it posts which values, and who may press it."""

    label: str
    url: str
    values: tuple[tuple[str, str], ...] = ()
    ability: Ability = Ability.RETRY


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing. `severity` is danger (figures or writes stand still), warn (a person should act) or remark.

    `about` names the source, queue or job. With the code it is the key that notes are kept by: it is the same when the
    finding goes and returns, while the text may differ.
    """

    severity: Severity
    code: str
    text: str
    where: str = ""
    url: str = ""
    press: Press | None = None
    about: str = ""

    @property
    def key(self) -> str:
        return f"{self.code}:{self.about}" if self.about else self.code


def split(key: str) -> tuple[str, str]:
    """Return the code and the about of a key."""
    code, _, about = key.partition(":")
    return code, about


def worst_first(found: Iterable[Finding]) -> list[Finding]:
    return sorted(found, key=lambda one: _WORST_FIRST.index(one.severity))


# ---- workers and jobs ----


def of_machine(machine: Machine, *, now: datetime) -> Iterator[Finding]:
    """Say whether work moves. Due work is believed, not processes: a cluster may look alive and do nothing."""
    if not machine.is_beating:
        said = f"The last sign of life was {_ago(machine.beat_at, now)} ago." if machine.beat_at else "None ever began."
        yield Finding("danger", "workers_silent", f"No worker takes tasks. {said}", "Queues", "#queues")
    for queue in machine.queues:
        if queue.due_since and now - queue.due_since > OVERDUE:
            text = f"{queue.name}: the oldest due work has waited {_ago(queue.due_since, now)}."
            yield Finding("danger", "work_overdue", text, "Queues", "#queues", about=queue.name)
    for job in machine.jobs:
        if job.error:
            text = f"The job “{job.name}” failed: {job.error}"
            yield Finding("warn", "job_failed", text, "Schedules", "#jobs", about=job.name)
        elif job.is_late:
            text = f"The job “{job.name}” runs {job.every} and last began {_ago(job.started_at, now)} ago."
            yield Finding("warn", "job_late", text, "Schedules", "#jobs", about=job.name)
    if machine.backup_at is None:
        text = "The command backup has never been run. Nothing to do where the database is copied by other means."
        yield Finding("remark", "backup_old", text)
    elif now - machine.backup_at > BACKUP_AGE:
        yield Finding("warn", "backup_old", f"The last backup is {_ago(machine.backup_at, now)} old.")


# ---- sources ----


def of_source(found: billing.SourceHealth, *, now: datetime) -> Iterator[Finding]:
    """Say what is wrong with a source: its deliveries, key, endpoint, what is parked or still to be read."""
    slug = found.row.slug
    setup = f"{reverse('dashboard:setup')}#source-{slug}"
    for one in (found.last_delivery, *found.checks):
        if one.state != State.OK and one.code != "no_api_key":  # what lacks the key says so below
            severity: Severity = "remark" if one.state == State.TODO else "warn"
            if one.code in STOPS:
                severity = "danger"
            yield Finding(severity, one.code, f"{slug}: {one.sentence}", "Set up", setup, about=slug)
    for reason in found.parked:
        events = _counted(reason.count, "event is", "events are")
        values = (("source", slug), ("reason", reason.reason))
        press = Press("Process again", reverse("dashboard:health_events"), values)
        url = f"{reverse('dashboard:events')}?source={slug}&state=parked"
        yield Finding("warn", reason.reason, f"{slug}: {events} parked.", "Show them", url, press, slug)
    yield from _fetches(found, now=now)
    yield from _keys(found, now=now)
    if len(found.versions) > 1:
        listed = ", ".join(f"{version} ({formats.count(count)})" for version, count in found.versions)
        yield Finding("remark", "api_versions_differ", f"{slug}: the last events came as {listed}.", about=slug)


# With these a delivery or a read does not get through at all.
STOPS: Final = frozenset({"bad_signature", "bad_timestamp", "wrong_mode", "wrong_key", "endpoint_disabled"})


def _fetches(found: billing.SourceHealth, *, now: datetime) -> Iterator[Finding]:
    for issue in found.fetches:
        if issue.code == "fetch_waiting" and now - issue.oldest_at < FETCH_PATIENCE:
            continue
        lack = _counted(issue.customers, "customer lacks", "customers lack")
        text = f"{found.row.slug}: {_counted(issue.count, 'object', 'objects')} to be read from Stripe; {lack} them."
        press = None
        if issue.code in ("fetch_parked", "missing_permission"):
            press = Press("Try again", reverse("dashboard:health_fetches"), (("source", found.row.slug),))
        url = reverse("dashboard:health_keys", args=[found.row.slug])
        yield Finding("warn", issue.code, text, "Keys", url, press, found.row.slug)


def _keys(found: billing.SourceHealth, *, now: datetime) -> Iterator[Finding]:
    url = reverse("dashboard:health_keys", args=[found.row.slug])
    if found.is_key_old(now=now):
        text = f"{found.row.slug}: the API key is {_ago(found.key_since, now)} old."
        yield Finding("warn", "api_key_old", text, "Keys", url, about=found.row.slug)
    if found.secrets and len(found.old_secrets(now=now)) == len(found.secrets):
        text = f"{found.row.slug}: the signing secret is {_ago(found.secrets[0].created_at, now)} old."
        yield Finding("warn", "signing_secret_old", text, "Keys", url, about=found.row.slug)
    newest, *older = found.secrets or (None,)
    for one in older:
        last = one.last_used_at or one.created_at
        if newest and newest.last_used_at and newest.last_used_at - last > IDLE:
            text = f"{found.row.slug}: whsec_…{one.last4} was last used {_ago(last, now)} ago."
            yield Finding("remark", "signing_secret_idle", text, "Keys", url, about=f"{found.row.slug}:{one.last4}")


def of_lists(slug: str, listing: billing.ListingRow | None, code: str) -> Iterator[Finding]:
    """Say what a backfill, a catch-up or a recount found; `code` names what its findings mean."""
    if listing is None or listing.is_running:
        return
    setup, about = reverse("dashboard:setup"), f"{slug}:{listing.purpose}"
    if listing.code:
        yield Finding("warn", listing.code, f"{slug}: {listing.error}", "Set up", setup, about=about)
    elif not listing.is_complete:
        text = f"{slug}: {formats.count(listing.kept)} of {formats.count(listing.listed)} objects stand in our rows."
        yield Finding("warn", "listing_incomplete", text, "Set up", setup, about=about)
    if code and listing.findings:
        text = f"{slug}: {_counted(listing.findings, 'thing was', 'things were')} found otherwise."
        yield Finding("remark", code, text, about=slug)


# ---- Salesforce ----


def of_salesforce(
    connection: crm.Connection | None, refused: Iterable[crm.ErrorRow], *, now: datetime
) -> Iterator[Finding]:
    """Say whether Salesforce lets us in and takes what we write."""
    if connection is None:
        return
    sync, salesforce = reverse("dashboard:sync"), reverse("dashboard:salesforce")
    if connection.needs_a_person:
        yield Finding("danger", connection.error_code, connection.error, "Connect again", salesforce)
    elif connection.held_since is not None:
        text = f"All writes are held since {_ago(connection.held_since, now)}. {connection.held_because}"
        yield Finding("warn", "writes_held", text, "Salesforce sync", sync)
    elif connection.stopped_at is not None:
        text = "Sending stopped at the reserve of calls that is kept for others."
        yield Finding("warn", "API_RESERVE_REACHED", text, "Salesforce sync", sync)
    elif connection.is_paused(now=now):
        yield Finding("warn", "salesforce_paused", "Salesforce asked us to wait.", "Salesforce sync", sync)
    if connection.waiting_alerted_at is not None:
        text = "Paying customers wait for an Account longer, or with more MRR, than the rules allow."
        yield Finding("warn", "customers_wait", text, "Unmatched", reverse("dashboard:unmatched"))
    for row in refused:
        if not row.explanation.heals:
            text = f"{_counted(row.count, 'record', 'records')} refused. {row.explanation.why}"
            values = (("all_of", row.code), ("to", reverse("dashboard:health")))
            press = Press("Retry all", reverse("dashboard:sync_decide"), values)
            yield Finding("warn", row.code, text, "Show them", f"{sync}?code={row.code}", press)


# ---- the ledger ----


def of_ledger(proof: mrr.Proof, *, now: datetime) -> Iterator[Finding]:
    """Say what the last check of the ledger found, and whether seals and checks are in time."""
    if proof.differences:
        text = (
            f"The last check found {formats.count(proof.differences)} differences. The first: {proof.first_difference}"
        )
        yield Finding("danger", "ledger_differs", text)
    if proof.checked_at and now - proof.checked_at > UNCHECKED:
        text = f"The ledger was last checked {_ago(proof.checked_at, now)} ago."
        yield Finding("warn", "ledger_unchecked", text, "Schedules", "#jobs")
    if proof.unsealed_since and now - proof.unsealed_since > UNSEALED:
        text = f"Entries wait for their seal for {_ago(proof.unsealed_since, now)}."
        yield Finding("warn", "entries_unsealed", text, "Schedules", "#jobs")


def _ago(at: datetime | None, now: datetime) -> str:
    return formats.age(max(0, int((now - at).total_seconds()))) if at else "never"


def _counted(count: int, one: str, many: str) -> str:
    return f"{formats.count(count)} {one if count == 1 else many}"
