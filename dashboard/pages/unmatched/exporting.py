"""The queue as a file: all customers of the view, not only those on the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from crm import selectors as crm
from dashboard import exports
from dashboard.pages import shared
from dashboard.pages.shared import Scope
from dashboard.pages.unmatched.asked import Asked

CHUNK = 500
COLUMNS = (
    "source",
    "customer",
    "name",
    "email",
    "currency",
    "mrr_minor",
    "mrr_micros",
    "since",
    "reason",
    "reason_text",
    "held_records",
    "best_account",
    "best_account_name",
    "best_score",
)


def export(request: HttpRequest, kind: str, scope: Scope, asked: Asked, now: datetime) -> HttpResponseBase:
    return exports.response(
        kind,
        name="unmatched",
        columns=COLUMNS,
        rows=(_cells(row) for row in _all(asked)),
        about=[
            *shared.about(request, "Unmatched", now=now, scope=scope),
            *((code, text) for code, text in crm.REASONS.items()),
        ],
        zone=shared.zone(),
    )


def _all(asked: Asked) -> Iterator[crm.UnmatchedRow]:
    after: crm.UnmatchedPlace | None = None
    while True:
        found = crm.unmatched(asked.chosen, limit=CHUNK, order=asked.order, after=after)
        yield from found.rows
        if found.following is None:
            return
        after = found.following


def _cells(row: crm.UnmatchedRow) -> Sequence[exports.Cell]:
    best = row.candidates[0] if row.candidates else None
    return (
        row.source,
        row.customer_id,
        row.name,
        row.email,
        row.currency,
        row.mrr_minor,
        row.mrr_micros,
        row.since,
        row.reason,
        row.reason_text,
        row.held,
        best.account_id if best else None,
        best.name if best else None,
        best.score if best else None,
    )
