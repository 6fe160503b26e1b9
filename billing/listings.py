"""Writes down how far the reading of Stripe's lists is, and stores each page together with its progress."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import F

from billing import envelope, gone, inbox, listed, owed, windows
from billing.envelope import Envelope
from billing.kinds import HANDLERS
from billing.models import (
    Customer,
    EventState,
    Listing,
    ListingFinding,
    ListingPart,
    ListingState,
    ListingWindow,
    Origin,
    Purpose,
    StripeEvent,
    StripeSource,
    Unposted,
)
from billing.resources import EVENT, MRR, RESOURCES, Resource
from billing.statements import select, write
from billing.stripe_api import Page
from billing.windows import Window

NAMED: Final = 1000  # findings kept one by one; the rest is counted
Spans = Mapping[str, tuple[int, int]]


def add(
    source_pk: int, purpose: Purpose, spans: Spans, *, by: str, since: datetime | None = None, now: datetime
) -> Listing:
    """Owe a listing of these lists, each from one second to another; or return the one that is not finished."""
    with transaction.atomic():
        StripeSource.objects.select_for_update().get(pk=source_pk)
        unfinished = Listing.objects.filter(source_id=source_pk, purpose=purpose).exclude(state__in=OVER)
        found = unfinished.first()
        if found is not None:
            return found
        listing = Listing.objects.create(
            source_id=source_pk, purpose=purpose, by=by, since=since, watermark_at=now, due_at=now, started_at=now
        )
        for name, (first, last) in spans.items():
            part = ListingPart.objects.create(listing=listing, name=name)
            ListingWindow.objects.create(part=part, first=first, last=last)
    return listing


def reopen(source_pk: int, purpose: Purpose, *, now: datetime) -> None:
    """Have a source's last listing of this purpose go on where it stopped, if it did."""
    last = Listing.objects.filter(source_id=source_pk, purpose=purpose).order_by("-started_at", "-pk").first()
    if last is not None:
        Listing.objects.filter(pk=last.pk, state=ListingState.STOPPED).update(
            state=ListingState.LISTING, due_at=now, attempts=0, code="", error="", finished_at=None
        )


def forget_old(*, now: datetime) -> int:
    """Delete catch-ups, recounts and dry runs that ended long ago, with what they found; backfills stay."""
    ended = Listing.objects.filter(state__in=OVER, started_at__lt=now - KEPT).exclude(purpose=Purpose.BACKFILL)
    return ended.delete()[0]


KEPT: Final = timedelta(days=90)
OVER: Final = (ListingState.DONE, ListingState.STOPPED)


def all_read(listing: Listing, *, now: datetime) -> None:
    """All lists are read: whom they told something new of is posted now, and then the listing is done."""
    Listing.objects.filter(pk=listing.pk).update(
        state=ListingState.POSTING, listed_at=now, attempts=0, code="", error=""
    )
    finish(now=now)


def end(listing: Listing, *, code: str, error: str, now: datetime) -> None:
    """A listing cannot go on; a person has to do something first."""
    Listing.objects.filter(pk=listing.pk).update(state=ListingState.STOPPED, code=code, error=error, finished_at=now)


def finish(*, now: datetime) -> int:
    """Close the listings of which nobody waits to be posted any more; return how many."""
    waiting = Unposted.objects.values("listing_id")
    posted = Listing.objects.filter(state=ListingState.POSTING).exclude(pk__in=waiting)
    recounts = posted.filter(purpose=Purpose.RECOUNT)
    return recounts.update(state=ListingState.COUNTING) + posted.update(state=ListingState.DONE, finished_at=now)


def next_to_count() -> Listing | None:
    """Return a recount whose customers' MRR is to be counted; not while an event of its source waits."""
    waiting = StripeEvent.objects.filter(state=EventState.WAITING).values("source_id")
    return Listing.objects.filter(state=ListingState.COUNTING).exclude(source_id__in=waiting).order_by("pk").first()


def counted(
    listing: Listing,
    customer_pks: Sequence[int],
    differing: Mapping[int, Mapping[str, tuple[int, int]]],
    *,
    left: Collection[int],
    now: datetime,
) -> None:
    """Write down what the recount of customers' MRR came to: (ours, Stripe's) in micros; without customers it is over.

    `left` are those whom posting anew did not repair.
    """
    with transaction.atomic():
        part, _ = ListingPart.objects.get_or_create(listing=listing, name=MRR)
        if not customer_pks:
            ListingPart.objects.filter(pk=part.pk).update(is_done=True)
            Listing.objects.filter(pk=listing.pk).update(state=ListingState.DONE, finished_at=now)
            return
        names = dict(Customer.objects.filter(pk__in=differing).values_list("pk", "stripe_id"))
        ListingFinding.objects.bulk_create(
            [
                ListingFinding(
                    listing=listing,
                    kind=MRR,
                    stripe_id=names[pk],
                    how="differs",
                    details={
                        code: {"ours_micros": ours, "stripe_micros": theirs} for code, (ours, theirs) in found.items()
                    },
                    found_at=now,
                    repaired_at=None if pk in left else now,
                )
                for pk, found in list(differing.items())[: max(0, NAMED - listing.findings.count())]
            ],
            ignore_conflicts=True,
        )
        ListingPart.objects.filter(pk=part.pk).update(
            listed=F("listed") + len(customer_pks),
            kept=F("kept") + len(customer_pks) - len(left),
            differing=F("differing") + len(differing),
        )
        Listing.objects.filter(pk=listing.pk).update(counted_to=customer_pks[-1])


