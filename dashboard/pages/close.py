"""Close: every month with what was signed and what is known now, who did what with them, and when people are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from dashboard import exports, formats
from dashboard.pages import explain, shared
from dashboard.pages.shared import Scope
from dashboard.parts import Empty
from dashboard.roles import Ability, may, requires
from mrr import close as books
from mrr import departures
from mrr import selectors as mrr
from mrr.engine.money import exponent, shown

STEPS_SHOWN = 24
MOST_BASIS_POINTS = 10_000
STEP_WORDS = {"closed": "Closed", "reopen_asked": "Reopening asked", "reopened": "Reopened"}
MANNERS = {
    "second_person": "agreed by a second person",
    "one_time_code": "with the one-time code of",
    "notice": "alone, after a day's notice",
}
COLUMNS = ("month", "state", "currency", "signed_closing", "closing_now", "difference", "learned", "closed_by", "hash")


@dataclass(frozen=True)
class Figures:
    """What a month closed with: as signed, as known now, in minor units; and the codes that explain both."""

    month: date
    currency: str
    scope: str
    signed_minor: int
    restated_minor: int

    @property
    def learned_minor(self) -> int:
        return self.restated_minor - self.signed_minor

    @property
    def signed_code(self) -> str:
        return f"signed:{self.month:%Y-%m}:{self.scope}"

    @property
    def restated_code(self) -> str:
        return f"restated:{self.month:%Y-%m}:{self.scope}"

    @property
    def learned_code(self) -> str:
        return f"learned:{self.month:%Y-%m}:{self.scope}"


@dataclass(frozen=True)
class MonthRow:
    """One month of the list: how it stands, its figures, its close if it has one, and how much was learned since."""

    month: date
    state: str
    figures: Figures
    closed: mrr.ClosedMonth | None
    learned: int

    @property
    def url(self) -> str:
        return reverse("dashboard:close_month", args=[f"{self.month:%Y-%m}"])


@dataclass(frozen=True)
class StepLine:
    """One thing that was done with a month, in words."""

    step: mrr.BookStep
    words: str
    how: str


class RuleForm(forms.Form):
    """By how much a closed month may depart before people are told, and who gets the mail."""

    percent = forms.DecimalField(
        label="Share of the signed MRR, in percent", min_value=0, max_value=100, decimal_places=2, max_digits=5
    )
    amount = forms.DecimalField(label="And amount", min_value=0, max_digits=15)
    addresses = forms.CharField(
        label="Addresses", required=False, max_length=500, help_text="Of finance. Commas between several."
    )

    def clean_addresses(self) -> str:
        found = [one.strip() for one in self.cleaned_data["addresses"].split(",") if one.strip()]
        for one in found:
            try:
                validate_email(one)
            except ValidationError:
                raise ValidationError(f"'{one}' is not an e-mail address.") from None
        return ", ".join(found)


@requires(Ability.SEE_FIGURES)
@require_GET
def close(request: HttpRequest) -> HttpResponseBase:
    now = shared.now_of(request)
    scope = shared.read_scope(request, consolidates=True)
    panel = explain.panel(request, scope, now=now)
    if panel and explain.is_alone(request):
        return explain.alone(request, panel, now=now)
    rows = _rows(scope, now=now)
    if kind := shared.wants_export(request):
        return _export(request, kind, rows, scope, now)
    return _page(request, scope, rows, rule_form(), now=now, panel=panel)


@requires(Ability.CLOSE)
@require_POST
def rule(request: HttpRequest) -> HttpResponse:
    """Set by how much a closed month may depart before people are told, and who is."""
    now = shared.now_of(request)
    form = RuleForm(request.POST)
    if not form.is_valid():
        scope = shared.read_scope(request, consolidates=True)
        return _page(request, scope, _rows(scope, now=now), form, now=now, status=400)
    places = exponent(settings.REPORTING_CURRENCY)
    departures.set_rule(
        basis_points=int(form.cleaned_data["percent"] * 100),
        minor=int(form.cleaned_data["amount"].scaleb(places)),
        addresses=form.cleaned_data["addresses"],
        by=request.user.get_username(),
    )
    messages.success(request, "Saved. The last closed month is held against it within a minute.")
    return redirect("dashboard:close")


def rule_form() -> RuleForm:
    kept = departures.rule()
    places = exponent(settings.REPORTING_CURRENCY)
    return RuleForm(
        initial={
            "percent": formats.multiple(f"{kept.basis_points}e-2"),
            "amount": exports.major(kept.minor, settings.REPORTING_CURRENCY) if places else kept.minor,
            "addresses": kept.addresses,
        }
    )


def figures(scope: Scope, month: date, both: Sequence[mrr.BothBases]) -> Figures:
    """Return what a month closed with: in the scope's one currency, or of all at the rates of its last day."""
    if scope.native is None:
        found = departures.closings(month, list(both), scope.rates)
        signed, restated = shown(found.signed_micros), shown(found.restated_micros)
        return Figures(month, found.currency, "all", signed, restated)
    one = next((one for one in both if one.currency == scope.native), None)
    pair = (one.closed.closing_minor, one.restated.closing_minor) if one else (0, 0)
    return Figures(month, scope.native, scope.native, *pair)


