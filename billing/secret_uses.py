"""Notes when each signing secret was last used, so that an old one is taken out only when nobody signs with it."""

from __future__ import annotations

import time
from datetime import datetime

from billing.models import SigningSecret

EVERY_SECONDS = 60.0  # while two secrets are active a delivery costs a write no oftener than this

_written: dict[tuple[int, int], float] = {}


def note(source_pk: int, which: int, *, now: datetime) -> None:
    """Remember that a source's secret made a delivery's signature; `which` counts from 0, the newest."""
    key = (source_pk, which)
    if time.monotonic() - _written.get(key, -EVERY_SECONDS) < EVERY_SECONDS:
        return
    _written[key] = time.monotonic()
    used = SigningSecret.objects.filter(source_id=source_pk).order_by("-pk").values("pk")[which : which + 1]
    SigningSecret.objects.filter(pk__in=list(used.values_list("pk", flat=True))).update(last_used_at=now)
