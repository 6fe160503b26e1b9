"""What every selector needs: which sources are meant, and when a day begins."""

from __future__ import annotations

from collections.abc import Sequence

from billing import selectors as billing
from mrr.days import day_start, month_after, reporting_zone

__all__ = ["day_start", "month_after", "reporting_zone", "sources_or_live"]


def sources_or_live(sources: Sequence[int] | None) -> Sequence[int]:
    """Return the sources named, or all live ones: test data is in no total unless it is asked for."""
    return billing.live_source_pks() if sources is None else sources
