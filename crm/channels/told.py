"""What the movements behind messages say now: one that was taken back, or grew too old, is told to nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from crm.channels.kinds import Dropped

if TYPE_CHECKING:
    from crm.models import Message
    from mrr.selectors import Movement


def movements(
    rows: Sequence[Message], *, now: datetime, live_since: datetime | None = None
) -> dict[int, Movement | Dropped]:
    """Return, by each message's ref, the movement it tells of, or why it is not told. Two queries, however many.

    `live_since` leaves out what happened before the channel went live, whenever the message was owed.
    """
    from crm.messages import TOO_OLD
    from crm.models import Message
    from mrr import selectors as mrr

    keys = dict(Message.objects.filter(pk__in=[row.pk for row in rows]).values_list("pk", "entry__key"))
    customer_pks = {row.customer_id for row in rows if row.customer_id is not None}
    known = {
        one.key: one for found in mrr.movements_of(sorted(customer_pks), has_reversed=True).values() for one in found
    }
    told: dict[int, Movement | Dropped] = {}
    for row in rows:
        movement = _standing(known.get(keys[row.pk] or ""), known)
        if movement is None:
            told[row.ref] = Dropped("taken_back", "The movement was taken back.")
        elif now - movement.effective_at > TOO_OLD:
            told[row.ref] = Dropped("too_old", "It is older than 72 hours.")
        elif live_since is not None and movement.effective_at < live_since:
            told[row.ref] = Dropped("before_live", "It happened before the connection went live.")
        else:
            told[row.ref] = movement
    return told


def _standing(movement: Movement | None, known: Mapping[str, Movement]) -> Movement | None:
    """Return the movement, or the one that stands in its place since what followed was grouped with it."""
    if movement is None or movement.reversed_by is None:
        return movement
    begun_by = movement.event_ids[:1]
    return next(
        (
            one
            for one in known.values()
            if one.customer_pk == movement.customer_pk
            and one.type == movement.type
            and one.event_ids[:1] == begun_by
            and one.reversed_by is None
            and one.reverses is None
        ),
        None,
    )
