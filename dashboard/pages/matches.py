"""What a person decides on the workbench: match, undo, snooze; each leads back to the queue."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlencode

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from crm import matching
from crm.ids import MalformedId
from dashboard import formats
from dashboard.pages import shared
from dashboard.roles import Ability, requires

SNOOZE_DAYS = 7


@requires(Ability.MATCH)
@require_POST
def create_match(request: HttpRequest) -> HttpResponse:
    """Match the customer to the Account that was chosen; who was second is told who was first."""
    customer_pk = _posted_pk(request)
    account_id = request.POST.get("account_id", "")
    by = request.user.get_username()
    try:
        matching.match(customer_pk, account_id, by=by, now=shared.now_of(request))
    except matching.AlreadyMatched as first:
        who = first.who or "The machine"
        at = formats.moment(first.when, shared.zone(), seconds=False)
        messages.error(request, f"Somebody was first. {who} matched this customer at {at}. Nothing of yours was saved.")
    except MalformedId:
        messages.error(request, "No Account was chosen. Choose a candidate, or search one.")
        return _back(request, customer_pk)
    except (matching.UnknownAccount, matching.UnknownCustomer) as error:
        messages.error(request, str(error))
        return _back(request, customer_pk)
    return _back(request, request.POST.get("next", ""))


@requires(Ability.MATCH)
@require_POST
def delete_match(request: HttpRequest, pk: int) -> HttpResponse:
    """Undo a match: the customer waits again, and what Salesforce holds is taken off the Account."""
    try:
        undone = matching.unmatch(pk, by=request.user.get_username(), now=shared.now_of(request))
    except matching.UnknownMatch as error:
        messages.error(request, str(error))
        return redirect("dashboard:unmatched")
    messages.success(request, "Undone. The customer waits again.")
    if request.POST.get("to") == "customer":
        return redirect("dashboard:customer", undone.customer_id)
    return redirect(f"{reverse('dashboard:unmatched')}?customer={undone.customer_id}")


@requires(Ability.MATCH)
@require_POST
def create_snooze(request: HttpRequest) -> HttpResponse:
    """Let the customer rest for a week, or wake it."""
    customer_pk = _posted_pk(request)
    wakes = request.POST.get("wake") == "1"
    until = None if wakes else shared.now_of(request) + timedelta(days=SNOOZE_DAYS)
    try:
        matching.snooze(customer_pk, until=until, by=request.user.get_username(), now=shared.now_of(request))
    except matching.UnknownCustomer as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "It waits again." if until is None else f"Snoozed until {formats.day(until.date())}.")
    return _back(request, request.POST.get("next", ""))


def _posted_pk(request: HttpRequest) -> int:
    text = request.POST.get("customer", "")
    if not text.isdigit():
        raise Http404("There is no such customer.")
    return int(text)


def _back(request: HttpRequest, customer: object) -> HttpResponse:
    """Go back to the queue as it was filtered, at a customer."""
    kept = {name: request.POST[name] for name in ("reason", "source", "tab") if request.POST.get(name)}
    if customer:
        kept["customer"] = str(customer)
    query = f"?{urlencode(kept)}" if kept else ""
    return redirect(f"{reverse('dashboard:unmatched')}{query}")
