"""What would be written first if the connection went live now: how many of each kind, and a sample with its fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Count, Q

from crm.models import Message, RecordKind, SyncRecord, WorkState
from crm.selectors.sync import SOBJECTS, SyncRow, listed

SAMPLE = 4


@dataclass(frozen=True, slots=True)
class FirstWrites:
    """The would-be writes of one object: how many were compared with Salesforce, and how many are new there."""

    sobject: str
    count: int
    compared: int
    new: int
    sample: Sequence[SyncRow]

    @property
    def existing(self) -> int:
        return self.compared - self.new


@dataclass(frozen=True, slots=True)
class GoingLive:
    """All that waits for the switch. `held` waits for matches and choices, and stays held after it."""

    kinds: Sequence[FirstWrites]
    held: int
    messages: int

    @property
    def count(self) -> int:
        return sum(kind.count for kind in self.kinds)

    @property
    def not_compared(self) -> int:
        return sum(kind.count - kind.compared for kind in self.kinds)


def going_live() -> GoingLive:
    """Return what the switch to live would send first. At most nine queries."""
    rows = SyncRecord.objects.filter(state=WorkState.WOULD_SEND)
    counted = {
        kind: (count, compared, new)
        for kind, count, compared, new in rows.values_list("kind")
        .annotate(count=Count("pk"), compared=Count("there_at"), new=Count("pk", filter=Q(there={})))
        .order_by()
    }
    kinds = []
    for kind in (RecordKind.ACCOUNT, RecordKind.OPPORTUNITY, RecordKind.SCHEDULE):
        if kind in counted:
            sample = listed(rows.filter(kind=kind).order_by("-there_at", "-pk")[:SAMPLE])
            kinds.append(FirstWrites(SOBJECTS[kind], *counted[kind], sample))
    held = SyncRecord.objects.filter(state=WorkState.HELD).count()
    return GoingLive(kinds, held, Message.objects.filter(state=WorkState.WOULD_SEND).count())
