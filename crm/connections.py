"""The connection to Salesforce: tried before it is kept, in shadow mode until a person switches it to live."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.db import transaction

from crm import accounts, alerts, matching, outbox
from crm.channels.kinds import ChannelError, Permanent, Wait
from crm.channels.salesforce import oauth
from crm.channels.salesforce.errors import scrubbed
from crm.models import Mode, SalesforceOrg, SalesforceSignIn

SIGN_IN = timedelta(minutes=10)
NO_API = (
    "This Salesforce edition has no API access, so nothing can be read or written. Enterprise, Unlimited, Performance "
    "and Developer Editions have it; for Professional Edition Salesforce sells it as an add-on: ask your account "
    "executive for 'API access'. Then connect again. (API_DISABLED_FOR_ORG)"
)


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
    """What was found: the org, how many records the mirror read and customers it matched, and whether all was read.

    A large org is read on in the background.
    """

    org: SalesforceOrg
    accounts: int
    contacts: int
    matched: int
    is_whole: bool = False


class NotKnownYet(NotConnected):
    """Salesforce does not know the app yet; the login is kept and tried each minute until `until`."""

    def __init__(self, message: str, until: datetime) -> None:
        super().__init__(message)
        self.until = until


def connect(
    login: Login,
    *,
    mode: str = "",
    now: datetime,
    report: Callable[[int], None] = lambda count: None,
    reads: bool = True,
) -> Connected:
    """Try a login, keep it, and read Accounts and Contacts; raises NotConnected.

    Connecting again replaces the login and clears what stopped the old one; it must lead to the same org. `mode` is
    shadow or live; empty keeps that of a connection there is, and makes a new one shadow. A new app that Salesforce
    does not know yet is tried again by `keep_trying`. Without `reads` the next scheduled turn reads the Accounts.
    """
    org = _first_or_new()
    worked = bool(org.api_version and not org.error_code)
    _fill(org, login)
    try:
        answer = oauth.ask(org, now=now)
    except Wait as wait:
        if wait.code == oauth.APP_UNKNOWN and not worked:
            raise _keep_for_later(org, wait, now=now) from None
        raise NotConnected(in_words(wait)) from None
    except ChannelError as error:
        raise NotConnected(in_words(error)) from None
    _take(org, answer, mode=mode, now=now)
    return _read(org, now=now, report=report) if reads else Connected(org, 0, 0, 0)


def keep_trying(*, now: datetime) -> None:
    """Try a login again whose app Salesforce did not know, each minute until ten are over; then a person looks."""
    org = SalesforceOrg.objects.order_by("pk").first()
    if org is None or org.is_demo or org.api_version or org.error_code or (org.paused_until and org.paused_until > now):
        return
    try:
        _take(org, oauth.ask(org, now=now), mode="", now=now)
    except Wait as wait:
        if wait.code != oauth.APP_UNKNOWN:
            return
        if org.app_known_by and now >= org.app_known_by:
            text = f"Salesforce still does not know the app with client id {org.client_id}. Check it and connect again."
            oauth.stop(org.pk, wait.code, text, now=now)
        else:
            SalesforceOrg.objects.filter(pk=org.pk).update(paused_until=wait.until)
    except NotConnected as error:
        oauth.stop(org.pk, "not_connected", str(error), now=now)
    except ChannelError as error:
        if isinstance(error, Permanent):
            oauth.stop(org.pk, error.code, error.message, now=now)


# ---- a person signs in at Salesforce ----


def begin_sign_in(login: Login, *, redirect_url: str, by: str, now: datetime) -> tuple[int, str]:
    """Return the key of a sign-in, to be kept in the person's session, and Salesforce's address to send the person to.

    It works once, within ten minutes, and for that session alone. Raises NotConnected.
    """
    org = _first_or_new()
    _fill(org, login)
    state, verifier = oauth.new_secret(), oauth.new_secret()
    SalesforceSignIn.objects.filter(begun_at__lt=now - SIGN_IN).delete()
    begun = SalesforceSignIn.objects.create(
        state_digest=_digest(state),
        verifier=verifier,
        instance_url=org.instance_url,
        login_url=org.login_url,
        client_id=org.client_id,
        client_secret=org.client_secret,
        redirect_url=redirect_url,
        begun_by=by,
        begun_at=now,
    )
    address = oauth.sign_in_address(
        oauth.login_host(org), client_id=org.client_id, redirect_url=redirect_url, state=state, verifier=verifier
    )
    return begun.pk, address


def finish_sign_in(sign_in_pk: int | None, *, state: str, code: str, error: str, now: datetime) -> SalesforceOrg:
    """Turn what a person brings back from Salesforce into a connection; raises NotConnected.

    Accounts and Contacts are read by the next scheduled turn: there may be very many.
    """
    begun = _used(sign_in_pk, state, now=now)
    if error:
        said = "You did not allow it." if error == "access_denied" else f"Salesforce says {scrubbed(error)[:80]}."
        raise NotConnected(f"{said} Nothing was changed.")
    if not code:
        raise NotConnected("Salesforce sent no code. Sign in again.")
    org = _first_or_new()
    _fill(org, _login_of(begun))
    try:
        answer = oauth.exchange(org, code=code, verifier=begun.verifier, redirect_url=begun.redirect_url, now=now)
    except ChannelError as refusal:
        raise NotConnected(in_words(refusal)) from None
    _adopt_address(org, str(answer.get("instance_url") or ""))
    _take(org, answer, mode="", now=now)
    return org


def _used(sign_in_pk: int | None, state: str, *, now: datetime) -> SalesforceSignIn:
    """Use up the sign-in that a state stands for; of two returns at once one gets it."""
    fits = SalesforceSignIn.objects.filter(
        pk=sign_in_pk or 0, state_digest=_digest(state), used_at__isnull=True, begun_at__gt=now - SIGN_IN
    )
    if not fits.update(used_at=now):
        raise NotConnected(
            "This return from Salesforce does not belong to a sign-in of yours that is still open. Sign in again."
        )
    return SalesforceSignIn.objects.get(state_digest=_digest(state))


def _login_of(begun: SalesforceSignIn) -> Login:
    return Login(begun.instance_url, begun.client_id, login_url=begun.login_url, client_secret=begun.client_secret)


def _adopt_address(org: SalesforceOrg, found: str) -> None:
    """Use the address that the login host names for the org: people paste that of a page, or an old one."""
    name = urlsplit(found).hostname or ""
    if found and name.endswith((".salesforce.com", ".force.com", ".cloudforce.com")):
        org.login_url = org.login_url or org.instance_url
        org.instance_url = _address(found, "instance URL")


def _digest(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()


# ---- modes ----


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


# ---- keeping a login ----


def in_words(error: ChannelError) -> str:
    """Return a failure as a sentence for people, with its code."""
    if error.code == "API_DISABLED_FOR_ORG":
        return NO_API
    return f"{error.message} ({error.code})"


def _first_or_new() -> SalesforceOrg:
    org = SalesforceOrg.objects.order_by("pk").first() or SalesforceOrg()
    if org.is_demo:
        raise NotConnected("This is the demo: its Salesforce has nothing behind it. Connect on an install of your own.")
    return org


def _fill(org: SalesforceOrg, login: Login) -> None:
    org.instance_url = _address(login.instance_url, "instance URL")
    org.login_url = _address(login.login_url, "login URL") if login.login_url else ""
    org.client_id = login.client_id
    org.client_secret, org.jwt_key = login.client_secret, login.jwt_key
    org.username, org.refresh_token = login.username, login.refresh_token
    org.access_token, org.error_code, org.error = "", "", ""
    org.error_at = org.app_known_by = org.paused_until = org.refreshing_until = None


def _address(url: str, name: str) -> str:
    parts = urlsplit(url.strip())
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.query or parts.path not in ("", "/"):
        raise NotConnected(f"The {name} is an https address without a path, such as https://acme.my.salesforce.com.")
    return f"https://{parts.netloc}"


def _keep_for_later(org: SalesforceOrg, wait: Wait, *, now: datetime) -> NotKnownYet:
    org.app_known_by, org.paused_until = now + oauth.NEW_APP_PATIENCE, wait.until
    org.save()
    return NotKnownYet(oauth.unknown_words(org.app_known_by), org.app_known_by)


def _take(org: SalesforceOrg, answer: dict[str, Any], *, mode: str, now: datetime) -> None:
    """Keep the tokens of an answer, and only then use them to learn what the org is.

    A first login that leads nowhere leaves nothing behind. Raises NotConnected.
    """
    was_there = org.pk is not None
    stopped_at = _stopped_at(org)
    was_live = org.mode == Mode.LIVE and org.api_version != ""
    oauth.take(org, answer, now=now)
    # A rotated refresh token works once: whatever happens next, the new one is kept.
    org.mode = org.mode if was_live else Mode.SHADOW
    org.paused_until = None
    org.save()
    try:
        _learn(org, now=now)
    except (ChannelError, NotConnected) as error:
        if not was_there:
            org.delete()
        text = in_words(error) if isinstance(error, ChannelError) else str(error)
        raise NotConnected(text) from None
    with transaction.atomic():
        org.mode = mode or org.mode
        org.live_since = (org.live_since if was_live else now) if org.mode == Mode.LIVE else None
        org.save(
            update_fields=[
                "mode",
                "live_since",
                "api_version",
                "org_id",
                "is_sandbox",
                "won_stage",
                "is_won_stage_chosen",
                "has_currencies",
            ]
        )
        outbox.org_connected()
        if org.mode == Mode.LIVE and not was_live:
            outbox.send_for_real(now=now)
        if stopped_at is not None:
            alerts.over(org.pk, alerts.LOGIN, since=stopped_at, now=now)


def _stopped_at(org: SalesforceOrg) -> datetime | None:
    """Return since when the connection that is there waits for a person."""
    stopped = SalesforceOrg.objects.filter(pk=org.pk).exclude(error_code="")
    return stopped.values_list("error_at", flat=True).first()


def _learn(org: SalesforceOrg, *, now: datetime) -> None:
    """Learn what the org is: its newest API version, its id (pinned), sandbox or not, won stage and currencies."""
    from crm.channels.salesforce import checks
    from crm.channels.salesforce.client import Client
    from crm.channels.salesforce.fields import OPPORTUNITY

    with Client(org, now=now) as client:
        org.api_version = client.newest_version()
        found = next(iter(client.query("SELECT Id, Name, IsSandbox FROM Organization")), None)
        if found is None:
            raise NotConnected("The integration user cannot read Organization. Give its permission set 'View Setup'.")
        if org.org_id and org.org_id != found["Id"]:
            raise NotConnected(f"This login leads to org {found['Id']}; the connection belongs to {org.org_id}.")
        org.org_id, org.is_sandbox = str(found["Id"]), bool(found["IsSandbox"])
        stages = checks.won_stages(client)
        if org.won_stage not in stages:
            org.won_stage, org.is_won_stage_chosen = (stages[0] if stages else ""), False
        org.has_currencies = checks.has_currencies(client.describe(OPPORTUNITY))


def _read(org: SalesforceOrg, *, now: datetime, report: Callable[[int], None]) -> Connected:
    try:
        read = accounts.refresh(now=now, report=report)
    except ChannelError as error:
        raise NotConnected(f"Connected, but Accounts cannot be read: {in_words(error)}") from None
    matched = matching.match_waiting(now=now)
    org.refresh_from_db()
    return Connected(org, read.accounts, read.contacts, matched, read.is_whole)
