"""The rules that may be chosen, as one frozen value with a version."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MetricPolicy:
    """What counts and how. Every ledger entry carries the version it was computed under."""

    version: int = 1
    grouping_seconds: int = 3600
    """Changes of one customer within this time are one movement; 0 = within the same second."""


DEFAULT = MetricPolicy()
