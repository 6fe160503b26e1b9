"""MRR as it stands now, per currency, added up from the customers' balances: one query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db.models import Count, Q, Subquery, Sum

from mrr.models import CustomerBalance, PolicyVersion
from mrr.selectors.scope import sources_or_live
from mrr.selectors.totals import CurrencyMrr


@dataclass(frozen=True, slots=True)
class Standing:
    """All currencies that ever had MRR, the reporting currency first, and how many items have no price yet.

    `policy_version` is the newest there is, None where there is none, or nothing to be read beside it.
    """

    currencies: tuple[CurrencyMrr, ...]
    unpriced_items: int
    policy_version: int | None = None

    def of(self, currency: str) -> CurrencyMrr:
        """Return one currency's MRR, nothing where there never was any."""
        return next((row for row in self.currencies if row.currency == currency), CurrencyMrr(currency, 0, 0, 0))


def standing(sources: Sequence[int] | None = None) -> Standing:
    """Return MRR, CMRR and paying customers now, per currency."""
    rows = (
        CustomerBalance.objects.filter(source_id__in=sources_or_live(sources))
        .values_list("currency")
        .annotate(
            mrr=Sum("mrr_micros"),
            scheduled=Sum("scheduled_micros"),
            paying=Count("pk", filter=Q(mrr_micros__gt=0)),
            unpriced=Sum("incomplete_items"),
            policy=Subquery(PolicyVersion.objects.order_by("-version").values("version")[:1]),
        )
        .order_by()
    )
    found = sorted(rows, key=lambda row: (row[0] != settings.REPORTING_CURRENCY, row[0]))
    return Standing(
        tuple(CurrencyMrr(currency, mrr, mrr + scheduled, paying) for currency, mrr, scheduled, paying, *_ in found),
        sum(row[4] for row in found),
        found[0][5] if found else None,
    )
