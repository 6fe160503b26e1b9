"""Salesforce: signing in, the health of the login, what the org lacks, and the org's own names for our fields."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_POST

from crm import callback as flow_callback
from crm import connections, org_setup
from crm.selectors import set_up
from dashboard import formats
from dashboard.pages import shared
from dashboard.parts import Band, Choice, Fact
from dashboard.roles import Ability, requires

SIGN_IN = "salesforce_sign_in"
CALLBACK = "/salesforce/callback/"
SCOPES = (("api", "Manage user data via APIs (api)"), ("refresh_token", "Perform requests at any time (refresh_token)"))
DEPLOY_SECONDS = 20.0  # then the page says that it goes on
LONGEST_FILE = 200_000
ALIKE = {
    "field_missing": "They are not there. Deploy them, make them in Setup, or name the org's own in the mapping.",
    "field_hidden": "They are there, but field-level security hides them. Deploying grants them.",
    "field_read_only": "The integration user may not edit them. Deploying gives the permission set the right.",
}
WAYS = {
    "web": "A person signs in",
    "client": "Client credentials",
    "jwt": "JWT bearer",
}


class AddressForm(forms.Form):
    """What every way in needs: which org, and which app of it."""

    way = forms.ChoiceField(choices=list(WAYS.items()), widget=forms.HiddenInput)
    instance_url = forms.URLField(
        label="My Domain address",
        max_length=200,
        assume_scheme="https",
        help_text="Such as https://acme.my.salesforce.com. It stands in Setup, My Domain.",
    )
    client_id = forms.CharField(
        label="Consumer key", max_length=255, help_text="Also called client id; on the app's page in Setup, Settings."
    )


class WebForm(AddressForm):
    client_secret = forms.CharField(
        label="Consumer secret",
        required=False,
        max_length=255,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="Only where the app requires it. We keep it encrypted.",
    )
    login_url = forms.URLField(
        label="Login address, if another",
        required=False,
        max_length=200,
        assume_scheme="https",
        help_text="Empty: the address above. A sandbox may need https://test.salesforce.com.",
    )


class ClientForm(AddressForm):
    client_secret = forms.CharField(
        label="Consumer secret",
        max_length=255,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="We keep it encrypted.",
    )


class JwtForm(AddressForm):
    username = forms.CharField(label="User name", max_length=255, help_text="Of the integration user.")
    jwt_key = forms.CharField(
        label="Private key",
        max_length=10_000,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 4, "autocomplete": "off", "spellcheck": "false"}),
        help_text="PEM, without a password; its certificate is uploaded to the app. We keep it encrypted.",
    )
    login_url = WebForm.base_fields["login_url"]


@dataclass(frozen=True)
class Missing:
    """Something that would refuse a write, as a line; `fields` where several lack in the same way."""

    title: str
    text: str
    code: str
    fields: tuple[str, ...]


FORMS: dict[str, type[AddressForm]] = {"web": WebForm, "client": ClientForm, "jwt": JwtForm}


@requires(Ability.CONNECT)
@never_cache
@require_GET
def salesforce(request: HttpRequest) -> HttpResponse:
    """Show how the connection stands; nothing is asked of Salesforce."""
    return _page(request)


@requires(Ability.CONNECT)
@sensitive_post_parameters("client_secret", "jwt_key")
@never_cache
@require_POST
def connect(request: HttpRequest) -> HttpResponse:
    """Send a person to Salesforce's login page, or try the secret or key that was given."""
    way = request.POST.get("way", "web")
    form = FORMS.get(way, WebForm)(request.POST)
    if not form.is_valid():
        return _page(request, form=form, status=422)
    values = {name: value for name, value in form.cleaned_data.items() if name != "way"}
    now = shared.now_of(request)
    try:
        login = connections.Login(**values)
        if way == "web":
            pk, address = connections.begin_sign_in(
                login, redirect_url=callback_url(), by=request.user.get_username(), now=now
            )
            request.session[SIGN_IN] = pk
            # A redirect would be a form's way to another host, which the page's policy forbids.
            return render(request, "dashboard/salesforce_leaving.html", {"address": address})
        found = connections.connect(login, now=now, reads=False)
    except connections.NotConnected as error:
        form.add_error(None, str(error))
        return _page(request, form=form, status=422)
    messages.success(request, _connected_words(found.org.mode))
    return redirect("dashboard:salesforce")


@requires(Ability.CONNECT)
@never_cache
@require_POST
def make_callback_secret(request: HttpRequest) -> HttpResponse:
    """Make a new secret for the Flow that calls us, and show it this once."""
    try:
        secret = flow_callback.make_secret(by=request.user.get_username())
    except flow_callback.NoOrg as error:
        messages.error(request, str(error))
        return redirect("dashboard:salesforce")
    return _page(request, flow_secret=secret)


