"""Set-up: an empty install opens here; each step, up to the shadow run, is green or says what to do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import BadRequest, PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from billing import backfill, endpoints, examining, sources, stripe_api
from billing import selectors as billing
from billing.models import StripeSource
from dashboard import setup_steps
from dashboard.pages import shared
from dashboard.pages.first_account import first_account
from dashboard.pages.shared import Scope
from dashboard.parts import Empty
from dashboard.roles import Ability, may


class SourceForm(forms.Form):
    """A Stripe account to listen to, in one mode."""

    label = forms.CharField(
        label="Name", max_length=100, help_text="As people call this Stripe account, such as Northwind US."
    )
    slug = forms.SlugField(
        label="Short name",
        max_length=50,
        help_text="Stands in the endpoint's address: letters, digits and hyphens. It cannot change later.",
    )
    mode = forms.ChoiceField(
        label="Mode",
        choices=[("live", "Live: real money"), ("test", "Test: left out of every total")],
        help_text="A source's mode cannot change once it has events.",
    )
    api_key = forms.CharField(
        label="Restricted key",
        required=False,
        max_length=300,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="Starts with rk_live_ or rk_test_. It is tried on every read that we need, and kept encrypted.",
    )
    signing_secret = forms.CharField(
        label="Signing secret, if the endpoint exists",
        required=False,
        max_length=200,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="Starts with whsec_. Leave it empty to have the endpoint created in the next step.",
    )

    def clean_signing_secret(self) -> str:
        secret = str(self.cleaned_data["signing_secret"]).strip()
        if secret:
            _checked(sources.check_signing_secret, secret)
        return secret

    def clean_slug(self) -> str:
        slug = str(self.cleaned_data["slug"])
        if any(source.slug == slug for source in billing.sources()):
            raise ValidationError("A source with this short name exists. Choose another.")
        return slug

    def clean_api_key(self) -> str:
        key = str(self.cleaned_data["api_key"]).strip()
        if key:
            is_live = self.cleaned_data.get("mode") != "test"
            _checked(sources.check_api_key, key, livemode=is_live, allow_secret_key=False)
        return key


def _checked(check: Callable[..., None], *given: Any, **more: Any) -> None:
    try:
        check(*given, **more)
    except sources.SourceError as error:
        raise ValidationError(str(error)) from error


@login_not_required
@never_cache
@sensitive_post_parameters()
@require_http_methods(["GET", "POST"])
def setup(request: HttpRequest) -> HttpResponse:
    """Show the open step: the first account while nobody exists (with the one-time code), then all the others."""
    if not get_user_model().objects.exists():
        return first_account(request)
    if not request.user.is_authenticated:
        return redirect(f"{reverse('account_login')}?next={reverse('dashboard:setup')}")
    if not may(request, Ability.CONNECT):
        raise PermissionDenied("This needs the ability 'connect'. Ask an administrator for a role that has it.")
    if request.method == "POST":
        return _act(request)
    return _page(request)


setup.ability = Ability.CONNECT  # type: ignore[attr-defined]  # the navigation's test reads it


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


# ---- the page ----


def _page(request: HttpRequest, *, form: SourceForm | None = None) -> HttpResponse:
    now = shared.now_of(request)
    found = setup_steps.read(now=now)
    answer = shared.page(
        request,
        "dashboard/setup.html",
        {
            "form": form or SourceForm(),
            "is_adding": form is not None or not found.sources or "add" in request.GET,
            "set_up": found,
            "steps": found.steps,
            "events": endpoints.EVENTS,
            "api_version": stripe_api.API_VERSION,
            "rights": examining.RIGHTS,
            "key_pages": [(mode, setup_steps.key_page(livemode=mode == "live")) for mode in ("live", "test")],
        },
        name="Set up",
        now=now,
    )
    answer.status_code = 422 if form is not None else 200
    return answer


# ---- what its buttons do ----


def _act(request: HttpRequest) -> HttpResponse:
    step = request.POST.get("step", "")
    now = shared.now_of(request)
    if step == "source":
        return _add_source(request, now=now)
    act = ACTIONS.get(step)
    if act is None:
        raise BadRequest("There is no such step.")
    source = StripeSource.objects.filter(slug=request.POST.get("slug", "")).first()
    if source is None:
        messages.error(request, "There is no such source any more.")
        return redirect("dashboard:setup")
    try:
        messages.success(request, act(source, request, now))
    except (sources.SourceError, stripe_api.StripeError) as error:
        messages.error(request, str(error))
    return redirect(f"{reverse('dashboard:setup')}#source-{source.slug}")


def _add_source(request: HttpRequest, *, now: datetime) -> HttpResponse:
    """Try the key and save the source; with the reason at its field when that cannot be."""
    form = SourceForm(request.POST)
    if not form.is_valid():
        return _page(request, form=form)
    values = form.cleaned_data
    try:
        examining.add(
            values["slug"],
            label=values["label"],
            livemode=values["mode"] == "live",
            api_key=values["api_key"],
            signing_secret=values["signing_secret"],
            now=now,
        )
    except sources.SourceError as error:
        form.add_error("api_key" if values["api_key"] else "signing_secret", str(error))
        return _page(request, form=form)
    messages.success(request, f"{values['label']} is saved.")
    return redirect(f"{reverse('dashboard:setup')}#source-{values['slug']}")


def _check(source: StripeSource, request: HttpRequest, now: datetime) -> str:
    examining.refresh(source.pk, now=now)
    return "Stripe was asked again."


def _key(source: StripeSource, request: HttpRequest, now: datetime) -> str:
    examining.replace_key(source.pk, request.POST.get("api_key", "").strip(), now=now)
    return "The key is in use. What it reads stands below."


def _secret(source: StripeSource, request: HttpRequest, now: datetime) -> str:
    sources.add(source.slug, signing_secrets=[request.POST.get("signing_secret", "").strip()])
    return "The signing secret is kept. Stripe's next delivery proves it."


def _create(source: StripeSource, request: HttpRequest, now: datetime) -> str:
    endpoints.create(source)
    examining.refresh(source.pk, now=now)
    return "The endpoint is made and its signing secret kept."


def _mend(source: StripeSource, request: HttpRequest, now: datetime) -> str:
    endpoints.mend(source)
    examining.refresh(source.pk, now=now)
    return "The endpoint sends everything that we read."


def _history(source: StripeSource, request: HttpRequest, now: datetime) -> str:
    """Owe the reading of Stripe's lists; one that is not finished goes on where it stopped."""
    backfill.start(source.pk, by=request.user.get_username(), now=now)
    backfill.wake()
    return "Reading begins, and goes on by itself."


ACTIONS: dict[str, Callable[[StripeSource, HttpRequest, datetime], str]] = {
    "check": _check,
    "key": _key,
    "secret": _secret,
    "create": _create,
    "mend": _mend,
    "history": _history,
}
