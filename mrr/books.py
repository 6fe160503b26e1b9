"""Books entries: which month one goes to, and its hash. A close and a post never come between each other."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from django.db import connection

from billing import selectors as billing
from mrr import digests, rollups
from mrr.as_closed import COLUMNS, Booked
from mrr.models import BookState, LedgerEntry
from mrr.selectors.scope import month_after, reporting_zone

STATE_PK = 1


def enter(entries: Sequence[LedgerEntry]) -> None:
    """Give new entries their book month and their hash, as the last thing before they are inserted.

    The month is that of `effective_at` if it is open, else the first open one. From here to the end of the transaction
    no month can be closed. A reversal has its entry in `reverses`, so that its key is at hand.
    """
    if not entries:
        return
    closed = closed_through(is_held=True)
    bodies = billing.body_hashes(
        {(entry.source_id, event_id) for entry in entries for event_id in entry.event_ids},
    )
    for entry in entries:
        own = month_of(entry.effective_at)
        entry.book_month = own
        entry.backdated_from = None
        if closed is not None and own <= closed:
            entry.book_month = month_after(closed)
            entry.backdated_from = entry.effective_at.astimezone(reporting_zone()).date()
        reverses = entry.reverses.key if entry.reverses else ""
        entry.digest = digests.of_entry(entry, reverses=reverses, bodies=bodies)


def closed_through(*, is_held: bool = False) -> date | None:
    """Return the first day of the last closed month, None when nothing is closed.

    With `is_held` the row stays locked for others to read and for nobody to change until the transaction ends; many who
    post hold it together. (A transaction of SQLite that writes is alone anyway.)
    """
    lock = " FOR SHARE" if is_held and connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT closed_through FROM mrr_bookstate WHERE id = %s{lock}", [STATE_PK])  # noqa: S608
        (found,) = cursor.fetchone()
    return date.fromisoformat(found) if isinstance(found, str) else found


def hold() -> BookState:
    """Return the state of the books, locked: until the transaction ends nobody posts and nobody closes.

    All that is posted has been committed by then: who posts holds the row from before its entries get their keys.
    """
    return BookState.objects.select_for_update().get(pk=STATE_PK)


def month_of(at: datetime) -> date:
    """Return the first day of the month, in the reporting zone, that a moment falls into."""
    return at.astimezone(reporting_zone()).date().replace(day=1)


def booked(rows: Sequence[LedgerEntry]) -> list[Booked]:
    """Return all entries of one customer, oldest first, as the sums as closed need them."""
    by_pk = {row.pk: row for row in rows if row.pk is not None}
    found: list[Booked] = []
    for row in rows:
        taken_back = by_pk.get(row.reverses_id) if row.reverses_id is not None else None
        found.append(
            Booked(
                row.sequence,
                str(taken_back.type if taken_back else row.type),
                row.currency,
                row.amount_micros,
                row.paying_delta,
                int(row.effective_at.timestamp()),
                rollups.month_number(row.book_month),
                rollups.month_number(month_of(row.effective_at)),
                row.backdated_from is not None,
                taken_back.sequence if taken_back else None,
            )
        )
    return found


def apply(sums: rollups.Sums) -> None:
    """Add differences to what the months as closed differ by from those as restated."""
    rollups._upsert("mrr_bookrollup", ("source_id", "currency", "month"), COLUMNS, sums, month_places=(2,))
