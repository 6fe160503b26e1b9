"""Reads Stripe's lists side by side, a page a transaction, and goes on where it stopped: a kill loses a page or two."""

from __future__ import annotations

import fcntl
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from billing import gone, listings, stripe_api
from billing.inbox import described
from billing.listings import Open
from billing.models import Listing, ListingState, Purpose, StripeSource
from billing.owed import NO_KEY
from billing.resources import BACKFILLED, EVENTS, OPEN_INVOICES, RESOURCES, Resource
from billing.stripe_api import Page
from billing.windows import PAGE, Window

log = structlog.get_logger(__name__)

DAYS: Final = 30  # how far back Stripe's list of events goes, and by default what belongs to its time is read
EARLIEST: Final = int(datetime(2009, 1, 1, tzinfo=UTC).timestamp())  # no account is older
# Pages asked for and not stored yet: all that a kill loses. At a tenth of a second a page it is 3,000 objects a second.
AT_ONCE: Final = 4
WINDOWS_A_LIST: Final = 4
TRIES: Final = 6  # of one call; after that the listing waits as a row
ATTEMPTS: Final = 8
FIRST_PAUSE_SECONDS: Final = 0.5

Tell = Callable[[Listing], None]


def _nobody_to_wake() -> None:
    pass


# Has the workers look at once whether something is to be read; without it the sweep finds it within half a minute.
wake: Callable[[], None] = _nobody_to_wake


def start(
    source_pk: int,
    *,
    by: str,
    since: datetime | None = None,
    is_full: bool = False,
    is_dry: bool = False,
    now: datetime | None = None,
) -> Listing:
    """Owe a backfill of a source, or return the one that is not finished, which goes on where it stopped.

    Products, prices, coupons, schedules, customers and subscriptions are read whole. What belongs to its time
    (invoices, charges, refunds, disputes, payouts) is read from `since` on, by default of the last 30 days, with
    `is_full` from the start; open invoices always; events of at most 30 days. Workers take the row up by themselves.
    """
    now = now or timezone.now()
    begin = None if is_full else since or now - timedelta(days=DAYS)
    watermark = int(now.timestamp())
    first = EARLIEST if begin is None else int(begin.timestamp())
    spans: dict[str, tuple[int, int]] = {}
    for name in BACKFILLED:
        spans[name] = (first if RESOURCES[name].is_dated else EARLIEST, watermark)
    spans[EVENTS] = (max(first, int((now - timedelta(days=DAYS)).timestamp())), watermark)
    if begin is None:
        del spans[OPEN_INVOICES]
    else:
        spans[OPEN_INVOICES] = (EARLIEST, first - 1)
    purpose = Purpose.DRY_RUN if is_dry else Purpose.BACKFILL
    listings.reopen(source_pk, purpose, now=now)
    return listings.add(source_pk, purpose, spans, by=by, since=begin, now=now)


def carry_on(listing: Listing, *, stop: Callable[[], bool] = lambda: False, tell: Tell | None = None) -> bool:
    """Read on until the lists are read or `stop` says so; False when another process is at it.

    Calls are made by threads that do nothing else; pages are stored here, each in a transaction with its progress.
    What Stripe refuses for good ends its list alone; what fails otherwise leaves the listing due again later.
    """
    with _held(listing) as is_ours:
        if not is_ours:
            return False
        listing.refresh_from_db()
        if listing.state == ListingState.LISTING:
            _read(listing, stop=stop, tell=tell or (lambda _listing: None))
    return True


def next_due(*, now: datetime) -> Listing | None:
    """Return the listing that has waited longest for somebody to read on."""
    return Listing.objects.filter(state=ListingState.LISTING, due_at__lte=now).order_by("due_at", "pk").first()


# ---- reading ----