@dataclass(slots=True)
class Open:
    """A window that is being read."""

    pk: int
    part: ListingPart
    resource: Resource
    window: Window
    is_asked: bool = False
    turn: int = 0  # when it was asked last, counted in pages
    at_edge: frozenset[str] = frozenset()  # the objects of the second read last


class Progress:
    """The windows of one listing that are still open, and the way of a page into the rows."""

    def __init__(self, listing: Listing, source: StripeSource, *, windows_a_list: int) -> None:
        self.listing = listing
        self.source = source
        self.windows_a_list = windows_a_list
        self.parts = {part.name: part for part in listing.parts.all()}
        self.turn = 0
        self.named = listing.findings.count()
        self.open: dict[int, Open] = {}
        for row in ListingWindow.objects.filter(part__listing=listing).order_by("pk"):
            self._open(row, next(part for part in self.parts.values() if part.pk == row.part_id))

    def take_ready(self, count: int) -> list[Open]:
        """Return at most so many windows whose next page may be asked for now, those first that have waited longest."""
        ready = [each for each in self.open.values() if not each.is_asked and self._may_begin(each.resource)]
        taken = sorted(ready, key=lambda each: each.turn)[:count]
        for each in taken:
            self.turn += 1
            each.is_asked, each.turn = True, self.turn
        return taken

    def is_over(self) -> bool:
        """Say whether nothing is left to read, by anybody."""
        return not self.open and not ListingWindow.objects.filter(part__listing=self.listing).exists()

    def refuse(self, each: Open, *, code: str, error: str) -> None:
        """A list that Stripe does not give us is left out, and said to be."""
        part = each.part
        with transaction.atomic():
            ListingWindow.objects.filter(part=part).delete()
            ListingPart.objects.filter(pk=part.pk).update(is_done=True, code=code, error=error)
        self.open = {pk: other for pk, other in self.open.items() if other.part is not part}
        part.is_done = True

    def store(self, each: Open, page: Page, *, calls: int, now: datetime) -> None:
        """Store a page with the progress it makes, in the caller's transaction.

        A page whose window was moved on by somebody else meanwhile is let go: that one has stored it.
        """
        if each.pk not in self.open:
            return  # its list was refused meanwhile
        left = _left(each.window, page)
        if not self._move(each, left):
            del self.open[each.pk]
            return
        counts = self._take(each, page, now=now)
        counts["is_done"] = left is None and not ListingWindow.objects.filter(part=each.part).exists()
        counters = {name: F(name) + value for name, value in counts.items() if name != "is_done"}
        ListingPart.objects.filter(pk=each.part.pk).update(**counters, is_done=counts["is_done"])
        Listing.objects.filter(pk=self.listing.pk).update(calls=F("calls") + calls, attempts=0, error="")
        self._go_on(each, left, page, is_done=counts["is_done"])

    # ---- windows ----

    def _open(self, row: ListingWindow, part: ListingPart) -> None:
        window = Window(row.first, row.last, row.cursor, row.read_to, row.read)
        self.open[row.pk] = Open(row.pk, part, RESOURCES[part.name], window)

    def _may_begin(self, resource: Resource) -> bool:
        return all(self.parts[name].is_done for name in resource.after if name in self.parts)

    def _move(self, each: Open, left: Window | None) -> bool:
        row = ListingWindow.objects.filter(pk=each.pk, cursor=each.window.cursor, last=each.window.last)
        if left is None:
            return bool(row.delete()[0])
        return bool(row.update(cursor=left.cursor, read_to=left.read_to, read=left.read))

    def _go_on(self, each: Open, left: Window | None, page: Page, *, is_done: bool) -> None:
        each.part.is_done = is_done
        if left is None:
            del self.open[each.pk]
            return
        edge = {obj["id"] for obj, _ in page.rows if obj["created"] == left.read_to}
        each.at_edge = frozenset(edge | each.at_edge if each.window.read_to == left.read_to else edge)
        each.is_asked = False
        side_by_side = sum(other.part is each.part for other in self.open.values())
        halves = windows.cut(left) if side_by_side < self.windows_a_list else None
        each.window = left
        if halves is not None:
            newer, older = halves
            ListingWindow.objects.filter(pk=each.pk).update(first=newer.first)
            each.window = newer
            self._open(ListingWindow.objects.create(part=each.part, first=older.first, last=older.last), each.part)

    # ---- what a page brings ----

    def _take(self, each: Open, page: Page, *, now: datetime) -> dict[str, Any]:
        if each.resource.kind == EVENT:
            return self._take_events(each, page, now=now)
        return self._take_objects(each, page, now=now)

    def _take_objects(self, each: Open, page: Page, *, now: datetime) -> dict[str, Any]:
        kind = each.resource.kind
        compared = listed.compare(self.source.pk, kind, [obj for obj, _ in page.rows], asked=page.asked)
        kept = compared.same
        if self.listing.purpose != Purpose.DRY_RUN:
            taken = listed.take(compared)
            kept = taken.kept
            owed.owe(taken.missing, now=now)
            self._note_unposted(taken.touched)
        self._name(kind, "differs", compared.differing, now=now)
        unreadable = {name: [reason] for name, reason in compared.unreadable.items()}
        self._name(kind, "unreadable", unreadable, now=now)
        lost: Sequence[str] = ()
        if self.listing.purpose == Purpose.RECOUNT:
            self._name(kind, "missing", {mention.key[1]: [] for mention in compared.new}, now=now)
            lost = gone.between(self.source.pk, kind, each.window, page, each.at_edge)
            self._name(kind, "gone", {name: [] for name in lost}, now=now)
        return {
            "listed": len(page.rows),
            "kept": kept,
            "new": len(compared.new),
            "differing": len(compared.differing),
            "unreadable": len(compared.unreadable),
            "gone": len(lost),
        }

    def _take_events(self, each: Open, page: Page, *, now: datetime) -> dict[str, Any]:
        """Events are kept as if they had been delivered; catching up, only of the types that we read."""
        rows = page.rows
        if self.listing.purpose in (Purpose.CATCH_UP, Purpose.RECOUNT):
            rows = [(event, raw) for event, raw in rows if event.get("type") in HANDLERS]
        known = _known_events(self.source.pk, [event["id"] for event, _ in rows])
        new = [(event["id"], raw) for event, raw in rows if event["id"] not in known]
        if self.listing.purpose != Purpose.DRY_RUN:
            read = [(raw, self._envelope(raw)) for _, raw in new]
            inbox.keep_read(self.source, read, origin=Origin.BACKFILL, now=now)
            if self.listing.purpose != Purpose.BACKFILL:
                self._name(EVENT, "missing", {name: [] for name, _ in new}, now=now)
        kept = len(known) if self.listing.purpose == Purpose.DRY_RUN else len(rows)
        return {"listed": len(rows), "kept": kept, "new": len(new)}

    def _envelope(self, raw: bytes) -> Envelope:
        return envelope.read(raw, livemode=self.source.livemode, account_id=self.source.account_id)

    def _note_unposted(self, customer_pks: Iterable[int]) -> None:
        rows = [{"customer_id": pk, "listing_id": self.listing.pk} for pk in customer_pks]
        if rows:
            write(Unposted, rows, key=("customer_id",))

    def _name(self, kind: str, how: str, found: Mapping[str, list[str]], *, now: datetime) -> None:
        """Keep by name what was otherwise than we had it; what is taken is repaired by that."""
        is_repaired = how in ("differs", "missing") and self.listing.purpose != Purpose.DRY_RUN
        rows = [
            ListingFinding(
                listing=self.listing,
                kind=kind,
                stripe_id=stripe_id,
                how=how,
                details={"columns": names} if how == "differs" else {"reason": names[0]} if names else {},
                found_at=now,
                repaired_at=now if is_repaired else None,
            )
            for stripe_id, names in list(found.items())[: max(0, NAMED - self.named)]
        ]
        if rows:
            ListingFinding.objects.bulk_create(rows, ignore_conflicts=True)
            self.named += len(rows)


def _left(window: Window, page: Page) -> Window | None:
    if not page.rows:
        return None
    last, _ = page.rows[-1]
    return windows.after_page(
        window,
        count=len(page.rows),
        last_id=str(last["id"]),
        last_created=int(last["created"]),
        has_more=page.has_more,
    )


def _known_events(source_pk: int, ids: Sequence[str]) -> set[str]:
    if not ids:
        return set()
    wanted: dict[str, set[Any]] = {"source_id": {source_pk}, "stripe_id": set(ids)}
    return {stripe_id for (stripe_id,) in select(StripeEvent, ("stripe_id",), wanted)}
