"""The first account of an empty install, made with the one-time code that `serve` printed."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from django import forms
from django.contrib.auth import get_user_model, login, password_validation
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from dashboard.models import SetupCode
from dashboard.pages import shared
from dashboard.roles import Role
from dashboard.setup_steps import Step


def first_account(request: HttpRequest) -> HttpResponse:
    """Ask for the code, then for the account; it may do everything, and the code is used up."""
    given = request.POST.get("code") or request.GET.get("code") or ""
    if not _open_code(given):
        asked = CodeForm({"code": given} if given else None)
        if given:
            asked.add_error(
                "code", "This code is not the one that was printed last, or it was used. Restart serve for a new one."
            )
        return render(request, "dashboard/setup_code.html", {"form": asked}, status=403 if given else 200)
    form = AccountForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        user = _make_admin(given, form.cleaned_data, now=shared.now_of(request))
        if user is not None:
            login(request, user, backend="django.contrib.auth.backends.ModelBackend")
            return redirect("dashboard:setup")
        form.add_error(None, "Somebody was first: this install has an account now. Sign in with it.")
    return render(request, "dashboard/setup_account.html", {"form": form, "code": given, "steps": STEPS})


STEPS = (Step("The first account", False, True), Step("The first Stripe source", False))


def _open_code(code: str) -> SetupCode | None:
    digest = hashlib.sha256(code.encode()).hexdigest()
    return SetupCode.objects.filter(digest=digest, used_at__isnull=True).first() if code else None


def _make_admin(code: str, values: dict[str, Any], *, now: datetime) -> Any:
    """Use the code up and make the account; None when another request did so first."""
    users = get_user_model().objects
    digest = hashlib.sha256(code.encode()).hexdigest()
    with transaction.atomic():
        if not SetupCode.objects.filter(digest=digest, used_at__isnull=True).update(used_at=now) or users.exists():
            return None
        user = users.create_superuser(values["username"], values["email"], values["password1"])
        user.groups.add(Group.objects.get(name=Role.ADMIN))
        return user


class CodeForm(forms.Form):
    code = forms.CharField(
        label="Set-up code",
        help_text="It stands in the line that serve printed when it started, and works once.",
        max_length=100,
    )


class AccountForm(forms.Form):
    """The first account. It may do everything, so that it can invite the others."""

    username = forms.RegexField(
        r"^[\w.@+-]+$",
        label="User name",
        max_length=150,
        error_messages={"invalid": "Letters, digits and @ . + - _ only."},
    )
    email = forms.EmailField(label="E-mail", required=False)
    password1 = forms.CharField(
        label="Password",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        strip=False,
        help_text="At least 10 characters, no common password.",
    )
    password2 = forms.CharField(
        label="Password again", widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}), strip=False
    )

    def clean(self) -> dict[str, Any]:
        found = super().clean() or {}
        first, second = found.get("password1"), found.get("password2")
        if first and second and first != second:
            self.add_error("password2", "The two passwords differ.")
        elif first:
            user = get_user_model()(username=found.get("username", ""), email=found.get("email", ""))
            try:
                password_validation.validate_password(first, user)
            except ValidationError as error:
                self.add_error("password1", error)
        return found
