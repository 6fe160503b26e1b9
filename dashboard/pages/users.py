"""Users: who has an account and which role; inviting, new links, switching off; and the page that a link opens."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import SetPasswordForm
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from dashboard import people
from dashboard.pages import shared
from dashboard.roles import Ability, Role, requires

WHAT = {
    Role.VIEWER: "figures only, names masked",
    Role.ANALYST: "reads and exports everything",
    Role.REVOPS: "matches customers, mends and retries",
    Role.FINANCE: "policy, closing months, adjustments",
    Role.ADMIN: "connections and users; closes and matches nothing",
}


class InviteForm(forms.Form):
    email = forms.EmailField(label="E-mail", max_length=150)
    role = forms.ChoiceField(
        label="Role",
        choices=[(role.value, f"{role.value.capitalize()}: {words}") for role, words in WHAT.items()],
    )


@requires(Ability.MANAGE_USERS)
@require_GET
def users(request: HttpRequest) -> HttpResponse:
    """List all accounts, and what was done to them lately."""
    return _page(request)


@requires(Ability.MANAGE_USERS)
@never_cache
@require_POST
def invite(request: HttpRequest) -> HttpResponse:
    """Make an account and mail its link, or show the link this once where e-mail goes nowhere."""
    form = InviteForm(request.POST)
    if not form.is_valid():
        return _page(request, form=form, status=422)
    try:
        user = people.invite(form.cleaned_data["email"], Role(form.cleaned_data["role"]), by=request.user)
    except people.NotChanged as error:
        form.add_error("email", str(error))
        return _page(request, form=form, status=422)
    return _give_link(request, user, mails=True)


@requires(Ability.MANAGE_USERS)
@never_cache
@require_POST
def change(request: HttpRequest, pk: int) -> HttpResponse:
    """Do to an account what the button says: role, link, off or on."""
    user = get_user_model().objects.filter(pk=pk).first()
    if user is None:
        raise Http404
    act = request.POST.get("act", "")
    try:
        if act == "mail":
            return _give_link(request, user, mails=True)
        if act == "link":
            return _give_link(request, user, mails=False)
        if act == "role" and request.POST.get("role", "") in people.ROLE_NAMES:
            people.set_role(user, Role(request.POST["role"]), by=request.user)
            messages.success(request, f"{user.get_username()} is {request.POST['role']} now.")
        elif act == "off":
            people.switch_off(user, by=request.user)
            messages.success(request, f"{user.get_username()} is signed out everywhere and cannot sign in.")
        elif act == "on":
            people.switch_on(user, by=request.user)
            messages.success(request, f"{user.get_username()} can sign in again.")
    except people.NotChanged as error:
        messages.error(request, str(error))
    return redirect("dashboard:users")


@login_not_required
@never_cache
@sensitive_post_parameters()
@require_http_methods(["GET", "POST"])
def new_password(request: HttpRequest, uid: str, token: str) -> HttpResponse:
    """Let the owner of a link set a password; signing in comes after it, so that a second factor is asked for."""
    user = people.owner_of(uid, token)
    if user is None:
        return render(request, "dashboard/link_dead.html", status=410)
    form = SetPasswordForm(user, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        people.take_password(user, form.cleaned_data["new_password1"])
        messages.success(request, f"The password is set. Sign in as {user.get_username()}.")
        return redirect("account_login")
    context = {"form": form, "name": user.get_username(), "is_new": not user.has_usable_password()}
    return render(request, "dashboard/new_password.html", context, status=422 if form.errors else 200)


def _give_link(request: HttpRequest, user: Any, *, mails: bool) -> HttpResponse:
    link = people.new_link(user, by=request.user)
    if mails and user.email and people.can_send():
        try:
            people.send_link(user, link)
        except OSError:
            return _page(request, link=link, owner=user.get_username(), note="The mail server did not take the mail.")
        messages.success(request, f"A link went to {user.email}. It works once, within three days.")
        return redirect("dashboard:users")
    return _page(request, link=link, owner=user.get_username())


def _page(
    request: HttpRequest,
    *,
    form: InviteForm | None = None,
    link: str = "",
    owner: str = "",
    note: str = "",
    status: int = 200,
) -> HttpResponse:
    answer = shared.page(
        request,
        "dashboard/users.html",
        {
            "people": people.people(),
            "lines": people.audit_lines(),
            "form": form or InviteForm(),
            "roles": people.ROLE_NAMES,
            "link": link,
            "owner": owner,
            "note": note,
            "can_send": people.can_send(),
        },
        name="Users",
        now=shared.now_of(request),
    )
    answer.status_code = status
    return answer