@requires(Ability.CONNECT)
@never_cache
@require_GET
def callback(request: HttpRequest) -> HttpResponse:
    """Take a person back from Salesforce's login page; the state must be that of this session, and works once."""
    try:
        org = connections.finish_sign_in(
            request.session.pop(SIGN_IN, None),
            state=request.GET.get("state", ""),
            code=request.GET.get("code", ""),
            error=request.GET.get("error", ""),
            now=shared.now_of(request),
        )
    except connections.NotConnected as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _connected_words(org.mode))
    return redirect("dashboard:salesforce")


@requires(Ability.CONNECT)
@require_POST
def check(request: HttpRequest) -> HttpResponse:
    """Compare what we write with what the org has."""
    try:
        found = org_setup.check(now=shared.now_of(request))
    except org_setup.NotDone as error:
        messages.error(request, str(error))
    else:
        missing = sum(not one.is_remark for one in found)
        words = f"{formats.count(missing)} {'thing is' if missing == 1 else 'things are'} missing." if missing else ""
        messages.success(request, f"Compared. {words or 'Every write could be made.'}")
    return redirect(f"{reverse('dashboard:salesforce')}#set-up")


@requires(Ability.CONNECT)
@require_POST
def deploy(request: HttpRequest) -> HttpResponse:
    """Make what the org lacks, and assign the permission set."""
    try:
        done, missing = org_setup.deploy(now=shared.now_of(request), within_seconds=DEPLOY_SECONDS)
    except org_setup.NotDone as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _deployed_words(done, any(not one.is_remark for one in missing)))
    return redirect(f"{reverse('dashboard:salesforce')}#set-up")


@requires(Ability.CONNECT)
@never_cache
@require_GET
def mapping(request: HttpRequest) -> HttpResponse:
    return _mapping_page(request)


@requires(Ability.CONNECT)
@never_cache
def mapping_file(request: HttpRequest) -> HttpResponse:
    """Give the mapping as a file, or take one."""
    if request.method != "POST":
        answer = HttpResponse(org_setup.mapping_file(), content_type="application/json")
        answer["Content-Disposition"] = 'attachment; filename="salesforce-mapping.json"'
        return answer
    given = request.FILES.get("file")
    if given is None or (given.size or 0) > LONGEST_FILE:
        messages.error(request, "Choose the file with the mapping, as it was downloaded here.")
        return redirect("dashboard:salesforce_mapping")
    return _use(request, given.read())


@requires(Ability.CONNECT)
@require_POST
def change_mapping(request: HttpRequest) -> HttpResponse:
    """Take the mapping from the page's own fields: they are read as the file is."""
    fields: dict[str, dict[str, Any]] = {}
    for sobject, rows in set_up.mapping_rows().items():
        for row in rows:
            name = request.POST.get(f"field:{sobject}.{row.field}", row.their_field).strip()
            said: Any = name or None
            words = {
                ours: request.POST.get(f"word:{sobject}.{row.field}.{ours}", theirs).strip() or ours
                for ours, theirs in row.values
            }
            changed = {ours: theirs for ours, theirs in words.items() if ours != theirs}
            if changed:
                said = {"field": name or None, "values": changed}
            fields.setdefault(sobject, {})[row.field] = said
    text = json.dumps({"won_stage": request.POST.get("won_stage", "").strip(), "fields": fields})
    return _use(request, text.encode())


def callback_url() -> str:
    return f"{settings.BASE_URL}{CALLBACK}"


# ---- the page ----


def _page(
    request: HttpRequest, *, form: AddressForm | None = None, status: int = 200, flow_secret: str = ""
) -> HttpResponse:
    now = shared.now_of(request)
    org = set_up.salesforce_set_up()
    way = form.data.get("way", "web") if form else request.GET.get("way", (org.way if org else "") or "web")
    way = way if way in FORMS else "web"
    if form is None:
        known = org if org and not org.is_demo else None
        initial = {"way": way}
        if known:
            initial |= {"instance_url": known.instance_url, "client_id": known.client_id, "login_url": known.login_url}
            initial |= {"username": known.username}
        form = FORMS[way](initial=initial)
    answer = shared.page(
        request,
        "dashboard/salesforce.html",
        {
            "org": org,
            "facts": _facts(org, now),
            "missing": _missing(org.missing if org else []),
            "form": form,
            "way": way,
            "ways": [Choice(name, f"?way={code}#connect", code == way) for code, name in WAYS.items()],
            "callback_url": callback_url(),
            "reads": set_up.mirror_reads(),
            "flow_url": f"{settings.BASE_URL}{reverse('callback_of_salesforce')}",
            "flow_secret": flow_secret,
            "is_https": settings.BASE_URL.startswith("https://"),
            "scopes": SCOPES,
            "is_open": form.is_bound or "way" in request.GET or org is None or not org.is_connected,
        },
        name="Salesforce",
        now=now,
        bands=[_waiting_band(org)],
    )
    answer.status_code = status
    return answer


