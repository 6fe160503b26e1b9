"""At risk: who pays today and has a named reason not to soon, with points that add up, and who was lost lately."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from fractions import Fraction

from django.core.exceptions import BadRequest
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_GET

from crm import selectors as crm
from dashboard import exports, formats
from dashboard.pages import explain, risks, shared
from dashboard.pages.latest import movement_rows
from dashboard.pages.shared import Scope
from dashboard.parts import Choice, Empty, Fact, Pager
from dashboard.roles import Ability, requires

PAGE_SIZE = 50
EXPORT_CHUNK = 500
MEDIUM_FROM, HIGH_FROM = crm.MEDIUM_FROM, crm.HIGH_FROM
SEVERITIES = {"": "All", "high": "High", "medium": "Medium", "low": "Low"}
COLUMNS = (
    "source",
    "customer",
    "name",
    "account",
    "account_name",
    "currency",
    "mrr_minor",
    "mrr_micros",
    "score",
    "severity",
    "payment_risk",
    "since",
    "signals",
    "evidence",
)


@requires(Ability.SEE_FIGURES)
@require_GET
def at_risk(request: HttpRequest) -> HttpResponseBase:
    now = shared.now_of(request)
    scope = shared.read_scope(request)
    panel = explain.panel(request, scope, now=now)
    if panel and explain.is_alone(request):
        return explain.alone(request, panel, now=now)
    severity, signal = request.GET.get("severity", ""), request.GET.get("signal", "")
    if severity not in SEVERITIES or (signal and signal not in crm.SIGNALS):
        raise BadRequest("There is no such severity or signal.")
    if kind := shared.wants_export(request):
        return _export(request, kind, scope, severity, signal, now)
    found = crm.at_risk_rows(
        limit=PAGE_SIZE,
        after=_place(request.GET.get("after", "")),
        severity=severity,
        signal=signal,
        sources=scope.sources,
    )
    totals = crm.at_risk(now=now, sources=scope.sources)
    lost = crm.lost_lately(now=now, sources=scope.sources)
    return shared.page(
        request,
        "dashboard/at_risk.html",
        {
            "panel": panel,
            "medium_from": MEDIUM_FROM,
            "high_from": HIGH_FROM,
            "facts": _facts(scope, totals),
            "severities": [
                Choice(name, shared.link(request, severity=code or None), code == severity)
                for code, name in SEVERITIES.items()
            ],
            "signals": [
                Choice("Any", shared.link(request, signal=None), not signal),
                *(
                    Choice(name, shared.link(request, signal=code), code == signal)
                    for code, name in crm.SIGNALS.items()
                ),
            ],
            "rows": [risks.line(request, row) for row in found.rows],
            "pager": Pager(
                f"{formats.count(len(found.rows))} of {formats.count(totals.customers)}"
                if not (severity or signal)
                else formats.count(len(found.rows)),
                next_url=shared.link(request, after=f"{found.following.score}.{found.following.customer_pk}")
                if found.following
                else "",
                previous_url=shared.link(request) if request.GET.get("after") else "",
            ),
            "empty": _nothing(request, severity, signal),
            "lost": movement_rows(request, lost[:20]),
            "lost_count": len(lost),
        },
        name="At risk",
        now=now,
        scope=scope,
    )


def _facts(scope: Scope, totals: crm.RiskTotals) -> list[Fact]:
    currency = scope.currency
    mrr = scope.standing.of(currency).mrr_micros
    facts = []
    for label, code, amounts in (
        ("MRR at risk, medium and high", "at_risk", totals.at_risk),
        ("High", "high_risk", totals.high),
        ("Past due", "past_due", totals.past_due),
    ):
        amount = amounts.get(currency, crm.RiskAmount())
        share = f", {formats.ratio(Fraction(amount.micros, mrr))} of MRR" if mrr and code == "at_risk" else ""
        note = f"{formats.count(amount.customers)} {explain.plural(amount.customers, 'customer')}{share}"
        facts.append(Fact(label, formats.money(amount.minor, currency), code, note))
    others = sorted(set(totals.at_risk) - {currency})
    if others:
        listed = ", ".join(formats.money(totals.at_risk[code].minor, code) for code in others)
        facts.append(Fact("In other currencies", listed, "", "medium and high"))
    facts.append(Fact("Listed", formats.count(totals.customers), "", "with at least one signal"))
    return facts


def _place(cursor: str) -> crm.RiskPlace | None:
    if not cursor:
        return None
    score, _, pk = cursor.partition(".")
    if not (score.isdigit() and pk.isdigit()):
        raise BadRequest("This place in the list is not one that a page gave out.")
    return crm.RiskPlace(int(score), int(pk))


def _nothing(request: HttpRequest, severity: str, signal: str) -> Empty:
    if severity or signal:
        words = " and ".join(
            part for part in (SEVERITIES[severity].lower() if severity else "", crm.SIGNALS.get(signal, "")) if part
        )
        return Empty(
            "filter", "Nobody fits", f"Filters: {words}.", "Show all", shared.link(request, severity=None, signal=None)
        )
    return Empty(
        "circle-check", "Nobody is at risk", "No paying customer has a failed payment, a planned end or a dispute."
    )


def _export(
    request: HttpRequest, kind: str, scope: Scope, severity: str, signal: str, now: datetime
) -> HttpResponseBase:
    about = shared.about(request, "At risk", now=now, scope=scope)
    about += [
        ("Score", f"sum of the points of all signals, at most 100; medium from {MEDIUM_FROM}, high from {HIGH_FROM}")
    ]
    return exports.response(
        kind,
        name="at-risk",
        columns=COLUMNS,
        rows=(_cells(row) for row in _all(scope.sources, severity, signal)),
        about=about,
        zone=shared.zone(),
    )


def _all(sources: Sequence[int], severity: str, signal: str) -> Iterator[crm.RiskRow]:
    after: crm.RiskPlace | None = None
    while True:
        found = crm.at_risk_rows(limit=EXPORT_CHUNK, after=after, severity=severity, signal=signal, sources=sources)
        yield from found.rows
        if found.following is None:
            return
        after = found.following


def _cells(row: crm.RiskRow) -> Sequence[exports.Cell]:
    return (
        row.source,
        row.customer_id,
        row.name,
        row.account_id,
        row.account_name,
        row.currency,
        row.mrr_minor,
        row.mrr_micros,
        row.score,
        row.severity,
        row.payment_severity,
        row.since,
        "; ".join(f"{part.label} {part.points}" for part in row.parts),
        "; ".join(part.evidence for part in row.parts),
    )
