"""Watches whether the last closed month is still what was signed, and notes each change of that, once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from auditlog.models import LogEntry
from django.db import transaction

from mrr import fx
from mrr.days import day_of
from mrr.models import ActionKind, BookAction, BookState, Departure, DepartureRule
from mrr.selectors.months import BothBases, both_bases
from mrr.selectors.scope import month_after

RULE = 1  # the only row's key
WHOLE = 10_000  # basis points
MICROS = 1_000_000


@dataclass(frozen=True, slots=True)
class Closings:
    """What all currencies of a month closed with, in micros of the reporting one: as signed, and as known now.

    `lacks` are currencies without a rate of the month's end: they are in neither.
    """

    currency: str
    signed_micros: int
    restated_micros: int
    lacks: tuple[str, ...] = ()

    @property
    def micros(self) -> int:
        """By how much it is more than was signed; less is negative."""
        return self.restated_micros - self.signed_micros


def rule() -> DepartureRule:
    """Return what is tolerated, and who is told."""
    return DepartureRule.objects.get(pk=RULE)


def departs(found: Closings, tolerated: DepartureRule) -> bool:
    """Say whether a month departs by more than is tolerated: more than the share and more than the amount."""
    share = abs(found.micros) * WHOLE > tolerated.basis_points * abs(found.signed_micros)
    return share and abs(found.micros) > tolerated.minor * MICROS


def closings(month: date, both: list[BothBases], rates: fx.Conversion | None = None) -> Closings:
    """Return what a month closed with in both bases, at the rates of its last day."""
    rates = rates or fx.conversion({one.currency for one in both})
    day = month_after(month) - timedelta(days=1)
    signed = restated = 0
    lacks: list[str] = []
    for one in both:
        amounts = [rates.at(row.closing_micros, one.currency, day) for row in (one.closed, one.restated)]
        if None in amounts:
            lacks.append(one.currency)
        signed += amounts[0] or 0
        restated += amounts[1] or 0
    return Closings(rates.reporting, signed, restated, tuple(lacks))


def look(*, now: datetime) -> Departure | None:
    """Compare the last closed month with what was signed; where its state changed, note that and return the row."""
    month = BookState.objects.values_list("closed_through", flat=True).first()
    if month is None:
        return None
    with transaction.atomic():
        tolerated = DepartureRule.objects.select_for_update().get(pk=RULE)  # who looks too waits, and finds it noted
        close = BookAction.objects.filter(kind=ActionKind.CLOSED, month=month).latest("number")
        found = closings(month, both_bases(month, month, today=day_of(now))[month])
        last = Departure.objects.order_by("-pk").first()
        has_departed = last is not None and last.close_id == close.pk and last.departs
        if departs(found, tolerated) == has_departed:
            return None
        return Departure.objects.create(
            close=close,
            at=now,
            departs=not has_departed,
            currency=found.currency,
            signed_micros=found.signed_micros,
            restated_micros=found.restated_micros,
        )


def set_rule(*, basis_points: int, minor: int, addresses: str, by: str) -> None:
    """Set what is tolerated, and who is told; what changed is kept with who changed it."""
    with transaction.atomic():
        kept = DepartureRule.objects.select_for_update().get(pk=RULE)
        wanted = {"basis_points": basis_points, "minor": minor, "addresses": addresses}
        changes = {name: [str(getattr(kept, name)), str(value)] for name, value in wanted.items()}
        changes = {name: pair for name, pair in changes.items() if pair[0] != pair[1]}
        if not changes:
            return
        DepartureRule.objects.filter(pk=RULE).update(**wanted)
        LogEntry.objects.log_create(
            kept,
            changes=changes,
            action=LogEntry.Action.UPDATE,
            object_repr="Departure from what was signed",
            serialized_data=None,
            additional_data={"by": by},
        )
