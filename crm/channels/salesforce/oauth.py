"""Access tokens: three grants for a server, one renewal at a time, and no hammering when a person must reconnect."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q

from crm.channels.kinds import Permanent, Transient, Wait
from crm.channels.salesforce.errors import scrubbed
from crm.models import SalesforceOrg

RENEWAL = timedelta(seconds=45)
PATIENCE_SECONDS = 20
NEW_APP_PAUSE = timedelta(minutes=1)
RECONNECT_PAUSE = timedelta(hours=1)


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
        if org.access_token and org.access_token != dead:
            return org.access_token
        answer = ask(org, now=now)
        org.access_token, org.token_at = answer["access_token"], now
        org.refresh_token = answer.get("refresh_token") or org.refresh_token
        # The rotated refresh token works once: it is stored before the access token is used.
        org.save(update_fields=["access_token", "token_at", "refresh_token"])
        return org.access_token
    except Permanent as refusal:
        SalesforceOrg.objects.filter(pk=org_pk).update(
            error_code=refusal.code, error=refusal.message, access_token="", paused_until=None
        )
        raise Wait(refusal.code, refusal.message, until=now + RECONNECT_PAUSE) from None
    finally:
        SalesforceOrg.objects.filter(pk=org_pk).update(refreshing_until=None)


def ask(org: SalesforceOrg, *, now: datetime) -> dict[str, Any]:
    """Ask the login host for a token with the connection's grant and return the answer.

    Raises Permanent when only a person can help (withdrawn, wrong secret, another org), Transient or Wait otherwise.
    """
    import requests

    from crm.channels.salesforce.session import PinnedSession

    host = (org.login_url or org.instance_url).rstrip("/")
    form = _grant(org)(org, host, now)
    with PinnedSession([org.instance_url, host]) as session:
        try:
            response = session.post(f"{host}/services/oauth2/token", data=form, headers={"Accept": "application/json"})
        except requests.exceptions.RequestException:
            raise Transient("login_unreachable", f"The login host {host} does not answer.") from None
    answer = _parsed(response)
    if response.status_code == 200 and answer.get("access_token"):
        _check_org(org, str(answer.get("id", "")))
        return answer
    _refuse(response.status_code, answer, now)
    raise AssertionError  # _refuse always raises


def _refuse(status: int, answer: dict[str, Any], now: datetime) -> None:
    code = str(answer.get("error") or f"HTTP_{status}")
    said = scrubbed(str(answer.get("error_description") or ""))
    if code == "invalid_grant":
        raise Permanent(code, f"Salesforce does not let us in: {said}. Connect again.")
    if code == "invalid_client_id":
        text = f"Salesforce does not know the app yet: {said}. A new app takes up to ten minutes; we try each minute."
        raise Wait(code, text, until=now + NEW_APP_PAUSE)
    if status >= 500 or not answer:
        raise Transient(code, "The login host answered with a page for people, as in maintenance.")
    raise Permanent(
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


def _check_org(org: SalesforceOrg, identity_url: str) -> None:
    found = org_id_of(identity_url)
    if org.org_id and found != org.org_id:
        raise Permanent("another_org", f"The login leads to org {found}, not to {org.org_id}. Nothing was sent.")


# ---- the grants ----


def _grant(org: SalesforceOrg) -> Callable[[SalesforceOrg, str, datetime], dict[str, str]]:
    if org.refresh_token:
        return _by_refresh_token
    if org.jwt_key:
        return _by_jwt
    if org.client_secret:
        return _by_client_credentials
    raise Permanent("not_connected", "The connection has no secret, key or refresh token. Connect again.")


def _by_client_credentials(org: SalesforceOrg, _host: str, _now: datetime) -> dict[str, str]:
    return {"grant_type": "client_credentials", "client_id": org.client_id, "client_secret": org.client_secret}


def _by_refresh_token(org: SalesforceOrg, _host: str, _now: datetime) -> dict[str, str]:
    form = {"grant_type": "refresh_token", "client_id": org.client_id, "refresh_token": org.refresh_token}
    return form | ({"client_secret": org.client_secret} if org.client_secret else {})


def _by_jwt(org: SalesforceOrg, host: str, _now: datetime) -> dict[str, str]:
    expires = int(time.time()) + 180  # by the wall clock: Salesforce compares with its own
    claims = {"iss": org.client_id, "sub": org.username, "aud": host, "exp": expires}
    return {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": _signed(claims, org.jwt_key)}


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
