"""What others changed in Salesforce since we wrote it, and what people decided about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, F

from crm.models import Account, Drift, DriftState, RecordKind
from crm.selectors.sync import SOBJECTS


@dataclass(frozen=True, slots=True)
class DriftRow:
    """One field that differs: our value, theirs, who changed the record there last, and what was decided."""

    pk: int
    record_pk: int
    kind: str
    key: str
    salesforce_id: str
    customer_pk: int | None
    customer_id: str
    customer_name: str
    account_name: str
    field: str
    ours: Any
    theirs: Any
    changed_by: str
    changed_at: datetime | None
    found_at: datetime
    state: str
    decided_by: str
    decided_at: datetime | None

    @property
    def sobject(self) -> str:
        return SOBJECTS[self.kind]


@dataclass(frozen=True, slots=True)
class DriftPage:
    """Differences, the newest first, and the key after which the list goes on, None at the end."""

    rows: tuple[DriftRow, ...]
    following: int | None


def drift_rows(*, limit: int, before_pk: int | None = None, state: str = DriftState.OPEN) -> DriftPage:
    """Return differences of one state, the newest first. Two queries."""
    rows = Drift.objects.filter(state=state)
    if before_pk is not None:
        rows = rows.filter(pk__lt=before_pk)
    named = rows.select_related("record").annotate(
        customer_stripe_id=F("record__customer__stripe_id"), customer_name=F("record__customer__name")
    )
    found: list[Any] = list(named.order_by("-pk")[: limit + 1])
    shown = found[:limit]
    ids = [row.record.key for row in shown if row.record.kind == RecordKind.ACCOUNT]
    names = dict(Account.objects.filter(salesforce_id__in=ids).values_list("salesforce_id", "name")) if ids else {}
    page = tuple(_row(row, names.get(row.record.key, "")) for row in shown)
    return DriftPage(page, shown[-1].pk if len(found) > limit else None)


def drift_counts() -> dict[str, int]:
    """Return how many differences are in each state."""
    return dict(Drift.objects.values_list("state").annotate(count=Count("pk")).order_by())


def _row(row: Any, account_name: str) -> DriftRow:
    record = row.record
    return DriftRow(
        row.pk,
        record.pk,
        record.kind,
        record.key,
        record.salesforce_id or (record.key if record.kind == RecordKind.ACCOUNT else ""),
        record.customer_id,
        row.customer_stripe_id or "",
        row.customer_name or "",
        account_name,
        row.field,
        row.ours,
        row.theirs,
        row.changed_by,
        row.changed_at,
        row.found_at,
        row.state,
        row.decided_by,
        row.decided_at,
    )
