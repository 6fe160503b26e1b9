"""Access tokens: three ways in, one renewal at a time, and no hammering when a person must reconnect."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

import structlog
from django.db.models import Q

from crm import alerts
from crm.channels.kinds import ChannelError, Permanent, Transient, Wait
from crm.channels.salesforce.errors import scrubbed
from crm.models import SalesforceOrg

RENEWAL = timedelta(seconds=45)
PATIENCE_SECONDS = 20
NEW_APP_PAUSE = timedelta(minutes=1)
NEW_APP_PATIENCE = timedelta(minutes=10)  # as long as Salesforce says a new app may be unknown
RECONNECT_PAUSE = timedelta(hours=1)

APP_UNKNOWN = "invalid_client_id"
SCOPES = "api refresh_token"
PRODUCTION_LOGIN = "https://login.salesforce.com"
SANDBOX_LOGIN = "https://test.salesforce.com"

log = structlog.get_logger(__name__)


def renewed(org_pk: int, *, dead: str, now: datetime) -> str:
    """Return a living access token, given the one that died; of all workers one asks and the others wait for it.

    Raises Wait when a person must reconnect or the app is not known yet, Transient when the renewal takes long.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        org = SalesforceOrg.objects.get(pk=org_pk)
        if org.error_code:
            raise Wait(org.error_code, org.error, until=now + RECONNECT_PAUSE)
        if org.access_token and org.access_token != dead:
            return org.access_token
        if _take_turn(org_pk, now=now):
            return _renew(org_pk, dead=dead, now=now)
        if time.monotonic() > deadline:
            raise Transient("token_renewal", "Another worker renews the access token and has not finished yet.")
        time.sleep(0.1)


def _take_turn(org_pk: int, *, now: datetime) -> bool:
    """Lease the renewal: a row lock would hold SQLite's only writer for as long as Salesforce takes to answer."""
    free = Q(refreshing_until__isnull=True) | Q(refreshing_until__lt=now)
    return SalesforceOrg.objects.filter(free, pk=org_pk).update(refreshing_until=now + RENEWAL) == 1


def _renew(org_pk: int, *, dead: str, now: datetime) -> str:
    org = SalesforceOrg.objects.get(pk=org_pk)
    try:
        if org.error_code:  # who had the turn before us was told that a person must reconnect
            raise Wait(org.error_code, org.error, until=now + RECONNECT_PAUSE)
        if org.access_token and org.access_token != dead:
            return org.access_token
        answer = ask(org, now=now)
        take(org, answer, now=now)
        # The rotated refresh token works once: it is stored before the access token is used.
        org.save(update_fields=["access_token", "token_at", "refresh_token", "integration_user_id", "app_known_by"])
        return org.access_token
    except Permanent as refusal:
        stop(org_pk, refusal.code, refusal.message, now=now)
        raise Wait(refusal.code, refusal.message, until=now + RECONNECT_PAUSE) from None
    except Wait as wait:
        if wait.code == APP_UNKNOWN:
            raise _still_unknown(org, wait, now=now) from None
        raise
    finally:
        # Only our own turn is given back: a worker that was slow must not free another's.
        SalesforceOrg.objects.filter(pk=org_pk, refreshing_until=now + RENEWAL).update(refreshing_until=None)


def take(org: SalesforceOrg, answer: dict[str, Any], *, now: datetime) -> None:
    """Put what a token answer says on the connection, without saving it: tokens, the org's id, and whom we act for."""
    org.access_token, org.token_at = str(answer["access_token"]), now
    org.refresh_token = str(answer.get("refresh_token") or org.refresh_token)
    identity = str(answer.get("id", ""))
    org.org_id = org.org_id or org_id_of(identity)
    org.integration_user_id = user_id_of(identity) or org.integration_user_id
    org.app_known_by = None


def stop(org_pk: int, code: str, text: str, *, now: datetime) -> None:
    """Close the connection until a person reconnects; of all workers the first to hear it says so, once."""
    first = SalesforceOrg.objects.filter(pk=org_pk, error_code="").update(
        error_code=code, error=text, error_at=now, access_token="", paused_until=None, app_known_by=None
    )
    if first:
        alerts.stopped(org_pk, alerts.LOGIN, text, at=now)
        log.error("salesforce must be connected again", org=org_pk, code=code, reason=text)


