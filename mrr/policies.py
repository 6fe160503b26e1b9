"""The metric policy in force: versions that are added, never changed; the newest one counts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from mrr.engine.policy import DEFAULT, PRESETS, MetricPolicy, PolicyError, from_json, parse
from mrr.models import PolicyVersion


@dataclass(frozen=True, slots=True)
class InForce:
    """The policy in force, since when (Unix seconds), and up to which customer all is replayed under it (None: all)."""

    policy: MetricPolicy = DEFAULT
    since: int = 0
    replayed_to: int | None = None

    def told_from(self, customer_pk: int) -> int:
        """Return from when on movements of a customer are news: what only the change of policy moved is none."""
        return 0 if self.replayed_to is None or customer_pk <= self.replayed_to else self.since


def current() -> MetricPolicy:
    """Return the policy in force: one small read."""
    return in_force().policy


def in_force() -> InForce:
    """Return the policy in force and how far it has come. Who posts calls it with the customers' rows already locked.

    Then a customer is never left under an older policy: either the change of policy replays it after this post, or
    this post sees the new version.
    """
    rows = PolicyVersion.objects.order_by("-version").values_list(
        "version", "settings", "made_at", "repricing__last_customer_pk", "repricing__finished_at"
    )
    newest = rows.first()
    if newest is None:
        return InForce()
    number, settings, made_at, replayed_to, finished_at = newest
    is_everywhere = finished_at is not None or replayed_to is None
    policy = _policy(number, json.dumps(settings, sort_keys=True))
    return InForce(policy, int(made_at.timestamp()), None if is_everywhere else replayed_to)


def version(number: int) -> MetricPolicy | None:
    """Return the policy of one version, None when there never was one of that number."""
    kept = PolicyVersion.objects.filter(version=number).values_list("settings", flat=True).first()
    if kept is not None:
        return _policy(number, json.dumps(kept, sort_keys=True))
    return DEFAULT if number == DEFAULT.version else None


def chosen(pairs: Iterable[str], *, preset: str = "") -> MetricPolicy:
    """Return the settings that somebody asks for: laid over a preset, else over the policy in force.

    Raises PolicyError for a preset, a setting or a value that does not exist.
    """
    if preset and preset not in PRESETS:
        raise PolicyError(f"There is no preset '{preset}'. There are: {', '.join(PRESETS)}.")
    return parse(pairs, base=PRESETS[preset] if preset else current())


def add(policy: MetricPolicy, *, preset: str, changed: Mapping[str, Any], user: str, now: datetime) -> MetricPolicy:
    """Write a policy down as the newest version and return it with its number.

    `changed` names what differs from the version before: `{key: [before, after]}`. Two who change it at once: the
    second fails on the number, with nothing written.
    """
    number = current().version + 1
    settings = {key: value for key, value in policy.as_json().items() if key != "version"}
    PolicyVersion.objects.create(
        version=number, settings=settings, preset=preset, changed=dict(changed), made_by=user, made_at=now
    )
    return from_json(settings, version=number)


@lru_cache(maxsize=64)
def _policy(number: int, settings: str) -> MetricPolicy:
    return from_json(json.loads(settings), version=number)
