"""Writes down what people decided about a customer's match: who, when, before and after. It names nobody's customer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from auditlog.models import LogEntry
from django.contrib.contenttypes.models import ContentType

from crm.models import Match

Change = tuple[Any, Any]  # before and after


def record(customers: Mapping[int, str], changes: Mapping[int, Mapping[str, Change]], *, by: str) -> None:
    """Add a line to the audit trail of each customer, in the caller's transaction; `customers` holds Stripe's ids."""
    kind = ContentType.objects.get_for_model(Match._meta.get_field("customer").related_model)
    LogEntry.objects.bulk_create(
        [
            LogEntry(
                content_type=kind,
                object_pk=str(pk),
                object_id=pk,
                object_repr=customers[pk],
                action=LogEntry.Action.UPDATE,
                changes={name: [_text(one) for one in pair] for name, pair in sorted(said.items())},
                additional_data={"by": by},
            )
            for pk, said in _said(changes)
        ]
    )


def _said(changes: Mapping[int, Mapping[str, Change]]) -> Iterable[tuple[int, Mapping[str, Change]]]:
    for pk, said in sorted(changes.items()):
        changed = {name: pair for name, pair in said.items() if pair[0] != pair[1]}
        if changed:
            yield pk, changed


def _text(value: Any) -> str:
    return "" if value is None else value.isoformat() if hasattr(value, "isoformat") else str(value)
