"""Salesforce rules: what a payment leaves there, where Amounts come from, the day's calls, who is told of a stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST

from billing import write_back
from crm import rules
from crm.channels.kinds import ChannelError
from dashboard.pages import shared
from dashboard.roles import Ability, requires

SHOWN = 20
PAYMENT_TASKS = (("first_invoice", "The first invoice of a subscription"), ("every", "Every invoice"), ("none", "None"))
AMOUNT_FROM = (("arr", "ARR"), ("first_invoice", "The first invoice"))
# As the page names them; the log of changes does, too.
LABELS = {
    "payment_tasks": "Paid invoices that leave a completed Task",
    "amount_from": "Amount of an Opportunity we win",
    "makes_opportunities": "Make an Opportunity where none fits",
    "makes_accounts": "Let people make an Account for a customer",
    "deletes_tasks": "Delete our Tasks when a match is undone",
    "write_allowance": "Writing calls a day",
    "read_allowance": "Reading calls a day",
    "reserve_calls": "Calls left to others",
    "log_days": "Days that writes are kept",
    "csm_field": "Field of Account that names who looks after it",
    "match_threshold": "Points for a match without a person",
    "blocked_domains": "Blocked domains",
    "waiting_alert_days": "Days that a paying customer may wait for its Account",
    "waiting_alert_amount": "MRR that may wait for an Account",
    "writes_metadata": "Write the Account of a match to Stripe",
    "callback_secret": "Secret of the Flow that calls us",
    "alert_email": "Addresses",
    "alert_channel": "Slack channel",
}


def _count(name: str, hint: str, *, least: int = 0, most: int = 1_000_000) -> forms.IntegerField:
    return forms.IntegerField(label=LABELS[name], min_value=least, max_value=most, help_text=hint)


class OrgForm(forms.Form):
    """The connection's own rules."""

    makes_opportunities = forms.BooleanField(
        label=LABELS["makes_opportunities"],
        required=False,
        help_text="Else a person is asked, on the Unmatched page.",
    )
    makes_accounts = forms.BooleanField(
        label=LABELS["makes_accounts"],
        required=False,
        help_text="On the Unmatched page, where no Account fits. Our user there needs the right to create Accounts.",
    )
    deletes_tasks = forms.BooleanField(
        label=LABELS["deletes_tasks"],
        required=False,
        help_text="Else they are closed, with a line that says why.",
    )
    write_allowance = _count(
        "write_allowance", "As they come to an end, sending slows; they are never passed.", least=24
    )
    read_allowance = _count("read_allowance", "288 of them read Accounts, Contacts and Users.", least=300)
    reserve_calls = _count("reserve_calls", "Of the org's daily calls. When only these are left, sending stops.")
    log_days = _count("log_days", "With request and answer, for the log.", least=1, most=3650)
    csm_field = forms.RegexField(
        r"^[A-Za-z][A-Za-z0-9_]{0,79}$",
        label=LABELS["csm_field"],
        required=False,
        error_messages={"invalid": "This is not an API name, such as CSM__c."},
        help_text="A lookup of a User, such as CSM__c; that User owns our Tasks. Empty: the Account's owner.",
    )
    match_threshold = _count(
        "match_threshold",
        "Of 100. Two Accounts near it always wait; an Account id in Stripe's metadata needs no points.",
        least=70,
        most=100,
    )
    blocked_domains = forms.CharField(
        label=LABELS["blocked_domains"],
        required=False,
        max_length=20_000,
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}),
        help_text="Of agencies, holdings and others that pay for several companies: an address there tells nobody. "
        "One a line. Free mail never counts anyway.",
    )
    waiting_alert_days = _count("waiting_alert_days", "Then those below are told, once. 0: never.", most=3650)
    waiting_alert_amount = _count(
        "waiting_alert_amount", "Of all together, in whole units of the reporting currency. 0: never.", most=10**9
    )
    alert_email = forms.CharField(
        label=LABELS["alert_email"],
        required=False,
        max_length=500,
        help_text="Told when sending stops, and when it goes on. Commas between several.",
    )
    alert_channel = forms.CharField(
        label=LABELS["alert_channel"],
        required=False,
        max_length=80,
        help_text="Told the same; such as #revops. The bot must be a member.",
    )

    def clean_blocked_domains(self) -> str:
        domains, others = rules.read_domains(self.cleaned_data["blocked_domains"])
        if others:
            raise ValidationError(f"'{others[0]}' is not a domain that a company can register.")
        return "\n".join(domains)

    def clean_alert_email(self) -> str:
        found = [one.strip() for one in self.cleaned_data["alert_email"].split(",") if one.strip()]
        for one in found:
            try:
                validate_email(one)
            except ValidationError:
                raise ValidationError(f"'{one}' is not an e-mail address.") from None
        return ", ".join(found)


