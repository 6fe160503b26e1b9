"""A source, and the way from events to rows without HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import transaction

from billing import inbox, mirror
from billing.models import Origin, StripeEvent, StripeSource
from tests import builders

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def source(db: Any) -> StripeSource:
    return builders.source()


@pytest.fixture
def take(source: StripeSource) -> Callable[..., list[mirror.Applied]]:
    """Keep events and apply them, in batches of `size`, as the workers do."""

    def _take(
        events: Iterable[dict[str, Any]], *, size: int = 100, of: StripeSource | None = None
    ) -> list[mirror.Applied]:
        applied = []
        given = list(events)
        for start in range(0, len(given), size):
            raws = [builders.as_bytes(event) for event in given[start : start + size]]
            inbox.keep_many(of or source, raws, origin=Origin.WEBHOOK, now=NOW)
            applied += drain()
        return applied

    return _take


def drain() -> list[mirror.Applied]:
    """Apply whatever is due."""
    applied = []
    while claimed := inbox.claim_batch(limit=100, now=NOW):
        with transaction.atomic():
            done = mirror.apply(claimed, now=NOW)
            inbox.mark(done.outcomes, now=NOW)
        applied.append(done)
    return applied


def ends(source: StripeSource) -> list[tuple[str, str]]:
    """State and reason of every event, oldest kept first."""
    return list(StripeEvent.objects.filter(source=source).order_by("pk").values_list("state", "reason"))