def _facts(org: set_up.SetUp | None, now: Any) -> list[Fact]:
    if org is None or org.is_demo:
        return []
    zone = shared.zone()
    kind = {True: "Sandbox", False: "Production", None: "Not known yet"}[org.is_sandbox]
    state = "Stopped" if org.error_code else "Waiting" if not org.api_version else "Connected"
    if org.error_at:
        state_note = f"since {formats.moment(org.error_at, zone)}"
    else:
        state_note = {"live": "live: records are written", "shadow": "shadow: nothing is written"}[org.mode]
    age = formats.age(int((now - org.token_at).total_seconds())) if org.token_at else ""
    return [
        Fact("Connection", state, "", state_note),
        Fact("Org", kind, "", org.org_id),
        Fact("API version", org.api_version or "n/a", "", "the newest the org offers"),
        Fact("Way in", set_up.WAYS[org.way], "", org.username or (f"user {org.user_id}" if org.user_id else "")),
        Fact("Last token", f"{age} ago" if age else "none yet", "", "renewed when it dies, by one worker"),
    ]


def _missing(found: Sequence[set_up.FindingRow]) -> list[Missing]:
    """Gather fields that lack in the same way; what differs from field to field keeps its own words."""
    alike: dict[tuple[str, str], list[set_up.FindingRow]] = {}
    for row in found:
        alike.setdefault((row.sobject, row.code if row.code in ALIKE else f"{row.code} {row.field}"), []).append(row)
    gathered = []
    for (sobject, _), rows in alike.items():
        first = rows[0]
        if len(rows) == 1:
            gathered.append(Missing(f"{sobject}.{first.field}" if first.field else sobject, first.text, first.code, ()))
        else:
            names = tuple(row.field for row in rows)
            gathered.append(Missing(f"{sobject}: {len(rows)} fields", ALIKE[first.code], first.code, names))
    return gathered


def _waiting_band(org: set_up.SetUp | None) -> Band | None:
    if org is None or org.app_known_by is None or org.error_code:
        return None
    until = formats.moment(org.app_known_by, shared.zone())
    text = f"A new app takes up to ten minutes. We try each minute until {until}."
    return Band("warn", "hourglass", "Salesforce does not know the app yet.", text)


def _connected_words(mode: str) -> str:
    if mode == "live":
        return "Connected. Sending goes on."
    return "Connected, in shadow mode: nothing is written. Accounts are read within a minute."


def _deployed_words(done: org_setup.Deployed, is_missing: bool) -> str:
    if not done.is_done:
        return "Salesforce still works on it. Press Deploy again in a minute to go on."
    if not done.has_changed:
        return "Nothing to change: the org has all of it."
    parts = f"{formats.count(len(done.changed))} {'part' if len(done.changed) == 1 else 'parts'} made or changed"
    assigned = ", and the permission set is assigned" if done.is_assigned else ""
    return f"{parts}{assigned}. {'Some things are still missing.' if is_missing else 'Every write could be made.'}"


# ---- the mapping ----


def _mapping_page(
    request: HttpRequest, *, tried: org_setup.Mapped | None = None, error: str = "", status: int = 200
) -> HttpResponse:
    org = set_up.salesforce_set_up()
    rows = set_up.mapping_rows()
    answer = shared.page(
        request,
        "dashboard/salesforce_mapping.html",
        {
            "org": org,
            "objects": list(rows.items()),
            "differ": sum(not row.is_own for listed in rows.values() for row in listed),
            "tried": tried,
            "error": error,
        },
        name="Salesforce mapping",
        now=shared.now_of(request),
    )
    answer.status_code = status
    return answer


def _use(request: HttpRequest, text: bytes) -> HttpResponse:
    try:
        found = org_setup.use_mapping(text, now=shared.now_of(request))
    except org_setup.NotDone as error:
        return _mapping_page(request, error=str(error), status=422)
    if found.is_kept:
        words = "It was tried with writes that Salesforce took back." if _was_tried(found) else "Nothing was written."
        messages.success(request, f"The mapping is in use. {words}")
    return _mapping_page(request, tried=found, status=200 if found.is_kept else 422)


def _was_tried(found: org_setup.Mapped) -> bool:
    return any(one.is_taken for one in found.tried)
