"""Set-up: an empty install opens here and gets its first administrator and Stripe source, which is tried for real."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import get_user_model, login, password_validation
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from billing import selectors as billing
from billing import sources, webhook
from crm.selectors import set_up
from dashboard.models import SetupCode
from dashboard.pages import shared
from dashboard.pages.shared import Scope
from dashboard.parts import Empty
from dashboard.roles import Ability, Role, may

TEST_EVENT = "setup.tested"


@dataclass(frozen=True)
class Step:
    """One step of the set-up: done, open now, or later."""

    name: str
    is_done: bool
    is_open: bool


@dataclass(frozen=True)
class Trial:
    """What the endpoint answered to a signed test event."""

    slug: str
    status: int
    answer: str
    event_id: str

    @property
    def is_kept(self) -> bool:
        return self.status == 200


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


class SourceForm(forms.Form):
    """The first Stripe account to listen to."""

    label = forms.CharField(
        label="Name", max_length=100, help_text="As people call this Stripe account, such as Northwind US."
    )
    slug = forms.SlugField(
        label="Short name",
        max_length=50,
        help_text="Stands in the endpoint's address: lower case, digits and hyphens. It cannot change later.",
    )
    signing_secret = forms.CharField(
        label="Signing secret",
        max_length=200,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="Starts with whsec_. It is shown on the endpoint's page in Stripe. We keep it encrypted.",
    )
    mode = forms.ChoiceField(
        label="Mode",
        choices=[("live", "Live: real money"), ("test", "Test: left out of every total")],
        help_text="A source's mode cannot change once it has events.",
    )

    def clean_signing_secret(self) -> str:
        secret = str(self.cleaned_data["signing_secret"]).strip()
        try:
            sources.check_signing_secret(secret)
        except sources.SourceError as error:
            raise ValidationError(str(error)) from error
        return secret


@login_not_required
@never_cache
@require_http_methods(["GET", "POST"])
def setup(request: HttpRequest) -> HttpResponse:
    """Show the open step: the first account while nobody exists (with the one-time code), then the first source."""
    if not get_user_model().objects.exists():
        return _first_account(request)
    if not request.user.is_authenticated:
        return redirect(f"{reverse('account_login')}?next={reverse('dashboard:setup')}")
    if not may(request, Ability.CONNECT):
        raise PermissionDenied("This needs the ability 'connect'. Ask an administrator for a role that has it.")
    return _sources(request)


def nothing_yet(scope: Scope) -> Empty:
    """Say what an install without any MRR needs next: a source, an event, or a subscription."""
    known = billing.sources()
    if not known:
        return Empty(
            "plug",
            "No Stripe account is connected yet",
            "Figures appear as soon as Stripe's first event arrives.",
            "Add the first source",
            reverse("dashboard:setup"),
            is_main_action=True,
        )
    if not billing.has_events(scope.sources):
        names = ", ".join(source.slug for source in known if source.pk in scope.sources) or "a live source"
        return Empty(
            "bolt",
            "No events yet",
            f"Stripe has not sent anything to {names}. Send a test event from Stripe, or load its past events.",
            "Show the endpoint",
            reverse("dashboard:setup"),
            is_main_action=True,
        )
    return Empty(
        "hourglass",
        "No MRR yet",
        "Events arrive, and none of them made a subscription count so far. The first that does appears here.",
        "Show the events",
        reverse("dashboard:events"),
    )


# ---- the first account ----


def _first_account(request: HttpRequest) -> HttpResponse:
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
    return render(request, "dashboard/setup_account.html", {"form": form, "code": given, "steps": _steps(1)})


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


# ---- the first source ----


def _sources(request: HttpRequest) -> HttpResponse:
    now = shared.now_of(request)
    known = billing.sources()
    form = SourceForm()
    trial: Trial | None = None
    if request.method == "POST" and request.POST.get("step") == "source":
        form = SourceForm(request.POST)
        if form.is_valid():
            trial = _add_source(form, now=now)
            if trial:
                form, known = SourceForm(), billing.sources()
    elif request.method == "POST":
        try:
            trial = try_endpoint(request.POST.get("slug", ""), now=now)
        except sources.SourceError as error:
            messages.error(request, str(error))
    return shared.page(
        request,
        "dashboard/setup.html",
        {
            "form": form,
            "sources": [(source, f"{settings.BASE_URL}/webhooks/stripe/{source.slug}/") for source in known],
            "trial": trial,
            "steps": _steps(3 if known else 2),
            "org": set_up.salesforce_set_up(),
        },
        name="Set up",
        now=now,
    )


def _add_source(form: SourceForm, *, now: datetime) -> Trial | None:
    """Save the source and try it; None, with the reason at its field, when it cannot be saved."""
    values = form.cleaned_data
    if any(source.slug == values["slug"] for source in billing.sources()):
        form.add_error("slug", "A source with this short name exists. Choose another.")
        return None
    try:
        sources.add(
            values["slug"],
            label=values["label"],
            signing_secrets=[values["signing_secret"]],
            livemode=values["mode"] == "live",
        )
    except sources.SourceError as error:
        form.add_error("signing_secret", str(error))
        return None
    return try_endpoint(values["slug"], now=now)


def try_endpoint(slug: str, *, now: datetime) -> Trial:
    """Post a signed test event through the function that answers Stripe, and return what it said.

    The event is kept like any other and then marked ignored, because nothing in it concerns money.
    """
    source = sources.with_secrets(slug)
    event_id = f"evt_setup_{secrets.token_hex(8)}"
    stamp = int(now.timestamp())
    body = json.dumps(
        {
            "id": event_id,
            "object": "event",
            "type": TEST_EVENT,
            "created": stamp,
            "livemode": source.livemode,
            "api_version": None,
            "data": {"object": {"id": "setup", "object": "setup"}},
        }
    ).encode()
    signature = hmac.new(source.newest_secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    status, answer = webhook.receive(slug, body, f"t={stamp},v1={signature}", now=now)
    return Trial(slug, status, answer.decode().strip(), event_id)


def _steps(at: int) -> list[Step]:
    names = ("The first account", "The first Stripe source", "What comes next")
    return [Step(name, number < at, number == at) for number, name in enumerate(names, start=1)]
