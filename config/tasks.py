"""What django-q2 runs: functions without arguments, since the rows say what is to be done."""

from __future__ import annotations

import fcntl
import mmap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import IO

import structlog
from django.conf import settings
from django.core.cache import cache
from django.utils import timezone

from billing import catch_up as catching
from billing import examining
from billing import selectors as billing
from config import departures, due, forgetting, pipeline, recounting, repricing, retention
from config.backups import catching_up
from config.nudge import Lane, enqueue, nudge
from crm import assessing, choices, connections, converted, drift, holding, matching, overdue, patrol, shadow
from dashboard import summaries
from dashboard.imports import working
from dashboard.models import JobRun
from mrr import check, committed, ecb, fx, seals
from mrr.days import day_of
from mrr.engine.rates import Origin

log = structlog.get_logger(__name__)

# A drain that finds nothing more looks again for a while, so that a burst needs few tasks and a single event no wait.
LINGER_SECONDS = 2.5
FIRST_POLL_SECONDS, LAST_POLL_SECONDS = 0.03, 0.08
# Then it makes room for other tasks; what is left is taken up by the task it leaves behind.
LONGEST_DRAIN_SECONDS = 10.0
# A part of each minute of the night: a worker that takes longer would seem to be stuck.
CHECK_SECONDS = 15.0


class Marks:
    """A page of memory shared by `serve` and all that it forks: who stops, who moved last. Seconds since the epoch.

    Alone in its process (tests, a bare `qcluster`) it is just this process's own.
    """

    _STOPPING, _PROGRESS, _BEAT, _RESTART = range(4)

    def __init__(self) -> None:
        self._values = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("d")

    @property
    def is_stopping(self) -> bool:
        return bool(self._values[self._STOPPING])

    def stop(self) -> None:
        self._values[self._STOPPING] = 1.0

    @property
    def progress_at(self) -> float:
        return self._values[self._PROGRESS]

    def progressed(self) -> None:
        self._values[self._PROGRESS] = time.time()

    @property
    def beat_at(self) -> float:
        return self._values[self._BEAT]

    def beat(self) -> None:
        self._values[self._BEAT] = time.time()

    def ask_restart(self) -> None:
        self._values[self._RESTART] = 1.0

    def take_restart(self) -> bool:
        """Say whether a restart of the workers was asked for, once."""
        asked = bool(self._values[self._RESTART])
        self._values[self._RESTART] = 0.0
        return asked


marks = Marks()

# How many drains of a lane may run at once on this machine. SQLite has one writer, so more would only wait.
# What Stripe allows is counted by the process that asks, so one asks.
lanes: dict[Lane, int] = {"inbox": 1, "fetches": 1, "outbox": 1, "listings": 1, "imports": 1}


def share_lanes(*, workers: int, has_many_writers: bool) -> None:
    """Give the inbox all workers but one where the database takes many writers; the last is for the rest."""
    lanes["inbox"] = max(1, workers - 1) if has_many_writers else 1


def run_inbox() -> int:
    """Drain the inbox until nothing is due; returns how many events were taken."""
    return _drain("inbox", _inbox_batch, due.is_inbox_due)


def run_clock() -> int:
    """Post what fell due with no event until nothing is; returns how many entries that made."""
    done = 0
    while not marks.is_stopping and due.is_clock_due(now=timezone.now()):
        done += pipeline.drain_clock().entries
        marks.progressed()
    if done:
        nudge("outbox")
    return done


def run_repricing() -> None:
    """Go on with a change of policy that nobody works on any more, for as long as a drain may take."""
    if repricing.abandoned(now=timezone.now()):
        until = time.monotonic() + LONGEST_DRAIN_SECONDS
        repricing.carry_on(until=lambda: marks.is_stopping or time.monotonic() > until)
        nudge("outbox")


def run_forgettings() -> None:
    """Forget whom we were asked to forget."""
    if forgetting.run_due(now=timezone.now()):
        marks.progressed()


def run_fetches() -> int:
    """Ask Stripe for what payloads lacked; returns how many fetches were taken up and customers brought in step."""
    return _drain("fetches", _fetches_batch, due.is_fetch_due)


