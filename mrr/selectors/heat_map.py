"""The heat map: cohorts by month of acquisition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from django.conf import settings

from mrr import cohorts as cells
from mrr.cohorts import Measure
from mrr.models import CohortRollup
from mrr.selectors.scope import sources_or_live


@dataclass(frozen=True, slots=True)
class Cohorts:
    """The heat map of one measure: cohorts oldest first, and the weighted average of each period."""

    measure: Measure
    currency: str
    cohorts: tuple[cells.Cohort, ...]
    averages: tuple[cells.Average, ...]


def cohorts(
    measure: Measure,
    *,
    today: date,
    currency: str | None = None,
    first: date | None = None,
    sources: Sequence[int] | None = None,
) -> Cohorts:
    """Return cohorts by month of acquisition, from `first` on, with a cell for each month until the running one."""
    code = currency or settings.REPORTING_CURRENCY
    rows = CohortRollup.objects.filter(source_id__in=sources_or_live(sources), currency=code)
    if first is not None:
        rows = rows.filter(cohort__gte=first)
    changes = (
        cells.Change._make(row)
        for row in rows.values_list(
            "cohort", "month", "acquired_customers", "acquired_micros", "customers", "mrr_micros", "gross_micros"
        )
    )
    found = cells.cohorts(changes, measure, until=today.replace(day=1))
    found = [cohort for cohort in found if cohort.customers]
    return Cohorts(measure, code, tuple(found), tuple(cells.averages(found, measure)))
