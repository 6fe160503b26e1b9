"""Rows of movements and of Stripe events, as several pages list them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from billing import selectors as billing
from crm import selectors as crm
from dashboard.pages.shared import Scope, reason_words, who
from dashboard.templatetags.look import MOVEMENTS, STATES
from mrr import selectors as mrr
from mrr.engine.money import shown

SHORT_KEY = 12


@dataclass(frozen=True)
class MovementLine:
    """One entry of the MRR schedule as a row. `sync_state` is how its Salesforce record stands, empty without one.

    `converted_minor` is what it comes to in the reporting currency, None in that currency and without a rate.
    """

    key: str
    customer_pk: int
    who: str
    type: str
    reason: str
    currency: str
    minor: int
    after_minor: int | None
    effective_at: datetime
    source: str
    is_taken_back: bool
    sync_state: str = ""
    converted_minor: int | None = None

    @property
    def code(self) -> str:
        return f"entry:{self.key}"

    @property
    def customer_code(self) -> str:
        return f"cus:{self.customer_pk}:{self.currency}"

    @property
    def name(self) -> str:
        return f"{MOVEMENTS[self.type][2].lower()} of {self.who}"

    @property
    def after_name(self) -> str:
        return f"MRR of {self.who}"

    @property
    def short_key(self) -> str:
        return f"{self.key[:SHORT_KEY]}…"


@dataclass(frozen=True)
class EventLine:
    """One Stripe event as a row."""

    pk: int
    event_id: str
    type: str
    state: str
    words: str
    received_at: datetime
    source: str
    customer_id: str
    attempts: int

    @property
    def url(self) -> str:
        return f"{reverse('dashboard:event', args=[self.event_id])}?source={self.source}"


def movement_rows(
    request: HttpRequest,
    rows: Iterable[mrr.Movement],
    states: Mapping[str, str] | None = None,
    *,
    converted: Mapping[str, int | None] | None = None,
) -> list[MovementLine]:
    """Return entries as rows; `converted` says by key, in micros, what those in other currencies come to."""
    known, reporting = states or {}, converted or {}
    return [
        MovementLine(
            row.key,
            row.customer_pk,
            who(request, name=row.customer_name, email=row.customer_email, stripe_id=row.customer_id),
            row.type,
            reason_words(row),
            row.currency,
            row.amount_minor,
            row.after_minor,
            row.effective_at,
            row.source,
            row.reversed_by is not None,
            known.get(row.key, ""),
            _converted(row, reporting.get(row.key)),
        )
        for row in rows
    ]


def _converted(row: mrr.Movement, micros: int | None) -> int | None:
    return None if micros is None or row.currency == settings.REPORTING_CURRENCY else shown(micros)


def latest_movements(request: HttpRequest, scope: Scope, *, limit: int) -> list[MovementLine]:
    """Return the newest movements in every currency, with how their Salesforce records stand (three queries)."""
    rows = mrr.latest_movements(limit=limit, sources=scope.sources)
    return movement_rows(request, rows, crm.schedule_states([row.key for row in rows]))


def event_line(row: billing.EventRow) -> EventLine:
    """Return an event as a row; a parked one says why."""
    words = f"{STATES[row.state][2]}: {row.reason.replace('_', ' ')}" if row.state == "parked" and row.reason else ""
    return EventLine(
        row.pk,
        row.stripe_id,
        row.type,
        row.state,
        words,
        row.received_at,
        row.source_slug,
        row.customer_id,
        row.attempts,
    )


def latest_events(scope: Scope, *, limit: int) -> list[EventLine]:
    return [event_line(row) for row in billing.events(source_pks=scope.sources, limit=limit)]
