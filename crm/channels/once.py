"""Sends what must never arrive twice: that a message is about to leave is written down before it does.

A worker that dies in between leaves the mark: whether the message arrived is then not known, so a person looks before
it is sent again. Two workers cannot both set it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.channels.kinds import Outcome, Permanent, Postponed

if TYPE_CHECKING:
    from crm.models import Message

BEGUN = "begun"


def begin(row: Message) -> Outcome | None:
    """Mark a claimed message as about to leave; None means go on, anything else is what became of it."""
    from crm.models import Message

    if row.their_id == BEGUN:
        return unsure("A worker stopped while it was being sent.")
    mine = Message.objects.filter(pk=row.pk, their_id="", leased_until=row.leased_until)
    return None if mine.update(their_id=BEGUN) else Postponed()


def not_left(row: Message) -> None:
    """Take the mark off: the other side said no, or was never reached."""
    from crm.models import Message

    Message.objects.filter(pk=row.pk, their_id=BEGUN).update(their_id="")


def unsure(why: str) -> Permanent:
    """Return the outcome of a message that may have arrived."""
    return Permanent("maybe_sent", f"{why} Look whether it arrived, then retry or leave it.")
