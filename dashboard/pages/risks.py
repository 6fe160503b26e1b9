"""A customer's risk as pages show it: the score, its parts in words and colours, and the evidence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from django.http import HttpRequest
from django.urls import reverse

from crm import selectors as crm
from dashboard.pages.shared import sees_people, who
from dashboard.parts import RiskPart

_TONES: dict[str, Literal[1, 2, 3, 4]] = {"payment": 1, "past_due": 2, "dispute": 3}
_DATED = ("scheduled_cancel",)


@dataclass(frozen=True)
class PartLine:
    """One signal in words: its name, and what the list says, which names the date where one matters."""

    label: str
    short: str
    points: int
    evidence: str
    at: datetime | None


@dataclass(frozen=True)
class RiskLine:
    """One customer at risk. The parts add up to `total`; the score is that, at most 100."""

    pk: int
    who: str
    url: str
    source: str
    account: str
    owner: str
    currency: str
    minor: int
    code: str
    score: int
    severity: str
    payment_severity: str
    parts: tuple[PartLine, ...]
    bar: tuple[RiskPart, ...]
    since: datetime | None
    assessed_at: datetime

    @property
    def total(self) -> int:
        return sum(part.points for part in self.parts)

    @property
    def is_capped(self) -> bool:
        return self.total > self.score


def line(request: HttpRequest, row: crm.RiskRow) -> RiskLine:
    sees = sees_people(request)
    return RiskLine(
        row.customer_pk,
        who(request, name=row.name, email="", stripe_id=row.customer_id),
        reverse("dashboard:customer", args=[row.customer_pk]),
        row.source,
        row.account_name if sees else row.account_id,
        row.owner_name if sees else "",
        row.currency,
        row.mrr_minor,
        f"cus:{row.customer_pk}:{row.currency}",
        row.score,
        row.severity,
        row.payment_severity,
        tuple(
            PartLine(
                part.label,
                part.evidence if part.signal in _DATED else part.label,
                part.points,
                part.evidence,
                part.at,
            )
            for part in row.parts
        ),
        tuple(RiskPart(part.label, part.points, _TONES.get(part.family, 4)) for part in row.parts),
        row.since,
        row.assessed_at,
    )