def _read(listing: Listing, *, stop: Callable[[], bool], tell: Tell) -> None:
    source = StripeSource.objects.get(pk=listing.source_id)
    if not source.api_key:
        told = f"The source '{source.slug}' has no API key: add a restricted one with add_source --api-key."
        listings.end(listing, code=NO_KEY, error=told, now=timezone.now())
        return
    reader = stripe_api.Reader(source)
    progress = listings.Progress(listing, source, windows_a_list=WINDOWS_A_LIST)
    trouble: Exception | None = None
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        asked: dict[Future[tuple[Page, int]], Open] = {}
        while True:
            if trouble is None and not stop():
                for each in progress.take_ready(AT_ONCE - len(asked)):
                    asked[pool.submit(_ask, reader, each.resource, each.window)] = each
            if not asked:
                break
            done, _ = wait(asked, return_when=FIRST_COMPLETED)
            for future in done:
                each = asked.pop(future)
                try:
                    trouble = _settle(progress, each, future) or trouble
                except Exception as error:  # what cannot be stored now: the page is read again
                    log.warning("page not stored", list=each.resource.name, error=type(error).__name__)
                    trouble = error
            tell(listing)
    if trouble is None and progress.is_over():
        trouble = _end(listing, reader)
    if trouble is not None:
        _put_off(listing, trouble)


def _end(listing: Listing, reader: stripe_api.Reader) -> Exception | None:
    try:
        gone.settle(listing, reader, now=timezone.now())
    except stripe_api.Busy as error:
        return error
    listings.all_read(listing, now=timezone.now())
    return None


def _settle(progress: listings.Progress, each: Open, future: Future[tuple[Page, int]]) -> Exception | None:
    """Store a page; return the error for which the whole listing must wait, if that is what came."""
    try:
        page, calls = future.result()
    except (stripe_api.Busy, stripe_api.WrongKey) as error:
        return error
    except stripe_api.StripeError as error:  # this list is not for us: the others are
        code = "missing_permission" if isinstance(error, stripe_api.NotAllowed) else "list_refused"
        progress.refuse(each, code=code, error=str(error))
        return None
    with transaction.atomic():
        progress.store(each, page, calls=calls, now=timezone.now())
    return None


def _put_off(listing: Listing, error: Exception) -> None:
    now = timezone.now()
    listing.refresh_from_db(fields=["attempts"])
    told = str(error)[:300] if isinstance(error, stripe_api.StripeError) else described(error)
    if isinstance(error, stripe_api.WrongKey):
        listings.end(listing, code="wrong_api_key", error=told, now=now)
    elif listing.attempts + 1 >= ATTEMPTS:
        listings.end(listing, code="listing_failed", error=told, now=now)
    else:
        seconds = 2 ** (listing.attempts + 2) * random.uniform(0.75, 1.25)
        later = now + timedelta(seconds=seconds)
        Listing.objects.filter(pk=listing.pk).update(attempts=F("attempts") + 1, due_at=later, error=told)


@contextmanager
def _held(listing: Listing) -> Iterator[bool]:
    """Hold a listing on this machine. The kernel gives it back even when the holder is killed.

    Two machines that read the same do no harm: a page moves its window only from where it was read.
    """
    folder = settings.DATA_DIR / "lanes"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"listing-{listing.pk}").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


# ---- asking: nothing but calls ----


def _ask(reader: stripe_api.Reader, resource: Resource, window: Window) -> tuple[Page, int]:
    """Read the next page of a window, with what its objects lack, and say how many calls that took."""
    page, calls = _page(reader, resource, window)
    if resource.kind != "subscription":
        return page, calls
    rows = []
    for obj, raw in page.rows:
        if obj.get("items", {}).get("has_more"):
            items = reader.all("subscription_items", subscription=obj["id"], expand=["data.discounts"])
            calls += 1 + (len(items) - 1) // PAGE
            obj = {**obj, "items": {**obj["items"], "data": items, "has_more": False}}
        rows.append((obj, raw))
    return Page(rows, page.has_more, page.asked), calls


def _page(reader: stripe_api.Reader, resource: Resource, window: Window) -> tuple[Page, int]:
    asked_for = _asked_for(resource, window)
    for attempt in range(1, TRIES):
        try:
            return reader.page(resource.path, asked_for), attempt
        except stripe_api.RateLimited:
            reader.hold(seconds=_pause(attempt))  # all calls of this account wait
        except stripe_api.Busy:
            time.sleep(_pause(attempt))
    return reader.page(resource.path, asked_for), TRIES


def _pause(attempt: int) -> float:
    return FIRST_PAUSE_SECONDS * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)


def _asked_for(resource: Resource, window: Window) -> dict[str, Any]:
    created = {"lte": window.last} | ({"gte": window.first} if window.first > EARLIEST else {})
    asked: dict[str, Any] = {"limit": PAGE, "created": created, **resource.filters}
    if resource.expand:
        asked["expand"] = list(resource.expand)
    if window.cursor:
        asked["starting_after"] = window.cursor
    return asked