def run_listings() -> int:
    """Read Stripe's lists, and post whom they told something new of; returns how much was done."""
    if not due.is_listing_due(now=timezone.now()):
        return 0  # lists are read seldom: nobody waits for the next
    return _drain("listings", _listings_batch, due.is_listing_due)


def run_imports() -> int:
    """Read, apply and undo large files that people brought; returns how many were taken up."""
    if not working.is_due(now=timezone.now()):
        return 0  # files are brought seldom: nobody waits for the next
    return _drain("imports", _imports_batch, working.is_due)


def run_outbox() -> int:
    """Send what is due; returns how much was sent (or would have been)."""
    return _drain("outbox", _outbox_batch, due.is_outbox_due)


def run_accounts() -> None:
    """Read what a Flow told of, and try whom it concerns."""
    read_accounts()


def sweep() -> None:
    """Find what a lost nudge left. `serve` sweeps every 30 s; this one is scheduled each minute for other set-ups."""
    run_inbox()
    run_fetches()
    run_listings()
    run_clock()
    run_repricing()
    run_forgettings()
    run_imports()
    run_outbox()


def beat() -> None:
    """Show that tasks reach a worker and are run. A task that takes longer than 20 s calls this as it goes."""
    marks.beat()
    now = timezone.now()
    cache.set(due.BEAT_KEY, now.isoformat(), timeout=None)
    JobRun.objects.update_or_create(name="beat", defaults={"started_at": now, "ended_at": now, "went_well_at": now})


def keep_books() -> None:
    """Seal what was posted, watch the last closed month, and take the nightly check of the ledger a little further."""
    seals.seal_all(now=timezone.now())
    if departures.watch(now=timezone.now()):
        nudge("outbox")
    check.check_some(now=timezone.now(), seconds=CHECK_SECONDS)


def read_accounts() -> None:
    """Read what changed in Salesforce, when it is time to ask, and try the waiting customers again."""
    now = timezone.now()
    connections.keep_trying(now=now)
    if matching.keep_up(now=now):
        nudge("outbox")
    if matching.is_due(now=now):
        nudge("accounts")  # who was not reached: another task, so that this one is no stuck one
    overdue.watch(now=now)


def compare_shadow() -> None:
    """Compare would-be writes with what Salesforce holds, a set at a time."""
    if shadow.is_due():
        shadow.look(now=timezone.now())


def find_drift() -> None:
    """Compare what others changed in Salesforce with what we wrote, and ask anew where no Opportunity was sure."""
    now = timezone.now()
    try:
        drift.check(now=now)
    except drift.NotChecked as reason:
        log.info("drift not looked for", reason=str(reason))
    if choices.look_again_at_all(now=now):
        nudge("outbox")


def catch_up() -> None:
    """Look for deliveries that were missed, and for events since the last one seen, at every source that has a key."""
    for source in catching.sources():
        catching.start(source, by="schedule", now=timezone.now())
    run_listings()


def finish_restore() -> None:
    """Let Salesforce go again after a restore, as soon as all was read anew and nothing there is newer."""
    if holding.held_by(catching_up.BY) is not None:
        catching_up.finish(now=timezone.now())


def recount() -> None:
    """Hold every object that MRR rests on against Stripe, at every source that has a key."""
    for source in catching.sources():
        catching.start_recount(source, by="schedule", now=timezone.now())
    run_listings()


def patrol_records() -> None:
    """Go a little further over all that we wrote, while this night's round is not done."""
    try:
        patrol.take_turn(now=timezone.now())
    except drift.NotChecked as reason:
        log.info("records not patrolled", reason=str(reason))


def assess_risks() -> None:
    """Judge every paying customer anew: a due date passes and a card expires without any event."""
    if assessing.assess_all(now=timezone.now()):
        nudge("outbox")


def tell_summaries() -> None:
    """Tell the summary of a week or a month that has fallen due."""
    if summaries.tell_due(now=timezone.now()):
        nudge("outbox")