def step_lines(steps: Sequence[mrr.BookStep]) -> list[StepLine]:
    return [
        StepLine(
            step,
            STEP_WORDS[step.kind],
            " ".join(filter(None, (MANNERS.get(step.manner, ""), step.seconded_by))),
        )
        for step in steps
    ]


def _rows(scope: Scope, *, now: datetime) -> list[MonthRow]:
    """Return all months from the first that has anything to the running one, the newest first."""
    closes = {row.month: row for row in reversed(mrr.closed_months())}
    open_from = books.first_open_month(mrr.closed_through())
    running = shared.today(now).replace(day=1)
    first = min([*closes, *([open_from] if open_from else [])], default=None)
    if first is None or open_from is None:
        return []
    both = mrr.both_bases(first, running, today=shared.today(now), sources=scope.sources)
    learned: dict[date, int] = {}
    for one in mrr.learned(sources=scope.sources):
        learned[one.month] = learned.get(one.month, 0) + one.entries
    return [
        MonthRow(
            month,
            _state(month, closes.get(month), open_from, running),
            figures(scope, month, both[month]),
            closes.get(month) if month < open_from else None,
            learned.get(month, 0),
        )
        for month in sorted(both, reverse=True)
    ]


def _state(month: date, closed: mrr.ClosedMonth | None, open_from: date, running: date) -> str:
    if month < open_from:
        return "closed"
    if month >= running:
        return "running"
    if closed is not None:
        return "reopened"
    return "next" if month == open_from else "later"


def _page(
    request: HttpRequest,
    scope: Scope,
    rows: Sequence[MonthRow],
    form: RuleForm,
    *,
    now: datetime,
    panel: explain.Panel | None = None,
    status: int = 200,
) -> HttpResponse:
    answer = shared.page(
        request,
        "dashboard/close.html",
        {
            "panel": panel,
            "rows": rows,
            "due": next((row for row in reversed(rows) if row.state in ("next", "reopened")), None),
            "steps": step_lines(mrr.book_steps(limit=STEPS_SHOWN)),
            "rule_form": form,
            "may_close": may(request, Ability.CLOSE),
            "empty": Empty(
                "lock",
                "No month to close yet",
                "The first entry of the ledger begins the first month. Months are closed once they have ended.",
                "Set up a source",
                reverse("dashboard:setup"),
            )
            if may(request, Ability.CONNECT)
            else Empty("lock", "No month to close yet", "The first entry of the ledger begins the first month."),
        },
        name="Close",
        now=now,
        scope=scope,
    )
    answer.status_code = status
    return answer


def _export(request: HttpRequest, kind: str, rows: Sequence[MonthRow], scope: Scope, now: datetime) -> HttpResponseBase:
    about = shared.about(request, "Close", now=now, scope=scope)
    about += [
        ("signed_closing", "Closing MRR as closed: each entry in the month it was booked in"),
        ("closing_now", "Closing MRR as known now: each entry in the month it was true in"),
        ("learned", "Entries about the month that were posted after its close"),
        ("hash", "SHA-256 of all entries booked in the month, as the close keeps it"),
    ]
    return exports.response(
        kind,
        name=f"closes-{scope.currency}",
        columns=COLUMNS,
        rows=(_cells(row) for row in rows),
        about=about,
        zone=shared.zone(),
    )


def _cells(row: MonthRow) -> Sequence[exports.Cell]:
    of, closed = row.figures, row.closed
    return (
        f"{row.month:%Y-%m}",
        row.state,
        of.currency,
        exports.major(of.signed_minor, of.currency) if closed else None,
        exports.major(of.restated_minor, of.currency),
        exports.major(of.learned_minor, of.currency) if closed else None,
        row.learned,
        closed.closed_by if closed else None,
        closed.entries_digest if closed else None,
    )
