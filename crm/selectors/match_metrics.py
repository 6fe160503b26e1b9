"""How well matching goes: how long customers wait for their Account, and how often the machine was wrong."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Final

from django.db.models import Count, DurationField, ExpressionWrapper, F, Q
from django.db.models.functions import Coalesce

from crm.models import Match

DAYS: Final = 90
MACHINE: Final = Q(matched_by="") & ~Q(how="merge")  # who follows a merged Account was matched before


@dataclass(frozen=True, slots=True)
class MatchMetrics:
    """Matches of the last `days`: by the machine and by people, and how long customers had waited for them.

    `changed` counts automatic matches that a person undid since; `median_wait` is None where nobody was matched.
    """

    days: int
    automatic: int = 0
    by_people: int = 0
    changed: int = 0
    median_wait: timedelta | None = None

    @property
    def automatic_precision(self) -> Fraction | None:
        """The share of automatic matches that nobody took back; None where there were none."""
        return 1 - Fraction(self.changed, self.automatic) if self.automatic else None


def match_metrics(*, now: datetime, days: int = DAYS) -> MatchMetrics:
    """Return how matching went lately. Two queries.

    Who was matched at once waited no time. The same customer matched again after an undoing counts again.
    """
    made = Match.objects.filter(matched_at__gte=now - timedelta(days=days)).exclude(how="merge")
    counts = made.aggregate(
        automatic=Count("pk", filter=MACHINE),
        by_people=Count("pk", filter=~Q(matched_by="")),
        changed=Count("pk", filter=MACHINE & ~Q(undone_by="")),
    )
    wait = ExpressionWrapper(F("matched_at") - Coalesce("waited_since", "matched_at"), output_field=DurationField())
    total = counts["automatic"] + counts["by_people"]
    middle = (total - 1) // 2  # the lower of two in the middle, so that it is a time that somebody waited
    waits = (
        made.annotate(wait=wait).order_by("wait").values_list("wait", flat=True)[middle : middle + 1] if total else []
    )
    return MatchMetrics(days=days, **counts, median_wait=next(iter(waits), None))