def keep_rates() -> None:
    """Follow a new fiscal year, fetch the central bank's newest rates if its table is in use, and tell Salesforce."""
    fx.keep_up(day_of(timezone.now()))
    newest = fx.newest(Origin.ECB)
    if newest is not None:
        try:
            fx.store(list(ecb.online(since=newest)))
        except ecb.Unreachable as error:  # nothing is wrong yet: a rate is good for seven days, and then a finding
            log.info("rates_not_fetched", reason=str(error))
    if converted.owe_again(now=timezone.now()):
        nudge("outbox")


def keep_scheduled() -> None:
    """Keep what was scheduled to change MRR when the last month ended; a first time for all months, part by part."""
    committed.keep(now=timezone.now(), seconds=CHECK_SECONDS)


def check_sources() -> None:
    """Ask Stripe once a day whether keys still read what they must and endpoints are still on."""
    for source in billing.sources():
        examining.refresh(source.pk, now=timezone.now())


def clear_old() -> None:
    """Let go of what was kept long enough: sessions, tasks, audit lines, writes, counts, and bodies as they came."""
    retention.let_go(now=timezone.now())


def _inbox_batch(now: datetime) -> int:
    drained = pipeline.drain_inbox(now=now)
    if drained.events:
        nudge("outbox")
    if drained.owed:
        nudge("fetches")
    return drained.events


def _fetches_batch(now: datetime) -> int:
    drained = pipeline.drain_fetches(now=now)
    if drained.entries:
        nudge("outbox")
    return drained.fetched + drained.reposted


def _listings_batch(now: datetime) -> int:
    drained = pipeline.drain_listings(now=now) + pipeline.drain_unposted(now=now)
    counted = recounting.count_some(now=now)
    nudge("inbox")  # events may have come with the lists
    if drained.owed:
        nudge("fetches")
    if drained.entries:
        nudge("outbox")
    return drained.listed + drained.reposted + counted


def _imports_batch(now: datetime) -> int:
    def goes_on() -> bool:
        marks.progressed()
        return not marks.is_stopping

    taken = working.carry_on(now=now, goes_on=goes_on)
    nudge("outbox")  # matches move what is owed to Salesforce
    return taken


def _outbox_batch(now: datetime) -> int:
    return pipeline.drain_outbox(now=now).messages


def _drain(lane: Lane, batch: Callable[[datetime], int], is_due: Callable[..., bool]) -> int:
    """Run batches while the lane is ours; leave a task behind when there is more than we may take."""
    done = 0
    started = time.monotonic()
    while True:
        with _a_lane(lane) as is_ours:
            if not is_ours:
                return done  # as many drains as may run are running; they look again after letting go
            done += _run_batches(batch, is_due, until=started + LONGEST_DRAIN_SECONDS)
        if marks.is_stopping:
            return done
        if time.monotonic() - started > LONGEST_DRAIN_SECONDS:
            if is_due(now=timezone.now()):
                enqueue(lane)
            return done
        if not is_due(now=timezone.now()):  # an event kept while we let go has found the lane taken
            return done


def _run_batches(batch: Callable[[datetime], int], is_due: Callable[..., bool], *, until: float) -> int:
    done = 0
    idle_since = time.monotonic()
    pause = FIRST_POLL_SECONDS
    while not marks.is_stopping and time.monotonic() < until:
        taken = batch(timezone.now()) if is_due(now=timezone.now()) else 0
        if taken:
            done += taken
            marks.progressed()
            idle_since, pause = time.monotonic(), FIRST_POLL_SECONDS
        elif time.monotonic() - idle_since > LINGER_SECONDS:
            break
        else:
            time.sleep(pause)
            pause = min(pause * 1.5, LAST_POLL_SECONDS)
    return done


@contextmanager
def _a_lane(lane: Lane) -> Iterator[bool]:
    """Hold one of the lane's places on this machine. The kernel gives it back even when the holder is killed."""
    held = _take_place(lane)
    try:
        yield held is not None
    finally:
        if held:
            held.close()


def _take_place(lane: Lane) -> IO[str] | None:
    folder = settings.DATA_DIR / "lanes"
    folder.mkdir(parents=True, exist_ok=True)
    for place in range(lanes[lane]):
        file = (folder / f"{lane}-{place}").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
        else:
            return file
    return None
