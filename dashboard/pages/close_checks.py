"""The checklist of a month that is to be closed: each line well, to be looked at, or in the way, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from django.http import HttpRequest
from django.urls import reverse

from crm import selectors as crm
from dashboard import findings, formats
from dashboard.pages import shared
from dashboard.pages.shared import Scope
from mrr import close
from mrr import selectors as mrr
from mrr.engine.money import shown

State = Literal["ok", "look", "stop"]
_TONES = {
    "ok": ("ok", "circle-check", "Well"),
    "look": ("warn", "alert-triangle", "Look"),
    "stop": ("bad", "circle-x", "In the way"),
}


@dataclass(frozen=True)
class Check:
    """One line. Only `stop` keeps the month open; what is to be looked at is a person's to judge before signing."""

    state: State
    title: str
    text: str
    action: str = ""
    url: str = ""
    code: str = ""

    @property
    def tone(self) -> str:
        return _TONES[self.state][0]

    @property
    def icon(self) -> str:
        return _TONES[self.state][1]

    @property
    def word(self) -> str:
        return _TONES[self.state][2]


def checklist(
    request: HttpRequest,
    scope: Scope,
    month: date,
    *,
    closed: date | None,
    lacks: tuple[str, ...],
    now: datetime,
) -> list[Check]:
    """Return the lines of a month's checklist; `closed` is the last closed month, `lacks` currencies without a rate."""
    waiting = shared.inbox_pulse(request, now=now).waiting
    stops = {one.code: one for one in close.obstacles(month, closed=closed, now=now, waiting=waiting)}
    return [
        _over(stops),
        _turn(stops, closed),
        _received(request, stops, now=now),
        _by_the_clock(stops),
        _complete(request, scope, lacks, now=now),
        _matched(scope, now=now),
        *_checked(now=now),
    ]


def _over(stops: dict[str, close.Refused]) -> Check:
    title = "End of the month"
    stop = stops.get("not_over") or stops.get("grouping")
    if stop:
        return Check("stop", title, str(stop), code=stop.code)
    return Check("ok", title, "It has ended and the grouping window has passed.")


def _turn(stops: dict[str, close.Refused], closed: date | None) -> Check:
    title = "Earlier months"
    stop = stops.get("order") or stops.get("closed") or stops.get("empty")
    if stop is None:
        return Check("ok", title, "All are closed: this is the first open one.")
    first = close.first_open_month(closed)
    if stop.code == "order" and first is not None:
        name = formats.month(first, long=True)
        url = reverse("dashboard:close_month", args=[f"{first:%Y-%m}"])
        return Check("stop", title, f"Months are closed in order, and {name} is open.", f"Go to {name}", url)
    return Check("stop", title, str(stop), code=stop.code)


def _received(request: HttpRequest, stops: dict[str, close.Refused], *, now: datetime) -> Check:
    title, events = "Events received", reverse("dashboard:events")
    if "waiting" in stops:
        waiting = _counted(shared.inbox_pulse(request, now=now).waiting, "event")
        text = f"{waiting} received and not processed yet. Workers do that within seconds."
        return Check("stop", title, text, "Show the queue", f"{events}?state=waiting", "waiting")
    parked = shared.inbox_pulse(request, now=now).parked
    if parked:
        text = f"{_counted(parked, 'event')} could not be processed. A close keeps their number with it."
        return Check("look", title, text, "Show them", f"{events}?state=parked", "events_parked")
    return Check("ok", title, "All are processed: none waits, none is parked.")


def _by_the_clock(stops: dict[str, close.Refused]) -> Check:
    title, stop = "Changes by the clock", stops.get("clock")
    if stop:
        return Check(
            "stop", title, "A discount ended or a cutoff passed, and its entry is not posted yet.", code="clock"
        )
    return Check("ok", title, "No discount's end and no cutoff waits for its entry.")


def _complete(request: HttpRequest, scope: Scope, lacks: tuple[str, ...], *, now: datetime) -> Check:
    title = "Complete totals"
    found = {gap.code: gap.count for gap in shared.gaps(request, scope, now=now)}
    if lacks:
        listed = ", ".join(code.upper() for code in lacks)
        text = f"No exchange rate of the month's end is known for {listed}. A close freezes the rates as they are."
        return Check("look", title, text, code="rate_missing")
    for code, words in (
        ("unpriced_items", "subscription item"),
        ("subscriptions_unknown", "subscription"),
    ):
        if code in found:
            text = f"{_counted(found[code], words)} without all that MRR needs. A close keeps what it counts now."
            return Check("look", title, text, code=code)
    return Check("ok", title, "Every item has its price, every currency its rate.")


def _matched(scope: Scope, *, now: datetime) -> Check:
    title, url = "Matched to Salesforce", reverse("dashboard:unmatched")
    totals = crm.unmatched_totals(sources=scope.sources).currencies
    unmatched = {code: one.unmatched_micros for code, one in totals.items() if one.unmatched_micros}
    if not unmatched:
        return Check("ok", title, "Every paying customer has its Account.")
    amounts = " and ".join(formats.money(shown(micros), code) for code, micros in sorted(unmatched.items()))
    text = f"{amounts} of today's MRR is without an Account. It is in the figures, and missing in Salesforce."
    return Check("look", title, text, "Open the workbench", url, "unmatched")


def _checked(*, now: datetime) -> Iterator[Check]:
    """Say how the ledger's own check stands: one line a finding, or one that all is well."""
    title, proof = "The ledger's own check", mrr.proof()
    listed = list(findings.of_ledger(proof, now=now))
    for one in listed:
        state: State = "stop" if one.severity == "danger" else "look"
        yield Check(state, title, one.text, "Open Health", reverse("dashboard:health"), one.code)
    if not listed and proof.checked_at is None:
        text = "The nightly check has not run yet. It recounts every customer and proves hashes and chain."
        yield Check("look", title, text, "Open Health", reverse("dashboard:health"))
    elif not listed and proof.checked_at is not None:
        age = formats.age(int((now - proof.checked_at).total_seconds()))
        yield Check("ok", title, f"The last check, {age} ago, recounted every customer and found no difference.")


def _counted(number: int, one: str) -> str:
    return f"{formats.count(number)} {one}{'' if number == 1 else 's'}"