def _still_unknown(org: SalesforceOrg, wait: Wait, *, now: datetime) -> Wait:
    """Return when to try a new app again; a login whose app stays unknown for ten minutes waits for a person."""
    until = org.app_known_by or now + NEW_APP_PATIENCE
    if now >= until:
        text = (
            f"Salesforce still does not know the app with client id {org.client_id}. Check the id, then connect again."
        )
        stop(org.pk, APP_UNKNOWN, text, now=now)
        return Wait(APP_UNKNOWN, text, until=now + RECONNECT_PAUSE)
    SalesforceOrg.objects.filter(pk=org.pk).update(app_known_by=until, paused_until=wait.until)
    return Wait(APP_UNKNOWN, unknown_words(until), until=wait.until)


def unknown_words(until: datetime) -> str:
    return (
        "Salesforce does not know the app yet, which is usual for a new one. "
        f"The login is kept and tried each minute until {until:%H:%M} UTC."
    )


# ---- a person signs in ----


def sign_in_address(host: str, *, client_id: str, redirect_url: str, state: str, verifier: str) -> str:
    """Return Salesforce's page that asks a person for consent, with the hash of our secret for PKCE."""
    asked = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_url,
        "scope": SCOPES,
        "state": state,
        "code_challenge": _base64(hashlib.sha256(verifier.encode()).digest()),
        "code_challenge_method": "S256",
        "prompt": "login consent",
    }
    return f"{host}/services/oauth2/authorize?{urlencode(asked)}"


def new_secret() -> str:
    """Return a random text that serves as state or as PKCE's verifier (43 to 128 characters)."""
    return secrets.token_urlsafe(48)


def exchange(org: SalesforceOrg, *, code: str, verifier: str, redirect_url: str, now: datetime) -> dict[str, Any]:
    """Turn the code that a person came back with into tokens; raises as `ask` does."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "client_id": org.client_id,
        "redirect_uri": redirect_url,
        "code_verifier": verifier,
    }
    if org.client_secret:
        form["client_secret"] = org.client_secret
    answer = _asked(org, form, now=now)
    if not answer.get("refresh_token"):
        text = f"Salesforce gave no refresh token. Give the app the scopes {SCOPES} and sign in again."
        raise Permanent("no_refresh_token", text)
    return answer


# ---- asking ----


def ask(org: SalesforceOrg, *, now: datetime) -> dict[str, Any]:
    """Ask the login host for a token with the connection's grant and return the answer.

    Raises Permanent when only a person can help (withdrawn, wrong secret, another org), Transient or Wait otherwise.
    """
    return _asked(org, _grant(org)(org, login_host(org), now), now=now)


def login_host(org: SalesforceOrg) -> str:
    """Return where a connection asks for tokens."""
    return (org.login_url or org.instance_url).rstrip("/")


def _asked(org: SalesforceOrg, form: dict[str, str], *, now: datetime) -> dict[str, Any]:
    import requests

    from crm.channels.salesforce.session import PinnedSession

    host = login_host(org)
    with PinnedSession([org.instance_url, host]) as session:
        try:
            response = session.post(f"{host}/services/oauth2/token", data=form, headers={"Accept": "application/json"})
        except requests.exceptions.SSLError:
            text = f"The certificate of {host} is not trusted. REQUESTS_CA_BUNDLE names the file of trusted ones."
            raise Transient("tls", text) from None
        except requests.exceptions.RequestException:
            raise Transient("login_unreachable", f"The login host {host} does not answer.") from None
    answer = _parsed(response)
    if response.status_code == 200 and answer.get("access_token"):
        _check_org(org, str(answer.get("id", "")))
        return answer
    raise _refusal(response.status_code, answer, now)


def _refusal(status: int, answer: dict[str, Any], now: datetime) -> ChannelError:
    code = str(answer.get("error") or f"HTTP_{status}")[:80]
    said = scrubbed(str(answer.get("error_description") or ""))
    if code == "invalid_grant":
        return Permanent(code, f"The access was withdrawn or has ended ({said}). Connect again.")
    if code == APP_UNKNOWN:
        text = f"Salesforce does not know the app yet: {said}. A new app takes up to ten minutes; we try each minute."
        return Wait(code, text, until=now + NEW_APP_PAUSE)
    if code == "redirect_uri_mismatch":
        text = "The app does not list our return address. Copy the callback URL into the External Client App."
        return Permanent(code, text)
    if status >= 500 or not answer:
        return Transient(code, "The login host answered with a page for people, as in maintenance.")
    return Permanent(
        code, f"Salesforce refused the login: {said or code}. Check client id and secret, then connect again."
    )


def _parsed(response: Any) -> dict[str, Any]:
    try:
        answer = response.json()
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def org_id_of(identity_url: str) -> str:
    """Return the org's id from the identity URL of a token answer; empty when it has none."""
    from crm.ids import MalformedId, long_id

    steps = identity_url.rstrip("/").split("/")
    try:
        return long_id(steps[-2], prefix="00D") if len(steps) >= 2 else ""
    except MalformedId:
        return ""