class SourceForm(forms.Form):
    """The rules of one source."""

    payment_tasks = forms.ChoiceField(
        label=LABELS["payment_tasks"], choices=PAYMENT_TASKS, help_text="With amount, lines and their periods."
    )
    amount_from = forms.ChoiceField(
        label=LABELS["amount_from"], choices=AMOUNT_FROM, help_text="Written once; later invoices never change it."
    )
    writes_metadata = forms.BooleanField(
        label=LABELS["writes_metadata"],
        required=False,
        help_text="As salesforce_account_id in the customer's metadata; undone with the match. The source's key needs "
        "write access to Customers.",
    )


@dataclass(frozen=True)
class SourceCard:
    """One source, its form, and what became of what was to be written to its Stripe account."""

    row: rules.SourceRow
    form: SourceForm
    written: write_back.Standing


@requires(Ability.CONNECT)
@require_http_methods(["GET", "POST"])
def salesforce_rules(request: HttpRequest) -> HttpResponseBase:
    """Show the rules, or set the connection's own."""
    if request.method != "POST":
        return _page(request)
    form = OrgForm(request.POST)
    if not form.is_valid() or not _may_look_up(form, request):
        return _page(request, form=form)
    try:
        _say(request, rules.change_org(form.cleaned_data, by=request.user.get_username()))
    except rules.NoOrg as error:
        messages.error(request, str(error))
    return redirect("dashboard:salesforce_rules")


@requires(Ability.CONNECT)
@require_POST
def source_rules(request: HttpRequest, pk: int) -> HttpResponse:
    """Set the rules of one source."""
    form = SourceForm(request.POST, prefix=str(pk))
    if not form.is_valid() or pk not in {one.pk for one in rules.of_sources()}:
        messages.error(request, "This is not one of the choices, so nothing was changed.")
    else:
        by = request.user.get_username()
        writes = write_back.choose(pk, form.cleaned_data["writes_metadata"], by=by)
        _say(request, rules.change_source(pk, form.cleaned_data, by=by) + ["writes_metadata"] * writes)
    return redirect("dashboard:salesforce_rules")


@requires(Ability.CONNECT)
@require_POST
def write_again(request: HttpRequest, pk: int) -> HttpResponse:
    """Put what was given up on of a source's writes to Stripe back to waiting."""
    count = write_back.try_parked_again(pk, now=shared.now_of(request))
    if count:
        messages.success(request, f"{count} to be written to Stripe once more.")
    else:
        messages.info(request, "Nothing was given up on, so nothing is tried again.")
    return redirect("dashboard:salesforce_rules")


@requires(Ability.CONNECT)
@require_POST
def try_alerts(request: HttpRequest) -> HttpResponse:
    """Send a trial alert to whoever would be told."""
    try:
        count = rules.try_alerts(by=request.user.get_username(), now=shared.now_of(request))
    except rules.NoOrg as error:
        messages.error(request, str(error))
    else:
        if count:
            messages.success(request, "On its way. The messages of the Salesforce sync page say what became of it.")
        else:
            messages.error(request, "Nobody would be told: name an address, or a Slack channel and SLACK_BOT_TOKEN.")
    return redirect("dashboard:salesforce_rules")


def _may_look_up(form: OrgForm, request: HttpRequest) -> bool:
    """Ask the org whether the lookup can be read; the form says why not."""
    try:
        fault = rules.fault_of_lookup(form.cleaned_data["csm_field"], now=shared.now_of(request))
    except ChannelError as error:
        fault = f"Salesforce could not be asked: {error.message} ({error.code})"
    if fault:
        form.add_error("csm_field", fault)
    return not fault


def _say(request: HttpRequest, changed: list[str]) -> None:
    if changed:
        messages.success(request, f"Changed: {', '.join(LABELS[name].lower() for name in changed)}.")
    else:
        messages.info(request, "Nothing was different, so nothing was changed.")


def _page(request: HttpRequest, *, form: OrgForm | None = None) -> HttpResponse:
    org = rules.of_org()
    form = form or OrgForm(initial=org or {})
    written = write_back.standings()
    answer = shared.page(
        request,
        "dashboard/salesforce_rules.html",
        {
            "is_connected": org is not None,
            "sources": [
                SourceCard(
                    one,
                    SourceForm(initial=_initial(one, written[one.pk]), prefix=str(one.pk)),
                    written[one.pk],
                )
                for one in rules.of_sources()
            ],
            "records": [form[name] for name in ("makes_opportunities", "makes_accounts", "deletes_tasks", "csm_field")],
            "budget": [form[name] for name in ("write_allowance", "read_allowance", "reserve_calls", "log_days")],
            "matching": [form["match_threshold"], form["blocked_domains"]],
            "alerts": [
                form[name] for name in ("waiting_alert_days", "waiting_alert_amount", "alert_email", "alert_channel")
            ],
            "has_errors": bool(form.errors),
            "changes": [(one, LABELS.get(one.field, one.field)) for one in rules.last_changes(limit=SHOWN)],
        },
        name="Salesforce rules",
        now=shared.now_of(request),
    )
    answer.status_code = 422 if form.errors else 200
    return answer


def _initial(one: rules.SourceRow, written: write_back.Standing) -> dict[str, Any]:
    return {
        "payment_tasks": one.payment_tasks,
        "amount_from": one.amount_from,
        "writes_metadata": written.is_on,
    }
