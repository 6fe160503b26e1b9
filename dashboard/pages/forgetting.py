"""Forgetting a customer: the page that says what goes and what stays elsewhere, and the form that asks for it."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from billing import forgetting
from billing import selectors as billing
from crm import selectors as crm
from dashboard.pages import shared
from dashboard.roles import Ability, requires


@requires(Ability.FORGET)
@require_http_methods(["GET", "POST"])
def forget(request: HttpRequest, pk: int) -> HttpResponse:
    """Show what forgetting does; POST with the customer's id typed and a reason asks for it."""
    person = billing.customers([pk]).get(pk)
    if person is None:
        raise Http404("There is no such customer.")
    error = ""
    reason = request.POST.get("reason", "").strip()
    if request.method == "POST":
        if request.POST.get("typed", "").strip() != person.stripe_id:
            error = "Type the customer's id as it stands above."
        elif not reason:
            error = "Say why. The reason is kept."
        else:
            try:
                forgetting.ask(
                    person.source_slug,
                    person.stripe_id,
                    by=request.user.get_username(),
                    reason=reason,
                    now=shared.now_of(request),
                )
            except forgetting.NamesSomebody as refused:
                error = str(refused)
            else:
                messages.success(request, "Asked. It is done within a minute; what arrives from now on is redacted.")
                return redirect("dashboard:customer_forget", pk=pk)
    answer = shared.page(
        request,
        "dashboard/forget.html",
        {
            "person": person,
            "who": shared.who(request, name=person.name, email=person.email, stripe_id=person.stripe_id),
            "asked": billing.forgetting_of(person.source_pk, person.stripe_id),
            "standing": crm.elsewhere(pk),
            "back": reverse("dashboard:customer", args=[pk]),
            "reason": reason,
            "error": error,
        },
        name="Forget a customer",
        now=shared.now_of(request),
    )
    answer.status_code = 400 if error else 200
    return answer