def user_id_of(identity_url: str) -> str:
    """Return the user's id from the identity URL of a token answer; empty when it has none."""
    from crm.ids import MalformedId, long_id

    try:
        return long_id(identity_url.rstrip("/").split("/")[-1], prefix="005")
    except MalformedId:
        return ""


def _check_org(org: SalesforceOrg, identity_url: str) -> None:
    found = org_id_of(identity_url)
    if org.org_id and found != org.org_id:
        text = (
            f"The login leads to org {found or 'unknown'}, not to {org.org_id}. A sandbox is an org of its own, "
            "even as a copy. Nothing was sent."
        )
        raise Permanent("another_org", text)


# ---- the grants ----


def _grant(org: SalesforceOrg) -> Callable[[SalesforceOrg, str, datetime], dict[str, str]]:
    if org.refresh_token:
        return _by_refresh_token
    if org.jwt_key:
        return _by_jwt
    if org.client_secret:
        return _by_client_credentials
    raise Permanent("not_connected", "The connection has no secret, key or refresh token. Connect again.")


def _by_client_credentials(org: SalesforceOrg, host: str, _now: datetime) -> dict[str, str]:
    if host in (PRODUCTION_LOGIN, SANDBOX_LOGIN):
        text = "Client credentials are given out at the org's My Domain address alone. Leave the login URL empty."
        raise Permanent("my_domain", text)
    return {"grant_type": "client_credentials", "client_id": org.client_id, "client_secret": org.client_secret}


def _by_refresh_token(org: SalesforceOrg, _host: str, _now: datetime) -> dict[str, str]:
    form = {"grant_type": "refresh_token", "client_id": org.client_id, "refresh_token": org.refresh_token}
    return form | ({"client_secret": org.client_secret} if org.client_secret else {})


def _by_jwt(org: SalesforceOrg, host: str, _now: datetime) -> dict[str, str]:
    expires = int(time.time()) + 180  # by the wall clock: Salesforce compares with its own
    claims = {"iss": org.client_id, "sub": org.username, "aud": _audience(host), "exp": expires}
    return {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": _signed(claims, org.jwt_key)}


def _audience(host: str) -> str:
    """Return for whom an assertion is meant: the common login hosts stand for every My Domain of theirs."""
    name = urlsplit(host).hostname or ""
    if not name.endswith(".my.salesforce.com"):
        return host
    return SANDBOX_LOGIN if name.endswith(".sandbox.my.salesforce.com") else PRODUCTION_LOGIN


def _signed(claims: dict[str, Any], pem: str) -> str:
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):
        raise Permanent("bad_key", "The JWT key is not a PEM private key without a password.") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise Permanent("bad_key", "The JWT key must be an RSA key.")
    head = _base64(json.dumps({"alg": "RS256", "typ": "JWT"}).encode())
    body = f"{head}.{_base64(json.dumps(claims).encode())}"
    return f"{body}.{_base64(key.sign(body.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
