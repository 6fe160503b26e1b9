"""Summaries: when and to whom the week and the month are told, what they would say now, and a trial."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from crm import summaries as rules
from crm.summary_models import SummaryKind, SummaryRule
from dashboard import formats, summaries
from dashboard.pages import shared
from dashboard.roles import Ability, requires

SHOWN = 20
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
LABELS = {
    "is_on": "Tell it",
    "day": "Day",
    "hour": "Hour",
    "addresses": "Addresses",
    "channel": "Slack channel",
    "names_customers": "Name customers",
}
ABOUT = {
    SummaryKind.WEEKLY: ("The week", "Of the last whole week, Monday to Sunday"),
    SummaryKind.MONTHLY: ("The month", "Of the last whole month"),
}


class RuleForm(forms.Form):
    """When and to whom one summary is told."""

    is_on = forms.BooleanField(
        label=LABELS["is_on"], required=False, help_text="Begins with the next that falls due; the past is not told."
    )
    day = forms.TypedChoiceField(label=LABELS["day"], coerce=int)
    hour = forms.TypedChoiceField(
        label=LABELS["hour"], coerce=int, choices=[(hour, f"{hour:02}:00") for hour in range(24)]
    )
    addresses = forms.CharField(
        label=LABELS["addresses"], required=False, max_length=1000, help_text="One mail each. Commas between several."
    )
    channel = forms.CharField(
        label=LABELS["channel"], required=False, max_length=80, help_text="Such as #finance; the bot must be a member."
    )
    names_customers = forms.BooleanField(
        label=LABELS["names_customers"],
        required=False,
        help_text="A mail is read where no role is asked. Off: movements stand without a name, each with its link.",
    )

    def __init__(self, kind: str, given: Any = None, *, initial: dict[str, Any] | None = None) -> None:
        super().__init__(given, prefix=kind, initial=initial)
        days = list(enumerate(WEEKDAYS)) if kind == SummaryKind.WEEKLY else [(day, str(day)) for day in range(1, 29)]
        self.fields["day"].choices = days  # type: ignore[attr-defined]  # a choice field's own
        self.fields["hour"].help_text = f"In {settings.REPORTING_TIME_ZONE}."
        if not settings.SLACK_BOT_TOKEN:
            self.fields["channel"].help_text = "Nothing goes there: SLACK_BOT_TOKEN is not set in the environment."

    def clean_addresses(self) -> str:
        found = [one.strip() for one in self.cleaned_data["addresses"].split(",") if one.strip()]
        for one in found:
            try:
                validate_email(one)
            except ValidationError:
                raise ValidationError(f"'{one}' is not an e-mail address.") from None
        return ", ".join(found)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        goes_to_slack = cleaned.get("channel") and settings.SLACK_BOT_TOKEN
        if cleaned.get("is_on") and not cleaned.get("addresses") and not goes_to_slack and not self.errors:
            self.add_error("addresses", "Name an address or a Slack channel that can be told, else nobody would be.")
        return cleaned


@requires(Ability.SUMMARISE)
@require_GET
def settings_page(request: HttpRequest) -> HttpResponse:
    """Show both rules, what was told lately and who changed what."""
    return _page(request, {})


@requires(Ability.SUMMARISE)
@require_http_methods(["POST"])
def change(request: HttpRequest, kind: str) -> HttpResponseBase:
    """Set one rule."""
    form = RuleForm(_kind(kind), request.POST)
    if not form.is_valid():
        answer = _page(request, {kind: form})
        answer.status_code = 422
        return answer
    changed = rules.set_rule(kind, form.cleaned_data, by=request.user.get_username(), now=shared.now_of(request))
    if changed:
        messages.success(request, f"Changed: {', '.join(LABELS[name].lower() for name in changed)}.")
    else:
        messages.info(request, "Nothing was different, so nothing was changed.")
    return redirect("dashboard:summaries")


@requires(Ability.SUMMARISE)
@require_GET
def preview(request: HttpRequest, kind: str) -> HttpResponse:
    """Show what the newest summary of a kind says, as its mail would, without sending it."""
    rule, now = rules.rules()[_kind(kind)], shared.now_of(request)
    period = rules.period_of(rule, now=now, zone=summaries.zone())
    body = summaries.compose(
        kind, period, now=now, names_customers=rule.names_customers, pulse=shared.crm_pulse(request)
    )
    text, sections = summaries.rendered(body) if body else ("", [])
    return shared.page(
        request,
        "dashboard/summary.html",
        {
            "kind": kind,
            "title": ABOUT[SummaryKind(kind)][0],
            "period": formats.days(period.first, period.last),
            "body": body,
            "sections": sections,
            "text": text,
            "has_address": bool(request.user.email),  # type: ignore[union-attr]  # the role needs a login
            "channel": rule.channel if settings.SLACK_BOT_TOKEN else "",
        },
        name=f"Summary of {ABOUT[SummaryKind(kind)][0].lower()}",
        now=now,
    )


@requires(Ability.SUMMARISE)
@require_POST
def try_out(request: HttpRequest, kind: str) -> HttpResponseBase:
    """Send a trial: to the one who asks for it, or to the Slack channel that is set."""
    rule, now = rules.rules()[_kind(kind)], shared.now_of(request)
    period = rules.period_of(rule, now=now, zone=summaries.zone())
    channel = rules.SLACK if request.POST.get("channel") == rules.SLACK else rules.EMAIL
    to = rule.channel if channel == rules.SLACK else request.user.email  # type: ignore[union-attr]
    body = summaries.compose(kind, period, now=now, names_customers=rule.names_customers)
    if body is None:
        messages.error(request, "The ledger is empty, so there is nothing to tell.")
    elif not to or (channel == rules.SLACK and not settings.SLACK_BOT_TOKEN):
        messages.error(request, "Set an address of your own, or a Slack channel and SLACK_BOT_TOKEN.")
    else:
        rules.try_out(body, channel=channel, to=to, now=now)
        messages.success(request, f"A trial is on its way to {to}. What became of it stands below.")
    return redirect("dashboard:summaries")


def _kind(kind: str) -> str:
    if kind not in SummaryKind.values:
        raise Http404(f"There is no summary '{kind}'.")
    return kind


def _page(request: HttpRequest, forms_given: dict[str, RuleForm]) -> HttpResponse:
    found, now = rules.rules(), shared.now_of(request)
    cards = [
        {
            "kind": kind,
            "title": title,
            "sub": sub,
            "form": forms_given.get(kind) or RuleForm(kind, initial=_initial(found[kind])),
            "next": _next(found[kind]),
        }
        for kind, (title, sub) in ABOUT.items()
    ]
    return shared.page(
        request,
        "dashboard/summaries.html",
        {
            "cards": cards,
            "has_errors": bool(forms_given),
            "told": rules.told_lately(limit=SHOWN),
            "changes": [
                (one, LABELS.get(one.field, one.field), _said(one.field, one.before), _said(one.field, one.after))
                for one in rules.last_changes(limit=SHOWN)
            ],
            "zone_name": settings.REPORTING_TIME_ZONE,
        },
        name="Summaries",
        now=now,
    )


def _initial(rule: SummaryRule) -> dict[str, Any]:
    return {name: getattr(rule, name) for name in rules.SET}


def _said(field: str, value: str) -> str:
    """Write a value as the log of changes shows it."""
    if field in ("is_on", "names_customers"):
        return "on" if value == "True" else "off"
    return value or "empty"


def _next(rule: SummaryRule) -> str:
    """Say when it is told, in words; that it is off, where it is."""
    if not rule.is_on:
        return "Off"
    day = f"Every {WEEKDAYS[rule.day]}" if rule.kind == SummaryKind.WEEKLY else f"On day {rule.day} of each month"
    return f"{day} at {rule.hour:02}:00"
