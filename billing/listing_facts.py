"""What the readings of Stripe's lists came to, as frozen rows: backfills, catch-ups, recounts, and what they found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count

from billing.models import Listing, ListingFinding, ListingPart, ListingState, Purpose
from billing.resources import MRR, RESOURCES
from billing.windows import Window


@dataclass(frozen=True, slots=True)
class ListedPart:
    """One list: how many objects Stripe listed, how many of them stand in our rows, and what was otherwise before.

    `left` is roughly how many are still to be read. `code` says why the list could not be read, empty when it could.
    """

    name: str
    listed: int
    kept: int
    new: int
    differing: int
    unreadable: int
    gone: int
    left: int
    is_done: bool
    code: str
    error: str

    @property
    def is_complete(self) -> bool:
        return self.is_done and not self.code and self.kept == self.listed


@dataclass(frozen=True, slots=True)
class ListingRow:
    """One reading of Stripe's lists. `state` is listing, posting, counting, done or stopped.

    `code` and `error` say why it stopped, or waits.
    """

    pk: int
    source_pk: int
    purpose: str
    state: str
    by: str
    since: datetime | None
    watermark_at: datetime
    started_at: datetime
    listed_at: datetime | None
    finished_at: datetime | None
    due_at: datetime
    calls: int
    code: str
    error: str
    parts: tuple[ListedPart, ...]
    waiting_customers: int
    findings: int

    @property
    def is_running(self) -> bool:
        return self.state in (ListingState.LISTING, ListingState.POSTING, ListingState.COUNTING)

    @property
    def is_complete(self) -> bool:
        """All lists were read, and every object on them stands in our rows: the proof."""
        return not self.is_running and not self.code and all(part.is_complete for part in self.parts)

    @property
    def listed(self) -> int:
        return sum(part.listed for part in self.parts)

    @property
    def kept(self) -> int:
        return sum(part.kept for part in self.parts)

    @property
    def differing(self) -> int:
        return sum(part.differing for part in self.parts)

    @property
    def share_percent(self) -> int:
        """Roughly how much of the lists is read, for a progress bar: 0 to 100."""
        if self.state != ListingState.LISTING:
            return 100
        left = sum(part.left for part in self.parts if not part.is_done)
        waiting = sum(not part.is_done and not part.listed for part in self.parts)
        return 100 * self.listed // max(1, self.listed + left + 100 * waiting)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a listing found otherwise: `how` is missing, differs, gone or unreadable; `details` is JSON."""

    kind: str
    stripe_id: str
    how: str
    details: dict[str, object]
    found_at: datetime
    repaired_at: datetime | None


def backfill_progress(source_pk: int) -> ListingRow | None:
    """Return a source's backfill, the running or the last one; None when there was none."""
    return last_listing(source_pk, Purpose.BACKFILL)


def is_reading_history() -> bool:
    """Say whether a backfill of a live source runs: until it ends, figures of the past still fill up. One query."""
    running = Listing.objects.filter(purpose=Purpose.BACKFILL, source__livemode=True)
    return running.filter(state__in=(ListingState.LISTING, ListingState.POSTING, ListingState.COUNTING)).exists()


def last_catch_up(source_pk: int) -> ListingRow | None:
    """Return the last search of a source's events for missed deliveries; None when there was none."""
    return last_listing(source_pk, Purpose.CATCH_UP)


def last_recount(source_pk: int) -> ListingRow | None:
    """Return the last recount of a source against Stripe; None when there was none."""
    return last_listing(source_pk, Purpose.RECOUNT)


def last_listing(source_pk: int, purpose: str) -> ListingRow | None:
    """Return the running or the last listing of one purpose."""
    found = Listing.objects.filter(source_id=source_pk, purpose=purpose).order_by("-started_at", "-pk").first()
    return listing_row(found.pk) if found else None


def listing_row(listing_pk: int) -> ListingRow:
    """Return one listing as it stands now; four queries."""
    listing = Listing.objects.annotate(
        waiting=Count("unposted", distinct=True), found=Count("findings", distinct=True)
    ).get(pk=listing_pk)
    parts = {part.name: part for part in listing.parts.prefetch_related("windows")}
    return ListingRow(
        listing.pk,
        listing.source_id,
        listing.purpose,
        listing.state,
        listing.by,
        listing.since,
        listing.watermark_at,
        listing.started_at,
        listing.listed_at,
        listing.finished_at,
        listing.due_at,
        listing.calls,
        listing.code,
        listing.error,
        tuple([_part(parts[name]) for name in (*RESOURCES, MRR) if name in parts]),
        listing.waiting,
        listing.found,
    )


def findings(listing_pk: int, *, limit: int = 200) -> Sequence[Finding]:
    """Return what a listing found otherwise, oldest first."""
    names = ("kind", "stripe_id", "how", "details", "found_at", "repaired_at")
    rows = ListingFinding.objects.filter(listing_id=listing_pk).order_by("pk").values_list(*names)
    return [Finding(*row) for row in rows[:limit]]


def _part(part: ListingPart) -> ListedPart:
    left = sum(Window(row.first, row.last, row.cursor, row.read_to, row.read).left for row in part.windows.all())
    return ListedPart(
        part.name,
        part.listed,
        part.kept,
        part.new,
        part.differing,
        part.unreadable,
        part.gone,
        left,
        part.is_done,
        part.code,
        part.error,
    )
