"""The events that benchmarks deliver: the demo's story with more customers, written as Stripe writes bodies."""

from __future__ import annotations

import json

from config.demo import story
from config.demo.companies import US

NOW = 1_767_225_600  # 2026-01-01: the same events in every run
EVENTS_A_CUSTOMER = 30


def bodies(count: int) -> list[bytes]:
    """Return `count` event bodies of one source, oldest first, pretty-printed as Stripe writes them (about 5 KB)."""
    customers = max(20, count // EVENTS_A_CUSTOMER)
    while True:
        told = story.events(now=NOW, customers=customers, months=24)[US]
        if len(told) >= count:
            break
        customers *= 2
    return [json.dumps(json.loads(each.text), indent=2, ensure_ascii=False).encode() for each in told[:count]]
