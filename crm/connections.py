"""The connection to Salesforce: tried before it is kept, in shadow mode until a person switches it to live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from django.db import transaction

from crm import accounts, matching, outbox
from crm.channels.kinds import ChannelError
from crm.models import Mode, SalesforceOrg


class NotConnected(Exception):
    """The connection did not come about; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Login:
    """How we get in: exactly one of client secret (client credentials), JWT key with user name, or refresh token.

    A refresh token may come with the client secret of an app that asks for it.
    """

    instance_url: str
    client_id: str
    login_url: str = ""
    client_secret: str = ""
    jwt_key: str = ""
    username: str = ""
    refresh_token: str = ""


@dataclass(frozen=True, slots=True)
class Connected:
    """What was found: the org, and how many records the mirror read and customers it matched."""

    org: SalesforceOrg
    accounts: int
    contacts: int
    matched: int


def connect(
    login: Login, *, mode: str = "", now: datetime, report: Callable[[int], None] = lambda count: None
) -> Connected:
    """Try a login, keep it, and read Accounts and Contacts; raises NotConnected.

    Connecting again replaces the login and clears what stopped the old one; it must lead to the same org. `mode` is
    shadow or live; empty keeps that of a connection there is, and makes a new one shadow.
    """
    org = SalesforceOrg.objects.order_by("pk").first() or SalesforceOrg()
    if org.is_demo:
        raise NotConnected("This is the demo: its Salesforce has nothing behind it. Connect on an install of your own.")
    was_live = org.mode == Mode.LIVE
    _fill(org, login)
    try:
        _try(org, now=now)
    except ChannelError as error:
        raise NotConnected(f"{error.message} ({error.code})") from None
    with transaction.atomic():
        org.mode = mode or org.mode
        org.live_since = (org.live_since if was_live else now) if org.mode == Mode.LIVE else None
        org.save()
        outbox.org_connected()
        if org.mode == Mode.LIVE and not was_live:
            outbox.send_for_real(now=now)
    try:
        read = accounts.refresh(now=now, report=report)
    except ChannelError as error:
        raise NotConnected(f"Connected, but Accounts cannot be read: {error.message} ({error.code})") from None
    matched = matching.match_waiting(now=now)
    org.refresh_from_db()
    return Connected(org, read.accounts, read.contacts, matched)


def go_live(*, now: datetime) -> SalesforceOrg:
    """Switch from shadow to live: all that would have been sent is owed, in its newest state. Raises NotConnected."""
    with transaction.atomic():
        org = _one()
        if org.is_demo:
            raise NotConnected("The demo's Salesforce has nothing behind it, so it stays in shadow mode.")
        if org.mode != Mode.LIVE:
            org.mode, org.live_since = Mode.LIVE, now
            org.save(update_fields=["mode", "live_since"])
            outbox.send_for_real(now=now)
    return org


def go_shadow(*, now: datetime) -> SalesforceOrg:
    """Switch back to shadow: from now on nothing is written. Raises NotConnected."""
    with transaction.atomic():
        org = _one()
        org.mode, org.live_since = Mode.SHADOW, None
        org.save(update_fields=["mode", "live_since"])
    return org


def _one() -> SalesforceOrg:
    org = SalesforceOrg.objects.order_by("pk").select_for_update().first()
    if org is None:
        raise NotConnected("No Salesforce org is connected.")
    return org


def _fill(org: SalesforceOrg, login: Login) -> None:
    org.instance_url = _address(login.instance_url, "instance URL")
    org.login_url = _address(login.login_url, "login URL") if login.login_url else ""
    org.client_id = login.client_id
    org.client_secret, org.jwt_key = login.client_secret, login.jwt_key
    org.username, org.refresh_token = login.username, login.refresh_token
    org.access_token, org.error_code, org.error = "", "", ""
    org.paused_until = org.refreshing_until = None


def _address(url: str, name: str) -> str:
    parts = urlsplit(url.strip())
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.query or parts.path not in ("", "/"):
        raise NotConnected(f"The {name} is an https address without a path, such as https://acme.my.salesforce.com.")
    return f"https://{parts.netloc}"


def _try(org: SalesforceOrg, *, now: datetime) -> None:
    """Get a token and learn what the org is: its id (pinned), version, sandbox or not, and its won stage."""
    from crm.channels.salesforce import oauth, won_stage
    from crm.channels.salesforce.client import Client

    answer = oauth.ask(org, now=now)
    org.access_token, org.token_at = answer["access_token"], now
    org.refresh_token = answer.get("refresh_token") or org.refresh_token
    with Client(org, now=now) as client:
        org.api_version = client.newest_version()
        found = next(iter(client.query("SELECT Id, Name, IsSandbox FROM Organization")), None)
        if found is None:
            raise NotConnected("The integration user cannot read Organization. Give its permission set 'View Setup'.")
        if org.org_id and org.org_id != found["Id"]:
            raise NotConnected(f"This login leads to org {found['Id']}; the connection belongs to {org.org_id}.")
        org.org_id, org.is_sandbox = str(found["Id"]), bool(found["IsSandbox"])
        org.won_stage = won_stage(client)
