"""The metric policy as pages and exports name it."""

from __future__ import annotations

from typing import Any, Final

from django.db.models import QuerySet

from mrr import policies
from mrr.engine.policy import DEFAULT
from mrr.models import PolicyVersion

FIRST_POLICY: Final = DEFAULT.version  # in force until a version is added


def policy_version() -> int:
    """Return the number of the policy in force."""
    return policies.current().version


def newest_policy() -> QuerySet[Any, Any]:
    """Return, to be used inside another query, the number of the newest policy; no row before one was added."""
    return PolicyVersion.objects.order_by("-version").values("version")[:1]
