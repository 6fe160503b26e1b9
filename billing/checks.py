"""What a look at a source found: how each thing stands, in words, with what to do about it.

The set-up page, the health page and doctor read the same checks. What asks Stripe (`billing/examining.py`) is done on
demand and kept with the source; what our own rows say (`billing/deliveries.py`) is read each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from billing.models import StripeSource


class State(StrEnum):
    """How a check stands: well, not done yet, or wrong."""

    OK = "ok"
    TODO = "todo"
    MEND = "mend"


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at (`subject`), how it stands, what was seen, and what to do (empty when it is well).

    `code` names the fault and has a page of help; it is empty when all is well.
    """

    subject: str
    state: State
    sentence: str
    code: str = ""
    cure: str = ""


def kept(source_pks: Iterable[int] | None = None) -> dict[int, tuple[datetime | None, list[Check]]]:
    """Return by source when it was last examined and what was found; a source never examined has no checks."""
    rows = StripeSource.objects.order_by("slug")
    if source_pks is not None:
        rows = rows.filter(pk__in=list(source_pks))
    return {pk: (at, [_read(one) for one in found]) for pk, at, found in rows.values_list("pk", "checked_at", "checks")}


def keep(source_pk: int, found: Sequence[Check], *, now: datetime) -> None:
    """Keep what a look at a source found, in place of what was kept before."""
    rows = [
        {"subject": one.subject, "state": one.state, "sentence": one.sentence, "code": one.code, "cure": one.cure}
        for one in found
    ]
    StripeSource.objects.filter(pk=source_pk).update(checks=rows, checked_at=now)


def _read(row: dict[str, str]) -> Check:
    return Check(row["subject"], State(row["state"]), row["sentence"], row["code"], row["cure"])


def worst(found: Iterable[Check]) -> State:
    """Return the worst state among checks; none is well."""
    order = (State.MEND, State.TODO, State.OK)
    return min((one.state for one in found), key=order.index, default=State.OK)
