"""The keys of one Stripe source: the API key is tried before it is replaced, signing secrets are rolled by overlap."""

from __future__ import annotations

from dataclasses import dataclass

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_POST

from billing import examining, sources
from billing import selectors as billing
from billing.checks import State
from dashboard.pages import shared
from dashboard.roles import Ability, requires

IN_USE = "It was used since the newer one was. Tick the box to remove it all the same: Stripe may still sign with it."


class KeyForm(forms.Form):
    api_key = forms.CharField(
        label="Restricted key",
        max_length=255,
        strip=True,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="Begins with rk_live_ or rk_test_. It is tried on every read that is needed before the old one goes.",
    )


class SecretForm(forms.Form):
    signing_secret = forms.CharField(
        label="Signing secret",
        max_length=255,
        strip=True,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="Begins with whsec_. In Stripe: Developers, Webhooks, the endpoint, Roll secret or Reveal.",
    )


@dataclass(frozen=True)
class SecretLine:
    """One active signing secret; `is_in_use`: something was signed with it since the newest was first used."""

    row: billing.SecretRow
    is_newest: bool
    is_in_use: bool


@requires(Ability.CONNECT)
@require_GET
@never_cache
def keys(request: HttpRequest, slug: str) -> HttpResponse:
    """Show how old the key and the secrets are, and the forms that change them; no secret is ever shown."""
    return _page(request, slug, KeyForm(), SecretForm())


@sensitive_post_parameters("api_key")
@requires(Ability.CONNECT)
@require_POST
def replace_key(request: HttpRequest, slug: str) -> HttpResponse:
    """Try a new API key on every read and put it in the place of the old one, which stays if the new one does less."""
    form = KeyForm(request.POST)
    if form.is_valid():
        try:
            found = examining.replace_key(
                _health(request, slug).row.pk, form.cleaned_data["api_key"], now=shared.now_of(request)
            )
        except sources.SourceError as error:
            form.add_error("api_key", str(error))
        else:
            lacking = [one.sentence for one in found if one.state == State.MEND]
            messages.success(request, " ".join(["The key is in use.", *lacking]))
            return redirect("dashboard:health_keys", slug)
    return _page(request, slug, form, SecretForm(), status=422)


@sensitive_post_parameters("signing_secret")
@requires(Ability.CONNECT)
@require_POST
def add_secret(request: HttpRequest, slug: str) -> HttpResponse:
    """Add a signing secret beside those there are: no delivery is refused while it is rolled."""
    form = SecretForm(request.POST)
    if form.is_valid():
        row = _health(request, slug).row
        try:
            sources.add(row.slug, signing_secrets=[form.cleaned_data["signing_secret"]])
        except sources.SourceError as error:
            form.add_error("signing_secret", str(error))
        else:
            messages.success(request, "Both secrets are taken now. Remove the old one when nothing is signed with it.")
            return redirect("dashboard:health_keys", slug)
    return _page(request, slug, KeyForm(), form, status=422)


@requires(Ability.CONNECT)
@require_POST
def remove_secret(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Take a signing secret out: never the only one, and one that is in use only when that is said."""
    lines = _lines(_health(request, slug))
    line = next((one for one in lines if one.row.pk == pk), None)
    if line is None:
        messages.info(request, "This secret is gone already.")
    elif len(lines) == 1:
        messages.error(request, "It is the only one: without it every delivery is refused. Add the new one first.")
    elif line.is_in_use and not request.POST.get("although"):
        messages.error(request, IN_USE)
    else:
        sources.take_out_secret(pk)
        messages.success(request, f"whsec_…{line.row.last4} is out. Deliveries signed with it are refused from now on.")
    return redirect("dashboard:health_keys", slug)


def _page(
    request: HttpRequest, slug: str, key_form: KeyForm, secret_form: SecretForm, *, status: int = 200
) -> HttpResponse:
    found = _health(request, slug)
    answer = shared.page(
        request,
        "dashboard/keys.html",
        {"one": found, "secrets": _lines(found), "key_form": key_form, "secret_form": secret_form},
        name="Keys",
        now=shared.now_of(request),
    )
    answer.status_code = status
    return answer


def _health(request: HttpRequest, slug: str) -> billing.SourceHealth:
    found = next((one for one in billing.source_health(now=shared.now_of(request)) if one.row.slug == slug), None)
    if found is None:
        raise Http404(f"There is no Stripe source '{slug}'.")
    return found


def _lines(found: billing.SourceHealth) -> list[SecretLine]:
    """The newest secret is the one to keep; one that was used after the newest's first use is still somebody's."""
    newest = found.secrets[0] if found.secrets else None
    return [
        SecretLine(
            row,
            row is newest,
            row.last_used_at is not None
            and (newest is None or newest.last_used_at is None or row.last_used_at >= newest.last_used_at),
        )
        for row in found.secrets
    ]
